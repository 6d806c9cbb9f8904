"""Evidence on DynamoDB: rejected inputs by number of arrival, and durable counters.

Rules
1. A rejected input takes the next number and is written under it. A lost answer may leave a
   number without an item; kept again, the input takes another.
2. Whoever keeps one removes what is older than the last `items_max` numbers, a few at a time, so
   that a crash between the two, or a smaller bound, is made good by those who come after.
"""

from __future__ import annotations

import zlib
from typing import Final

from ocp_ingest.adapters.aws import counters, table
from ocp_ingest.adapters.aws.dynamo import Dynamo, Item, b, each, key, n, s
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.rejects import DROPPED, REJECTED_BYTES_MAX
from ocp_ingest.ports import Kept

_PK: Final = "evidence#"
_NEXT: Final = "next"  # after all numbers in the order of sort keys
_DIGITS: Final = 16
# Old inputs removed by one `keep`: more than one, so that a backlog of them becomes shorter.
_DROPPED_AT_ONCE: Final = 5
# Counters added to at once.
_AT_ONCE: Final = 8
# A reason is a sentence of ours; it may quote a name.
_REASON_CHARS_MAX: Final = 2_000


class AwsEvidence:
    """See ocp_ingest.ports.Evidence; the table is encrypted, bodies may hold personal data."""

    def __init__(self, aws: Aws, items_max: int) -> None:
        self._dynamo = Dynamo(aws)
        self._items_max = items_max

    async def keep(self, kind: str, reason: str, body: bytes, at_ms: int) -> None:
        """Keeps a rejected input; the oldest give way."""
        taken = await self._dynamo.update(_PK, _NEXT, "ADD k :one", one=n(1))
        number = int(taken["k"]["N"])
        item = key(_PK, _order(number)) | {
            "kind": s(kind),
            "why": s(reason[:_REASON_CHARS_MAX]),
            "at_ms": n(at_ms),
            "body": b(zlib.compress(body[:REJECTED_BYTES_MAX])),
        }
        await self._dynamo.put(item, f"attribute_not_exists({table.PK})")
        await self._drop(number - self._items_max)

    async def kept(self, *, limit: int = 100) -> list[Kept]:
        """The newest rejected inputs."""
        found = await self._dynamo.items(
            f"{table.PK} = :pk AND {table.SK} < :next",
            at_most=limit,
            ConsistentRead=True,
            ScanIndexForward=False,
            ExpressionAttributeValues={":pk": s(_PK), ":next": s(_NEXT)},
        )
        return [_kept(item) for item in found]

    async def count(self, names: dict[str, int]) -> None:
        """Adds to durable counters."""
        added = [(name, number) for name, number in names.items() if number]
        await each(added, lambda one: counters.add_count(self._dynamo, *one), at_once=_AT_ONCE)

    async def counted(self, prefix: str = "") -> dict[str, int]:
        """Durable counters whose name starts so."""
        return await counters.counts(self._dynamo, prefix)

    async def _drop(self, last: int) -> None:
        """Removes inputs up to a number (rule 2); each is counted by whoever removes it."""
        if last < 1:
            return
        old = await self._dynamo.items(
            f"{table.PK} = :pk AND {table.SK} <= :last",
            at_most=_DROPPED_AT_ONCE,
            ConsistentRead=True,
            ProjectionExpression=table.SK,
            ExpressionAttributeValues={":pk": s(_PK), ":last": s(_order(last))},
        )
        there = f"attribute_exists({table.PK})"
        for item in old:
            if await self._dynamo.delete(_PK, item[table.SK]["S"], there) is None:
                await counters.add_count(self._dynamo, DROPPED, 1)


def _order(number: int) -> str:
    return f"{number:0{_DIGITS}}"


def _kept(item: Item) -> Kept:
    body = zlib.decompressobj().decompress(bytes(item["body"]["B"]), REJECTED_BYTES_MAX)
    return Kept(item["kind"]["S"], item["why"]["S"], int(item["at_ms"]["N"]), body)
