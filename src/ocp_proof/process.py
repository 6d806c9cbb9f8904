"""One process of the platform, and its deaths: real workers, sweep, alarms and housekeeping.

A process that is frozen (a suspended machine, a long pause) does nothing at any effect until it
wakes, its leases long over: every worker of it is a zombie then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from random import Random
from typing import Any, Final, NoReturn, cast

from ocp_ingest import ports
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.adapters.memory.call_store import MemoryCallStore
from ocp_ingest.adapters.memory.desk import MemoryBulkBook, MemoryDeskNotes, memory_desk
from ocp_ingest.adapters.memory.evidence import MemoryEvidence, MemoryIncidents
from ocp_ingest.adapters.memory.export_book import ExportBookState, MemoryExportBook
from ocp_ingest.adapters.memory.faults import Crashed, Fault, Faults, Kind
from ocp_ingest.adapters.memory.recording_store import MemoryRecordingStore
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.adapters.memory.timetable import MemoryTimetable
from ocp_ingest.adapters.memory.work_queue import MemoryWorkQueue
from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.limits import MINUTE_MS
from ocp_ingest.core.settings import Settings
from ocp_ingest.desk.bulk_runner import BulkRunner
from ocp_ingest.desk.ports import BulkBook, DeskNotes
from ocp_ingest.entrypoints.platform import take_up
from ocp_ingest.ingest import housekeeping, pipeline
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import schedule
from ocp_ingest.reconcile.book import ExportBook
from ocp_ingest.reconcile.sweep import Sweeper
from ocp_ingest.reconcile.world import Stage2
from ocp_proof.bounds import Bounds
from ocp_proof.chance import Chance
from ocp_proof.clock import Alarms, BeatClock, SimClock
from ocp_proof.requests import Requests
from ocp_proof.story import Story
from ocp_proof.vendor import SimOcp, Vendor

# A moment, a hiccup, a long pause, and longer than any lease: a zombie when it wakes.
_SLOW_MS: Final = (50, 2_000, 60_000, 25 * 60_000)
_LEASE_MS: Final = 5 * 60_000


class Site:
    """What all processes share, and what survives them."""

    def __init__(
        self, state: MemoryState, book: ExportBookState, settings: Settings, vendor: Vendor,
        chance: Chance, story: Story, bounds: Bounds,
        recordings: type[MemoryRecordingStore] = MemoryRecordingStore,
    ) -> None:  # fmt: skip
        """`recordings` is another class in tests that want to see it fail."""
        self.bounds = bounds
        self.state = state
        self.book = book
        self.settings = settings
        self.vendor = vendor
        self.chance = chance
        self.story = story
        self._recordings = recordings
        self.starts = 0
        self.bulk = asyncio.Event()  # a bulk job runs: the runners of all processes are at it
        assert isinstance(state.alarms, Alarms), "the stage watches the alarms"
        self.alarms = state.alarms
        self._wire: dict[str, object] | None = None

    def ports(self, faults: Faults, clock: SimClock) -> dict[str, object]:
        """Adapters over what survives, by port."""
        state, limits = self.state, self.settings.limits
        return {
            "CallStore": MemoryCallStore(state, faults, Deriving.of(self.settings)),
            "Evidence": MemoryEvidence(state, faults, items_max=limits.evidence_items_max),
            "Incidents": MemoryIncidents(state, faults),
            "RecordingStore": self._recordings(state, faults),
            "WorkQueue": MemoryWorkQueue(state, faults, clock, tries_max=limits.step_tries_max),
            "Timetable": MemoryTimetable(state, faults),
            "ExportBook": MemoryExportBook(self.book, faults),
            "BulkBook": MemoryBulkBook(state, faults),
            "DeskNotes": MemoryDeskNotes(state, faults),
        }

    def wire(self) -> dict[str, object]:
        """The same for what arrives without its sender: nothing befalls it any more."""
        if self._wire is None:
            clock = self.vendor.clock
            assert isinstance(clock, SimClock)
            self._wire = self.ports(Faults(clock), clock)
        return self._wire


class Process:
    """One incarnation; `run` returns when it is dead or told to stop."""

    def __init__(self, site: Site, clock: SimClock, *, faulty: bool = True) -> None:
        site.starts += 1
        self._site = site
        self._clock = clock
        self._frozen_until_ms = 0
        self.killed = asyncio.Event()
        self.stop = asyncio.Event()
        self._rng = Random(site.starts)  # noqa: S311 - reproducible, no secret
        self.faults = faults = Faults(clock, self._decide if faulty else None)
        given = site.ports(faults, clock)
        if faulty:
            wire = site.wire()
            given = {
                name: Requests(name, port, wire[name], site.chance, site.bounds)
                for name, port in given.items()
            }
        self.world = World(
            settings=site.settings,
            clock=clock,
            calls=cast(ports.CallStore, given["CallStore"]),
            evidence=cast(ports.Evidence, given["Evidence"]),
            incidents=cast(ports.Incidents, given["Incidents"]),
            recordings=cast(ports.RecordingStore, given["RecordingStore"]),
            queue=cast(ports.WorkQueue, given["WorkQueue"]),
            timetable=cast(ports.Timetable, given["Timetable"]),
            chance=self._rng.random,
        )
        self._beating = replace(self.world, clock=BeatClock(clock, site.alarms))
        self.stage2 = Stage2(
            api=SimOcp(site.vendor, clock, self._die, self._thaw),
            book=cast(ExportBook, given["ExportBook"]),
            groups=site.vendor.groups,
            owner=f"process-{site.starts}",
            real=clock,
            lease_ms=_LEASE_MS,
            detect_every_ms=site.story.detect_ms,
            per_call=site.story.per_call,
        )
        self.sweeper = Sweeper(self.world, self.stage2)
        self.desk = replace(
            memory_desk(self.world, self.stage2.book, site.state, faults),
            bulk=cast(BulkBook, given["BulkBook"]),
            notes=cast(DeskNotes, given["DeskNotes"]),
        )

    @property
    def alive(self) -> bool:
        """Whether it listens."""
        return not (self.faults.dead or self.killed.is_set() or self.stop.is_set())

    async def run(self) -> None:
        """Lives until it is killed, dies of a fault, or is stopped."""
        stop, world, story = self.stop, self.world, self._site.story
        loops: list[Coroutine[Any, Any, object]] = [
            schedule.run(self._beating, self.sweeper, self.stage2, stop),
            housekeeping.run(world, stop, patience_s=story.patience_s),
            _once(take_up(world)),
            self._bulk(),
        ]
        loops += [pipeline.work(world, stop, idle_s=story.idle_s) for _ in range(story.workers)]
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

    def freeze(self, for_ms: int) -> None:
        """Stops it at every effect for so long."""
        self._frozen_until_ms = self._clock.now_ms() + for_ms

    async def _bulk(self) -> None:
        """The runner of bulk jobs; between them it is not let look, every quarter of a minute."""
        lob_of = Deriving.of(self._site.settings).lob_of
        runner = BulkRunner(self.desk, lob_of, self._clock)
        while True:
            await self._site.bulk.wait()
            try:
                if not await runner.turn():
                    self._site.bulk.clear()
            except OcpIngestError:
                await self._clock.sleep_ms(MINUTE_MS)

    async def _thaw(self) -> None:
        await self._clock.sleep_ms(self._frozen_until_ms - self._clock.now_ms())

    def _decide(self, point: str) -> Fault | None:
        if self._frozen_until_ms:
            frozen_ms = self._frozen_until_ms - self._clock.now_ms()
            if frozen_ms > 0 and not point.endswith(".bytes"):
                return Fault(Kind.SLOW, ms=frozen_ms)
        drawn = self._site.chance.draw(point)
        if drawn is None:
            return None
        kind, rng = Kind(drawn[0]), drawn[1]
        if kind in (Kind.CRASH_BEFORE, Kind.CRASH_AFTER):
            asyncio.get_running_loop().call_later(0.001, self.kill)
        return Fault(kind, ms=rng.choice(_SLOW_MS))

    def _die(self, point: str) -> NoReturn:
        self.faults.dead = True
        asyncio.get_running_loop().call_later(0.001, self.kill)
        raise Crashed(point)


async def _once(work: Coroutine[Any, Any, object]) -> None:
    """Something done at the start; when it can't be, detection does it later."""
    try:
        await work
    except (OcpIngestError, Crashed):
        return
