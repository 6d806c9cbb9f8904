"""RecordingStore on S3: the port's verbs; `objects` has the requests.

A bucket's name is `aws.bucket_prefix` and the name that the pipeline knows it by. Buckets, their
keys, locks and lifecycles come from the template. Nothing is overwritten: every write creates only.

Checksums   what S3 itself took of the bytes counts (`objects`). `head` says "" of a large recording
            in landing, which came in parts: S3 knows no SHA-256 of it. `list` says "" of all, since
            S3 lists no checksums.
"""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Final

from ocp_ingest.adapters.aws import reading
from ocp_ingest.adapters.aws.copying import COPY_BYTES_MAX, COPY_PART_BYTES, Copier, Copy
from ocp_ingest.adapters.aws.lob_sessions import LobSessions
from ocp_ingest.adapters.aws.objects import (
    META_SHA256,
    META_WRITER,
    Objects,
    base64_of,
    content_type,
    settle,
)
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.aws.upload import (
    ABANDONED_MS,
    PARTS_AT_ONCE_ALL,
    S3Upload,
    abort_abandoned,
    part_bytes,
)
from ocp_ingest.adapters.keys import check, check_bucket, check_deletable
from ocp_ingest.core.errors import NotFound
from ocp_ingest.core.limits import Limits
from ocp_ingest.core.settings import LANDING
from ocp_ingest.ports import ObjectInfo

# S3's bound of a page: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
PAGE_MAX: Final = 1_000


class AwsRecordingStore:
    """See ocp_ingest.ports.RecordingStore; its connections are those of `aws`."""

    def __init__(
        self,
        aws: Aws,
        *,
        recording_bytes_max: int = Limits().recording_bytes_max,
        copy_bytes_max: int = COPY_BYTES_MAX,
        copy_part_bytes: int = COPY_PART_BYTES,
        sessions: LobSessions | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._objects = Objects(aws, sessions)
        self._copier = Copier(self._objects, copy_bytes_max, copy_part_bytes)
        self._part_bytes = part_bytes(recording_bytes_max)
        self._slots = asyncio.Semaphore(PARTS_AT_ONCE_ALL)
        self._new_id = new_id

    async def begin(self) -> S3Upload:
        """Starts an upload into the landing bucket; asks nothing of S3 yet."""
        name = self._new_id()
        return S3Upload(self._objects, f"{name[:2]}/{name}", self._slots, self._part_bytes)

    async def copy_once(
        self, bucket: str, key: str, to_bucket: str, to_key: str, sha256: str
    ) -> bool:
        """Copies inside S3, creates only, proves the copy. Raises Conflict, NotFound, Damaged."""
        check(bucket, key)
        check(to_bucket, to_key)
        copy = Copy(
            bucket=bucket, key=key, to_bucket=to_bucket, to_key=to_key, sha256=sha256,
            writer=self._new_id(),
        )  # fmt: skip
        return await self._copier.copy_once(copy)

    async def put_once(self, bucket: str, key: str, body: bytes) -> bool:
        """Writes a small object, creates only.

        After a lost answer, a random word in the object's metadata says whether it is this one.
        """
        check(bucket, key)
        sha256, writer = hashlib.sha256(body).hexdigest(), self._new_id()

        async def put() -> bool:
            await self._objects.ask(
                "put_object", bucket, Key=key, Body=body, IfNoneMatch="*",
                ChecksumSHA256=base64_of(sha256), ContentType=content_type(key),
                Metadata={META_SHA256: sha256, META_WRITER: writer},
            )  # fmt: skip
            return True

        async def standing() -> bool | None:
            found = await self._objects.look(bucket, key)
            return None if found is None else found.writer == writer

        return await settle(put, standing)

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """What is there, or None."""
        check(bucket, key)
        found = await self._objects.look(bucket, key)
        return None if found is None else ObjectInfo(key, found.bytes, found.sha256)

    async def hash(self, bucket: str, key: str) -> str:
        """SHA-256 of what is really there, read back."""
        check(bucket, key)
        return await reading.sha256_of(self._objects, bucket, key)

    async def scan(self, bucket: str, key: str, sink: Callable[[bytes], None]) -> None:
        """Feeds every block to `sink` in a thread."""
        check(bucket, key)
        await reading.scan(self._objects, bucket, key, sink)

    async def read(
        self, bucket: str, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes, or a range of them."""
        check(bucket, key)
        async with aclosing(reading.read(self._objects, bucket, key, offset, length)) as blocks:
            async for block in blocks:
                yield block

    async def list(
        self, bucket: str, *, after: str = "", limit: int = PAGE_MAX
    ) -> builtins.list[ObjectInfo]:
        """Objects of a bucket by key, in the order of their bytes; at most PAGE_MAX."""
        check_bucket(bucket)
        start = {"StartAfter": after} if after else {}
        said = await self._objects.ask(
            "list_objects_v2", bucket, again=True, MaxKeys=min(limit, PAGE_MAX), **start
        )
        return [ObjectInfo(held["Key"], int(held["Size"])) for held in said.get("Contents", [])]

    async def delete(self, bucket: str, key: str) -> None:
        """Removes an object of the landing bucket."""
        check_deletable(bucket)
        check(bucket, key)
        try:
            await self._objects.ask("delete_object", bucket, again=True, Key=key)
        except NotFound:
            return  # S3 says nothing of a missing key; servers like it may

    async def sweep(
        self,
        *,
        now_ms: int,
        older_than_ms: int = ABANDONED_MS,
        buckets: Iterable[str] = (LANDING,),
    ) -> int:
        """Aborts uploads that their process left behind; how many.

        `now_ms` is real time (S3's clock), not domain time. Copies in parts may leave some in the
        buckets that they copy to. Raises Transient.
        """
        aborted = 0
        for bucket in buckets:
            check_bucket(bucket)
            aborted += await abort_abandoned(
                self._objects, bucket, now_ms=now_ms, older_than_ms=older_than_ms
            )
        return aborted
