"""An upload into the landing bucket: one request for a small recording, parts for a large one.

Most recordings fit into one part and become ONE PutObject, whose SHA-256 S3 checks itself. Only
when a second part begins, a multipart upload does; every part carries its CRC64NVME, and the end
carries that of the whole and its size, which S3 compares with what it has before anything is
visible (a SHA-256 of a whole object is not to be had for parts). Both create only.

Memory  a part gathers, at most PARTS_AT_ONCE are on their way; over all uploads of a store no more
        than PARTS_AT_ONCE_ALL are, and whoever brings more bytes waits.
Lost    an answer that did not come is replaced by a look at what is there: the key is ours alone,
        so the same size and checksum are the same bytes. A multipart upload of which nobody knows
        is aborted by `abort_abandoned`, and by the bucket's lifecycle rule.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from contextlib import suppress
from typing import Any, Final

from awscrt.checksums import crc64nvme

from ocp_ingest.adapters.aws.objects import (
    META_SHA256,
    WRITE_TRIES,
    Anew,
    Objects,
    base64_of,
    crc_text,
    pause,
    settle,
)
from ocp_ingest.adapters.aws.reading import sha256_of
from ocp_ingest.core.errors import NotFound, OcpIngestError, Transient
from ocp_ingest.core.limits import DAY_MS, KIB, MIB
from ocp_ingest.core.settings import LANDING
from ocp_ingest.ports import Landed

# S3's bounds of a multipart upload: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
PARTS_MAX: Final = 10_000
PART_BYTES_MIN: Final = 5 * MIB
# Eight minutes of telephony in one request. 10,000 of these are 78 GiB, far above the 4 GiB that a
# recording may have; `part_bytes` makes them larger where more is allowed.
PART_BYTES: Final = 8 * MIB
# Parts of one upload on their way: one is sent while the next one is hashed.
PARTS_AT_ONCE: Final = 2
# Parts of all uploads on their way: 128 MiB, and enough to fill a task's line.
PARTS_AT_ONCE_ALL: Final = 16
# Below this, a thread costs more than the hash.
INLINE_BYTES_MAX: Final = 64 * KIB
# An upload that has been open for so long has nobody behind it: a sender that is silent for a
# minute is cut off. As long as the lifecycle rule waits.
ABANDONED_MS: Final = DAY_MS
# Pages of one search for abandoned uploads, 1,000 each; the next search goes on.
SWEEP_PAGES_MAX: Final = 20


def part_bytes(recording_bytes_max: int) -> int:
    """The size of a part for recordings up to a bound, so that PARTS_MAX of them hold it."""
    return max(PART_BYTES, -(-recording_bytes_max // PARTS_MAX))


class S3Upload:
    """See ocp_ingest.ports.Upload. `slots` bounds the parts of all uploads on their way."""

    def __init__(
        self, objects: Objects, key: str, slots: asyncio.Semaphore, part_bytes: int = PART_BYTES
    ) -> None:
        self._objects = objects
        self._key = key
        self._slots = slots
        self._part_bytes = part_bytes
        self._gathered = io.BytesIO()
        self._digest = hashlib.sha256()
        self._crc = 0
        self._bytes = 0
        self._upload_id = ""
        self._number = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._parts: dict[int, dict[str, Any]] = {}  # what completing needs, once it is there
        self._ending = False
        self._ended = False

    async def write(self, block: bytes | memoryview) -> None:
        """Takes the next block. Raises Transient when an earlier one could not be sent."""
        assert not self._ending, "an upload takes no bytes after its end"
        view = memoryview(block).cast("B")
        while view:
            if self._gathered.tell() == self._part_bytes:
                await self._pass_on()
            room = self._part_bytes - self._gathered.tell()
            self._gathered.write(view[:room])
            view = view[room:]

    async def commit(self) -> Landed:
        """Makes the bytes an object of the landing bucket. Raises Transient."""
        assert not self._ending, "an upload ends once"
        self._ending = True
        if self._upload_id:
            await self._pass_on()
            await self._wait(parts_at_once=0)
            landed = await settle(self._complete, self._look)
        else:
            await self._hash(self._gathered)
            landed = await settle(self._put, self._look)
        self._ended = True
        self._gathered = io.BytesIO()
        return landed

    async def abort(self) -> None:
        """Forgets the bytes; never raises, and does nothing after a commit."""
        if self._ended:
            return
        self._ending = self._ended = True
        # Shielded: a cancelled upload is forgotten all the same.
        await asyncio.shield(asyncio.create_task(self._forget()))

    async def _forget(self) -> None:
        self._gathered = io.BytesIO()
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self._upload_id:
            with suppress(OcpIngestError):
                await abort_multipart(self._objects, LANDING, self._key, self._upload_id)

    async def _pass_on(self) -> None:
        """Sends what is gathered as the next part, as soon as there is room for it."""
        if not self._upload_id:
            self._upload_id = await self._begin()
        await self._wait(parts_at_once=PARTS_AT_ONCE - 1)
        await self._slots.acquire()
        try:
            part, self._gathered = self._gathered, io.BytesIO()
            crc = await self._hash(part)
        except BaseException:
            self._slots.release()
            raise
        self._number += 1
        sending = asyncio.create_task(self._send(self._number, part, crc))
        sending.add_done_callback(lambda _: self._slots.release())
        self._sending.add(sending)

    async def _wait(self, parts_at_once: int) -> None:
        """Until no more are on their way. What went wrong with one is raised every time."""
        while True:
            for task in [task for task in self._sending if task.done()]:
                task.result()
                self._sending.remove(task)
            if len(self._sending) <= parts_at_once:
                return
            await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)

    async def _hash(self, part: io.BytesIO) -> int:
        """Takes the next bytes into the checksums of the whole; the CRC64NVME of themselves."""
        size = part.tell()
        self._bytes += size
        if size <= INLINE_BYTES_MAX:
            return self._take(part)
        return await asyncio.to_thread(self._take, part)

    def _take(self, part: io.BytesIO) -> int:
        with part.getbuffer() as view:
            self._digest.update(view)
            self._crc = crc64nvme(view, self._crc)
            crc: int = crc64nvme(view)
            return crc

    # -- requests -----------------------------------------------------------------------------

    async def _begin(self) -> str:
        said = await self._objects.ask(
            "create_multipart_upload", LANDING, again=True, Key=self._key,
            ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT",
        )  # fmt: skip
        return str(said["UploadId"])

    async def _send(self, number: int, part: io.BytesIO, crc: int) -> None:
        """Sends a part; the same part again is the same part."""
        for again in range(1, WRITE_TRIES + 1):
            part.seek(0)
            try:
                said = await self._objects.ask(
                    "upload_part", LANDING, Key=self._key, UploadId=self._upload_id,
                    PartNumber=number, Body=part, ChecksumCRC64NVME=crc_text(crc),
                )  # fmt: skip
                break
            except Transient as failed:
                if again == WRITE_TRIES or isinstance(failed, Anew):
                    raise
            await pause(again)
        part.close()
        self._parts[number] = {
            "PartNumber": number, "ETag": said["ETag"], "ChecksumCRC64NVME": crc_text(crc),
        }  # fmt: skip

    async def _complete(self) -> Landed:
        parts = [self._parts[number] for number in sorted(self._parts)]
        await self._objects.ask(
            "complete_multipart_upload", LANDING, Key=self._key, UploadId=self._upload_id,
            MultipartUpload={"Parts": parts}, ChecksumType="FULL_OBJECT",
            ChecksumCRC64NVME=crc_text(self._crc), MpuObjectSize=self._bytes, IfNoneMatch="*",
        )  # fmt: skip
        return self._landed()

    async def _put(self) -> Landed:
        sha256 = self._digest.hexdigest()
        self._gathered.seek(0)
        await self._objects.ask(
            "put_object", LANDING, Key=self._key, Body=self._gathered, IfNoneMatch="*",
            ChecksumSHA256=base64_of(sha256), Metadata={META_SHA256: sha256},
        )  # fmt: skip
        return self._landed()

    async def _look(self) -> Landed | None:
        """What stands at our key, if it is what we wrote."""
        found = await self._objects.look(LANDING, self._key)
        if found is None:
            return None
        landed = self._landed()
        if found.crc64nvme:
            same = found.crc64nvme == crc_text(self._crc)
        else:
            there = found.sha256 or await sha256_of(self._objects, LANDING, self._key)
            same = there == landed.sha256
        if not same or found.bytes != landed.bytes:
            raise Transient("The landing key was taken: send the recording again.")
        return landed

    def _landed(self) -> Landed:
        return Landed(self._key, self._bytes, self._digest.hexdigest())


async def abort_multipart(objects: Objects, bucket: str, key: str, upload_id: str) -> None:
    """Gives an upload's parts back; one that is gone is fine."""
    with suppress(NotFound, Anew):
        await objects.ask("abort_multipart_upload", bucket, again=True, Key=key, UploadId=upload_id)


async def abort_abandoned(
    objects: Objects, bucket: str, *, now_ms: int, older_than_ms: int = ABANDONED_MS
) -> int:
    """Aborts multipart uploads that were begun so long ago; how many. `now_ms` is real time."""
    aborted, marker = 0, dict[str, str]()
    for _ in range(SWEEP_PAGES_MAX):
        page = await objects.ask("list_multipart_uploads", bucket, again=True, **marker)
        for upload in page.get("Uploads", []):
            if now_ms - upload["Initiated"].timestamp() * 1_000 >= older_than_ms:
                await abort_multipart(objects, bucket, upload["Key"], upload["UploadId"])
                aborted += 1
        if not page.get("IsTruncated"):
            break
        marker = {
            "KeyMarker": page["NextKeyMarker"],
            "UploadIdMarker": page.get("NextUploadIdMarker", ""),
        }
    return aborted
