"""Laws of an ExportBook that only DynamoDB and S3 can break: lost answers, races, sizes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ocp_ingest.adapters.aws.export_book import CALLS_INLINE_BYTES_MAX, AwsExportBook
from ocp_ingest.adapters.aws.notes import NOTE_BYTES_MAX, NOTE_ITEM_BYTES_MAX
from ocp_ingest.adapters.aws.session import AGAIN_TRIES, Answered, Aws
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.core.errors import Conflict, Damaged, TooLarge, Transient
from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.export_job import ExportJob, State
from ocp_ingest.reconcile.book import Lease
from tests.aws.clients import client
from tests.aws_adapters import stand_in
from tests.aws_adapters.s3_kit import Faults, FaultyAws

TTL: Final = 1_000
# DynamoDB's bound of an item.
ITEM_BYTES_MAX: Final = 400 * 1000
WORKERS: Final = 8
MANY: Final = tuple(f"{n:08x}-4f2b-4c1d-9e77-{n * 7919:012x}" for n in range(30_000))


@pytest.fixture(scope="module")
def where() -> AwsSettings:
    return stand_in.deployment()


@pytest.fixture
async def aws(where: AwsSettings) -> AsyncIterator[FaultyAws]:
    async with FaultyAws(where) as made:
        yield made


@pytest.fixture
def book(aws: FaultyAws) -> AwsExportBook:
    return AwsExportBook(aws)


def a_job(key: str, group: str, **fields: object) -> ExportJob:
    plain = ExportJob(
        job_key=key, ocp_group=group, from_ms=0, to_ms=3_600_000, attempt=1, planned_at=1,
        ready_from=0, alpha_s=120.0, beta_s=30.0,
    )  # fmt: skip
    return replace(plain, **fields)


async def taken(book: AwsExportBook, group: str, owner: str = "a", now_ms: int = 0) -> Lease:
    lease = await book.lease(group, owner, now_ms=now_ms, ttl_ms=TTL)
    assert lease is not None
    return lease


def items(where: AwsSettings) -> list[dict[str, Any]]:
    """The whole table, as it is."""
    found: list[dict[str, Any]] = []
    pages = client("dynamodb", where.endpoints["dynamodb"]).get_paginator("scan")
    for page in pages.paginate(TableName=where.table):
        found += page["Items"]
    return found


def size_of(item: dict[str, Any]) -> int:
    """Bytes of an item of strings, numbers and binaries."""
    return sum(len(name) + len(str(*kind.values())) if "B" not in kind else len(kind["B"])
               for name, kind in item.items())  # fmt: skip


# ------------------------------------------------------------------------------- lost answers

NOISE: Final = os.urandom(NOTE_ITEM_BYTES_MAX + 1)
Step = Callable[[AwsExportBook, str], Awaitable[object]]


async def patient(book: AwsExportBook, step: Step, group: str) -> object:
    """What a runner does about a Transient: the same thing again."""
    for _ in range(3):
        try:
            return await step(book, group)
        except Transient:
            continue
    raise AssertionError("it never came through")


async def story(book: AwsExportBook, group: str) -> list[object]:
    """Everything that a job's runner writes, and what it then reads."""
    lease = Lease(ocp_group=group, owner="a", fence=1, until_ms=TTL)
    busy, free = GroupState(ocp_group=group, busy_since=5), GroupState(ocp_group=group)
    large = a_job(f"{group}-1", group, call_ids=MANY[:300])
    small = a_job(f"{group}-2", group, planned_at=2, state=State.ENDED)
    steps: list[Step] = [
        lambda b, g: b.lease(g, "a", now_ms=0, ttl_ms=TTL),
        lambda b, g: b.keep(lease, group=busy, job=large),
        lambda b, g: b.keep(lease, group=free, job=replace(large, polls=1)),
        lambda b, g: b.lease(g, "a", now_ms=1, ttl_ms=TTL),
        lambda b, g: b.keep(lease, job=small),
        lambda b, g: b.settle(lease, small.job_key),
        lambda b, g: b.put_note(f"note:{g}", NOISE),
        lambda b, g: b.give_up(lease),
        lambda b, g: b.lease(g, "b", now_ms=2, ttl_ms=TTL),
        lambda b, g: b.group(g),
        lambda b, g: b.job(large.job_key),
        lambda b, g: b.jobs(ocp_group=g),
        lambda b, g: b.jobs(ocp_group=g, open_only=True),
        lambda b, g: b.note(f"note:{g}"),
    ]
    seen = [await patient(book, step, group) for step in steps]
    note = seen.pop()
    assert isinstance(note, bytes)
    return [*seen, len(note)]


