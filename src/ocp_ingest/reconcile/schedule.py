"""The clock of the embedded runner: sweeps at the start and every `detect_every_ms`, rings alarms.

The rhythm is an alarm of its own in the timetable, so it outlives a restart. Every sweep also
starts the census of each group that has a whole day to count; it needs no alarm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.limits import MINUTE_MS, SECOND_MS
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.detect import detect
from ocp_ingest.reconcile.sweep import Sweeper
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

DETECT: Final = "detect"
# Others set alarms while this sleeps: it looks at least so often, in domain time.
_LOOK_EVERY_MS: Final = MINUTE_MS
# Longest pause in real time after an error, so that a full disk is no hot loop; the first: 1 s.
_AGAIN_MS_MAX: Final = MINUTE_MS

Sleep = Callable[[int], Awaitable[None]]


async def run(world: World, sweeper: Sweeper, stage2: Stage2, stop: asyncio.Event) -> None:
    """Sweeps and rings until `stop` is set; the runners go on until the sweeper is stopped."""
    swept = False

    async def turn() -> None:
        nonlocal swept
        if not swept:
            await sweeper.sweep()
            swept = True
        await _ring(world, sweeper, stage2.detect_every_ms)
        await world.clock.sleep_ms(await _pause_ms(world, stage2.detect_every_ms))

    await _until(stop, _repeat(turn, stage2.real.sleep_ms))


async def resume_only(world: World, every_ms: int, stop: asyncio.Event) -> None:
    """Without an Export API: takes up work stuck on our side, and closes what is due."""

    async def turn() -> None:
        await detect(world)
        await world.clock.sleep_ms(every_ms)

    await _until(stop, _repeat(turn, world.clock.sleep_ms))


async def _ring(world: World, sweeper: Sweeper, every_ms: int) -> None:
    """Rings what is due; an alarm is cancelled after it was heard, so a crash rings it again."""
    now_ms = world.clock.now_ms()
    await world.timetable.set(DETECT, now_ms + every_ms, {})  # stands if it is there
    for alarm in await world.timetable.due(now_ms):
        if alarm.name == DETECT:
            await sweeper.sweep()
            await world.timetable.cancel(DETECT)
            # On the old rhythm, without the beats that were slept through.
            missed = (world.clock.now_ms() - alarm.at_ms) // every_ms + 1
            await world.timetable.set(DETECT, alarm.at_ms + missed * every_ms, {})
            continue
        group = alarm.body.get("ocp_group")
        if isinstance(group, str):
            sweeper.nudge(group)
        else:
            log().warning("reconcile.alarm_unknown", name=alarm.name)
        await world.timetable.cancel(alarm.name)


async def _pause_ms(world: World, every_ms: int) -> int:
    next_ms = await world.timetable.next_at()
    pause_ms = min(_LOOK_EVERY_MS, every_ms)
    if next_ms is not None:
        pause_ms = min(pause_ms, next_ms - world.clock.now_ms())
    return max(1, pause_ms)


async def _repeat(turn: Callable[[], Awaitable[None]], sleep_ms: Sleep) -> None:
    """Turn after turn, for good; whatever one raises, the next one comes."""
    fails = 0
    while True:
        try:
            await turn()
            fails = 0
            continue
        except OcpIngestError as failed:
            log().warning("reconcile.failed", code=failed.code, reason=failed.text)
        except Exception as bug:
            log().error("reconcile.crashed", error=type(bug).__name__, exc_info=True)
        await sleep_ms(min(_AGAIN_MS_MAX, SECOND_MS << min(fails, 16)))
        fails += 1


async def _until(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Does the work until `stop` is set, which cancels it."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
