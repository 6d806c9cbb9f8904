"""Figures: what every runtime's counters say is what its records say."""

from __future__ import annotations

import msgspec
import pytest

from ocp_ingest.adapters.journal import Deriving, derive, standing_of
from ocp_ingest.core import events
from ocp_ingest.core.call import Call
from ocp_ingest.core.counting import DAYS_MAX, EDGES_MAX, add, day_of, day_span
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.events import Event
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.routing import Rule
from ocp_ingest.desk.ports import DayFigures, OpenCall
from ocp_ingest.ports import CallQuery
from tests.contracts import samples
from tests.contracts.runtimes import DeskRuntime, Runtime

T0 = samples.T0
DAY = day_of(T0)


async def records(runtime: Runtime) -> list[Call]:
    """All records."""
    found: list[Call] = []
    for call_id in await runtime.calls.call_ids():
        call = await runtime.calls.load(call_id)
        assert call is not None
        found.append(call)
    return found


async def expected(runtime: Runtime) -> dict[tuple[str, str], dict[str, int]]:
    """Counters by (day, line of business), folded from all records."""
    totals: dict[tuple[str, str], dict[str, int]] = {}
    for call in await records(runtime):
        standing = standing_of(call, derive(call, runtime.deriving))
        if standing is not None:
            add(totals.setdefault((standing.day, standing.lob), {}), standing.terms)
    return totals


def told(found: list[DayFigures]) -> dict[tuple[str, str], dict[str, int]]:
    """Answers in the form of `expected`."""
    return {(each.day, each.lob): dict(each.terms) for each in found}


async def settle(runtime: Runtime) -> None:
    """A restart; and columns follow what derives them, where that is somebody's own work."""
    runtime.restart()
    rederive = getattr(runtime.calls, "rederive", None)
    while rederive is not None and await rederive(limit=100):
        pass


def closed(call: str, outcome: events.Closing) -> list[Event]:
    """A call that ended so without a stored recording, and had no line of business pinned."""
    ended = events.closed(call, outcome, epoch=0, at_ms=T0 + 95_000, reason="It is so.")
    return [samples.start(call), samples.end(call), ended]


