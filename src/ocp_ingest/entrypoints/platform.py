"""The embedded platform: API, workers and reconciliation in one process and one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec

from ocp_ingest import bootstrap
from ocp_ingest.adapters.embedded.clock import SystemClock
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.adapters.tokens.setup import authority
from ocp_ingest.config_model import Config
from ocp_ingest.core.errors import Invalid
from ocp_ingest.desk.bulk_runner import BulkRunner
from ocp_ingest.desk.notify import Channels
from ocp_ingest.entrypoints import duty
from ocp_ingest.ingest import housekeeping, pipeline, tell
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import schedule
from ocp_ingest.reconcile.sweep import Sweeper
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import Metrics, log, measure_into


def run(config: Config) -> None:
    """Serves until SIGTERM or SIGINT; everything acknowledged is durable at every moment."""
    run_loop(serve(config))


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Runs a process's work on the fastest event loop there is."""
    calm_collector()
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


# New containers between two looks for garbage that refers to itself. A request makes some hundred
# and drops them by itself; looking every 700 of them took an eighth of the process's time.
GARBAGE_LOOK_EVERY: Final = 20_000


def calm_collector() -> None:
    """Lets Python's collector of cycles look seldom, and never at what the imports made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_LOOK_EVERY, *gc.get_threshold()[1:])


async def serve(config: Config, stop: asyncio.Event | None = None) -> None:
    """Runs the platform until `stop` is set, or a signal arrives."""
    stop = stop or stop_on_signals()
    runtime = bootstrap.embedded(config)
    try:
        async with contextlib.AsyncExitStack() as stack:
            metrics = Metrics()
            measure_into(metrics)  # what is started below measures into these
            await stack.enter_async_context(duty.traced(config.telemetry))
            channels = await stack.enter_async_context(bootstrap.channels(config))
            tasks = Tasks(stack)
            stage2 = await stack.enter_async_context(bootstrap.exports(runtime))
            sweeper = _sweeping(runtime, stage2, stop, stack, tasks)
            tasks.start("take-up", take_up(runtime.world), lasting=False)
            for number in range(config.limits.workers):
                tasks.start(f"worker-{number}", pipeline.work(runtime.world, stop))
            tasks.start("housekeeping", housekeeping.run(runtime.world, stop))
            _seal(runtime, stop, tasks)
            duty.start(runtime.desk, config, channels, tasks.start, stop, alone=stage2 is None)
            try:
                await _serve_api(runtime, sweeper, stage2, stop, tasks, metrics, channels)
            finally:
                stop.set()  # also when it could not listen: the loops end by themselves
    finally:
        runtime.close()


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


# Calls looked at in one go.
_PAGE = 500


async def take_up(world: World) -> int:
    """Queues the steps that the process before this one acknowledged and left; how many calls.

    A process killed between journal and queue leaves a call that no worker knows of. Detection
    finds it too, when it is overdue: up to half an hour later.
    """
    until_ms = world.clock.now_ms() + world.settings.policy.resume_after_ms
    queued, after = 0, None
    while page := await world.calls.pending(until_ms=until_ms, limit=_PAGE, after=after):
        for entry in page:
            call = await world.calls.load(entry.call_id)
            if call is not None and pipeline.step_due(world, call) is not None:
                await tell.workers(world, call.call_id)
                queued += 1
        after = page[-1]
    return queued


# A step under way may end; what it can't end is taken up again after the restart.
STOP_S_MAX: Final = 5.0


class Tasks:
    """A process's loops; each ends by itself once `stop` is set, or is made to, last one first."""

    def __init__(self, stack: contextlib.AsyncExitStack, stop_s_max: float = STOP_S_MAX) -> None:
        """`stop_s_max`: so long all of them may take to end by themselves, in real seconds."""
        self._stack = stack
        self._stop_s_max = stop_s_max
        self._stop_until_s: float | None = None
        self.running: dict[str, asyncio.Task[object]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, object], *, lasting: bool = True) -> None:
        """Runs a loop until the stack closes; one that is not `lasting` may end before."""
        task = asyncio.create_task(work, name=name)
        if lasting:
            self.running[name] = task
        task.add_done_callback(self._ended)

        async def end() -> None:
            _, late = await asyncio.wait({task}, timeout=self._left_s())
            for straggler in late:
                straggler.cancel()
                await asyncio.wait({straggler})

        self._stack.push_async_callback(end)

    def alive(self) -> dict[str, bool]:
        """Each lasting loop, and whether it still runs."""
        return {name: not task.done() for name, task in self.running.items()}

    def _left_s(self) -> float:
        now_s = asyncio.get_running_loop().time()
        if self._stop_until_s is None:
            self._stop_until_s = now_s + self._stop_s_max
        return max(0.0, self._stop_until_s - now_s)

    def _ended(self, task: asyncio.Task[object]) -> None:
        # A loop that ends by itself is a bug: readiness shows it, the log says why.
        if not task.cancelled() and task.exception() is not None:
            log().error("worker.failed", worker=task.get_name(), error=repr(task.exception()))


