"""The nightly check: what breaks the law, what only seems to, and when it is looked at."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.alerts import Duty
from ocp_ingest.core.counting import day_of
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.desk import check
from ocp_ingest.desk.check import check_law, last_due_ms
from ocp_ingest.desk.ports import DayFigures, OpenCall
from ocp_ingest.evidence.conservation import PARTS, weighed
from tests.desk.office import Office


async def law(office: Office, **more: Any) -> dict[str, Any]:
    return await check_law(office.desk, "ana", pauses_s=(0.0,), **more)


# -- what is found --------------------------------------------------------------------------------


async def test_a_law_that_holds_is_kept_with_its_terms_and_who_asked() -> None:
    office = Office()
    await office.store(1, 2)
    await office.announce(3)
    found = await law(office)
    assert found == await office.desk.notes.get("law")
    assert (found["holds"], found["exact"], found["by"]) == (True, True, "ana")
    assert found["at_ms"] == office.now_ms
    assert found["terms"] == {
        "started": 3, "stored": 2, "in_flight": 1, "absent": 0, "quarantined": 0, "lost": 0,
    }  # fmt: skip
    assert found["differences"] == []
    assert await office.open_keys() == []


async def test_an_object_that_is_gone_breaks_the_law_until_it_is_back() -> None:
    office = Office()
    await office.store(1, 2)
    bucket = office.stage.state.buckets["lob-banking"]
    key = next(key for key in bucket if key.endswith(".wav"))
    gone = bucket.pop(key)
    found = await law(office)
    assert not found["holds"]
    assert "2 calls say they are stored, the buckets hold 1." in found["differences"]
    [opened] = await office.desk.world.incidents.incidents()
    assert (opened.key, opened.severity) == ("conservation_broken", "critical")
    assert "the buckets hold 1" in opened.text
    bucket[key] = gone
    assert (await law(office))["holds"]
    assert await office.open_keys() == []


async def test_an_object_that_nobody_speaks_of_breaks_the_law() -> None:
    office = Office()
    await office.store(1)
    bucket = office.stage.state.buckets["lob-banking"]
    key = next(key for key in bucket if key.endswith(".wav"))
    bucket[key.replace("0001.", "0009.")] = bucket[key]
    assert not (await law(office))["holds"]


async def test_where_buckets_are_dear_to_list_they_are_not_listed() -> None:
    office = Office()
    await office.store(1, 2)
    office.stage.state.buckets["lob-banking"].clear()
    desk = replace(office.desk, listing=False)
    before = len(office.stage.faults.passed)
    found = await check_law(desk, "ana", pauses_s=())
    assert found["holds"]
    assert found["recounted"] == {}
    assert "RecordingStore.list" not in office.stage.faults.passed[before:]


async def test_what_differs_only_for_a_moment_is_no_difference() -> None:
    """A copy that is there before its record says so: the count after a pause finds both."""
    office = Office()
    await office.store(1)
    bucket = office.stage.state.buckets["lob-banking"]
    key = next(key for key in bucket if key.endswith(".wav"))
    held = bucket.pop(key)

    async def put_back() -> None:
        await asyncio.sleep(0.02)
        bucket[key] = held

    back = asyncio.create_task(put_back())
    found = await check_law(office.desk, "ana", pauses_s=(0.1,))
    await back
    assert found["holds"]
    assert await office.open_keys() == []


# -- two counts and a listing ---------------------------------------------------------------------


def terms(**more: int) -> dict[str, int]:
    return {"started": 0, **dict.fromkeys(PARTS, 0), **more}


def test_what_is_stored_meanwhile_is_no_difference_and_what_was_stored_before_must_be_there() -> (
    None
):
    before, after = terms(started=9, stored=4, in_flight=5), terms(started=9, stored=6, in_flight=3)
    for in_buckets, holds in ((3, False), (4, True), (5, True), (6, True), (7, False)):
        assert weighed(before, after, in_buckets).holds == holds
    assert not weighed(before, after, 5).exact


def test_a_snapshot_adds_up_to_the_call_even_while_calls_move() -> None:
    before, after = terms(started=9, stored=4, in_flight=5), terms(started=9, stored=5, in_flight=3)
    assert not weighed(before, after, 5).holds
    # Indexes that are read one after the other may be off by what moved.
    assert weighed(before, after, None).holds


def test_without_movement_one_call_is_enough() -> None:
    lost = terms(started=9, stored=4, in_flight=4)
    assert not weighed(lost, lost, None).holds
    assert not weighed(lost, lost, 4).holds


counts = st.fixed_dictionaries({part: st.integers(0, 50) for part in PARTS})


@given(counts)
def test_terms_that_add_up_hold_and_one_more_or_less_does_not(parts: dict[str, int]) -> None:
    good = {**parts, "started": sum(parts.values())}
    assert weighed(good, good, good["stored"]).holds
    for off in (-1, 1):
        bad = {**good, "started": good["started"] + off}
        assert not weighed(bad, bad, bad["stored"]).holds
        assert not weighed(good, good, good["stored"] + off).holds


# -- recounting -----------------------------------------------------------------------------------


class CountedFigures:
    """Figures that remember which days were counted anew."""

    def __init__(self) -> None:
        self.days_counted: list[tuple[str, str]] = []

    async def days(self, first: str, last: str) -> list[DayFigures]:
        return []

    async def open_ages(self, edges_ms: Any, lobs: Any) -> list[int]:
        return [0] * (len(edges_ms) + 1)

    async def oldest_open(self, lobs: Any) -> OpenCall | None:
        return None

    async def recount(self, day: str, *, by: str, now_ms: int) -> int:
        self.days_counted.append((day, by))
        return len(self.days_counted)


async def test_yesterday_and_some_days_before_are_counted_anew_and_today_is_not() -> None:
    office, figures = Office(), CountedFigures()
    found = await check_law(
        replace(office.desk, figures=figures), "ana", pauses_s=(), recount_days=3
    )
    days = [day_of(office.now_ms - back * DAY_MS) for back in (1, 2, 3)]
    assert figures.days_counted == [(day, "ana") for day in days]
    assert found["recounted"] == {day: n + 1 for n, day in enumerate(days)}


async def test_the_result_is_there_before_the_recount_which_may_be_long() -> None:
    office = Office()

    class Never(CountedFigures):
        async def recount(self, day: str, *, by: str, now_ms: int) -> int:
            await asyncio.sleep(60)
            return 0

    asked = asyncio.create_task(check_law(replace(office.desk, figures=Never()), "ana"))
    await asyncio.sleep(0.02)
    note = await office.desk.notes.get("law")
    assert note is not None
    assert note["holds"]
    asked.cancel()


# -- once a day -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-09-21T14:13", "2026-09-21T03:00"),
        ("2026-09-21T03:00", "2026-09-21T03:00"),
        ("2026-09-21T02:59", "2026-09-20T03:00"),
        ("2026-10-25T02:30", "2026-10-24T03:00"),  # the night that is an hour longer
        ("2026-10-25T03:00", "2026-10-25T03:00"),
        ("2026-03-29T12:00", "2026-03-29T03:00"),
    ],
)
def test_it_is_due_at_its_hour_on_the_wall_clock(now: str, due: str) -> None:
    zone = ZoneInfo("Europe/Madrid")

    def ms(text: str) -> int:
        return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)

    assert last_due_ms(ms(now), Duty(time_zone="Europe/Madrid")) == ms(due)


async def nights(office: Office, hours: int, processes: int = 1) -> list[int]:
    """Times (hours from the start) at which the law was checked while so many hours pass."""
    stop, found = asyncio.Event(), set[int]()
    running = [
        asyncio.create_task(check.run(office.desk, Duty(law_days=0), stop, every_s=0.001))
        for _ in range(processes)
    ]
    for _ in range(hours):
        await asyncio.sleep(0.01)
        note = await office.desk.notes.get("law")
        if note is not None:
            found.add(note["at_ms"])
        office.sleep(HOUR_MS)
    stop.set()
    await asyncio.gather(*running)
    return sorted((at_ms - office.now_ms) // HOUR_MS + hours for at_ms in found)


async def test_it_is_checked_once_a_day_and_once_at_the_first_start() -> None:
    """The clock begins at 14:13; 03:00 is passed 13 hours later."""
    first, second, third = await nights(Office(), 40)
    assert first == 0
    # The loop may look a moment later on a busy machine, never earlier.
    assert second in range(13, 16)
    assert third in range(37, 40)


async def test_one_that_somebody_began_is_left_to_them_for_some_hours() -> None:
    office = Office()
    await office.desk.notes.put("law.begun", {"at_ms": office.now_ms})
    [begun] = await nights(office, 10)
    assert begun in range(6, 9)


async def test_trouble_is_no_end_of_it() -> None:
    from ocp_ingest.adapters.memory.faults import Kind

    office = Office()
    office.stage.faults.plan("CallStore.counts", Kind.LOST)
    office.stage.faults.plan("DeskNotes.get", Kind.LOST)
    assert await nights(office, 10) != []
