"""Which hours of an OCP group to export next, and why.

OCP runs one export per group at a time, over whole hours, at most 48 of them. So pending calls are
packed into windows by what they cost: a window of `span` hours takes α + β · span seconds.

sort out    not yet eligible, past OCP's deletion, or only in quarantined hours: deferred, with a
            reason
reduce      a call needs the hours `[floor_h(start), floor_h(end) + 1 h)`, because OCP floors both
            ends; longer than the cap, or across a quarantined hour, it gets one part of them at
            each try: its first hours, its last, then those between
partition   dynamic programme: least sum of α + β · span over windows that each hold their calls'
            hours whole
gather      a window of few calls waits `gather_ms` from its first eligible call, for others to
            share its export; never when one of them is urgent
order       urgent first (earliest deletion), then calls per predicted second, doubled for each day
            waited beyond the first, ties oldest

A window may not exceed the cap of the group nor of any *suspect* range that it touches (an export
there failed), nor touch a *quarantined* hour. So any part of an allowed window is allowed: call
this H.

**Why consecutive runs suffice.** An interval within another is served wherever the other is, so
only maximal intervals count; sorted, their starts and ends both rise strictly. Take any optimal set
of windows, drop each that lies in another (its calls lie there too), and give each interval to the
first window, by start, that holds it. Let interval i come before j, held first by P and Q. Were Q
before P, then Q starts no later than P, so no later than i, and ends no earlier than j, so after i:
Q would hold i, and P would not be the first. So the windows' shares are consecutive runs, and the
hull of each run lies in its window: no dearer, and allowed by H. Hence the best partition into
consecutive runs is the best of all.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import msgspec

from ocp_ingest.core.cost_model import CostModel
from ocp_ingest.core.eligibility import (
    Policy,
    deadline_at,
    eligible_at,
    span_of,
)
from ocp_ingest.core.limits import DAY_MS, HOUR_MS

AGEING_DOUBLINGS_MAX: Final = 60  # the whole retention; keeps the weight a finite float


class PendingCall(msgspec.Struct, frozen=True):
    """One call whose recording or CDRs are missing; all times epoch ms."""

    call_id: str
    start_ms: int
    end_ms: int | None
    misses: int
    eligible_at: int
    deadline_at: int
    waiting_since: int


class Suspect(msgspec.Struct, frozen=True):
    """A range in which an export failed: windows that touch it hold at most `hours`."""

    from_ms: int
    to_ms: int
    hours: int


class PoisonHour(msgspec.Struct, frozen=True):
    """An hour that OCP cannot export: in no window until `retry_at`, then in one of its own."""

    hour_ms: int
    retry_at: int


class Caps(msgspec.Struct, frozen=True):
    """What the group's history allows a window to be."""

    hours: int = 48
    suspects: tuple[Suspect, ...] = ()
    poison: tuple[PoisonHour, ...] = ()


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One export to make: `[from_ms, to_ms)` on the hour, the calls it serves, and why now."""

    ocp_group: str
    from_ms: int
    to_ms: int
    call_ids: tuple[str, ...]
    predicted_s: float
    urgent: bool
    why: str
    deadline_at: int  # the earliest deletion among its calls
    waiting_since: int  # the longest waiting of its calls
    ready_at: int  # an export created before this may lack one of its calls

    @property
    def hours(self) -> int:
        """Length in hours."""
        return (self.to_ms - self.from_ms) // HOUR_MS


class Deferred(msgspec.Struct, frozen=True):
    """A call that is in no window now; `until_ms` is None once OCP has deleted its data."""

    call_id: str
    until_ms: int | None
    why: str


class Plan(msgspec.Struct, frozen=True):
    """Windows in the order in which to export them, and the calls left out."""

    ocp_group: str
    windows: tuple[Window, ...]
    deferred: tuple[Deferred, ...]

    @property
    def predicted_s(self) -> float:
        """Predicted seconds of the group's slot for the whole plan."""
        return sum(window.predicted_s for window in self.windows)


def pending_call(
    call_id: str,
    start_ms: int | None,
    end_ms: int | None,
    misses: int,
    policy: Policy,
    *,
    watermark_ms: int | None = None,
    last_try_ms: int | None = None,
    waiting_since: int | None = None,
) -> PendingCall:
    """A call with its times worked out; ValueError if neither start nor end is known."""
    start, end = span_of(start_ms, end_ms, policy)
    at = eligible_at(start, end, misses, policy, watermark_ms=watermark_ms, last_try_ms=last_try_ms)
    since = at if waiting_since is None else waiting_since
    return PendingCall(call_id, start, end, misses, at, deadline_at(start, policy), since)


