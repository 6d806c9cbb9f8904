"""Listings over the indexes: due work, ids, counts. Never a Scan: every read names its partition.

Rules
1. Indexes are read as they are a moment after the last write; whoever acts on an entry reads the
   record first.
2. What is spread over partitions is read from all of them beside each other and merged.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import Final

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.call_index import CODES, STORED, Directory
from ocp_ingest.adapters.aws.dynamo import Dynamo, Item, each, s
from ocp_ingest.ports import Pending

# Partitions read at once by one request.
READS_AT_ONCE: Final = 16

_COUNTED: Final = ("absent", "quarantined", "lost")


class CallListings:
    """Listings that need no record."""

    def __init__(self, dynamo: Dynamo, directory: Directory) -> None:
        self._dynamo = dynamo
        self._directory = directory

    async def pending(
        self, until_ms: int, limit: int, ocp_group: str | None, after: Pending | None
    ) -> list[Pending]:
        """Due calls, earliest first, then by call id."""
        groups = await self._directory.groups() if ocp_group is None else [ocp_group]
        first = "0"
        if after is not None:
            # BETWEEN includes its ends: the smallest text after the last one's.
            first = table.pending_order(after.at_ms, after.call_id) + "\x00"
        last = table.pending_end(until_ms)
        if first > last or limit < 1:
            return []

        async def one(group: str) -> list[Pending]:
            return await self._pending(group, first, last, limit)

        found = await each(groups, one, at_once=READS_AT_ONCE)
        merged = heapq.merge(*found, key=lambda p: (p.at_ms, p.call_id))
        return [entry for entry, _ in zip(merged, range(limit), strict=False)]

    async def call_ids(self, after: str, limit: int) -> list[str]:
        """Ids of all calls with a journal, in order."""
        found: list[str] = []
        shards = table.id_shards()
        for shard in shards[shards.index(table.id_shard(after)) :]:
            if len(found) < limit:
                found += await self._ids(shard, after, limit - len(found))
        return found

    async def counts(self) -> dict[str, int]:
        """The terms of the conservation law, each from its own index."""
        started = await each(table.id_shards(), self._started, at_once=READS_AT_ONCE)
        groups = await self._directory.groups()
        open_calls = await each(groups, self._in_danger, at_once=READS_AT_ONCE)
        days = await self._directory.days(table.DAY_MIN, table.DAY_MAX)
        codes = sum(await each(days, self._codes, at_once=READS_AT_ONCE), Counter[str]())
        ended = {name: codes[CODES[name]] + codes[CODES[name] + STORED] for name in _COUNTED}
        stored = sum(number for code, number in codes.items() if code.endswith(STORED))
        return {"started": sum(started), "in_flight": sum(open_calls), "stored": stored, **ended}

    # ------------------------------------------------------------------------------------------

    async def _pending(self, group: str, first: str, last: str, limit: int) -> list[Pending]:
        found = await self._dynamo.items(
            f"{table.PENDING_PK} = :pk AND {table.PENDING_SK} BETWEEN :first AND :last",
            at_most=limit,
            IndexName=table.PENDING,
            ExpressionAttributeValues={
                ":pk": s(table.pending_partition(group)), ":first": s(first), ":last": s(last),
            },
        )  # fmt: skip
        return [_pending_of(item, group) for item in found]

    async def _ids(self, shard: str, after: str, limit: int) -> list[str]:
        condition = f"{table.ID_PK} = :shard"
        values = {":shard": s(shard)}
        if after:
            condition += f" AND {table.PK} > :after"
            values[":after"] = s(table.call_key(after))
        found = await self._dynamo.items(
            condition, at_most=limit, IndexName=table.BY_ID, ExpressionAttributeValues=values
        )
        return [id_of(item) for item in found]

    async def _in_danger(self, group: str) -> int:
        """Calls with open work whose recording is not stored."""
        return await self._dynamo.count(
            f"{table.PENDING_PK} = :pk",
            IndexName=table.PENDING,
            FilterExpression=f"NOT contains({table.OUTCOME}, :stored)",
            ExpressionAttributeValues={
                ":pk": s(table.pending_partition(group)), ":stored": s(STORED),
            },
        )  # fmt: skip

    async def _started(self, shard: str) -> int:
        return await self._dynamo.count(
            f"{table.ID_PK} = :shard",
            IndexName=table.BY_ID,
            FilterExpression=f"attribute_not_exists({table.UNEVIDENCED})",
            ExpressionAttributeValues={":shard": s(shard)},
        )

    async def _codes(self, day_and_lob: tuple[str, str]) -> Counter[str]:
        day, lob = day_and_lob
        found = await self._dynamo.items(
            f"{table.DAY_PK} = :pk",
            IndexName=table.BY_DAY,
            ProjectionExpression=table.OUTCOME,
            ExpressionAttributeValues={":pk": s(table.day_partition(lob, day))},
        )
        return Counter(item[table.OUTCOME]["S"] for item in found)


def id_of(item: Item) -> str:
    """The call that an entry of an index is of."""
    call_id = table.call_id_of(item[table.PK]["S"])
    assert call_id is not None, "an index of calls holds something else"
    return call_id


def _pending_of(item: Item, group: str) -> Pending:
    return Pending(id_of(item), group, table.pending_at(item[table.PENDING_SK]["S"]))
