"""The AWS runtime's processes: `serve` takes what OCP sends, `work` does the rest of the way.

serve   the API and the console behind the load balancer, alerts and the law's check: no step, no
        sweep; what is durable and queued is a worker's. POST /v1/reconciliations asks the detect
        function.
work    steps from the work queue, downloads of finished exports, housekeeping of landing, and a
        small HTTP server for the container's health check and its metrics.

A stop (SIGTERM; ECS kills after its stopTimeout of 120 s):
    no more messages are taken; steps under way have STOP_S_MAX to end; downloads persist where
    they are; what is still held then is given back at once, for another worker to take
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from ocp_ingest import bootstrap, bootstrap_aws
from ocp_ingest.bootstrap_aws import AwsRuntime
from ocp_ingest.config_model import Config
from ocp_ingest.core.errors import Invalid, NoRights, OcpIngestError
from ocp_ingest.core.settings import LANDING
from ocp_ingest.core.view import UriOf
from ocp_ingest.entrypoints import duty
from ocp_ingest.entrypoints.platform import Tasks, run_loop, stop_on_signals
from ocp_ingest.entrypoints.worker_health import healthy
from ocp_ingest.ingest import housekeeping, pipeline
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import Message, WorkQueue
from ocp_ingest.reconcile import census
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import Metrics, log, measure_into

# One receive waits so long for a message: SQS's longest, and every empty answer is billed.
_RECEIVE_S: Final = 20.0
# Of the 120 s that ECS gives at most: steps have these, giving back and logging out the rest.
STOP_S_MAX: Final = 80.0
# A caller of the API waits so long for the detect function; load balancers cut at 60 s.
_ANSWER_S_MAX: Final = 25.0
# On the command line: as long as a function may run at all.
DETECT_S_MAX: Final = 900.0
# The connection's own patience must not end first.
_SLACK_S: Final = 10.0


def run_api(config: Config) -> None:
    """Serves the ingestion API until SIGTERM or SIGINT."""
    run_loop(serve(config))


def run_worker(config: Config) -> None:
    """Works until SIGTERM or SIGINT."""
    run_loop(work(config))


async def serve(config: Config, stop: asyncio.Event | None = None) -> None:
    """Runs the ingestion API until `stop` is set, or a signal arrives."""
    from ocp_ingest.adapters.embedded.clock import SystemClock
    from ocp_ingest.adapters.journal import Deriving
    from ocp_ingest.adapters.tokens.setup import authority
    from ocp_ingest.desk.bulk_runner import BulkRunner
    from ocp_ingest.entrypoints.api.app import create_app
    from ocp_ingest.entrypoints.api.server import serving
    from ocp_ingest.entrypoints.console.app import served

    stop = stop or stop_on_signals()
    async with (
        bootstrap_aws.open(config) as runtime,
        duty.traced(runtime.config.telemetry),
        bootstrap_aws.exports(runtime) as stage2,
        bootstrap.channels(runtime.config, runtime.aws) as channels,
        contextlib.AsyncExitStack() as stack,
    ):
        config, metrics = runtime.config, Metrics()
        measure_into(metrics)
        desk, tasks = runtime.desk, Tasks(stack)
        duty.start(desk, config, channels, tasks.start, stop, alone=False)
        bulk = BulkRunner(desk, Deriving.of(desk.world.settings).lob_of, SystemClock())
        tasks.start("bulk", bulk.run(stop))
        reconcile = _reconcile(runtime, stage2) if config.aws.detect_arn else None
        uri_of = _uri_of(config.aws.bucket_prefix)
        app = create_app(
            runtime.world,
            authority(config.auth, Path(config.data.dir)),
            config,
            reconcile=reconcile,
            reach=Reach(runtime.world).checks,
            metrics=metrics,
            uri_of=uri_of,
            more=served(
                desk, config,
                metrics=metrics, reconcile=reconcile, stage2=stage2, channels=channels,
                ring_bulk=bulk.ring, uri_of=uri_of,
            ),
        )  # fmt: skip
        try:
            async with serving(app, config.server):
                await stop.wait()
        finally:
            stop.set()  # also when it could not listen: the loops end by themselves


def _uri_of(prefix: str) -> UriOf:
    """Where people find an object: its bucket as S3 knows it."""
    return lambda bucket, key: f"s3://{prefix}{bucket}/{key}"


async def work(config: Config, stop: asyncio.Event | None = None) -> None:
    """Runs a worker until `stop` is set, or a signal arrives."""
    stop = stop or stop_on_signals()
    async with (
        bootstrap_aws.open(config) as runtime,
        duty.traced(runtime.config.telemetry),
        bootstrap_aws.exports(runtime) as stage2,
        holding(runtime.world) as world,
        contextlib.AsyncExitStack() as stack,
    ):
        metrics = Metrics()
        measure_into(metrics)  # what is started below measures into these
        tasks = Tasks(stack, STOP_S_MAX)
        for number in range(runtime.config.limits.workers):
            tasks.start(f"worker-{number}", pipeline.work(world, stop, idle_s=_RECEIVE_S))
        tasks.start("housekeeping", housekeeping.run(world, stop))
        tasks.start("uploads", sweep_uploads(runtime.world, stop))
        if stage2 is not None and runtime.config.aws.download_queue_url:
            from ocp_ingest.entrypoints.worker import run_downloads

            tasks.start("downloads", run_downloads(runtime, stage2, stop))
        try:
            reach = Reach(world).checks
            async with healthy(runtime.config.server, tasks.alive, reach, metrics):
                await stop.wait()
        finally:
            stop.set()  # also when it could not listen: the loops end by themselves


# Uploads that nobody completed cost storage until they are aborted; a lifecycle rule ends them
# after two days, this an hour after they are a day old.
_UPLOADS_EVERY_S: Final = 3_600.0


async def sweep_uploads(
    world: World, stop: asyncio.Event, *, every_s: float = _UPLOADS_EVERY_S
) -> None:
    """Aborts abandoned uploads into the landing store, until `stop` is set."""
    from ocp_ingest.adapters.aws.recording_store import AwsRecordingStore

    assert isinstance(world.recordings, AwsRecordingStore), "the AWS runtime keeps audio on S3"
    while not stop.is_set():
        try:
            await world.recordings.sweep(now_ms=int(time.time() * 1000))
        except OcpIngestError as failed:
            log().warning("housekeeping.unavailable", reason=failed.text)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every_s)


# -- what a worker holds --------------------------------------------------------------------------


class HeldQueue:
    """A work queue that remembers what was taken through it and neither done nor given back."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self.held: dict[str, Message] = {}

    async def put(self, key: str, body: dict[str, Any], *, delay_ms: int = 0) -> None:
        """As the queue's."""
        await self._queue.put(key, body, delay_ms=delay_ms)

    async def take(self, *, limit: int, lease_ms: int, wait_s: float) -> list[Message]:
        """As the queue's."""
        taken = await self._queue.take(limit=limit, lease_ms=lease_ms, wait_s=wait_s)
        self.held.update({message.receipt: message for message in taken})
        return taken

    async def extend(self, message: Message, lease_ms: int) -> bool:
        """As the queue's."""
        return await self._queue.extend(message, lease_ms)

    async def done(self, message: Message) -> None:
        """As the queue's."""
        await self._queue.done(message)
        self.held.pop(message.receipt, None)

    async def give_back(self, message: Message, *, delay_ms: int) -> None:
        """As the queue's; whether it worked or not, its lease ends by itself."""
        self.held.pop(message.receipt, None)
        await self._queue.give_back(message, delay_ms=delay_ms)

    async def parked(self, *, limit: int = 100) -> list[Message]:
        """As the queue's."""
        return await self._queue.parked(limit=limit)

    async def depth(self) -> int:
        """As the queue's."""
        return await self._queue.depth()


