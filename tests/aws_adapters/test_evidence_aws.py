"""Laws of Evidence and Incidents that only DynamoDB can break: lost answers, crashes, races."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from ocp_ingest.adapters.aws.evidence import AwsEvidence
from ocp_ingest.adapters.aws.incidents import AwsIncidents
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.rejects import DROPPED
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.incidents import Incident
from tests.aws_adapters import dynamo_kit, s3_kit
from tests.aws_adapters.dynamo_kit import MeanwhileAws
from tests.aws_adapters.s3_kit import FaultyAws

ITEMS_MAX: Final = 3
# More requests than one of these ever makes.
REQUESTS_MAX: Final = 12


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


def incident(key: str, at_ms: int = 1, *calls: str) -> Incident:
    return Incident(
        key=key, kind="unassigned", text="It broke.", opened_at_ms=at_ms, calls=len(calls),
        sample=calls,
    )  # fmt: skip


class TestEvidence:
    async def test_inputs_stay_bounded_and_the_newest_whatever_is_lost(
        self, aws: FaultyAws, other: Aws
    ) -> None:
        evidence = AwsEvidence(aws, ITEMS_MAX)
        for number in range(REQUESTS_MAX):
            aws.faults.clear()
            aws.faults.after.add(number)
            try:
                await evidence.keep("event", "lost", b"", number)
            except Transient:
                await evidence.keep("event", "kept again", b"", number)
        aws.faults.clear()
        await evidence.keep("event", "last", b"", REQUESTS_MAX)
        kept = await AwsEvidence(other, ITEMS_MAX).kept()
        # A number whose answer was lost has no input, so fewer may be left than there may be.
        assert 0 < len(kept) <= ITEMS_MAX
        assert kept[0].reason == "last"
        times = [k.at_ms for k in kept]
        assert times == sorted(times, reverse=True)

    async def test_a_smaller_bound_is_reached_step_by_step(self, aws: FaultyAws) -> None:
        for number in range(12):
            await AwsEvidence(aws, 100).keep("event", "", b"", number)
        for number in range(12, 15):
            await AwsEvidence(aws, 2).keep("event", "", b"", number)
        evidence = AwsEvidence(aws, 2)
        assert [k.at_ms for k in await evidence.kept()] == [14, 13]
        assert await evidence.counted() == {DROPPED: 13}

    async def test_counters_of_any_name_are_told_apart(self, aws: FaultyAws) -> None:
        evidence = AwsEvidence(aws, ITEMS_MAX)
        long = "n" * 1_500
        names = {"": 1, "a": 2, f"{long}a": 3, f"{long}b": 4, "a#": 5, "\U0001f600" * 300: 6}
        await evidence.count(names)
        assert await evidence.counted() == dict(sorted(names.items()))
        assert await evidence.counted(long) == {f"{long}a": 3, f"{long}b": 4}


class TestIncidents:
    async def test_an_opening_that_failed_at_any_request_and_is_done_again_is_one(
        self, aws: FaultyAws, other: Aws
    ) -> None:
        incidents = AwsIncidents(aws)
        for number in range(REQUESTS_MAX):
            aws.faults.clear()
            aws.faults.after.add(number)
            try:
                await incidents.open(incident(f"k{number}", 1, "c1"))
            except Transient:
                await AwsIncidents(other).open(incident(f"k{number}", 1, "c1"))
        held = await AwsIncidents(other).incidents()
        assert {i.key: i.calls for i in held} == {f"k{n}": 1 for n in range(REQUESTS_MAX)}

    async def test_a_closing_that_failed_at_any_request_and_is_done_again_closed_it_once(
        self, aws: FaultyAws, other: Aws
    ) -> None:
        for number in range(REQUESTS_MAX):
            await AwsIncidents(other).open(incident(f"k{number}", number))
            aws.faults.clear()
            aws.faults.after.add(number)
            try:
                await AwsIncidents(aws).close(f"k{number}", 99, "It was mended.")
            except Transient:
                await AwsIncidents(other).close(f"k{number}", 100, "It was mended again.")
        assert await AwsIncidents(other).incidents() == []
        closed = await AwsIncidents(other).incidents(open_only=False)
        assert [i.key for i in closed] == [f"k{n}" for n in reversed(range(REQUESTS_MAX))]
        assert all(i.closed_at_ms for i in closed)

    async def test_processes_that_open_add_and_close_at_once_lose_no_call(
        self, aws: FaultyAws, other: Aws
    ) -> None:
        ports = [AwsIncidents(aws, chance=lambda: 0.5), AwsIncidents(other, chance=lambda: 0.9)]
        calls = [f"c{number}" for number in range(12)]
        await asyncio.gather(
            *(ports[n % 2].open(incident("k", n, call)) for n, call in enumerate(calls)),
            ports[1].close("k", 50, "It was mended."),
        )
        held = await ports[0].incidents(open_only=False)
        assert sum(i.calls for i in held) == len(calls)
        assert sum(i.closed_at_ms is None for i in held) <= 1

    async def test_a_closing_takes_along_what_was_added_right_before_it(
        self, where: AwsSettings, other: Aws
    ) -> None:
        async with MeanwhileAws(where, "transact_write_items", sk=None) as aws:
            quick = AwsIncidents(other)
            await quick.open(incident("k", 1, "c1"))
            aws.meanwhile.append(lambda: quick.open(incident("k", 2, "c2")))
            assert await AwsIncidents(aws).close("k", 9, "It was mended.")
        [held] = await quick.incidents(open_only=False)
        assert (held.calls, held.closed_at_ms) == (2, 9)

    async def test_the_newest_closed_ones_are_listed_up_to_the_limit(self, aws: FaultyAws) -> None:
        incidents = AwsIncidents(aws)
        for number in range(8):
            await incidents.open(incident(f"k{number}", number))
            if number % 2:
                await incidents.close(f"k{number}", 50, "")
        held = await incidents.incidents(open_only=False, limit=5)
        assert [i.key for i in held] == ["k7", "k6", "k5", "k4", "k3"]
