"""Requests to the table, as the export book makes them: writes that may be repeated as they are.

A lost answer is waited out here: each of these writes leaves the same behind when it is made
twice, or names itself by a token. Reads are strongly consistent.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Final

from ocp_ingest.adapters.aws.dynamo import REFUSED, Dynamo, Item, s
from ocp_ingest.adapters.aws.session import Answered, Aws

# Why a write of a transaction was refused, as DynamoDB puts it.
CONDITION: Final = "ConditionalCheckFailed"
# Why a transaction was cancelled although all of its conditions hold.
_PASSING: Final = frozenset({"TransactionConflict", "ThrottlingError",
                             "ProvisionedThroughputExceeded", "RequestLimitExceeded"})  # fmt: skip


class Items:
    """The table of a deployment. `token` gives a name to each transaction."""

    def __init__(self, aws: Aws, token: Callable[[], str] = lambda: uuid.uuid4().hex) -> None:
        self._aws = aws
        self._dynamo = Dynamo(aws)
        self._table = aws.settings.table
        self._token = token

    async def get(self, pk: str, sk: str) -> Item | None:
        """An item, or None."""
        return await self._dynamo.get(pk, sk)

    async def query(
        self, pk: str, prefix: str = "", *, limit: int | None = None, backwards: bool = False
    ) -> list[Item]:
        """Items of a partition whose sk starts so, in order of it: all, or the first `limit`."""
        condition, values = "pk = :pk", {":pk": s(pk)}
        if prefix:
            condition += " AND begins_with(sk, :prefix)"
            values[":prefix"] = s(prefix)
        return await self._dynamo.items(
            condition, at_most=limit, ConsistentRead=True, ScanIndexForward=not backwards,
            ExpressionAttributeValues=values,
        )  # fmt: skip

    async def put(self, item: Item) -> None:
        """Writes an item, whatever is there."""
        await self._write("put_item", TableName=self._table, Item=item)

    async def update(
        self, where: Item, update: str, condition: str, values: Item
    ) -> tuple[Item | None, bool]:
        """The item as it is now, and whether the condition held. "#owner" is `owner`."""
        try:
            answer = await self._write(
                "update_item", TableName=self._table, Key=where, UpdateExpression=update,
                ConditionExpression=condition, ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues=values, ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )  # fmt: skip
        except Answered as no:
            if no.code != REFUSED:
                raise
            return no.response.get("Item") or None, False
        return answer["Attributes"], True

    def write_of(self, operation: str, **params: Item | str) -> Item:
        """One write of `transact`."""
        return self._dynamo.write_of(operation, **params)

    async def transact(self, writes: Sequence[Item]) -> list[Item] | None:
        """Does all or nothing. None: done; else why not, {"Code", "Item"} for each write."""
        try:
            await self._write(
                "transact_write_items", TransactItems=list(writes),
                ClientRequestToken=self._token(),
            )  # fmt: skip
        except Answered as no:
            reasons: list[Item] = no.response.get("CancellationReasons") or []
            known = {"None", CONDITION, *_PASSING}
            if len(reasons) != len(writes) or any(r.get("Code") not in known for r in reasons):
                raise
            return reasons
        return None

    async def _write(self, operation: str, **params: object) -> Item:
        return await self._aws.call(
            "dynamodb", operation, again=True, ReturnConsumedCapacity="TOTAL", **params
        )
