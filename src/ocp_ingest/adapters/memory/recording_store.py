"""RecordingStore in memory; bytes on their way pass points where they can be damaged."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from ocp_ingest.adapters.keys import check, check_bucket, check_deletable
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.core.errors import Conflict, Damaged, NotFound, Transient
from ocp_ingest.core.limits import BLOCK_BYTES
from ocp_ingest.core.settings import LANDING
from ocp_ingest.ports import Landed, ObjectInfo

_NAME: Final = "{:032x}"


class MemoryUpload:
    """See ocp_ingest.ports.Upload; lost with the process until `commit`."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self._state = state
        self._faults = faults
        self._body = bytearray()
        self._digest = hashlib.sha256()
        self._ended = False

    async def write(self, block: bytes | memoryview) -> None:
        """Takes the next block."""
        assert not self._ended, "an upload takes no bytes after its end"
        async with self._faults.at("RecordingStore.upload.write"):
            self._body += block
            self._digest.update(block)

    async def commit(self) -> Landed:
        """Makes the bytes an object of the landing store."""
        assert not self._ended, "an upload ends once"
        sha256 = self._digest.hexdigest()
        body = self._faults.through("RecordingStore.upload.bytes", bytes(self._body))
        if hashlib.sha256(body).hexdigest() != sha256:
            raise Transient("The bytes changed on their way: send the recording again.")
        async with self._faults.at("RecordingStore.upload.visible"):
            name = _NAME.format(self._state.next_id())
            key = f"{name[-2:]}/{name}"
            self._state.buckets.setdefault(LANDING, {})[key] = (body, sha256)
        self._ended = True
        return Landed(key, len(body), sha256)

    async def abort(self) -> None:
        """Forgets them; never raises."""
        self._ended = True
        self._body.clear()


class MemoryRecordingStore:
    """See ocp_ingest.ports.RecordingStore."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def begin(self) -> MemoryUpload:
        """Starts an upload into the landing store."""
        async with self._faults.at("RecordingStore.begin"):
            return MemoryUpload(self._state, self._faults)

    async def copy_once(
        self, bucket: str, key: str, to_bucket: str, to_key: str, sha256: str
    ) -> bool:
        """Copies, creates only, proves the copy. Raises Conflict, NotFound, Terminal."""
        check(bucket, key)
        check(to_bucket, to_key)
        source = self._object(bucket, key)[0]
        if self._stands(to_bucket, to_key, sha256):
            return False
        body = self._faults.through("RecordingStore.copy_once.bytes", source)
        if hashlib.sha256(body).hexdigest() != sha256:
            if hashlib.sha256(source).hexdigest() != sha256:
                raise Damaged("The source's bytes are not those that were received.")
            raise Transient("The copy differs from its source: the disk may be failing.")
        async with self._faults.at("RecordingStore.copy_once.visible"):
            created = self._create(to_bucket, to_key, body, sha256)
        return created or not self._stands(to_bucket, to_key, sha256)

    async def put_once(self, bucket: str, key: str, body: bytes) -> bool:
        """Writes a small object, creates only."""
        check(bucket, key)
        async with self._faults.at("RecordingStore.put_once"):
            return self._create(bucket, key, bytes(body), hashlib.sha256(body).hexdigest())

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """What is there, or None."""
        check(bucket, key)
        async with self._faults.at("RecordingStore.head"):
            found = self._state.buckets.get(bucket, {}).get(key)
        return None if found is None else ObjectInfo(key, len(found[0]), found[1])

    async def hash(self, bucket: str, key: str) -> str:
        """SHA-256 of what is really there."""
        check(bucket, key)
        async with self._faults.at("RecordingStore.hash"):
            return hashlib.sha256(self._object(bucket, key)[0]).hexdigest()

    async def scan(self, bucket: str, key: str, sink: Callable[[bytes], None]) -> None:
        """Feeds every block to `sink`."""
        async for block in self.read(bucket, key):
            sink(block)

    async def read(
        self, bucket: str, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes, or a range of them."""
        check(bucket, key)
        async with self._faults.at("RecordingStore.read"):
            whole = self._object(bucket, key)[0]
        body = whole[offset:] if length is None else whole[offset : offset + length]
        for start in range(0, len(body), BLOCK_BYTES):
            block = body[start : start + BLOCK_BYTES]
            yield self._faults.through("RecordingStore.read.bytes", block)

    async def list(
        self, bucket: str, *, after: str = "", limit: int = 1000
    ) -> builtins.list[ObjectInfo]:
        """Objects of a bucket by key."""
        check_bucket(bucket)
        async with self._faults.at("RecordingStore.list"):
            held = self._state.buckets.get(bucket, {})
            keys = sorted(key for key in held if key > after)[:limit]
            return [ObjectInfo(key, len(held[key][0]), held[key][1]) for key in keys]

    async def delete(self, bucket: str, key: str) -> None:
        """Removes an object of the landing store."""
        check_deletable(bucket)
        check(bucket, key)
        async with self._faults.at("RecordingStore.delete"):
            self._state.buckets.get(bucket, {}).pop(key, None)

    def _object(self, bucket: str, key: str) -> tuple[bytes, str]:
        try:
            return self._state.buckets[bucket][key]
        except KeyError:
            raise NotFound("There is no such object.") from None

    def _stands(self, bucket: str, key: str, sha256: str) -> bool:
        found = self._state.buckets.get(bucket, {}).get(key)
        if found is None:
            return False
        if hashlib.sha256(found[0]).hexdigest() != sha256:
            raise Conflict("Another object stands at this key; it was not touched.", key=key)
        return True

    def _create(self, bucket: str, key: str, body: bytes, sha256: str) -> bool:
        held = self._state.buckets.setdefault(bucket, {})
        if key in held:
            return False
        held[key] = (body, sha256)
        return True
