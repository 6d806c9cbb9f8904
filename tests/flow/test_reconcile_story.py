"""Lost recordings come back, each exactly once, and every trace of the way is kept."""

from __future__ import annotations

from ocp_ingest.core.limits import HOUR_MS, MINUTE_MS
from tests.flow.reconcile_stage import HOUR_0, Theatre


async def test_lost_recordings_come_back_by_one_export_for_many() -> None:
    theatre = Theatre()
    for n in range(6):
        await theatre.announced(f"c{n}", HOUR_0 + n * MINUTE_MS)
    await theatre.run_for(4 * HOUR_MS)
    await theatre.sweep()
    assert await theatre.outcomes() == {f"c{n}": "stored" for n in range(6)}
    for call_id, call in theatre.ocp.calls.items():
        assert theatre.stored_bytes(call_id) == call.audio
    assert len(theatre.ocp.ours) == 1
    assert theatre.ends() == ["done"]
    theatre.check_settled()


async def test_each_call_tells_of_its_export() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    asked_at = theatre.clock.now_ms()
    await theatre.sweep()
    [(job_key, export)] = (await theatre.stage.call("c")).exports.items()
    [job] = theatre.jobs()
    assert job_key == job.job_key
    assert export.job_id == "x1"
    assert export.asked_at_ms == asked_at
    assert export.answered_at_ms == job.finished_at
    assert export.found == {"audio": True}
    assert [f["result"] for f in export.files] == ["stored"]
    assert export.metadata["file_count"] == 1
    assert export.metadata["end"] == "done"


async def test_nothing_is_exported_before_the_watermark() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(2 * HOUR_MS)
    await theatre.sweep()
    assert theatre.ocp.ours == []
    assert await theatre.outcomes() == {"c": "open"}


async def test_a_window_is_exported_while_the_one_before_it_downloads() -> None:
    theatre = Theatre()
    first = await theatre.announced("c1", HOUR_0)
    await theatre.announced("c2", HOUR_0 + 60 * HOUR_MS)
    await theatre.run_for(70 * HOUR_MS)
    theatre.ocp.takes_ms = 10 * MINUTE_MS
    held = theatre.hold_downloads()
    await theatre.process.sweeper.sweep()
    await theatre.run_until(lambda: len(theatre.ocp.ours) == 2, within_ms=HOUR_MS)
    assert theatre.ocp.most_at_once["emea-retail"] == 1
    await theatre.run_for(20 * MINUTE_MS)
    assert await theatre.outcomes() == {"c1": "open", "c2": "open"}
    held.set()
    await theatre.run_until(lambda: theatre.process.idle, within_ms=HOUR_MS)
    assert await theatre.outcomes() == {"c1": "stored", "c2": "stored"}
    assert theatre.stored_bytes("c1") == first.audio
    assert theatre.ends() == ["done", "done"]


async def test_archives_are_taken_member_by_member() -> None:
    theatre = Theatre()
    theatre.ocp.delivery = "zip"
    for n in range(4):
        await theatre.announced(f"c{n}")
    await theatre.run_for(4 * HOUR_MS)
    await theatre.sweep()
    assert set((await theatre.outcomes()).values()) == {"stored"}
    assert theatre.ocp.fetched == {"recordings.zip": 1}


async def test_what_is_here_is_not_fetched_again() -> None:
    theatre = Theatre()
    here, lost = await theatre.announced("here"), await theatre.announced("lost")
    assert here.audio is not None
    await theatre.stage.upload(here.audio, here.file_name)
    await theatre.run_for(4 * HOUR_MS)
    await theatre.sweep()
    assert theatre.ocp.fetched == {lost.file_name: 1}
    assert set((await theatre.outcomes()).values()) == {"stored"}


async def test_per_call_planning_makes_a_window_of_each_call() -> None:
    theatre = Theatre(per_call=True)
    for n in range(3):
        await theatre.announced(f"c{n}", HOUR_0 + n * HOUR_MS)
    await theatre.run_for(7 * HOUR_MS)
    await theatre.sweep()
    assert sorted(job.call_ids for job in theatre.jobs()) == [("c0",), ("c1",), ("c2",)]
    assert set((await theatre.outcomes()).values()) == {"stored"}


async def test_many_windows_are_drained_one_after_the_other() -> None:
    theatre = Theatre()
    for n in range(8):
        await theatre.announced(f"c{n}", HOUR_0 + n * 60 * HOUR_MS)
    await theatre.run_for(8 * 60 * HOUR_MS)
    await theatre.sweep()
    assert set((await theatre.outcomes()).values()) == {"stored"}
    assert theatre.ocp.most_at_once["emea-retail"] == 1
    theatre.check_settled()


async def test_groups_do_not_wait_for_each_other() -> None:
    theatre = Theatre(groups=("a", "b"))
    await theatre.announced("in-a", group="a")
    await theatre.announced("in-b", group="b")
    await theatre.run_for(4 * HOUR_MS)
    theatre.ocp.stuck = {"a"}
    await theatre.process.sweeper.sweep()
    await theatre.run_for(10 * MINUTE_MS)
    assert await theatre.outcomes() == {"in-a": "open", "in-b": "stored"}
