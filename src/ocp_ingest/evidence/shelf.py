"""The shelf: a bucket of a RecordingStore in which files are created only.

days/<yyyy-mm-dd>/statement.txt          the seal of the day (core.statement)
days/<yyyy-mm-dd>/<its sha256>.sig       its signature, 64 bytes; written before it, so a statement
                                         that stands has one
days/<yyyy-mm-dd>/parts.txt              roots of the parts of its tree
days/<yyyy-mm-dd>/leaves-<number>.txt    leaves of one part
days/<yyyy-mm-dd>/figures.json           the counts of the calls that began on that day
days/<yyyy-mm-dd>/exceptions-<n>.ndjson  calls of that day that were not stored
keys/<key id>.pem                        every public key that ever signed
"""

from __future__ import annotations

from typing import Final

from ocp_ingest.core.errors import NotFound, TooLarge
from ocp_ingest.core.limits import MIB
from ocp_ingest.ports import RecordingStore

# The largest are a part's leaves: 4,096 lines of at most 3 KB.
FILE_BYTES_MAX: Final = 16 * MIB


class BucketShelf:
    """See ocp_ingest.evidence.ports.Shelf."""

    def __init__(self, store: RecordingStore, bucket: str, prefix: str = "") -> None:
        self._store = store
        self._bucket = bucket
        self._prefix = prefix

    async def put(self, name: str, body: bytes) -> bytes:
        """Keeps a file, unless one stands there."""
        assert len(body) <= FILE_BYTES_MAX, "files of the shelf are small"
        if await self._store.put_once(self._bucket, self._prefix + name, body):
            return body
        standing = await self.get(name)
        assert standing is not None, "nothing on the shelf is ever removed"
        return standing

    async def get(self, name: str) -> bytes | None:
        """A file, or None."""
        found = bytearray()
        try:
            async for block in self._store.read(self._bucket, self._prefix + name):
                found += block
                if len(found) > FILE_BYTES_MAX:
                    raise TooLarge("A file of the evidence is larger than any that is written.")
        except NotFound:
            return None
        return bytes(found)