def told(seen: list[object], group: str) -> list[str]:
    return [str(one).replace(group, "G") for one in seen]


WRITES: Final = frozenset({"put_item", "update_item", "transact_write_items", "put_object"})


async def test_an_answer_lost_at_any_write_changes_nothing(where: AwsSettings) -> None:
    async def run(aws: FaultyAws, group: str) -> list[str]:
        return told(await story(AwsExportBook(aws), group), group)

    plain = Faults()
    async with FaultyAws(where, plain) as aws:
        expected = await run(aws, "plain")
    writes = [n for n, operation in enumerate(plain.asked) if operation in WRITES]
    assert len(writes) > 12
    # Waited out below, told to the runner, and told although nothing was written.
    kinds = [("after", 1), ("after", AGAIN_TRIES), ("before", AGAIN_TRIES)]
    cases = [(kind, times, number) for kind, times in kinds for number in writes]

    async def some(first: int) -> None:
        async with FaultyAws(where) as aws:
            for kind, times, number in cases[first::WORKERS]:
                lost = set(range(number, number + times))
                aws.faults.asked.clear()
                aws.faults.before = lost if kind == "before" else set()
                aws.faults.after = lost if kind == "after" else set()
                seen = await run(aws, f"{kind}-{times}-{number}")
                assert seen == expected, (kind, times, plain.asked[number], number)

    await asyncio.gather(*(some(first) for first in range(WORKERS)))


async def test_a_write_that_is_repeated_after_the_lease_was_lost_writes_nothing(
    book: AwsExportBook, aws: FaultyAws, where: AwsSettings
) -> None:
    lease = await taken(book, "zombie")
    await book.keep(lease, job=a_job("z", "zombie"))
    aws.faults.always.add("transact_write_items")
    with pytest.raises(Transient):
        await book.keep(lease, job=a_job("z", "zombie", polls=1))
    aws.faults.always.clear()
    async with Aws(where, aws._session) as other:
        await taken(AwsExportBook(other), "zombie", "b", now_ms=TTL)
    with pytest.raises(Conflict):
        await book.keep(lease, job=a_job("z", "zombie", polls=1))
    assert await book.job("z") == a_job("z", "zombie")


# -------------------------------------------------------------------------------------- races


async def test_of_runners_of_many_processes_exactly_one_wins_each_fence(
    where: AwsSettings, aws: FaultyAws
) -> None:
    fences: list[int] = []
    others = [FaultyAws(where) for _ in range(4)]
    books = [AwsExportBook(other) for other in others]
    for turn in range(5):
        now_ms = turn * TTL
        tries = [
            book.lease("race", f"{turn}-{n}-{m}", now_ms=now_ms, ttl_ms=TTL)
            for n, book in enumerate(books)
            for m in range(3)
        ]
        [won] = [lease for lease in await asyncio.gather(*tries) if lease is not None]
        fences.append(won.fence)
    assert fences == [1, 2, 3, 4, 5]
    for other in others:
        await other.close()