def _seal(runtime: bootstrap.Embedded, stop: asyncio.Event, tasks: Tasks) -> None:
    """Starts the loops that make evidence, and that look whether it still is."""
    from ocp_ingest.evidence import scrub, sealer

    section = runtime.config.evidence
    tasks.start("sealer", sealer.run(runtime.evidence, stop, every_s=section.seal_every_s))
    if section.scrub_objects:
        work = scrub.run(runtime.evidence, stop, objects=section.scrub_objects)
        tasks.start("scrub", work)


def _sweeping(
    runtime: bootstrap.Embedded, stage2: Stage2 | None, stop: asyncio.Event,
    stack: contextlib.AsyncExitStack, tasks: Tasks,
) -> Sweeper | None:  # fmt: skip
    if stage2 is None:
        every_ms = int(runtime.config.reconcile.detect_every_s * 1000)
        tasks.start("resume", schedule.resume_only(runtime.world, every_ms, stop))
        return None
    sweeper = Sweeper(runtime.world, stage2)
    stack.push_async_callback(sweeper.stop)
    tasks.start("schedule", schedule.run(runtime.world, sweeper, stage2, stop))
    return sweeper


async def _serve_api(
    runtime: bootstrap.Embedded, sweeper: Sweeper | None, stage2: Stage2 | None,
    stop: asyncio.Event, tasks: Tasks, metrics: Metrics, channels: Channels,
) -> None:  # fmt: skip
    from ocp_ingest.entrypoints.api.app import create_app
    from ocp_ingest.entrypoints.api.server import serving
    from ocp_ingest.entrypoints.console.app import served

    config = runtime.config
    bulk = BulkRunner(runtime.desk, Deriving.of(runtime.world.settings).lob_of, SystemClock())
    tasks.start("bulk", bulk.run(stop))
    reconcile = _reconcile(sweeper, config) if sweeper is not None else None
    app = create_app(
        runtime.world,
        authority(config.auth, Path(config.data.dir)),
        config,
        reconcile=reconcile,
        alive=tasks.alive,
        metrics=metrics,
        more=served(
            runtime.desk, config,
            metrics=metrics, reconcile=reconcile, stage2=stage2, channels=channels,
            ring_bulk=bulk.ring,
        ),
    )  # fmt: skip
    async with serving(app, config.server):
        await stop.wait()


def _reconcile(sweeper: Sweeper, config: Config) -> Callable[[bool], Awaitable[dict[str, Any]]]:
    """What `POST /v1/reconciliations` does: a sweep now, and a census when asked for."""

    async def reconcile(census: bool) -> dict[str, Any]:
        if census and not config.reconcile.census:
            raise Invalid("The census is switched off: set `reconcile.census`.")
        swept: dict[str, Any] = msgspec.to_builtins(await sweeper.sweep())
        if census:
            await sweeper.take_census()
        swept["census"] = {
            group: msgspec.to_builtins(held) for group, held in (await sweeper.counted()).items()
        }
        return swept

    return reconcile
