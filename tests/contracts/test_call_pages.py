"""Pages: any combination of filters gives what a look at every record would, on every runtime."""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec
import pytest

from ocp_ingest.adapters.journal import Deriving, Row, cursor_of, derive, problem_codes
from ocp_ingest.core import events
from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import start_ms
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.core.routing import Rule
from ocp_ingest.ports import CallQuery
from tests.contracts import samples
from tests.contracts.runtimes import Runtime
from tests.contracts.samples import OTHER_SHA, SHA, T0
from tests.contracts.test_figures import settle


def bad(call: str, *codes: str) -> list[Event]:
    """A recording that inspection refuses."""
    return [samples.received(call, OTHER_SHA), samples.inspected(call, OTHER_SHA, *codes)]


def closed(call: str, outcome: events.Closing, code: str) -> Event:
    """A closing with its reason as a code."""
    return events.closed(call, outcome, epoch=0, at_ms=T0 + 95_000, reason="So it is.", code=code)


def population() -> list[list[Event]]:
    """Calls in each outcome, in two groups and three lines of business, some begun together."""
    found: list[list[Event]] = []
    for number in range(14):
        call, at_ms, group = f"c{number:02}", T0 + number // 3 * HOUR_MS, f"g{number % 2}"
        begun = [samples.start(call, at_ms, group=group), samples.end(call, at_ms, group=group)]
        match number % 7:
            case 0 | 1:
                found.append(samples.life(call, at_ms, group=group))
            case 2:
                found.append(begun)
            case 3:
                found.append([*begun, *bad(call, "truncated", "garbage")])
            case 4:
                found.append([*begun, *bad(call, "truncated"),
                              closed(call, "quarantined", "bad_at_ocp")])  # fmt: skip
            case 5:
                found.append([*begun, closed(call, "lost", "retention_over")])
            case _:
                found.append([*begun[:1], closed(call, "absent", "too_short")])
    return found


async def walk(runtime: Runtime, query: CallQuery) -> list[str]:
    """Call ids of all pages."""
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await runtime.calls.page(msgspec.structs.replace(query, cursor=cursor))
        assert len(page.calls) <= query.limit
        seen += [call.call_id for call in page.calls]
        cursor = page.cursor
        if cursor is None:
            return seen


def asked(row: Row, query: CallQuery) -> bool:
    """Whether a call is of a query, by its columns."""
    return (
        query.stage in (None, row.stage)
        and query.outcome in (None, row.outcome)
        and query.lob in (None, row.lob)
        and (query.lobs is None or row.lob in query.lobs)
        and (query.problem is None or query.problem in row.problems)
        and query.ocp_group in (None, row.ocp_group)
        and (query.from_ms is None or row.started_at >= query.from_ms)
        and (query.to_ms is None or row.started_at < query.to_ms)
    )


async def filled(runtime: Runtime) -> dict[str, Row]:
    """Columns by call id, of a store that holds the population."""
    found: dict[str, Row] = {}
    for journal in population():
        [*_, last] = await runtime.calls.append(journal)
        found[last.call.call_id] = derive(last.call, runtime.deriving)
    return found


FILTERS: dict[str, list[Any]] = {
    "stage": [None, "stored", "file_received", "call_ended"],
    "outcome": [None, "stored", "none", "quarantined"],
    "lob": [None, "sales", "care", ""],
    "lobs": [None, ("sales",), ("sales", "care"), ()],
    "problem": [None, "truncated", "retention_over"],
    "ocp_group": [None, "g1"],
    "from_ms": [None, T0 + HOUR_MS],
}
COMBINATIONS = [
    CallQuery(**dict(zip(FILTERS, values, strict=True)), limit=3)
    for values in product(*FILTERS.values())
]


async def test_any_combination_of_filters_leaves_what_it_says(runtime: Runtime) -> None:
    rows = await filled(runtime)
    # On servers that stand for AWS a request takes milliseconds: every seventeenth there.
    step = 1 if hasattr(runtime, "clock") else 17
    for query in COMBINATIONS[::step]:
        expected = [call for call, row in rows.items() if asked(row, query)]
        expected.sort(key=lambda call: (-rows[call].started_at, call))
        assert await walk(runtime, query) == expected, query


