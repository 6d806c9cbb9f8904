"""One process of the platform, and its deaths: real workers, sweep, alarms and housekeeping."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any, Final

from ocp_ingest.adapters.memory.call_store import MemoryCallStore
from ocp_ingest.adapters.memory.evidence import MemoryEvidence, MemoryIncidents
from ocp_ingest.adapters.memory.export_book import ExportBookState, MemoryExportBook
from ocp_ingest.adapters.memory.faults import Crashed, Fault, Faults, Kind
from ocp_ingest.adapters.memory.recording_store import MemoryRecordingStore
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.adapters.memory.timetable import MemoryTimetable
from ocp_ingest.adapters.memory.work_queue import MemoryWorkQueue
from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.settings import Settings
from ocp_ingest.entrypoints.platform import take_up
from ocp_ingest.ingest import housekeeping, pipeline
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import schedule
from ocp_ingest.reconcile.ports import ExportApi
from ocp_ingest.reconcile.sweep import Sweeper
from ocp_ingest.reconcile.world import Stage2
from ocp_proof.chance import Chance
from ocp_proof.clock import SimClock

ON_BYTES: Final = (
    (Kind.CORRUPT, 3.0),
    (Kind.TORN, 3.0),
    (Kind.LOST, 2.0),
    (Kind.CRASH_BEFORE, 0.7),
)
ON_EFFECTS: Final = (
    (Kind.LOST, 3.0), (Kind.UNANSWERED, 3.0), (Kind.SLOW, 3.0), (Kind.THROTTLED, 2.0),
    (Kind.CRASH_BEFORE, 0.7), (Kind.CRASH_AFTER, 0.7),
)  # fmt: skip
# A moment, a hiccup, a long pause, and longer than any lease: a zombie when it wakes.
_SLOW_MS: Final = (50, 2_000, 60_000, 25 * 60_000)
_IDLE_S: Final = 1_800.0
_LEASE_MS: Final = 5 * 60_000
_DETECT_MS: Final = 3_600_000


class Site:
    """What all processes share, and what survives them."""

    def __init__(
        self, state: MemoryState, book: ExportBookState, settings: Settings, api: ExportApi,
        chance: Chance, groups: tuple[str, ...],
    ) -> None:  # fmt: skip
        self.state = state
        self.book = book
        self.settings = settings
        self.api = api
        self.chance = chance
        self.groups = groups
        self.starts = 0


class Process:
    """One incarnation; `run` returns when it is dead or told to stop."""

    def __init__(
        self, site: Site, clock: SimClock, *, workers: int, per_call: bool, faulty: bool = True
    ) -> None:
        site.starts += 1
        self._site = site
        self._workers = workers
        self.killed = asyncio.Event()
        self.stop = asyncio.Event()
        self._rng = Random(site.starts)  # noqa: S311 - reproducible, no secret
        self.faults = faults = Faults(clock, self._decide if faulty else None)
        state, limits = site.state, site.settings.limits
        self.world = World(
            settings=site.settings,
            clock=clock,
            calls=MemoryCallStore(state, faults, site.settings.policy),
            evidence=MemoryEvidence(state, faults, items_max=limits.evidence_items_max),
            incidents=MemoryIncidents(state, faults),
            recordings=MemoryRecordingStore(state, faults),
            queue=MemoryWorkQueue(state, faults, clock, tries_max=limits.step_tries_max),
            timetable=MemoryTimetable(state, faults),
            chance=self._rng.random,
        )
        self.stage2 = Stage2(
            api=site.api,
            book=MemoryExportBook(site.book, faults),
            groups=site.groups,
            owner=f"process-{site.starts}",
            real=clock,
            lease_ms=_LEASE_MS,
            detect_every_ms=_DETECT_MS,
            per_call=per_call,
        )
        self.sweeper = Sweeper(self.world, self.stage2)

    @property
    def alive(self) -> bool:
        """Whether it listens."""
        return not (self.faults.dead or self.killed.is_set() or self.stop.is_set())

    async def run(self) -> None:
        """Lives until it is killed, dies of a fault, or is stopped."""
        stop, world = self.stop, self.world
        loops: list[Coroutine[Any, Any, object]] = [
            schedule.run(world, self.sweeper, self.stage2, stop),
            housekeeping.run(world, stop),
            _once(take_up(world)),
        ]
        loops += [pipeline.work(world, stop, idle_s=_IDLE_S) for _ in range(self._workers)]
        tasks = [asyncio.create_task(one) for one in loops]
        ends = [asyncio.create_task(self.killed.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        self.faults.dead = True
        await self.sweeper.stop()
        for task in (*tasks, *ends):
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def kill(self) -> None:
        """kill -9: nothing it still tries has an effect."""
        self.faults.dead = True
        self.killed.set()

    def _decide(self, point: str) -> Fault | None:
        carries = point.endswith(".bytes")
        drawn = self._site.chance.draw(point, ON_BYTES if carries else ON_EFFECTS)
        if drawn is None:
            return None
        kind, rng = drawn
        if kind in (Kind.CRASH_BEFORE, Kind.CRASH_AFTER):
            asyncio.get_running_loop().call_later(0.001, self.kill)
        return Fault(kind, ms=rng.choice(_SLOW_MS))


async def _once(work: Coroutine[Any, Any, object]) -> None:
    """Something done at the start; when it can't be, detection does it later."""
    try:
        await work
    except (OcpIngestError, Crashed):
        return
