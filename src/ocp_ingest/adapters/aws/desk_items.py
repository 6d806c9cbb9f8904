"""Items of the desk: rare writes that keep several items in step, in one transaction each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.dynamo import Item, n, s
from ocp_ingest.adapters.aws.items import CONDITION, Items
from ocp_ingest.core.errors import Transient

# Rounds of a transaction that others' stopped: people click, and a few processes work for them.
_ROUNDS_MAX: Final = 8
# Before the second round; doubles. Such transactions last some 10 ms.
_PAUSE_S: Final = 0.02
_DAY_S: Final = 86_400


class DeskItems(Items):
    """The table of a deployment, as the desk's books use it."""

    async def commit(self, writes: Sequence[Item]) -> bool:
        """Does all or nothing; False when a condition does not hold.

        Raises Transient when others' transactions were in the way too often.
        """
        for number in range(_ROUNDS_MAX):
            refused = await self.transact(writes)
            if refused is None:
                return True
            if any(why.get("Code") == CONDITION for why in refused):
                return False
            await asyncio.sleep(_PAUSE_S * 2**number)
        raise Transient("Others write the same items of the desk all the time.")

    async def before(self, pk: str, end: str, *, limit: int) -> list[Item]:
        """The first items of a partition whose sort key is before `end`, in order of it."""
        return await self._dynamo.items(
            "pk = :pk AND sk < :end", at_most=limit, ConsistentRead=True,
            ExpressionAttributeValues={":pk": s(pk), ":end": s(end)},
        )  # fmt: skip

    async def there(self, keys: Sequence[Item]) -> dict[tuple[str, str], Item]:
        """Those of the items that are there, by partition and sort key."""
        found = await self._dynamo.get_all(keys)
        return {(item[table.PK]["S"], item[table.SK]["S"]): item for item in found}


def expiring(days: int) -> Item:
    """The attribute that lets an item go after so many days of real time."""
    return {table.EXPIRES_ATTRIBUTE: n(int(time.time()) + days * _DAY_S)}
