"""Laws of counting: every call is in one part of the law, once; percentiles keep their bounds."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core import counting
from ocp_ingest.core.call import fold, new
from ocp_ingest.core.counting import (
    DAYS_MAX,
    EDGES_MAX,
    TERMS,
    TIME_EDGES_MS,
    TIME_TERMS,
    Standing,
    add,
    check_days,
    check_edges,
    day_of,
    day_span,
    percentile,
    standing,
    time_term,
)
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import CallPolicy, next_work, outcome, start_ms
from ocp_ingest.core.limits import DAY_MS, TIME_MS_MAX
from tests.contracts import samples
from tests.core.strategies import CALL, COSTLY_LAW, LAW, journals

POLICY = CallPolicy()
PARTS = {"stored", "in_flight", "absent", "quarantined", "lost"}
times = st.integers(0, TIME_EDGES_MS[-1])


def counted(events: list[Event], lob: str = "sales") -> Standing | None:
    """What the call of some events counts for."""
    call = fold(events[0].call_id if events else CALL, events)
    work, done = next_work(call, POLICY), outcome(call, POLICY)
    ended = "none" if work else (done.outcome if done else "")
    return standing(call, lob, start_ms(call), work is not None, ended)


class TestStanding:
    @COSTLY_LAW
    @given(journals())
    def test_a_call_that_started_is_in_exactly_one_part_of_the_law(
        self, journal: list[Event]
    ) -> None:
        found = counted(journal)
        evidenced = fold(CALL, journal).evidenced
        assert (found is not None) == evidenced
        if found is not None:
            assert "started" in found.terms
            assert len(found.terms & PARTS) == 1
            assert found.terms <= set(TERMS)

    @COSTLY_LAW
    @given(journals())
    def test_what_is_stored_came_one_way_and_took_one_time_at_most(
        self, journal: list[Event]
    ) -> None:
        found = counted(journal)
        if found is None:
            return
        stored = "stored" in found.terms
        assert len(found.terms & {"streamed", "recovered"}) == stored
        assert len(found.terms & set(TIME_TERMS)) <= stored

    def test_nothing_counts_before_there_is_evidence(self) -> None:
        assert counted([]) is None
        assert standing(new("c1"), "", 0, False, "") is None
        assert counted([samples.unknown()]) is None

    def test_a_stored_recording_makes_a_call_stored_while_other_work_is_open(self) -> None:
        without_end = [event for event in samples.life() if event.kind != "dialog_end"]
        found = counted(without_end)
        assert found is not None
        assert found.terms & PARTS == {"stored"}
        call = fold("c1", without_end)
        assert next_work(call, POLICY) is not None

    def test_the_time_to_store_is_from_the_end_of_the_call_else_from_its_start(self) -> None:
        life = samples.life()  # a minute long; stored 94 s after its start
        whole, endless = counted(life), counted([life[0], *life[2:]])
        assert whole is not None
        assert endless is not None
        assert whole.terms & set(TIME_TERMS) == {time_term(34_000)}
        assert endless.terms & set(TIME_TERMS) == {time_term(94_000)}

    def test_what_an_export_brought_is_recovered(self) -> None:
        brought = msgspec.structs.replace(samples.received(), source="export")
        streamed, recovered = counted(samples.life()), counted([brought, *samples.life()[3:]])
        assert streamed is not None
        assert recovered is not None
        assert "streamed" in streamed.terms
        assert "recovered" in recovered.terms

    def test_a_call_without_any_time_of_its_own_is_stored_in_no_time_that_is_told(self) -> None:
        found = counted([samples.received(), *samples.life()[3:]])
        assert found is not None
        assert "stored" in found.terms
        assert not found.terms & set(TIME_TERMS)

    def test_flags_are_counted_beside_the_parts(self) -> None:
        found = counted(samples.life()[:4])
        assert found is not None
        assert found.terms >= {"ivr_ended", "call_ended", "file_received", "in_flight"}
        assert "post_processed" not in found.terms

    def test_a_call_counts_for_the_day_of_its_start_and_the_line_of_business_given(self) -> None:
        found = counted([samples.start()], lob="cards")
        assert found == Standing("cards", day_of(samples.T0), frozenset({"started", "in_flight"}))


class TestTotals:
    @LAW
    @given(st.lists(st.dictionaries(st.sampled_from(TERMS), st.integers(-3, 3))))
    def test_totals_are_sums_without_zeroes(self, counters: list[dict[str, int]]) -> None:
        totals: dict[str, int] = {}
        for each in counters:
            add(totals, each)
        sums = {term: sum(each.get(term, 0) for each in counters) for term in TERMS}
        assert totals == {term: total for term, total in sums.items() if total}

    def test_terms_of_calls_add_up(self) -> None:
        totals: dict[str, int] = {}
        add(totals, frozenset({"started", "stored"}))
        add(totals, frozenset({"started"}))
        assert totals == {"started": 2, "stored": 1}


class TestPercentiles:
    @LAW
    @given(st.lists(times, min_size=1, max_size=200), st.floats(0.01, 1))
    def test_at_least_the_share_took_no_longer_and_the_bound_is_close(
        self, took: list[int], share: float
    ) -> None:
        terms: dict[str, int] = {}
        for ms in took:
            add(terms, {time_term(ms)})
        bound = percentile(terms, share)
        assert bound is not None
        assert sum(ms <= bound for ms in took) >= share * len(took)
        # … and no bound before it would do.
        for edge in TIME_EDGES_MS[: TIME_EDGES_MS.index(bound)]:
            assert sum(ms <= edge for ms in took) < share * len(took)

    @LAW
    @given(st.lists(times, min_size=1), st.floats(0, 1), st.floats(0, 1))
    def test_a_larger_share_takes_no_less(self, took: list[int], one: float, two: float) -> None:
        terms: dict[str, int] = {}
        for ms in took:
            add(terms, {time_term(ms)})
        first, last = (percentile(terms, share) for share in sorted((one, two)))
        assert first is not None
        assert last is not None
        assert first <= last

    def test_without_stored_calls_there_is_none(self) -> None:
        assert percentile({}, 0.5) is None
        assert percentile({"stored": 3}, 0.5) is None

    def test_buckets_rise_by_the_root_of_two_and_hold_all_times(self) -> None:
        assert len(TIME_EDGES_MS) == len(TIME_TERMS)
        assert TIME_EDGES_MS[0] == 1_000
        assert all(b == pytest.approx(a * 2**0.5, rel=1e-3) for a, b in pairwise(TIME_EDGES_MS))
        assert TIME_EDGES_MS[-1] > 60 * DAY_MS
        assert time_term(-5_000) == "t00"
        assert time_term(1_000) == "t00"
        assert time_term(1_001) == "t01"
        assert time_term(1 << 62) == "t47"

    @LAW
    @given(times)
    def test_a_time_is_in_the_first_bucket_that_takes_it(self, ms: int) -> None:
        number = int(time_term(ms)[1:])
        assert ms <= TIME_EDGES_MS[number]
        assert number == 0 or ms > TIME_EDGES_MS[number - 1]


class TestDays:
    @LAW
    @given(st.integers(-(1 << 60), 1 << 60))
    def test_every_start_is_in_the_span_of_its_day_and_of_no_other(self, at_ms: int) -> None:
        first, until = day_span(day_of(at_ms))
        assert first <= at_ms < until
        inside = max(0, min(at_ms, TIME_MS_MAX))
        for other in (inside - DAY_MS, inside + DAY_MS):
            if 0 <= other <= TIME_MS_MAX:
                begins, ends = day_span(day_of(other))
                assert not begins <= at_ms < ends

    def test_a_day_is_utc(self) -> None:
        assert day_of(1_795_391_999_999) == "20261122"
        assert day_of(1_795_392_000_000) == "20261123"

    @pytest.mark.parametrize("text", ["", "2026", "20261301", "2026-11-22", "19691231", "99991231"])
    def test_what_is_no_day_is_refused(self, text: str) -> None:
        with pytest.raises(Invalid):
            day_span(text)

    def test_a_question_is_about_one_to_so_many_days(self) -> None:
        check_days("20261122", "20261122")
        first = samples.T0
        check_days(day_of(first), day_of(first + (DAYS_MAX - 1) * DAY_MS))
        with pytest.raises(Invalid):
            check_days(day_of(first), day_of(first + DAYS_MAX * DAY_MS))
        with pytest.raises(Invalid):
            check_days("20261122", "20261121")

    def test_edges_rise_and_are_few(self) -> None:
        assert check_edges([]) == ()
        assert check_edges([1, 2]) == (1, 2)
        for bad in ([2, 1], [1, 1], range(EDGES_MAX + 1)):
            with pytest.raises(Invalid):
                check_edges(bad)


def test_terms_are_each_one_and_keep_their_place() -> None:
    """Files hold them by their place: none may move, more may only follow."""
    assert len(TERMS) == len(set(TERMS)) == 60
    assert TERMS[:12] == (
        "started", "in_flight", "stored", "absent", "quarantined", "lost", "streamed",
        "recovered", "ivr_ended", "call_ended", "file_received", "post_processed",
    )  # fmt: skip
    assert TERMS[12:] == tuple(f"t{n:02}" for n in range(48))
    assert counting.TIME_BUCKETS == 48
