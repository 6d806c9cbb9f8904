"""Openings: one small item for each call that there is; what is counted as started.

Calls of which only messages of unknown type speak are openings too, marked as such: they are
listed with the others and not counted. The mark goes with the first evidence and never comes back.
"""

from __future__ import annotations

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.dynamo import ABSENT, Dynamo, key, n, s


class Openings:
    """The openings of all calls."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    async def open(self, call_id: str, *, evidenced: bool) -> None:
        """Makes a call one that there is; again, it changes nothing."""
        pk, shard = table.call_key(call_id), s(table.id_shard(call_id))
        if evidenced:
            update = f"SET {table.ID_PK} = :shard REMOVE {table.UNEVIDENCED}"
            await self._dynamo.update(pk, table.SK_OPENING, update, shard=shard)
            return
        item = key(pk, table.SK_OPENING) | {table.ID_PK: shard, table.UNEVIDENCED: n(1)}
        await self._dynamo.put(item, ABSENT)

    async def put_right(self, call_id: str, *, evidenced: bool) -> bool:
        """Makes or marks a call's opening as it should be; True when it was not."""
        held = await self._dynamo.get(table.call_key(call_id), table.SK_OPENING)
        if held is not None and not (evidenced and table.UNEVIDENCED in held):
            return False
        await self.open(call_id, evidenced=evidenced)
        return True

    async def remove(self, call_id: str) -> None:
        """Removes the opening of a call that has no journal; none there is fine."""
        pk = table.call_key(call_id)
        await self._dynamo.delete(pk, table.SK_OPENING, f"attribute_exists({table.PK})")
