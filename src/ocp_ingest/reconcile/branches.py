"""Downloads by parts: the two branches of a state machine's round; see results.py for the parts.

metadata   a function reads the small CDR files, for as long as it may run
audio      a worker takes a message with a task token, downloads for hours, and answers the token
           when every file has a result; between beats it shows that it is alive

What ends an audio message           results   the message          the token
every file has a result              kept      deleted              success
nobody waits for the token any more  kept      deleted              (is dead)
somebody else has the message        kept      theirs               theirs
the process is told to stop          kept      given back at once   still waited for
a failure of our own                 …         given back, later    still waited for
a crash                              …         comes back by itself still waited for

A message given back or come back too often is parked; then the token is answered with a failure,
so that the state machine goes on: what has no result has failed, and the next round fetches it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec

from ocp_ingest.core.errors import OcpIngestError, Transient
from ocp_ingest.core.export_job import ExportJob, Results, State
from ocp_ingest.core.limits import DOWNLOADS_AT_ONCE, MINUTE_MS, SECOND_MS
from ocp_ingest.ingest import tell
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import Message, WorkQueue
from ocp_ingest.reconcile.answer import Ref, task_id
from ocp_ingest.reconcile.download import Downloads
from ocp_ingest.reconcile.executions import Tasks
from ocp_ingest.reconcile.results import Part
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

# Real time between two signs of life of a download: a fifteenth of the quarter of an hour after
# which its token counts as silent, and a tenth of a message's lease, so that several may be lost.
BEAT_MS: Final = MINUTE_MS
# How long a message is ours without a sign: a worker that was killed costs no more than this.
MESSAGE_LEASE_MS: Final = 10 * MINUTE_MS
# Messages that one process downloads for at once; each has DOWNLOADS_AT_ONCE files of its own.
MESSAGES_AT_ONCE: Final = 1
# How long a worker waits for the first message in one request: the longest that SQS allows.
_WAIT_S: Final = 20.0
# After a failure of our own the message rests so long, times its tries: with four tries, past a
# restart of what failed.
_REST_MS: Final = 30 * SECOND_MS
# What ended a download that the state machine no longer waits for, in a failure's words.
PARKED: Final = "DownloadParked"

Ended = Literal["answered", "superseded", "lost", "stopped"]


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a round to be downloaded before `until_ms`, domain time."""

    job_key: str
    ocp_group: str
    round: int
    until_ms: int
    task_token: str = ""
    dialog_group_ids: tuple[str, ...] | Ref = ()


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """What a branch says of its part of a round, in files; the results themselves are kept."""

    branch: Part
    job_key: str
    round: int
    done: int = 0
    failed: int = 0
    gone: int = 0
    superseded: bool = False  # another round is under way

    def data(self) -> dict[str, Any]:
        """As a function returns it."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built


async def metadata(world: World, stage2: Stage2, errand: Errand, *, left_ms: int) -> Brought:
    """Reads the metadata part, for at most `left_ms` of real time; what it can't has no result.

    Raises Transient when our own store does not answer.
    """
    job = await _job_of(stage2, errand)
    if job is None:
        return _brought("metadata", errand, None)
    downloads = _downloads(world, stage2, job, "metadata")
    running = asyncio.create_task(downloads.run(errand.until_ms), name=f"metadata:{job.job_key}")
    await _first(running, stage2.real.sleep_ms(left_ms))
    return _brought("metadata", errand, await _results(downloads, running))


class AudioWorker:
    """Takes messages of the download queue and does the audio part of their rounds."""

    def __init__(self, world: World, stage2: Stage2, queue: WorkQueue, tasks: Tasks) -> None:
        self._world = world
        self._stage2 = stage2
        self._queue = queue
        self._tasks = tasks

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set; a download under way is given back then."""
        while not stop.is_set():
            try:
                # Awaited also when told to stop: what it takes meanwhile must be given back.
                messages = await self._queue.take(
                    limit=1, lease_ms=MESSAGE_LEASE_MS, wait_s=_WAIT_S
                )
            except Transient as gone:
                log().warning("worker.queue_unavailable", reason=gone.text)
                await self._stage2.real.sleep_ms(int(gone.retry_after_s * SECOND_MS))
                continue
            for message in messages:
                await self.handle(message, stop)

    async def handle(self, message: Message, stop: asyncio.Event) -> None:
        """Does one message; whatever fails, it is taken up again or parked."""
        try:
            errand = msgspec.convert(message.body, Errand)
            ended = await self._carry(errand, message, stop)
            log().info("download.message_ended", job_key=errand.job_key, how=ended)
        except OcpIngestError as failed:
            log().warning("download.failed", code=failed.code, reason=failed.text)
            await self._rest(message)
        except Exception as bug:  # a message that is none of ours, too: it ends up parked
            log().error("download.message_crashed", error=type(bug).__name__, exc_info=True)
            await self._rest(message)

    async def _carry(self, errand: Errand, message: Message, stop: asyncio.Event) -> Ended:
        if stop.is_set():
            await self._queue.give_back(message, delay_ms=0)
            return "stopped"
        if not await self._tasks.heartbeat(errand.task_token):
            return await self._drop(errand, message)
        job = await _job_of(self._stage2, errand)
        if job is None:
            return await self._tell(errand, message, None)
        downloads = _downloads(self._world, self._stage2, job, "audio")
        running = asyncio.create_task(downloads.run(errand.until_ms), name=f"audio:{job.job_key}")
        try:
            stopped = await self._watch(errand, message, downloads, running, stop)
        except BaseException:
            await _results(downloads, running)
            raise
        results = await _results(downloads, running)
        if stopped == "superseded":
            return await self._drop(errand, message)
        if stopped == "stopped":
            await self._queue.give_back(message, delay_ms=0)
        return stopped or await self._tell(errand, message, results)

    async def _watch(
        self, errand: Errand, message: Message, downloads: Downloads,
        running: asyncio.Task[Results], stop: asyncio.Event,
    ) -> Ended | None:  # fmt: skip
        """Beats until the download is through or out of time (None), or must stop."""
        while True:
            await _first(running, self._stage2.real.sleep_ms(BEAT_MS), stop.wait())
            if running.done() or self._world.clock.now_ms() >= errand.until_ms:
                return None
            if stop.is_set():
                return "stopped"
            try:
                if not await self._tasks.heartbeat(errand.task_token):
                    return "superseded"
                if not await self._queue.extend(message, MESSAGE_LEASE_MS):
                    return "lost"
                await downloads.keep()
            except Transient as gone:  # the next beat may be heard
                log().warning("download.unavailable", job_key=errand.job_key, reason=gone.text)

    async def _tell(self, errand: Errand, message: Message, results: Results | None) -> Ended:
        said = _brought("audio", errand, results)
        told = await self._tasks.success(errand.task_token, said.data())
        if not told:
            return await self._drop(errand, message)
        await self._queue.done(message)
        return "answered"

    async def _drop(self, errand: Errand, message: Message) -> Ended:
        log().info(
            "download.superseded", job_key=errand.job_key, round=errand.round,
            task=task_id(errand.task_token),
        )  # fmt: skip
        await self._queue.done(message)
        return "superseded"

    async def _rest(self, message: Message) -> None:
        with suppress(Transient):  # else its lease runs out
            await self._queue.give_back(message, delay_ms=_REST_MS * message.tries)


