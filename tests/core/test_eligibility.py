"""When a call may be asked for: never too early, never after its deletion, never in a spin."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.eligibility import (
    Policy,
    days_left,
    deadline_at,
    eligible_at,
    hour_after,
    next_watermark,
    span_of,
)
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS

POLICY = Policy()
NOON = 1_790_000_000_000 // DAY_MS * DAY_MS + 12 * HOUR_MS
starts = st.integers(NOON - 90 * DAY_MS, NOON)
lengths = st.integers(0, 4 * HOUR_MS)


def test_the_first_try_waits_for_the_watermark_of_the_call_s_last_hour() -> None:
    end = NOON + 10 * MINUTE_MS
    assert eligible_at(NOON, end, 0, POLICY) == NOON + HOUR_MS + 2 * HOUR_MS


def test_grace_rules_where_it_is_longer_than_the_watermark() -> None:
    policy = Policy(grace_ms=5 * HOUR_MS)
    end = NOON + 10 * MINUTE_MS
    assert eligible_at(NOON, end, 0, policy) == end + 5 * HOUR_MS


def test_an_end_on_the_full_hour_belongs_to_the_hour_that_it_opens() -> None:
    """The window reaches to 13:00 then, and must be over before it is asked for."""
    assert eligible_at(NOON - HOUR_MS, NOON, 0, POLICY) == NOON + HOUR_MS + 2 * HOUR_MS


def test_a_call_without_an_end_lasts_the_longest_call() -> None:
    assert span_of(NOON, None, POLICY) == (NOON, NOON + 4 * HOUR_MS)
    assert span_of(None, NOON, POLICY) == (NOON - 4 * HOUR_MS, NOON)
    assert span_of(NOON, NOON - 1, POLICY) == (NOON, NOON)
    with pytest.raises(ValueError, match="first time seen"):
        span_of(None, None, POLICY)


@given(starts, lengths, st.integers(0, 40))
def test_the_hour_and_the_grace_are_over_and_the_deletion_is_not_past(
    start: int, length: int, misses: int
) -> None:
    at = eligible_at(start, start + length, misses, POLICY)
    assert at >= start + length + POLICY.grace_ms
    assert at >= hour_after(start + length)
    assert at <= deadline_at(start, POLICY) - POLICY.retention_margin_ms


@given(starts, lengths, st.integers(0, 40))
def test_each_miss_waits_at_least_as_long_as_the_one_before(
    start: int, length: int, misses: int
) -> None:
    end = start + length
    now_at, next_at = (eligible_at(start, end, n, POLICY) for n in (misses, misses + 1))
    assert next_at >= now_at


@given(starts, lengths, st.integers(0, 60 * DAY_MS))
def test_tries_of_any_call_are_few_apart_and_end_with_its_retention(
    start: int, length: int, found_late_by: int
) -> None:
    """Driven as the sweep drives it: a call found late does not spend its tries at once."""
    end = start + length
    deadline = deadline_at(start, POLICY)
    now, misses, tries = end + found_late_by, 0, list[int]()
    last: int | None = None
    while len(tries) < 100:
        at = max(now, eligible_at(start, end, misses, POLICY, last_try_ms=last))
        if at >= deadline:
            break
        tries.append(at)
        now = last = at
        misses += 1
    assert len(tries) < 25
    assert all(b - a >= HOUR_MS for a, b in pairwise(tries))
    if found_late_by < 50 * DAY_MS:
        assert tries[-1] >= deadline - POLICY.retention_margin_ms, (
            "the last try is made near the end"
        )


@given(starts, st.integers(1, 20), st.integers(HOUR_MS, 100 * HOUR_MS))
def test_small_retentions_still_leave_a_first_try(start: int, misses: int, retention: int) -> None:
    policy = Policy(retention_ms=retention)
    assert eligible_at(start, start + 1, misses, policy) <= start + retention


def test_days_left_counts_down_to_the_deletion() -> None:
    assert days_left(NOON, NOON, POLICY) == 60
    assert days_left(NOON, NOON + 61 * DAY_MS, POLICY) == -1


watermarks = st.integers(0, 48).map(lambda halves: halves * 30 * MINUTE_MS)


@given(watermarks, st.integers(0, 1000), st.integers(0, 1000))
def test_the_watermark_stays_on_its_grid_and_in_its_bounds(
    current: int, missed: int, asked: int
) -> None:
    changed = next_watermark(current, min(missed, asked), asked, POLICY)
    assert changed % (30 * MINUTE_MS) == 0
    assert POLICY.watermark_min_ms <= changed <= POLICY.watermark_max_ms


@pytest.mark.parametrize(
    ("missed", "asked", "expected_min"),
    [(0, 49, 120), (1, 100, 90), (2, 100, 120), (10, 100, 120), (11, 100, 180)],
)
def test_the_watermark_follows_the_miss_rate(missed: int, asked: int, expected_min: int) -> None:
    changed = next_watermark(2 * HOUR_MS, missed, asked, POLICY)
    assert changed == expected_min * MINUTE_MS
