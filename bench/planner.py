"""Export planning beside three simpler planners, on one group's slot, simulated; see METHOD."""

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from bench.harness import Section
from ocp_ingest.core.cost_model import CostModel
from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from ocp_ingest.core.plan import PendingCall, pending_call, plan

METHOD: Final = """
The vendor, simulated: one export at a time per group, α + β · hours seconds (lognormal around it,
σ = 0.25), seen as complete at the next poll (+1, +2, +5, then every 5 min). A call is recovered
when its export is seen complete; each export holds every call whose hours it covers.

- *per call*: one export for each call, oldest first
- *per hour*: one export for each hour that a call starts in, as wide as its longest call
- *fixed 48 h*: windows on a fixed grid of two days, widened to hold calls across its lines (beyond
  what OCP allows: in favour of this peer)
- *ours*: `core.plan` with the cost model learned from 30 earlier exports and those made since
- *ours, new*: the same on its first day, with nothing but the prior

Times are of the calls recovered within the case; `left` are those that were not. The slot's share
is what all of them need: above 100 % the queue grows without end. The numbers are seeded and
repeat, backlogs are the mean of 20 draws; α, β, call lengths and arrivals are assumptions until
measured.
"""

T0: Final = 1_790_000_000_000 // DAY_MS * DAY_MS
CALLS_PER_GROUP_AND_MONTH: Final = 100_000  # 1 M calls a month over 10 groups
BACKLOG_DAYS: Final = 7
MONTH_DAYS: Final = 30
GROUPS: Final = 10
PENDING_PER_MONTH: Final = 100_000  # 10 % of a million calls
BACKLOGS: Final = 20  # drawn for each case; sixteen calls alone would be an anecdote
DETECT_MS: Final = 30 * MINUTE_MS
CALL_MEAN_MS: Final = 4 * MINUTE_MS  # exponential, at most the policy's longest call
SIGMA: Final = 0.25
EARLIER_HOURS: Final = (1, 1, 2, 1, 3, 1, 2, 6, 1, 12) * 3  # a month of quiet days

POLICY: Final = Policy(watermark_ms=30 * MINUTE_MS)

# The next window to export: first hour, end hour, and the calls that it is for.
Pick = tuple[int, int, list[PendingCall]]
Planner = Callable[[Sequence[PendingCall], CostModel, int], list[Pick]]


class Row(msgspec.Struct, frozen=True):
    """One planner on one case; recovery in minutes after the call could have been asked for."""

    case: str
    cost: str
    planner: str
    jobs: int
    mean_min: float
    p95_min: float
    slot_share: float
    left: int


def per_call(calls: Sequence[PendingCall], _model: CostModel, _now: int) -> list[Pick]:
    return [(*_hours(call), [call]) for call in calls]


