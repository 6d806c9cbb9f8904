"""Copies inside S3 that create only and are proved, so that no recording leaves S3 on its way.

Up to COPY_BYTES_MAX   CopyObject with If-None-Match; S3 computes the SHA-256 of the copy, which is
                       compared with the one that was received. A source whose own SHA-256 S3 knows
                       is compared before, so that a damaged one is never copied.
Above it               S3 computes no SHA-256 over parts. The source is read once: its SHA-256 is
                       compared, its CRC64NVME taken in the same pass. Then UploadPartCopy, bound to
                       the ETag that was read, and completing with that CRC64NVME, which S3 itself
                       compares before anything is visible.

Lost answers   a random word in the metadata tells this copy from another's: what stands at the
               target decides (settle). What stands there is proved by S3's checksum, never by its
               metadata alone: a copy of damaged bytes whose answer was lost says the right SHA-256.
Damaged        a copy that turns out to be wrong is removed: exactly the version that was just made,
               nothing else, ever. Where the bucket's lock forbids even that, it stays and the error
               says so.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from awscrt.checksums import crc64nvme

from ocp_ingest.adapters.aws.objects import (
    META_CRC,
    META_SHA256,
    META_WRITER,
    Anew,
    Found,
    Objects,
    Refused,
    content_type,
    crc_text,
    hex_of,
    settle,
)
from ocp_ingest.adapters.aws.reading import proved_sha256, scan
from ocp_ingest.adapters.aws.upload import PARTS_MAX, abort_multipart
from ocp_ingest.core.errors import (
    Conflict,
    Damaged,
    NotFound,
    OcpIngestError,
    Transient,
)
from ocp_ingest.core.limits import MIB

# CopyObject's bound: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html (5 GB).
COPY_BYTES_MAX: Final = 5_000_000_000
# One UploadPartCopy: a few seconds, well within the time after which an answer counts as lost.
COPY_PART_BYTES: Final = 256 * MIB
# Parts of one copy under way; S3 does the work, more would only meet its throttling.
COPY_PARTS_AT_ONCE: Final = 4


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy to be made; `writer` is random and this copy's own."""

    bucket: str
    key: str
    to_bucket: str
    to_key: str
    sha256: str
    writer: str


