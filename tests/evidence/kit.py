"""An embedded site whose real time is ours, filled through intake, as its evidence sees it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

from ocp_ingest import bootstrap
from ocp_ingest import config as config_reader
from ocp_ingest.adapters.memory.clock import ManualClock
from ocp_ingest.core.calendar import day
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.vendor import Context
from ocp_ingest.evidence import sealer, verify
from ocp_ingest.evidence.bundle import File
from ocp_ingest.evidence.findings import Finding
from ocp_ingest.evidence.world import Evidence
from ocp_ingest.ingest import intake, pipeline
from tests.cli.kit import CONFIG
from tests.story.kit import Talk, encoded, hiss


class Site:
    """A runtime below a folder; `evidence` has a real clock that stands until it is moved."""

    def __init__(self, folder: Path, *, seed: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = folder / "data"
        self.config = folder / "site.toml"
        self.config.write_text(CONFIG.format(data_dir=self.data_dir))
        self.rng = Random(seed)
        # Noon, so that no test straddles a midnight.
        now_ms = int(time.time() * 1000)
        self.real = ManualClock(now_ms - now_ms % DAY_MS + 12 * HOUR_MS)
        self.open()

    def open(self) -> None:
        """The next process."""
        config = config_reader.load(self.config, environ={})
        self.runtime = bootstrap.embedded(config)
        self.evidence: Evidence = dataclasses.replace(self.runtime.evidence, real=self.real)
        self.world = self.runtime.world

    def close(self) -> None:
        """Ends the process."""
        self.runtime.close()

    @property
    def today(self) -> str:
        """The real day, yyyy-mm-dd."""
        return day(self.real.now_ms())

    async def tell(self, talk: Talk) -> None:
        """OCP pushes both CDRs."""
        context = Context(received_at_ms=int(time.time() * 1000))
        bodies = [talk.start(), talk.end()]
        await intake.events(self.world, [(b, encoded(b)) for b in bodies], context)
        await pipeline.drain(self.world)

    async def upload(self, name: str, audio: bytes) -> None:
        """OCP pushes a recording."""

        async def chunks() -> AsyncIterator[bytes]:
            yield audio

        await intake.recording(self.world, parse_name(name), chunks(), source="stream")
        await pipeline.drain(self.world)

    async def announced(self) -> str:
        """A call without a recording; its id."""
        talk = Talk(self.rng, 4_000, "banking-voice")
        await self.tell(talk)
        return talk.call_id

    async def stored(self) -> str:
        """A call that is done; its id."""
        return await self._recorded(0)

    async def quarantined(self) -> str:
        """A call whose recording is far too long for it; its id."""
        return await self._recorded(20_000)

    async def _recorded(self, longer_ms: int) -> str:
        talk = Talk(self.rng, 1_000, "banking-voice")
        await self.tell(talk)
        await self.upload(talk.name, hiss(self.rng, talk.duration_ms + longer_ms))
        return talk.call_id

    async def next_day(self) -> str:
        """Seals what waits, lets the day pass and closes it; which day that was."""
        closing = self.today
        await sealer.seal(self.evidence)
        self.real.advance(DAY_MS)
        assert await sealer.close_days(self.evidence) == [closing]
        return closing

    async def findings(self) -> list[Finding]:
        """What `verify` finds wrong."""
        return [f async for f in verify.everything(self.evidence) if f.is_bad]


async def write(files: AsyncIterator[File], folder: Path) -> Path:
    """A bundle on disk."""
    async for file in files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join([block async for block in file.body]))
    return folder


def flipped(body: bytes, rng: Random) -> bytes:
    """The bytes with one bit of one of them turned."""
    at = rng.randrange(len(body))
    return body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]
