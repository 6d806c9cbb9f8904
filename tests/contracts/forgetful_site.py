"""A recording store on a forgetful disk, and what it acknowledged."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Final

from ocp_ingest.adapters.embedded.recording_store import EmbeddedRecordingStore
from ocp_ingest.core.errors import Conflict
from ocp_ingest.ports import Landed
from tests.contracts.forgetful_disk import ForgetfulDisk

ROOT: Final = Path("/recordings")
BODIES: Final = [bytes([65 + n]) * (700 * n) for n in range(6)]


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


KNOWN: Final = {sha(body): body for body in BODIES}


class Site:
    """A recording store on a forgetful disk, and what it acknowledged."""

    def __init__(self, disk: ForgetfulDisk) -> None:
        self.disk = disk
        self.ids = itertools.count()
        self.acknowledged: dict[tuple[str, str], str] = {}
        self.landed: list[Landed] = []

    def start(self) -> None:
        self.store = EmbeddedRecordingStore(
            ROOT, files=self.disk, new_id=lambda: f"{next(self.ids):08x}"
        )
        self.store.sweep()

    def stop(self) -> None:
        self.store.close()

    async def upload(self, number: int) -> None:
        body = BODIES[number]
        upload = await self.store.begin()
        for offset in range(0, len(body), 512):
            await upload.write(body[offset : offset + 512])
        landed = await upload.commit()
        assert landed.sha256 == sha(body)
        self.landed.append(landed)
        self.acknowledged["landing", landed.key] = landed.sha256

    async def copy(self, number: int, key: str) -> None:
        if not self.landed:
            return
        source = self.landed[number % len(self.landed)]
        try:
            await self.store.copy_once("landing", source.key, "sales", key, source.sha256)
        except Conflict:
            return
        self.acknowledged["sales", key] = source.sha256

    async def put(self, number: int, key: str) -> None:
        if await self.store.put_once("sales", f"{key}.json", BODIES[number]):
            self.acknowledged["sales", f"{key}.json"] = sha(BODIES[number])
        else:
            there = await self.store.hash("sales", f"{key}.json")
            self.acknowledged["sales", f"{key}.json"] = there

    async def delete(self, number: int) -> None:
        if self.landed:
            landed = self.landed.pop(number % len(self.landed))
            del self.acknowledged["landing", landed.key]  # asked to go: gone or not, both are fine
            await self.store.delete("landing", landed.key)

    async def kill(self) -> None:
        self.stop()
        self.disk.kill()
        self.start()

    async def violations(self) -> list[str]:
        """What is not as it was acknowledged, or only half there."""
        found = []
        for (bucket, key), sha256 in self.acknowledged.items():
            info = await self.store.head(bucket, key)
            if info is None:
                found.append(f"{bucket}/{key} is lost")
            elif await self.store.hash(bucket, key) != sha256:
                found.append(f"{bucket}/{key} holds other bytes")
        for bucket in ("landing", "sales"):
            for info in await self.store.list(bucket):
                real = await self.store.hash(bucket, info.key)
                if real not in KNOWN:
                    found.append(f"{bucket}/{info.key} is half there")
                if info.sha256 != real:
                    found.append(f"{bucket}/{info.key} is noted with another hash")
        return found
