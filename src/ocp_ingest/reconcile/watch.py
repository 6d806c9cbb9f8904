"""Root causes that stage 2 sees: opened once, closed when they have healed.

What is seen                                           incident               closed when
a group's state (core.export_group.alarms)             its kind               the state is over
an export given up because others cancelled it         slot_busy              an export completes
  or held its slot
an export that could not be created; OCP silent        vendor_down            an export completes;
                                                                              OCP answers again
files of an export that fail in every round, or that   step_parked            all files of a later
  a person must clear the way for                                             export came
calls near the end of OCP's retention                  retention_near         none is left
a group's last calls came without a recording          subscription_silent    one comes
nothing came of a group for hours in which many calls  subscription_silent    a call comes, or the
  came a week before                                                          hour is a quiet one
calls that no OCP group can be asked for               group_blocked          none is left
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from typing import Final, Literal

from ocp_ingest.core.call import Call
from ocp_ingest.core.eligibility import deadline_at
from ocp_ingest.core.export_group import INCIDENT_OF, GroupState, alarms
from ocp_ingest.core.export_job import End, ExportJob, Nothing, Observation, Unavailable
from ocp_ingest.core.incidents import SAMPLE_CALLS_MAX
from ocp_ingest.core.lifecycle import start_ms
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.ingest import tell
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import CallQuery
from ocp_ingest.reconcile.detect import Ask
from ocp_ingest.reconcile.export import OWN_STORE

_CRITICAL: Final = frozenset({"retention_near", "group_blocked", "vendor_down"})
# What the group's state shows for as long as it lasts; see core.export_group.alarms.
_STATE_KINDS: Final = (
    "slot_busy", "group_blocked", "group_half_open", "hours_quarantined", "windows_shrunk",
)  # fmt: skip
# Ends after which the state looks well again although nothing has healed.
_LASTING_ENDS: Final = (End.CANCELLED, End.SLOT_HELD, End.VENDOR_DOWN, End.NOT_CREATED)
# A subscription is held silent after so many calls in a row without a streamed recording: at the
# expected 90 % that is chance once in 10^20.
_SILENT_CALLS: Final = 20
# Nothing at all for so long is silence where at least so many calls came in the same hours of the
# week before: a weekday's morning is no night, and one that small may well be chance.
_QUIET_MS: Final = 2 * HOUR_MS
_QUIET_CALLS: Final = 100
_WEEK_MS: Final = 7 * DAY_MS
# Requests in a row without an answer after which a person should know; one or two are the network.
_SILENT_REQUESTS: Final = 3
# Calls near deletion that one look reads; more of them need no better count.
_NEAR_CALLS_MAX: Final = 500
# Open incidents that are looked through; there is one per root cause and group.
_OPEN_MAX: Final = 1_000

Wrong = dict[str, tuple[str, tuple[str, ...]]]  # incident key -> text, calls


class GroupWatch:
    """Says what is wrong with one group's slot, only when it changes.

    `silent`: requests in a row that had no answer before this watch began.
    """

    def __init__(self, world: World, ocp_group: str, *, silent: int = 0) -> None:
        self._world = world
        self._group = ocp_group
        self._said: dict[str, str] | None = None
        self._silent = silent
        self._down: bool | None = None

    async def state(self, group: GroupState) -> None:
        """Compares the group's state with what was said of it last."""
        policy = self._world.settings.policy.stage2
        now_ms = self._world.clock.now_ms()
        wrong = {alarm.kind: alarm.why for alarm in alarms(group, now_ms, policy)}
        if wrong == self._said:
            return
        for kind in _STATE_KINDS:
            key = f"{kind}:{self._group}"
            if kind in wrong:
                await _open(self._world, key, kind, f"{self._group}: {wrong[kind]}")
            elif self._said is None or kind in self._said:
                await self._world.incidents.close(key, now_ms, "healed")
        self._said = wrong

    async def heard(self, seen: Observation) -> None:
        """Notes whether OCP answered."""
        if isinstance(seen, Nothing):
            return
        silent = isinstance(seen, Unavailable) and seen.kind != OWN_STORE
        key = f"vendor_down:{self._group}"
        self._silent = self._silent + 1 if silent else 0
        if silent and self._silent >= _SILENT_REQUESTS and not self._down:
            why = seen.kind if isinstance(seen, Unavailable) else ""
            text = f"{self._group}: {self._silent} requests without an answer: {why}"
            await _open(self._world, key, "vendor_down", text)
            self._down = True
        elif not silent and self._down is not False:
            await self._world.incidents.close(key, self._world.clock.now_ms(), "OCP answers again")
            self._down = False


async def job_ended(world: World, job: ExportJob, failing: Sequence[str]) -> None:
    """Opens what a job's end means for its group, or closes what a good end has healed.

    `failing`: why files could not be fetched, one text each.
    """
    group, now_ms = job.ocp_group, world.clock.now_ms()
    kind = INCIDENT_OF.get(job.end) if job.end in _LASTING_ENDS else None
    if kind is not None and job.end is not None:
        text = f"{group}: an export was given up: {job.end_why}"
        await _open(world, f"{kind}:{group}:{job.end}", kind, text)
    if job.ready_at:
        for end in _LASTING_ENDS:
            key = f"{INCIDENT_OF[end]}:{group}:{end}"
            await world.incidents.close(key, now_ms, "an export was completed")
    if job.end is End.DONE:
        await world.incidents.close(f"step_parked:download:{group}", now_ms, "all files came")
        await world.incidents.close(f"step_parked:export:{group}", now_ms, "an export was done")
    elif failing:
        text = f"{group}: {len(failing)} files of an export can't be fetched: {failing[0]}"
        await _open(world, f"step_parked:download:{group}", "step_parked", text)


