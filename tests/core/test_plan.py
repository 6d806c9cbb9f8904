"""The plan is the cheapest one there is, keeps to its caps, and says why it is in this order."""

import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocp_ingest.core.cost_model import CostModel
from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.core.plan import (
    Caps,
    PendingCall,
    Plan,
    PoisonHour,
    Suspect,
    Window,
    pending_call,
    plan,
)

POLICY = Policy()
T0 = 1_790_000_000_000 // DAY_MS * DAY_MS
NOW = T0 + 20 * DAY_MS
WIDE = Policy(max_call_ms=60 * HOUR_MS)


class Line(CostModel, frozen=True):
    """A cost model that is told its line."""

    def line(self) -> tuple[float, float]:
        return self.n, self.h


def line(alpha: float, beta: float) -> CostModel:
    return Line(n=alpha, h=beta)


def call(
    name: str, first_hour: float, hours: float = 0.5, *, misses: int = 0, since: int = NOW
) -> PendingCall:
    start = T0 + int(first_hour * HOUR_MS)
    end = start + round(hours * HOUR_MS)
    deadline = start + POLICY.retention_ms
    return PendingCall(name, start, end, misses, T0, deadline, since)


def hours_of(window: Window) -> tuple[int, int]:
    return (window.from_ms - T0) // HOUR_MS, (window.to_ms - T0) // HOUR_MS


def cost(made: Plan, alpha: float, beta: float) -> float:
    return sum(alpha + beta * window.hours for window in made.windows)


def partitions(items: list[tuple[int, int]]) -> Iterator[list[list[tuple[int, int]]]]:
    """Every way to split the items into groups, consecutive or not."""
    if not items:
        yield []
        return
    head, rest = items[0], items[1:]
    for parts in partitions(rest):
        yield [[head], *parts]
        for i, part in enumerate(parts):
            yield [*parts[:i], [head, *part], *parts[i + 1 :]]


def allowed(hull: tuple[int, int], caps: Caps) -> bool:
    first, end = hull
    if end - first > caps.hours:
        return False
    for suspect in caps.suspects:
        a, b = (suspect.from_ms - T0) // HOUR_MS, (suspect.to_ms - T0) // HOUR_MS
        if a < end and first < b and end - first > suspect.hours:
            return False
    poison = ((p.hour_ms - T0) // HOUR_MS for p in caps.poison)
    return not any(first <= hour < end for hour in poison)


def optimum(intervals: list[tuple[int, int]], caps: Caps, alpha: float, beta: float) -> float:
    best = float("inf")
    for parts in partitions(intervals):
        hulls = [(min(a for a, _ in part), max(b for _, b in part)) for part in parts]
        if all(allowed(hull, caps) for hull in hulls):
            best = min(best, sum(alpha + beta * (b - a) for a, b in hulls))
    return best


hour_spans = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=7)
lines = st.tuples(st.integers(0, 400), st.integers(0, 100))


@settings(max_examples=150)
@given(hour_spans, lines, st.sampled_from([9, 10, 12, 20, 48]))
def test_the_plan_costs_what_the_best_of_all_partitions_costs(
    spans: list[tuple[int, int]], coefficients: tuple[int, int], cap: int
) -> None:
    """All partitions, not only consecutive ones; intervals nest, overlap and exhaust the cap."""
    alpha, beta = coefficients
    calls = [call(str(i), first, n - 0.5) for i, (first, n) in enumerate(spans)]
    made = plan("g", calls, line(alpha, beta), POLICY, NOW, Caps(cap))
    expected = optimum([(first, first + n) for first, n in spans], Caps(cap), alpha, beta)
    assert cost(made, alpha, beta) == pytest.approx(expected)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 24), st.integers(1, 2)), min_size=1, max_size=6),
    st.tuples(st.integers(0, 20), st.integers(1, 8), st.integers(2, 6)),
    st.integers(0, 24),
)
def test_it_is_the_best_around_suspect_ranges_and_quarantined_hours_too(
    spans: list[tuple[int, int]], suspect: tuple[int, int, int], poison: int
) -> None:
    spans = [(first, n) for first, n in spans if not first <= poison < first + n]
    first, length, hours = suspect
    at = T0 + first * HOUR_MS
    caps = Caps(
        24,
        (Suspect(at, at + length * HOUR_MS, hours),),
        (PoisonHour(T0 + poison * HOUR_MS, NOW + 1),),
    )
    calls = [call(str(i), start, n - 0.5) for i, (start, n) in enumerate(spans)]
    made = plan("g", calls, line(100, 30), POLICY, NOW, caps)
    expected = optimum([(start, start + n) for start, n in spans], caps, 100, 30)
    assert cost(made, 100, 30) == pytest.approx(expected)
    assert all(allowed(hours_of(window), caps) for window in made.windows)


