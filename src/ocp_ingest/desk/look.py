"""One look at the figures that alerts are judged by: a few counters and the head of an index.

figure          read from                                                bounded by
shares          counters of the lines of business, per day               the period of `[alerts]`
states          the pending index, earliest due first                    _LOOKED_AT_MAX calls
parked          the queue's parked messages, if they may be listed       _PARKED_MAX messages
causes          calls of an open incident, only when a figure is bad     _CAUSES_MAX × _CALLS
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ocp_ingest.core import overview
from ocp_ingest.core.alerts import (
    HOLDS_UP,
    STATES,
    Aged,
    Cause,
    Completeness,
    Objectives,
    Share,
    Snapshot,
    StateAges,
    bound_of,
    looked_from_ms,
)
from ocp_ingest.core.call import Call
from ocp_ingest.core.counting import day_of
from ocp_ingest.core.export_job import End
from ocp_ingest.core.incidents import SAMPLE_CALLS_MAX, Incident
from ocp_ingest.core.lifecycle import CallPolicy, Work, works
from ocp_ingest.core.limits import DAY_MS, SECOND_MS, TIME_MS_MAX
from ocp_ingest.core.routing import UNASSIGNED, route
from ocp_ingest.desk.ports import DayFigures
from ocp_ingest.desk.world import Desk
from ocp_ingest.ingest.pipeline import step_due
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import Pending
from ocp_ingest.reconcile.together import together

# Calls whose work is overdue that one look reads: enough to find those that wait for a step of
# ours among those that wait for an export.
_LOOKED_AT_MAX: Final = 1_000
_AT_ONCE: Final = 100
# Parked messages stay as a record; those of calls that went on are passed over.
_PARKED_MAX: Final = 500
# Open incidents that are asked for their lines of business, and calls of each.
_CAUSES_MAX: Final = 50
_CALLS: Final = SAMPLE_CALLS_MAX

# The step that is open -> the state in which it leaves the call.
_STATE_OF: Final = {
    "inspect": "file_received", "validate": "file_received",
    "route": "post_processed", "store": "post_processed",
}  # fmt: skip
_EXPLAINING: Final = HOLDS_UP | {"subscription_silent"}
_ENDS: Final = frozenset(end.value for end in End)


async def look(desk: Desk, objectives: Objectives) -> Snapshot:
    """All figures as they are now. Raises Transient."""
    now_ms = desk.world.clock.now_ms()
    period = max(objectives.completeness_days, objectives.streamed_days)
    first = day_of(now_ms - (period - 1) * DAY_MS)
    counted = await desk.figures.days(first, day_of(now_ms))
    return Snapshot(
        completeness=await _completeness(desk, counted, objectives, now_ms),
        streamed=_streamed(counted, day_of(now_ms - (objectives.streamed_days - 1) * DAY_MS)),
        aged=await _aged(desk, objectives.state_age_s_max, now_ms),
        parked=await _parked(desk.world) if desk.listing else (),
    )


async def _completeness(
    desk: Desk, counted: Sequence[DayFigures], objectives: Objectives, now_ms: int
) -> dict[str, Completeness]:
    since = day_of(now_ms - (objectives.completeness_days - 1) * DAY_MS)
    fresh_ms = now_ms - int(objectives.completeness_after_s * SECOND_MS)
    found = {}
    for lob, terms in _by_lob(counted, since).items():
        waiting = terms.get("in_flight", 0)
        if waiting:
            waiting -= (await desk.figures.open_ages([fresh_ms], [lob]))[-1]
        found[lob] = Completeness(
            stored=terms.get("stored", 0),
            ended=terms.get("quarantined", 0) + terms.get("lost", 0),
            waiting=max(0, waiting),
        )
    return found


def _streamed(counted: Sequence[DayFigures], since: str) -> dict[str, Share]:
    found = {}
    for lob, terms in _by_lob(counted, since).items():
        streamed = terms.get("streamed", 0)
        found[lob] = Share(streamed, streamed + terms.get("recovered", 0))
    return found


def _by_lob(counted: Iterable[DayFigures], since: str) -> dict[str, dict[str, int]]:
    lists: dict[str, list[dict[str, int]]] = {}
    for held in counted:
        if held.day >= since:
            lists.setdefault(held.lob, []).append(held.terms)
    return {lob: overview.total(terms) for lob, terms in lists.items()}


# -- states ---------------------------------------------------------------------------------------


async def _aged(desk: Desk, bounds: StateAges, now_ms: int) -> dict[str, Aged]:
    """The oldest call of every state that is watched, and others beyond its bound."""
    watched = {state: looked_from_ms(bounds, state) for state in STATES if bound_of(bounds, state)}
    if not watched:
        return {}
    ages: dict[str, list[tuple[int, Call]]] = {state: [] for state in watched}
    world, policy = desk.world, desk.world.settings.policy
    for entry, call in await _overdue(world, now_ms - min(watched.values())):
        _note(ages, "due", now_ms - entry.at_ms, call)
        for work in works(call, policy):
            state = _STATE_OF.get(work.action)
            if state is not None:
                _note(ages, state, now_ms - _since_ms(call, work, policy), call)
    return {
        state: _oldest(world, held, watched[state], bound_of(bounds, state))
        for state, held in ages.items()
    }


def _since_ms(call: Call, work: Work, policy: CallPolicy) -> int:
    """Since when a call is in the state that a step would end."""
    verdicts = call.recordings[work.dialog_id].versions[work.sha256].verdicts.values()
    # The index has a step due again a little after the recording could be worked on.
    return max(work.at_ms - policy.resume_after_ms, *(v.at_ms for v in verdicts if v.valid), 0)


def _note(ages: dict[str, list[tuple[int, Call]]], state: str, age_ms: int, call: Call) -> None:
    if state in ages:
        ages[state].append((age_ms, call))


async def _overdue(world: World, until_ms: int) -> list[tuple[Pending, Call]]:
    found: list[tuple[Pending, Call]] = []
    after, read = None, 0
    while read < _LOOKED_AT_MAX:
        page = await world.calls.pending(until_ms=until_ms, limit=_AT_ONCE, after=after)
        calls = await _calls(world, [entry.call_id for entry in page])
        found += [(entry, call) for entry, call in zip(page, calls, strict=True) if call]
        if len(page) < _AT_ONCE:
            break
        after, read = page[-1], read + len(page)
    return found


def _oldest(
    world: World, held: Sequence[tuple[int, Call]], looked_from: int, bound_ms: int
) -> Aged:
    old = sorted(
        ((age, call.call_id, call) for age, call in held if age > looked_from), reverse=True,
        key=lambda one: one[:2],
    )  # fmt: skip
    if not old:
        return Aged(0)
    beyond = [call for age, _, call in old if age > bound_ms]
    some = beyond[:_CALLS] or [old[0][2]]
    return Aged(
        age_ms=old[0][0],
        lobs=frozenset(lob_of(world, call) for call in some),
        calls=tuple(call.call_id for call in beyond[:_CALLS]),
        count=len(beyond),
    )


async def _parked(world: World) -> tuple[str, ...]:
    """Calls of parked messages that still wait for a step of ours."""
    messages = await world.queue.parked(limit=_PARKED_MAX)
    ids = dict.fromkeys(str(message.body.get("call_id") or "") for message in messages)
    calls = await _calls(world, [call_id for call_id in ids if call_id])
    return tuple(
        call.call_id for call in calls if call is not None and step_due(world, call) is not None
    )[:_CALLS]


# -- causes ---------------------------------------------------------------------------------------


async def causes(world: World, held: Sequence[Incident]) -> list[Cause]:
    """The open incidents that may explain a figure, with the lines of business they touch."""
    found = []
    for incident in [i for i in held if i.kind in _EXPLAINING][:_CAUSES_MAX]:
        ids = list(incident.sample[:_CALLS]) or await _calls_of_group(world, incident)
        calls = await _calls(world, ids)
        lobs = frozenset(lob_of(world, call) for call in calls if call is not None)
        found.append(Cause(incident.kind, incident.key, lobs))
    return found


async def _calls_of_group(world: World, incident: Incident) -> list[str]:
    """Some calls with open work of the OCP group that an incident's key names."""
    group = incident.key.removeprefix(f"{incident.kind}:")
    head, _, last = group.rpartition(":")
    if head and last in _ENDS:
        group = head  # keys of what a job's end opened: <kind>:<group>:<end>
    for prefix in ("download:", "export:", "execution:"):
        group = group.removeprefix(prefix)
    page = await world.calls.pending(until_ms=TIME_MS_MAX, limit=_CALLS, ocp_group=group)
    return [entry.call_id for entry in page]


async def _calls(world: World, ids: Sequence[str]) -> list[Call | None]:
    return await together(ids, world.calls.load)


def lob_of(world: World, call: Call) -> str:
    """The line of business of a call: pinned, else by the rules of now; "" for none."""
    place = call.root.routed or call.root.stored
    if place is not None:
        return place.lob
    found = route(call, world.settings.routing).lob
    return "" if found == UNASSIGNED else found
