"""A stage for stories of stage 2: the real Sweeper, the fake OCP, and a clock that jumps.

When everything sleeps, the clock jumps to the next sleeper: days pass in milliseconds, and the
same story runs the same way each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import msgspec

from ocp_ingest.adapters.memory.export_book import ExportBookState, MemoryExportBook
from ocp_ingest.adapters.memory.faults import Crashed
from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.export_job import ExportJob
from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.lifecycle import outcome
from ocp_ingest.core.limits import DAY_MS, MINUTE_MS
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.settings import Settings
from ocp_ingest.core.vendor import Context
from ocp_ingest.ingest import intake
from ocp_ingest.ports import Clock
from ocp_ingest.reconcile.sweep import Sweeper
from ocp_ingest.reconcile.world import Stage2
from tests.flow.fake_export_api import FakeOcp, OcpCall
from tests.flow.stage import DURATION_MS, Stage, dialog_end, dialog_start, settings, tone

GROUP = "emea-retail"
# The first full hour of the stage's clock: calls are placed relative to it.
HOUR_0 = 1_790_002_800_000


def _hush(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A simulated death is nobody's to retrieve; anything else is reported as usual."""
    if not isinstance(context.get("exception"), Crashed):
        loop.default_exception_handler(context)


async def asleep() -> None:
    """Returns when no task can go on but by the clock."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    while loop._ready:  # type: ignore[attr-defined] # nothing public tells it
        await asyncio.sleep(0)


class Process:
    """One runner of stage 2: a Sweeper with its own faults, over the state of all."""

    def __init__(self, theatre: Theatre, owner: str, real: Clock | None = None) -> None:
        stage = theatre.stage
        stage.restart()
        self.faults = stage.faults
        self.world = stage.world
        self.stage2 = Stage2(
            api=theatre.ocp,
            book=MemoryExportBook(theatre.book_state, self.faults),
            groups=theatre.groups,
            owner=owner,
            real=real or stage.clock,
            **theatre.options,
        )
        self.sweeper = Sweeper(self.world, self.stage2)

    @property
    def idle(self) -> bool:
        """Whether no runner has anything to do."""
        return not self.sweeper._runners

    async def kill(self) -> None:
        """Dies without a word: nothing it still tries has an effect."""
        self.faults.dead = True
        await self.sweeper.stop()


class Theatre:
    """OCP, our durable state, and the process of the moment."""

    def __init__(
        self, plan: Settings | None = None, *, groups: tuple[str, ...] = (GROUP,), **options: Any
    ) -> None:
        asyncio.get_running_loop().set_exception_handler(_hush)
        self.stage = Stage(plan or settings())
        self.stage.clock.advance_to(HOUR_0)
        self.clock = self.stage.clock
        self.groups = groups
        self.options = {"census": False, **options}
        self.ocp = FakeOcp(self.clock)
        self.book_state = ExportBookState()
        self._starts = 0
        self.restart()

    def restart(self, real: Clock | None = None) -> Process:
        """Another process, with another name."""
        self._starts += 1
        self.process = Process(self, f"runner-{self._starts}", real)
        return self.process

    # -- calls --------------------------------------------------------------------------------

    def at_ocp(
        self, call_id: str, start_ms: int = HOUR_0, *, group: str = GROUP,
        audio: bytes | None = None, duration_ms: int = DURATION_MS,
    ) -> OcpCall:  # fmt: skip
        """A call that happened; nothing of it has reached us yet. It lasts 6 s unless told."""
        flow = dialog_start()["flow"] | {"ocp_group_name": group}
        start = dialog_start(call_id, time=start_ms, flow=flow)
        end = dialog_end(call_id, time=start_ms, flow=flow, duration=duration_ms)
        body = tone(level=9_000 + len(self.ocp.calls)) if audio is None else audio
        call = OcpCall(call_id, group, start_ms, body, {"dialog_start": start, "dialog_end": end})
        self.ocp.calls[call_id] = call
        return call

    async def announced(self, call_id: str, start_ms: int = HOUR_0, **more: Any) -> OcpCall:
        """A call whose CDRs came and whose recording was lost on its way."""
        call = self.at_ocp(call_id, start_ms, **more)
        await self.stage.send(*call.cdrs.values())
        return call

    async def streamed(self, body: bytes, name: str, *, group: str | None = None) -> None:
        """OCP pushes a recording; `group` is what the delivery says of its OCP group."""

        async def chunks() -> AsyncIterator[bytes]:
            yield body

        context = Context(received_at_ms=self.clock.now_ms(), ocp_group_client=group)
        await intake.recording(
            self.stage.world, parse_name(name), chunks(), source="stream", context=context
        )

    def hold_downloads(self) -> asyncio.Event:
        """Lets every fetch hang until the event is set."""
        self.ocp.held = asyncio.Event()
        return self.ocp.held

    # -- time ---------------------------------------------------------------------------------

    async def run_until(self, done: Callable[[], bool], *, within_ms: int) -> None:
        """Lets time jump until it is so; fails when it is not so in time."""
        end_ms = self.clock.now_ms() + within_ms
        while True:
            await self._turn()
            if done():
                return
            next_ms = self.next_at()
            assert next_ms is not None, "everything sleeps for good"
            assert next_ms <= end_ms, "it did not come to pass in time"
            self.clock.advance_to(next_ms)

    async def run_for(self, duration_ms: int) -> None:
        """Lets so much time pass."""
        end_ms = self.clock.now_ms() + duration_ms
        while True:
            await self._turn()
            next_ms = self.next_at()
            if next_ms is None or next_ms > end_ms:
                break
            self.clock.advance_to(next_ms)
        self.clock.advance_to(end_ms)
        await self._turn()

    def next_at(self) -> int | None:
        """When something happens by itself next."""
        return self.clock.next_at()

    async def sweep(self, *, within_ms: int = 2 * DAY_MS) -> None:
        """One sweep, and all that follows from it at once."""
        await self.process.sweeper.sweep()
        await self.run_until(lambda: self.process.idle, within_ms=within_ms)

    async def live(self, duration_ms: int, *, every_ms: int = 30 * MINUTE_MS) -> None:
        """Lets so much time pass with a sweep every half hour."""
        end_ms = self.clock.now_ms() + duration_ms
        while self.clock.now_ms() < end_ms:
            if self.process.faults.dead:
                await self.process.kill()
                self.restart()
            with suppress(Crashed, OcpIngestError):  # the timer goes on
                await self.process.sweeper.sweep()
            await self.run_for(min(every_ms, end_ms - self.clock.now_ms()))

    async def _turn(self) -> None:
        await asleep()
        if not self.stage.faults.dead:
            with suppress(Crashed, OcpIngestError):
                await self.stage.drain()
            await asleep()

    # -- what came of it ----------------------------------------------------------------------

    async def outcomes(self) -> dict[str, str]:
        """Outcome of each call; "open" while it needs work."""
        found: dict[str, str] = {}
        for call_id in sorted(self.stage.state.records):
            ended = outcome(await self.stage.call(call_id), self.stage.settings.policy)
            found[call_id] = ended.outcome if ended is not None else "open"
        return found

    def stored_bytes(self, call_id: str) -> bytes | None:
        """The recording in its bucket, seen from outside."""
        held = self.stage.objects("lob-banking")
        return next((body for key, body in held.items() if key.endswith(f"/{call_id}.wav")), None)

    def incidents(self, *, open_only: bool = True) -> dict[str, Incident]:
        """Incidents by key; of several, the last one."""
        held = self.stage.state.incidents
        return {i.key: i for i in held if i.closed_at_ms is None or not open_only}

    def jobs(self) -> list[ExportJob]:
        """All jobs, in the order in which they were planned."""
        decoder = msgspec.msgpack.Decoder(ExportJob)
        held = [decoder.decode(body) for body in self.book_state.jobs.values()]
        return sorted(held, key=lambda job: (job.planned_at, job.job_key))

    def ends(self) -> list[str]:
        """How the jobs ended, in that order; "" for an open one."""
        return [job.end.value if job.end else "" for job in self.jobs()]

    def check_settled(self) -> None:
        """Nothing is left behind: no open job, no alarm of one."""
        assert not self.book_state.open
        assert not {name for name in self.stage.state.alarms if name.startswith("x-")}
