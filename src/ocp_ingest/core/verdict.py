"""Whether any call is in danger, in one word and its reasons, the most urgent first.

reason        level    when                                              where one acts
law_broken    danger   counters or the last full check don't add up      the law, on the overview
deleted       danger   open calls whose recording OCP has deleted        those calls
near          danger   open calls that OCP deletes within the alarm      those calls
lost          danger   calls of the period were closed as lost           those calls
critical      danger   a critical incident is open                       incidents
incomplete    watch    completeness of a line of business is too low     most of what it lacks
streamed_low  watch    OCP's stream delivers too few of the recordings   recovered calls
blocked       watch    a group may not export                            reconciliation
parked        watch    steps failed too often and wait for a person      incidents
unchecked     watch    the last full check of the law is too old         the law, on the overview

calm: none of them. A reason's level never depends on another's: the worst decides the word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.core.overview import Period, Span

Level = Literal["calm", "watch", "danger"]
Page = Literal["calls", "incidents", "reconciliation", "overview"]

# Shares of fewer recordings than this say nothing: one late call in ten would be an alarm.
STREAM_SAMPLE_MIN: Final = 20
# The full check is made nightly; one that failed twice is a fault of ours that nobody saw.
CHECK_AGE_MS_MAX: Final = 2 * DAY_MS


class Target(msgspec.Struct, frozen=True):
    """A page of the console and its query."""

    page: Page
    query: Mapping[str, str] = {}
    fragment: str = ""


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why the verdict is not calm. `names`: the lines of business, or groups, that it is about."""

    code: str
    level: Level
    target: Target
    count: int = 0
    share: float | None = None
    names: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """The word and its reasons, most urgent first."""

    level: Level
    reasons: tuple[Reason, ...]


class Low(msgspec.Struct, frozen=True):
    """A line of business under its objective, and the term that most of what it lacks is in."""

    share: float
    term: str


def low(share: float, terms: Mapping[str, int]) -> Low:
    """As above; what is in flight may still come, so it goes last when others are as many."""
    return Low(share, max(("lost", "quarantined", "in_flight"), key=lambda t: terms.get(t, 0)))


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the verdict is made of, of one person's lines of business.

    `differences`: what the last full check found, None while there was none. `low`: the lines of
    business that are under their objective. `recordings`: how many came at all.
    """

    period: Period
    now_ms: int
    unaccounted: int
    differences: int | None
    checked_at_ms: int | None
    deleted: int
    deleted_span: Span
    near: int
    near_span: Span
    lost: int
    critical: int
    low: Mapping[str, Low]
    streamed: float | None
    streamed_min: float
    recordings: int
    blocked: tuple[str, ...]
    parked: int


def verdict(facts: Facts) -> Verdict:
    """The word on duty."""
    reasons = (*_dangers(facts), *_watches(facts))
    levels = {reason.level for reason in reasons}
    worst: Level = "danger" if "danger" in levels else "watch" if levels else "calm"
    return Verdict(worst, reasons)


def _dangers(facts: Facts) -> list[Reason]:
    found: list[tuple[str, int, Target]] = []
    broken = abs(facts.unaccounted) or (facts.differences or 0)
    found.append(("law_broken", broken, _THE_LAW))
    found.append(("deleted", facts.deleted, open_calls(facts.deleted_span)))
    found.append(("near", facts.near, open_calls(facts.near_span)))
    found.append(("lost", facts.lost, calls_of("lost", facts.period)))
    found.append(("critical", facts.critical, Target("incidents")))
    return [
        Reason(code=code, level="danger", count=count, target=target)
        for code, count, target in found
        if count
    ]


def _watches(facts: Facts) -> list[Reason]:
    found: list[Reason] = []
    if facts.low:
        lobs = tuple(sorted(facts.low, key=lambda lob: (facts.low[lob].share, lob)))
        worst = facts.low[lobs[0]]
        target = calls_of(worst.term, facts.period, **({"lob": lobs[0]} if lobs[0] else {}))
        found.append(_watch("incomplete", target, count=len(lobs), share=worst.share, names=lobs))
    if (
        facts.streamed is not None
        and facts.streamed < facts.streamed_min
        and facts.recordings >= STREAM_SAMPLE_MIN
    ):
        target = calls_of("recovered", facts.period)
        found.append(_watch("streamed_low", target, share=facts.streamed))
    if facts.blocked:
        groups = facts.blocked
        target = Target("reconciliation")
        found.append(_watch("blocked", target, count=len(groups), names=groups))
    if facts.parked:
        found.append(_watch("parked", Target("incidents"), count=facts.parked))
    checked = facts.checked_at_ms
    if checked is not None and facts.now_ms - checked > CHECK_AGE_MS_MAX:
        found.append(_watch("unchecked", _THE_LAW))
    return found


def _watch(
    code: str, target: Target, *, count: int = 0, share: float | None = None,
    names: tuple[str, ...] = (),
) -> Reason:  # fmt: skip
    return Reason(code=code, level="watch", target=target, count=count, share=share, names=names)


_THE_LAW: Final = Target("overview", fragment="law")


def calls_of(term: str, period: Period, **more: str) -> Target:
    """The calls that a counter of a period counts."""
    return Target("calls", {"term": term, **range_query(period.from_ms, period.to_ms), **more})


def open_calls(span: Span) -> Target:
    """The open calls that began in a span."""
    return Target("calls", {"term": "in_flight", **range_query(span.from_ms, span.to_ms)})


def range_query(from_ms: int | None, to_ms: int | None) -> dict[str, str]:
    """`from` (included) and `to` (excluded) as the calls page reads them: exact to the ms."""
    bounds = {"from": rfc3339(from_ms), "to": rfc3339(to_ms)}
    return {name: text for name, text in bounds.items() if text is not None}
