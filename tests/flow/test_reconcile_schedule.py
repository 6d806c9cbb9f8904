"""The timer task: its rhythm outlives restarts, alarms are heard once, nothing stops it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ocp_ingest.adapters.memory.faults import Kind
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from ocp_ingest.reconcile import schedule
from tests.flow.reconcile_stage import GROUP, Theatre, asleep

EVERY_MS = 30 * MINUTE_MS


@asynccontextmanager
async def serving(theatre: Theatre) -> AsyncIterator[asyncio.Event]:
    """The timer task of the process of the moment."""
    process, stop = theatre.process, asyncio.Event()
    task = asyncio.create_task(schedule.run(process.world, process.sweeper, process.stage2, stop))
    try:
        yield stop
    finally:
        stop.set()
        await asleep()
        assert task.done(), "it ends at once when told to stop"
        task.result()


def sweeps(theatre: Theatre) -> list[int]:
    """When sweeps began, in minutes since the start of the test; filled by `spied`."""
    return theatre.swept  # type: ignore[attr-defined, no-any-return]


def spied(theatre: Theatre) -> Theatre:
    began = theatre.clock.now_ms()
    theatre.swept = []  # type: ignore[attr-defined]

    def spy() -> None:
        real = theatre.process.sweeper.sweep

        async def sweep() -> object:
            sweeps(theatre).append((theatre.clock.now_ms() - began) // MINUTE_MS)
            return await real()

        theatre.process.sweeper.sweep = sweep  # type: ignore[method-assign, assignment]

    spy()
    theatre.spy = spy  # type: ignore[attr-defined]
    return theatre


async def test_it_sweeps_at_the_start_and_in_its_rhythm() -> None:
    theatre = spied(Theatre())
    async with serving(theatre):
        await theatre.run_for(2 * HOUR_MS + MINUTE_MS)
    assert sweeps(theatre) == [0, 30, 60, 90, 120]


async def test_a_restart_keeps_the_rhythm() -> None:
    theatre = spied(Theatre())
    async with serving(theatre):
        await theatre.run_for(40 * MINUTE_MS)
    theatre.restart()
    theatre.spy()  # type: ignore[attr-defined]
    async with serving(theatre):
        await theatre.run_for(25 * MINUTE_MS)
    assert sweeps(theatre) == [0, 30, 40, 60]


async def test_beats_slept_through_are_made_up_for_by_one_sweep() -> None:
    theatre = spied(Theatre())
    async with serving(theatre):
        await theatre.run_for(MINUTE_MS)
    await theatre.run_for(10 * HOUR_MS + 14 * MINUTE_MS)
    theatre.restart()
    theatre.spy()  # type: ignore[attr-defined]
    async with serving(theatre):
        await theatre.run_for(20 * MINUTE_MS)
    assert sweeps(theatre) == [0, 615, 615, 630]


async def test_lost_recordings_come_back_with_nothing_but_the_timer() -> None:
    theatre = Theatre(census=True)
    await theatre.announced("c")
    theatre.at_ocp("unannounced")
    async with serving(theatre):
        await theatre.run_for(2 * DAY_MS)
        assert await theatre.outcomes() == {"c": "stored", "unannounced": "stored"}
        await theatre.run_until(lambda: theatre.process.idle, within_ms=HOUR_MS)
        theatre.check_settled()
        assert set(theatre.stage.state.alarms) == {schedule.DETECT}
    await theatre.process.sweeper.stop()


async def test_an_alarm_wakes_the_group_whose_runner_has_died() -> None:
    theatre = Theatre(lease_ms=SECOND_MS, detect_every_ms=DAY_MS)
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    process = theatre.process
    async with serving(theatre):
        await theatre.run_until(lambda: len(theatre.ocp.ours) == 1, within_ms=HOUR_MS)
        await asleep()
        for task in process.sweeper._runners.values():
            task.cancel()
        await asleep()
        assert process.idle
        await theatre.run_for(10 * MINUTE_MS)
        assert await theatre.outcomes() == {"c": "stored"}
        assert len(theatre.ocp.ours) == 1


async def test_a_closed_slot_is_looked_at_again_when_it_opens() -> None:
    theatre = Theatre(detect_every_ms=10 * DAY_MS)
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    theatre.ocp.down = True
    async with serving(theatre):
        await theatre.run_until(lambda: theatre.ends() == ["vendor_down"], within_ms=DAY_MS)
        await asleep()
        assert theatre.process.idle, "it does not wait in memory"
        theatre.ocp.down = False
        await theatre.run_for(HOUR_MS)
        assert await theatre.outcomes() == {"c": "stored"}
        assert theatre.incidents() == {}


async def test_alarms_are_heard_and_forgotten_unknown_ones_too() -> None:
    theatre = Theatre()
    timetable, now_ms = theatre.process.world.timetable, theatre.clock.now_ms()
    await timetable.set("slot:x", now_ms + MINUTE_MS, {"ocp_group": GROUP})
    await timetable.set("stray", now_ms + MINUTE_MS, {})
    async with serving(theatre):
        await theatre.run_for(5 * MINUTE_MS)
        assert set(theatre.stage.state.alarms) == {schedule.DETECT}


async def test_trouble_with_the_store_does_not_stop_it() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    for point in ("Timetable.due", "Timetable.next_at", "Timetable.set", "CallStore.pending"):
        theatre.process.faults.plan(point, Kind.LOST, times=5)
    theatre.process.faults.plan("Incidents.incidents", Kind.THROTTLED, times=3)
    async with serving(theatre):
        await theatre.run_for(6 * HOUR_MS)
        assert await theatre.outcomes() == {"c": "stored"}
    await theatre.process.sweeper.stop()


async def test_a_bug_in_a_sweep_does_not_stop_it() -> None:
    theatre = Theatre(detect_every_ms=10 * DAY_MS)
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    real = theatre.process.sweeper.sweep
    fails = 3

    async def sweep() -> object:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise ZeroDivisionError("a bug")
        return await real()

    theatre.process.sweeper.sweep = sweep  # type: ignore[method-assign, assignment]
    async with serving(theatre):
        await theatre.run_for(HOUR_MS)
        assert await theatre.outcomes() == {"c": "stored"}
    await theatre.process.sweeper.stop()


async def test_without_an_export_api_stuck_work_is_resumed_all_the_same() -> None:
    theatre = Theatre()
    call = await theatre.announced("c")
    assert call.audio is not None
    await theatre.streamed(call.audio, call.file_name)
    theatre.stage.state.messages.clear()  # the queue was lost
    stop = asyncio.Event()
    task = asyncio.create_task(schedule.resume_only(theatre.process.world, EVERY_MS, stop))
    await theatre.run_for(HOUR_MS)
    assert await theatre.outcomes() == {"c": "stored"}
    stop.set()
    await asleep()
    assert task.done()
