"""The archive and the counters on a real stream: records as DynamoDB itself makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from aiobotocore.session import get_session

from ocp_ingest.adapters.aws import archive_rules as rules
from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.day_counts import DayCounts, read_counts
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core.call import fold
from ocp_ingest.core.counting import TERMS
from tests.aws.servers import launch
from tests.contracts import samples

DAY: Final = table.day_of(samples.T0)
NOW: Final = samples.T0
LAW: Final = TERMS[:8]
_ROUNDS_MAX: Final = 50  # of reading a stream to its present end


@pytest.fixture
async def aws(dynamodb: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Aws]:
    """An empty table on DynamoDB Local, with its stream."""
    for name, value in launch.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    settings = AwsSettings(
        region=launch.REGION, table="streamed", bucket_prefix="x-",
        endpoints={"dynamodb": dynamodb},
    )  # fmt: skip
    async with Aws(settings) as aws:
        await aws.call("dynamodb", "create_table", TableName=settings.table, **table.TABLE)
        yield aws
        await aws.call("dynamodb", "delete_table", TableName=settings.table)


async def test_a_real_stream_rebuilds_the_calls_and_counts_them_once(aws: Aws) -> None:
    calls, counts = AwsCallStore(aws, Deriving()), DayCounts(aws)
    for number in range(3):
        for event in samples.life(f"c{number}"):
            await calls.append([event])
    await calls.append([samples.start("open")])
    lines: list[rules.Line] = []
    for shard, records in (await shards(aws)).items():
        batch = rules.sort_out(records)
        assert batch.rejects == ()
        lines += batch.lines
        for _ in range(2):
            await counts.count(shard, records, NOW)
    journals = rules.read_back(rules.lines_of(rules.body(lines)))
    assert sorted(journals) == ["c0", "c1", "c2", "open"]
    for call_id, events in journals.items():
        assert fold(call_id, events) == await calls.load(call_id)
    said = await read_counts(aws, ["", "sales"], [DAY])
    stored, waiting = ({t: n[t] for t in LAW if n[t]} for n in (said["sales", DAY], said["", DAY]))
    assert stored == {"started": 3, "stored": 3, "streamed": 3}
    assert waiting == {"started": 1, "in_flight": 1}
    assert await counts.recount(DAY, by="test", now_ms=NOW) == {"counters": 2, "changed": 0}


async def shards(aws: Aws) -> dict[str, list[dict[str, Any]]]:
    """Every record of the table's stream until now, by shard."""
    described = await aws.call("dynamodb", "describe_table", TableName=aws.settings.table)
    arn = described["Table"]["LatestStreamArn"]
    address = aws.settings.endpoints["dynamodb"]
    async with get_session().create_client(
        "dynamodbstreams", region_name=launch.REGION, endpoint_url=address
    ) as client:
        said = await client.describe_stream(StreamArn=arn)
        found = {}
        for shard in said["StreamDescription"]["Shards"]:
            start = await client.get_shard_iterator(
                StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            found[shard["ShardId"]] = await _records(client, start["ShardIterator"])
        return found


async def _records(client: Any, iterator: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _ in range(_ROUNDS_MAX):
        if iterator is None:
            break
        page = await client.get_records(ShardIterator=iterator)
        if found and not page["Records"]:
            break
        found += page["Records"]
        iterator = page.get("NextShardIterator")
        await asyncio.sleep(0.01)
    return found
