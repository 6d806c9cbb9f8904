"""detect: which calls have work that is due, and what kind.

Reads the pending index only, so it costs what is open, not what is stored. Work stuck in our own
pipeline is queued again; closings that are due are journalled; what must be asked of OCP is
returned, per OCP group, for planning.

A call whose OCP group nobody told us is asked for in the default group. Without a default, all
configured groups are asked one after the other, and only the last one's "no" is a miss.

Records are read some at a time and sorted one after the other, in the order of the index. Whoever
has only so much time says when it is `over`; what was not looked at is as old at the next look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import msgspec

from ocp_ingest.core import events as ev
from ocp_ingest.core import words
from ocp_ingest.core.call import Call
from ocp_ingest.core.eligibility import deadline_at
from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.lifecycle import Work, due, start_ms
from ocp_ingest.core.plan import PendingCall
from ocp_ingest.ingest import tell
from ocp_ingest.ingest.pipeline import STEPS
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import Pending
from ocp_ingest.reconcile.together import RECORDS_AT_ONCE, together
from ocp_ingest.telemetry import log

# One sweep looks at so many calls; the rest is as old tomorrow and the next sweep takes them.
SWEEP_CALLS_MAX: Final = 100_000
_PAGE: Final = 500
UNKNOWN_GROUP: Final = ""
_CLOSINGS: Final = {
    "close_absent": "absent",
    "close_quarantined": "quarantined",
    "close_lost": "lost",
}


class Ask(msgspec.Struct, frozen=True):
    """A call for the planner, and what it needs of an export ("audio", "dialog_start", …)."""

    call: PendingCall
    needs: tuple[str, ...]
    spent: tuple[str, ...] = ()  # exports that were read and did not bring it


class Detected(msgspec.Struct):
    """What one detection found; `asks` of calls that no group can be asked for are under ""."""

    looked_at: int = 0
    resumed: int = 0
    closed: dict[str, int] = {}
    asks: dict[str, list[Ask]] = {}
    unfinished: bool = False  # time was over before all were looked at


def never() -> bool:
    """The time of who has all of it."""
    return False


async def detect(
    world: World, ocp_group: str | None = None, *, groups: Sequence[str] = (),
    over: Callable[[], bool] = never,
) -> Detected:  # fmt: skip
    """Looks at every call whose work is due, of one group or of all, and does what it can.

    `groups` are those that may be asked for calls of an unknown group.
    """
    found = Detected()
    now_ms = world.clock.now_ms()
    async for lot in _lots(world, now_ms, ocp_group):
        if over():
            found.unfinished = True
            break
        found.looked_at += len(lot)
        await _look(world, lot, groups, found, now_ms)
    if ocp_group is not None:
        found.asks = {ocp_group: found.asks[ocp_group]} if ocp_group in found.asks else {}
    if found.looked_at:
        log().info(
            "detect.done", looked_at=found.looked_at, resumed=found.resumed, closed=found.closed,
            asked=sum(map(len, found.asks.values())),
        )  # fmt: skip
    return found


async def due_asks(
    world: World, groups: Sequence[str] = (), ocp_group: str | None = None,
    *, over: Callable[[], bool] = never,
) -> dict[str, list[Ask]]:  # fmt: skip
    """What a detection of one group or of all would return for planning; changes nothing."""
    found: dict[str, list[Ask]] = {}
    now_ms = world.clock.now_ms()
    async for lot in _lots(world, now_ms, ocp_group):
        if over():
            break
        for call in await together([entry.call_id for entry in lot], world.calls.load):
            ready = due(call, world.settings.policy, now_ms) if call is not None else []
            if call is not None and not any(_closes(work) for work in ready):
                _add_asks(world, call, ready, groups, found)
    return found


def group_to_ask(world: World, call: Call, groups: Sequence[str]) -> str:
    """The OCP group in which a call is asked for next; "" when there is none."""
    known = call.get("ocp_group") or world.settings.ocp_group_default
    if known or not groups:
        return known or UNKNOWN_GROUP
    asked = _asked(call)
    return min(groups, key=lambda group: asked[group])  # the first of those asked least often


def speaks_for_all(world: World, call: Call, ocp_group: str, groups: Sequence[str]) -> bool:
    """Whether a "no" of this group, asked now, leaves no other group that may have the call."""
    if call.get("ocp_group") or world.settings.ocp_group_default:
        return True
    asked = _asked(call)
    return all(asked[group] > asked[ocp_group] for group in groups if group != ocp_group)


def _asked(call: Call) -> Counter[str]:
    """How often each group has answered for a call of an unknown group, in this epoch."""
    return Counter(
        str(export.metadata.get("ocp_group"))
        for export in call.exports.values()
        if export.answered_at_ms > call.epoch_at_ms and export.metadata.get("said", True)
    )


async def _lots(world: World, now_ms: int, ocp_group: str | None) -> AsyncIterator[list[Pending]]:
    """What is due, as much at a time as is read at once."""
    lot: list[Pending] = []
    async for entry in _due(world, now_ms, ocp_group):
        lot.append(entry)
        if len(lot) == RECORDS_AT_ONCE:
            yield lot
            lot = []
    if lot:
        yield lot


async def _due(world: World, now_ms: int, ocp_group: str | None) -> AsyncIterator[Pending]:
    # Whoever asks for a group may have to ask for calls of no known group too.
    parts = [None] if ocp_group is None else list(dict.fromkeys((ocp_group, UNKNOWN_GROUP)))
    for part in parts:
        after: Pending | None = None
        for _ in range(SWEEP_CALLS_MAX // _PAGE):
            page = await world.calls.pending(
                until_ms=now_ms, limit=_PAGE, ocp_group=part, after=after
            )
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                break
            after = page[-1]


async def _look(
    world: World, lot: Sequence[Pending], groups: Sequence[str], found: Detected, now_ms: int
) -> None:
    """Sorts some calls; one that meets a bug must not keep all others from being looked at."""

    async def load(call_id: str) -> Call | Exception | None:
        try:
            return await world.calls.load(call_id)
        except OcpIngestError:
            raise
        except Exception as bug:
            return bug

    call_ids = [entry.call_id for entry in lot]
    for call_id, call in zip(call_ids, await together(call_ids, load), strict=True):
        try:
            if isinstance(call, Exception):
                raise call
            if call is not None:
                await _sort(world, call, groups, found, now_ms)
        except OcpIngestError:
            raise
        except Exception as bug:
            await _crashed(world, call_id, bug)


async def _crashed(world: World, call_id: str, bug: Exception) -> None:
    error = type(bug).__name__
    log().error("detect.crashed", call_id=call_id, error=error, exc_info=bug)
    await tell.people(
        world,
        "step_parked",
        f"A call can't be looked at: {error}; see the log.",
        key="step_parked:detect",
        severity="critical",
        calls=[call_id],
    )


async def _sort(
    world: World, call: Call, groups: Sequence[str], found: Detected, now_ms: int
) -> None:
    """Does the first thing that is due; what follows from it is due at the next look."""
    ready = due(call, world.settings.policy, now_ms)
    await _resume(world, call, ready, found, now_ms)
    for work in ready:
        if _closes(work):
            # A crash may have left the record behind its journal, and the sender may never have
            # come back: nothing is given up for lack of a fact that is journalled.
            if await world.calls.rebuild(call.call_id):
                found.resumed += 1
                return
            await close(world, call, work)
            name = _CLOSINGS.get(work.action, "given_up")
            found.closed[name] = found.closed.get(name, 0) + 1
            return
    _add_asks(world, call, ready, groups, found.asks)


async def _resume(
    world: World, call: Call, ready: Sequence[Work], found: Detected, now_ms: int
) -> None:
    """Queues a call with a step that is overdue, unless it was done a while ago (ingest.again)."""
    due_ms = min((work.at_ms for work in ready if work.action in STEPS), default=None)
    if due_ms is None or not world.again.may(call.call_id, due_ms, now_ms):
        return
    await tell.workers(world, call.call_id)
    world.again.put(call.call_id, due_ms, now_ms, world.settings.limits.step_lease_ms)
    found.resumed += 1


def _closes(work: Work) -> bool:
    return work.action in _CLOSINGS or work.action == "give_up"


def _add_asks(
    world: World, call: Call, ready: Sequence[Work], groups: Sequence[str],
    found: dict[str, list[Ask]],
) -> None:  # fmt: skip
    asks = [work for work in ready if work.action == "ask_export"]
    if asks:
        found.setdefault(group_to_ask(world, call, groups), []).append(_ask(call, asks, world))


def _ask(call: Call, asks: list[Work], world: World) -> Ask:
    stage2 = world.settings.policy.stage2
    started = start_ms(call)
    pending = PendingCall(
        call_id=call.call_id,
        start_ms=started,
        end_ms=call.get("call_ended"),
        misses=min(work.misses for work in asks),
        eligible_at=min(work.at_ms for work in asks),
        deadline_at=deadline_at(started, stage2),
        waiting_since=call.get("call_ended") or started,
    )
    needs = tuple(sorted({need for work in asks for need in work.needs}))
    spent = tuple(e.job_id for e in call.exports.values() if e.answered_at_ms and e.job_id)
    return Ask(pending, needs, spent)


async def close(world: World, call: Call, work: Work) -> Call:
    """Journals a closing that is due, with its reason in words; opens the incident it deserves."""
    now_ms = world.clock.now_ms()
    reason = words.WHY[work.code]
    if work.action == "give_up":
        event = ev.given_up(call.call_id, epoch=call.epoch, at_ms=now_ms, reason=reason)
    else:
        event = ev.closed(
            call.call_id, _CLOSINGS[work.action],  # type: ignore[arg-type]
            epoch=call.epoch, at_ms=now_ms, reason=reason, code=work.code,
        )  # fmt: skip
    kind = {"close_quarantined": "recording_quarantined", "close_lost": "recording_lost"}.get(
        work.action
    )
    if kind is not None:
        await tell.people(
            world,
            kind,
            reason,
            key=f"{kind}:{call.get('ocp_group') or 'unknown'}",
            severity="critical" if kind == "recording_lost" else "warning",
            calls=[call.call_id],
        )
    log().info("call.closed", call_id=call.call_id, action=work.action, code=work.code)
    return (await world.calls.append([event]))[0].call
