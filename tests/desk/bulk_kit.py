"""A desk over the memory adapters with calls to act on, and a clock that never waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.adapters.memory.desk import memory_desk
from ocp_ingest.adapters.memory.export_book import ExportBookState, MemoryExportBook
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.core import events as ev
from ocp_ingest.core.access import Person
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.core.routing import Rule
from ocp_ingest.core.settings import LineOfBusiness, Settings
from ocp_ingest.desk import bulk
from ocp_ingest.desk.bulk_runner import BulkRunner
from ocp_ingest.desk.ports import BulkBook, BulkItem, BulkJob
from ocp_ingest.desk.world import Desk
from ocp_ingest.ports import CallQuery, CallStore
from tests.flow.stage import Stage, dialog_end, dialog_start, tone

ANA = Person("ana", "operator", None)
CARLA = Person("carla", "operator", ("cards",))
VERA = Person("vera", "viewer", None)
LOBS = ("banking", "cards")
ACTS = frozenset({"retried", "reopened", "released", "closed"})


class Hurry:
    """A clock whose sleepers wake at once: time passes only by sleeping."""

    def __init__(self) -> None:
        self.at_ms = 1_000_000
        self.slept: list[int] = []

    def now_ms(self) -> int:
        return self.at_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        self.slept.append(duration_ms)
        self.at_ms += duration_ms
        await asyncio.sleep(0)


def everything(_: Call) -> bool:
    return True


class Office:
    """People at their desk: one durable state, as many processes as wanted."""

    def __init__(self) -> None:
        rules = tuple(Rule(lob=lob, when={"entry_app": f"{lob}-*"}) for lob in LOBS)
        plan = Settings(routing=rules, lobs={lob: LineOfBusiness() for lob in LOBS})
        self.stage = Stage(plan)
        self.clock = self.stage.clock
        self.book = ExportBookState()
        self.lob_of = Deriving.of(plan).lob_of
        self.made = 0
        self.restart()

    def restart(self) -> None:
        """A new process."""
        self.faults = Faults(self.clock)
        self.desk = self.desk_with(self.faults)

    def desk_with(self, faults: Faults) -> Desk:
        """The ports of one process, with faults of its own."""
        world, state = self.stage.world_with(faults), self.stage.state
        return memory_desk(world, MemoryExportBook(self.book, faults), state, faults)

    def runner(self, desk: Desk | None = None, real: Hurry | None = None) -> BulkRunner:
        """A runner of this process, or of another's desk."""
        return BulkRunner(desk or self.desk, self.lob_of, real or Hurry())

    # -- calls ------------------------------------------------------------------------------------

    async def call(self, lob: str = "banking") -> str:
        """A call in flight: its CDRs came, its recording did not."""
        self.made += 1
        call_id = f"{'a1' * 20}.{self.clock.now_ms()}.{self.made:032X}"
        about = {"app": {"name": f"{lob}-voice", "version": 3}, "time": self.clock.now_ms()}
        await self.stage.send(dialog_start(call_id, **about), dialog_end(call_id, **about))
        self.clock.advance(1_000)
        return call_id

    async def lost(self, lob: str = "banking") -> str:
        """A call that was closed as lost."""
        return await self._closed(await self.call(lob), "lost", "retention_over")

    async def refused(self, lob: str = "banking") -> str:
        """A call whose recording is unusable; it is still asked for."""
        call_id = await self.call(lob)
        await self._deliver(call_id, tone(30_000))
        return call_id

    async def quarantined(self, lob: str = "banking") -> str:
        """The same, closed: OCP's copy is bad too."""
        return await self._closed(await self.refused(lob), "quarantined", "bad_at_ocp")

    async def denied(self) -> str:
        """A recording of a call that OCP says it does not know: in quarantine, never judged."""
        self.made += 1
        call_id = f"{'d4' * 20}.{self.clock.now_ms()}.{self.made:032X}"
        await self._deliver(call_id, tone())
        window = (self.clock.now_ms() - DAY_MS, self.clock.now_ms() + DAY_MS)
        for number in range(self.stage.settings.policy.cdr_misses_max):
            self.clock.advance(1_000)
            event = ev.export_answered(
                call_id, f"export-{number}", at_ms=self.clock.now_ms(), job_id=f"x{number}",
                task_id="", window=window, found={"dialog_start": False}, files=[], metadata={},
            )  # fmt: skip
            await self.stage.world.calls.append([event])
        return await self._closed(call_id, "quarantined", "unknown_to_ocp")

    async def stored(self, lob: str = "banking") -> str:
        """A call whose recording is in its bucket."""
        call_id = await self.call(lob)
        await self._deliver(call_id, tone())
        return call_id

    async def arriving(self, lob: str = "banking") -> str:
        """A call whose recording is here and was not looked at yet."""
        call_id = await self.call(lob)
        await self.stage.upload(tone(), _name(call_id))
        return call_id

    async def _deliver(self, call_id: str, body: bytes) -> None:
        await self.stage.upload(body, _name(call_id))
        await self.stage.drain()

    async def _closed(self, call_id: str, outcome: ev.Closing, code: str) -> str:
        now_ms = self.clock.now_ms()
        event = ev.closed(call_id, outcome, epoch=0, at_ms=now_ms, reason="A test.", code=code)
        await self.stage.world.calls.append([event])
        return call_id

    # -- jobs -------------------------------------------------------------------------------------

    async def draft(
        self, action: str, person: Person = ANA, bulk_id: str = "job-1", *,
        outcome: str | None = None, **more: Any,
    ) -> BulkJob:  # fmt: skip
        """A draft of all calls, or of those with an outcome."""
        return await bulk.draft(
            self.desk, person, bulk_id, action, more.pop("reason", "because"),
            CallQuery(outcome=outcome), more.pop("keeps", everything), {}, **more,
        )  # fmt: skip

    async def started(
        self, action: str, person: Person = ANA, bulk_id: str = "job-1", **query: Any
    ) -> BulkJob:
        """A running job over the calls of a filter, by default all."""
        await self.draft(action, person, bulk_id, **query)
        await bulk.start(self.desk, person, bulk_id)
        return await self.job(bulk_id)

    async def job(self, bulk_id: str = "job-1") -> BulkJob:
        """A job; it must be there."""
        found = await self.desk.bulk.job(bulk_id)
        assert found is not None
        return found

    async def items(self, bulk_id: str = "job-1") -> list[BulkItem]:
        """All items of a job."""
        return await self.desk.bulk.items(bulk_id, limit=10_000)

    async def results(self, bulk_id: str = "job-1") -> dict[str, tuple[str, str]]:
        """What became of each call: the word, and why."""
        return {item.call_id: (item.result, item.text) for item in await self.items(bulk_id)}

    async def acts(self, call_id: str) -> Counter[str]:
        """What the journal has of people's acts on a call, by kind."""
        journal = await self.desk.world.calls.journal(call_id)
        return Counter(event.kind for event in journal if event.source == "operator")


