"""One look at everything that the overview shows, for what one person sees; few reads, no calls.

read                          gives
figures.days, once            the law, completeness, funnel, times to store, the daily chart
figures.open_ages, once       both backlogs, and what is near deletion
… per line of business        the open calls that are too young to be missing
figures.oldest_open           the oldest incomplete call
book, pending_groups, pending who exports what, what waits, and from when
incidents, notes              what is open, and when the law was checked last

Nothing here lists calls, so it takes as long over a thousand calls as over millions. Reads are one
after another or side by side, never one snapshot: a call that moves in between may count twice or
not at all for one look, and the next look, seconds later, has it right. The law is therefore told
of the counters of `days` alone, which are one read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from ocp_ingest.core import overview, verdict
from ocp_ingest.core.access import Person
from ocp_ingest.core.alerts import Objectives
from ocp_ingest.core.counting import percentile
from ocp_ingest.core.eligibility import Policy, deadline_at
from ocp_ingest.core.export_group import Alarm, Closed, GroupState, alarms, gate
from ocp_ingest.core.export_job import ExportJob, State
from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.limits import TIME_MS_MAX
from ocp_ingest.core.overview import Period, Span, Step
from ocp_ingest.core.routing import UNASSIGNED
from ocp_ingest.desk.measure import LAW_NOTE
from ocp_ingest.desk.ports import DayFigures, OpenCall
from ocp_ingest.desk.world import Desk
from ocp_ingest.reconcile.together import together

# Incidents named on the page; the rest are a number and a link.
INCIDENTS_SHOWN: Final = 5
# Open incidents that are counted; more of them is one more reason to open their page.
INCIDENTS_MAX: Final = 200
# Open jobs of all groups that are looked at: each group has one, and the downloads of a few.
JOBS_MAX: Final = 200
# Groups shown; a deployment has a handful.
GROUPS_MAX: Final = 50
# Days of the chart at least: one bar says nothing.
CHART_DAYS_MIN: Final = 7
# Of the times to store: what most calls take, what a bad one, what nearly the worst.
TIME_SHARES: Final = (0.5, 0.95, 0.99)
# Alarms of a group for which it can't be told that its exports go on.
_BLOCKING: Final = frozenset({"group_blocked", "slot_busy"})
# A job in one of these waits for nothing but its downloads: the group's slot is free.
_SLOT_FREE: Final = frozenset({State.DOWNLOADING, State.ENDED})


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of business over the period; `times` in ms, one per TIME_SHARES."""

    lob: str
    terms: Mapping[str, int]
    completeness: float | None
    streamed: float | None
    times: tuple[int | None, ...]
    is_low: bool


class Bar(msgspec.Struct, frozen=True):
    """Open calls that began in a span."""

    span: Span
    calls: int


class Oldest(msgspec.Struct, frozen=True):
    """The open call that began first, and when OCP deletes its recording."""

    call: OpenCall
    deadline_ms: int


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One OCP group: what it exports, what it downloads, what waits, and what holds it up.

    `next_at_ms`: from when its earliest open work may be done; None when nothing waits.
    """

    ocp_group: str
    running: tuple[ExportJob, ...]
    downloading: tuple[ExportJob, ...]
    waiting: int
    next_at_ms: int | None
    closed: Closed | None
    alarms: tuple[Alarm, ...]

    @property
    def is_blocked(self) -> bool:
        """Whether a person should find out why it does not export."""
        return any(alarm.kind in _BLOCKING for alarm in self.alarms)


class Check(msgspec.Struct, frozen=True):
    """The last full check of the law (desk.check): each term from its own source, all calls ever.

    `exact` is False when calls moved while it was counted.
    """

    at_ms: int
    by: str = ""
    exact: bool = True
    terms: dict[str, int] = {}
    differences: tuple[str, ...] = ()


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows."""

    period: Period
    now_ms: int
    whole: Line
    lines: tuple[Line, ...]
    unaccounted: int
    check: Check | None
    funnel: tuple[Step, ...]
    ages: tuple[Bar, ...]
    left: tuple[Bar, ...]
    oldest: Oldest | None
    slots: tuple[Slot, ...]
    incidents: tuple[Incident, ...]
    incidents_open: int
    days: tuple[tuple[str, Mapping[str, int]], ...]
    verdict: verdict.Verdict


