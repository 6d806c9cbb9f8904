"""A stage for flow tests: the real steps over memory adapters that survive a crash."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.adapters.memory.call_store import MemoryCallStore
from ocp_ingest.adapters.memory.clock import ManualClock
from ocp_ingest.adapters.memory.evidence import MemoryEvidence, MemoryIncidents
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.recording_store import MemoryRecordingStore
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.adapters.memory.timetable import MemoryTimetable
from ocp_ingest.adapters.memory.work_queue import MemoryWorkQueue
from ocp_ingest.core.call import Call
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.routing import Rule
from ocp_ingest.core.settings import LineOfBusiness, Settings
from ocp_ingest.core.vendor import Context
from ocp_ingest.ingest import intake, pipeline
from ocp_ingest.ingest.world import World

START_MS = 1_790_000_000_000
DURATION_MS = 6_000
CALL_ID = f"{'a1' * 20}.{START_MS}.{'B2' * 16}"
NAME = f"{CALL_ID}~4001~{START_MS}~{CALL_ID}.wav"


def settings(**changes: Any) -> Settings:
    """One line of business that takes every banking call."""
    rule = Rule(lob="banking", when={"entry_app": "banking-*"})
    return Settings(routing=(rule,), lobs={"banking": LineOfBusiness()}, **changes)


def tone(duration_ms: int = DURATION_MS, *, level: int = 9_000, rate: int = 8_000) -> bytes:
    """A sound 8 kHz PCM16 mono WAV of that length; another `level` gives other bytes."""
    frames = duration_ms * rate // 1000
    period = b"".join(
        (level if (n // 10) % 2 else -level).to_bytes(2, "little", signed=True) for n in range(160)
    )
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((period * (frames // 160 + 1))[: frames * 2])
    return out.getvalue()


def dialog_start(call_id: str = CALL_ID, **changes: Any) -> dict[str, Any]:
    """CDR Start of a root dialog."""
    body = {
        "message_type": "dialog_start",
        "id": call_id,
        "group": call_id,
        "time": START_MS,
        "channel": "omIVR",
        "app": {"name": "banking-voice", "version": 3},
        "flow": {"type": "Flow", "parent_step": 0, "account_id": "4001",
                 "ocp_group_name": "emea-retail"},
    }  # fmt: skip
    return body | changes


def dialog_end(call_id: str = CALL_ID, **changes: Any) -> dict[str, Any]:
    """CDR End of a root dialog; `time` is the start."""
    body = dialog_start(call_id) | {
        "message_type": "dialog_end",
        "duration": DURATION_MS,
        "end_type": "NEAR_HUP",
        "events": "globalResult:success,HUP:NEAR",
    }
    return body | changes


class Stage:
    """One process at a time over one durable state; `restart` is the next process."""

    def __init__(self, plan: Settings | None = None) -> None:
        self.settings = plan or settings()
        self.state = MemoryState()
        self.clock = ManualClock(START_MS + 10_000)
        self.restart()

    def restart(self) -> None:
        """A new process: what was not durable is gone."""
        self.faults = Faults(self.clock)
        self.world = self.world_with(self.faults)

    def world_with(self, faults: Faults) -> World:
        """The ports of one process, or of one invocation, with faults of its own."""
        state, limits = self.state, self.settings.limits
        return World(
            settings=self.settings,
            clock=self.clock,
            calls=MemoryCallStore(state, faults, Deriving.of(self.settings)),
            evidence=MemoryEvidence(state, faults, items_max=limits.evidence_items_max),
            incidents=MemoryIncidents(state, faults),
            recordings=MemoryRecordingStore(state, faults),
            queue=MemoryWorkQueue(state, faults, self.clock, tries_max=limits.step_tries_max),
            timetable=MemoryTimetable(state, faults),
            chance=lambda: 0.5,
        )

    async def send(self, *bodies: dict[str, Any]) -> None:
        """OCP pushes events."""
        context = Context(received_at_ms=self.clock.now_ms())
        for body in bodies:
            await intake.events(self.world, [(body, msgspec.json.encode(body))], context)

    async def upload(
        self, body: bytes, name: str = NAME, source: Any = "stream"
    ) -> intake.TakenRecording:
        """OCP pushes (or an export brings) a recording, in blocks."""

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(body), 65_536):
                yield body[at : at + 65_536]

        return await intake.recording(
            self.world, parse_name(name), chunks(), source=source, expected_bytes=len(body)
        )

    async def drain(self) -> None:
        """Workers do what is queued."""
        limits = self.settings.limits
        for _ in range(1_000):
            messages = await self.world.queue.take(
                limit=10, lease_ms=limits.step_lease_ms, wait_s=0
            )
            if not messages:
                return
            for message in messages:
                await pipeline.handle(self.world, message)
        raise AssertionError("the queue never gets empty")

    async def call(self, call_id: str = CALL_ID) -> Call:
        """The record; it must be there."""
        call = await self.world.calls.load(call_id)
        assert call is not None
        return call

    def objects(self, bucket: str) -> dict[str, bytes]:
        """What is in a bucket, seen from outside."""
        return {key: body for key, (body, _) in self.state.buckets.get(bucket, {}).items()}