class Interrupted(FaultyAws):
    """Something else happens just before the lease is renewed."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def call(self, service: Any, operation: str, **params: Any) -> dict[str, Any]:
        renews = params.get("UpdateExpression") == "SET until_ms = :until"
        if renews and self.meanwhile is not None:
            await self.meanwhile()
        return await super().call(service, operation, **params)


async def test_a_lease_that_is_lost_between_two_looks_is_not_renewed(
    book: AwsExportBook, where: AwsSettings
) -> None:
    async with Interrupted(where) as aws:
        slow = AwsExportBook(aws)
        await taken(slow, "looks")
        aws.meanwhile = lambda: taken(book, "looks", "b", now_ms=TTL)
        assert await slow.lease("looks", "a", now_ms=TTL - 1, ttl_ms=TTL) is None
    assert (await taken(book, "looks", "b", now_ms=TTL)).fence == 2


async def test_jobs_kept_at_once_are_all_kept_and_open(book: AwsExportBook) -> None:
    lease = await taken(book, "crowd")
    jobs = [a_job(f"c-{n}", "crowd", planned_at=n // 3) for n in range(12)]
    await asyncio.gather(*(book.keep(lease, job=job) for job in jobs))
    newest = sorted(jobs, key=lambda job: (job.planned_at, job.job_key), reverse=True)
    assert await book.jobs(ocp_group="crowd", open_only=True) == newest
    assert await book.jobs(ocp_group="crowd", limit=5) == newest[:5]
    assert await book.jobs(ocp_group="crowd", open_only=True, limit=5) == newest[:5]


class Contended(Aws):
    """Transactions of others that come first, so many times."""

    def __init__(self, where: AwsSettings, times: int, code: str = "TransactionConflict") -> None:
        super().__init__(where, FaultyAws(where)._session)
        self.left = times
        self._code = code

    async def call(self, service: Any, operation: str, **params: Any) -> dict[str, Any]:
        if operation == "transact_write_items" and self.left > 0:
            self.left -= 1
            reasons = [{"Code": "None"} for _ in params["TransactItems"]]
            reasons[0] = {"Code": self._code}
            said = {"CancellationReasons": reasons}
            raise Answered("TransactionCanceledException", 400, "of the test", said)
        return await super().call(service, operation, **params)


class TestContention:
    async def test_a_write_waits_for_those_that_come_first(self, where: AwsSettings) -> None:
        async with Contended(where, times=3) as aws:
            book = AwsExportBook(aws)
            await book.keep(await taken(book, "calm"), job=a_job("calm-1", "calm"))
            assert await book.job("calm-1")

    async def test_but_not_for_ever(self, where: AwsSettings) -> None:
        async with Contended(where, times=1_000) as aws:
            book = AwsExportBook(aws)
            with pytest.raises(Transient):
                await book.keep(await taken(book, "storm"), job=a_job("storm-1", "storm"))
            assert aws.left > 900
            assert await book.job("storm-1") is None

    async def test_a_reason_that_nobody_knows_is_no_reason_to_wait(
        self, where: AwsSettings
    ) -> None:
        async with Contended(where, times=1, code="ValidationError") as aws:
            book = AwsExportBook(aws)
            with pytest.raises(Answered):
                await book.keep(await taken(book, "odd"), job=a_job("odd-1", "odd"))


async def test_what_was_written_before_is_written_again(book: AwsExportBook) -> None:
    """A token made of the content would have DynamoDB take the third write for the first."""
    lease = await taken(book, "aba")
    for since in (1, 2, 1):
        await book.keep(lease, group=GroupState(ocp_group="aba", busy_since=since))
    assert (await book.group("aba")).busy_since == 1


# -------------------------------------------------------------------------------------- sizes


async def test_a_job_of_30_000_calls_comes_back_whole_and_its_list_is_written_once(
    book: AwsExportBook, aws: FaultyAws, where: AwsSettings
) -> None:
    lease = await taken(book, "large")
    job = a_job("l", "large", call_ids=MANY)
    for polls in range(5):
        job = replace(job, polls=polls, state=State.RUNNING if polls else State.PLANNED)
        await book.keep(lease, job=job)
        assert await book.job("l") == job
    assert aws.faults.times("put_object") == 1
    assert await book.jobs(ocp_group="large", open_only=True) == [job]
    assert max(size_of(item) for item in items(where)) < ITEM_BYTES_MAX


@pytest.mark.parametrize("state", [State.PLANNED, State.RUNNING, State.ENDED])
async def test_a_list_is_kept_whatever_state_its_job_is_first_written_in(
    book: AwsExportBook, state: State
) -> None:
    group = f"first-{state}"
    job = a_job(f"f-{state}", group, call_ids=MANY[:500], state=state)
    await book.keep(await taken(book, group), job=job)
    assert await book.job(job.job_key) == job


async def test_a_list_that_changed_is_kept_anew(book: AwsExportBook) -> None:
    lease = await taken(book, "change")
    for calls in (MANY[:500], MANY[:400], (), MANY[:500]):
        job = a_job("ch", "change", call_ids=calls, state=State.RUNNING)
        await book.keep(lease, job=job)
        assert await book.job("ch") == job


async def test_the_items_that_a_job_is_written_with_stay_small(
    book: AwsExportBook, where: AwsSettings
) -> None:
    """Each of the job's forty writes costs by them."""
    lease = await taken(book, "small")
    await book.keep(lease, job=a_job("s", "small", call_ids=MANY[:10_000]))
    [item] = [item for item in items(where) if item["pk"]["S"] == "j#s"]
    assert size_of(item) < CALLS_INLINE_BYTES_MAX + 1_000


