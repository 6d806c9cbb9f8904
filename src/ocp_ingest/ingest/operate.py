"""What operators do to a call; every act is a fact with who and why."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ocp_ingest.core import events as ev
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Conflict, Invalid, NotFound
from ocp_ingest.core.lifecycle import outcome
from ocp_ingest.ingest import tell
from ocp_ingest.ingest.world import World

# A reason is for auditors; a novel is not one.
REASON_CHARS_MAX: Final = 1_000

Act = Literal["retried", "reopened", "released"]


class Order(msgspec.Struct, frozen=True):
    """What an act belongs to: within one order, given at `given_at_ms`, it is done once."""

    ident: str
    given_at_ms: int


async def act(
    world: World,
    kind: Act,
    call_id: str,
    *,
    who: str,
    reason: str,
    dialog_id: str | None = None,
    order: Order | None = None,
) -> Call:
    """Journals an act and wakes the pipeline; with an `order`, a repeat only wakes it again.

    Raises NotFound, Invalid without a reason, Conflict when there is nothing to reopen or release.
    """
    call = await _load(world, call_id, reason)
    event = ev.operator(
        kind, call_id, at_ms=world.clock.now_ms(), who=who, reason=reason.strip(),
        dialog_id=dialog_id, order=order.ident if order else "",
    )  # fmt: skip
    if event.event_id not in call.acts:
        _check_act(kind, call, world)
        call = (await world.calls.append([event]))[0].call
    await tell.workers(world, call_id)
    return call


def _check_act(kind: Act, call: Call, world: World) -> None:
    done = outcome(call, world.settings.policy)
    if kind == "reopened" and done is None:
        raise Conflict("The call is open already; retry it instead.", call_id=call.call_id)
    if kind == "reopened" and done is not None and done.outcome == "stored":
        raise Conflict("The call's recording is stored: there is nothing to reopen.")
    if kind == "released" and not any(r.versions for r in call.recordings.values()):
        raise Conflict("The call has no recording that could be released.", call_id=call.call_id)


async def mark_absent(
    world: World, call_id: str, *, who: str, reason: str, order: Order | None = None
) -> Call:
    """Closes a call as legitimately without a recording, on a person's word.

    Raises NotFound, Invalid without a reason, Conflict when the call has an outcome already.
    """
    call = await _load(world, call_id, reason)
    said = _said(who, reason)
    if order is not None and _is_marked(call, who, said, order):
        return call
    if outcome(call, world.settings.policy) is not None:
        raise Conflict("The call has an outcome already; reopen it first.", call_id=call_id)
    # A clock that is behind the one that the order was given by must not make it look older.
    at_ms = max(world.clock.now_ms(), order.given_at_ms if order else 0)
    event = ev.closed(
        call_id, "absent", epoch=call.epoch, at_ms=at_ms, reason=said, by=who, source="operator"
    )
    return (await world.calls.append([event]))[0].call


def is_done(
    call: Call, kind: Act | Literal["marked_absent"], *, who: str, reason: str, order: Order
) -> bool:
    """Whether an order was carried out on a call, whatever became of the call since."""
    if kind == "marked_absent":
        return _is_marked(call, who, _said(who, reason), order)
    event = ev.operator(
        kind, call.call_id, at_ms=0, who=who, reason=reason.strip(), order=order.ident
    )
    return event.event_id in call.acts


def _said(who: str, reason: str) -> str:
    return f"{who} said so: {reason.strip()}"


def _is_marked(call: Call, who: str, said: str, order: Order) -> bool:
    return any(
        c.by == who and c.reason == said and c.at_ms >= order.given_at_ms
        for c in call.closings.values()
    )


async def close_incident(world: World, key: str, *, who: str, reason: str) -> None:
    """Closes an open incident on a person's word.

    Raises NotFound when none of that key is open, Invalid without a reason.
    """
    check_reason(reason)
    how = f"{who}: {reason.strip()}"
    if not await world.incidents.close(key, world.clock.now_ms(), how):
        raise NotFound(f"There is no open incident {key}.", key=key)


def check_reason(reason: str) -> None:
    """Raises Invalid for a reason that is empty or too long."""
    if not 0 < len(reason.strip()) <= REASON_CHARS_MAX:
        raise Invalid(f"Say why, in 1 to {REASON_CHARS_MAX} characters.")


async def _load(world: World, call_id: str, reason: str) -> Call:
    check_reason(reason)
    call = await world.calls.load(call_id)
    if call is None:
        raise NotFound(f"There is no call {call_id} here.", call_id=call_id)
    return call
