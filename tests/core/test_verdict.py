"""The word on duty: calm only when nothing is wrong, and the most urgent reason first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.core.overview import Span, named_period
from ocp_ingest.core.verdict import Facts, Low, low, verdict

NOW = 1_790_000_000_000
PERIOD = named_period("d7", NOW)
CALM = Facts(
    period=PERIOD, now_ms=NOW, unaccounted=0, differences=0, checked_at_ms=NOW - DAY_MS,
    deleted=0, deleted_span=Span("over", None, NOW - 60 * DAY_MS),
    near=0, near_span=Span("near", NOW - 60 * DAY_MS, NOW - 53 * DAY_MS),
    lost=0, critical=0, low={}, streamed=0.9, streamed_min=0.8, recordings=100, blocked=(),
    parked=0,
)  # fmt: skip
# In the order of urgency: what makes a reason, its code and its level.
CAUSES: list[tuple[dict[str, Any], str, str]] = [
    ({"unaccounted": -1}, "law_broken", "danger"),
    ({"deleted": 2}, "deleted", "danger"),
    ({"near": 3}, "near", "danger"),
    ({"lost": 1}, "lost", "danger"),
    ({"critical": 1}, "critical", "danger"),
    ({"low": {"cards": Low(0.5, "lost")}}, "incomplete", "watch"),
    ({"streamed": 0.79}, "streamed_low", "watch"),
    ({"blocked": ("g1",)}, "blocked", "watch"),
    ({"parked": 4}, "parked", "watch"),
    ({"checked_at_ms": NOW - 3 * DAY_MS}, "unchecked", "watch"),
]


def facts(*causes: dict[str, Any]) -> Facts:
    return msgspec.structs.replace(CALM, **{k: v for cause in causes for k, v in cause.items()})


def test_nothing_wrong_is_calm_and_says_nothing() -> None:
    assert verdict(CALM).level == "calm"
    assert verdict(CALM).reasons == ()


@pytest.mark.parametrize(("cause", "code", "level"), CAUSES, ids=[c[1] for c in CAUSES])
def test_each_cause_alone_is_told_with_its_level(
    cause: dict[str, Any], code: str, level: str
) -> None:
    said = verdict(facts(cause))
    assert said.level == level
    assert [reason.code for reason in said.reasons] == [code]


@given(st.sets(st.integers(0, len(CAUSES) - 1)))
def test_reasons_come_in_the_order_of_urgency_and_the_worst_decides(chosen: set[int]) -> None:
    causes = [CAUSES[n] for n in sorted(chosen)]
    said = verdict(facts(*(cause for cause, _, _ in causes)))
    assert [reason.code for reason in said.reasons] == [code for _, code, _ in causes]
    levels = {level for _, _, level in causes}
    assert said.level == ("danger" if "danger" in levels else "watch" if levels else "calm")


def test_a_full_check_that_found_differences_breaks_the_law_though_the_counters_add_up() -> None:
    said = verdict(facts({"differences": 2}))
    assert (said.level, said.reasons[0].code, said.reasons[0].count) == ("danger", "law_broken", 2)


def test_a_law_never_checked_is_no_alarm_by_itself() -> None:
    assert verdict(facts({"checked_at_ms": None, "differences": None})).level == "calm"


def test_a_few_recordings_say_nothing_of_the_stream() -> None:
    assert verdict(facts({"streamed": 0.5, "recordings": 19})).level == "calm"
    assert verdict(facts({"streamed": 0.5, "recordings": 20})).level == "watch"
    assert verdict(facts({"streamed": None, "recordings": 0})).level == "calm"


def test_calls_near_deletion_lead_to_those_calls() -> None:
    reason = verdict(facts({"near": 3})).reasons[0]
    assert reason.target.page == "calls"
    assert reason.target.query == {
        "term": "in_flight", "from": "2026-07-23T14:13:20.000Z", "to": "2026-07-30T14:13:20.000Z",
    }  # fmt: skip


def test_low_completeness_names_the_worst_first_and_leads_to_most_of_what_it_lacks() -> None:
    cards = low(0.5, {"in_flight": 2, "quarantined": 7, "lost": 1})
    said = verdict(facts({"low": {"banking": Low(0.9, "lost"), "cards": cards}})).reasons[0]
    assert (said.names, said.share, said.count) == (("cards", "banking"), 0.5, 2)
    assert (said.target.query["lob"], said.target.query["term"]) == ("cards", "quarantined")


def test_what_may_still_come_is_named_only_when_it_is_most() -> None:
    assert low(0.5, {"in_flight": 2, "lost": 2}).term == "lost"
    assert low(0.5, {"in_flight": 3, "lost": 2}).term == "in_flight"
