"""An upload onto the disk: one thread job per block hashes and writes it, the next one gathers.

At most one block is in a thread and one gathers, so an upload's memory is bounded by twice the
block size, and its bytes are written in their order. A block is what came, not a copy of it. The
disk is asked to begin with what it was given while more comes: the sync at the end waits for the
rest only. Jobs are shielded from cancellation: a cancelled upload is aborted, and `abort` waits
for the job under way before it closes the file.
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Final

from ocp_ingest.adapters.embedded.disk import Disk, fate
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.limits import BLOCK_BYTES, KIB, MIB
from ocp_ingest.core.settings import LANDING
from ocp_ingest.ports import Landed

# A job costs a tenth of a millisecond: large blocks while few uploads share the memory, small ones
# (limits.BLOCK_BYTES) while many do.
BLOCKS_BYTES_MAX: Final = 32 * MIB
BLOCK_BYTES_MAX: Final = 1 * MIB
# Parts of a block: a sender's tiny pieces must not cost more than what is in them.
PARTS_MAX: Final = 64
_PART_BYTES_MIN: Final = 16 * KIB
# Bytes after which the disk is asked to begin: large enough for whole extents.
BEGIN_BYTES: Final = 8 * MIB


class Room:
    """How many uploads of a store share the memory for blocks."""

    def __init__(self) -> None:
        self.uploads = 0

    @property
    def block_bytes(self) -> int:
        """The size of a block now, in bytes."""
        share = BLOCKS_BYTES_MAX // max(1, self.uploads)
        return max(BLOCK_BYTES, min(BLOCK_BYTES_MAX, share))


class DiskUpload:
    """See ocp_ingest.ports.Upload."""

    def __init__(
        self, disk: Disk, threads: Executor, room: Room, path: Path, descriptor: int
    ) -> None:
        self._disk = disk
        self._threads = threads
        self._room = room
        room.uploads += 1
        self._path = path
        self._descriptor = descriptor
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._running: Future[Any] | None = None
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._begun_bytes = 0
        self._ended = False
        self._released = False  # a descriptor must be closed once: its number may be another's

    async def write(self, block: bytes | memoryview) -> None:
        """Takes the next block. Raises Transient when an earlier one could not be written."""
        assert not self._ended, "an upload takes no bytes after its end"
        self._gathered.append(block if isinstance(block, bytes) else bytes(block))
        self._gathered_bytes += len(block)
        enough = self._gathered_bytes >= self._room.block_bytes
        if enough or len(self._gathered) >= PARTS_MAX:
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
        parts, self._gathered, self._gathered_bytes = self._gathered, [], 0
        await self._settled()
        if parts:
            self._running = self._threads.submit(self._take, parts)

    async def _settled(self) -> None:
        """Waits for the block in the thread; its error, if it had one, is raised every time."""
        if self._running is not None:
            await asyncio.shield(asyncio.wrap_future(self._running))

    # -- in a thread --------------------------------------------------------------------------

    def _take(self, parts: list[bytes]) -> None:
        if min(map(len, parts)) < _PART_BYTES_MIN:
            parts = [b"".join(parts)]
        for part in parts:
            self._digest.update(part)
            self._bytes += len(part)
            with fate():
                self._disk.files.write(self._descriptor, part)
        if self._bytes - self._begun_bytes >= BEGIN_BYTES:
            self._disk.files.begin_writing(self._descriptor, self._begun_bytes)
            self._begun_bytes = self._bytes

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
            self._room.uploads -= 1
            self._disk.discard(self._path, self._descriptor)