async def look(
    desk: Desk, person: Person, period: Period, objectives: Objectives, groups: Sequence[str]
) -> Overview:
    """The overview for one person; `groups`: those that are configured to be exported."""
    now_ms = desk.world.clock.now_ms()
    policy = desk.world.settings.policy.stage2
    chart = _chart_period(period)
    figures, open_calls, slots, incidents, check = await asyncio.gather(
        desk.figures.days(chart.first, chart.last),
        _open(desk, person, now_ms, policy),
        _slots(desk, groups, now_ms, policy),
        desk.world.incidents.incidents(open_only=True, limit=INCIDENTS_MAX),
        last_check(desk),
    )
    theirs = [figure for figure in figures if person.sees(figure.lob)]
    lines = await _lines(desk, person, theirs, period, objectives, now_ms)
    whole = _whole(lines)
    seen = _Seen(now_ms, policy, open_calls, slots, incidents, check)
    return Overview(
        period=period, now_ms=now_ms, whole=whole.line, lines=tuple(held.line for held in lines),
        unaccounted=overview.unaccounted(whole.line.terms), check=check,
        funnel=overview.funnel(whole.line.terms), ages=open_calls.ages, left=open_calls.left,
        oldest=open_calls.oldest, slots=slots, incidents=_worst(incidents)[:INCIDENTS_SHOWN],
        incidents_open=len(incidents), days=_by_day(theirs, chart),
        verdict=verdict.verdict(_facts(period, objectives, whole.line, lines, seen)),
    )  # fmt: skip


class _Seen(msgspec.Struct, frozen=True):
    """What was read that does not depend on the period."""

    now_ms: int
    policy: Policy
    open_calls: _Open
    slots: tuple[Slot, ...]
    incidents: Sequence[Incident]
    check: Check | None


def _facts(
    period: Period, objectives: Objectives, whole: Line, lines: Sequence[_Held], seen: _Seen
) -> verdict.Facts:
    low = {
        held.line.lob: verdict.low(held.line.completeness, held.line.terms) for held in lines
        if held.line.is_low and held.line.completeness is not None
    }  # fmt: skip
    check = seen.check
    return verdict.Facts(
        period=period, now_ms=seen.now_ms, unaccounted=overview.unaccounted(whole.terms),
        differences=len(check.differences) if check else None,
        checked_at_ms=check.at_ms if check else None,
        deleted=seen.open_calls.deleted.calls, deleted_span=seen.open_calls.deleted.span,
        near=seen.open_calls.near.calls, near_span=seen.open_calls.near.span,
        lost=whole.terms.get("lost", 0),
        critical=sum(held.severity == "critical" for held in seen.incidents),
        low=low, streamed=whole.streamed, streamed_min=objectives.streamed_share_min,
        recordings=whole.terms.get("streamed", 0) + whole.terms.get("recovered", 0),
        blocked=tuple(slot.ocp_group for slot in seen.slots if slot.is_blocked),
        parked=sum(max(1, held.calls) for held in seen.incidents if held.kind == "step_parked"),
    )  # fmt: skip


async def last_check(desk: Desk) -> Check | None:
    """What the last full check of the law found; None before the first."""
    held = await desk.notes.get(LAW_NOTE)
    return None if held is None else msgspec.convert(held, Check)


# -- lines of business ----------------------------------------------------------------------------


class _Held(msgspec.Struct, frozen=True):
    """A line, and its open calls of the period that are too young to be missing."""

    line: Line
    fresh: int


async def _lines(
    desk: Desk, person: Person, figures: Iterable[DayFigures], period: Period,
    objectives: Objectives, now_ms: int,
) -> list[_Held]:  # fmt: skip
    """The person's lines of business: those that are configured, and those that have calls."""
    by_lob: dict[str, list[Mapping[str, int]]] = {
        lob: [] for lob in sorted(desk.world.settings.lobs) if person.sees(lob)
    }
    for figure in figures:
        if period.first <= figure.day <= period.last:
            by_lob.setdefault(figure.lob, []).append(figure.terms)
    lobs = sorted(by_lob, key=lambda lob: (lob in ("", UNASSIGNED), lob))
    terms = {lob: overview.total(by_lob[lob]) for lob in lobs}
    flying = [lob for lob in lobs if terms[lob].get("in_flight")]
    young = await together(flying, lambda lob: _fresh(desk, lob, period, now_ms))
    fresh = dict(zip(flying, young, strict=True))
    return [
        _Held(_line(lob, terms[lob], fresh.get(lob, 0), objectives), fresh.get(lob, 0))
        for lob in lobs
    ]


async def _fresh(desk: Desk, lob: str, period: Period, now_ms: int) -> int:
    from_ms = max(period.from_ms, now_ms - overview.FRESH_MS)
    if from_ms >= period.to_ms:
        return 0
    return (await desk.figures.open_ages([from_ms, period.to_ms], [lob]))[1]


def _line(lob: str, terms: Mapping[str, int], fresh: int, objectives: Objectives) -> Line:
    complete = overview.completeness(terms, fresh)
    return Line(
        lob=lob, terms=terms, completeness=complete, streamed=overview.streamed_share(terms),
        times=tuple(percentile(terms, share) for share in TIME_SHARES),
        is_low=complete is not None and complete < objectives.completeness_min,
    )  # fmt: skip