def plan(
    group: str,
    calls: Iterable[PendingCall],
    model: CostModel,
    policy: Policy,
    now: int,
    caps: Caps = Caps(),  # noqa: B008 - frozen, so one default serves all
    *,
    per_call: bool = False,
) -> Plan:
    """The windows of one group, best order first; `per_call` makes each call its own window."""
    bounds = _Bounds(caps, policy, now)
    wanted: dict[tuple[int, int], list[PendingCall]] = {}
    deferred: list[Deferred] = []
    for call in calls:
        hours = _sort_out(call, bounds, policy, now)
        if isinstance(hours, Deferred):
            deferred.append(hours)
        else:
            wanted.setdefault(hours, []).append(call)
    if per_call:
        packs = [(*hours, [call]) for hours, group_calls in wanted.items() for call in group_calls]
    else:
        packs = _partition(wanted, model.line(), bounds)
    line = model.line()
    made = []
    for pack in packs:
        ripe_at = _ripe_at(pack, policy, now)
        if ripe_at <= now:
            made.append(_window(group, pack, line, policy, now))
        else:
            deferred += [Deferred(call.call_id, ripe_at, _GATHERING) for call in pack[2]]
    made.sort(key=lambda window: _rank(window, policy, now))
    return Plan(group, tuple(made), tuple(deferred))


