"""Incidents are opened once per root cause, whatever it touches, and closed when it heals."""

from __future__ import annotations

from ocp_ingest.adapters.memory.faults import Kind
from ocp_ingest.core.export_job import Unavailable
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from tests.flow.reconcile_stage import GROUP, HOUR_0, Theatre
from tests.flow.stage import settings


async def test_a_silent_subscription_is_seen_and_heals_with_the_next_streamed_recording() -> None:
    theatre = Theatre()
    for n in range(25):
        await theatre.announced(f"c{n}", HOUR_0 + n * MINUTE_MS)
    await theatre.run_for(HOUR_MS)
    await theatre.sweep()
    assert f"subscription_silent:{GROUP}" in theatre.incidents()
    await theatre.live(4 * HOUR_MS)
    assert f"subscription_silent:{GROUP}" in theatre.incidents(), "exports are no stream"
    late = await theatre.announced("late", theatre.clock.now_ms())
    assert late.audio is not None
    await theatre.streamed(late.audio, late.file_name)
    await theatre.run_for(HOUR_MS)
    await theatre.sweep()
    assert theatre.incidents() == {}
    assert [i.kind for i in theatre.stage.state.incidents].count("subscription_silent") == 1


async def test_a_group_of_which_not_even_cdrs_come_any_more_is_silent_until_one_comes() -> None:
    """A hundred calls in two hours of a week ago, and none today."""
    theatre, key = Theatre(), f"subscription_silent:{GROUP}"
    for n in range(100):
        call = await theatre.announced(f"c{n}", HOUR_0 + n * MINUTE_MS)
        assert call.audio is not None
        await theatre.streamed(call.audio, call.file_name)
    await theatre.live(7 * DAY_MS - HOUR_MS, every_ms=12 * HOUR_MS)
    assert theatre.incidents(open_only=False) == {}
    await theatre.run_for(HOUR_0 + 7 * DAY_MS + 2 * HOUR_MS - theatre.clock.now_ms())
    await theatre.sweep()
    assert "nothing came for 2 h" in theatre.incidents()[key].text
    await theatre.announced("late", theatre.clock.now_ms())
    await theatre.sweep()
    assert key not in theatre.incidents()


async def test_a_quiet_hour_after_a_quiet_hour_is_no_incident() -> None:
    theatre = Theatre()
    for n in range(99):
        call = await theatre.announced(f"c{n}", HOUR_0 + n * MINUTE_MS)
        assert call.audio is not None
        await theatre.streamed(call.audio, call.file_name)
    await theatre.live(8 * DAY_MS, every_ms=HOUR_MS)
    assert theatre.incidents(open_only=False) == {}


async def test_where_recording_is_off_silence_is_no_incident() -> None:
    plan = settings()
    policy = plan.policy.__class__(recording_off_groups=(GROUP,))
    theatre = Theatre(settings(policy=policy))
    for n in range(25):
        await theatre.announced(f"c{n}", HOUR_0 + n * MINUTE_MS)
    await theatre.live(2 * HOUR_MS)
    assert theatre.incidents() == {}
    assert set((await theatre.outcomes()).values()) == {"absent"}


async def test_calls_near_deletion_are_seen_also_while_their_next_try_is_far() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    theatre.ocp.lacks["c"] = 1_000
    await theatre.live(52 * DAY_MS, every_ms=6 * HOUR_MS)
    assert theatre.incidents() == {}
    await theatre.live(2 * DAY_MS, every_ms=6 * HOUR_MS)
    near = theatre.incidents()[f"retention_near:{GROUP}"]
    assert near.sample == ("c",)
    assert near.severity == "critical"
    theatre.ocp.lacks.clear()
    await theatre.live(5 * DAY_MS, every_ms=6 * HOUR_MS)
    assert await theatre.outcomes() == {"c": "stored"}
    assert theatre.incidents() == {}


async def test_one_request_without_an_answer_is_no_incident() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    theatre.ocp.answer("status", Unavailable("cut"), Unavailable("cut"))
    await theatre.sweep()
    assert theatre.incidents(open_only=False) == {}


async def test_an_incident_outlives_its_process_and_is_closed_by_the_next() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    theatre.ocp.down = True
    await theatre.live(HOUR_MS)
    assert f"vendor_down:{GROUP}" in theatre.incidents()
    await theatre.process.kill()
    theatre.restart()
    theatre.ocp.down = False
    await theatre.live(HOUR_MS)
    assert theatre.incidents() == {}
    assert await theatre.outcomes() == {"c": "stored"}


async def test_a_job_that_meets_a_bug_is_tried_again_ever_later_and_a_person_is_told() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.announced("c2", HOUR_0 + 60 * HOUR_MS)
    await theatre.run_for(70 * HOUR_MS)
    theatre.ocp.answer("status", *[KeyError("a bug")] * 5)
    await theatre.process.sweeper.sweep()
    await theatre.run_for(5 * MINUTE_MS)
    assert f"step_parked:export:{GROUP}" in theatre.incidents()
    assert theatre.ocp.asked["status"] <= 4
    await theatre.run_until(lambda: theatre.process.idle, within_ms=4 * HOUR_MS)
    assert set((await theatre.outcomes()).values()) == {"stored"}
    assert theatre.incidents() == {}


async def test_our_own_store_s_trouble_is_none_of_ocp_s() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    theatre.process.faults.plan("ExportBook.put_note", Kind.LOST, nth=2, times=6)
    await theatre.live(6 * HOUR_MS)
    assert await theatre.outcomes() == {"c": "stored"}
    assert "vendor_down" not in {i.kind for i in theatre.stage.state.incidents}


async def test_a_call_whose_record_is_broken_costs_the_others_nothing() -> None:
    theatre = Theatre()
    for call_id in ("broken", "sound"):
        await theatre.announced(call_id)
    await theatre.run_for(4 * HOUR_MS)
    record = theatre.stage.state.records["broken"]
    theatre.stage.state.records["broken"] = b"\xff"
    await theatre.sweep()
    theatre.stage.state.records["broken"] = record
    assert (await theatre.outcomes())["sound"] == "stored"
    assert theatre.incidents()["step_parked:detect"].sample == ("broken",)