def per_hour(calls: Sequence[PendingCall], _model: CostModel, _now: int) -> list[Pick]:
    hours: dict[int, list[PendingCall]] = {}
    for call in calls:
        hours.setdefault(call.start_ms // HOUR_MS, []).append(call)
    return [(first, max(_hours(c)[1] for c in held), held) for first, held in hours.items()]


def fixed_48h(calls: Sequence[PendingCall], _model: CostModel, _now: int) -> list[Pick]:
    grid: dict[int, list[PendingCall]] = {}
    for call in calls:
        # Aligned to the call's end, so that a call across a line lies in the later window, ...
        grid.setdefault((_hours(call)[1] - 1) // 48, []).append(call)
    # ... which starts earlier by as much.
    return [
        (min(48 * n, *(_hours(call)[0] for call in held)), 48 * n + 48, held)
        for n, held in grid.items()
    ]


def ours(calls: Sequence[PendingCall], model: CostModel, now: int) -> list[Pick]:
    by_id = {call.call_id: call for call in calls}
    return [
        (w.from_ms // HOUR_MS, w.to_ms // HOUR_MS, [by_id[c] for c in w.call_ids])
        for w in plan("g", calls, model, POLICY, now).windows
    ]


PLANNERS: Final[dict[str, Planner]] = {
    "per call": per_call,
    "per hour": per_hour,
    "fixed 48 h": fixed_48h,
    "ours": ours,
    "ours, new": ours,
}


def run() -> Section:
    """The table of all cases, and how far ahead of the best peer we are."""
    found = cases()
    return Section(
        title="Export planning",
        method=METHOD,
        columns=(
            "case", "export cost", "planner", "jobs", "mean recovery min", "p95 min", "slot",
            "left",
        ),
        rows=tuple(_cells(row) for row in found),
        findings=tuple(_findings(found)),
    )  # fmt: skip


def cases(seed: int = 1) -> list[Row]:
    """All cases: the 7-day backlogs of one group, then a month of steady state in ten."""
    rows: list[Row] = []
    backlogs = [
        (0.10, (120, 10)),
        (0.005, (120, 60)),
        (0.0007, (120, 60)),
        (0.0007, (300, 30)),
    ]
    for share, cost in backlogs:
        count = round(CALLS_PER_GROUP_AND_MONTH * BACKLOG_DAYS / MONTH_DAYS * share)
        begin = T0 + BACKLOG_DAYS * DAY_MS + 4 * HOUR_MS
        case = f"7-day backlog, {share * 100:g} % pending"
        for name in PLANNERS:
            groups = []
            for n in range(BACKLOGS):
                calls = _calls(random.Random(f"{seed}-{share}-{n}"), count, BACKLOG_DAYS)
                group = _Slot(name, cost, random.Random(f"{seed}-{n}"), begin)
                group.live([(begin, call) for call in calls], None)
                groups.append(group)
            rows.append(_row(case, cost, name, groups, BACKLOGS))
    rows += _steady(seed)
    return rows


def _steady(seed: int) -> list[Row]:
    cost, rows = (300, 30), []
    for name in PLANNERS:
        groups = []
        for g in range(GROUPS):
            calls = _calls(random.Random(seed + g), PENDING_PER_MONTH // GROUPS, MONTH_DAYS)
            group = _Slot(name, cost, random.Random(seed + g), T0)
            group.live([(call.eligible_at, call) for call in calls], T0 + MONTH_DAYS * DAY_MS)
            groups.append(group)
        rows.append(_row("one month, 100 k pending, 10 groups", cost, name, groups))
    return rows


class _Slot:
    """One group's export slot over time."""

    def __init__(self, name: str, cost: tuple[int, int], rng: random.Random, begin: int) -> None:
        self.planner, self.cost, self.rng, self.begin = PLANNERS[name], cost, rng, begin
        self.model = CostModel()
        self.jobs, self.busy_ms = 0, 0
        if name == "ours":
            for hours in EARLIER_HOURS:
                self._export(0, hours)
        self.jobs, self.busy_ms = 0, 0
        self.recovered_min: list[float] = []
        self.left: dict[str, PendingCall] = {}
        self.end = begin

    def live(self, arrivals: list[tuple[int, PendingCall]], until: int | None) -> None:
        """Exports what has arrived, detected every half hour; to `until`, or to the last call."""
        queue = [(at, call.call_id, call) for at, call in arrivals]
        heapq.heapify(queue)
        now, known = self.begin, self.left
        asked_at = {call.call_id: at for at, call in arrivals}
        static = until is None and self.planner is not ours
        picks: list[Pick] = []
        while (queue or known) and (until is None or now < until):
            while queue and queue[0][0] <= now:
                _, name, call = heapq.heappop(queue)
                known[name] = call
            if not known:
                now = -(-queue[0][0] // DETECT_MS) * DETECT_MS
                continue
            if not (static and picks):
                picks = self._picks(now)
            first, end, calls = picks.pop(0)
            now += self._export(first, end)
            for call in calls:
                del known[call.call_id]
                self.recovered_min.append((now - asked_at[call.call_id]) / MINUTE_MS)
        self.end = now if until is None else until
        self.left = {**known, **{name: call for _, name, call in queue}}

    def _picks(self, now: int) -> list[Pick]:
        if self.planner is per_call:  # a queue: planning it anew each time would only cost time
            name = next(iter(self.left))
            return per_call([self.left[name]], self.model, now)
        return self.planner(list(self.left.values()), self.model, now)

    def _export(self, first: int, end: int) -> int:
        alpha, beta = self.cost
        mean_s = alpha + beta * (end - first)
        took_s = mean_s * self.rng.lognormvariate(-SIGMA * SIGMA / 2, SIGMA)
        seen_s, delays = 0, POLICY.poll_delays_s
        for n in range(POLICY.polls_max):
            seen_s += delays[n] if n < len(delays) else POLICY.poll_every_s
            if seen_s >= took_s:
                break
        self.model = self.model.observe(end - first, seen_s)
        self.jobs += 1
        self.busy_ms += seen_s * SECOND_MS
        return seen_s * SECOND_MS


def _calls(rng: random.Random, count: int, days: int) -> list[PendingCall]:
    calls = []
    for i in range(count):
        start = T0 + rng.randrange(days * DAY_MS)
        length = min(POLICY.max_call_ms, int(rng.expovariate(1 / CALL_MEAN_MS)))
        calls.append(pending_call(f"{i:06}", start, start + length, 0, POLICY))
    return sorted(calls, key=lambda call: call.eligible_at)


def _hours(call: PendingCall) -> tuple[int, int]:
    return call.start_ms // HOUR_MS, (call.end_ms or call.start_ms) // HOUR_MS + 1


def _row(case: str, cost: tuple[int, int], name: str, groups: list[_Slot], draws: int = 1) -> Row:
    times = sorted(t for group in groups for t in group.recovered_min)
    span = sum(group.end - group.begin for group in groups)
    left = sum(len(group.left) for group in groups)
    # What the slot would need: the exports made and, call by call, those still to make.
    wanted = sum(group.busy_ms for group in groups)
    if left and name == "per call":
        wanted = int(wanted * (1 + left / max(1, len(times))))
    return Row(
        case=case,
        cost=f"{cost[0]} s + {cost[1]} s/h",
        planner=name,
        jobs=round(sum(group.jobs for group in groups) / draws),
        mean_min=sum(times) / len(times),
        p95_min=times[int(0.95 * (len(times) - 1))],
        slot_share=wanted / span,
        left=left,
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.case, row.cost, row.planner, f"{row.jobs:,}", f"{row.mean_min:,.0f}",
        f"{row.p95_min:,.0f}", f"{row.slot_share:.0%}", f"{row.left:,}",
    )  # fmt: skip


def _findings(rows: list[Row]) -> Iterator[str]:
    for (case, cost), held in groupby(rows, key=lambda row: (row.case, row.cost)):
        by_name = {row.planner: row for row in held}
        mine = by_name["ours"]
        peers = [row for name, row in by_name.items() if not name.startswith("ours")]
        best = min(peers, key=lambda row: row.mean_min)
        yield (
            f"{case}, {cost}: mean recovery is {mine.mean_min / best.mean_min:.2f} of the best "
            f"peer's ({best.planner})"
        )
