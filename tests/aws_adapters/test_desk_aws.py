"""The desk's ports on DynamoDB: what they ask for, and what happens when others write meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import msgspec
import pytest

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.bulk_book import CALLS_A_LIST, AwsBulkBook
from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.day_counts import DayCounts
from ocp_ingest.adapters.aws.dynamo import key, n
from ocp_ingest.adapters.aws.figures import AwsFigures
from ocp_ingest.adapters.aws.open_work import OpenWork
from ocp_ingest.adapters.aws.remembered import Remembered
from ocp_ingest.adapters.aws.session import Service
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core.counting import TERMS, day_of
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.desk.bulk_runner import TEXT_CHARS_MAX
from ocp_ingest.desk.ports import BULK_FAILED, BulkItem, BulkJob
from tests.audit.stream import SHARD, Recorder
from tests.aws_adapters import dynamo_kit, s3_kit
from tests.contracts import samples
from tests.contracts.samples import T0

DAY: Final = day_of(T0)
# An item's bound, and what a transaction's write of it must stay well below to be cheap.
ITEM_BYTES_MAX: Final = 400 * 1024


class Counted(Recorder):
    """Counts requests by operation; pages of the index `pending` have `page_items` each."""

    page_items = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: Counter[str] = Counter()

    async def call(
        self, service: Service, operation: str, *, again: bool = False, **params: Any
    ) -> dict[str, Any]:
        self.asked[params.get("IndexName", operation)] += 1
        if self.page_items and params.get("IndexName") == table.PENDING:
            params["Limit"] = self.page_items
        return await super().call(service, operation, again=again, **params)


@pytest.fixture
async def aws() -> AsyncIterator[Counted]:
    async with Counted(dynamo_kit.a_table(), s3_kit.session()) as made:
        yield made


class TestFigures:
    async def test_all_who_look_at_once_share_one_read_of_what_is_open(self, aws: Counted) -> None:
        work = OpenWork(aws, remember_s=60)
        calls, figures = AwsCallStore(aws, Deriving(), open_work=work), AwsFigures(aws, work)
        await calls.append([samples.start("c1"), samples.start("c2", T0 + HOUR_MS, group="g2")])
        aws.asked.clear()
        answers = await asyncio.gather(
            figures.open_ages([T0 + 1], None), figures.open_ages([T0 + 1], [""]),
            figures.oldest_open(None), calls.pending_groups(), calls.pending_groups(),
        )  # fmt: skip
        assert answers[0] == answers[1] == [1, 1]
        assert answers[3] == {"g1": 1, "g2": 1}
        # "", g1 and g2 have a partition each.
        assert aws.asked == {table.PENDING: 3, "query": 1}

    async def test_open_calls_of_many_pages_are_all_told(self, aws: Counted) -> None:
        calls, figures = AwsCallStore(aws, Deriving()), AwsFigures(aws, OpenWork(aws))
        for number in range(5):
            await calls.append([samples.start(f"c{number}", T0 + number)])
        await calls.append(samples.life("stored, and open", T0)[::2])
        aws.page_items = 2
        aws.asked.clear()
        assert await figures.open_ages([T0 + 3], None) == [3, 2]
        assert aws.asked[table.PENDING] >= 4
        assert await calls.pending_groups() == {"g1": 6}

    async def test_a_longer_look_is_remembered_longer(self) -> None:
        now_s, reads = [0.0], [0]

        async def read(weight: int) -> int:
            reads[0] += 1
            return weight

        held = Remembered(read, 2.0, weight=float, steady_s=lambda: now_s[0])
        for now_s[0], expected in ((0.0, 1), (1.9, 1), (2.0, 2)):
            await held.get(1)
            assert reads[0] == expected
        reads[0] = 0
        for now_s[0], expected in ((10.0, 1), (15.9, 1), (16.0, 2)):
            await held.get(3)
            assert reads[0] == expected

    async def test_a_failed_read_is_not_remembered(self) -> None:
        answers: Iterator[OSError | int] = iter([OSError("away"), 7])

        async def read(_: None) -> int:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        held = Remembered(read, 60.0)
        with pytest.raises(OSError, match="away"):
            await held.get(None)
        assert await held.get(None) == 7

    async def test_a_counter_of_an_older_program_is_read_as_zero_and_healed(
        self, aws: Counted
    ) -> None:
        calls, counts = AwsCallStore(aws, Deriving()), DayCounts(aws)
        figures = AwsFigures(aws, OpenWork(aws))
        await calls.append([samples.start()])
        aws.take()
        old = key(f"counts##{DAY}", "counts") | {"started": n(1), "rev": n(1)}
        dynamo_kit.put(aws.settings, old)
        [found] = await figures.days(DAY, DAY)
        assert found.terms == {"started": 1}
        await calls.append(samples.life()[1:])
        await counts.count(SHARD, aws.take(), T0)
        before = {f.lob: f.terms for f in await figures.days(DAY, DAY)}
        assert list(before) == ["sales"]  # "" has -1 in flight, which is nobody's figure
        assert await figures.recount(DAY, by="night", now_ms=T0) == 1
        assert {f.lob: f.terms for f in await figures.days(DAY, DAY)} == before
        assert await figures.recount(DAY, by="night", now_ms=T0) == 0

    async def test_a_counter_with_every_term_is_one_unit_of_a_write(self, aws: Counted) -> None:
        item = key(f"counts#a-line-of-business#{DAY}", "counts") | {
            term: n(10**6) for term in TERMS
        }  # fmt: skip
        size = sum(len(name) + len(next(iter(value.values()))) for name, value in item.items())
        assert size < 1024


def job(total: int) -> BulkJob:
    return BulkJob(
        bulk_id="b1", action="retry", by="ana", reason="outage", filter={}, lobs=None,
        made_at_ms=1, total=total,
    )  # fmt: skip


class TestBulk:
    async def test_a_job_of_several_lists_is_worked_off_in_order(self, aws: Counted) -> None:
        total = 2 * CALLS_A_LIST + 5
        book, ids = AwsBulkBook(aws), [f"c{number}" for number in range(total)]
        await book.create(job(total), ids)
        seen = []
        while waiting := await book.waiting("b1", limit=70):
            seen += [item.call_id for item in waiting]
            await book.results("b1", [
                msgspec.structs.replace(i, result=BULK_FAILED if i.position % 100 == 99 else "done")
                for i in waiting
            ])  # fmt: skip
        assert seen == ids
        held = await book.job("b1")
        assert held is not None
        assert (held.done, held.failed) == (total, 2)
        failed = await book.items("b1", failed_only=True)
        assert [item.position for item in failed] == [99, 199]
        [item] = await book.items("b1", after=99, failed_only=True)
        assert item.position == 199

    async def test_what_is_done_is_not_read_to_find_what_waits(self, aws: Counted) -> None:
        total = 3 * CALLS_A_LIST
        book = AwsBulkBook(aws)
        await book.create(job(total), [f"c{number}" for number in range(total)])
        for number in range(2):
            first = await book.waiting("b1", limit=CALLS_A_LIST)
            assert first[0].position == number * CALLS_A_LIST
            await book.results("b1", [msgspec.structs.replace(i, result="done") for i in first])
        aws.asked.clear()
        await book.waiting("b1", limit=5)
        assert aws.asked == {"get_item": 2}  # the job, and the list

    async def test_results_that_meet_are_each_kept(self, aws: Counted) -> None:
        book = AwsBulkBook(aws)
        await book.create(job(8), [f"c{number}" for number in range(8)])
        told = [BulkItem(number, f"c{number}", "done", "", 9) for number in range(8)]
        await asyncio.gather(*(book.results("b1", told[i : i + 3]) for i in range(6)))
        held = await book.job("b1")
        assert held is not None
        assert held.done == 8
        assert await book.items("b1") == told

    async def test_a_full_list_with_the_longest_texts_fits_an_item(self, aws: Counted) -> None:
        ids = [f"{number:03}" + "x" * 125 for number in range(CALLS_A_LIST)]
        results = [
            BulkItem(number, call_id, BULK_FAILED, "ñ" * TEXT_CHARS_MAX, 1 << 50)
            for number, call_id in enumerate(ids)
        ]
        assert len(msgspec.msgpack.encode(results)) < ITEM_BYTES_MAX / 2
        book = AwsBulkBook(aws)
        await book.create(job(len(ids)), ids)
        await book.results("b1", results)
        assert await book.items("b1") == results