@asynccontextmanager
async def holding(world: World) -> AsyncIterator[World]:
    """The world with a queue to which everything still held is given back at the end."""
    queue = HeldQueue(world.queue)
    try:
        yield replace(world, queue=queue)
    finally:
        for message in list(queue.held.values()):
            with contextlib.suppress(OcpIngestError):  # else its lease runs out
                await queue.give_back(message, delay_ms=0)


# -- readiness ------------------------------------------------------------------------------------

# A load balancer asks every few seconds from each zone; a request each would only cost money.
_REMEMBERED_S: Final = 5.0
# A service that takes longer than this to find nothing is no service to send work to.
_REACH_S_MAX: Final = 2.0


class Reach:
    """Whether the table and the landing bucket answer; an answer is remembered for seconds."""

    def __init__(self, world: World, steady_s: Callable[[], float] = time.monotonic) -> None:
        self._world = world
        self._steady_s = steady_s
        self._asking = asyncio.Lock()
        self._said: tuple[float, dict[str, bool]] | None = None

    async def checks(self) -> dict[str, bool]:
        """Names of what can be reached, or not."""
        async with self._asking:
            if self._said is not None and self._steady_s() < self._said[0] + _REMEMBERED_S:
                return dict(self._said[1])
            store, landing = await asyncio.gather(
                _answers(self._world.calls.load("readyz"), refusal=False),
                # Looking asks for rights that an uploader need not have: a refusal is an answer.
                _answers(self._world.recordings.head(LANDING, "readyz"), refusal=True),
            )
            self._said = (self._steady_s(), {"store": store, "landing": landing})
            return dict(self._said[1])


