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

from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.evidence import AwsEvidence
from ocp_ingest.adapters.aws.incidents import AwsIncidents
from ocp_ingest.adapters.aws.recording_store import AwsRecordingStore
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.aws.timetable import AwsTimetable
from ocp_ingest.adapters.aws.work_queue import AwsWorkQueue
from ocp_ingest.core.lifecycle import CallPolicy
from tests.aws_adapters import s3_kit, stand_in

# Test function -> why AWS, or the server that stands for it, answers otherwise. Each is a strict
# expected failure of the runtime "aws".
DIFFERENCES: Final[dict[str, str]] = {
    "test_the_earliest_due_comes_first": "A standard queue of SQS keeps no order, and its delays "
    "are whole seconds: these of 10 and 20 ms are one second each.",
    **s3_kit.differences(),
}

_PORTS: Final = ("calls", "evidence", "incidents", "recordings", "queue", "timetable")


class AwsRuntime:
    """All ports of one deployment. The event loop that first uses it must be there to its end."""

    grain_ms = 1_000

    def __init__(self, _folder: Path, *, tries_max: int, items_max: int) -> None:
        self.policy = CallPolicy()
        self._tries_max = tries_max
        self._items_max = items_max
        self._where = stand_in.deployment(tries_max=tries_max)
        self._open: list[_LoopAws] = []
        self.restart()

    @cached_property
    def calls(self) -> AwsCallStore:
        return AwsCallStore(self._aws, self.policy)

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

    _has_buckets = False

    def restart(self) -> None:
        """Other adapters over other connections, on the same resources."""
        self._aws = _LoopAws(self._where, s3_kit.session())
        self._open.append(self._aws)
        for port in _PORTS:
            self.__dict__.pop(port, None)

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


class _LoopAws(Aws):
    """Remembers the event loop that its connections belong to."""

    loop: asyncio.AbstractEventLoop | None = None

    async def client(self, service: Any) -> Any:
        self.loop = asyncio.get_running_loop()
        return await super().client(service)
