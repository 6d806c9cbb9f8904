"""Laws of a CallStore that only DynamoDB can break: crashes between items, lost answers, races."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.call_pages import READS_MAX
from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.dynamo import Item, key
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.journal import Deriving, derive
from ocp_ingest.core.call import fold
from ocp_ingest.core.errors import Invalid, Terminal, TooLarge, Transient
from ocp_ingest.core.events import Event, canonical_hash
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.limits import DAY_MS, EVENT_VARIANTS_MAX, KIB
from ocp_ingest.core.vendor import lookups
from ocp_ingest.ports import CallQuery
from tests.aws_adapters import dynamo_kit, s3_kit
from tests.aws_adapters.dynamo_kit import FAR_MS, MeanwhileAws
from tests.aws_adapters.s3_kit import FaultyAws
from tests.contracts import samples
from tests.contracts.samples import HOUR_MS, T0

# More requests than one append of one call ever makes.
REQUESTS_MAX: Final = 40


@pytest.fixture
def where() -> AwsSettings:
    return dynamo_kit.a_table()


@pytest.fixture
async def aws(where: AwsSettings) -> AsyncIterator[FaultyAws]:
    async with FaultyAws(where) as made:
        yield made


@pytest.fixture
async def other(where: AwsSettings) -> AsyncIterator[Aws]:
    async with Aws(where, s3_kit.session()) as made:
        yield made


def names_of(events: list[Event]) -> set[tuple[str, str]]:
    return {name for event in events for name in lookups(event)}


def raw(size: int, seed: int = 1) -> bytes:
    """Bytes that nothing compresses."""
    return random.Random(seed).randbytes(size)


def with_raw(event: Event, body: bytes) -> Event:
    return msgspec.structs.replace(event, raw=body)


# What is done before, and the append in which a request fails.
STORIES: Final[dict[str, tuple[list[list[str]], list[str]]]] = {
    "the first CDR": ([], ["start"]),
    "a message of unknown type": ([], ["unknown"]),
    "evidence after that": ([["unknown"]], ["received"]),
    "a whole life at once": ([], ["start", "end", "received", "inspected", "validated", "routed",
                                  "stored"]),
    "the last step": ([["start", "end", "received", "inspected", "validated", "routed"]],
                      ["stored"]),
    "another body of the CDR Start": ([["start"]], ["variant"]),
    "a duplicate": ([["start", "end"]], ["start"]),
}  # fmt: skip


def said(name: str, call: str) -> Event:
    """An event of a story; all ids in it, its group and its day are the call's own."""
    more: dict[str, Any] = {
        "session_id": f"s-{call}", "connection_id": f"k-{call}", "group": f"g-{call}",
        "at_ms": T0 + int(call[1:]) * DAY_MS,
    }  # fmt: skip
    sha = canonical_hash(call)
    made = {
        "start": lambda: samples.start(call, **more),
        "variant": lambda: samples.start(call, channel="voice", **more),
        "end": lambda: samples.end(call, **more),
        "unknown": lambda: samples.unknown(call),
        "received": lambda: samples.received(call, sha),
        "inspected": lambda: samples.inspected(call, sha),
        "validated": lambda: samples.validated(call, sha),
        "routed": lambda: samples.routed(call, sha),
        "stored": lambda: samples.stored(call, sha),
    }
    return made[name]()