def _whole(lines: Sequence[_Held]) -> _Held:
    """All of them together; low where one of them is."""
    terms = overview.total(held.line.terms for held in lines)
    fresh = sum(held.fresh for held in lines)
    line = Line(
        lob="", terms=terms, completeness=overview.completeness(terms, fresh),
        streamed=overview.streamed_share(terms),
        times=tuple(percentile(terms, share) for share in TIME_SHARES),
        is_low=any(held.line.is_low for held in lines),
    )  # fmt: skip
    return _Held(line, fresh)


def _chart_period(period: Period) -> Period:
    """The days of the chart: the period, and the days before it when those are few."""
    if period.days >= CHART_DAYS_MIN:
        return period
    return overview.last_days(period, CHART_DAYS_MIN)


def _by_day(
    figures: Iterable[DayFigures], chart: Period
) -> tuple[tuple[str, Mapping[str, int]], ...]:
    by_day: dict[str, list[Mapping[str, int]]] = {day: [] for day in overview.days_of(chart)}
    for figure in figures:
        if figure.day in by_day:
            by_day[figure.day].append(figure.terms)
    return tuple((day, overview.total(terms)) for day, terms in by_day.items())


# -- open calls -----------------------------------------------------------------------------------


class _Open(msgspec.Struct, frozen=True):
    ages: tuple[Bar, ...]
    left: tuple[Bar, ...]
    near: Bar
    oldest: Oldest | None

    @property
    def deleted(self) -> Bar:
        """Those whose recording OCP has deleted already."""
        return self.left[0]


async def _open(desk: Desk, person: Person, now_ms: int, policy: Policy) -> _Open:
    ages = overview.by_age(now_ms)
    left = overview.by_time_left(now_ms, policy.retention_ms)
    near = overview.near_deletion(now_ms, policy.retention_ms, policy.retention_alarm_ms)
    edges = overview.edges((*ages, *left, near))
    counts, first = await asyncio.gather(
        desk.figures.open_ages(edges, person.lobs), desk.figures.oldest_open(person.lobs)
    )

    def bar(span: Span) -> Bar:
        return Bar(span, overview.within(span, edges, counts))

    oldest = Oldest(first, deadline_at(first.started_at, policy)) if first else None
    return _Open(tuple(map(bar, ages)), tuple(map(bar, left)), bar(near), oldest)


# -- groups and incidents -------------------------------------------------------------------------


async def _slots(
    desk: Desk, groups: Sequence[str], now_ms: int, policy: Policy
) -> tuple[Slot, ...]:
    """Every group that is configured, has a state, a job or open work; those that wait first."""
    states, jobs, waiting = await asyncio.gather(
        desk.book.groups(),
        desk.book.jobs(open_only=True, limit=JOBS_MAX),
        desk.world.calls.pending_groups(),
    )
    held = {state.ocp_group: state for state in states}
    names = {*groups, *held, *(job.ocp_group for job in jobs), *waiting}
    shown = sorted(names, key=lambda name: (not waiting.get(name), name))[:GROUPS_MAX]

    async def next_at(group: str) -> int | None:
        if not waiting.get(group):
            return None
        first = await desk.world.calls.pending(until_ms=TIME_MS_MAX, limit=1, ocp_group=group)
        return first[0].at_ms if first else None

    next_ats = await together(shown, next_at)
    return tuple(
        _slot(
            held.get(name, GroupState(ocp_group=name)),
            [job for job in jobs if job.ocp_group == name],
            waiting.get(name, 0), at_ms, now_ms, policy,
        )
        for name, at_ms in zip(shown, next_ats, strict=True)
    )  # fmt: skip


def _slot(
    group: GroupState, jobs: Sequence[ExportJob], waiting: int, next_at_ms: int | None,
    now_ms: int, policy: Policy,
) -> Slot:  # fmt: skip
    way = gate(group, now_ms)
    return Slot(
        ocp_group=group.ocp_group,
        running=tuple(job for job in jobs if job.state not in _SLOT_FREE),
        downloading=tuple(job for job in jobs if job.state is State.DOWNLOADING),
        waiting=waiting, next_at_ms=next_at_ms,
        closed=way if isinstance(way, Closed) else None,
        alarms=alarms(group, now_ms, policy),
    )  # fmt: skip


def _worst(incidents: Sequence[Incident]) -> tuple[Incident, ...]:
    """Critical ones first, then the newest."""
    return tuple(
        sorted(incidents, key=lambda one: (one.severity != "critical", -one.opened_at_ms, one.key))
    )
