"""The plan of a bad day: shares are met, main faults exclude each other, each happens."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_sim import config, ids
from ocp_sim.faults import EXTRA, MAIN, NEEDS_EXPORT, UNRECORDED, plan_faults, plan_shapes
from tests.sim.kit import faults

OFF = {"expired", "endless", "late_at_ocp"}  # off by default: each needs its own set-up


def plan(calls: int, shares: config.StreamFaults, seed: int = 1) -> Counter[str]:
    chosen = plan_faults(calls, shares, ids.chance(seed))
    return Counter(fault for has in chosen for fault in has)


def test_every_fault_has_a_share_and_every_share_a_fault() -> None:
    assert {*MAIN, *EXTRA} == set(config.StreamFaults.__struct_fields__) - {"at_least_one"}


def test_a_bad_day_of_200_calls_loses_one_in_ten_and_reorders_one_in_twenty_of_the_rest() -> None:
    counts = plan(200, config.StreamFaults())
    assert counts["lost"] == 20
    assert counts["reordered"] == counts["duplicated"] == 9


@given(st.integers(50, 120), st.integers(0, 10**6))
def test_from_fifty_calls_on_each_fault_of_a_bad_day_happens(calls: int, seed: int) -> None:
    counts = plan(calls, config.StreamFaults(), seed)
    assert counts.keys() == {*MAIN, *EXTRA} - OFF


@given(st.integers(0, 300), st.integers(0, 10**6))
def test_a_call_has_at_most_one_main_fault(calls: int, seed: int) -> None:
    for has in plan_faults(calls, config.StreamFaults(), ids.chance(seed)):
        assert len(has & set(MAIN)) <= 1


@given(st.sampled_from(MAIN), st.floats(0.05, 0.5))
def test_a_share_is_met_to_the_call(fault: str, share: float) -> None:
    assert plan(1000, faults(**{fault: share}))[fault] == round(1000 * share)


def test_nothing_goes_wrong_on_a_calm_day() -> None:
    assert not plan(500, config.CALM)


def test_the_promise_of_at_least_one_can_be_taken_back() -> None:
    assert plan(50, faults(lost=0.001))["lost"] == 1
    assert plan(50, faults(lost=0.001, at_least_one=False))["lost"] == 0


def test_few_calls_meet_a_share_on_average() -> None:
    hit = sum(plan(10, faults(lost=0.05), seed)["lost"] for seed in range(400))
    assert 120 < hit < 280


def test_more_faults_than_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="more calls than there are, at corrupt_stream"):
        plan(100, faults(lost=0.9, corrupt_stream=0.2))


def test_what_only_the_census_or_time_can_heal_happens_early_enough() -> None:
    chosen = plan_faults(500, faults(nothing=0.1, late=0.1), ids.chance(1))
    assert max(n for n, has in enumerate(chosen) if "nothing" in has) < 300
    assert max(n for n, has in enumerate(chosen) if "late" in has) < 400


def test_extra_faults_fall_where_they_can_show() -> None:
    shares = config.StreamFaults(late_at_ocp=0.05, cut_upload=0.3, bad_token=0.3)
    for has in plan_faults(400, shares, ids.chance(1)):
        if "late_at_ocp" in has:
            assert has & NEEDS_EXPORT
        if "cut_upload" in has:
            assert not has & ({"lost", "nothing", "expired"} | UNRECORDED)
        if "bad_token" in has:
            assert "nothing" not in has


def test_calls_without_recording_have_no_shapes() -> None:
    chosen = plan_faults(200, config.StreamFaults(), ids.chance(1))
    shapes = plan_shapes(chosen, config.Shapes(), ids.chance(2))
    counts = Counter(shape for has in shapes for shape in has)
    assert counts.keys() == set(config.Shapes.__struct_fields__)
    assert counts["transfer"] == 30
    for has, shape in zip(chosen, shapes, strict=True):
        assert not (has & UNRECORDED and shape)