class TestCrashes:
    @pytest.mark.parametrize("story", STORIES)
    @pytest.mark.parametrize("lost", ["request", "answer"])
    async def test_an_append_that_failed_at_any_request_and_is_done_again_is_done(
        self, aws: FaultyAws, other: Aws, story: str, lost: str
    ) -> None:
        before, failing = STORIES[story]
        failed = 0
        for number in range(REQUESTS_MAX):
            call = f"c{number:02}"
            calls = dynamo_kit.store(aws)  # a process of its own: nothing is remembered
            for names in before:
                await calls.append([said(name, call) for name in names])
            aws.faults.clear()
            (aws.faults.before if lost == "request" else aws.faults.after).add(number)
            events = [said(name, call) for name in failing]
            try:
                await calls.append(events)
            except Transient:
                failed += 1
            reached = len(aws.faults.asked) > number
            aws.faults.clear()
            if not reached:
                break
            answers = await dynamo_kit.store(other).append(events)
            whole = [said(name, call) for names in [*before, failing] for name in names]
            journal, record, due, owners = await dynamo_kit.seen(calls, call, names_of(whole))
            assert record == answers[-1].call == fold(call, journal)
            assert {e.body_hash or e.event_id for e in journal} == {
                e.body_hash or e.event_id for e in whole
            }
            assert [p.at_ms for p in due] == [derive(record, Deriving()).pend_at][: len(due)]
            assert bool(due) == (derive(record, Deriving()).pend_at is not None)
            assert set(owners.values()) <= {call}
            at_ms = derive(record, Deriving()).started_at
            page = await calls.page(CallQuery(from_ms=at_ms, to_ms=at_ms + 1))
            assert record in page.calls
            opening = dynamo_kit.item(other.settings, call, table.SK_OPENING)
            assert opening is not None
            assert (table.UNEVIDENCED in opening) == (not record.evidenced)
        else:
            raise AssertionError("the append makes more requests than the test tries")
        assert failed > 1 or story == "a duplicate"  # whose reads are repeated

    async def test_a_call_is_never_counted_twice_nor_left_out_after_crashes(
        self, aws: FaultyAws
    ) -> None:
        calls = dynamo_kit.store(aws)
        for number in range(8):
            aws.faults.clear()
            aws.faults.after.add(number)
            events = samples.life(f"c{number}")
            for _ in range(2):
                try:
                    await calls.append(events)
                except Transient:
                    continue
        counts = await calls.counts()
        assert (counts["started"], counts["stored"], counts["in_flight"]) == (8, 8, 0)


class TestRaces:
    async def test_two_processes_that_append_to_one_call_lose_nothing(
        self, aws: FaultyAws, other: Aws
    ) -> None:
        stores = [dynamo_kit.store(aws), dynamo_kit.store(other)]
        given = [samples.cdr("dialog_step", at_ms=T0 + n, step=n) for n in range(30)]
        given += [samples.start(), samples.end(), samples.received()]
        await asyncio.gather(*(stores[n % 2].append([event]) for n, event in enumerate(given)))
        held = await stores[0].journal("c1")
        assert len(held) == len(given)
        assert await stores[1].load("c1") == fold("c1", held)

    async def test_a_write_made_from_an_old_record_undoes_nothing(
        self, where: AwsSettings, other: Aws
    ) -> None:
        async with MeanwhileAws(where) as aws:
            slow, quick = dynamo_kit.store(aws), dynamo_kit.store(other)
            await quick.append([samples.start()])
            aws.meanwhile.append(lambda: quick.append(samples.life()))
            [late] = await slow.append([samples.cdr("ivr_end", at_ms=T0 + 9)])
            assert late.call.root.stored is not None
            assert await quick.pending(until_ms=FAR_MS, limit=10) == []

    async def test_two_first_events_at_once_make_one_record_of_both(
        self, where: AwsSettings, other: Aws
    ) -> None:
        async with MeanwhileAws(where) as aws:
            aws.meanwhile.append(lambda: dynamo_kit.store(other).append([samples.received()]))
            [answer] = await dynamo_kit.store(aws).append([samples.start()])
        assert answer.call == fold("c1", [samples.received(), samples.start()])

    async def test_who_never_gets_through_is_told_to_try_again(
        self, where: AwsSettings, other: Aws
    ) -> None:
        async with MeanwhileAws(where) as aws:
            quick = dynamo_kit.store(other)

            def step(number: int) -> Event:
                return samples.received(sha=f"{number:064}", at_ms=T0 + 90_000 + number)

            for number in range(20):
                aws.meanwhile.append(lambda n=number: quick.append([step(n)]))  # type: ignore[misc]  # mypy can't infer a lambda with a default
            with pytest.raises(Transient):
                await dynamo_kit.store(aws).append([samples.start()])

    async def test_a_finished_call_has_no_key_in_the_pending_index_whatever_comes_late(
        self, aws: FaultyAws, where: AwsSettings
    ) -> None:
        calls = dynamo_kit.store(aws)
        await calls.append(samples.life())
        for event in [*samples.life(), samples.start(channel="voice"), samples.end(duration=9)]:
            await calls.append([event])
            held = dynamo_kit.item(where, "c1")
            assert held is not None
            assert not {table.PENDING_PK, table.PENDING_SK} & set(held)


