"""Counters per line of business and day: once per transition, whatever comes again; recounted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, Final

import msgspec
import pytest

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.archive import lane_of
from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.count_rules import Delta, chunk, deltas
from ocp_ingest.adapters.aws.day_counts import DayCounts, read_counts
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core import events
from ocp_ingest.core.counting import TERMS
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.events import Event
from tests.audit.stream import FIRST_SEQ, Record, Recorder, batch
from tests.contracts import samples

DAY: Final = table.day_of(samples.T0)
# The terms of the law; what else is counted, core.counting's own tests say.
LAW: Final = TERMS[:8]
NOW: Final = samples.T0 + samples.HOUR_MS


class Site:
    """A deployment's table and its counters."""

    def __init__(self, aws: Recorder) -> None:
        self.aws = aws
        self.calls = AwsCallStore(aws, Deriving())
        self.counts = DayCounts(aws)

    async def append(self, given: list[Event]) -> None:
        """One event after the other, so that every transition is a change of its own."""
        for event in given:
            await self.calls.append([event])

    async def count(self, records: list[Record], **more: str) -> int:
        """One batch of the stream."""
        event = batch(records, **more)
        return await self.counts.count(lane_of(event, records), records, NOW)

    async def say(self, lob: str, day: str = DAY) -> dict[str, int]:
        """The counters of the law that are not zero."""
        said = (await read_counts(self.aws, [lob], [day]))[lob, day]
        assert tuple(said) == TERMS
        return {term: said[term] for term in LAW if said[term]}


@pytest.fixture
def site(aws: Recorder) -> Site:
    return Site(aws)


def received_by_export(call: str) -> Event:
    return msgspec.structs.replace(samples.received(call), source="export")


async def test_a_streamed_call_counts_once_where_its_line_of_business_is(site: Site) -> None:
    await site.append(samples.life("c1"))
    records = site.aws.take()
    assert await site.count(records) > 0
    assert await site.say("") == {}
    assert await site.say("sales") == {"started": 1, "stored": 1, "streamed": 1}


async def test_until_its_line_of_business_is_known_a_call_counts_under_none(site: Site) -> None:
    await site.append([samples.start("c1"), samples.end("c1")])
    await site.count(site.aws.take())
    assert await site.say("") == {"started": 1, "in_flight": 1}
    await site.append([samples.received("c1"), samples.routed("c1", lob="care")])
    await site.count(site.aws.take())
    assert await site.say("") == {}
    assert await site.say("care") == {"started": 1, "in_flight": 1}


async def test_every_end_counts_under_its_name(site: Site) -> None:
    await site.append([samples.start("streamed"), *samples.life("streamed")])
    given = samples.life("recovered")
    given[2] = received_by_export("recovered")
    await site.append(given)
    for outcome in ("absent", "quarantined", "lost"):
        await site.append([samples.start(outcome), samples.end(outcome)])
        closing = events.closed(outcome, outcome, epoch=0, at_ms=NOW, reason="So.")
        await site.append([closing])
    # Nothing but what we say ourselves speaks of this one: it never started.
    await site.append([samples.unknown("only-heard-of"), samples.lost("only-heard-of")])
    await site.count(site.aws.take())
    assert await site.say("sales") == {"started": 2, "stored": 2, "streamed": 1, "recovered": 1}
    assert await site.say("") == {"started": 3, "absent": 1, "quarantined": 1, "lost": 1}
    assert await site.say("", table.day_of(0)) == {}  # nothing says when it might have been


async def test_a_call_that_is_reopened_leaves_its_counter(site: Site) -> None:
    await site.append([samples.start("c1"), samples.end("c1"), samples.lost("c1")])
    await site.count(site.aws.take())
    assert await site.say("") == {"started": 1, "lost": 1}
    await site.append([samples.reopened("c1")])
    await site.count(site.aws.take())
    assert await site.say("") == {"started": 1, "in_flight": 1}


async def test_a_call_whose_start_turns_out_to_be_the_day_before_moves(site: Site) -> None:
    tomorrow = samples.T0 + 24 * samples.HOUR_MS
    await site.append([samples.start("c1", at_ms=tomorrow)])
    await site.count(site.aws.take())
    assert await site.say("", table.day_of(tomorrow)) == {"started": 1, "in_flight": 1}
    await site.append([samples.start("c1", at_ms=samples.T0, channel="voice")])
    await site.count(site.aws.take())
    assert await site.say("", table.day_of(tomorrow)) == {}
    assert await site.say("") == {"started": 1, "in_flight": 1}


