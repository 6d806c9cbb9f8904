"""Requests to the table, as the call store and the evidence make them.

Rules
1. A write is made once: after a lost answer only the caller's caller knows what is safe, so the
   Transient goes up. Reads are repeated.
2. A refused write says what is there instead (ReturnValuesOnConditionCheckFailure=ALL_OLD, which
   costs no read; API reference, PutItem).
3. Every write tells what it consumed, for whoever counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from ocp_ingest.adapters.aws.session import Answered, Aws
from ocp_ingest.adapters.aws.table import PK, SK
from ocp_ingest.core.errors import Transient

Item = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")

REFUSED: Final = "ConditionalCheckFailedException"
ABSENT: Final = f"attribute_not_exists({PK})"

# BatchGetItem takes so many keys. (API reference, BatchGetItem)
_BATCH_KEYS_MAX: Final = 100
# DynamoDB may answer a part of a batch; each round answers at least one key or is throttled.
_BATCH_ROUNDS_MAX: Final = 10
# Before the second round; doubles.
_BATCH_PAUSE_S: Final = 0.05


def s(text: str) -> Item:
    """A text as an attribute's value."""
    return {"S": text}


def n(number: int) -> Item:
    """A number as an attribute's value."""
    return {"N": str(number)}


def b(body: bytes) -> Item:
    """Bytes as an attribute's value."""
    return {"B": body}


def key(pk: str, sk: str) -> Item:
    """The key of an item."""
    return {PK: s(pk), SK: s(sk)}


class Dynamo:
    """The table of a deployment."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._table = aws.settings.table

    async def get(self, pk: str, sk: str, *, consistent: bool = True) -> Item | None:
        """An item, or None; without `consistent` it may be a second old and costs half."""
        answer = await self._read("get_item", Key=key(pk, sk), ConsistentRead=consistent)
        item: Item | None = answer.get("Item")
        return item

    async def get_all(self, keys: Sequence[Item]) -> list[Item]:
        """Those of the items that are there, in any order. Raises Transient when throttled."""
        found: list[Item] = []
        for start in range(0, len(keys), _BATCH_KEYS_MAX):
            found += await self._batch(keys[start : start + _BATCH_KEYS_MAX])
        return found

    async def put(self, item: Item, condition: str, **values: Item) -> Item | None:
        """None: written. Else what is there instead; {} when nothing is."""
        return await self._if(
            "put_item", Item=item, ConditionExpression=condition, **_values(values)
        )

    async def delete(self, pk: str, sk: str, condition: str, **values: Item) -> Item | None:
        """None: removed. Else what is there instead; {} when nothing is."""
        return await self._if(
            "delete_item", Key=key(pk, sk), ConditionExpression=condition, **_values(values)
        )

    async def update(self, pk: str, sk: str, expression: str, **values: Item) -> Item:
        """Changes an item, or makes it; returns the attributes that were changed, as they are."""
        answer = await self._write(
            "update_item", Key=key(pk, sk), UpdateExpression=expression,
            ReturnValues="UPDATED_NEW", **_values(values),
        )  # fmt: skip
        changed: Item = answer.get("Attributes", {})
        return changed

    async def transact(self, writes: Sequence[Item]) -> bool:
        """All of the writes or none; False when a condition does not hold or others are faster."""
        try:
            await self._write("transact_write_items", TransactItems=list(writes))
        except Answered as no:
            if no.code != "TransactionCanceledException":
                raise
            return False
        return True

    def write_of(self, operation: str, **params: Any) -> Item:
        """One write of `transact`."""
        return {operation: {"TableName": self._table, **params}}

    async def page(
        self, condition: str, /, *, after: Item | None = None, **params: Any
    ) -> tuple[list[Item], Item | None]:
        """A page of a Query (1 MB, or `Limit`), and the key that the next one is after, if any."""
        start: Item = {} if after is None else {"ExclusiveStartKey": after}
        answer = await self._read("query", KeyConditionExpression=condition, **start, **params)
        return answer["Items"], answer.get("LastEvaluatedKey") or None

    async def items(
        self, condition: str, /, *, at_most: int | None = None, **params: Any
    ) -> list[Item]:
        """All items of a Query, or the first so many."""
        found: list[Item] = []
        limit: Item = {} if at_most is None else {"Limit": at_most}
        after: Item | None = None
        while True:  # ends with what is there
            items, after = await self.page(condition, after=after, **limit, **params)
            found += items
            if after is None or (at_most is not None and len(found) >= at_most):
                return found[:at_most]

    async def count(self, condition: str, /, **params: Any) -> int:
        """How many items a Query finds."""
        total, start = 0, Item()
        while True:  # ends with what is there
            answer = await self._read(
                "query", KeyConditionExpression=condition, Select="COUNT", **start, **params
            )
            total += int(answer["Count"])
            last = answer.get("LastEvaluatedKey")
            if not last:
                return total
            start = {"ExclusiveStartKey": last}

    # ------------------------------------------------------------------------------------------

    async def _batch(self, keys: Sequence[Item]) -> list[Item]:
        found: list[Item] = []
        left: Item = {self._table: {"Keys": list(keys), "ConsistentRead": True}}
        for number in range(_BATCH_ROUNDS_MAX):
            answer = await self._aws.call(
                "dynamodb", "batch_get_item", again=True, RequestItems=left
            )
            found += answer["Responses"].get(self._table, [])
            left = answer.get("UnprocessedKeys") or {}
            if not left:
                return found
            await asyncio.sleep(_BATCH_PAUSE_S * 2**number)
        raise Transient("DynamoDB does not answer all of a batch: too much is read at once.")

    async def _if(self, operation: str, **params: Any) -> Item | None:
        try:
            await self._write(operation, ReturnValuesOnConditionCheckFailure="ALL_OLD", **params)
        except Answered as no:
            if no.code != REFUSED:
                raise
            return dict(no.response.get("Item") or {})
        return None

    async def _read(self, operation: str, **params: Any) -> Item:
        return await self._aws.call(
            "dynamodb", operation, again=True, TableName=self._table, **params
        )

    async def _write(self, operation: str, **params: Any) -> Item:
        # A transaction names the table in each of its writes.
        where: Item = {} if operation == "transact_write_items" else {"TableName": self._table}
        return await self._aws.call(
            "dynamodb", operation, ReturnConsumedCapacity="TOTAL", **where, **params
        )


def _values(values: dict[str, Item]) -> Item:
    if not values:
        return {}
    return {"ExpressionAttributeValues": {f":{name}": value for name, value in values.items()}}


async def together(*works: Coroutine[Any, Any, Any]) -> list[Any]:
    """Does all to their ends, then raises the first error: nothing is left running."""
    ended = await asyncio.gather(*works, return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException):
            raise error
    return ended


async def each(items: Iterable[T], work: Callable[[T], Awaitable[R]], *, at_once: int) -> list[R]:
    """`work` on every item, so many at a time; results in order of the items.

    All are done to their ends, then the first error is raised.
    """
    given = list(items)
    results: dict[int, R] = {}
    left = iter(enumerate(given))

    async def worker() -> None:
        for number, item in left:
            results[number] = await work(item)

    await together(*(worker() for _ in range(min(at_once, len(given)))))
    return [results[number] for number in range(len(given))]
