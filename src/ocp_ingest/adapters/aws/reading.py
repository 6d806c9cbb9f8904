"""Reading an object of S3 in blocks; a connection that breaks midway is no reason to begin anew.

Every request asks for a range: what is still to come, of the very object that was begun with
(If-Match on its ETag), so blocks of two objects never mix. An answer that ends early counts as
broken. botocore's own check of a whole body does not apply to ranges; `hash` and whoever scans
take the SHA-256 themselves, off the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from ocp_ingest.adapters.aws.objects import Found, Objects, Refused, pause
from ocp_ingest.adapters.aws.session import fate_of
from ocp_ingest.core.errors import NotFound, Transient
from ocp_ingest.core.limits import BLOCK_BYTES

# Requests for one reading. A line that breaks more often than this is down: later is better.
READ_TRIES: Final = 6


async def read(
    objects: Objects, bucket: str, key: str, offset: int = 0, length: int | None = None
) -> AsyncGenerator[bytes, None]:
    """The bytes, or a range of them, in blocks of BLOCK_BYTES. Raises NotFound, Transient."""
    if length == 0:
        if await objects.look(bucket, key) is None:
            raise NotFound("There is no such object.")
        return
    at, end, etag = offset, None if length is None else offset + length, ""
    for number in range(1, READ_TRIES + 1):
        try:
            body, end, etag = await _open(objects, bucket, key, at, end, etag)
            async with body:
                while at < end:
                    block = await _fill(body, min(BLOCK_BYTES, end - at))
                    yield block
                    at += len(block)
            return
        except Refused as refused:
            if not etag:
                return  # the range begins behind the last byte
            raise Transient("The object was replaced while it was read: read it anew.") from refused
        except Transient:
            if number == READ_TRIES:
                raise
        await pause(number)


async def _open(
    objects: Objects, bucket: str, key: str, at: int, end: int | None, etag: str
) -> tuple[Any, int, str]:
    """The body of what is asked for, where it ends, and the ETag of the object."""
    condition = {"IfMatch": etag} if etag else {}
    last = "" if end is None else end - 1
    said = await objects.ask(
        "get_object", bucket, again=True, Key=key, Range=f"bytes={at}-{last}", **condition
    )
    return said["Body"], at + int(said["ContentLength"]), str(said["ETag"])


async def _fill(body: Any, want: int) -> bytes:
    """Exactly so many of the next bytes. Raises Transient when the connection breaks."""
    block = bytearray()
    while len(block) < want:
        try:
            piece = await body.read(want - len(block))
        except Exception as error:
            raise fate_of(error, "s3", "get_object") from error
        if not piece:
            raise Transient("AWS did not answer (s3.get_object): the body ended early.")
        block += piece
    return bytes(block)


async def scan(objects: Objects, bucket: str, key: str, sink: Callable[[bytes], None]) -> None:
    """Feeds every block, in order, to `sink` in a thread, while the next one is read."""
    sinking: asyncio.Task[None] | None = None
    try:
        async with aclosing(read(objects, bucket, key)) as blocks:
            async for block in blocks:
                if sinking is not None:
                    await asyncio.shield(sinking)
                sinking = asyncio.create_task(asyncio.to_thread(sink, block))
        if sinking is not None:
            await asyncio.shield(sinking)
    finally:
        # Whatever failed: the sink is at rest when its owner gets it back.
        if sinking is not None:
            await asyncio.gather(sinking, return_exceptions=True)


async def sha256_of(objects: Objects, bucket: str, key: str) -> str:
    """SHA-256 (hex) of what is really there. Raises NotFound, Transient."""
    digest = hashlib.sha256()
    await scan(objects, bucket, key, digest.update)
    return digest.hexdigest()


async def proved_sha256(objects: Objects, bucket: str, key: str, found: Found) -> str:
    """SHA-256 of what was found, by S3's own checksum where that is one, else read back."""
    return found.sha256 or await sha256_of(objects, bucket, key)
