"""Laws of the sealer: whatever dies and whenever, one chain per call and one statement per day."""

from __future__ import annotations

import asyncio
import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest

from ocp_ingest.adapters.memory.clock import ManualClock
from ocp_ingest.adapters.memory.export_book import ExportBookState, MemoryExportBook
from ocp_ingest.adapters.memory.faults import Crashed, Faults, Kind
from ocp_ingest.adapters.memory.seal_book import MemorySealBook
from ocp_ingest.adapters.signing import FileSigner
from ocp_ingest.core.calendar import parse_rfc3339
from ocp_ingest.core.errors import Damaged, Transient
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.proof import ZERO, broken_at, sha256
from ocp_ingest.core.statement import DAY, STATEMENT_BYTES_MAX, parse
from ocp_ingest.evidence import inclusion, sealer, verify
from ocp_ingest.evidence.close import sealed_day
from ocp_ingest.evidence.ports import Marks
from ocp_ingest.evidence.shelf import BucketShelf
from ocp_ingest.evidence.world import Evidence
from tests.evidence.kit import Site
from tests.flow.stage import Stage, dialog_end, dialog_start, tone

D1, D2, D3 = "2026-11-23", "2026-11-24", "2026-11-25"
NOON = parse_rfc3339(D1) + 12 * HOUR_MS


class Memory:
    """A stage with its evidence, over memory adapters with faults."""

    def __init__(self, folder: Path) -> None:
        self.stage = Stage()
        self.signer = FileSigner(folder / "evidence.key")
        self.real = ManualClock(NOON)
        self.book = ExportBookState()
        self.restart()

    def restart(self) -> None:
        """The next process."""
        self.stage.restart()
        self.faults = Faults(self.stage.clock)
        world = self.stage.world_with(self.faults)
        self.evidence = Evidence(
            world=world,
            exports=MemoryExportBook(self.book, self.faults),
            seals=MemorySealBook(self.stage.state, self.faults),
            shelf=BucketShelf(world.recordings, "seals"),
            signer=self.signer,
            real=self.real,
            issuer="pbx.example.com",
        )

    async def fill(self) -> None:
        await self.stage.send(dialog_start(), dialog_end())
        await self.stage.upload(tone())
        await self.stage.drain()

    async def work(self) -> None:
        """One pass: what the loop does."""
        await sealer.seal(self.evidence)
        await sealer.close_days(self.evidence)


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path)


async def good(evidence: Evidence) -> bool:
    return not [f async for f in verify.everything(evidence) if f.is_bad]


async def test_a_day_is_closed_after_it_is_over_and_signed(memory: Memory) -> None:
    await memory.fill()
    await memory.work()
    memory.real.advance(12 * HOUR_MS)
    await memory.work()
    assert (await memory.evidence.seals.marks()).closed == "", "midnight alone closes no day"
    memory.real.advance(sealer.CLOSE_DELAY_MS)
    await memory.work()
    day = await inclusion.day_checked(memory.evidence.shelf, D1)
    assert day.said["issuer"] == "pbx.example.com"
    assert (day.said["leaves"], day.said["previous"]) == ("1", ZERO)
    assert len(day.signature) == 64
    marks = await memory.evidence.seals.marks()
    assert (marks.closed, marks.statement) == (D1, sha256(day.statement))
    assert await good(memory.evidence)


async def test_days_without_events_are_closed_too_and_each_names_the_one_before(
    memory: Memory,
) -> None:
    await memory.fill()
    await memory.work()
    memory.real.advance(3 * DAY_MS)
    await memory.work()
    days = [await sealed_day(memory.evidence.shelf, day) for day in (D1, D2, D3)]
    assert [day.said["leaves"] for day in days if day] == ["1", "0", "0"]
    for one, following in pairwise(days):
        assert one is not None
        assert following is not None
        assert following.said["previous"] == sha256(one.statement)
        assert following.said["previous_day"] == one.day
    assert days[1] is not None
    assert days[1].said["root"] == ZERO
    assert await good(memory.evidence)


async def test_after_a_long_stop_days_are_closed_some_at_a_time(memory: Memory) -> None:
    await memory.fill()
    await memory.work()
    memory.real.advance(40 * DAY_MS)
    assert len(await sealer.close_days(memory.evidence)) == sealer.DAYS_AT_ONCE
    assert len(await sealer.close_days(memory.evidence)) == 40 - sealer.DAYS_AT_ONCE
    assert await sealer.close_days(memory.evidence) == []


async def test_nothing_sealed_means_no_day(memory: Memory) -> None:
    memory.real.advance(9 * DAY_MS)
    await memory.work()
    assert await memory.evidence.seals.marks() == Marks()


async def test_a_clock_that_goes_back_opens_no_day_again(memory: Memory) -> None:
    await memory.fill()
    await memory.work()
    memory.real.advance(DAY_MS)
    await memory.work()
    memory.real = ManualClock(NOON - 5 * DAY_MS)
    memory.restart()
    await memory.stage.send(dialog_start("another"))
    await memory.work()
    [link] = await memory.evidence.seals.chain("another")
    assert link.day == D2
    assert await good(memory.evidence)


def effects(memory: Memory) -> list[str]:
    """The points that change something."""
    changing = ("SealBook.seal", "SealBook.begin_close", "SealBook.closed", "SealBook.fresh",
                "RecordingStore.put_once")  # fmt: skip
    return [point for point in memory.faults.passed if point.startswith(changing)]


