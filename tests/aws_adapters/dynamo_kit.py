"""The call store on a stand-in for DynamoDB: what tests of failures need beside the contracts."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.dynamo import Item, key
from ocp_ingest.adapters.aws.session import Aws, Service
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core.call import Call
from ocp_ingest.core.events import Event
from ocp_ingest.ports import Pending
from tests.aws.clients import client
from tests.aws.servers import launch
from tests.aws_adapters import s3_kit, stand_in

FAR_MS: Final = 1 << 50
_numbers = count(1)


class MeanwhileAws(Aws):
    """Others do something right before this one's next request of a kind: `at`, about `sk`."""

    def __init__(self, where: AwsSettings, *at: str, sk: str | None = table.SK_RECORD) -> None:
        super().__init__(where, s3_kit.session())
        self._at = at or ("put_item", "delete_item")
        self._sk = sk
        self.meanwhile: list[Callable[[], Awaitable[object]]] = []

    async def call(
        self, service: Service, operation: str, *, again: bool = False, **params: Any
    ) -> dict[str, Any]:
        is_it = operation in self._at and self._sk in (None, _sk(params))
        if is_it and self.meanwhile:
            await self.meanwhile.pop(0)()
        return await super().call(service, operation, again=again, **params)


def _sk(params: dict[str, Any]) -> str | None:
    where: Item = params.get("Item") or params.get("Key") or {}
    text: str | None = where.get(table.SK, {}).get("S")
    return text


def a_table() -> AwsSettings:
    """A new table, and nothing else of a deployment."""
    name = f"calls{os.getpid()}-{next(_numbers)}"
    endpoint = os.environ.get(stand_in.ENDPOINT) or stand_in.url()
    client("dynamodb", endpoint).create_table(TableName=name, **table.TABLE)
    return AwsSettings(region=launch.REGION, table=name, endpoints={"dynamodb": endpoint})


def observer(where: AwsSettings) -> Any:
    """DynamoDB as somebody else sees it."""
    return client("dynamodb", where.endpoints["dynamodb"])


def item(where: AwsSettings, call_id: str, sk: str = table.SK_RECORD) -> Item | None:
    """An item of a call, as it is."""
    asked = key(table.call_key(call_id), sk)
    found = observer(where).get_item(TableName=where.table, Key=asked, ConsistentRead=True)
    held: Item | None = found.get("Item")
    return held


def spoil(where: AwsSettings, call_id: str, sk: str, **attributes: Item) -> None:
    """Changes attributes of an item of a call, as no adapter would."""
    put(where, (item(where, call_id, sk) or key(table.call_key(call_id), sk)) | attributes)


def put(where: AwsSettings, made: Item) -> None:
    """Writes an item, as no adapter would."""
    observer(where).put_item(TableName=where.table, Item=made)


def remove(where: AwsSettings, call_id: str, sk: str) -> None:
    """Removes an item of a call, as no adapter would."""
    asked = key(table.call_key(call_id), sk)
    observer(where).delete_item(TableName=where.table, Key=asked)


def store(aws: Aws, deriving: Deriving | None = None) -> AwsCallStore:
    """A call store that never waits long."""
    return AwsCallStore(aws, deriving or Deriving(), chance=lambda: 0.1)


async def seen(
    calls: AwsCallStore, call_id: str, names: set[tuple[str, str]]
) -> tuple[list[Event], Call | None, list[Pending], dict[tuple[str, str], str | None]]:
    """All that a store says of one call: journal, record, open work, whose its ids are."""
    due = await calls.pending(until_ms=FAR_MS, limit=10_000)
    kinds: Any = calls.call_of
    return (
        await calls.journal(call_id),
        await calls.load(call_id),
        [p for p in due if p.call_id == call_id],
        {name: await kinds(*name) for name in sorted(names)},
    )
