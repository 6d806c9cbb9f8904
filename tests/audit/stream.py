"""What the table's stream would say: a recorder for writes, and batches as Lambda hands them over.

`Recorder` stands where `Aws` does. Around each write to the table it reads the item before and
after, as NEW_AND_OLD_IMAGES has them; a write that changes nothing makes no record, as on AWS.
"""

from __future__ import annotations

import base64
import itertools
from typing import Any, Final

from ocp_ingest.adapters.aws.session import Aws, Service

STREAM: Final = "arn:aws:dynamodb:eu-west-1:000000000000:table/t/stream/2026-11-22"
SHARD: Final = "shardId-00000001790000000000-abcdef"
# Sequence numbers have many digits; the first ones here are shorter than the next.
FIRST_SEQ: Final = 9_999_999_999_999_999_999_997
T0_S: Final = 1_790_000_000.0

Record = dict[str, Any]
_SINGLE: Final = {"put_item": "Item", "update_item": "Key", "delete_item": "Key"}
_IN_TRANSACTION: Final = {"Put": "Item", "Update": "Key", "Delete": "Key"}


class Recorder(Aws):
    """An `Aws` that remembers what the table's stream would carry."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.records: list[Record] = []

    async def call(
        self, service: Service, operation: str, *, again: bool = False, **params: Any
    ) -> dict[str, Any]:
        """`Aws.call`, recorded."""
        keys = _written(operation, params) if service == "dynamodb" else []
        before = [await self._image(key) for key in keys]
        try:
            return await super().call(service, operation, again=again, **params)
        finally:
            for key, old in zip(keys, before, strict=True):
                new = await self._image(key)
                if new != old:
                    self.records.append(record(key, old, new))

    async def _image(self, key: dict[str, Any]) -> dict[str, Any] | None:
        said = await super().call(
            "dynamodb", "get_item", TableName=self.settings.table, Key=key, ConsistentRead=True
        )
        item: dict[str, Any] | None = said.get("Item")
        return item

    def take(self) -> list[Record]:
        """The records since the last time."""
        taken, self.records = self.records, []
        return taken


def _written(operation: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    if operation in _SINGLE:
        return [_key(params[_SINGLE[operation]])]
    if operation == "transact_write_items":
        return [
            _key(write[kind][_IN_TRANSACTION[kind]])
            for write in params["TransactItems"]
            for kind in write
            if kind in _IN_TRANSACTION
        ]
    return []


def _key(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("pk", "sk")}


_numbers = itertools.count(1)


def record(key: dict[str, Any], old: dict[str, Any] | None, new: dict[str, Any] | None) -> Record:
    """One record of the stream; its sequence number rises with every record of this process."""
    number = next(_numbers)
    change = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    said: dict[str, Any] = {
        "ApproximateCreationDateTime": T0_S + number,
        "Keys": key,
        "SequenceNumber": str(FIRST_SEQ + number),
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if new is not None:
        said["NewImage"] = lambda_form(new)
    if old is not None:
        said["OldImage"] = lambda_form(old)
    return {
        "eventID": f"event-{number}", "eventName": change, "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1", "dynamodb": said, "eventSourceARN": STREAM,
    }  # fmt: skip


def lambda_form(value: Any) -> Any:
    """An image as Lambda's JSON carries it: binary values in base64."""
    if isinstance(value, dict):
        return {name: lambda_form(held) for name, held in value.items()}
    if isinstance(value, list):
        return [lambda_form(held) for held in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes | bytearray) else value


def batch(records: list[Record], shard: str = SHARD) -> dict[str, Any]:
    """An event of a mapping with a tumbling window; `shard` "": of one without."""
    windows = {"shardId": shard, "eventSourceARN": STREAM, "state": {}} if shard else {}
    return {"Records": records, **windows}
