"""An upload onto the disk: one thread job per block hashes and writes it, the next one gathers.

At most one block is in a thread and one gathers, so an upload's memory is bounded by twice the
block size, and its bytes are written in their order. Jobs are shielded from cancellation: a
cancelled upload is aborted, and `abort` waits for the job under way before it closes the file.
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from ocp_ingest.adapters.embedded.disk import Disk, fate
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.limits import BLOCK_BYTES
from ocp_ingest.core.settings import LANDING
from ocp_ingest.ports import Landed


class DiskUpload:
    """See ocp_ingest.ports.Upload."""

    def __init__(self, disk: Disk, threads: Executor, path: Path, descriptor: int) -> None:
        self._disk = disk
        self._threads = threads
        self._path = path
        self._descriptor = descriptor
        self._gathered = bytearray()
        self._running: Future[Any] | None = None
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._ended = False
        self._released = False  # a descriptor must be closed once: its number may be another's

    async def write(self, block: bytes | memoryview) -> None:
        """Takes the next block. Raises Transient when an earlier one could not be written."""
        assert not self._ended, "an upload takes no bytes after its end"
        self._gathered += block
        if len(self._gathered) >= BLOCK_BYTES:
            await self._pass_on()

    async def commit(self) -> Landed:
        """Writes what is left, syncs file and folder, gives it its name in the landing store."""
        assert not self._ended, "an upload ends once"
        await self._pass_on()
        await self._settled()
        finishing = self._threads.submit(self._finish, self._path.name)
        self._running = finishing
        landed = await asyncio.shield(asyncio.wrap_future(finishing))
        self._ended = True
        return landed

    async def abort(self) -> None:
        """Forgets the bytes; never raises, and does nothing after a commit."""
        if self._ended:
            return
        self._ended = True
        self._gathered.clear()
        await asyncio.shield(asyncio.wrap_future(self._threads.submit(self._discard)))

    async def _pass_on(self) -> None:
        block, self._gathered = self._gathered, bytearray()
        await self._settled()
        if block:
            self._running = self._threads.submit(self._take, block)

    async def _settled(self) -> None:
        """Waits for the block in the thread; its error, if it had one, is raised every time."""
        if self._running is not None:
            await asyncio.shield(asyncio.wrap_future(self._running))

    # -- in a thread --------------------------------------------------------------------------

    def _take(self, block: bytearray) -> None:
        self._digest.update(block)
        self._bytes += len(block)
        with fate():
            self._disk.files.write(self._descriptor, block)

    def _finish(self, name: str) -> Landed:
        # Two levels: a folder with a hundred thousand names is slow on many file systems.
        key = f"{name[:2]}/{name}"
        sha256 = self._digest.hexdigest()
        if not self._disk.publish(self._path, self._descriptor, LANDING, key, sha256):
            raise Transient("The landing key was taken: send the recording again.")
        self._release()
        return Landed(key, self._bytes, sha256)

    def _discard(self) -> None:
        # Jobs start in order, so the one waited for here is running or done, never behind.
        if self._running is not None:
            self._running.exception()
        self._release()

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self._disk.discard(self._path, self._descriptor)
