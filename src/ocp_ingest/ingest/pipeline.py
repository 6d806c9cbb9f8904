"""The whole way of a recording on one page: what is missing is found, done, and flagged.

    intake ─► inspect ─► validate ─► route ─► store
      journal: received   inspected   validated  routed   stored

`advance` takes a call from wherever it stopped to wherever it can get now. It keeps no state of
its own: the record says what is missing, so a worker that dies anywhere is replaced by any other,
and two workers on one call do each effect once as seen from outside (create-only objects,
events with deterministic ids).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ocp_ingest import tracing
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import OcpIngestError, Terminal, Transient
from ocp_ingest.core.lifecycle import Work, start_ms, works
from ocp_ingest.core.limits import SECOND_MS
from ocp_ingest.ingest import tell
from ocp_ingest.ingest.postprocess import inspect, validate
from ocp_ingest.ingest.store import pin, store
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import Message
from ocp_ingest.telemetry import log, measured

Step = Callable[[World, Call, Work], Coroutine[Any, Any, Call]]

# The order is the way of the data; the names are those of core.lifecycle.ACTIONS.
STEPS: Final[dict[str, Step]] = {
    "inspect": inspect,
    "validate": validate,
    "route": pin,
    "store": store,
}

# What the log says when a step is done.
DONE: Final[dict[str, str]] = {
    "inspect": "recording.inspected",
    "validate": "recording.validated",
    "route": "recording.routed",
    "store": "recording.stored",
}

# Four steps for each recording of a call; more rounds than this is a bug, not work.
_ROUNDS_MAX: Final = 64


def step_due(world: World, call: Call) -> Work | None:
    """The next step that our own pipeline can do for a call now, or None."""
    now_ms = world.clock.now_ms()
    for work in works(call, world.settings.policy):
        if work.action in STEPS and (work.code != "awaits_cdr" or work.at_ms <= now_ms):
            return work
    return None


async def advance(world: World, call_id: str) -> Call | None:
    """Does every step that can be done now; returns the record, or None for an unknown call."""
    call = await world.calls.load(call_id)
    for _ in range(_ROUNDS_MAX):
        work = step_due(world, call) if call is not None else None
        if call is None or work is None:
            return call
        call = await _step(world, call, work)
        log().info(DONE[work.action], call_id=call_id, sha256=work.sha256)
    raise Terminal("A call's steps do not come to an end.", call_id=call_id)


async def _step(world: World, call: Call, work: Work) -> Call:
    """Does one step, measured and traced."""
    began_s = asyncio.get_running_loop().time()
    try:
        with tracing.span(f"step.{work.action}", call.call_id):
            done = await STEPS[work.action](world, call, work)
    except Exception:
        measured().add("ocp_ingest_steps_failed_total", 1, work.action)
        raise
    finally:
        took_s = asyncio.get_running_loop().time() - began_s
        measured().observe("ocp_ingest_step_seconds", took_s, work.action)
    if work.action == "store":
        _count_stored(done, work)
    return done


def _count_stored(call: Call, work: Work) -> None:
    recording = call.recordings[work.dialog_id]
    place, version = recording.stored, recording.versions.get(work.sha256)
    if place is None or version is None:
        return  # the bytes were lost on the way: OCP is asked for them again
    measured().add("ocp_ingest_stored_bytes_total", version.bytes, place.lob)
    if work.dialog_id != call.root_dialog_id:
        return
    ended_ms = call.get("call_ended")
    if ended_ms is not None:
        took_s = max(0, place.at_ms - ended_ms) / SECOND_MS
        measured().observe("ocp_ingest_time_to_store_seconds", took_s, version.source)
    tracing.stored(call.call_id, start_ms(call), place.at_ms, lob=place.lob, source=version.source)


async def work(world: World, stop: asyncio.Event, *, idle_s: float = 1.0) -> None:
    """One worker: takes calls from the queue until `stop` is set; gives back what it can't do."""
    lease_ms = world.settings.limits.step_lease_ms
    while not stop.is_set():
        try:
            messages = await world.queue.take(limit=1, lease_ms=lease_ms, wait_s=idle_s)
        except Transient as gone:
            log().warning("worker.queue_unavailable", reason=gone.text)
            await asyncio.sleep(gone.retry_after_s)
            continue
        for message in messages:
            await handle(world, message)


async def drain(world: World) -> None:
    """Does what is queued now, for commands that run beside no worker."""
    lease_ms = world.settings.limits.step_lease_ms
    while messages := await world.queue.take(limit=10, lease_ms=lease_ms, wait_s=0):
        for message in messages:
            await handle(world, message)


async def handle(world: World, message: Message) -> None:
    """Advances one call; failures are given back with a back-off, and parked when spent."""
    call_id = message.body["call_id"]
    try:
        await advance(world, call_id)
        await world.queue.done(message)
    except OcpIngestError as failed:
        log().warning("step.failed", call_id=call_id, code=failed.code, reason=failed.text)
        await _give_back(world, message, failed)
    except Exception as bug:  # a bug must not end the worker, nor lose the call
        log().error("step.crashed", call_id=call_id, error=type(bug).__name__, exc_info=True)
        await _give_back(world, message, Terminal("An unexpected error; see the log."))


async def _give_back(world: World, message: Message, failed: OcpIngestError) -> None:
    limits = world.settings.limits
    if message.tries >= limits.step_tries_max or isinstance(failed, Terminal):
        await _open_parked(world, message, failed)
    # Full jitter: those that failed together do not come back together.
    ceiling_ms = min(limits.step_backoff_ms_max, 250 * 2 ** min(message.tries, 20))
    delay_ms = int(ceiling_ms * world.chance())
    with contextlib.suppress(Transient):  # else the lease runs out and somebody else gets it
        await world.queue.give_back(message, delay_ms=delay_ms)


async def _open_parked(world: World, message: Message, failed: OcpIngestError) -> None:
    with contextlib.suppress(Transient):  # else it is said again at the next try
        await tell.people(
            world,
            "step_parked",
            f"A step keeps failing: {failed.text}",
            key=f"step_parked:{failed.code}",
            severity="critical",
            calls=[message.body["call_id"]],
        )