class Copier:
    """Makes copies; the bounds are parameters so that small objects can be copied in parts."""

    def __init__(
        self,
        objects: Objects,
        copy_bytes_max: int = COPY_BYTES_MAX,
        part_bytes: int = COPY_PART_BYTES,
    ) -> None:
        self._objects = objects
        self._copy_bytes_max = copy_bytes_max
        self._part_bytes = part_bytes

    async def copy_once(self, copy: Copy) -> bool:
        """See RecordingStore.copy_once."""
        source = await self._objects.look(copy.bucket, copy.key)
        if source is None:
            raise NotFound("There is no such object.")
        if source.sha256 and source.sha256 != copy.sha256:
            raise _damaged()
        if source.bytes <= self._copy_bytes_max:
            return await settle(lambda: self._whole(copy), lambda: self._standing(copy))
        # Looked at first: reading a source of this size only to be refused would take minutes.
        standing = await self._standing(copy)
        if standing is not None:
            return standing
        crc = await self._read_source(copy)
        return await settle(lambda: self._in_parts(copy, source, crc), lambda: self._standing(copy))

    async def _standing(self, copy: Copy) -> bool | None:
        """Whether what stands at the target is this copy (True) or another of the same bytes
        (False); None when nothing does. Raises Conflict for other bytes, Damaged for our own.
        """
        found = await self._objects.look(copy.to_bucket, copy.to_key)
        if found is None:
            return None
        ours = found.writer == copy.writer
        try:
            there = await proved_sha256(self._objects, copy.to_bucket, copy.to_key, found)
        except NotFound as gone:
            raise Transient("The object was removed while it was read.") from gone
        if there == copy.sha256:
            return ours
        if ours:
            await self._remove(copy, found)
            raise _damaged()
        raise Conflict("Another object stands at this key; it was not touched.", key=copy.to_key)

    # -- whole --------------------------------------------------------------------------------

    async def _whole(self, copy: Copy) -> bool:
        said = await self._objects.ask(
            "copy_object", copy.to_bucket, Key=copy.to_key, IfNoneMatch="*",
            CopySource=self._source(copy), ChecksumAlgorithm="SHA256",
            MetadataDirective="REPLACE", ContentType=content_type(copy.to_key),
            Metadata={META_SHA256: copy.sha256, META_WRITER: copy.writer},
        )  # fmt: skip
        result: dict[str, Any] = said.get("CopyObjectResult", {})
        there = hex_of(result.get("ChecksumSHA256", ""))
        if there == copy.sha256:
            return True
        if not there:
            standing = await self._standing(copy)
            if standing is None:
                raise Transient("A copy that was made is not there.")
            return standing
        made = Found(bytes=0, etag=str(result["ETag"]), version=str(said.get("VersionId", "")))
        await self._remove(copy, made)
        raise _damaged()

    def _source(self, copy: Copy) -> dict[str, str]:
        """botocore percent-encodes what is given in this form."""
        return {"Bucket": self._objects.name(copy.bucket), "Key": copy.key}

    async def _remove(self, copy: Copy, made: Found) -> None:
        """Removes the version that this copy made, and nothing that came in its place."""
        which = {"VersionId": made.version} if made.version else {"IfMatch": made.etag}
        try:
            if not made.version:
                found = await self._objects.look(copy.to_bucket, copy.to_key)
                if found is None or found.etag != made.etag:
                    return
            await self._objects.ask(
                "delete_object", copy.to_bucket, again=True, Key=copy.to_key, **which
            )
        except (NotFound, Refused):
            return
        except OcpIngestError as kept:
            raise Damaged(
                "The source's bytes are not those that were received, and their copy could not be "
                f"removed from the key: {kept.text}",
                key=copy.to_key,
            ) from kept

    # -- in parts -----------------------------------------------------------------------------

    async def _read_source(self, copy: Copy) -> str:
        """The source's CRC64NVME. Raises Damaged when it has not the bytes that were received."""
        digest, crc = hashlib.sha256(), 0

        def take(block: bytes) -> None:
            nonlocal crc
            digest.update(block)
            crc = crc64nvme(block, crc)

        await scan(self._objects, copy.bucket, copy.key, take)
        if digest.hexdigest() != copy.sha256:
            raise _damaged()
        return crc_text(crc)

    async def _in_parts(self, copy: Copy, source: Found, crc: str) -> bool:
        try:
            async with self._multipart(copy, crc) as upload_id:
                parts = await self._copy_parts(copy, source, upload_id)
                await self._objects.ask(
                    "complete_multipart_upload", copy.to_bucket, again=True, Key=copy.to_key,
                    UploadId=upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch="*",
                    ChecksumType="FULL_OBJECT", ChecksumCRC64NVME=crc, MpuObjectSize=source.bytes,
                )  # fmt: skip
        except Transient as failed:
            # Each request was tried again already; all parts anew is for a later try.
            raise Anew(failed.text) from failed
        return True

    @asynccontextmanager
    async def _multipart(self, copy: Copy, crc: str) -> AsyncIterator[str]:
        """A multipart upload to the target, given up when it does not come to its end."""
        said = await self._objects.ask(
            "create_multipart_upload", copy.to_bucket, again=True, Key=copy.to_key,
            ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT",
            ContentType=content_type(copy.to_key),
            Metadata={META_SHA256: copy.sha256, META_CRC: crc, META_WRITER: copy.writer},
        )  # fmt: skip
        upload_id = str(said["UploadId"])
        try:
            yield upload_id
        except BaseException:
            giving_up = asyncio.create_task(
                abort_multipart(self._objects, copy.to_bucket, copy.to_key, upload_id)
            )
            await asyncio.gather(asyncio.shield(giving_up), return_exceptions=True)
            raise

    async def _copy_parts(self, copy: Copy, source: Found, upload_id: str) -> list[dict[str, Any]]:
        room = asyncio.Semaphore(COPY_PARTS_AT_ONCE)
        size = max(self._part_bytes, -(-source.bytes // PARTS_MAX))

        async def part(number: int, start: int) -> dict[str, Any]:
            async with room:
                return await self._copy_part(copy, source, upload_id, number, start, size)

        tasks = [
            asyncio.create_task(part(number, start))
            for number, start in enumerate(range(0, source.bytes, size), 1)
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _copy_part(
        self, copy: Copy, source: Found, upload_id: str, number: int, start: int, size: int
    ) -> dict[str, Any]:
        last = min(start + size, source.bytes) - 1
        try:
            said = await self._objects.ask(
                "upload_part_copy", copy.to_bucket, again=True, Key=copy.to_key,
                UploadId=upload_id, PartNumber=number, CopySource=self._source(copy),
                CopySourceRange=f"bytes={start}-{last}", CopySourceIfMatch=source.etag,
            )  # fmt: skip
        except Refused as refused:
            raise Anew("The source was replaced while it was copied.") from refused
        result: dict[str, Any] = said["CopyPartResult"]
        checksum = {k: v for k, v in result.items() if k == "ChecksumCRC64NVME"}
        return {"PartNumber": number, "ETag": result["ETag"], **checksum}


def _damaged() -> Damaged:
    return Damaged("The source's bytes are not those that were received.")