async def parked(world: World, tasks: Tasks, body: object) -> bool:
    """Lets the state of a parked download fail at once; False when nobody waits for it."""
    try:
        errand = msgspec.convert(body, Errand)
    except msgspec.ValidationError:
        text = "The download queue holds a message that is none of ours; it was dropped."
        log().error("download.message_unreadable")
        await tell.people(world, "step_parked", text, key="step_parked:download_queue")
        return False
    log().error("download.parked", job_key=errand.job_key, round=errand.round)
    cause = "The download was tried too often; what has no result is fetched in the next round."
    return await tasks.failure(errand.task_token, PARKED, cause)


def _downloads(world: World, stage2: Stage2, job: ExportJob, part: Part) -> Downloads:
    return Downloads(world, stage2, job, asyncio.Semaphore(DOWNLOADS_AT_ONCE), part)


async def _job_of(stage2: Stage2, errand: Errand) -> ExportJob | None:
    """The job, or None when another round of it is under way, or none any more."""
    job = await stage2.book.job(errand.job_key)
    if job is None or job.ocp_group != errand.ocp_group:
        raise Transient("The download's export job is not there.", job_key=errand.job_key)
    current = job.state is State.DOWNLOADING and job.round == errand.round
    return job if current else None


async def _first(*work: Awaitable[Any]) -> None:
    """Waits for the first of these; the others are cancelled, but the first named runs on."""
    first, *rest = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait({first, *rest}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in rest:
            one.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


async def _results(downloads: Downloads, running: asyncio.Task[Results]) -> Results:
    """What came of a download; one that still runs is broken off, its results kept."""
    if running.done():
        return running.result()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await downloads.keep()
    return downloads.count()


def _brought(branch: Part, errand: Errand, results: Results | None) -> Brought:
    held = results or Results()
    return Brought(
        branch=branch, job_key=errand.job_key, round=errand.round, done=held.done,
        failed=held.failed, gone=held.gone, superseded=results is None,
    )  # fmt: skip