@pytest.mark.parametrize("kind", [Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.UNANSWERED, Kind.LOST])
async def test_a_crash_anywhere_leaves_one_chain_and_one_statement(
    tmp_path: Path, kind: Kind
) -> None:
    whole = Memory(tmp_path / "whole")
    await whole.fill()
    whole.restart()
    await whole.work()
    whole.real.advance(DAY_MS)
    await whole.work()
    points = effects(whole)
    assert len(points) > 8
    for number, point in enumerate(points):
        nth = points[: number + 1].count(point)
        memory = Memory(tmp_path / f"{kind.value}{number}")
        await memory.fill()
        memory.restart()
        memory.faults.plan(point, kind, nth=nth)
        failures = 0
        for step in range(5):
            if step >= 2:
                memory.real.advance_to(max(memory.real.now_ms(), NOON + DAY_MS))
            try:
                await memory.work()
            except (Crashed, Transient):
                failures += 1
                memory.restart()
        assert failures == 1, (point, nth)
        links = await memory.evidence.seals.chain(next(iter(memory.stage.state.journal)))
        assert broken_at(links) is None
        assert len(links) == len(next(iter(memory.stage.state.journal.values())))
        assert (await memory.evidence.seals.marks()).closed == D1
        assert await good(memory.evidence), (point, nth)


async def test_a_statement_that_stands_and_is_not_ours_stops_the_closing(memory: Memory) -> None:
    await memory.fill()
    await memory.work()
    await memory.evidence.shelf.put(f"days/{D1}/parts.txt", b"leaves-00000.txt of somebody\n")
    memory.real.advance(DAY_MS)
    with pytest.raises(Damaged):
        await memory.work()
    assert (await memory.evidence.seals.marks()).closed == ""


async def test_what_no_stream_told_is_caught_up_from_the_journals(memory: Memory) -> None:
    await memory.fill()
    assert await sealer.catch_up(memory.evidence) == 7
    assert await sealer.catch_up(memory.evidence) == 0
    assert await good(memory.evidence)


async def test_a_new_key_signs_from_the_next_day_on_and_the_old_days_stay_good(
    memory: Memory, tmp_path: Path
) -> None:
    await memory.fill()
    await memory.work()
    memory.real.advance(DAY_MS)
    await memory.work()
    memory.signer = FileSigner(tmp_path / "new.key")
    memory.restart()
    memory.real.advance(DAY_MS)
    await memory.work()
    first = await inclusion.day_checked(memory.evidence.shelf, D1)
    second = await inclusion.day_checked(memory.evidence.shelf, D2)
    assert first.said["key"] != second.said["key"]
    assert await good(memory.evidence)


async def test_a_day_of_many_parts_proves_each_of_its_calls(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tree over parts is the tree over the calls; small parts stand for a large day."""
    monkeypatch.setattr("ocp_ingest.evidence.close.PART_LEAVES", 4)
    for number in range(11):
        await memory.stage.send(dialog_start(f"call {number}"))
    await memory.work()
    memory.real.advance(DAY_MS)
    await memory.work()
    day = await inclusion.day_checked(memory.evidence.shelf, D1)
    assert [part.leaves for part in inclusion.parts_of(day)] == [4, 4, 3]
    for number in range(11):
        links = await memory.evidence.seals.chain(f"call {number}")
        found = await inclusion.include(memory.evidence.seals, memory.evidence.shelf, links)
        assert found is not None
    assert await good(memory.evidence)


async def test_the_loop_tells_people_when_the_shelf_is_not_what_it_was(
    memory: Memory,
) -> None:
    await memory.fill()
    await memory.work()
    await memory.evidence.shelf.put(f"days/{D1}/parts.txt", b"x\n")
    memory.real.advance(DAY_MS)
    stop = asyncio.Event()
    loop = asyncio.create_task(sealer.run(memory.evidence, stop, every_s=0.01))
    async with asyncio.timeout(5):
        while not await memory.evidence.world.incidents.incidents():
            await asyncio.sleep(0.01)
    stop.set()
    await loop
    [incident] = await memory.evidence.world.incidents.incidents()
    assert (incident.kind, incident.severity) == ("evidence_broken", "critical")


async def test_a_statement_is_small_enough_for_a_key_in_kms(memory: Memory) -> None:
    await memory.fill()
    await memory.work()
    memory.real.advance(DAY_MS)
    await memory.work()
    day = await sealed_day(memory.evidence.shelf, D1)
    assert day is not None
    assert len(day.statement) < STATEMENT_BYTES_MAX // 2
    assert parse(day.statement, DAY) == day.said


async def test_the_embedded_store_seals_on_after_a_restart(site: Site) -> None:
    call_id = await site.stored()
    closed = await site.next_day()
    before = await site.evidence.seals.chain(call_id)
    site.close()
    site.open()
    assert await sealer.seal(site.evidence) == 0
    assert await site.evidence.seals.chain(call_id) == before
    assert (await site.evidence.seals.marks()).closed == closed
    other = dataclasses.replace(site.evidence)
    await site.stored()
    made = [await sealer.seal(site.evidence), await sealer.seal(other)]
    assert made[0] > 0
    assert made[1] == 0
    assert await site.findings() == []
