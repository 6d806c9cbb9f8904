"""Figures become findings; findings open and close incidents, without flapping, one per cause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.alerts import (
    EXPLAINED_BY,
    STATES,
    Aged,
    Cause,
    Completeness,
    Duty,
    Finding,
    Judgement,
    Objectives,
    Share,
    Snapshot,
    StateAges,
    bound_of,
    judge,
    lacking,
    looked_from_ms,
)
from ocp_ingest.core.incidents import INCIDENT_KINDS, Incident
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS

GOOD = Objectives()


def incident(key: str) -> Incident:
    return Incident(key=key, kind=key.partition(":")[0], text="", opened_at_ms=1)


def share(good: int, of: int = 1_000) -> Snapshot:
    return Snapshot(streamed={"sales": Share(good, of)})


def complete(stored: int, *, ended: int = 0, waiting: int = 0) -> Snapshot:
    return Snapshot(completeness={"sales": Completeness(stored, ended, waiting)})


def aged(state: str, age_ms: int, *lobs: str) -> Snapshot:
    return Snapshot(aged={state: Aged(age_ms, frozenset(lobs), ("call-1",), 1)})


def judged(
    snapshot: Snapshot, held: list[str] | None = None, causes: list[Cause] | None = None
) -> Judgement:
    return judge(snapshot, GOOD, [incident(key) for key in held or []], causes or [])


def opened(
    snapshot: Snapshot, held: list[str] | None = None, causes: list[Cause] | None = None
) -> list[str]:
    return [finding.key for finding in judged(snapshot, held, causes).open]


def closed(snapshot: Snapshot, *held: str) -> list[str]:
    return [key for key, _ in judged(snapshot, list(held)).close]


# -- what opens -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("snapshot", "keys"),
    [
        (Snapshot(), []),
        (complete(9_990, ended=10), []),  # exactly the objective
        (complete(9_989, ended=11), ["completeness_low:sales"]),
        (complete(9_989, waiting=11), ["completeness_low:sales"]),
        (complete(190, ended=9), []),  # 199 calls: too few to tell
        (complete(190, ended=10), ["completeness_low:sales"]),
        (share(800), []),
        (share(799), ["stream_share_low:sales"]),
        (share(0, 49), []),
        (share(0, 50), ["stream_share_low:sales"]),
        (aged("file_received", HOUR_MS), []),
        (aged("file_received", HOUR_MS + 1), ["calls_stuck:file_received"]),
        (aged("post_processed", HOUR_MS + 1), ["calls_stuck:post_processed"]),
        (aged("due", DAY_MS + 1), ["calls_stuck:due"]),
        (Snapshot(parked=("c",)), ["step_parked:queue"]),
    ],
)
def test_a_figure_opens_its_incident_beyond_its_bound_and_not_at_it(
    snapshot: Snapshot, keys: list[str]
) -> None:
    assert opened(snapshot) == keys


def test_a_line_of_business_that_nothing_tells_has_a_name() -> None:
    snapshot = Snapshot(streamed={"": Share(0, 100)})
    [finding] = judged(snapshot).open
    assert finding.key == "stream_share_low:unknown"
    assert finding.text.startswith("unknown: ")


def test_every_finding_is_of_a_kind_that_has_a_runbook() -> None:
    ours = [judged(one).open[0] for one in (
        complete(0, ended=1_000), share(0), aged("due", 9 * DAY_MS), Snapshot(parked=("c",)),
    )]  # fmt: skip
    assert {finding.kind for finding in ours} <= set(INCIDENT_KINDS)
    explaining = frozenset[str]().union(*EXPLAINED_BY.values())
    assert explaining <= set(INCIDENT_KINDS)


@pytest.mark.parametrize(
    ("snapshot", "severity"),
    [
        (complete(990, ended=10), "warning"),
        (complete(989, ended=11), "critical"),
        (share(0), "warning"),
        (aged("file_received", 4 * HOUR_MS), "warning"),
        (aged("file_received", 4 * HOUR_MS + 1), "critical"),
        (Snapshot(parked=("c",)), "critical"),
    ],
)
def test_what_is_far_beyond_its_bound_is_critical(snapshot: Snapshot, severity: str) -> None:
    assert [finding.severity for finding in judged(snapshot).open] == [severity]


def test_a_text_never_rounds_a_share_up_to_the_objective_that_it_misses() -> None:
    [finding] = judged(complete(99_899, ended=101)).open
    assert "99.89 %" in finding.text
    assert "99.9 %" in finding.text  # the objective itself


# -- hysteresis -----------------------------------------------------------------------------------


def test_what_is_back_within_its_bound_closes_only_a_quarter_further_on() -> None:
    key = "stream_share_low:sales"
    assert closed(share(800), key) == []
    assert closed(share(849), key) == []
    assert closed(share(850), key) == [key]
    key = "calls_stuck:file_received"
    assert closed(aged("file_received", 45 * MINUTE_MS + 1), key) == []
    assert closed(aged("file_received", 45 * MINUTE_MS), key) == [key]
    key = "completeness_low:sales"
    assert closed(complete(99_920, ended=80), key) == []
    assert closed(complete(99_926, ended=74), key) == [key]


def test_an_open_share_with_too_few_calls_closes_at_half_the_number_that_it_needs() -> None:
    key = "stream_share_low:sales"
    assert closed(share(0, 49), key) == []
    assert closed(share(0, 25), key) == []
    assert closed(share(0, 24), key) == [key]


def test_what_is_judged_no_more_closes_and_what_is_others_stays() -> None:
    held = ["completeness_low:gone", "vendor_down:emea", "step_parked:terminal"]
    assert closed(Snapshot(), *held) == ["completeness_low:gone"]


ages = st.integers(0, 5 * HOUR_MS)


@given(st.lists(ages, max_size=40))
def test_a_figure_opens_again_only_after_it_was_healed(sequence: list[int]) -> None:
    """However it moves, an open and a close have the whole band between them."""
    key, bound = "calls_stuck:file_received", bound_of(GOOD.state_age_s_max, "file_received")
    band = looked_from_ms(GOOD.state_age_s_max, "file_received")
    held: list[str] = []
    for age_ms in sequence:
        snapshot = aged("file_received", age_ms)
        opens, closes = opened(snapshot, held), closed(snapshot, *held)
        assert not (opens and closes)
        if opens and not held:
            assert age_ms > bound
            held = [key]
        elif closes:
            assert held
            assert age_ms <= band
            held = []
    if sequence:
        last = sequence[-1]
        assert held == [key] or last <= bound
        assert held == [] or last > band


@given(st.integers(0, 2_000), st.integers(0, 2_000), st.integers(1, 3_000))
def test_a_worse_share_never_opens_less(one: int, other: int, of: int) -> None:
    better, worse = sorted((min(one, of), min(other, of)), reverse=True)
    assert set(opened(share(better, of))) <= set(opened(share(worse, of)))
    held = ["stream_share_low:sales"]
    assert set(closed(share(worse, of), *held)) <= set(closed(share(better, of), *held))


@given(st.integers(0, 500), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_more_missing_recordings_never_open_less(
    stored: int, ended: int, waiting: int, more: int
) -> None:
    before = set(opened(complete(stored, ended=ended, waiting=waiting)))
    after = set(opened(complete(stored, ended=ended + more, waiting=waiting)))
    assert before <= after


@given(st.sampled_from(sorted(STATES)), st.integers(0, 9 * DAY_MS), st.integers(0, DAY_MS))
def test_an_older_call_never_opens_less(state: str, age_ms: int, more: int) -> None:
    assert set(opened(aged(state, age_ms))) <= set(opened(aged(state, age_ms + more)))


# -- one cause, one incident ----------------------------------------------------------------------


def cause(kind: str, *lobs: str, everywhere: bool = False) -> Cause:
    return Cause(kind, f"{kind}:emea", None if everywhere else frozenset(lobs))


def test_a_silent_subscription_explains_the_low_share_of_its_lines_of_business_only() -> None:
    assert opened(share(0), causes=[cause("subscription_silent", "sales")]) == []
    assert opened(share(0), causes=[cause("subscription_silent", everywhere=True)]) == []
    assert opened(share(0), causes=[cause("subscription_silent", "cards")]) != []
    assert opened(share(0), causes=[cause("group_blocked", "sales")]) != []


def test_a_parked_step_explains_the_calls_that_wait_for_it() -> None:
    stuck = aged("file_received", 9 * HOUR_MS, "sales")
    assert opened(stuck, causes=[cause("step_parked", "sales")]) == []
    assert opened(stuck, causes=[cause("step_parked", "cards")]) == ["calls_stuck:file_received"]


@pytest.mark.parametrize("kind", ["group_blocked", "vendor_down", "retention_near", "slot_busy"])
def test_an_export_that_is_held_up_explains_overdue_work(kind: str) -> None:
    overdue = aged("due", 9 * DAY_MS, "sales")
    assert opened(overdue, causes=[cause(kind, "sales")]) == []


def test_findings_of_one_look_explain_each_other() -> None:
    """A worker that is dead for days: one incident, not three."""
    stuck = {state: Aged(9 * DAY_MS, frozenset({"sales"}), ("c",), 1) for state in STATES}
    waiting = {"sales": Completeness(stored=1_000, ended=0, waiting=500)}
    snapshot = Snapshot(aged=stuck, completeness=waiting, parked=("c",))
    assert opened(snapshot) == ["step_parked:queue"]


def test_what_exports_hold_up_is_not_held_against_completeness_but_what_is_lost_is() -> None:
    blocked = [cause("group_blocked", "sales")]
    assert opened(complete(1_000, waiting=100), causes=blocked) == []
    assert opened(complete(1_000, ended=100), causes=blocked) == ["completeness_low:sales"]
    elsewhere = [cause("group_blocked", "cards")]
    assert opened(complete(1_000, waiting=100), causes=elsewhere) == ["completeness_low:sales"]


def test_an_explanation_that_comes_later_closes_nothing() -> None:
    held, explained = ["stream_share_low:sales"], [cause("subscription_silent", "sales")]
    after = judged(share(0), held, explained)
    assert [finding.key for finding in after.open] == held
    assert after.close == ()


def test_an_incident_is_no_explanation_of_itself() -> None:
    held = ["step_parked:queue"]
    itself = [Cause("step_parked", "step_parked:queue", frozenset({"sales"}))]
    assert opened(Snapshot(parked=("c",)), held, itself) == held


def test_a_finding_names_calls_to_look_at() -> None:
    [finding] = judged(aged("due", 9 * DAY_MS)).open
    assert isinstance(finding, Finding)
    assert finding.calls == ("call-1",)


# -- the section ----------------------------------------------------------------------------------


def test_a_state_whose_bound_is_zero_is_not_watched() -> None:
    objectives = Objectives(state_age_s_max=StateAges(due=0))
    assert judge(aged("due", 99 * DAY_MS), objectives, [], []).open == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"completeness_min": 1.1}, "alerts.completeness_min"),
        ({"streamed_share_min": -0.1}, "alerts.streamed_share_min"),
        ({"completeness_days": 0}, "alerts.completeness_days"),
        ({"streamed_days": 32}, "alerts.streamed_days"),
        ({"completeness_calls_min": 0}, "alerts.completeness_calls_min"),
        ({"completeness_after_s": -1.0}, "alerts.completeness_after_s"),
        ({"state_age_s_max": StateAges(due=-1)}, "alerts.state_age_s_max.due"),
        ({"every_s": 0.1}, "alerts.every_s"),
        ({"remind_hours": -1.0}, "alerts.remind_hours"),
        ({"law_hour": 24}, "alerts.law_hour"),
        ({"law_days": 40}, "alerts.law_days"),
        ({"time_zone": "Mars/Olympus"}, "alerts.time_zone"),
        ({"runbooks_url": "javascript:1"}, "alerts.runbooks_url"),
    ],
)
def test_what_is_out_of_range_is_named(change: dict[str, object], named: str) -> None:
    assert lacking(Duty()) == []
    [sentence] = lacking(Duty(**change))  # type: ignore[arg-type]  # one key of many types
    assert f"`{named}`" in sentence