any_calls = st.lists(
    st.tuples(st.integers(0, 200), st.floats(0, 60), st.integers(0, 3)), max_size=30
)


@settings(max_examples=60)
@given(any_calls, st.integers(1, 48), st.booleans())
def test_each_call_is_in_one_window_that_holds_it_whole_or_deferred_with_a_reason(
    drawn: list[tuple[int, float, int]], cap: int, per_call: bool
) -> None:
    calls = [call(str(i), at, n, misses=m) for i, (at, n, m) in enumerate(drawn)]
    caps = Caps(cap, (), (PoisonHour(T0 + 7 * HOUR_MS, NOW + 1),))
    made = plan("g", calls, CostModel(), WIDE, NOW, caps, per_call=per_call)
    placed = [name for window in made.windows for name in window.call_ids]
    assert sorted(placed + [d.call_id for d in made.deferred]) == sorted(c.call_id for c in calls)
    assert all(d.why for d in made.deferred)
    if per_call:
        assert all(len(window.call_ids) == 1 for window in made.windows)
    for window in made.windows:
        assert 1 <= window.hours <= cap
        assert window.from_ms % HOUR_MS == 0
        for name in window.call_ids:
            wanted = calls[int(name)]
            whole = window.from_ms <= wanted.start_ms and (wanted.end_ms or 0) < window.to_ms
            touches = window.from_ms <= (wanted.end_ms or 0) and wanted.start_ms < window.to_ms
            long = (wanted.end_ms or 0) // HOUR_MS + 1 - wanted.start_ms // HOUR_MS > cap
            walled = wanted.start_ms < T0 + 8 * HOUR_MS and (wanted.end_ms or 0) >= T0 + 7 * HOUR_MS
            assert whole or ((long or walled) and touches)


def test_the_range_ends_after_the_hour_of_the_call_s_end_because_ocp_floors_both_ends() -> None:
    made = plan("g", [call("a", 12 + 10 / 60, 1)], CostModel(), POLICY, NOW)
    assert [hours_of(w) for w in made.windows] == [(12, 14)]


def test_a_call_longer_than_the_cap_gets_its_first_hours_then_its_last_in_turns() -> None:
    def hours(misses: int) -> tuple[int, int]:
        made = plan("g", [call("a", 0, 59.5, misses=misses)], CostModel(), WIDE, NOW)
        return hours_of(made.windows[0])

    assert [hours(0), hours(1), hours(2)] == [(0, 48), (12, 60), (0, 48)]


def test_the_hours_in_the_middle_of_a_call_have_their_turn_too() -> None:
    """What OCP knows by a start or an end that we don't know may lie in any of its hours."""

    def hours(misses: int) -> tuple[int, int]:
        one = call("a", 10.5, 4.2, misses=misses)
        return hours_of(plan("g", [one], CostModel(), POLICY, NOW, Caps(2)).windows[0])

    assert [hours(n) for n in range(5)] == [(10, 12), (13, 15), (12, 14), (10, 12), (13, 15)]