class TestRequests:
    """What an append costs; the record's reads and writes are of one unit each (test_codec)."""

    async def asked(self, aws: FaultyAws, *events: Event) -> list[str]:
        calls = dynamo_kit.store(aws)
        for known in (samples.life("c0")[:2], samples.life("c0")):  # what directories say
            await calls.append(known)
        aws.faults.clear()
        await calls.append(list(events))
        return sorted(aws.faults.asked)

    async def test_a_cdr_start_reads_nothing(self, aws: FaultyAws) -> None:
        # Journal, one look-up, opening, record.
        assert await self.asked(aws, samples.start()) == ["put_item"] * 3 + ["update_item"]

    async def test_a_step_of_the_pipeline_is_two_writes_and_a_read(self, aws: FaultyAws) -> None:
        await dynamo_kit.store(aws).append(samples.life()[:3])
        expected = ["get_item", "put_item", "put_item"]
        assert await self.asked(aws, samples.inspected()) == expected

    async def test_a_cdr_end_claims_no_id_again(self, aws: FaultyAws) -> None:
        await dynamo_kit.store(aws).append([samples.start(session_id="s")])
        expected = ["get_item"] * 3 + ["put_item"] * 2  # look-ups of dialog and session, record
        assert await self.asked(aws, samples.end(session_id="s")) == expected

    async def test_a_childs_cdr_start_is_not_taken_for_a_calls_first(self, aws: FaultyAws) -> None:
        await dynamo_kit.store(aws).append([samples.start()])
        child = samples.cdr("dialog_start", id="d7", flow={"parent_step": 3, "type": "Flow"})
        # Look-up and record are read before they are written, and nothing is opened.
        assert await self.asked(aws, child) == ["get_item"] * 2 + ["put_item"] * 3

    async def test_a_duplicate_writes_nothing(self, aws: FaultyAws) -> None:
        await dynamo_kit.store(aws).append([samples.start()])
        # The refused write of the journal item; look-up and record are read.
        assert await self.asked(aws, samples.start()) == ["get_item", "get_item", "put_item"]

    async def test_events_of_one_append_share_one_write_of_the_record(self, aws: FaultyAws) -> None:
        steps = samples.life()[2:]
        await dynamo_kit.store(aws).append(samples.life()[:2])
        # Journal items, the look-up of the landing key, one record.
        expected = ["get_item"] + ["put_item"] * (len(steps) + 2)
        assert await self.asked(aws, *steps) == expected


class TestKeys:
    IDS: Final = (
        'a"b', "a#b", "a!b", "a$b", "a", "g#g1", "groups#", "days#", "counter#", "lookup#dialog#c1",
        "evidence#", "incident#open", "~", "Z", "ñ", "0", "#", '"', "ab#~", "漢字", "zz", "9",
        ":",
    )  # fmt: skip

    async def test_no_call_id_meets_another_item_and_all_are_listed_in_order(
        self, aws: FaultyAws
    ) -> None:
        calls = dynamo_kit.store(aws)
        for call in self.IDS:
            await calls.append([samples.start(call, session_id=call), samples.received(call)])
        for call in self.IDS:
            journal = await calls.journal(call)
            assert {e.call_id for e in journal} == {call}
            assert len(journal) == 2
        seen: list[str] = []
        while page := await calls.call_ids(after=seen[-1] if seen else "", limit=5):
            assert len(page) <= 5
            seen += page
        assert seen == sorted(self.IDS)
        due = await calls.pending(until_ms=FAR_MS, limit=100)
        assert {p.call_id for p in due} == set(self.IDS)

    async def test_a_group_may_have_any_name(self, aws: FaultyAws) -> None:
        calls = dynamo_kit.store(aws)
        for group in ("unknown", "a#0", "#", "-"):
            await calls.append([samples.start(f"c-{group}", group=group)])
        await calls.append([samples.received("c-")])
        found = {p.call_id: p.ocp_group for p in await calls.pending(until_ms=FAR_MS, limit=10)}
        assert found == {f"c-{group}": group for group in ("unknown", "a#0", "#", "-", "")}
        assert [p.call_id for p in await calls.pending(until_ms=FAR_MS, limit=9, ocp_group="")] == [
            "c-"
        ]

    async def test_a_call_id_that_no_key_can_hold_is_refused(self, aws: FaultyAws) -> None:
        with pytest.raises(Invalid):
            await dynamo_kit.store(aws).append([samples.start("\U0001f600" * 256)])

    async def test_event_ids_that_no_key_can_hold_are_told_apart(self, aws: FaultyAws) -> None:
        calls = dynamo_kit.store(aws)
        dialog = "\U0001f600" * 255
        given = [samples.cdr("dialog_start", "c1", id=dialog + end) for end in "ab"]
        for _ in range(2):
            assert [a.event for a in await calls.append(given)] == given
        assert len(await calls.journal("c1")) == 2
        for number in range(EVENT_VARIANTS_MAX + 2):
            event = samples.cdr("dialog_start", "c1", id=f"{dialog}a", channel=f"v{number}")
            [answer] = await calls.append([event])
            assert answer.new == (number < EVENT_VARIANTS_MAX)
        assert len(await calls.journal("c1")) == 2 + EVENT_VARIANTS_MAX


