"""Notes: lists beside their job, in the table or, where they are long, on S3.

A note, compressed      its item `n#<ref>` has      its bytes are
at most 200 KB          body                        in the item
longer                  object, sha256              in the bucket "state", under `object`

Rules
1. An object is named by its content and is there before the item that points at it. A crash in
   between leaves an object that nobody points at; the bucket's lifecycle removes it.
2. A replaced note leaves its object behind too: whoever has read the old pointer can follow it.
3. A note is written anew even if its object is there, so that its age counts from the last write.
4. What comes back from S3 is proved by its hash.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from collections.abc import Callable
from typing import Final

from ocp_ingest.adapters.aws.dynamo import Item, b, key, s
from ocp_ingest.adapters.aws.items import Items
from ocp_ingest.adapters.aws.session import AGAIN_TRIES, Answered, Aws, fate_of
from ocp_ingest.core.errors import Damaged, TooLarge, Transient
from ocp_ingest.core.limits import KIB, MIB

# An item ends at 400 KB with its keys and names; half of that leaves room and halves the write.
NOTE_ITEM_BYTES_MAX: Final = 200 * 1000
# A list of all files of a 48-hour export of a large group is 30 MB; a task must hold it twice.
NOTE_BYTES_MAX: Final = 128 * MIB
# Compressing this much takes a millisecond or two; more of it must not stop the event loop.
_INLINE_BYTES_MAX: Final = 64 * KIB
# Name of the bucket as the template has it, without the deployment's prefix.
STATE_BUCKET: Final = "state"

_SK: Final = "note"


class Gone(Damaged):
    """A note's item points at an object that is not there any more."""


class Notes:
    """Bytes under a reference; the newest stand."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._items = Items(aws)
        self._bucket = aws.settings.bucket_prefix + STATE_BUCKET

    async def put(self, ref: str, body: bytes) -> None:
        """Keeps bytes; replaces older ones. Raises TooLarge, Transient."""
        if len(body) > NOTE_BYTES_MAX:
            raise TooLarge(f"A list beside a job must be at most {NOTE_BYTES_MAX} bytes.", ref=ref)
        packed = await _off_loop(zlib.compress, body)
        if len(packed) <= NOTE_ITEM_BYTES_MAX:
            kept: Item = {"body": b(packed)}
        else:
            digest = hashlib.sha256(packed)
            name = f"notes/{digest.hexdigest()}"
            await self._put_object(name, packed, digest.digest())
            kept = {"object": s(name), "sha256": b(digest.digest())}
        await self._items.put(key(_pk(ref), _SK) | kept)

    async def get(self, ref: str) -> bytes | None:
        """The newest bytes, or None. Reads its own writes. Raises Gone, Damaged."""
        item = await self._items.get(_pk(ref), _SK)
        if item is None:
            return None
        packed: bytes = item["body"]["B"] if "body" in item else await self._object(ref, item)
        return await _off_loop(_unpack, packed)

    async def _put_object(self, name: str, packed: bytes, digest: bytes) -> None:
        await self._aws.call(
            "s3", "put_object", again=True, Bucket=self._bucket, Key=name, Body=packed,
            ChecksumSHA256=base64.b64encode(digest).decode(),
        )  # fmt: skip

    async def _object(self, ref: str, item: Item) -> bytes:
        for number in range(1, AGAIN_TRIES + 1):
            try:
                packed = await self._read(item["object"]["S"])
                break
            except Transient:
                if number == AGAIN_TRIES:
                    raise
            except Answered as no:
                if no.code not in ("NoSuchKey", "404"):
                    raise
                raise Gone("A list beside a job is gone from S3.", ref=ref) from no
        if hashlib.sha256(packed).digest() != item["sha256"]["B"]:
            raise Damaged("A list beside a job is not what was written.", ref=ref)
        return packed

    async def _read(self, name: str) -> bytes:
        answer = await self._aws.call("s3", "get_object", again=True, Bucket=self._bucket, Key=name)
        try:
            async with answer["Body"] as stream:
                packed: bytes = await stream.read()
        except Exception as error:
            raise fate_of(error, "s3", "get_object") from error
        return packed


def _pk(ref: str) -> str:
    return f"n#{ref}"


def _unpack(packed: bytes) -> bytes:
    opened = zlib.decompressobj()
    body = opened.decompress(packed, NOTE_BYTES_MAX)
    if not opened.eof:
        raise Damaged("A list beside a job does not end where it should.")
    return body


async def _off_loop(change: Callable[[bytes], bytes], body: bytes) -> bytes:
    if len(body) <= _INLINE_BYTES_MAX:
        return change(body)
    return await asyncio.to_thread(change, body)
