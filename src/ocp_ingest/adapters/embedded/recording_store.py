"""RecordingStore on a local disk; `disk` has the rules of durability, this the port's verbs.

Everything that touches the disk runs in a bounded set of threads, never in the event loop. What a
sender waits for goes before what nobody does: whole recordings are read and copied by threads that
step back while there is other work for the processor, and rest while uploads move.
"""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import os
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from ocp_ingest.adapters.embedded.disk import READ_BYTES, Disk, fate
from ocp_ingest.adapters.embedded.file_system import FileSystem
from ocp_ingest.adapters.embedded.upload import DiskUpload, Room
from ocp_ingest.adapters.keys import check, check_bucket, check_deletable
from ocp_ingest.core.errors import Conflict, Damaged, NotFound, Transient
from ocp_ingest.ports import ObjectInfo

P = ParamSpec("P")
T = TypeVar("T")

# Disk work at once: keeps a disk's queue filled; more would only wait there.
THREADS: Final = 8
# Whole recordings read or copied at once, and how far these threads step back (`nice`). While the
# bytes of uploads move they rest between blocks, too (Room.rest): threads of one interpreter wait
# for each other, whatever priority the system knows of.
LATER_THREADS: Final = 4
LATER_NICE: Final = 10


class EmbeddedRecordingStore:
    """See ocp_ingest.ports.RecordingStore. Call `sweep` where no other process writes."""

    def __init__(
        self,
        root: Path,
        *,
        files: FileSystem | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
        room: Room | None = None,
    ) -> None:
        self._room = room or Room()
        self._disk = Disk(root, files or FileSystem(), new_id, self._room.rest)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="recordings")
        self._later = ThreadPoolExecutor(
            LATER_THREADS, thread_name_prefix="recordings-later", initializer=_step_back
        )

    def sweep(self) -> int:
        """Removes what earlier processes left unfinished; how many files that were."""
        return self._disk.sweep()

    def close(self) -> None:
        """Waits for the work under way."""
        self._later.shutdown()
        self._threads.shutdown()

    async def begin(self) -> DiskUpload:
        """Starts an upload into the landing store."""
        path, descriptor = await self._acquire(
            self._disk.begin, lambda made: self._disk.discard(*made)
        )
        return DiskUpload(self._disk, self._threads, self._room, path, descriptor)

    async def copy_once(
        self, bucket: str, key: str, to_bucket: str, to_key: str, sha256: str
    ) -> bool:
        """Copies, creates only, proves the copy. Raises Conflict, NotFound, Terminal."""
        check(bucket, key)
        check(to_bucket, to_key)
        return await self._run_later(self._copy_once, bucket, key, to_bucket, to_key, sha256)

    async def put_once(self, bucket: str, key: str, body: bytes) -> bool:
        """Writes a small object, creates only."""
        check(bucket, key)
        return await self._run(self._put_once, bucket, key, body)

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """What is there, or None."""
        check(bucket, key)
        try:
            return await self._run(self._head, bucket, key)
        except NotFound:
            return None

    async def hash(self, bucket: str, key: str) -> str:
        """SHA-256 of what is really there."""
        check(bucket, key)
        return await self._run_later(self._hash, bucket, key)

    async def scan(self, bucket: str, key: str, sink: Callable[[bytes], None]) -> None:
        """Feeds every block to `sink` in one thread job."""
        check(bucket, key)
        await self._run_later(self._scan, bucket, key, sink)

    async def read(
        self, bucket: str, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes, or a range of them."""
        check(bucket, key)
        descriptor = await self._acquire(
            partial(self._disk.open, bucket, key), self._disk.files.close
        )
        left = self._disk.files.size(descriptor) if length is None else length
        try:
            while left > 0:
                with fate():
                    block = await self._run(
                        self._disk.files.read, descriptor, offset, min(left, READ_BYTES)
                    )
                if not block:
                    return
                yield block
                offset += len(block)
                left -= len(block)
        finally:
            self._disk.files.close(descriptor)

    async def list(
        self, bucket: str, *, after: str = "", limit: int = 1000
    ) -> builtins.list[ObjectInfo]:
        """Objects of a bucket by key, in the order of their bytes."""
        check_bucket(bucket)
        return await self._run(self._list, bucket, after, limit)

    async def delete(self, bucket: str, key: str) -> None:
        """Removes an object of the landing store."""
        check_deletable(bucket)
        check(bucket, key)
        await self._run(self._delete, bucket, key)

    # -- in a thread --------------------------------------------------------------------------

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        # Shielded: what has begun on the disk is ended, whether or not its caller still waits.
        future = self._threads.submit(work, *args, **kwargs)
        return await asyncio.shield(asyncio.wrap_future(future))

    async def _run_later(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        future = self._later.submit(work, *args, **kwargs)
        return await asyncio.shield(asyncio.wrap_future(future))

    async def _acquire(self, work: Callable[[], T], release: Callable[[T], None]) -> T:
        """What `work` opens; released when the caller is cancelled before it could have it."""
        future = self._threads.submit(work)
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            future.add_done_callback(lambda f: None if f.exception() else release(f.result()))
            raise

    def _copy_once(self, bucket: str, key: str, to_bucket: str, to_key: str, sha256: str) -> bool:
        with self._disk.opened(bucket, key) as source:
            if self._stands(to_bucket, to_key, sha256):
                return False
            path, copy = self._disk.begin()
            try:
                with fate():
                    self._disk.files.copy(source, copy)
                    proved = self._disk.hash(copy)
                if proved != sha256:
                    self._explain(source, sha256)
                created = self._disk.publish(path, copy, to_bucket, to_key, sha256)
            finally:
                self._disk.discard(path, copy)
        # Somebody else was faster: what is theirs decides.
        return created or not self._stands(to_bucket, to_key, sha256)

    def _stands(self, bucket: str, key: str, sha256: str) -> bool:
        """Whether these bytes are there. Raises Conflict when others are."""
        try:
            with self._disk.opened(bucket, key) as found:
                there = self._disk.hash(found)
        except NotFound:
            return False
        if there != sha256:
            raise Conflict("Another object stands at this key; it was not touched.", key=key)
        self._disk.settle(bucket, key)
        return True

    def _explain(self, source: int, sha256: str) -> None:
        """Which side of a copy is wrong: the source (Terminal) or the disk (Transient)."""
        with fate():
            there = self._disk.hash(source)
        if there != sha256:
            raise Damaged("The source's bytes are not those that were received.")
        raise Transient("The copy differs from its source: the disk may be failing.")

    def _put_once(self, bucket: str, key: str, body: bytes) -> bool:
        path, descriptor = self._disk.begin()
        try:
            with fate():
                self._disk.files.write(descriptor, body)
            sha256 = hashlib.sha256(body).hexdigest()
            return self._disk.publish(path, descriptor, bucket, key, sha256)
        finally:
            self._disk.discard(path, descriptor)

    def _head(self, bucket: str, key: str) -> ObjectInfo:
        with self._disk.opened(bucket, key) as descriptor:
            return self._disk.info(descriptor, key)

    def _hash(self, bucket: str, key: str) -> str:
        with self._disk.opened(bucket, key) as descriptor:
            return self._disk.hash(descriptor)

    def _scan(self, bucket: str, key: str, sink: Callable[[bytes], None]) -> None:
        descriptor = self._disk.open(bucket, key)
        try:
            blocks = self._disk.blocks(descriptor)
            while True:
                with fate():
                    block = next(blocks, b"")
                if not block:
                    return
                sink(block)  # outside of `fate`: its errors are the caller's
        finally:
            self._disk.files.close(descriptor)

    def _delete(self, bucket: str, key: str) -> None:
        try:
            with fate():
                self._disk.files.unlink(self._disk.path(bucket, key))
        except NotFound:
            return

    def _list(self, bucket: str, after: str, limit: int) -> builtins.list[ObjectInfo]:
        found: builtins.list[ObjectInfo] = []
        for key in self._keys(self._disk.root / bucket, "", after):
            if len(found) >= limit:
                break
            try:
                found.append(self._head(bucket, key))
            except NotFound:
                continue  # removed since it was listed
        return found

    def _keys(self, folder: Path, prefix: str, after: str) -> Iterator[str]:
        """Keys after `after`, in order; folders that lie before it are not opened."""
        with fate():
            entries = [f"{name}/" if deep else name for name, deep in self._disk.files.list(folder)]
        for name in sorted(entries):
            key = prefix + name
            if not name.endswith("/"):
                if key > after:
                    yield key
            elif key > after or after.startswith(key):
                yield from self._keys(folder / name[:-1], key, after)


def _step_back() -> None:
    """Makes this thread yield to others; on Linux, where a thread has a priority of its own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        nice = max(LATER_NICE, os.getpriority(os.PRIO_PROCESS, thread))  # less is not ours to ask
        os.setpriority(os.PRIO_PROCESS, thread, nice)