async def finish(runner: BulkRunner, turns_max: int = 2_000) -> None:
    """Lets a runner work until nothing runs."""
    for _ in range(turns_max):
        if not await runner.turn():
            return
    raise AssertionError("the runner never comes to an end")


def breaking(desk: Desk, breaks: BreakingCalls) -> Desk:
    """The desk with calls that break."""
    return replace(desk, world=replace(desk.world, calls=breaks))  # type: ignore[arg-type] # a fake


class BreakingCalls:
    """A CallStore that fails to load some calls, as a store in trouble does."""

    def __init__(self, calls: CallStore, bad: set[str], error: Exception | None = None) -> None:
        self._calls = calls
        self.bad = bad
        self.error = error or Transient("The store is busy.")
        self.asked: Counter[str] = Counter()

    async def load(self, call_id: str) -> Call | None:
        self.asked[call_id] += 1
        if call_id in self.bad:
            raise self.error
        return await self._calls.load(call_id)

    def __getattr__(self, name: str) -> object:
        return getattr(self._calls, name)


class StaleBook:
    """A BulkBook whose list of jobs is the one of a while ago."""

    def __init__(self, book: BulkBook, jobs: list[BulkJob]) -> None:
        self._book = book
        self._jobs = jobs

    async def jobs(self, *, limit: int = 50) -> list[BulkJob]:
        return self._jobs

    def __getattr__(self, name: str) -> object:
        return getattr(self._book, name)


def _name(call_id: str) -> str:
    started = call_id.split(".")[1]
    return f"{call_id}~4001~{started}~{call_id}.wav"