@given(
    st.integers(0, 1800), st.integers(1, 48), st.sets(st.integers(8, 42), max_size=6),
    st.integers(0, 3),
)  # fmt: skip
def test_so_many_tries_as_parts_ask_for_every_hour_that_ocp_can_export(
    minutes: int, cap: int, walls: set[int], rounds: int
) -> None:
    poison = tuple(PoisonHour(T0 + hour * HOUR_MS, NOW + 1) for hour in sorted(walls))
    first, last = 10, (10 * 60 + 30 + minutes) // 60 + 1
    wanted = set(range(first, last)) - walls
    asked: set[int] = set()
    # Every part but the last of each run between two walls is as long as the cap.
    parts = sum(-(-len(run) // cap) for run in runs_of(sorted(wanted)))
    for misses in range(rounds * max(parts, 2), (rounds + 1) * max(parts, 2)):
        one = call("a", 10.5, minutes / 60, misses=misses)
        for window in plan("g", [one], CostModel(), WIDE, NOW, Caps(cap, (), poison)).windows:
            asked |= set(range(*hours_of(window)))
    assert asked == wanted


def runs_of(hours: list[int]) -> list[list[int]]:
    """Hours without a gap."""
    runs: list[list[int]] = []
    for hour in hours:
        if runs and runs[-1][-1] == hour - 1:
            runs[-1].append(hour)
        else:
            runs.append([hour])
    return runs


def test_a_call_across_a_quarantined_hour_gets_the_hours_beside_it() -> None:
    caps = Caps(48, (), (PoisonHour(T0 + 11 * HOUR_MS, NOW + HOUR_MS),))
    early = plan("g", [call("a", 10.5, 2)], CostModel(), POLICY, NOW, caps)
    late = plan("g", [call("a", 10.5, 2, misses=1)], CostModel(), POLICY, NOW, caps)
    assert [hours_of(p.windows[0]) for p in (early, late)] == [(10, 11), (12, 13)]
    inside = plan("g", [call("a", 11.1, 0.5)], CostModel(), POLICY, NOW, caps)
    assert inside.windows == ()
    assert inside.deferred[0].until_ms == NOW + HOUR_MS
    assert "cannot export" in inside.deferred[0].why


def test_a_quarantined_hour_is_retried_in_a_window_of_its_own() -> None:
    caps = Caps(48, (), (PoisonHour(T0 + 11 * HOUR_MS, NOW),))
    calls = [call("a", 10.2), call("b", 11.2), call("c", 12.2)]
    made = plan("g", calls, CostModel(), POLICY, NOW, caps)
    assert sorted(hours_of(w) for w in made.windows) == [(10, 11), (11, 12), (12, 13)]


def test_gaps_longer_than_alpha_over_beta_split_and_shorter_ones_do_not() -> None:
    calls = [call("a", 0), call("b", 5)]
    assert len(plan("g", calls, line(120, 31), POLICY, NOW).windows) == 2
    assert len(plan("g", calls, line(120, 29), POLICY, NOW).windows) == 1


def test_equal_costs_take_fewer_jobs() -> None:
    calls = [call(str(i), i) for i in range(10)]
    assert len(plan("g", calls, line(0, 30), POLICY, NOW).windows) == 1


def test_urgent_windows_come_first_earliest_deletion_first() -> None:
    now = T0 + 55 * DAY_MS
    many = [call(f"m{i}", 30 * 24) for i in range(50)]
    calls = [call("b", 24), call("a", 0), call("a2", 0.2), *many]
    made = plan("g", calls, line(10, 60), POLICY, now)
    assert [w.call_ids[0] for w in made.windows] == ["a", "b", "m0"]
    assert [w.urgent for w in made.windows] == [True, True, False]
    assert made.windows[0].why == "2 calls are within 7 days of deletion at OCP"
    assert made.windows[1].why == "1 call is within 7 days of deletion at OCP"
    assert made.windows[0].deadline_at == T0 + 60 * DAY_MS


def test_then_most_calls_per_predicted_second() -> None:
    calls = [call("a", 0), *(call(f"b{i}", 10) for i in range(3))]
    made = plan("g", calls, line(120, 30), POLICY, NOW)
    assert [len(w.call_ids) for w in made.windows] == [3, 1]
    assert made.windows[0].why == "3 calls per 150 predicted seconds"
    assert made.predicted_s == 300


def test_ageing_lets_no_window_starve() -> None:
    old = call("old", 0, since=NOW - 26 * HOUR_MS - 5 * DAY_MS)
    calls = [old, *(call(f"b{i}", 10) for i in range(20))]
    made = plan("g", calls, line(120, 30), POLICY, NOW)
    assert made.windows[0].call_ids == ("old",)
    assert made.windows[0].why == "waiting for 146 h; 1 call per 150 predicted seconds"
    young = plan(
        "g", [call("old", 0, since=NOW - 23 * HOUR_MS), *calls[1:]], line(120, 30), POLICY, NOW
    )
    assert young.windows[0].call_ids != ("old",)


def test_ties_go_to_the_longest_waiting() -> None:
    calls = [call("new", 0, since=NOW - MINUTE_MS), call("old", 20, since=NOW - HOUR_MS)]
    made = plan("g", calls, line(120, 30), POLICY, NOW)
    assert [w.call_ids for w in made.windows] == [("old",), ("new",)]


def test_calls_too_young_or_deleted_are_deferred_with_a_reason() -> None:
    young = pending_call("young", NOW - HOUR_MS, NOW - HOUR_MS // 2, 0, POLICY)
    dead = pending_call("dead", NOW - 60 * DAY_MS, None, 0, POLICY)
    made = plan("g", [young, dead], CostModel(), POLICY, NOW)
    assert made.windows == ()
    assert [(d.call_id, d.until_ms) for d in made.deferred] == [
        ("young", young.eligible_at),
        ("dead", None),
    ]
    assert "incomplete until" in made.deferred[0].why
    assert "deleted" in made.deferred[1].why


def test_a_window_knows_since_when_an_export_would_hold_all_its_calls() -> None:
    first = PendingCall("a", T0, T0, 0, T0 + 5, T0 + 60 * DAY_MS, T0 + 5)
    second = PendingCall("b", T0, T0, 0, T0 + 9, T0 + 60 * DAY_MS, T0 + 9)
    window = plan("g", [first, second], CostModel(), POLICY, NOW).windows[0]
    assert (window.ready_at, window.waiting_since) == (T0 + 9, T0 + 5)


def test_ten_thousand_calls_are_planned_fast() -> None:
    """50 ms on the reference machine; the bound leaves room for a busy one."""
    rng = random.Random(7)
    calls = [
        call(str(i), rng.uniform(-38 * 24, 19 * 24), rng.uniform(0, 4), since=T0)
        for i in range(10_000)
    ]
    best = min(_seconds(calls) for _ in range(3))
    assert best < 0.4


def _seconds(calls: list[PendingCall]) -> float:
    began = time.perf_counter()
    made = plan("g", calls, CostModel(), POLICY, NOW)
    took = time.perf_counter() - began
    assert 20 < len(made.windows) < 60
    return took


class TestGathering:
    """A quiet group's calls wait for each other, within bounds."""

    POLICY = Policy(gather_ms=6 * HOUR_MS, gather_calls=3)

    def _plan(self, waited_h: int, calls: int, age_days: int = 0) -> Plan:
        now = NOW
        start = now - age_days * 24 * HOUR_MS - 10 * HOUR_MS
        made = [
            PendingCall(
                call_id=f"c{n}", start_ms=start, end_ms=start + 1, misses=0,
                eligible_at=now - waited_h * HOUR_MS,
                deadline_at=start + self.POLICY.retention_ms, waiting_since=start,
            )
            for n in range(calls)
        ]  # fmt: skip
        return plan("g", made, CostModel(), self.POLICY, now)

    def test_few_calls_wait_and_are_told_until_when(self) -> None:
        made = self._plan(waited_h=5, calls=2)
        assert made.windows == ()
        assert {d.until_ms for d in made.deferred} == {NOW + HOUR_MS}

    def test_no_call_waits_longer_than_the_bound(self) -> None:
        assert len(self._plan(waited_h=6, calls=1).windows) == 1

    def test_enough_calls_are_exported_at_once(self) -> None:
        assert len(self._plan(waited_h=0, calls=3).windows) == 1

    def test_a_call_near_its_deletion_does_not_wait(self) -> None:
        assert len(self._plan(waited_h=0, calls=1, age_days=54).windows) == 1