async def driving_fails(world: World, ocp_group: str, why: str) -> None:
    """A job can't be driven on: an error that its rules don't know."""
    text = f"{ocp_group}: an export job can't go on: {why}"
    await _open(world, f"step_parked:export:{ocp_group}", "step_parked", text)


async def watch_calls(world: World, groups: Sequence[str], unaskable: Sequence[Ask]) -> None:
    """Compares what is wrong with calls with the open incidents; `unaskable` have no group."""
    wrong = await _retention(world)
    for group in groups:
        wrong |= await _silence(world, group) or await _nothing(world, group)
    if unaskable:
        text = (
            f"{len(unaskable)} calls name no OCP group, and none is configured: set "
            "ocp_group_default or the groups of [ocp]"
        )
        calls = tuple(ask.call.call_id for ask in unaskable[:SAMPLE_CALLS_MAX])
        wrong["group_blocked:unknown"] = (text, calls)
    for key, (text, sample) in wrong.items():
        await _open(world, key, key.partition(":")[0], text, sample)
    for incident in await world.incidents.incidents(limit=_OPEN_MAX):
        ours = incident.kind in ("retention_near", "subscription_silent")
        if (ours or incident.key == "group_blocked:unknown") and incident.key not in wrong:
            await world.incidents.close(incident.key, world.clock.now_ms(), "healed")


async def _retention(world: World) -> Wrong:
    """Groups with calls in flight that OCP deletes soon, whenever their next try is."""
    policy, now_ms = world.settings.policy.stage2, world.clock.now_ms()
    soon_ms = now_ms + policy.retention_alarm_ms - policy.retention_ms
    page = await world.calls.page(CallQuery(outcome="none", to_ms=soon_ms, limit=_NEAR_CALLS_MAX))
    near: dict[str, list[Call]] = defaultdict(list)
    for call in page.calls:
        near[call.get("ocp_group") or "unknown"].append(call)
    wrong: Wrong = {}
    for group, calls in near.items():
        first_ms = min(deadline_at(start_ms(call), policy) for call in calls)
        days = max(0, first_ms - now_ms) / DAY_MS
        more = "or more " if page.cursor is not None else ""
        text = f"{group}: {len(calls)} {more}calls wait; OCP deletes the first in {days:.1f} days"
        sample = tuple(call.call_id for call in calls[-SAMPLE_CALLS_MAX:])
        wrong[f"retention_near:{group}"] = (text, sample)
    return wrong


async def _silence(world: World, ocp_group: str) -> Wrong:
    """Whether the last calls that could have been streamed all came without a recording."""
    policy = world.settings.policy
    if ocp_group in policy.recording_off_groups:
        return {}
    quiet_ms = world.clock.now_ms() - policy.stage2.grace_ms
    page = await world.calls.page(
        CallQuery(ocp_group=ocp_group, to_ms=quiet_ms, limit=2 * _SILENT_CALLS)
    )
    could = (
        call for call in page.calls
        if (ended_ms := call.get("call_ended")) is not None and ended_ms < quiet_ms
        and call.get("test_flag") is not True
        and (call.get("duration_ms") or 0) >= policy.recording_min_ms
    )  # fmt: skip
    ended = list(islice(could, _SILENT_CALLS))
    streamed = any(
        version.source == "stream"
        for call in ended
        for recording in call.recordings.values()
        for version in recording.versions.values()
    )
    if len(ended) < _SILENT_CALLS or streamed:
        return {}
    text = f"{ocp_group}: the last {len(ended)} calls came without a recording"
    return {f"subscription_silent:{ocp_group}": (text, tuple(call.call_id for call in ended))}


async def _nothing(world: World, ocp_group: str) -> Wrong:
    """Whether not even CDRs came of a group of which many calls came at this time of a week ago."""
    now_ms = world.clock.now_ms()

    async def began(until_ms: int, at_most: int) -> int:
        query = CallQuery(
            ocp_group=ocp_group, from_ms=until_ms - _QUIET_MS, to_ms=until_ms, limit=at_most
        )  # fmt: skip
        return len((await world.calls.page(query)).calls)

    if await began(now_ms + 1, 1) or await began(now_ms - _WEEK_MS, _QUIET_CALLS) < _QUIET_CALLS:
        return {}
    text = (
        f"{ocp_group}: nothing came for {_QUIET_MS // HOUR_MS} h; a week ago {_QUIET_CALLS} calls "
        "or more came in these hours"
    )
    return {f"subscription_silent:{ocp_group}": (text, ())}


async def _open(world: World, key: str, kind: str, text: str, sample: tuple[str, ...] = ()) -> None:
    severity: Literal["warning", "critical"] = "critical" if kind in _CRITICAL else "warning"
    await tell.people(world, kind, text, key=key, severity=severity, calls=sample)