# -- repeats -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_batches_that_come_again_cut_otherwise_count_once(site: Site, seed: int) -> None:
    """Lambda starts again anywhere before the last record that it knows to be done."""
    chance = random.Random(seed)
    for number in range(4):
        await site.append(samples.life(f"c{number}"))
    records, done, rounds = site.aws.take(), 0, 0
    while done < len(records):
        first = chance.randint(max(0, done - 6), done)
        last = chance.randint(first + 1, min(len(records), first + 12))
        await site.count(records[first:last])
        done, rounds = max(done, last), rounds + 1
    assert rounds > 3
    assert await site.say("sales") == {"started": 4, "stored": 4, "streamed": 4}


async def test_the_whole_stream_again_counts_nothing(site: Site) -> None:
    await site.append(samples.life())
    records = site.aws.take()
    assert [await site.count(records) > 0 for _ in range(3)] == [True, False, False]
    assert await site.say("sales") == {"started": 1, "stored": 1, "streamed": 1}


async def test_sequence_numbers_compare_as_numbers(site: Site) -> None:
    """The first has 22 digits and is more as a text than the second, which has 23."""
    await site.append(samples.life())
    told = [r for r in site.aws.take() if deltas([r])[0]]
    started = told[0]
    moved = next(r for r in told if ("sales", DAY) in deltas([r])[0][0].by)
    low, high = "9" * 22, "1" + "0" * 22
    assert int(low) < int(high)
    assert low > high
    for record, seq in ((started, low), (moved, high)):
        record["dynamodb"]["SequenceNumber"] = seq
        assert await site.count([record]) == 1
    assert await site.say("") == {}
    assert await site.say("sales") == {"started": 1, "in_flight": 1}
    assert len(str(FIRST_SEQ)) == 22  # so the other tests cross the border too


@pytest.mark.parametrize("before", [False, True], ids=["a new lane", "a known lane"])
async def test_two_invocations_with_the_same_batch_count_it_once(site: Site, before: bool) -> None:
    """The first was taken for dead, and goes on."""
    if before:
        await site.append([samples.start("before")])
        await site.count(site.aws.take())
    for number in range(3):
        await site.append(samples.life(f"c{number}"))
    records = site.aws.take()
    counted = await asyncio.gather(*(site.count(records) for _ in range(3)))
    assert sorted(counted)[:2] == [0, 0]
    assert await site.say("sales") == {"started": 3, "stored": 3, "streamed": 3}


async def test_shards_count_beside_each_other(site: Site) -> None:
    """Numbers of different shards say nothing of each other."""
    await site.append(samples.life("c1"))
    one = site.aws.take()
    await site.append(samples.life("c2"))
    two = site.aws.take()
    await site.count(two, shard="shard-2")
    await site.count(one, shard="shard-1")
    assert await site.say("sales") == {"started": 2, "stored": 2, "streamed": 2}


async def test_without_a_shard_a_batch_that_comes_again_as_it_was_counts_once(site: Site) -> None:
    await site.append(samples.life("c1"))
    one = site.aws.take()
    await site.append(samples.life("c2"))
    two = site.aws.take()
    for records in (one, one, two, one, two):
        await site.count(records, shard="")
    assert await site.say("sales") == {"started": 2, "stored": 2, "streamed": 2}


async def test_what_counts_for_nothing_writes_nothing(site: Site) -> None:
    """The counters' own changes come by the same stream."""
    await site.append(samples.life())
    await site.count(site.aws.take())
    own = site.aws.take()
    assert own
    assert await site.count(own) == 0
    assert site.aws.take() == []


async def test_an_unreadable_record_stops_nobody(site: Site) -> None:
    await site.append(samples.life("c1"))
    broken = site.aws.take()
    for record in broken:
        if record["dynamodb"]["Keys"]["sk"]["S"] == "call":
            record["dynamodb"]["NewImage"]["r"] = {"B": "/w=="}
    await site.append(samples.life("c2"))
    await site.count([*broken, *site.aws.take()])
    assert await site.say("sales") == {"started": 1, "stored": 1, "streamed": 1}