@pytest.mark.parametrize("size", [0, NOTE_ITEM_BYTES_MAX - 500, NOTE_ITEM_BYTES_MAX, 1_000_000])
async def test_a_note_of_any_size_comes_back(
    book: AwsExportBook, where: AwsSettings, size: int
) -> None:
    body = os.urandom(size)
    await book.put_note("any", body)
    assert await book.note("any") == body
    await book.put_note("any", b"short")
    assert await book.note("any") == b"short"
    await book.put_note("any", body * 3)
    assert await book.note("any") == body * 3
    assert max(size_of(item) for item in items(where)) < ITEM_BYTES_MAX


async def test_a_note_beyond_its_bound_is_refused(book: AwsExportBook) -> None:
    with pytest.raises(TooLarge):
        await book.put_note("huge", bytes(NOTE_BYTES_MAX + 1))
    assert await book.note("huge") is None


class Paged(Aws):
    """Queries that answer two items at a time, as a megabyte of them would be."""

    async def call(self, service: Any, operation: str, **params: Any) -> dict[str, Any]:
        if operation == "query":
            params["Limit"] = min(2, params.get("Limit", 2))
        return await super().call(service, operation, **params)


async def test_lists_that_come_in_pages_are_whole(where: AwsSettings, aws: FaultyAws) -> None:
    async with Paged(where, aws._session) as paged:
        book = AwsExportBook(paged)
        lease = await taken(book, "pages")
        jobs = [a_job(f"p-{n}", "pages", planned_at=n) for n in range(7)]
        for job in jobs:
            await book.keep(lease, group=GroupState(ocp_group="pages"), job=job)
        assert await book.jobs(ocp_group="pages") == jobs[::-1]
        assert await book.jobs(ocp_group="pages", limit=3) == jobs[:3:-1]
        assert await book.jobs(ocp_group="pages", open_only=True) == jobs[::-1]
        assert GroupState(ocp_group="pages") in await book.groups()


# ----------------------------------------------------------------------------- bytes that rot


def objects(where: AwsSettings) -> tuple[Any, str, list[str]]:
    s3, bucket = client("s3", where.endpoints["s3"]), f"{where.bucket_prefix}state"
    found = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return s3, bucket, [one["Key"] for one in found]


class TestRot:
    async def test_a_note_that_is_not_what_was_written_is_damaged(
        self, book: AwsExportBook, where: AwsSettings
    ) -> None:
        before = set(objects(where)[2])
        await book.put_note("rot", os.urandom(1_000_000))
        s3, bucket, keys = objects(where)
        [name] = set(keys) - before
        s3.put_object(Bucket=bucket, Key=name, Body=b"rot")
        with pytest.raises(Damaged):
            await book.note("rot")
        s3.delete_object(Bucket=bucket, Key=name)
        with pytest.raises(Damaged):
            await book.note("rot")

    async def test_an_open_job_never_comes_without_its_calls(
        self, book: AwsExportBook, where: AwsSettings
    ) -> None:
        """Without them their answers would be forgotten; of an old one they are history."""
        lease = await taken(book, "expired")
        before = set(objects(where)[2])
        job = a_job("e", "expired", call_ids=MANY[::-1])
        await book.keep(lease, job=job)
        s3, bucket, keys = objects(where)
        [name] = set(keys) - before
        s3.delete_object(Bucket=bucket, Key=name)
        with pytest.raises(Damaged):
            await book.job("e")
        await book.keep(lease, job=replace(job, state=State.ENDED))
        assert await book.job("e") == replace(job, state=State.ENDED, call_ids=())
