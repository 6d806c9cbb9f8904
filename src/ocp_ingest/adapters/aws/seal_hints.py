"""Events that wait to be sealed, as the table's stream told them; the sealer takes them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from ocp_ingest.adapters.aws.dynamo import Item, b, key
from ocp_ingest.adapters.aws.items import Items
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.core.errors import Damaged
from ocp_ingest.core.proof import Entry, Link

WAITING: Final = "seal#waiting"
# Events of one item: of 4 KB at most, so below the 400 KB of an item.
WAITING_ENTRIES: Final = 90
_UNPACKED_BYTES_MAX: Final = 4_000_000  # of an item of links or of events

_ENTRIES: Final = msgspec.msgpack.Decoder(list[Entry])


class SealHints:
    """Writes what waits."""

    def __init__(self, aws: Aws) -> None:
        self._items = Items(aws)

    async def hint(self, name: str, entries: Sequence[Entry]) -> None:
        """Leaves the events of a batch of the stream; `name` orders batches."""
        for part, at in enumerate(range(0, len(entries), WAITING_ENTRIES)):
            body = packed(list(entries[at : at + WAITING_ENTRIES]))
            await self._items.put(key(WAITING, f"{name}#{part:04}") | {"d": b(body)})


def packed(held: list[Link] | list[Entry]) -> bytes:
    """Links or events as an item holds them."""
    return zlib.compress(msgspec.msgpack.encode(held))


def unpacked(item: Item) -> bytes:
    """What `packed` was given, as msgpack. Raises Damaged."""
    opened = zlib.decompressobj()
    try:
        body = opened.decompress(bytes(item["d"]["B"]), _UNPACKED_BYTES_MAX)
    except (KeyError, zlib.error):
        raise Damaged("An item of the seals can't be read: restore it from a backup.") from None
    if not opened.eof:
        raise Damaged("An item of the seals has no end: restore it from a backup.")
    return body


def entries_of(item: Item) -> list[Entry]:
    """The events of an item. Raises Damaged."""
    try:
        return _ENTRIES.decode(unpacked(item))
    except msgspec.MsgspecError:
        raise Damaged("Events that wait to be sealed can't be read: run `seal --all`.") from None
