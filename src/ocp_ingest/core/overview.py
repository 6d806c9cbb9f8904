"""What the overview tells, from counters: the law, completeness, the funnel, what time is left.

Figure                 how it is had
law                    started = stored + absent + quarantined + lost + in flight
completeness           stored / (started - absent - fresh): of the recordings that should be here,
                       the share that is
streamed share         streamed / (streamed + recovered): of the recordings that came, the share
                       that OCP delivered by itself
funnel                 calls that reached each flag, and how many fewer than the flag before
backlog                open calls by age, and by the time left before OCP deletes their recordings

Open calls are told by when they began, so both backlogs are ranges of starts: [from, to) in epoch
ms, None where there is no end. One question to the figures answers all of them (`edges`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal

import msgspec

from ocp_ingest.core.calendar import parse_rfc3339
from ocp_ingest.core.counting import DAYS_MAX, add, day_of
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, TIME_MS_MAX, TIME_MS_MIN

# The parts that the started calls are made of, in the order in which people say the law.
PARTS: Final = ("stored", "absent", "quarantined", "lost", "in_flight")
# The flags in the order in which a call meets them; the first stands for "something came of it".
FUNNEL: Final = (
    "started", "ivr_ended", "call_ended", "file_received", "post_processed", "stored",
)  # fmt: skip

# Nothing is missing yet of a call that began less than this before now: the longest call lasts
# 4 hours; most last minutes, and then their recording may take its grace (15 min) and, when it has
# to be exported, OCP's watermark (2 h) and the export. Younger open calls say nothing either way.
FRESH_MS: Final = 4 * HOUR_MS

# Upper ages of the backlog's bars: an hour is a call and its grace; a day one shift of recovery.
AGES: Final[tuple[tuple[str, int], ...]] = (
    ("h1", HOUR_MS), ("h6", 6 * HOUR_MS), ("d1", DAY_MS), ("d7", 7 * DAY_MS), ("d30", 30 * DAY_MS),
)  # fmt: skip
AGE_OLDER: Final = "older"
# Most time left; "over": OCP has deleted its copy already.
LEFT: Final[tuple[tuple[str, int], ...]] = (
    ("over", 0), ("d1", DAY_MS), ("d3", 3 * DAY_MS), ("d7", 7 * DAY_MS), ("d14", 14 * DAY_MS),
    ("d30", 30 * DAY_MS),
)  # fmt: skip
LEFT_MORE: Final = "more"


def total(figures: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counters of several days or lines of business added up."""
    summed: dict[str, int] = {}
    for terms in figures:
        add(summed, terms)
    return summed


def law(terms: Mapping[str, int]) -> bool:
    """Whether every call that started is accounted for, once."""
    return unaccounted(terms) == 0


def unaccounted(terms: Mapping[str, int]) -> int:
    """Calls that started and are in no part; negative when parts hold more than started."""
    return terms.get("started", 0) - sum(terms.get(part, 0) for part in PARTS)


def completeness(terms: Mapping[str, int], fresh: int) -> float | None:
    """Share of the recordings due that are stored, 0 to 1; None while none is due.

    `fresh`: open calls that began within FRESH_MS. Counters and ages are read one after the other,
    so a call may be stored in between: no more are taken off than are in flight.
    """
    young = min(max(fresh, 0), terms.get("in_flight", 0))
    due = terms.get("started", 0) - terms.get("absent", 0) - young
    return min(1.0, terms.get("stored", 0) / due) if due > 0 else None


def streamed_share(terms: Mapping[str, int]) -> float | None:
    """Share of the recordings that came which the stream delivered, 0 to 1; None: none came."""
    streamed = terms.get("streamed", 0)
    came = streamed + terms.get("recovered", 0)
    return streamed / came if came > 0 else None


class Step(msgspec.Struct, frozen=True):
    """One flag of the funnel: calls that have it, their share of the started, and the drop-off."""

    term: str
    count: int
    share: float
    dropped: int  # fewer than at the step before; 0 where they are more


def funnel(terms: Mapping[str, int]) -> tuple[Step, ...]:
    """Calls by the flags that they have reached.

    A call may lack a flag and have a later one (no IVR part, a recording before its CDRs), so a
    step may count more calls than the one before: that is no drop-off.
    """
    started = terms.get("started", 0)
    steps: list[Step] = []
    before = started
    for term in FUNNEL:
        count = terms.get(term, 0)
        share = min(1.0, count / started) if started else 0.0
        steps.append(Step(term, count, share, max(0, before - count)))
        before = count
    return tuple(steps)


# -- backlog --------------------------------------------------------------------------------------