class _Bounds:
    """The caps in hour numbers, split into walls (never touch) and narrow ranges."""

    def __init__(self, caps: Caps, policy: Policy, now: int) -> None:
        self.cap = max(1, min(caps.hours, policy.window_hours_max))
        self.retry_at = {p.hour_ms // HOUR_MS: p.retry_at for p in caps.poison if p.retry_at > now}
        self.walls = sorted(self.retry_at)
        self.narrow = [
            (s.from_ms // HOUR_MS, -(-s.to_ms // HOUR_MS), max(1, s.hours)) for s in caps.suspects
        ]
        for poison in caps.poison:
            if poison.retry_at <= now:
                hour = poison.hour_ms // HOUR_MS
                self.narrow.append((hour, hour + 1, 1))

    def cap_over(self, first: int, end: int) -> int:
        """The longest window allowed that touches the hours `[first, end)`."""
        caps = (cap for a, b, cap in self.narrow if a < end and first < b)
        return min(caps, default=self.cap) if self.narrow else self.cap

    def wall_in(self, first: int, end: int) -> bool:
        at = bisect_left(self.walls, first)
        return at < len(self.walls) and self.walls[at] < end

    def allows(self, first: int, end: int) -> bool:
        """Whether `[first, end)` may be one window; true of a range, it is true of its parts."""
        return end - first <= min(self.cap, self.cap_over(first, end)) and not (
            self.walls and self.wall_in(first, end)
        )


def _sort_out(
    call: PendingCall, bounds: _Bounds, policy: Policy, now: int
) -> tuple[int, int] | Deferred:
    """The hours that the call needs, or why it has to wait."""
    if now >= call.deadline_at:
        return Deferred(call.call_id, None, f"OCP deleted its data on {_utc(call.deadline_at)}")
    if now < call.eligible_at:
        at = call.eligible_at
        return Deferred(call.call_id, at, f"OCP's data may be incomplete until {_utc(at)}")
    start, end = span_of(call.start_ms, call.end_ms, policy)
    first, last = start // HOUR_MS, end // HOUR_MS + 1
    parts = [part for run in _free_runs(first, last, bounds) for part in _parts(*run, bounds)]
    if not parts:
        until = min(bounds.retry_at[hour] for hour in range(first, last))
        why = f"OCP cannot export its hour; tried again from {_utc(until)}"
        return Deferred(call.call_id, until, why)
    # A window holds calls by their start, or by their end, as far as anybody knows: the hours at
    # both ends come first. A start or end that is unknown may lie in any of them.
    in_turns = [*parts[:1], *parts[-1:], *parts[1:-1]]
    return in_turns[call.misses % len(in_turns)]


def _free_runs(first: int, last: int, bounds: _Bounds) -> list[tuple[int, int]]:
    """The runs of hours between quarantined ones; none where all are."""
    if not (bounds.walls and bounds.wall_in(first, last)):
        return [(first, last)]
    edges = [first - 1, *(hour for hour in bounds.walls if first <= hour < last), last]
    return [(a + 1, b) for a, b in pairwise(edges) if b - a > 1]


def _parts(first: int, last: int, bounds: _Bounds) -> list[tuple[int, int]]:
    """A run of hours in windows as long as they may be; the last two may share hours."""
    cap = min(bounds.cap, bounds.cap_over(first, last))
    starts = [first + n * cap for n in range((last - first - 1) // cap)]
    return [(at, at + cap) for at in starts] + [(max(first, last - cap), last)]


_Pack = tuple[int, int, list[PendingCall]]


def _partition(
    wanted: dict[tuple[int, int], list[PendingCall]], line: tuple[float, float], bounds: _Bounds
) -> list[_Pack]:
    """The cheapest windows that hold every interval whole: (first hour, end hour, calls)."""
    tops: list[_Pack] = []
    for first, end in sorted(wanted, key=lambda hours: (hours[0], -hours[1])):
        if tops and end <= tops[-1][1]:
            tops[-1][2].extend(wanted[first, end])
        else:
            tops.append((first, end, list(wanted[first, end])))
    packs: list[_Pack] = []
    for i, j in _cuts([(first, end) for first, end, _ in tops], line, bounds):
        calls = [call for _, _, held in tops[i : j + 1] for call in held]
        packs.append((tops[i][0], tops[j][1], calls))
    return packs


def _cuts(
    tops: Sequence[tuple[int, int]], line: tuple[float, float], bounds: _Bounds
) -> list[tuple[int, int]]:
    """First and last index of each run of the cheapest partition of the maximal intervals.

    cost(i..j) = α + β · (end_j - first_i), so run j wants the least `before[i] - β · first_i`
    among the starts still in reach; these are at most 48, since starts are distinct hours.
    """
    alpha, beta = line
    score: list[float] = []
    back: list[int] = []
    cost, reach = 0.0, 0
    for first, end in tops:
        score.append(cost - beta * first)
        while not bounds.allows(tops[reach][0], end):
            reach += 1
        window = score[reach:]
        best = min(window)
        back.append(reach + window.index(best))
        cost = alpha + beta * end + best
    runs: list[tuple[int, int]] = []
    j = len(tops) - 1
    while j >= 0:
        runs.append((back[j], j))
        j = back[j] - 1
    return runs[::-1]


_GATHERING: Final = "it waits a while for others to share its export"


def _ripe_at(pack: _Pack, policy: Policy, now: int) -> int:
    """When a window is worth an export: full enough, its first call waited enough, or urgent."""
    calls = pack[2]
    near = any(call.deadline_at - now < policy.retention_alarm_ms for call in calls)
    if near or len(calls) >= policy.gather_calls:
        return now
    return min(call.eligible_at for call in calls) + policy.gather_ms


def _window(group: str, pack: _Pack, line: tuple[float, float], policy: Policy, now: int) -> Window:
    first, end, calls = pack
    predicted_s = max(1.0, line[0] + line[1] * (end - first))
    near = sum(1 for call in calls if call.deadline_at - now < policy.retention_alarm_ms)
    since = min(call.waiting_since for call in calls)
    return Window(
        ocp_group=group,
        from_ms=first * HOUR_MS,
        to_ms=end * HOUR_MS,
        call_ids=tuple(call.call_id for call in calls),
        predicted_s=predicted_s,
        urgent=near > 0,
        why=_why(len(calls), near, now - since, predicted_s, policy),
        deadline_at=min(call.deadline_at for call in calls),
        waiting_since=since,
        ready_at=max(call.eligible_at for call in calls),
    )


def _why(calls: int, near: int, waited_ms: int, predicted_s: float, policy: Policy) -> str:
    """Why the window stands where it stands, for the operator."""
    if near:
        days = policy.retention_alarm_ms / DAY_MS
        return (
            f"{_count(near)} {'is' if near == 1 else 'are'} within {days:g} days of deletion at OCP"
        )
    rate = f"{_count(calls)} per {predicted_s:.0f} predicted seconds"
    if waited_ms > policy.ageing_ms:
        return f"waiting for {waited_ms // HOUR_MS} h; {rate}"
    return rate


def _count(calls: int) -> str:
    return "1 call" if calls == 1 else f"{calls} calls"


def _rank(window: Window, policy: Policy, now: int) -> tuple[int, float, int, int]:
    """Sort key: urgent by deletion, the rest by calls per predicted second, aged."""
    if window.urgent:
        return 0, float(window.deadline_at), window.waiting_since, window.from_ms
    over = max(0, now - window.waiting_since - policy.ageing_ms) / policy.ageing_ms
    weight = len(window.call_ids) * 2.0 ** min(over, AGEING_DOUBLINGS_MAX)
    return 1, -weight / window.predicted_s, window.waiting_since, window.from_ms


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
