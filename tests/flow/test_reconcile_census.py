"""The census finds calls of which nothing ever reached us, and counts every hour once."""

from __future__ import annotations

from itertools import pairwise

from ocp_ingest.adapters.memory.faults import Kind
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.reconcile.census import CensusState, state
from tests.flow.reconcile_stage import GROUP, HOUR_0, Theatre


async def census(theatre: Theatre, group: str = GROUP) -> CensusState:
    return await state(theatre.process.stage2, group)


async def count_now(theatre: Theatre) -> None:
    await theatre.process.sweeper.take_census()
    await theatre.run_until(lambda: theatre.process.idle, within_ms=DAY_MS)


def windows(theatre: Theatre) -> list[tuple[int, int]]:
    """Hours of each census export, relative to HOUR_0."""
    return [
        ((e.from_ms - HOUR_0) // HOUR_MS, (e.to_ms - HOUR_0) // HOUR_MS)
        for e in theatre.ocp.ours
        if e.types == ("dialog_start",)
    ]


async def test_calls_never_announced_are_found_and_their_recordings_fetched() -> None:
    theatre = Theatre(census=True)
    calls = [theatre.at_ocp(f"c{n}", HOUR_0 + n * HOUR_MS) for n in range(3)]
    await theatre.live(2 * DAY_MS)
    assert await theatre.outcomes() == {f"c{n}": "stored" for n in range(3)}
    for call in calls:
        assert theatre.stored_bytes(call.call_id) == call.audio
    held = await census(theatre)
    assert (held.calls, held.news) == (3, 3)


async def test_lines_of_known_calls_are_counted_and_are_no_news() -> None:
    theatre = Theatre(census=True)
    known = await theatre.announced("known")
    assert known.audio is not None
    await theatre.streamed(known.audio, known.file_name)
    theatre.at_ocp("unknown", HOUR_0 + MINUTE_MS)
    await theatre.run_for(4 * HOUR_MS)
    await count_now(theatre)
    held = await census(theatre)
    assert (held.calls, held.news) == (2, 1)


async def test_every_hour_is_counted_once_day_by_day() -> None:
    theatre = Theatre(census=True)
    await theatre.live(5 * DAY_MS)
    spans = windows(theatre)
    assert spans[0][0] <= -48 + 24, "the first one goes back two days"
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert all(end - first <= 48 for first, end in spans)
    assert len(spans) <= 7, "once a day"
    assert (await census(theatre)).until_ms == HOUR_0 + spans[-1][1] * HOUR_MS


async def test_on_demand_it_counts_what_is_complete_by_the_watermark() -> None:
    theatre = Theatre(census=True)
    await theatre.run_for(5 * HOUR_MS + 10 * MINUTE_MS)
    await count_now(theatre)
    assert windows(theatre)[-1][1] == 3
    await count_now(theatre)
    assert windows(theatre)[-1][1] == 3, "nothing more is complete"
    await theatre.run_for(HOUR_MS)
    await count_now(theatre)
    assert windows(theatre)[-1] == (3, 4)


async def test_the_first_census_begins_at_the_earliest_call_that_is_known() -> None:
    theatre = Theatre(census=True)
    call = theatre.at_ocp("old", HOUR_0 + 5 * MINUTE_MS)
    await theatre.stage.send(*call.cdrs.values())
    await theatre.run_for(5 * DAY_MS)
    await count_now(theatre)
    assert windows(theatre)[0][0] == 0


async def test_after_a_long_stop_no_hour_is_left_out() -> None:
    theatre = Theatre(census=True)
    await theatre.live(HOUR_MS)
    await theatre.run_for(20 * DAY_MS)
    await theatre.live(DAY_MS)
    spans = windows(theatre)
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert spans[-1][1] >= 20 * 24


async def test_it_gives_way_to_recordings() -> None:
    theatre = Theatre(census=True)
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    await theatre.process.sweeper.sweep()
    await theatre.run_for(MINUTE_MS)
    assert [e.types for e in theatre.ocp.ours] == [("audio",)]


async def test_a_failing_census_backs_off_and_is_made_good() -> None:
    theatre = Theatre(census=True)
    theatre.at_ocp("c", HOUR_0 - 10 * HOUR_MS)
    theatre.ocp.cuts["dialog_start.ndjson"] = 1_000
    await theatre.live(DAY_MS)
    assert len(windows(theatre)) <= 6, "after 1 h, 2 h, 4 h, 8 h"
    assert (await census(theatre)).failures >= 3
    assert f"step_parked:download:{GROUP}" in theatre.incidents()
    theatre.ocp.cuts.clear()
    await theatre.live(3 * DAY_MS)
    held = await census(theatre)
    assert held.failures == 0
    assert held.until_ms > HOUR_0 + DAY_MS
    assert (await theatre.outcomes())["c"] == "stored"
    assert theatre.incidents() == {}


async def test_an_hour_that_ocp_cannot_export_is_left_behind_and_counted_later() -> None:
    theatre = Theatre(census=True)
    theatre.at_ocp("in-poison", HOUR_0)
    theatre.at_ocp("after-it", HOUR_0 + HOUR_MS)
    theatre.ocp.poison_hours = {HOUR_0}
    await theatre.live(2 * DAY_MS)
    held = await census(theatre)
    assert held.gaps == ((HOUR_0, HOUR_0 + HOUR_MS),)
    assert held.until_ms > HOUR_0 + HOUR_MS
    assert (await theatre.outcomes())["after-it"] == "stored"
    assert len(theatre.ocp.ours) < 40
    theatre.ocp.poison_hours = set()
    await theatre.live(2 * DAY_MS)
    held = await census(theatre)
    assert held.gaps == ()
    assert held.uncounted_hours == 0
    assert (await theatre.outcomes())["in-poison"] == "stored"
    assert held.calls == 2


async def test_what_ocp_has_deleted_uncounted_is_said() -> None:
    theatre = Theatre(census=True)
    await theatre.live(HOUR_MS)
    await theatre.run_for(70 * DAY_MS)
    await theatre.live(DAY_MS)
    held = await census(theatre)
    assert held.uncounted_hours > 10 * 24
    first = windows(theatre)
    assert held.until_ms > theatre.clock.now_ms() - 2 * DAY_MS
    assert all(end - start <= 48 for start, end in first)


async def test_a_census_whose_answer_was_said_twice_counts_once() -> None:
    theatre = Theatre(census=True)
    theatre.at_ocp("c")
    await theatre.run_for(4 * HOUR_MS)
    theatre.process.faults.plan("ExportBook.settle", Kind.CRASH_BEFORE)
    await theatre.process.sweeper.take_census()
    await theatre.live(2 * HOUR_MS)
    assert (await census(theatre)).calls == 1


async def test_a_line_of_another_group_s_call_goes_to_that_group() -> None:
    theatre = Theatre(groups=(GROUP, "other"), census=True)
    call = theatre.at_ocp("c", group=GROUP)
    flow = call.cdrs["dialog_start"]["flow"] | {"ocp_group_name": "other"}
    for cdr in call.cdrs.values():
        cdr["flow"] = flow
    await theatre.run_for(9 * HOUR_MS)
    await theatre.process.sweeper.take_census([GROUP])
    await theatre.run_until(lambda: theatre.process.idle, within_ms=DAY_MS)
    assert (await theatre.stage.call("c")).get("ocp_group") == "other"
    groups = {e.group for e in theatre.ocp.ours if "audio" in e.types}
    assert groups == {"other"}


async def test_switched_off_there_is_none() -> None:
    theatre = Theatre(census=False)
    await theatre.live(3 * DAY_MS)
    assert theatre.ocp.ours == []