class TestSizes:
    async def test_the_largest_event_fits_even_if_nothing_compresses_it(
        self, aws: FaultyAws
    ) -> None:
        calls = dynamo_kit.store(aws)
        event = with_raw(samples.start(), raw(256 * KIB))
        await calls.append([event])
        assert await calls.journal("c1") == [event]

    async def test_an_event_that_no_item_can_hold_is_refused_and_nothing_is_written(
        self, aws: FaultyAws
    ) -> None:
        calls = dynamo_kit.store(aws)
        with pytest.raises(TooLarge):
            await calls.append([with_raw(samples.start(), raw(400 * KIB))])
        assert await calls.load("c1") is None
        assert await calls.call_ids() == []

    async def test_a_long_journal_is_read_whole(self, aws: FaultyAws) -> None:
        """DynamoDB answers a megabyte at a time."""
        calls = dynamo_kit.store(aws)
        given = [
            with_raw(samples.cdr("dialog_step", at_ms=T0 + n, step=n), raw(150 * KIB, n))
            for n in range(10)
        ]
        for event in given:
            await calls.append([event])
        assert await calls.journal("c1") == given


class TestDamage:
    async def test_a_record_that_cannot_be_read_is_read_from_its_journal(
        self, aws: FaultyAws, where: AwsSettings
    ) -> None:
        calls = dynamo_kit.store(aws)
        await calls.append([samples.start()])
        dynamo_kit.spoil(where, "c1", table.SK_RECORD, r={"B": b"\x01nonsense"})
        assert await calls.load("c1") == fold("c1", [samples.start()])
        with pytest.raises(Terminal):
            await calls.page(CallQuery())
        [answer] = await calls.append([samples.end()])
        assert answer.call == fold("c1", [samples.start(), samples.end()])
        assert (await calls.page(CallQuery())).calls == [answer.call]

    @pytest.mark.parametrize(
        ("sk", "attributes"),
        [
            (table.SK_RECORD, {"r": {"B": b"x"}}),
            (table.SK_RECORD, {"o": {"S": "l"}}),
            (table.SK_RECORD, {"pend_pk": {"S": "g1#0"}, "pend_at": {"S": "0000000000000001#c1"}}),
            (table.SK_OPENING, {"u": {"N": "1"}}),
        ],
    )
    async def test_rebuild_puts_right_what_does_not_follow_from_the_journal(
        self, aws: FaultyAws, where: AwsSettings, sk: str, attributes: dict[str, dict[str, object]]
    ) -> None:
        calls = dynamo_kit.store(aws)
        await calls.append(samples.life())
        right, record = self.columns(where, sk), await calls.load("c1")
        dynamo_kit.spoil(where, "c1", sk, **attributes)
        assert await calls.rebuild("c1") is True
        assert (self.columns(where, sk), await calls.load("c1")) == (right, record)
        assert await calls.rebuild("c1") is False

    def columns(self, where: AwsSettings, sk: str) -> Item:
        """The item without the record's bytes, which depend on the order of its fields."""
        held = dynamo_kit.item(where, "c1", sk)
        assert held is not None
        return {name: value for name, value in held.items() if name != table.RECORD}

    @pytest.mark.parametrize("sk", [table.SK_RECORD, table.SK_OPENING])
    async def test_rebuild_makes_what_is_gone(
        self, aws: FaultyAws, where: AwsSettings, sk: str
    ) -> None:
        calls = dynamo_kit.store(aws)
        await calls.append([samples.start()])
        right = self.columns(where, sk)
        dynamo_kit.remove(where, "c1", sk)
        assert await calls.rebuild("c1") is True
        assert self.columns(where, sk) == right

    async def test_rebuild_removes_a_record_without_a_journal(
        self, aws: FaultyAws, where: AwsSettings
    ) -> None:
        calls = dynamo_kit.store(aws)
        await calls.append([samples.start()])
        dynamo_kit.remove(where, "c1", table.event_key(samples.start().event_id))
        assert await calls.rebuild("c1") is True
        assert await calls.load("c1") is None
        assert await calls.call_ids() == []
        assert await calls.rebuild("c1") is False

    @pytest.mark.parametrize("at", ["put_item", "get_item"])
    async def test_rebuild_keeps_what_came_while_it_worked(
        self, where: AwsSettings, other: Aws, at: str
    ) -> None:
        async with MeanwhileAws(where, at) as aws:
            calls, quick = dynamo_kit.store(aws), dynamo_kit.store(other)
            await quick.append([samples.start()])
            dynamo_kit.spoil(where, "c1", table.SK_RECORD, r={"B": b"x"})
            aws.meanwhile.append(lambda: quick.append([samples.end()]))
            await calls.rebuild("c1")
            assert not aws.meanwhile
            assert await calls.load("c1") == fold("c1", [samples.start(), samples.end()])
            assert await calls.rebuild("c1") is False


