"""Laws of an ExportBook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, Protocol

import pytest
from msgspec.structs import replace

from ocp_ingest.adapters.aws.export_book import AwsExportBook
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.embedded.database import Database
from ocp_ingest.adapters.embedded.export_book import EmbeddedExportBook
from ocp_ingest.adapters.memory.export_book import ExportBookState, MemoryExportBook
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.core.errors import Conflict
from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.export_job import End, ExportJob, State, VendorStatus
from ocp_ingest.core.plan import PoisonHour, Suspect
from ocp_ingest.reconcile.book import ExportBook, Lease
from tests.aws_adapters import s3_kit, stand_in

TTL: Final = 1_000


class Shelf(Protocol):
    """A book, and the way to open it anew."""

    book: ExportBook

    def reopen(self) -> None:
        """Drops the process and starts another on the same state."""

    def close(self) -> None:
        """Gives everything back."""


class MemoryShelf:
    def __init__(self, _folder: Path) -> None:
        self._state = ExportBookState()
        self.reopen()

    def reopen(self) -> None:
        self.book: ExportBook = MemoryExportBook(self._state, Faults())

    def close(self) -> None:
        pass


class EmbeddedShelf:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "store.sqlite3"
        self._open()

    def _open(self) -> None:
        self._database = Database(self._path, backlog_max=1_000)
        self.book: ExportBook = EmbeddedExportBook(self._database)

    def reopen(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self._database.close()


class AwsShelf:
    def __init__(self, _folder: Path) -> None:
        self._where = stand_in.deployment()
        self._open: list[Aws] = []
        self.reopen()

    def reopen(self) -> None:
        self._open.append(Aws(self._where, s3_kit.session()))
        self.book: ExportBook = AwsExportBook(self._open[-1])

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        """Its connections close in the event loop."""
        for aws in self._open:
            await aws.close()


SHELVES: Final[dict[str, Callable[[Path], Shelf]]] = {
    "aws": AwsShelf,
    "embedded": EmbeddedShelf,
    "memory": MemoryShelf,
}


@pytest.fixture(params=sorted(SHELVES))
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    made = SHELVES[request.param](tmp_path)
    yield made
    made.close()
    if isinstance(made, AwsShelf):
        await made.aclose()


def a_job(key: str, *, group: str = "g", planned_at: int = 1, **fields: object) -> ExportJob:
    plain = ExportJob(
        job_key=key, ocp_group=group, from_ms=0, to_ms=3_600_000, attempt=1,
        planned_at=planned_at, ready_from=0, alpha_s=120.0, beta_s=30.0,
    )  # fmt: skip
    return replace(plain, **fields)


async def taken(book: ExportBook, owner: str, now_ms: int = 0, group: str = "g") -> Lease:
    lease = await book.lease(group, owner, now_ms=now_ms, ttl_ms=TTL)
    assert lease is not None
    return lease


def keys(jobs: list[ExportJob]) -> list[str]:
    return [job.job_key for job in jobs]


class TestLease:
    async def test_a_running_lease_has_one_owner(self, shelf: Shelf) -> None:
        lease = await taken(shelf.book, "a")
        assert (lease.ocp_group, lease.owner, lease.until_ms) == ("g", "a", TTL)
        assert await shelf.book.lease("g", "b", now_ms=TTL - 1, ttl_ms=TTL) is None
        assert await taken(shelf.book, "b", group="other")

    async def test_renewed_it_keeps_its_fence_and_lasts_longer(self, shelf: Shelf) -> None:
        first = await taken(shelf.book, "a")
        again = await taken(shelf.book, "a", now_ms=600)
        assert again.fence == first.fence
        assert again.until_ms == 600 + TTL
        assert await shelf.book.lease("g", "b", now_ms=TTL, ttl_ms=TTL) is None

    async def test_whoever_takes_one_that_is_over_gets_a_higher_fence(self, shelf: Shelf) -> None:
        fences = [
            (await taken(shelf.book, owner, now_ms=n * TTL)).fence
            for n, owner in enumerate(["a", "b", "b", "a"])
        ]
        assert fences == sorted(set(fences)), "also for the same owner: others may have come by"

    async def test_given_up_it_is_free_at_once_and_the_next_fence_is_higher(
        self, shelf: Shelf
    ) -> None:
        mine = await taken(shelf.book, "a")
        await shelf.book.give_up(mine)
        theirs = await taken(shelf.book, "b")
        assert theirs.fence > mine.fence

    async def test_giving_up_what_was_lost_takes_nothing_from_its_new_owner(
        self, shelf: Shelf
    ) -> None:
        mine = await taken(shelf.book, "a")
        await taken(shelf.book, "b", now_ms=TTL)
        await shelf.book.give_up(mine)
        assert await shelf.book.lease("g", "c", now_ms=TTL, ttl_ms=TTL) is None

    async def test_of_many_who_try_at_once_exactly_one_wins(self, shelf: Shelf) -> None:
        tries = [shelf.book.lease("g", f"o{n}", now_ms=0, ttl_ms=TTL) for n in range(20)]
        won = [lease for lease in await asyncio.gather(*tries) if lease is not None]
        assert len(won) == 1

    async def test_it_outlives_its_process(self, shelf: Shelf) -> None:
        mine = await taken(shelf.book, "a")
        shelf.reopen()
        assert await shelf.book.lease("g", "b", now_ms=1, ttl_ms=TTL) is None
        assert (await taken(shelf.book, "a", now_ms=1)).fence == mine.fence
        shelf.reopen()
        assert (await taken(shelf.book, "b", now_ms=2 * TTL)).fence > mine.fence


class TestFence:
    async def test_late_writes_of_a_zombie_are_refused_and_write_nothing(
        self, shelf: Shelf
    ) -> None:
        zombie = await taken(shelf.book, "a")
        await shelf.book.keep(zombie, job=a_job("j", polls=1))
        owner = await taken(shelf.book, "b", now_ms=TTL)
        state = GroupState(ocp_group="g", busy_since=7)
        with pytest.raises(Conflict):
            await shelf.book.keep(zombie, group=state, job=a_job("j", polls=2))
        with pytest.raises(Conflict):
            await shelf.book.keep(zombie, job=a_job("new"))
        with pytest.raises(Conflict):
            await shelf.book.settle(zombie, "j")
        assert await shelf.book.job("j") == a_job("j", polls=1)
        assert await shelf.book.group("g") == GroupState(ocp_group="g")
        assert keys(await shelf.book.jobs(open_only=True)) == ["j"]
        await shelf.book.keep(owner, group=state, job=a_job("j", polls=3))
        assert await shelf.book.job("j") == a_job("j", polls=3)

    async def test_without_any_lease_nothing_is_written(self, shelf: Shelf) -> None:
        never = Lease(ocp_group="g", owner="a", fence=0, until_ms=TTL)
        with pytest.raises(Conflict):
            await shelf.book.keep(never, job=a_job("j"))
        assert await shelf.book.jobs() == []

    async def test_a_lease_that_is_over_writes_until_somebody_else_takes_it(
        self, shelf: Shelf
    ) -> None:
        lease = await taken(shelf.book, "a")
        await shelf.book.give_up(lease)
        await shelf.book.keep(lease, job=a_job("j"))
        await taken(shelf.book, "b")
        with pytest.raises(Conflict):
            await shelf.book.keep(lease, job=a_job("j", polls=1))

    async def test_the_fence_of_one_group_is_nothing_to_another(self, shelf: Shelf) -> None:
        mine = await taken(shelf.book, "a", group="g")
        for now_ms in (0, TTL):
            await taken(shelf.book, "b", now_ms=now_ms, group="h")
        await shelf.book.keep(mine, job=a_job("j"))
        assert await shelf.book.job("j")


class TestJobs:
    async def test_a_job_and_its_group_come_back_as_they_were_written(self, shelf: Shelf) -> None:
        lease = await taken(shelf.book, "a")
        job = a_job(
            "j", call_ids=("c-1", "ñ"), types=("audio", "dialog_end"), state=State.ENDED,
            end=End.PARTIAL, status=VendorStatus.COMPLETED, spent_export_ids=("x",),
            released_at=5, measured_ms=0,
        )  # fmt: skip
        state = GroupState(
            ocp_group="g", half_open_since=0, suspects=(Suspect(0, 1, 2),),
            poison_hours=(PoisonHour(3, 4),), window_cap_hours=24,
        )  # fmt: skip
        await shelf.book.keep(lease, group=state, job=job)
        shelf.reopen()
        assert await shelf.book.job("j") == job
        assert await shelf.book.group("g") == state
        assert await shelf.book.groups() == [state]

    async def test_an_unknown_group_is_fresh_and_an_unknown_job_none(self, shelf: Shelf) -> None:
        await taken(shelf.book, "a")
        assert await shelf.book.group("g") == GroupState(ocp_group="g")
        assert await shelf.book.groups() == []
        assert await shelf.book.job("j") is None

    async def test_groups_come_by_name(self, shelf: Shelf) -> None:
        for name in ("b", "a"):
            lease = await taken(shelf.book, "o", group=name)
            await shelf.book.keep(lease, group=GroupState(ocp_group=name))
        assert [group.ocp_group for group in await shelf.book.groups()] == ["a", "b"]

    async def test_jobs_come_newest_first_of_one_group_or_all(self, shelf: Shelf) -> None:
        for group, key, planned_at in (("g", "1", 10), ("h", "2", 20), ("g", "3", 30)):
            lease = await taken(shelf.book, "o", group=group)
            await shelf.book.keep(lease, job=a_job(key, group=group, planned_at=planned_at))
        assert keys(await shelf.book.jobs()) == ["3", "2", "1"]
        assert keys(await shelf.book.jobs(ocp_group="g")) == ["3", "1"]
        assert keys(await shelf.book.jobs(limit=2)) == ["3", "2"]
        assert keys(await shelf.book.jobs(ocp_group="nobody")) == []

    async def test_a_job_is_open_until_it_is_settled_even_when_it_has_ended(
        self, shelf: Shelf
    ) -> None:
        lease = await taken(shelf.book, "a")
        await shelf.book.keep(lease, job=a_job("1", planned_at=1))
        await shelf.book.keep(lease, job=a_job("2", planned_at=2, state=State.ENDED))
        shelf.reopen()
        assert keys(await shelf.book.jobs(ocp_group="g", open_only=True)) == ["2", "1"]
        await shelf.book.settle(lease, "2")
        await shelf.book.settle(lease, "2")
        shelf.reopen()
        assert keys(await shelf.book.jobs(open_only=True)) == ["1"]
        assert keys(await shelf.book.jobs()) == ["2", "1"]

    async def test_a_settled_job_stays_settled_whatever_is_written_of_it(
        self, shelf: Shelf
    ) -> None:
        lease = await taken(shelf.book, "a")
        await shelf.book.keep(lease, job=a_job("j"))
        await shelf.book.settle(lease, "j")
        await shelf.book.keep(lease, job=a_job("j", polls=1))
        assert await shelf.book.jobs(open_only=True) == []
        assert await shelf.book.job("j") == a_job("j", polls=1)

    async def test_settling_touches_the_lease_s_own_group_only(self, shelf: Shelf) -> None:
        mine = await taken(shelf.book, "a", group="g")
        await shelf.book.keep(mine, job=a_job("j"))
        await shelf.book.settle(await taken(shelf.book, "b", group="h"), "j")
        assert keys(await shelf.book.jobs(open_only=True)) == ["j"]


class TestNotes:
    async def test_a_note_is_replaced_and_outlives_its_process(self, shelf: Shelf) -> None:
        assert await shelf.book.note("manifest:j") is None
        await shelf.book.put_note("manifest:j", b"[1]")
        await shelf.book.put_note("manifest:j", b"\x00\xff" * 1_000)
        await shelf.book.put_note("results:j", b"")
        shelf.reopen()
        assert await shelf.book.note("manifest:j") == b"\x00\xff" * 1_000
        assert await shelf.book.note("results:j") == b""
