"""Laws of a CallStore."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from ocp_ingest.adapters.journal import VARIANTS_REFUSED
from ocp_ingest.core.call import flags, fold
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import outcome, works
from ocp_ingest.core.limits import EVENT_VARIANTS_MAX
from ocp_ingest.ports import CallQuery
from tests.contracts import samples
from tests.contracts.runtimes import Runtime
from tests.contracts.samples import HOUR_MS, SHA, T0

FAR_MS = T0 + 1_000 * 24 * HOUR_MS


async def pending_ids(runtime: Runtime) -> set[str]:
    return {p.call_id for p in await runtime.calls.pending(until_ms=FAR_MS, limit=10_000)}


class TestAppend:
    async def test_an_event_is_in_journal_and_record_when_append_returns(
        self, runtime: Runtime
    ) -> None:
        event = samples.start()
        [answer] = await runtime.calls.append([event])
        assert answer.new
        assert answer.event == event
        assert await runtime.calls.journal("c1") == [event]
        assert await runtime.calls.load("c1") == answer.call == fold("c1", [event])

    async def test_what_was_appended_is_there_after_a_restart(self, runtime: Runtime) -> None:
        await runtime.calls.append(samples.life())
        runtime.restart()
        held = await runtime.calls.journal("c1")
        assert sorted(e.event_id for e in held) == sorted(e.event_id for e in samples.life())
        assert await runtime.calls.load("c1") == fold("c1", samples.life())

    async def test_no_events_are_no_effect(self, runtime: Runtime) -> None:
        assert await runtime.calls.append([]) == []
        assert await runtime.calls.call_ids() == []

    async def test_answers_come_in_the_order_of_the_events(self, runtime: Runtime) -> None:
        given = [samples.start("c2"), samples.start("c1"), samples.end("c2"), samples.start("c2")]
        answers = await runtime.calls.append(given)
        assert [a.event for a in answers] == given
        assert [a.new for a in answers] == [True, True, True, False]
        assert [a.call.call_id for a in answers] == ["c2", "c1", "c2", "c2"]

    async def test_an_event_keeps_every_field_and_its_raw_bytes(self, runtime: Runtime) -> None:
        event = samples.start(channel="voice", text="ñ\u2028\x00", number=10**17)
        assert event.raw
        assert event.body_hash
        await runtime.calls.append([event])
        runtime.restart()
        assert await runtime.calls.journal("c1") == [event]

    async def test_a_duplicate_changes_nothing_and_is_told_so(self, runtime: Runtime) -> None:
        [first] = await runtime.calls.append([samples.start()])
        [again] = await runtime.calls.append([samples.start()])
        assert not again.new
        assert again.event == first.event
        assert again.call == first.call
        assert len(await runtime.calls.journal("c1")) == 1

    async def test_the_first_of_two_own_events_with_one_id_stands(self, runtime: Runtime) -> None:
        """A step that was done twice, with two places, has one place."""
        await runtime.calls.append([samples.routed(lob="sales")])
        [answer] = await runtime.calls.append([samples.routed(lob="claims")])
        assert not answer.new
        assert answer.event.data["lob"] == "sales"
        assert answer.call.root.routed is not None
        assert answer.call.root.routed.lob == "sales"

    async def test_another_body_under_a_vendor_id_is_a_variant_beside_the_first(
        self, runtime: Runtime
    ) -> None:
        first, other = samples.start(), samples.start(channel="voice")
        assert first.event_id == other.event_id
        await runtime.calls.append([first])
        [answer] = await runtime.calls.append([other])
        assert answer.new
        assert answer.event.event_id == f"{first.event_id}~{other.body_hash[:16]}"
        assert answer.event.raw == other.raw
        [again] = await runtime.calls.append([other])
        assert not again.new
        assert again.event == answer.event
        assert len(await runtime.calls.journal("c1")) == 2

    async def test_variants_are_bounded_and_refusals_counted(self, runtime: Runtime) -> None:
        await runtime.calls.append([samples.start()])
        for number in range(EVENT_VARIANTS_MAX + 3):
            [answer] = await runtime.calls.append([samples.start(channel=f"v{number}")])
            assert answer.new == (number < EVENT_VARIANTS_MAX)
        assert len(await runtime.calls.journal("c1")) == 1 + EVENT_VARIANTS_MAX
        assert (await runtime.evidence.counted()) == {VARIANTS_REFUSED: 3}

    async def test_concurrent_appends_to_one_call_lose_nothing(self, runtime: Runtime) -> None:
        given = [samples.cdr("dialog_step", at_ms=T0 + n, step=n) for n in range(60)]
        await asyncio.gather(*(runtime.calls.append([event]) for event in given))
        held = await runtime.calls.journal("c1")
        assert [e.at_ms for e in held] == [T0 + n for n in range(60)]
        assert await runtime.calls.load("c1") == fold("c1", held)

    async def test_concurrent_duplicates_are_new_once(self, runtime: Runtime) -> None:
        answers = await asyncio.gather(
            *(runtime.calls.append([samples.start()]) for _ in range(20))
        )
        assert sum(answer.new for [answer] in answers) == 1


class TestReading:
    async def test_an_unknown_call_is_none_and_has_no_journal(self, runtime: Runtime) -> None:
        assert await runtime.calls.load("nobody") is None
        assert await runtime.calls.journal("nobody") == []
        assert await runtime.calls.call_of("dialog", "nobody") is None

    async def test_the_journal_is_ordered_by_what_events_say(self, runtime: Runtime) -> None:
        late_first = [samples.lost(), samples.received(), samples.start(), samples.asked()]
        await runtime.calls.append(late_first)
        assert [e.at_ms for e in await runtime.calls.journal("c1")] == sorted(
            e.at_ms for e in late_first
        )

    async def test_calls_are_found_by_dialog_session_and_connection(self, runtime: Runtime) -> None:
        child = samples.cdr("dialog_start", id="d7", session_id="s1", connection_id="k1")
        await runtime.calls.append([child])
        assert await runtime.calls.call_of("dialog", "d7") == "c1"
        assert await runtime.calls.call_of("session", "s1") == "c1"
        assert await runtime.calls.call_of("connection", "k1") == "c1"
        assert await runtime.calls.call_of("session", "k1") is None

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    async def test_a_shared_id_belongs_to_the_earlier_call_in_any_order(
        self, runtime: Runtime, order: tuple[int, int]
    ) -> None:
        claims = [
            samples.start("c2", T0, session_id="s"), samples.start("c1", T0 + 1, session_id="s")
        ]  # fmt: skip
        for number in order:
            await runtime.calls.append([claims[number]])
        assert await runtime.calls.call_of("session", "s") == "c2"

    async def test_call_ids_walks_all_calls_once_in_order(self, runtime: Runtime) -> None:
        ids = [f"c{n:02}" for n in range(25)]
        for call in reversed(ids):
            await runtime.calls.append([samples.start(call), samples.end(call)])
        seen: list[str] = []
        while page := await runtime.calls.call_ids(after=seen[-1] if seen else "", limit=10):
            seen += page
        assert seen == ids


class TestPending:
    async def test_a_call_with_open_work_is_due_when_its_work_is(self, runtime: Runtime) -> None:
        [answer] = await runtime.calls.append([samples.received()])
        at_ms = min(w.at_ms for w in works(answer.call, runtime.policy))
        assert await runtime.calls.pending(until_ms=at_ms - 1, limit=10) == []
        [due] = await runtime.calls.pending(until_ms=at_ms, limit=10)
        assert (due.call_id, due.at_ms) == ("c1", at_ms)

    async def test_a_finished_call_never_returns_by_late_duplicates(self, runtime: Runtime) -> None:
        await runtime.calls.append(samples.life())
        assert await pending_ids(runtime) == set()
        for event in reversed(samples.life()):
            await runtime.calls.append([event])
            await runtime.calls.append([samples.start(), samples.end()])
            assert await pending_ids(runtime) == set()
            assert (await runtime.calls.counts())["stored"] == 1

    async def test_reopening_by_an_operator_brings_a_closed_call_back(
        self, runtime: Runtime
    ) -> None:
        await runtime.calls.append([samples.start(), samples.end(), samples.lost()])
        await runtime.calls.append([samples.asked(), samples.answered()])
        closed = await pending_ids(runtime)
        await runtime.calls.append([samples.reopened()])
        assert closed == set()
        assert await pending_ids(runtime) == {"c1"}

    async def test_earliest_first_by_group_and_in_pages(self, runtime: Runtime) -> None:
        for number in range(12):
            group = "g1" if number % 3 else "g2"
            event = samples.start(f"c{number:02}", T0 + (number * 7 % 12) * HOUR_MS, group=group)
            await runtime.calls.append([event])
        whole = await runtime.calls.pending(until_ms=FAR_MS, limit=100)
        assert whole == sorted(whole, key=lambda p: (p.at_ms, p.call_id))
        assert len(whole) == 12
        for group in ("g1", "g2"):
            some = await runtime.calls.pending(until_ms=FAR_MS, limit=100, ocp_group=group)
            assert some == [p for p in whole if p.ocp_group == group]
            walked = await runtime.calls.pending(until_ms=FAR_MS, limit=3, ocp_group=group)
            while more := await runtime.calls.pending(
                until_ms=FAR_MS, limit=3, ocp_group=group, after=walked[-1]
            ):
                walked += more
            assert walked == some
        assert await runtime.calls.pending_groups() == {"g1": 8, "g2": 4}

    async def test_a_call_moves_to_its_group_when_that_is_known(self, runtime: Runtime) -> None:
        await runtime.calls.append([samples.received()])
        assert await runtime.calls.pending_groups() == {"": 1}
        await runtime.calls.append([samples.start(group="g9")])
        assert await runtime.calls.pending_groups() == {"g9": 1}
        assert await runtime.calls.pending(until_ms=FAR_MS, limit=9, ocp_group="") == []


class TestPages:
    async def fill(self, runtime: Runtime) -> None:
        for number in range(20):
            group = f"g{number % 2}"
            call = f"c{number:02}"
            at_ms = T0 + (number // 2) * HOUR_MS  # two calls at each time
            taken = samples.life(call, at_ms, group=group)
            await runtime.calls.append(taken[: 2 + number % 6])

    async def walk(self, runtime: Runtime, query: CallQuery) -> list[str]:
        seen: list[str] = []
        cursor = None
        while True:
            page = await runtime.calls.page(msgspec.structs.replace(query, cursor=cursor))
            assert len(page.calls) <= query.limit
            seen += [call.call_id for call in page.calls]
            cursor = page.cursor
            if cursor is None:
                return seen

    async def test_pages_hold_every_call_once_newest_first(self, runtime: Runtime) -> None:
        await self.fill(runtime)
        seen = await self.walk(runtime, CallQuery(limit=3))
        expected = sorted(range(20), key=lambda n: (-(n // 2), n))
        assert seen == [f"c{n:02}" for n in expected]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            (CallQuery(ocp_group="g1", limit=2), {n for n in range(20) if n % 2}),
            (CallQuery(stage="stored", limit=2), {n for n in range(20) if 2 + n % 6 >= 7}),
            (CallQuery(stage="file_received", limit=2), {n for n in range(20) if n % 6 in (1, 2)}),
            (CallQuery(outcome="stored", limit=2), {n for n in range(20) if n % 6 == 5}),
            (CallQuery(outcome="none", limit=2), {n for n in range(20) if n % 6 != 5}),
            (CallQuery(lob="sales", limit=2), {n for n in range(20) if n % 6 in (4, 5)}),
            (CallQuery(lob="claims", limit=2), set()),
            (CallQuery(from_ms=T0 + HOUR_MS, to_ms=T0 + 3 * HOUR_MS, limit=3), {2, 3, 4, 5}),
            (
                CallQuery(lob="sales", ocp_group="g1", outcome="none", to_ms=T0 + 4 * HOUR_MS),
                set(),
            ),
            (CallQuery(lob="sales", ocp_group="g0", outcome="none"), {4, 10, 16}),
        ],
    )
    async def test_filters_leave_exactly_what_they_say(
        self, runtime: Runtime, query: CallQuery, expected: set[int]
    ) -> None:
        await self.fill(runtime)
        seen = await self.walk(runtime, query)
        assert seen == sorted(seen, key=lambda c: (-(int(c[1:]) // 2), c))
        assert {int(call[1:]) for call in seen} == expected

    @pytest.mark.parametrize("cursor", ["", "x", "!!", "AAAAAAAAAAAAAAAAAAAA", "WzEsImMiXQ", "é"])
    async def test_a_strange_cursor_is_refused(self, runtime: Runtime, cursor: str) -> None:
        with pytest.raises(Invalid):
            await runtime.calls.page(CallQuery(cursor=cursor))


class TestConservation:
    async def test_every_started_call_is_counted_in_exactly_one_term(
        self, runtime: Runtime
    ) -> None:
        await runtime.calls.append(samples.life("c1"))
        await runtime.calls.append([samples.start("c2")])
        closed = [samples.start("c3"), samples.end("c3"), samples.lost("c3")]
        await runtime.calls.append([*closed, samples.asked("c3"), samples.answered("c3")])
        await runtime.calls.append([samples.received("c4")])
        counts = await runtime.calls.counts()
        assert counts == {
            "started": 4, "in_flight": 2, "stored": 1, "lost": 1, "absent": 0, "quarantined": 0,
        }  # fmt: skip

    async def test_a_message_of_unknown_type_starts_no_call(self, runtime: Runtime) -> None:
        await runtime.calls.append([samples.unknown("c1"), samples.unknown("c1", 2)])
        counts = await runtime.calls.counts()
        assert set(counts.values()) == {0}
        assert len(await runtime.calls.journal("c1")) == 2
        assert (await self.page_ids(runtime, "none")) == []
        await runtime.calls.append([samples.start("c1"), samples.end("c1")])
        assert (await runtime.calls.counts())["started"] == 1
        assert (await self.page_ids(runtime, "none")) == ["c1"]

    async def page_ids(self, runtime: Runtime, outcome_name: str) -> list[str]:
        page = await runtime.calls.page(CallQuery(outcome=outcome_name))
        return [call.call_id for call in page.calls]


class TestRebuild:
    async def test_a_right_record_is_left_as_it_is(self, runtime: Runtime) -> None:
        await runtime.calls.append(samples.life())
        before = await runtime.calls.load("c1")
        assert await runtime.calls.rebuild("c1") is False
        assert await runtime.calls.load("c1") == before

    async def test_an_unknown_call_has_nothing_to_rebuild(self, runtime: Runtime) -> None:
        assert await runtime.calls.rebuild("nobody") is False
        assert await runtime.calls.load("nobody") is None


class TestFlags:
    async def test_a_flag_once_set_is_never_unset(self, runtime: Runtime) -> None:
        given: list[Event] = [*samples.life(), *samples.pool("c1")]
        seen: dict[str, int | None] = {}
        for event in given:
            [answer] = await runtime.calls.append([event])
            now = flags(answer.call)
            for name, at_ms in seen.items():
                assert at_ms is None or now[name] is not None
            seen = now
        assert outcome(answer.call, runtime.policy) is not None or await pending_ids(runtime)
        assert seen["stored"] is not None
        assert SHA in answer.call.root.versions
