"""A console whose recordings are counted as they are read, and whose clock the test sets."""

from __future__ import annotations

import dataclasses
import re
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any

from ocp_ingest.entrypoints.api.app import create_app
from ocp_ingest.entrypoints.api.server import serving
from ocp_ingest.entrypoints.console.app import console_handlers
from ocp_ingest.entrypoints.console.deps import build
from ocp_ingest.ports import ObjectInfo, RecordingStore
from tests.console.kit import CHEAP, Client, Page, Site
from tests.console.kit import site as site_of
from tests.core.audio.builders import fmt
from tests.story.kit import Talk

_SRC = re.compile(r'<source src="([^"]+)"')


class Counting:
    """A store that counts the bytes that were read of it, and the readings under way."""

    def __init__(self, store: RecordingStore) -> None:
        self._store = store
        self.read_bytes = 0
        self.scanned = 0
        self.open = 0
        # Kept, so that it is the reader who closes them and not the collector of garbage.
        self.readings: list[AsyncIterator[bytes]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        return await self._store.head(bucket, key)

    async def scan(self, bucket: str, key: str, sink: Callable[[bytes], None]) -> None:
        self.scanned += 1
        await self._store.scan(bucket, key, sink)

    def read(
        self, bucket: str, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        self.readings.append(self._read(bucket, key, offset, length))
        return self.readings[-1]

    async def _read(
        self, bucket: str, key: str, offset: int, length: int | None
    ) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            async for block in self._store.read(bucket, key, offset, length):
                self.read_bytes += len(block)
                yield block
        finally:
            self.open -= 1


@dataclasses.dataclass
class Heard:
    """The site, its counting store, and how far its clock was moved on."""

    site: Site
    store: Counting
    later_s: float = 0.0

    async def listen(self, client: Client, talk: Talk, reason: str = "") -> str:
        """The address in the player."""
        page = await self.post(client, talk, "listen", reason)
        assert page.status == 200, page.text
        found = _SRC.search(page.html)
        assert found is not None, page.html
        return unescape(found.group(1))

    async def post(self, client: Client, talk: Talk, what: str, reason: str = "") -> Page:
        """Listen as htmx asks for it, or download."""
        path = await self.path(talk, what)
        return await client.post(path, htmx=what == "listen", follow=False, reason=reason)

    async def path(self, talk: Talk, what: str, version: int = 0) -> str:
        """An address below the root recording of a call."""
        call = await self.site.call(talk.call_id)
        sha = sorted(call.root.versions)[version]
        return f"/console/calls/{talk.call_id}/recordings/{talk.call_id}/{sha}/{what}"


@asynccontextmanager
async def heard_site(folder: Path, **sections: Any) -> AsyncIterator[Heard]:
    """Served over the same runtime as an ordinary site, beside it."""
    async with site_of(folder, **sections) as plain:
        store = Counting(plain.world.recordings)
        world = dataclasses.replace(plain.world, recordings=store)
        desk = dataclasses.replace(plain.desk, world=world)
        heard: list[Heard] = []
        console = build(
            desk, plain.config, passwords=CHEAP, now_s=lambda: time.time() + heard[0].later_s
        )
        api = create_app(plain.world, plain.authority, plain.config,
                         more=console_handlers(console))  # fmt: skip
        async with serving(api, plain.config.server) as port:
            site = dataclasses.replace(plain, console=console, port=port)
            heard.append(Heard(site, store))
            yield heard[0]


HOUR_BYTES = 57_600_000


def hour_wav() -> bytes:
    """1 h at 8 kHz, 16 bits, mono; every four bytes say where they stand, so none are alike."""
    head = fmt(1, 1, 8_000, 16)
    data = struct.pack("<I", HOUR_BYTES)
    riff = b"RIFF" + struct.pack("<I", 4 + len(head) + 8 + HOUR_BYTES) + b"WAVE" + head
    body = b"".join(
        struct.pack("<262144I", *range(at, at + 262_144))
        for at in range(0, HOUR_BYTES // 4, 262_144)
    )
    return riff + b"data" + data + body[:HOUR_BYTES]