class Span(msgspec.Struct, frozen=True):
    """A range of starts, [from, to) in epoch ms, under the name of its bar."""

    name: str
    from_ms: int | None
    to_ms: int | None


def by_age(now_ms: int) -> tuple[Span, ...]:
    """Starts by age, youngest first; a call of exactly an hour is no longer younger than one."""
    ends = [now_ms - age_ms + 1 for _, age_ms in AGES]
    names = [name for name, _ in AGES]
    spans = [Span(names[0], ends[0], None)]
    spans += [
        Span(name, older, younger)
        for name, (younger, older) in zip(names[1:], pairwise(ends), strict=True)
    ]
    return (*spans, Span(AGE_OLDER, None, ends[-1]))


def by_time_left(now_ms: int, retention_ms: int) -> tuple[Span, ...]:
    """Starts by the time left before OCP deletes, least first; OCP keeps them `retention_ms`."""
    ends = [now_ms - retention_ms + left_ms + 1 for _, left_ms in LEFT]
    names = [name for name, _ in LEFT]
    spans = [Span(names[0], None, ends[0])]
    spans += [
        Span(name, first, last)
        for name, (first, last) in zip(names[1:], pairwise(ends), strict=True)
    ]
    return (*spans, Span(LEFT_MORE, ends[-1], None))


def near_deletion(now_ms: int, retention_ms: int, alarm_ms: int) -> Span:
    """Starts of calls that OCP deletes within `alarm_ms`, but has not deleted yet."""
    over = now_ms - retention_ms + 1
    return Span("near", over, over + alarm_ms)


def edges(spans: Iterable[Span]) -> tuple[int, ...]:
    """What Figures.open_ages is to be asked so that all spans can be told: rising, each once."""
    found = {edge for span in spans for edge in (span.from_ms, span.to_ms) if edge is not None}
    return tuple(sorted(found))


def within(span: Span, edges_ms: Sequence[int], counts: Sequence[int]) -> int:
    """How many open calls began in a span, from the answer of Figures.open_ages to `edges_ms`."""
    first = 0 if span.from_ms is None else edges_ms.index(span.from_ms) + 1
    last = len(counts) if span.to_ms is None else edges_ms.index(span.to_ms) + 1
    return sum(counts[first:last])


# -- periods --------------------------------------------------------------------------------------

PeriodName = Literal["today", "d7", "d30", "custom"]
# How many days each of the named periods has, today included.
PERIODS: Final[dict[str, int]] = {"today": 1, "d7": 7, "d30": 30}
# What people see first: a week shows both today's trouble and whether yesterday's was mended.
PERIOD_DEFAULT: Final = "d7"


class Period(msgspec.Struct, frozen=True):
    """Whole days, UTC: `first` to `last` as yyyymmdd, both included; [from_ms, to_ms)."""

    name: str
    first: str
    last: str
    from_ms: int
    to_ms: int

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.to_ms - self.from_ms) // DAY_MS


def named_period(name: str, now_ms: int) -> Period:
    """One of PERIODS, up to and with today. Raises Invalid for another name."""
    if name not in PERIODS:
        raise Invalid(f"`period` must be one of {', '.join(PERIODS)} or custom.")
    end = now_ms - now_ms % DAY_MS + DAY_MS
    return _period(name, end - PERIODS[name] * DAY_MS, end)


def custom_period(first: str, last: str) -> Period:
    """From one date to another, yyyy-mm-dd, both included.

    Raises Invalid for no dates, a last before the first, or more than DAYS_MAX days.
    """
    from_ms, to_ms = _midnight(first), _midnight(last) + DAY_MS
    if not DAY_MS <= to_ms - from_ms <= DAYS_MAX * DAY_MS:
        raise Invalid(f"A period has 1 to {DAYS_MAX} days, and its end is not before its start.")
    return _period("custom", from_ms, to_ms)


def last_days(period: Period, days: int) -> Period:
    """So many days that end with the period's last."""
    return _period(period.name, period.to_ms - days * DAY_MS, period.to_ms)


def days_of(period: Period) -> tuple[str, ...]:
    """The period's days as yyyymmdd, earliest first."""
    return tuple(day_of(at) for at in range(period.from_ms, period.to_ms, DAY_MS))


def _period(name: str, from_ms: int, to_ms: int) -> Period:
    return Period(name, day_of(from_ms), day_of(to_ms - DAY_MS), from_ms, to_ms)


def _midnight(date: str) -> int:
    try:
        at_ms = parse_rfc3339(date)
    except (ValueError, OverflowError):
        at_ms = 0
    if at_ms % DAY_MS or not TIME_MS_MIN <= at_ms < TIME_MS_MAX:
        raise Invalid("A date is written yyyy-mm-dd.")
    return at_ms
