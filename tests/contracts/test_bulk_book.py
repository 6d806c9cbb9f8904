"""BulkBook: a frozen list, one result for each, counted once; a job goes its way once."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from ocp_ingest.desk.ports import BulkItem, BulkJob
from tests.contracts.runtimes import DeskRuntime

CALLS = tuple(f"c{number:02}" for number in range(7))


def job(name: str = "b1", **more: Any) -> BulkJob:
    """A draft."""
    fields: dict[str, Any] = {"made_at_ms": 10, "total": len(CALLS), "by": "ana"}
    fields |= {"lobs": ("sales",), **more}
    return BulkJob(
        bulk_id=name, action="retry", reason="outage", filter={"outcome": "lost"}, **fields
    )


def done(position: int, result: str = "done", text: str = "") -> BulkItem:
    """A result."""
    return BulkItem(position, CALLS[position], result, text, 50)


class TestJobs:
    async def test_a_job_is_created_once_and_the_first_stands(self, desk: DeskRuntime) -> None:
        assert await desk.bulk.create(job(), CALLS) is True
        assert await desk.bulk.create(job(by="eve"), CALLS[:1]) is False
        assert await desk.bulk.job("b1") == job()
        assert len(await desk.bulk.items("b1")) == len(CALLS)

    async def test_of_many_who_create_it_at_once_one_did(self, desk: DeskRuntime) -> None:
        answers = await asyncio.gather(*(desk.bulk.create(job(), CALLS) for _ in range(4)))
        assert sorted(answers) == [False, False, False, True]
        assert [i.call_id for i in await desk.bulk.items("b1")] == list(CALLS)

    async def test_a_job_survives_a_restart(self, desk: DeskRuntime) -> None:
        await desk.bulk.create(job(lobs=None), CALLS)
        await desk.bulk.change("b1", "draft", "running", at_ms=20)
        desk.restart()
        held = await desk.bulk.job("b1")
        assert held == job(lobs=None, state="running", started_at_ms=20)

    async def test_an_unknown_job_is_none(self, desk: DeskRuntime) -> None:
        assert await desk.bulk.job("b9") is None
        assert await desk.bulk.items("b9") == []
        assert await desk.bulk.waiting("b9", limit=5) == []
        assert await desk.bulk.change("b9", "draft", "running", at_ms=1) is False

    async def test_the_newest_come_first(self, desk: DeskRuntime) -> None:
        for name, at_ms in (("a", 1), ("c", 3), ("b", 3), ("d", 2)):
            await desk.bulk.create(job(name, made_at_ms=at_ms), CALLS[:1])
        assert [each.bulk_id for each in await desk.bulk.jobs()] == ["c", "b", "d", "a"]
        assert [each.bulk_id for each in await desk.bulk.jobs(limit=1)] == ["c"]


class TestStates:
    async def test_a_job_goes_from_state_to_state_and_notes_when(self, desk: DeskRuntime) -> None:
        await desk.bulk.create(job(), CALLS)
        assert await desk.bulk.change("b1", "draft", "running", at_ms=20) is True
        assert await desk.bulk.change("b1", "running", "done", at_ms=30) is True
        held = await desk.bulk.job("b1")
        assert held is not None
        assert (held.state, held.started_at_ms, held.ended_at_ms) == ("done", 20, 30)

    async def test_a_cancelled_job_has_an_end(self, desk: DeskRuntime) -> None:
        await desk.bulk.create(job(), CALLS)
        assert await desk.bulk.change("b1", "draft", "cancelled", at_ms=25) is True
        held = await desk.bulk.job("b1")
        assert held is not None
        assert (held.state, held.started_at_ms, held.ended_at_ms) == ("cancelled", 0, 25)

    async def test_who_thinks_it_elsewhere_moves_nothing(self, desk: DeskRuntime) -> None:
        await desk.bulk.create(job(), CALLS)
        assert await desk.bulk.change("b1", "running", "done", at_ms=20) is False
        assert await desk.bulk.job("b1") == job()

    async def test_of_many_who_move_it_at_once_one_did(self, desk: DeskRuntime) -> None:
        await desk.bulk.create(job(), CALLS)
        moves = (desk.bulk.change("b1", "draft", "running", at_ms=n) for n in range(20, 24))
        assert sorted(await asyncio.gather(*moves)) == [False, False, False, True]


class TestResults:
    @pytest.fixture(autouse=True)
    async def made(self, desk: DeskRuntime) -> None:
        await desk.bulk.create(job(), CALLS)

    async def test_items_wait_by_position_until_they_have_a_result(self, desk: DeskRuntime) -> None:
        assert [i.position for i in await desk.bulk.waiting("b1", limit=3)] == [0, 1, 2]
        await desk.bulk.results("b1", [done(1), done(0, "skipped", "finished")])
        assert [i.position for i in await desk.bulk.waiting("b1", limit=99)] == [2, 3, 4, 5, 6]
        assert (await desk.bulk.items("b1"))[:3] == [
            done(0, "skipped", "finished"), done(1), BulkItem(2, CALLS[2]),
        ]  # fmt: skip

    async def test_results_are_counted_as_they_come(self, desk: DeskRuntime) -> None:
        await desk.bulk.results("b1", [done(0), done(1, "failed", "no answer")])
        await desk.bulk.results("b1", [done(2, "skipped")])
        held = await desk.bulk.job("b1")
        assert held == msgspec.structs.replace(job(), done=3, failed=1)
        assert await desk.bulk.jobs() == [held]

    async def test_a_result_stands_and_is_counted_once(self, desk: DeskRuntime) -> None:
        await desk.bulk.results("b1", [done(0), done(0, "failed")])
        await desk.bulk.results("b1", [done(0, "failed", "other"), done(1)])
        held = await desk.bulk.job("b1")
        assert held is not None
        assert (held.done, held.failed) == (2, 0)
        assert (await desk.bulk.items("b1"))[0] == done(0)

    async def test_of_many_who_tell_it_at_once_one_is_counted(self, desk: DeskRuntime) -> None:
        await asyncio.gather(*(desk.bulk.results("b1", [done(0), done(1)]) for _ in range(4)))
        held = await desk.bulk.job("b1")
        assert held is not None
        assert held.done == 2

    async def test_what_is_no_result_and_what_is_no_item_is_not_counted(
        self, desk: DeskRuntime
    ) -> None:
        await desk.bulk.results("b1", [BulkItem(0, CALLS[0]), BulkItem(99, "x", "done")])
        await desk.bulk.results("b9", [done(0)])
        held = await desk.bulk.job("b1")
        assert held == job()
        assert len(await desk.bulk.waiting("b1", limit=99)) == len(CALLS)

    async def test_items_come_in_pages_all_of_them_or_the_failed(self, desk: DeskRuntime) -> None:
        await desk.bulk.results("b1", [done(n, "failed" if n % 2 else "done") for n in range(6)])
        seen: list[int] = []
        while items := await desk.bulk.items("b1", after=seen[-1] if seen else -1, limit=3):
            assert len(items) <= 3
            seen += [item.position for item in items]
        assert seen == list(range(7))
        failed = await desk.bulk.items("b1", failed_only=True)
        assert [item.position for item in failed] == [1, 3, 5]
        rest = await desk.bulk.items("b1", after=1, limit=1, failed_only=True)
        assert [item.position for item in rest] == [3]

    async def test_jobs_do_not_share_items(self, desk: DeskRuntime) -> None:
        await desk.bulk.create(job("b2"), CALLS[:2])
        await desk.bulk.results("b2", [done(0, "failed")])
        assert await desk.bulk.job("b1") == job()
        assert len(await desk.bulk.waiting("b1", limit=99)) == len(CALLS)
        assert len(await desk.bulk.waiting("b2", limit=99)) == 1
