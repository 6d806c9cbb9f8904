"""The AWS adapters on servers that stand for AWS, as one more runtime of the contract suites.

One server per test process (tests.aws_adapters.stand_in), a deployment of its own for each test.
OCP_TEST_DYNAMODB_ENDPOINT and OCP_TEST_S3_ENDPOINT choose other servers. An adapter is made when
a test first asks for it, so that a test pays for no resources but those it uses.
"""

from __future__ import annotations

import asyncio
import time
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ocp_ingest.adapters.aws.alert_book import AwsAlertBook
from ocp_ingest.adapters.aws.bulk_book import AwsBulkBook
from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.day_counts import DayCounts
from ocp_ingest.adapters.aws.desk_notes import AwsDeskNotes
from ocp_ingest.adapters.aws.evidence import AwsEvidence
from ocp_ingest.adapters.aws.figures import AwsFigures
from ocp_ingest.adapters.aws.incidents import AwsIncidents
from ocp_ingest.adapters.aws.open_work import OpenWork
from ocp_ingest.adapters.aws.recording_store import AwsRecordingStore
from ocp_ingest.adapters.aws.seal_book import AwsSealBook
from ocp_ingest.adapters.aws.seal_hints import SealHints
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.aws.timetable import AwsTimetable
from ocp_ingest.adapters.aws.work_queue import AwsWorkQueue
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.proof import Entry
from ocp_ingest.desk.ports import DayFigures
from tests.audit.stream import SHARD, Recorder
from tests.aws_adapters import s3_kit, stand_in

# Test function -> why AWS, or the server that stands for it, answers otherwise. Each is a strict
# expected failure of the runtime "aws".
DIFFERENCES: Final[dict[str, str]] = {
    "test_the_earliest_due_comes_first": "A standard queue of SQS keeps no order, and its delays "
    "are whole seconds: these of 10 and 20 ms are one second each.",
    **s3_kit.differences(),
}

_PORTS: Final = (
    "calls", "evidence", "incidents", "recordings", "queue", "timetable", "seals", "figures",
    "alerts", "bulk", "notes",
)  # fmt: skip


class AwsRuntime:
    """All ports of one deployment. The event loop that first uses it must be there to its end."""

    grain_ms = 1_000

    def __init__(
        self, _folder: Path, deriving: Deriving, *, tries_max: int, items_max: int
    ) -> None:
        self.deriving = deriving
        self._tries_max = tries_max
        self._items_max = items_max
        self._where = stand_in.deployment(tries_max=tries_max)
        self._open: list[_LoopAws] = []
        self.restart()

    @property
    def policy(self) -> CallPolicy:
        return self.deriving.policy

    @cached_property
    def calls(self) -> AwsCallStore:
        return AwsCallStore(self._aws, self.deriving)

    @cached_property
    def evidence(self) -> AwsEvidence:
        return AwsEvidence(self._aws, self._items_max)

    @cached_property
    def incidents(self) -> AwsIncidents:
        return AwsIncidents(self._aws)

    @cached_property
    def recordings(self) -> AwsRecordingStore:
        if not self._has_buckets:
            s3_kit.make_buckets(self._where)
            self._has_buckets = True
        return AwsRecordingStore(self._aws)

    @cached_property
    def queue(self) -> AwsWorkQueue:
        where = self._where
        return AwsWorkQueue(self._aws, where.work_queue_url, where.work_dlq_url, self._tries_max)

    @cached_property
    def timetable(self) -> AwsTimetable:
        return AwsTimetable(self._aws, stand_in.TARGET_ARN)

    @cached_property
    def seals(self) -> AwsSealBook:
        return AwsSealBook(self._aws, self.deriving)

    async def stream(self, entries: list[Entry]) -> None:
        self._batches += 1
        await SealHints(self._aws).hint(f"{self._batches:016}#1", entries)

    _batches = 0

    @cached_property
    def alerts(self) -> AwsAlertBook:
        return AwsAlertBook(self._aws)

    @cached_property
    def bulk(self) -> AwsBulkBook:
        return AwsBulkBook(self._aws)

    @cached_property
    def notes(self) -> AwsDeskNotes:
        return AwsDeskNotes(self._aws)

    _has_buckets = False

    def restart(self) -> None:
        """Other adapters over other connections, on the same resources."""
        self._aws = self._connections()
        self._open.append(self._aws)
        for port in _PORTS:
            self.__dict__.pop(port, None)

    def _connections(self) -> _LoopAws:
        return _LoopAws(self._where, s3_kit.session())

    def pass_time(self, duration_ms: int) -> None:
        """The servers' clocks are real."""
        time.sleep(duration_ms / 1000)

    def close(self) -> None:
        """From outside of the event loop, while that is not closed."""
        loop = next((aws.loop for aws in self._open if aws.loop is not None), None)
        if loop is not None:
            loop.run_until_complete(self.aclose())

    async def aclose(self) -> None:
        """From inside of the event loop."""
        for aws in self._open:
            await aws.close()
        self._open.clear()


class AwsDeskRuntime(AwsRuntime):
    """The same with the ports of the desk; what the table's stream tells reaches the counters."""

    users = None  # people come from OpenID Connect

    def __init__(self, folder: Path, deriving: Deriving, **more: int) -> None:
        self._recorders: list[Recorder] = []
        super().__init__(folder, deriving, **more)

    @cached_property
    def figures(self) -> FedFigures:
        return FedFigures(self._aws, self._recorders)

    def _connections(self) -> _LoopAws:
        made = _RecordingAws(self._where, s3_kit.session())
        self._recorders.append(made)
        return made


class FedFigures(AwsFigures):
    """Counters that are as new as the table whenever they are asked."""

    def __init__(self, aws: Aws, recorders: list[Recorder]) -> None:
        super().__init__(aws, OpenWork(aws))
        self._aws = aws
        self._recorders = recorders

    async def days(self, first: str, last: str) -> list[DayFigures]:
        await self._feed()
        return await super().days(first, last)

    async def recount(self, day: str, *, by: str, now_ms: int) -> int:
        await self._feed()
        return await super().recount(day, by=by, now_ms=now_ms)

    async def _feed(self) -> None:
        records = [record for held in self._recorders for record in held.take()]
        await DayCounts(self._aws).count(SHARD, records, int(time.time() * 1000))


class _LoopAws(Aws):
    """Remembers the event loop that its connections belong to."""

    loop: asyncio.AbstractEventLoop | None = None

    async def client(self, service: Any) -> Any:
        self.loop = asyncio.get_running_loop()
        return await super().client(service)


class _RecordingAws(_LoopAws, Recorder):
    """Remembers what the table's stream would tell."""