async def test_more_counters_than_one_transaction_takes_are_all_written(site: Site) -> None:
    days = [samples.T0 + number * 24 * samples.HOUR_MS for number in range(120)]
    for number, at_ms in enumerate(days):
        await site.append([samples.start(f"c{number}", at_ms=at_ms)])
    records = site.aws.take()
    assert await site.count(records) == 120
    assert await site.count(records) == 0
    said = await read_counts(site.aws, ["", "sales"], [table.day_of(at_ms) for at_ms in days])
    assert len(said) == 240
    assert Counter(terms["started"] for terms in said.values()) == {1: 120, 0: 120}


def test_a_chunk_takes_no_more_places_than_it_may_and_adds_up_what_one_place_gets() -> None:
    by = [{("a", DAY): {"started": 1}}, {("a", DAY): {"started": 1}}, {("b", DAY): {"lost": 1}},
          {("a", DAY): {"started": -2}}, {("c", DAY): {"lost": 1}}]  # fmt: skip
    left = [Delta(seq, places) for seq, places in enumerate(by)]
    taken, sums = chunk(left, 2)
    assert taken == left[:4]
    assert sums == {("b", DAY): {"lost": 1}}
    assert chunk(left[4:], 2) == ([left[4]], {("c", DAY): {"lost": 1}})


# -- recount -------------------------------------------------------------------------------------


async def test_a_recount_puts_right_what_the_stream_never_told(site: Site) -> None:
    for number in range(3):
        await site.append(samples.life(f"c{number}"))
    await site.append([samples.start("open")])
    site.aws.take()
    assert await site.counts.recount(DAY, by="ana", now_ms=NOW) == {"counters": 2, "changed": 2}
    assert await site.say("sales") == {"started": 3, "stored": 3, "streamed": 3}
    assert await site.say("") == {"started": 1, "in_flight": 1}
    item = (await _counter(site, "sales"))["Item"]
    assert (item["recounted_by"], item["recounted_at_ms"]) == ({"S": "ana"}, {"N": str(NOW)})
    assert await site.counts.recount(DAY, by="ana", now_ms=NOW) == {"counters": 2, "changed": 0}


async def test_a_recount_clears_the_counter_of_a_line_of_business_that_calls_have_left(
    site: Site,
) -> None:
    await site.append([samples.start("c1")])
    await site.count(site.aws.take())
    await site.append(samples.life("c1")[1:])
    site.aws.take()  # the stream forgot that the call moved
    await site.counts.recount(DAY, by="night", now_ms=NOW)
    assert await site.say("") == {}
    assert await site.say("sales") == {"started": 1, "stored": 1, "streamed": 1}


async def test_after_a_recount_the_stream_goes_on_counting(site: Site) -> None:
    await site.append(samples.life("c1"))
    await site.count(site.aws.take())
    assert await site.counts.recount(DAY, by="night", now_ms=NOW) == {"counters": 2, "changed": 0}
    await site.append(samples.life("c2"))
    await site.count(site.aws.take())
    assert await site.say("sales") == {"started": 2, "stored": 2, "streamed": 2}


async def test_a_recount_never_overwrites_what_changed_meanwhile(site: Site) -> None:
    """Between its reading of the counter and its write, the stream counts another call."""
    await site.append(samples.life("c0"))
    await site.count(site.aws.take())
    await site.append(samples.life("c1"))
    site.aws.take()  # forgotten: what the recount is for
    await site.append(samples.life("c2"))
    late = site.aws.take()

    class Interrupted(DayCounts):
        rounds = 0

        async def _counted(self, place: Any) -> dict[str, int]:
            if place == ("sales", DAY):
                self.rounds += 1
                if self.rounds == 1:
                    await site.count(late)
            return await super()._counted(place)

    counts = Interrupted(site.aws)
    await counts.recount(DAY, by="night", now_ms=NOW)
    assert counts.rounds == 2
    assert await site.say("sales") == {"started": 3, "stored": 3, "streamed": 3}


@pytest.mark.parametrize("day", ["", "2026-11-22", "20261322", "yesterday"])
async def test_a_day_that_is_none_is_refused(site: Site, day: str) -> None:
    with pytest.raises(Invalid):
        await site.counts.recount(day, by="ana", now_ms=NOW)


async def _counter(site: Site, lob: str) -> dict[str, Any]:
    return await site.aws.call(
        "dynamodb", "get_item", TableName=site.aws.settings.table,
        Key={"pk": {"S": f"counts#{lob}#{DAY}"}, "sk": {"S": "counts"}},
    )  # fmt: skip