class TestPolicies:
    NEW: Final = Deriving(CallPolicy(recording_off_groups=("g1",)))

    async def test_a_changed_policy_is_walked_through_once_in_bounded_steps(
        self, aws: FaultyAws, other: Aws
    ) -> None:
        old, new = dynamo_kit.store(aws), dynamo_kit.store(other, self.NEW)
        assert await old.rederive(limit=10) == 0
        ids = [f"c{number}" for number in range(7)]
        for call in ids:
            await old.append([samples.start(call), samples.end(call)])
        await old.append(samples.life("d"))
        before = {p.call_id: p.at_ms for p in await old.pending(until_ms=FAR_MS, limit=10)}
        # A step each by processes of their own: the place is kept in the table.
        steps = [await dynamo_kit.store(other, self.NEW).rederive(limit=3) for _ in range(4)]
        assert steps == [3, 3, 2, 0]
        records = [await new.load(call) for call in ids]
        expected = {r.call_id: derive(r, self.NEW).pend_at for r in records if r}
        after = {p.call_id: p.at_ms for p in await new.pending(until_ms=FAR_MS, limit=10)}
        assert after == {call: at_ms for call, at_ms in expected.items() if at_ms is not None}
        assert after != before

    async def test_a_walk_that_ended_on_a_full_step_ends_with_the_next(
        self, aws: FaultyAws
    ) -> None:
        calls = dynamo_kit.store(aws)
        await calls.append([samples.start("c1")])
        await calls.append([samples.start("c2")])
        assert [await calls.rederive(limit=2) for _ in range(3)] == [2, 0, 0]

    async def test_two_walks_at_once_leave_the_right_columns(
        self, aws: FaultyAws, other: Aws
    ) -> None:
        old = dynamo_kit.store(aws)
        for number in range(6):
            await old.append([samples.start(f"c{number}"), samples.end(f"c{number}")])
        stores = [dynamo_kit.store(aws, self.NEW), dynamo_kit.store(other, self.NEW)]
        for _ in range(5):
            await asyncio.gather(*(s.rederive(limit=2) for s in stores))
        assert await stores[0].rederive(limit=2) == 0
        for number in range(6):
            assert await stores[0].rebuild(f"c{number}") is False

    async def test_a_walk_that_meets_a_write_undoes_no_fact_and_leaves_the_right_columns(
        self, where: AwsSettings, other: Aws
    ) -> None:
        async with MeanwhileAws(where) as aws:
            quick = dynamo_kit.store(other)  # still of the policy before
            await quick.append([samples.start(), samples.end()])
            more = samples.cdr("ivr_end", at_ms=T0 + 9)
            aws.meanwhile.append(lambda: quick.append([more]))
            assert await dynamo_kit.store(aws, self.NEW).rederive(limit=2) == 1
            events = [samples.start(), samples.end(), more]
            assert await quick.load("c1") == fold("c1", events)
            assert await dynamo_kit.store(other, self.NEW).rebuild("c1") is False


