"""An upload onto the disk: one thread job per block hashes and writes it, the next one gathers.

At most one block is in a thread and one gathers, so an upload's memory is bounded by twice the
block size, and its bytes are written in their order. A block is what came, not a copy of it. The
disk is asked to begin with what it was given while more comes: the sync at the end waits for the
rest only. While blocks move, who reads whole recordings rests between its own (`Room.rest`). Jobs
are shielded from cancellation: a cancelled upload is aborted, and `abort` waits for the job under
way before it closes the file.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Final

from ocp_ingest.adapters.embedded.disk import Disk, fate
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.limits import KIB, MIB
from ocp_ingest.core.settings import LANDING
from ocp_ingest.ports import Landed

# A job costs a tenth of a millisecond: large blocks while few uploads share the memory, small ones
# while many do.
BLOCKS_BYTES_MAX: Final = 32 * MIB
BLOCK_BYTES_MAX: Final = 1 * MIB
BLOCK_BYTES_MIN: Final = 128 * KIB
# Parts of a block: a sender's tiny pieces must not cost more than what is in them.
PARTS_MAX: Final = 64
_PART_BYTES_MIN: Final = 16 * KIB
# Bytes after which the disk is asked to begin: enough for whole extents, and so few that the sync
# at the end has little left to wait for.
BEGIN_BYTES: Final = 2 * MIB


# Intake is busy when a block moved in this time: longer than from one block of a fast sender to its
# next, shorter than the waits for the disk, in which others may have the processor.
BUSY_S: Final = 0.02
# How long a reader of whole recordings rests after a step while intake is busy, in times of the
# step. Two workers then have a twentieth of a processor, and a recording of 4 GiB (8 s of checks)
# still ends within its lease of ten minutes.
REST_STEPS: Final = 40
# So often it looks whether intake is still busy.
_LOOK_S: Final = 0.005


class Room:
    """What the uploads of a store share: the memory for blocks, and the right of way."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.uploads = 0
        self._clock = clock
        self._sleep = sleep
        self._moved_s = -BUSY_S

    @property
    def block_bytes(self) -> int:
        """The size of a block now, in bytes."""
        share = BLOCKS_BYTES_MAX // max(1, self.uploads)
        return max(BLOCK_BYTES_MIN, min(BLOCK_BYTES_MAX, share))

    def moved(self) -> None:
        """A block of an upload moves."""
        self._moved_s = self._clock()

    @property
    def busy(self) -> bool:
        """Whether the bytes of uploads move."""
        return self.uploads > 0 and self._clock() - self._moved_s < BUSY_S

    def rest(self, step_s: float) -> None:
        """Lets intake go first after a step of so much processor time; bounded: nobody starves."""
        left_s = REST_STEPS * step_s
        while left_s > 0 and self.busy:
            self._sleep(min(left_s, _LOOK_S))
            left_s -= _LOOK_S


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
        if self._running is None:
            return
        if self._running.done():
            self._running.result()  # at once: a turn of the loop for each block adds up
        else:
            await asyncio.shield(asyncio.wrap_future(self._running))

    # -- in a thread --------------------------------------------------------------------------

    def _take(self, parts: list[bytes]) -> None:
        if min(map(len, parts)) < _PART_BYTES_MIN:
            parts = [b"".join(parts)]
        self._room.moved()
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
