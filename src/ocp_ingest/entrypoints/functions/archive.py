"""archive: the table's stream into the audit archive and the counters of lines of business.

event                        does                                         answers
a batch of the stream        archives and counts it                       what has to come again
{"recount": "<yyyymmdd>"}    counts that day's records anew               {"<yyyymmdd>": {…}}
{"recount": true}            the same for the last RECOUNT_DAYS days      the same, each day
{"rearchive": "<yyyymmdd>"}  archives the journals of that day's calls    {"calls", "events"}

It reads no secret and knows no OCP: its role may not, so it opens less than the other functions.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import structlog

from ocp_ingest import bootstrap
from ocp_ingest import config as config_module
from ocp_ingest.core.errors import Invalid, OcpIngestError
from ocp_ingest.entrypoints.functions.runtime import Context, Event, text_of
from ocp_ingest.telemetry import log, set_up_logs

if TYPE_CHECKING:
    from ocp_ingest.adapters.aws.archive import Archive
    from ocp_ingest.adapters.aws.day_counts import DayCounts
    from ocp_ingest.ports import Clock

# Nights in which a day is recounted: what the stream still held in the first is there in the next.
RECOUNT_DAYS: Final = 3
_DAY_MS: Final = 86_400_000


class Process:
    """The one archive of this process, opened by its first invocation."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._stack = AsyncExitStack()
        self._opened: tuple[Archive, DayCounts, Clock] | None = None

    def run(self, event: Event, context: Context) -> dict[str, Any]:
        """Does what an event asks for."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        with structlog.contextvars.bound_contextvars(
            request_id=context.aws_request_id, op="archive"
        ):
            return self._runner.run(self._do(event, context.aws_request_id))

    async def _do(self, event: Event, request_id: str) -> dict[str, Any]:
        archive, counts, clock = await self._open()
        if "rearchive" in event:
            done = await archive.again(text_of(event, "rearchive"))
            log().info("archive.again", day=event["rearchive"], **done)
            return dict(done)
        if "recount" in event:
            days = _days(event["recount"], clock.now_ms())
            by = f"archive:{request_id}"
            return {day: await counts.recount(day, by=by, now_ms=clock.now_ms()) for day in days}
        return await _batch(archive, event, clock.now_ms())

    async def _open(self) -> tuple[Archive, DayCounts, Clock]:
        if self._opened is None:
            from ocp_ingest.adapters.aws.archive import Archive
            from ocp_ingest.adapters.aws.day_counts import DayCounts
            from ocp_ingest.adapters.aws.incidents import AwsIncidents
            from ocp_ingest.adapters.aws.session import Aws

            config = config_module.load()
            set_up_logs("json", config.log.level)
            aws = await self._stack.enter_async_context(Aws(config.aws))
            archive = Archive(aws, AwsIncidents(aws))
            self._opened = archive, DayCounts(aws), bootstrap.clock(config)
        return self._opened

    def close(self) -> None:
        """Closes everything; for tests: Lambda just ends the process."""
        if self._runner is not None:
            self._runner.run(self._stack.aclose())
            self._runner.close()
        self._runner, self._opened = None, None


async def _batch(archive: Archive, event: Event, now_ms: int) -> dict[str, Any]:
    """A known trouble makes the batch come again; a bug is raised, so that its alarm rings."""
    from ocp_ingest.adapters.aws.archive import answer
    from ocp_ingest.adapters.aws.session import Answered

    try:
        done = await archive.take(event, now_ms)
    except OcpIngestError as failed:
        log().error("archive.failed", code=failed.code, reason=failed.text)
        return answer(event, failed=True)
    except Answered as failed:
        log().error("archive.failed", code=failed.code, reason=failed.message)
        return answer(event, failed=True)
    log().info(
        "archive.taken", kept=done.kept, rejected=done.rejected, counted=done.counted, put=done.put
    )
    return answer(event, failed=False)


def _days(asked: object, now_ms: int) -> list[str]:
    from ocp_ingest.adapters.aws.table import day_of

    if asked is True:
        return [day_of(now_ms - back * _DAY_MS) for back in range(1, RECOUNT_DAYS + 1)]
    if isinstance(asked, str) and asked:
        return [asked]
    raise Invalid("`recount` must be a day, yyyymmdd, or true.")


_PROCESS: Final = Process()
_ONE_AT_A_TIME: Final = threading.Lock()


def handler(event: Event, context: Context) -> dict[str, Any]:
    """One batch, or one day by hand."""
    with _ONE_AT_A_TIME:
        return _PROCESS.run(event, context)