async def test_calls_that_began_together_are_each_on_one_page(runtime: Runtime) -> None:
    for number in range(9):
        await runtime.calls.append([samples.start(f"c{number}", group=f"g{number % 3}")])
    for limit in (1, 2, 4):
        assert await walk(runtime, CallQuery(limit=limit)) == [f"c{n}" for n in range(9)]
        some = await walk(runtime, CallQuery(limit=limit, lobs=("", "care"), outcome="none"))
        assert some == [f"c{n}" for n in range(9)]


async def test_many_calls_of_one_kind_that_began_together_are_each_on_one_page(
    runtime: Runtime,
) -> None:
    """More than are read of one partition at a time, so that a piece ends among them."""
    await runtime.calls.append([samples.start(f"c{n:02}") for n in range(12)])
    for limit in (5, 20):
        found = await walk(runtime, CallQuery(limit=limit, lob="care"))
        assert found == [f"c{n:02}" for n in range(12)]


async def test_a_page_stays_within_its_bounds_wherever_its_cursor_is(runtime: Runtime) -> None:
    for n in range(8):
        await runtime.calls.append([samples.start(f"c{n}", T0 + n // 2)])
    for lob in (None, "care"):
        for place in (T0, T0 + 1, T0 + 2, T0 + 3):
            query = CallQuery(from_ms=T0 + 1, to_ms=T0 + 3, lob=lob, cursor=cursor_of(place, "c"))
            page = await runtime.calls.page(query)
            starts = [start_ms(call) - T0 for call in page.calls]
            assert starts == [n for n in (2, 2, 1, 1) if T0 + n <= place]


async def test_whoever_sees_no_line_of_business_sees_no_call(runtime: Runtime) -> None:
    await filled(runtime)
    assert await walk(runtime, CallQuery(lobs=())) == []
    assert await walk(runtime, CallQuery(lobs=(), lob="sales", problem="truncated")) == []


async def test_a_call_of_another_line_of_business_is_not_found_by_naming_it(
    runtime: Runtime,
) -> None:
    await filled(runtime)
    assert await walk(runtime, CallQuery(lobs=("care",), lob="sales")) == []


async def test_a_problem_that_is_mended_finds_the_call_no_more(runtime: Runtime) -> None:
    await runtime.calls.append([samples.start(), samples.end(), *bad("c1", "truncated")])
    assert await walk(runtime, CallQuery(problem="truncated")) == ["c1"]
    await runtime.calls.append(samples.life())
    assert await walk(runtime, CallQuery(problem="truncated")) == []
    assert await walk(runtime, CallQuery(outcome="stored")) == ["c1"]


async def test_a_call_is_found_where_changed_rules_have_it(runtime: Runtime) -> None:
    await filled(runtime)
    runtime.deriving = Deriving(routing=(Rule(lob="cards", when={"ocp_group": "g*"}),))
    await settle(runtime)
    assert await walk(runtime, CallQuery(lob="care")) == []
    lost = await walk(runtime, CallQuery(lobs=("cards",), outcome="lost", problem="retention_over"))
    assert lost == ["c12", "c05"]


class TestLobs:
    RULES = (
        Rule(lob="cards", when={"ocp_group": "g1"}),
        Rule(lob="care", when={"ocp_group": "g*"}),
    )

    def lob(self, *journal: Event) -> str:
        return derive(fold(journal[0].call_id, journal), Deriving(routing=self.RULES)).lob

    def test_what_is_pinned_stands(self) -> None:
        assert self.lob(*samples.life()) == "sales"
        assert self.lob(*samples.life()[:6]) == "sales"

    def test_before_that_the_rules_decide(self) -> None:
        assert self.lob(samples.start()) == "cards"
        assert self.lob(samples.start(group="g2")) == "care"

    def test_a_call_that_no_rule_matches_has_none_and_not_the_unassigned_one(self) -> None:
        assert self.lob(samples.start(group="h")) == ""
        assert self.lob(samples.received()) == ""

    def test_a_call_that_was_pinned_as_unassigned_is_unassigned(self) -> None:
        assert self.lob(*samples.life()[:5], samples.routed(lob="unassigned")) == "unassigned"

    @pytest.mark.parametrize("outcome", ["absent", "quarantined", "lost"])
    def test_a_call_that_ended_unplaced_is_where_the_rules_have_it(
        self, outcome: events.Closing
    ) -> None:
        assert self.lob(samples.start(), samples.end(), closed("c1", outcome, "")) == "cards"

    def test_decisions_that_are_remembered_are_those_of_the_same_facts(self) -> None:
        deriving = Deriving(routing=(
            Rule(lob="app", when={"entry_app": "a*"}), Rule(lob="cards", when={"ocp_group": "g1"}),
        ))  # fmt: skip
        calls = [
            fold("c1", [samples.start(group=group, entry_app=app)])
            for _ in range(2) for group in ("g1", "g2") for app in ("abc", "xyz", "")
        ]  # fmt: skip
        by_itself = [Deriving(routing=deriving.routing).lob_of(call) for call in calls]
        assert [deriving.lob_of(call) for call in calls] == by_itself
        assert {"cards", ""} <= set(by_itself)

    def test_the_mark_differs_with_what_derives(self) -> None:
        marks = {
            Deriving().mark, Deriving(routing=self.RULES).mark,
            Deriving(routing=self.RULES[::-1]).mark,
            Deriving(msgspec.structs.replace(Deriving().policy, resume_after_ms=1)).mark,
        }  # fmt: skip
        assert len(marks) == 4
        assert Deriving(routing=self.RULES).mark == Deriving(routing=self.RULES).mark


class TestProblems:
    def codes(self, *journal: Event) -> tuple[str, ...]:
        return problem_codes(fold("c1", journal))

    def test_they_are_those_of_the_shown_recording_sorted_each_once(self) -> None:
        assert self.codes(samples.start()) == ()
        assert self.codes(*bad("c1", "truncated", "garbage", "truncated")) == (
            "garbage", "truncated",
        )  # fmt: skip

    def test_the_rules_of_a_line_of_business_find_some_too(self) -> None:
        problem = {"code": "too_long", "severity": "warning", "text": ""}
        judged = events.validated(
            "c1", "c1", SHA, epoch=0, at_ms=T0, valid=True, problems=[problem], rules="1"
        )
        assert self.codes(*samples.life()[:4], judged) == ("too_long",)

    def test_a_good_recording_hides_the_bad_one_before_it(self) -> None:
        assert self.codes(*bad("c1", "truncated"), *samples.life()) == ()

    def test_a_closing_says_why(self) -> None:
        journal = [samples.start(), samples.end(), closed("c1", "lost", "retention_over")]
        assert self.codes(*journal) == ("retention_over",)
        assert self.codes(*journal[:2], closed("c1", "lost", "")) == ()

    def test_a_closing_that_is_void_says_nothing(self) -> None:
        journal = [samples.start(), samples.end(), closed("c1", "lost", "retention_over")]
        assert self.codes(*journal, samples.received()) == ()
        assert self.codes(*journal, *samples.life()) == ()
        assert self.codes(*journal, samples.reopened()) == ()

    def test_a_call_that_ocp_denies_says_so_until_ocp_announces_it(self) -> None:
        journal = [samples.received(), closed("c1", "quarantined", "unknown_to_ocp")]
        assert self.codes(*journal) == ("unknown_to_ocp",)
        assert self.codes(*journal, samples.start()) == ()

    def test_a_denied_call_that_was_released_and_stored_has_no_problem_left(self) -> None:
        journal = [samples.received(), closed("c1", "quarantined", "unknown_to_ocp")]
        assert self.codes(*journal, *samples.life()[3:]) == ()

    def test_more_than_a_call_is_found_by_are_left_out_warnings_first(self) -> None:
        warning = {"code": "aaa", "severity": "warning", "text": ""}
        errors = [
            {"code": f"e{n:02}", "severity": "error", "text": ""} for n in range(20)
        ]  # fmt: skip
        report = {"problems": [warning, *errors]}
        inspected = events.inspected("c1", "c1", SHA, at_ms=T0, report=report)
        journal = [samples.received(), inspected, closed("c1", "lost", "retention_over")]
        found = self.codes(samples.start(), *journal)
        assert len(found) == 16
        assert found == tuple(sorted(found))
        assert "retention_over" in found
        assert "aaa" not in found

    def test_each_recording_of_the_call_has_its_own(self) -> None:
        child = events.received(
            "c1", "c1-2", OTHER_SHA, at_ms=T0, source="stream", size_bytes=5, landing_key="x/y",
            name="c.wav",
        )  # fmt: skip
        found = events.inspected("c1", "c1-2", OTHER_SHA, at_ms=T0, report={
            "problems": [{"code": "silence", "severity": "warning", "text": ""}]
        })  # fmt: skip
        assert self.codes(*samples.life(), child, found) == ("silence",)

    def test_columns_carry_them(self) -> None:
        call: Call = fold("c1", bad("c1", "truncated"))
        assert derive(call, Deriving()).problems == problem_codes(call) == ("truncated",)
