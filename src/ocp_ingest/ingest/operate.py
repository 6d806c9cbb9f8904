"""What operators do to a call; every act is a fact with who and why."""

from __future__ import annotations

from typing import Literal

from ocp_ingest.core import events as ev
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Conflict, Invalid, NotFound
from ocp_ingest.core.lifecycle import outcome
from ocp_ingest.ingest import tell
from ocp_ingest.ingest.world import World

# A reason is for auditors; a novel is not one.
REASON_CHARS_MAX = 1_000


async def act(
    world: World,
    kind: Literal["retried", "reopened", "released"],
    call_id: str,
    *,
    who: str,
    reason: str,
    dialog_id: str | None = None,
) -> Call:
    """Journals an act and wakes the pipeline.

    Raises NotFound, Invalid without a reason, Conflict when there is nothing to reopen or release.
    """
    call = await _load(world, call_id, reason)
    done = outcome(call, world.settings.policy)
    if kind == "reopened" and done is None:
        raise Conflict("The call is open already; retry it instead.", call_id=call_id)
    if kind == "reopened" and done is not None and done.outcome == "stored":
        raise Conflict("The call's recording is stored: there is nothing to reopen.")
    if kind == "released" and not any(r.versions for r in call.recordings.values()):
        raise Conflict("The call has no recording that could be released.", call_id=call_id)
    event = ev.operator(
        kind, call_id, at_ms=world.clock.now_ms(), who=who, reason=reason.strip(),
        dialog_id=dialog_id,
    )  # fmt: skip
    call = (await world.calls.append([event]))[0].call
    await tell.workers(world, call_id)
    return call


async def mark_absent(world: World, call_id: str, *, who: str, reason: str) -> Call:
    """Closes a call as legitimately without a recording, on a person's word.

    Raises NotFound, Invalid without a reason, Conflict when the call has an outcome already.
    """
    call = await _load(world, call_id, reason)
    if outcome(call, world.settings.policy) is not None:
        raise Conflict("The call has an outcome already; reopen it first.", call_id=call_id)
    event = ev.closed(
        call_id, "absent", epoch=call.epoch, at_ms=world.clock.now_ms(),
        reason=f"{who} said so: {reason.strip()}", by=who, source="operator",
    )  # fmt: skip
    return (await world.calls.append([event]))[0].call


async def close_incident(world: World, key: str, *, who: str, reason: str) -> None:
    """Closes an open incident on a person's word.

    Raises NotFound when none of that key is open, Invalid without a reason.
    """
    _check_reason(reason)
    how = f"{who}: {reason.strip()}"
    if not await world.incidents.close(key, world.clock.now_ms(), how):
        raise NotFound(f"There is no open incident {key}.", key=key)


def _check_reason(reason: str) -> None:
    if not 0 < len(reason.strip()) <= REASON_CHARS_MAX:
        raise Invalid(f"Say why, in 1 to {REASON_CHARS_MAX} characters.")


async def _load(world: World, call_id: str, reason: str) -> Call:
    _check_reason(reason)
    call = await world.calls.load(call_id)
    if call is None:
        raise NotFound(f"There is no call {call_id} here.", call_id=call_id)
    return call