class TestDays:
    async def test_counters_are_those_of_the_records(self, desk: DeskRuntime) -> None:
        for number in range(6):
            life = samples.life(f"c{number}", T0 + number * DAY_MS // 2, group=f"g{number % 2}")
            await desk.calls.append(life[: 2 + number])
        await desk.calls.append(closed("lost", "lost"))
        found = told(await desk.figures.days(DAY, day_of(T0 + 5 * DAY_MS)))
        assert found == await expected(desk)
        assert sum(terms["started"] for terms in found.values()) == 7

    async def test_a_question_about_some_days_is_answered_about_these(
        self, desk: DeskRuntime
    ) -> None:
        for number in range(4):
            await desk.calls.append([samples.start(f"c{number}", T0 + number * DAY_MS)])
        first, last = day_of(T0 + DAY_MS), day_of(T0 + 2 * DAY_MS)
        found = await desk.figures.days(first, last)
        assert {each.day for each in found} == {first, last}
        assert await desk.figures.days("20200101", "20200102") == []

    async def test_a_repeated_event_counts_nothing_twice(self, desk: DeskRuntime) -> None:
        for _ in range(2):
            await desk.calls.append(samples.life())
            await desk.calls.append([samples.start(), samples.start()])
        [found] = await desk.figures.days(DAY, DAY)
        assert found.terms["started"] == found.terms["stored"] == 1
        assert "in_flight" not in found.terms

    async def test_a_call_that_moves_to_another_day_leaves_the_old_one(
        self, desk: DeskRuntime
    ) -> None:
        """A recording that comes first is dated by its arrival, until CDR Start says when."""
        await desk.calls.append([samples.received(at_ms=T0 + DAY_MS)])
        assert [f.day for f in await desk.figures.days(DAY, day_of(T0 + DAY_MS))] == [
            day_of(T0 + DAY_MS)
        ]
        await desk.calls.append([samples.start()])
        found = await desk.figures.days(DAY, day_of(T0 + DAY_MS))
        assert [f.day for f in found] == [DAY]

    async def test_a_call_that_is_pinned_elsewhere_leaves_where_the_rules_had_it(
        self, desk: DeskRuntime
    ) -> None:
        await desk.calls.append([samples.start(), samples.end()])
        assert [f.lob for f in await desk.figures.days(DAY, DAY)] == ["care"]
        await desk.calls.append(samples.life())
        assert [f.lob for f in await desk.figures.days(DAY, DAY)] == ["sales"]

    async def test_a_reopened_call_leaves_its_outcome(self, desk: DeskRuntime) -> None:
        await desk.calls.append(closed("c1", "lost"))
        [before] = await desk.figures.days(DAY, DAY)
        await desk.calls.append([samples.reopened()])
        [after] = await desk.figures.days(DAY, DAY)
        assert (before.terms["lost"], before.terms.get("in_flight", 0)) == (1, 0)
        assert (after.terms.get("lost", 0), after.terms["in_flight"]) == (0, 1)

    @pytest.mark.parametrize("outcome", ["absent", "quarantined", "lost"])
    async def test_a_call_that_ends_without_a_place_counts_where_the_rules_say(
        self, desk: DeskRuntime, outcome: events.Closing
    ) -> None:
        """Nothing that went wrong hides under a line of business that nobody looks at."""
        await desk.calls.append(closed("c1", outcome))
        [found] = await desk.figures.days(DAY, DAY)
        assert (found.lob, found.terms[outcome]) == ("care", 1)
        page = await desk.calls.page(CallQuery(lobs=("care",), outcome=outcome))
        assert [call.call_id for call in page.calls] == ["c1"]

    async def test_a_call_that_no_rule_matches_counts_under_no_name(
        self, desk: DeskRuntime
    ) -> None:
        await desk.calls.append([samples.start(group="g7")])
        [found] = await desk.figures.days(DAY, DAY)
        assert found.lob == ""

    async def test_counters_follow_changed_rules(self, desk: DeskRuntime) -> None:
        await desk.calls.append(samples.life("done"))
        await desk.calls.append([*closed("lost", "lost"), samples.start("open")])
        desk.deriving = Deriving(routing=(Rule(lob="cards", when={"ocp_group": "g1"}),))
        await settle(desk)
        found = told(await desk.figures.days(DAY, DAY))
        assert found == await expected(desk)
        assert {lob for _, lob in found} == {"sales", "cards"}  # what is pinned stays

    async def test_counters_follow_a_changed_policy(self, desk: DeskRuntime) -> None:
        await desk.calls.append([samples.start(), samples.end()])
        policy = msgspec.structs.replace(desk.policy, export_enabled=not desk.policy.export_enabled)
        desk.deriving = Deriving(policy, desk.deriving.routing)
        await settle(desk)
        assert told(await desk.figures.days(DAY, DAY)) == await expected(desk)

    async def test_rebuilding_counts_nothing_twice(self, desk: DeskRuntime) -> None:
        await desk.calls.append(samples.life())
        before = await desk.figures.days(DAY, DAY)
        assert await desk.calls.rebuild("c1") is False
        assert await desk.calls.rebuild("nobody") is False
        assert await desk.figures.days(DAY, DAY) == before

    @pytest.mark.parametrize(
        ("first", "last"),
        [("20260102", "20260101"), ("2026-01-01", "20260101"), ("", ""), ("20260230", "20260301")],
    )
    async def test_what_are_no_days_is_refused(
        self, desk: DeskRuntime, first: str, last: str
    ) -> None:
        with pytest.raises(Invalid):
            await desk.figures.days(first, last)

    async def test_a_question_about_too_many_days_is_refused(self, desk: DeskRuntime) -> None:
        assert await desk.figures.days(DAY, day_of(T0 + (DAYS_MAX - 1) * DAY_MS)) == []
        with pytest.raises(Invalid):
            await desk.figures.days(DAY, day_of(T0 + DAYS_MAX * DAY_MS))


class TestOpenCalls:
    async def fill(self, desk: DeskRuntime) -> None:
        for number in range(6):
            at_ms = T0 + number * HOUR_MS
            await desk.calls.append([samples.start(f"c{number}", at_ms, group=f"g{number % 2}")])
        await desk.calls.append(samples.life("stored", T0 - HOUR_MS))
        await desk.calls.append(samples.life("stored and open", T0 - HOUR_MS)[::2])
        await desk.calls.append(closed("lost", "lost"))

    async def test_ages_are_told_between_edges_that_belong_to_the_later_side(
        self, desk: DeskRuntime
    ) -> None:
        await self.fill(desk)
        edges = [T0, T0 + 2 * HOUR_MS, T0 + 2 * HOUR_MS + 1]
        assert await desk.figures.open_ages(edges, None) == [0, 2, 1, 3]
        assert await desk.figures.open_ages([], None) == [6]

    async def test_ages_are_of_the_lines_of_business_asked_for(self, desk: DeskRuntime) -> None:
        await self.fill(desk)
        edges = [T0 + 2 * HOUR_MS]
        assert await desk.figures.open_ages(edges, ["care"]) == [1, 2]
        assert await desk.figures.open_ages(edges, ["care", "", "care"]) == [2, 4]
        assert await desk.figures.open_ages(edges, ["claims"]) == [0, 0]
        assert await desk.figures.open_ages(edges, []) == [0, 0]

    async def test_the_oldest_is_the_one_that_began_first(self, desk: DeskRuntime) -> None:
        assert await desk.figures.oldest_open(None) is None
        await self.fill(desk)
        assert await desk.figures.oldest_open(None) == OpenCall("c0", T0)
        assert await desk.figures.oldest_open(["care"]) == OpenCall("c1", T0 + HOUR_MS)
        assert await desk.figures.oldest_open([]) is None

    async def test_of_calls_that_began_together_the_oldest_has_the_smallest_id(
        self, desk: DeskRuntime
    ) -> None:
        for call in ("b", "a", "c"):
            await desk.calls.append([samples.start(call, group="g1" if call == "a" else "g2")])
        assert await desk.figures.oldest_open(None) == OpenCall("a", T0)

    async def test_edges_that_do_not_rise_or_are_too_many_are_refused(
        self, desk: DeskRuntime
    ) -> None:
        for edges in ([2, 1], [1, 1], list(range(EDGES_MAX + 1))):
            with pytest.raises(Invalid):
                await desk.figures.open_ages(edges, None)


class TestRecounts:
    async def test_counters_that_are_right_are_not_corrected(self, desk: DeskRuntime) -> None:
        await desk.calls.append(samples.life())
        await desk.calls.append(closed("c2", "lost"))
        before = await desk.figures.days(DAY, DAY)
        assert await desk.figures.recount(DAY, by="ana", now_ms=T0) == 0
        assert await desk.figures.recount("20200101", by="ana", now_ms=T0) == 0
        assert await desk.figures.days(DAY, DAY) == before

    async def test_what_is_no_day_is_refused(self, desk: DeskRuntime) -> None:
        with pytest.raises(Invalid):
            await desk.figures.recount("20261301", by="ana", now_ms=T0)

    async def test_the_first_call_of_the_next_day_is_no_call_of_this_one(
        self, desk: DeskRuntime
    ) -> None:
        _, until_ms = day_span(DAY)
        await desk.calls.append([samples.start("last", until_ms - 1)])
        await desk.calls.append([samples.start("next", until_ms)])
        assert await desk.figures.recount(DAY, by="ana", now_ms=T0) == 0
        [found] = await desk.figures.days(DAY, DAY)
        assert found.terms["started"] == 1
