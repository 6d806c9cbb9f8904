"""The record's item: record and index columns together, replaced by compare and set.

The condition of a write is the compressed record that it was made from (or that there is none),
so there is no version to keep, a write can never undo facts that it has not seen, and a deleted
and rewritten record is no exception. See docs/decisions/0020.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from ocp_ingest.adapters.aws import call_index, codec, table
from ocp_ingest.adapters.aws.dynamo import ABSENT, Dynamo, Item, b, key
from ocp_ingest.adapters.journal import Row
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import TooLarge

# DynamoDB takes 400 KB; keys and columns are below 6 KB. A record is some 300 bytes.
RECORD_BYTES_MAX: Final = 390_000


class Held(msgspec.Struct, frozen=True):
    """A record's item as it was read: its bytes, and the record if they can be read."""

    body: bytes | None = None
    call: Call | None = None
    columns: Item = {}

    def says(self, call: Call, row: Row) -> bool:
        """Whether the item says this record, with these columns."""
        return self.call == call and self.columns == call_index.columns(call.call_id, row)

    @property
    def damaged(self) -> bool:
        """Whether there is an item without a record that can be read."""
        return self.body is not None and self.call is None


NOTHING: Final = Held()


class Records:
    """The records of all calls."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    async def read(self, call_id: str) -> Held:
        """The record; reads what was written last."""
        item = await self._dynamo.get(table.call_key(call_id), table.SK_RECORD)
        return held_of(call_id, item)

    async def read_all(self, call_ids: Iterable[str]) -> dict[str, Held]:
        """Those of the records that there are, by call id."""
        keys = [key(table.call_key(call_id), table.SK_RECORD) for call_id in call_ids]
        items = await self._dynamo.get_all(keys)
        found: dict[str, Held] = {}
        for item in items:
            call_id = table.call_id_of(item[table.PK]["S"])
            assert call_id is not None, "a call's key was asked for, another's came"
            found[call_id] = held_of(call_id, item)
        return found

    async def replace(self, call: Call, row: Row, held: Held) -> Held | None:
        """None: written in place of `held`. Else what is there instead."""
        body = codec.encode_call(call)
        if len(body) > RECORD_BYTES_MAX:
            raise TooLarge(f"A call's record must be at most {RECORD_BYTES_MAX} bytes.")
        where = key(table.call_key(call.call_id), table.SK_RECORD)
        item = where | call_index.columns(call.call_id, row) | {table.RECORD: b(body)}
        if held.body is None:
            other = await self._dynamo.put(item, ABSENT)
        else:
            other = await self._dynamo.put(item, _UNCHANGED, held=b(held.body))
        return None if other is None else held_of(call.call_id, other)

    async def remove(self, call_id: str, held: Held) -> bool:
        """Removes what was read; False when something else is there now."""
        assert held.body is not None, "there is nothing to remove"
        pk = table.call_key(call_id)
        other = await self._dynamo.delete(pk, table.SK_RECORD, _UNCHANGED, held=b(held.body))
        return other is None


_UNCHANGED: Final = f"{table.RECORD} = :held"


def held_of(call_id: str, item: Item | None) -> Held:
    """What an item says."""
    if not item:
        return NOTHING
    body = bytes(item.get(table.RECORD, {"B": b""})["B"])
    skipped = (table.PK, table.SK, table.RECORD)
    columns = {name: value for name, value in item.items() if name not in skipped}
    try:
        return Held(body, codec.decode_call(call_id, body), columns)
    except codec.Unreadable:
        return Held(body, None, columns)
