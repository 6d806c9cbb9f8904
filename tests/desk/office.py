"""A desk over a stage: memory adapters that survive a crash, calls in every outcome, one clock."""

from __future__ import annotations

from ocp_ingest.adapters.memory.desk import memory_desk
from ocp_ingest.adapters.memory.export_book import ExportBookState, MemoryExportBook
from ocp_ingest.core import events as ev
from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.settings import Settings
from ocp_ingest.desk import alerts
from ocp_ingest.desk.notify import Channels
from ocp_ingest.desk.world import Desk
from tests.flow.stage import DURATION_MS, START_MS, Stage, dialog_end, dialog_start, tone

GOOD = tone()


def call_id(number: int) -> str:
    """A call's id; another for every number."""
    return f"{number:040x}.{START_MS}.{'B2' * 16}"


class Office:
    """A stage with a desk."""

    def __init__(self, plan: Settings | None = None) -> None:
        self.stage = Stage(plan)

    @property
    def desk(self) -> Desk:
        """The desk of the process that runs now."""
        stage = self.stage
        book = MemoryExportBook(ExportBookState(), stage.faults)
        return memory_desk(stage.world, book, stage.state, stage.faults)

    @property
    def now_ms(self) -> int:
        return self.stage.clock.now_ms()

    def sleep(self, duration_ms: int) -> None:
        """Time goes on."""
        self.stage.clock.advance(duration_ms)

    async def announce(self, *numbers: int) -> None:
        """Both CDRs of calls."""
        for number in numbers:
            ident = call_id(number)
            await self.stage.send(dialog_start(ident), dialog_end(ident))

    async def store(self, *numbers: int, source: str = "stream") -> None:
        """Calls whose recordings come and are stored."""
        await self.announce(*numbers)
        for number in numbers:
            ident = call_id(number)
            name = f"{ident}~4001~{START_MS}~{ident}.wav"
            await self.stage.upload(GOOD, name, source)
        await self.stage.drain()

    async def receive(self, *numbers: int) -> None:
        """Calls whose recordings come, and no worker is there."""
        await self.announce(*numbers)
        for number in numbers:
            ident = call_id(number)
            await self.stage.upload(GOOD, f"{ident}~4001~{START_MS}~{ident}.wav")

    async def lose(self, *numbers: int) -> None:
        """Calls that end without a recording."""
        await self.announce(*numbers)
        for number in numbers:
            closed = ev.closed(
                call_id(number), "lost", epoch=0, at_ms=self.now_ms, reason="gone",
                code="retention_over",
            )  # fmt: skip
            await self.stage.world.calls.append([closed])

    async def open_incident(self, incident: Incident) -> None:
        await self.stage.world.incidents.open(incident)

    async def close_incident(self, key: str) -> None:
        await self.stage.world.incidents.close(key, self.now_ms, "healed")

    async def open_keys(self) -> list[str]:
        """Keys of the open incidents."""
        held = await self.stage.world.incidents.incidents(limit=1_000)
        return sorted(incident.key for incident in held)

    async def tell(self, channels: Channels) -> int:
        return await alerts.tell(self.desk, channels, self.now_ms)


__all__ = ["DURATION_MS", "START_MS", "Office", "call_id"]