async def _answers(question: Awaitable[object], *, refusal: bool) -> bool:
    try:
        async with asyncio.timeout(_REACH_S_MAX):
            await question
    except NoRights:
        return refusal
    except Exception:
        return False
    return True


# -- reconciliation -------------------------------------------------------------------------------


def _reconcile(
    runtime: AwsRuntime, stage2: Stage2 | None
) -> Callable[[bool], Awaitable[dict[str, Any]]]:
    """What `POST /v1/reconciliations` does: detect now, and a census later when asked for.

    `running` is true when detect took longer than a caller can wait; it goes on by itself.
    """
    from ocp_ingest.adapters.aws import functions

    config = runtime.config

    async def reconcile(wants_census: bool) -> dict[str, Any]:
        if wants_census and not config.reconcile.census:
            raise Invalid("The census is switched off: set `reconcile.census`.")
        said = await ask_detect(runtime, {}, s_max=_ANSWER_S_MAX)
        if wants_census:
            await functions.tell(runtime.aws, config.aws.detect_arn, {"census": True})
        return {
            "looked_at": 0, "resumed": 0, "closed": {}, "asked": {},
            **(said or {}),
            "running": said is None,
            "census": await _counted(stage2) if stage2 is not None else {},
        }  # fmt: skip

    return reconcile


async def _counted(stage2: Stage2) -> dict[str, Any]:
    """How far the census of each group has come."""
    return {
        group: msgspec.to_builtins(await census.state(stage2, group)) for group in stage2.groups
    }


async def ask_detect(
    runtime: AwsRuntime, event: dict[str, Any], *, s_max: float
) -> dict[str, Any] | None:
    """What the detect function says to an event; None when it takes longer than `s_max` s.

    Raises Invalid when no such function is configured; Transient, Terminal, NoRights.
    """
    from ocp_ingest.adapters.aws import functions
    from ocp_ingest.adapters.aws.session import Aws

    section = runtime.config.aws
    if not section.detect_arn:
        raise Invalid("`aws.detect_arn` is missing: which function looks for what is missing?")
    patient = msgspec.structs.replace(section, answer_s_max=s_max + _SLACK_S)
    async with Aws(patient) as aws:
        return await functions.ask(aws, section.detect_arn, event, s_max=s_max)
