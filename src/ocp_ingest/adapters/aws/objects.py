"""Requests to S3: which bucket, under whose identity, what is there, and what an answer means.

What S3 answers                                  raised
403, no credentials                              Transient: our rights are no fault of a sender's
404 of a key                                     NotFound
412, 416                                         Refused: a condition or a range of ours
404 of an upload, 409 when completing one        Anew (Transient): only a new upload helps
other 409, a body that came damaged              Transient
anything else (no such bucket, a disabled key)   Terminal: a person must look

What stands at a key counts as proved by the checksum that S3 itself took of its bytes (or, of an
object that was copied in parts, by S3's CRC64NVME that equals the one kept beside the SHA-256).
The SHA-256 in an object's metadata alone proves nothing: it was written before the bytes were.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from ocp_ingest.adapters.aws.lob_sessions import LobSessions
from ocp_ingest.adapters.aws.session import Answered, Aws, request
from ocp_ingest.core.errors import NotFound, OcpIngestError, Terminal, Transient

T = TypeVar("T")

# Metadata of our objects: the SHA-256 that they were made for, the CRC64NVME taken in the same
# pass, and a random word that tells the writer of an object its own work from another's.
META_SHA256: Final = "sha256"
META_CRC: Final = "crc64nvme"
META_WRITER: Final = "written-by"

# Tries of a write whose answer was lost or that met another writer. Four, with waits that double
# from 0.2 s, outlast a failover; whoever asked tries again later by its own rules.
WRITE_TRIES: Final = 4
_PAUSE_S: Final = 0.1
_PAUSE_S_MAX: Final = 1.0

_BUSY_STATUS: Final = 409
_MISSING_STATUS: Final = 404
_FORBIDDEN_STATUS: Final = 403
_REFUSED: Final = frozenset({412, 416})
_DAMAGED_ON_ITS_WAY: Final = frozenset({
    "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch",
})  # fmt: skip
_FICKLE: Final = "A write is refused again and again, and nothing stands at its key."
_TYPES: Final = {"json": "application/json", "mp3": "audio/mpeg", "wav": "audio/wav"}


class Refused(Exception):
    """S3 refused a request because its condition (If-Match, If-None-Match) or range fails."""


class Anew(Transient):
    """What was under way is gone or in another's way; only doing all of it again can help."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at a key. `sha256` (hex) and `crc64nvme` (base64) are "" where not proved."""

    bytes: int
    etag: str
    version: str = ""  # "" in a bucket without versions
    sha256: str = ""
    crc64nvme: str = ""
    writer: str = ""


class Objects:
    """Requests about objects; buckets are named as the pipeline knows them."""

    def __init__(self, aws: Aws, sessions: LobSessions | None = None) -> None:
        self._prefix = aws.settings.bucket_prefix
        self._sessions = sessions or LobSessions(aws)

    def name(self, bucket: str) -> str:
        """The bucket's name in S3."""
        return self._prefix + bucket

    async def ask(
        self, operation: str, bucket: str, *, again: bool = False, **params: Any
    ) -> dict[str, Any]:
        """Makes one request; see the module for what is raised."""
        try:
            async with self._sessions.client(bucket) as client:
                return await request(
                    client, "s3", operation, again=again, Bucket=self.name(bucket), **params
                )
        except Answered as said:
            raise _meaning(said, operation) from said

    async def look(self, bucket: str, key: str) -> Found | None:
        """What is there, or None. Raises Transient, Terminal."""
        try:
            said = await self.ask(
                "head_object", bucket, again=True, Key=key, ChecksumMode="ENABLED"
            )
        except NotFound:
            return None
        return _found(said)


def _meaning(said: Answered, operation: str) -> OcpIngestError | Refused:
    where = f"s3.{operation}"
    meaning: OcpIngestError | Refused
    if said.status in _REFUSED:
        meaning = Refused(f"{where}: {said.code}")
    elif said.status == _FORBIDDEN_STATUS:
        meaning = Transient(f"AWS refuses us ({where}): {said.code}. Look at the bucket's policy.")
    elif said.code == "NoSuchUpload":
        meaning = Anew(f"The upload is gone ({where}): send the recording again.")
    elif said.status == _MISSING_STATUS and said.code != "NoSuchBucket":
        meaning = NotFound("There is no such object.")
    elif said.status == _BUSY_STATUS:
        kind = Anew if operation == "complete_multipart_upload" else Transient
        meaning = kind(f"Another write is under way ({where}): {said.code}.")
    elif said.code in _DAMAGED_ON_ITS_WAY:
        meaning = Transient(f"The bytes changed on their way ({where}): {said.code}.")
    else:
        meaning = Terminal(f"S3 refuses what should be possible ({where}): {said.code}.")
    return meaning


def _found(said: dict[str, Any]) -> Found:
    metadata: dict[str, str] = said.get("Metadata", {})
    sha256 = hex_of(said.get("ChecksumSHA256", ""))
    crc = str(said.get("ChecksumCRC64NVME", ""))  # always of the whole
    if not sha256 and crc and crc == metadata.get(META_CRC):
        sha256 = metadata.get(META_SHA256, "")
    return Found(
        bytes=int(said["ContentLength"]),
        etag=str(said.get("ETag", "")),
        version=str(said.get("VersionId", "")),
        sha256=sha256,
        crc64nvme=crc,
        writer=metadata.get(META_WRITER, ""),
    )


async def settle(make: Callable[[], Awaitable[T]], look: Callable[[], Awaitable[T | None]]) -> T:
    """Makes a conditional write; refused or without an answer, what is there decides.

    `look` answers None where nothing stands: then it is made again, a bounded number of times,
    unless Anew says that this can't help. Raises Transient, and what `look` raises.
    """
    for number in range(1, WRITE_TRIES + 1):
        try:
            return await make()
        except (Refused, Transient) as failed:
            standing = await look()
            if standing is not None:
                return standing
            if isinstance(failed, Anew) or number == WRITE_TRIES:
                raise failed if isinstance(failed, Transient) else Transient(_FICKLE) from failed
        await pause(number)
    raise AssertionError("unreachable")


async def pause(number: int) -> None:
    """A short wait after the failure of that number; it doubles up to a second, full jitter."""
    longest_s = min(_PAUSE_S * 2**number, _PAUSE_S_MAX)
    await asyncio.sleep(random.random() * longest_s)  # noqa: S311  (no secret)


def content_type(key: str) -> str:
    """The media type that a key's ending says."""
    return _TYPES.get(key.rpartition(".")[2].lower(), "application/octet-stream")


def base64_of(sha256: str) -> str:
    """A checksum as S3 writes it, from hex."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def hex_of(checksum: str) -> str:
    """A whole object's checksum as hex; "" for none and for one over parts ("…-3")."""
    return "" if not checksum or "-" in checksum else base64.b64decode(checksum).hex()


def crc_text(crc64nvme: int) -> str:
    """A CRC64NVME as S3 writes it: base64 of its eight bytes, big-endian."""
    return base64.b64encode(crc64nvme.to_bytes(8, "big")).decode()
