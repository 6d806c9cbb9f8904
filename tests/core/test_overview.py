"""What the overview tells of counters: shares that can't flatter, bars that leave no call out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core import overview
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import DAY_MS, HOUR_MS

NOW = 1_790_000_000_000 // DAY_MS * DAY_MS + 10 * HOUR_MS
RETENTION_MS = 60 * DAY_MS
counts = st.integers(0, 10**6)
parts = st.fixed_dictionaries(dict.fromkeys(overview.PARTS, counts))
starts = st.lists(st.integers(NOW - 80 * DAY_MS, NOW + HOUR_MS), max_size=50)


def lawful(held: dict[str, int]) -> dict[str, int]:
    return {"started": sum(held.values()), **held}


def answer(edges: tuple[int, ...], begun: list[int]) -> list[int]:
    """What Figures.open_ages says of calls that began then."""
    ends = (float("-inf"), *edges, float("inf"))
    return [sum(low <= at < high for at in begun) for low, high in itertools.pairwise(ends)]


# -- the law and the shares -----------------------------------------------------------------------


@given(parts, st.integers(-3, 3))
def test_the_law_holds_if_and_only_if_every_call_is_in_one_part(
    held: dict[str, int], off: int
) -> None:
    terms = lawful(held)
    terms["started"] += off
    assert overview.law(terms) is (off == 0)
    assert overview.unaccounted(terms) == off


@given(parts, counts)
def test_completeness_is_a_share_of_the_recordings_due(held: dict[str, int], fresh: int) -> None:
    share = overview.completeness(lawful(held), fresh)
    due = sum(held.values()) - held["absent"] - min(fresh, held["in_flight"])
    assert (share is None) is (due == 0)
    assert share is None or share == held["stored"] / due


@given(parts, counts)
def test_completeness_is_whole_only_when_nothing_due_is_missing(
    held: dict[str, int], fresh: int
) -> None:
    missing = held["lost"] + held["quarantined"] + max(0, held["in_flight"] - fresh)
    share = overview.completeness(lawful(held), fresh)
    assert share is None or (share == 1.0) is (missing == 0)


@given(parts, counts)
def test_a_lost_call_never_makes_completeness_better(held: dict[str, int], fresh: int) -> None:
    before = overview.completeness(lawful(held), fresh)
    after = overview.completeness(lawful({**held, "lost": held["lost"] + 1}), fresh)
    assert after is not None
    assert before is None or after <= before


def test_calls_without_a_recording_by_right_do_not_count_against_it() -> None:
    terms = {"started": 10, "stored": 6, "absent": 4}
    assert overview.completeness(terms, 0) == 1.0


@given(counts, counts)
def test_the_streamed_share_is_of_what_came(streamed: int, recovered: int) -> None:
    share = overview.streamed_share({"streamed": streamed, "recovered": recovered, "lost": 9})
    assert (share is None) is (streamed + recovered == 0)
    assert share is None or share == streamed / (streamed + recovered)


def test_the_funnel_tells_what_falls_off_and_never_a_negative_drop() -> None:
    """Calls of applications without an IVR part end without the flag in between."""
    terms = {"started": 10, "ivr_ended": 4, "call_ended": 9, "file_received": 8}
    steps = {step.term: step for step in overview.funnel(terms)}
    assert list(steps) == list(overview.FUNNEL)
    assert (steps["ivr_ended"].dropped, steps["call_ended"].dropped) == (6, 0)
    assert (steps["file_received"].dropped, steps["post_processed"].dropped) == (1, 8)
    assert steps["call_ended"].share == 0.9
    assert all(step.share == 0 for step in overview.funnel({}))


# -- backlog --------------------------------------------------------------------------------------


@given(starts)
def test_every_open_call_is_in_one_bar_of_age_and_in_one_of_time_left(begun: list[int]) -> None:
    for spans in (overview.by_age(NOW), overview.by_time_left(NOW, RETENTION_MS)):
        for at in begun:
            held = [
                span.name for span in spans
                if (span.from_ms is None or span.from_ms <= at)
                and (span.to_ms is None or at < span.to_ms)
            ]  # fmt: skip
            assert len(held) == 1


@given(starts)
def test_bars_told_from_one_answer_count_the_calls_of_their_range(begun: list[int]) -> None:
    spans = (
        *overview.by_age(NOW), *overview.by_time_left(NOW, RETENTION_MS),
        overview.near_deletion(NOW, RETENTION_MS, 7 * DAY_MS),
    )  # fmt: skip
    edges = overview.edges(spans)
    assert len(edges) <= 16, "more than Figures.open_ages takes"
    counted = answer(edges, begun)
    for span in spans:
        expected = sum(
            (span.from_ms is None or span.from_ms <= at) and (span.to_ms is None or at < span.to_ms)
            for at in begun
        )
        assert overview.within(span, edges, counted) == expected


def test_a_bar_ends_where_its_words_say() -> None:
    ages = {span.name: span for span in overview.by_age(NOW)}
    assert ages["h1"].from_ms == NOW - HOUR_MS + 1, "an hour old is no longer younger than an hour"
    assert ages["older"].to_ms == NOW - 30 * DAY_MS + 1
    left = {span.name: span for span in overview.by_time_left(NOW, RETENTION_MS)}
    assert left["over"].to_ms == NOW - RETENTION_MS + 1, "its last moment is over"
    assert left["d7"].to_ms == NOW - RETENTION_MS + 7 * DAY_MS + 1


@given(st.integers(DAY_MS, 90 * DAY_MS), st.integers(0, 30 * DAY_MS))
def test_any_retention_gives_rising_edges(retention_ms: int, alarm_ms: int) -> None:
    spans = (
        *overview.by_age(NOW), *overview.by_time_left(NOW, retention_ms),
        overview.near_deletion(NOW, retention_ms, alarm_ms),
    )  # fmt: skip
    edges = overview.edges(spans)
    assert list(edges) == sorted(set(edges))


# -- periods --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "days"), [("today", 1), ("d7", 7), ("d30", 30)])
def test_a_named_period_ends_with_today(name: str, days: int) -> None:
    period = overview.named_period(name, NOW)
    assert period.days == days == len(overview.days_of(period))
    assert period.from_ms <= NOW < period.to_ms
    assert overview.days_of(period)[0] == period.first
    assert overview.days_of(period)[-1] == period.last


def test_a_custom_period_has_both_its_dates() -> None:
    period = overview.custom_period("2026-02-27", "2026-03-01")
    assert overview.days_of(period) == ("20260227", "20260228", "20260301")


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2026-03-02", "2026-03-01"),
        ("2026-01-01", "2026-04-04"),  # 94 days
        ("", "2026-03-01"),
        ("2026-02-30", "2026-03-01"),
        ("2026-03-01T10:00", "2026-03-02"),
        ("0001-01-01", "0001-01-02"),
    ],
)
def test_a_period_that_is_none_is_refused(first: str, last: str) -> None:
    with pytest.raises(Invalid):
        overview.custom_period(first, last)


def test_a_period_without_a_meaning_is_refused() -> None:
    with pytest.raises(Invalid):
        overview.named_period("d8", NOW)
