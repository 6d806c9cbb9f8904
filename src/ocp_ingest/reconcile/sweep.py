"""The embedded runner of stage 2: one sweep on one page.

    every `detect_every_ms`, on a timer, or when asked:
      detect ─► per group, under its lease:
                  drive every open job that may go on
                  slot free?  plan ─► job ─► calls say "asked" ─► drive
                  nothing planned and a census is due?  census job ─► drive
                  job ended?  finish ─► calls say "answered" ─► detect the group again

A group's runner (group.py) lives while the group has work. Everything it knows is in the book, so
after a kill -9 the next one goes on with the same export job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec

from ocp_ingest.core.errors import Conflict, OcpIngestError
from ocp_ingest.core.limits import MINUTE_MS, SECOND_MS
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import census
from ocp_ingest.reconcile.census import CensusState
from ocp_ingest.reconcile.detect import UNKNOWN_GROUP, Detected, detect
from ocp_ingest.reconcile.group import Bell, GroupRunner
from ocp_ingest.reconcile.watch import watch_calls
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

# Open jobs whose groups a sweep wakes: JOBS_OPEN_MAX of each of a thousand groups.
_JOBS_MAX: Final = 4_000
# Longest pause, in real time, before a runner that failed starts again; the first is a second.
_AGAIN_MS_MAX: Final = MINUTE_MS


class Swept(msgspec.Struct):
    """What a sweep started: for the answer to whoever asked for it."""

    looked_at: int = 0
    resumed: int = 0
    closed: dict[str, int] = {}
    asked: dict[str, int] = {}


class Sweeper:
    """Runs stage 2 in one process; several may run, leases keep them apart."""

    def __init__(self, world: World, stage2: Stage2) -> None:
        self._world = world
        self._stage2 = stage2
        self._runners: dict[str, asyncio.Task[None]] = {}
        self._bells: dict[str, Bell] = {}
        self._stopped = False

    async def sweep(self) -> Swept:
        """Detects, and wakes the runner of every group that has something to do."""
        found = await detect(self._world, groups=self._stage2.groups)
        held = await self._stage2.book.jobs(open_only=True, limit=_JOBS_MAX)
        self.wake((*found.asks, *(job.ocp_group for job in held), *self._stage2.groups))
        await self._watch(found)
        return Swept(
            found.looked_at, found.resumed, found.closed,
            {group: len(asks) for group, asks in found.asks.items()},
        )  # fmt: skip

    async def take_census(self, groups: Iterable[str] = ()) -> list[str]:
        """Counts, as soon as the slots are free, every complete hour not counted yet."""
        wanted = list(groups) or list(self._stage2.groups)
        for group in wanted:
            self._bell(group).census = True
        self.wake(wanted)
        return wanted

    async def counted(self) -> dict[str, CensusState]:
        """How far the census of each group has come."""
        return {group: await census.state(self._stage2, group) for group in self._stage2.groups}

    def nudge(self, ocp_group: str) -> None:
        """Lets a group's runner look again now: a timer rang."""
        self.wake([ocp_group])

    def wake(self, groups: Iterable[str]) -> None:
        """Lets the runners of these groups look again; starts those that do not run."""
        for group in dict.fromkeys(groups):
            if not group or self._stopped:
                continue
            self._bell(group).rung.set()
            if group not in self._runners:
                task = asyncio.create_task(self._run(group), name=f"reconcile:{group}")
                self._runners[group] = task

    async def idle(self) -> None:
        """Returns when no runner has anything to do now; for tests and for single runs."""
        while self._runners:
            await asyncio.wait(self._runners.values(), return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> None:
        """Stops the runners; what they know is in the book."""
        self._stopped = True
        tasks = list(self._runners.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, found: Detected) -> None:
        """What can't be watched now is watched by the next sweep; this one has done its work."""
        known = {group for group in found.asks if group} | set(self._stage2.groups)
        try:
            # Also those of which nothing is open: silence has no calls.
            known |= {g.ocp_group for g in await self._stage2.book.groups() if g.ocp_group}
            await watch_calls(self._world, sorted(known), found.asks.get(UNKNOWN_GROUP, []))
        except Exception as failed:
            log().error("reconcile.unwatched", error=type(failed).__name__, exc_info=True)

    def _bell(self, group: str) -> Bell:
        return self._bells.setdefault(group, Bell())

    async def _run(self, group: str) -> None:
        """One runner after the other, until one ends well and nobody has rung meanwhile."""
        bell, fails = self._bell(group), 0
        try:
            while bell.rung.is_set():
                bell.rung.clear()
                if await self._run_once(group, bell):
                    fails = 0
                    continue
                bell.rung.set()
                pause_ms = min(_AGAIN_MS_MAX, SECOND_MS << min(fails, 16))
                fails += 1
                await self._stage2.real.sleep_ms(pause_ms)
        finally:
            # No await after the last look at the bell: a ring from now on starts a new task.
            del self._runners[group]

    async def _run_once(self, group: str, bell: Bell) -> bool:
        try:
            await GroupRunner(self._world, self._stage2, group, bell, self.wake).run()
        except Conflict as lost:
            log().warning("reconcile.lease_lost", ocp_group=group, reason=lost.text)
        except OcpIngestError as failed:
            log().warning("reconcile.failed", ocp_group=group, code=failed.code, reason=failed.text)
        except Exception as bug:
            error = type(bug).__name__
            log().error("reconcile.crashed", ocp_group=group, error=error, exc_info=True)
        else:
            return True
        return False
