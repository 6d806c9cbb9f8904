"""DynamoDB's stream to Lambda: an event source mapping for a table that is not LocalStack's.

    python -m tests.aws.servers.stream_pump PORT '{"dynamodb": URL, "functions": URL,
        "table": …, "function": …, "duplicates": 0.1, "seed": 7}'

Reads every shard from its beginning, in order, and hands over batches as Lambda does: images with
binary values in base64. A batch that fails comes again, whole; one that succeeded comes again too,
with the given probability: at least once. GET /__stats says how much was handed over, and whether
something is waiting.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import traceback
from collections import Counter
from random import Random
from typing import Any, Final

import aiohttp
from aiohttp import web

from tests.aws.clients import client
from tests.aws.servers.launch import REGION

# As in the template, a batch is what has come within a while; this is shorter.
BATCH_MAX: Final = 200
LOOK_S: Final = 0.5


def typed(value: dict[str, Any]) -> dict[str, Any]:
    """A typed value of DynamoDB as JSON has it."""
    ((kind, held),) = value.items()
    match kind:
        case "B":
            held = base64.b64encode(held).decode()
        case "BS":
            held = [base64.b64encode(one).decode() for one in held]
        case "M":
            held = {name: typed(one) for name, one in held.items()}
        case "L":
            held = [typed(one) for one in held]
    return {kind: held}


def event_of(record: dict[str, Any], arn: str) -> dict[str, Any]:
    """A record of the stream as a function is given it."""
    said = dict(record["dynamodb"])
    for name in ("Keys", "NewImage", "OldImage"):
        if name in said:
            said[name] = {key: typed(value) for key, value in said[name].items()}
    said["ApproximateCreationDateTime"] = said["ApproximateCreationDateTime"].timestamp()
    return {
        "eventID": record["eventID"], "eventName": record["eventName"], "eventVersion": "1.1",
        "eventSource": "aws:dynamodb", "awsRegion": REGION, "dynamodb": said,
        "eventSourceARN": arn,
    }  # fmt: skip


class Pump:
    """Reads, and hands over."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._streams = client("dynamodbstreams", settings["dynamodb"])
        self._random = Random(settings.get("seed", 0))
        self._iterators: dict[str, str | None] = {}
        self.stats: Counter[str] = Counter()

    async def run(self) -> None:
        """Looks for ever."""
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    moved = await self._look(session)
                except Exception:  # the next look may succeed; a test looks at the count
                    moved = False
                    self.stats["failed_looks"] += 1
                    traceback.print_exc()
                if not moved:
                    await asyncio.sleep(LOOK_S)

    async def _look(self, session: aiohttp.ClientSession) -> bool:
        (stream,) = (
            await asyncio.to_thread(
                self._streams.list_streams, TableName=self._settings["table"]
            )
        )["Streams"]  # fmt: skip
        arn = stream["StreamArn"]
        said = await asyncio.to_thread(self._streams.describe_stream, StreamArn=arn)
        moved = False
        for shard in said["StreamDescription"]["Shards"]:
            moved = await self._shard(session, arn, shard["ShardId"]) or moved
        self.stats["waiting"] = int(moved)
        return moved

    async def _shard(self, session: aiohttp.ClientSession, arn: str, shard: str) -> bool:
        if shard not in self._iterators:
            self._iterators[shard] = (
                await asyncio.to_thread(
                    self._streams.get_shard_iterator, StreamArn=arn, ShardId=shard,
                    ShardIteratorType="TRIM_HORIZON",
                )
            )["ShardIterator"]  # fmt: skip
        iterator = self._iterators[shard]
        if iterator is None:
            return False
        page = await asyncio.to_thread(
            self._streams.get_records, ShardIterator=iterator, Limit=BATCH_MAX
        )
        if page["Records"]:
            records = [event_of(record, arn) for record in page["Records"]]
            await self._deliver(session, records)
            if self._random.random() < self._settings.get("duplicates", 0.0):
                self.stats["duplicates"] += 1
                await self._deliver(session, records)
        self._iterators[shard] = page.get("NextShardIterator")
        return bool(page["Records"])

    async def _deliver(self, session: aiohttp.ClientSession, records: list[Any]) -> None:
        """Until it is taken whole."""
        while True:
            url = f"{self._settings['functions']}/{self._settings['function']}"
            async with session.post(url, data=json.dumps({"Records": records})) as answer:
                said = await answer.json()
                failed = "x-function-error" in answer.headers or said.get("batchItemFailures")
            if not failed:
                self.stats["batches"] += 1
                self.stats["records"] += len(records)
                return
            self.stats["failed_batches"] += 1
            await asyncio.sleep(LOOK_S)


def application(pump: Pump) -> web.Application:
    """The HTTP side."""

    async def stats(_request: web.Request) -> web.Response:
        return web.json_response(pump.stats)

    async def start(app: web.Application) -> None:
        app["running"] = asyncio.create_task(pump.run())

    async def stop(app: web.Application) -> None:
        app["running"].cancel()
        await asyncio.gather(app["running"], return_exceptions=True)

    app = web.Application()
    app.router.add_get("/__stats", stats)
    app.on_startup.append(start)
    app.on_cleanup.append(stop)
    return app


def main(port: str, settings: str) -> None:
    """Serves until it is told to stop."""
    app = application(Pump(json.loads(settings)))
    web.run_app(app, host="127.0.0.1", port=int(port), print=None, access_log=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