class TestListings:
    async def test_calls_that_are_due_at_one_time_are_walked_in_order(self, aws: FaultyAws) -> None:
        """As most are: exports become possible at whole hours."""
        calls = dynamo_kit.store(aws)
        ids = [f"c{number:02}" for number in range(17)]
        for number, call in enumerate(reversed(ids)):
            group = f"g{number % 3}"
            await calls.append([samples.start(call, group=group), samples.end(call, group=group)])
        whole = await calls.pending(until_ms=FAR_MS, limit=100)
        assert len({p.at_ms for p in whole}) == 1
        assert [p.call_id for p in whole] == ids
        walked = await calls.pending(until_ms=FAR_MS, limit=4)
        while more := await calls.pending(until_ms=FAR_MS, limit=4, after=walked[-1]):
            walked += more
        assert walked == whole

    async def test_an_entry_that_has_gone_meanwhile_is_still_a_place_to_go_on_from(
        self, aws: FaultyAws
    ) -> None:
        calls = dynamo_kit.store(aws)
        for number in range(6):
            await calls.append([samples.start(f"c{number}"), samples.end(f"c{number}")])
        first = await calls.pending(until_ms=FAR_MS, limit=2, ocp_group="g1")
        for entry in first:
            await calls.append(samples.life(entry.call_id)[2:])
        rest = await calls.pending(until_ms=FAR_MS, limit=9, ocp_group="g1", after=first[-1])
        assert [p.call_id for p in rest] == ["c2", "c3", "c4", "c5"]

    async def test_calls_that_began_at_one_time_are_paged_in_order(self, aws: FaultyAws) -> None:
        calls = dynamo_kit.store(aws)
        ids = [f"c{number:02}" for number in range(34)]
        for number, call in enumerate(random.Random(1).sample(ids, len(ids))):
            lob = f"lob{number % 2}"  # each with more of them than one read of its index takes
            events = samples.life(call)
            await calls.append([*events[:5], samples.routed(call, lob=lob)])
        for query in (CallQuery(limit=2), CallQuery(limit=4, stage="post_processed")):
            assert await self.walk(calls, query) == ids

    async def test_a_page_that_finds_nothing_within_its_bound_says_where_to_go_on(
        self, aws: FaultyAws, where: AwsSettings
    ) -> None:
        calls = dynamo_kit.store(aws)
        await calls.append([samples.start("c0", group="rare")])
        await calls.append([samples.start("c1", T0 + 200 * DAY_MS)])
        for number in range(1, READS_MAX + 20):  # days on which there were calls once
            day = table.day_of(T0 + number * DAY_MS)
            dynamo_kit.put(where, key("days#", f"{day}#"))
        query = CallQuery(ocp_group="rare")
        aws.faults.clear()
        page = await calls.page(query)
        assert page.calls == []
        assert page.cursor is not None
        assert len(aws.faults.asked) <= 2 * READS_MAX
        rest = await calls.page(msgspec.structs.replace(query, cursor=page.cursor))
        assert [call.call_id for call in rest.calls] == ["c0"]
        assert rest.cursor is None

    async def test_a_call_that_moved_to_its_line_of_business_is_listed_once(
        self, aws: FaultyAws
    ) -> None:
        calls = dynamo_kit.store(aws)
        for event in samples.life():
            await calls.append([event])
            assert await self.walk(calls, CallQuery()) == ["c1"]
        assert await self.walk(calls, CallQuery(lob="sales")) == ["c1"]
        assert await self.walk(calls, CallQuery(lob="")) == []

    async def test_what_a_batch_leaves_out_is_asked_for_again(self, aws: FaultyAws) -> None:
        calls = dynamo_kit.store(aws)
        ids = [f"c{number}" for number in range(4)]
        for call in ids:
            await calls.append([samples.start(call)])
        name = aws.settings.table

        def leave_out(operation: str, answer: dict[str, dict[str, list[object]]]) -> None:
            held = answer.get("Responses", {}).get(name, []) if "batch" in operation else []
            if len(held) > 1:
                keys = [{"pk": item["pk"], "sk": item["sk"]} for item in held[1:]]  # type: ignore[index]  # an answer's items are of any type
                answer["Responses"][name] = held[:1]
                answer["UnprocessedKeys"] = {name: {"Keys": keys, "ConsistentRead": True}}  # type: ignore[dict-item]  # as above

        aws.faults.edit = leave_out
        assert [c.call_id for c in (await calls.page(CallQuery())).calls] == ids
        assert aws.faults.times("batch_get_item") == len(ids)

    async def test_starts_before_any_day_are_listed_last(self, aws: FaultyAws) -> None:
        calls = dynamo_kit.store(aws)
        await calls.append([samples.unknown("c1")])  # of which no start is known
        await calls.append([samples.start("c2", T0 - HOUR_MS)])
        assert await self.walk(calls, CallQuery(limit=1)) == ["c2", "c1"]

    async def walk(self, calls: AwsCallStore, query: CallQuery) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = await calls.page(msgspec.structs.replace(query, cursor=cursor))
            found += [call.call_id for call in page.calls]
            cursor = page.cursor
            if cursor is None:
                return found
