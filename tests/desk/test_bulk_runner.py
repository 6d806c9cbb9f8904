"""Bulk work acts on each call once, whatever dies, and stops for no call in trouble."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from ocp_ingest.adapters.memory.faults import Crashed, Fault, Faults, Kind
from ocp_ingest.core.bulk import BULK_ACTIONS, BulkAction, why_not
from ocp_ingest.core.errors import Conflict, OcpIngestError
from ocp_ingest.core.lifecycle import outcome
from ocp_ingest.core.limits import SECOND_MS
from ocp_ingest.desk import bulk
from ocp_ingest.desk.bulk_runner import ITEMS_PER_S, OUTAGE_TRIES_MAX, TRIES_MAX
from ocp_ingest.ingest import operate
from tests.desk.bulk_kit import (
    ANA,
    CARLA,
    BreakingCalls,
    Hurry,
    Office,
    StaleBook,
    breaking,
    finish,
)

KINDS = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.LOST, Kind.UNANSWERED)
EVENT_OF = {"retry": "retried", "reopen": "reopened", "release": "released",
            "mark_absent": "closed"}  # fmt: skip


async def _ready(office: Office, action: BulkAction, calls: int = 2) -> list[str]:
    """Calls that the action can be done to, and a running job over them."""
    makers = {"retry": office.call, "reopen": office.lost, "release": office.quarantined,
              "mark_absent": office.call}  # fmt: skip
    made = [await makers[action]() for _ in range(calls)]
    office.restart()
    await office.started(action)
    office.restart()
    return made


def _passed(action: BulkAction) -> list[str]:
    """The effects of a clean run, in order."""

    async def run() -> list[str]:
        office = Office()
        await _ready(office, action)
        await finish(office.runner())
        return office.faults.passed

    return asyncio.run(run())


POINTS = {action: _passed(action) for action in BULK_ACTIONS}


def _cases() -> list[tuple[BulkAction, str, int]]:
    cases: list[tuple[BulkAction, str, int]] = []
    for action, points in POINTS.items():
        counted: Counter[str] = Counter()
        for point in points:
            counted[point] += 1
            cases.append((action, point, counted[point]))
    return cases


CASES = _cases()


async def _each_was_done_once(office: Office, action: BulkAction, calls: list[str]) -> None:
    job = await office.job()
    assert (job.state, job.done, job.failed) == ("done", len(calls), 0)
    for call_id in calls:
        acts = await office.acts(call_id)
        assert acts == {EVENT_OF[action]: 1}, f"{call_id} was acted on otherwise than once"
    assert await office.results() == dict.fromkeys(calls, ("done", ""))


@pytest.mark.parametrize("action", BULK_ACTIONS)
async def test_a_clean_run_acts_on_each_call_once(action: BulkAction) -> None:
    office = Office()
    calls = await _ready(office, action)
    assert "CallStore.append.journal" in POINTS[action]
    await finish(office.runner())
    await _each_was_done_once(office, action, calls)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("action", "point", "nth"), CASES)
async def test_a_stop_at_any_effect_ends_as_if_it_had_not_happened(
    action: BulkAction, point: str, nth: int, kind: Kind
) -> None:
    office = Office()
    calls = await _ready(office, action)
    office.faults.plan(point, kind, nth=nth)
    runner = office.runner()
    try:
        await finish(runner)
    except Crashed:
        assert kind in KINDS[:2]
    except OcpIngestError:
        assert kind in KINDS[2:]
    office.restart()
    await finish(office.runner())
    await _each_was_done_once(office, action, calls)


@pytest.mark.parametrize(("action", "point", "nth"), CASES)
async def test_two_runners_at_once_act_on_each_call_once(
    action: BulkAction, point: str, nth: int
) -> None:
    """One is paused before any of its effects, for as long as the other takes to do everything."""
    office = Office()
    calls = await _ready(office, action)
    slow = Faults(office.clock)
    slow.plan(point, Kind.SLOW, nth=nth, ms=5_000)
    paused = asyncio.create_task(finish(office.runner(office.desk_with(slow))))
    for _ in range(200):
        await asyncio.sleep(0)
        if office.clock.next_at() is not None:
            break
    await finish(office.runner())
    office.clock.advance(10_000)
    await paused
    await _each_was_done_once(office, action, calls)


async def test_what_a_person_undid_meanwhile_is_not_done_again() -> None:
    """The runner died before it could say what it did, and a person reopened the call."""
    office = Office()
    [call_id] = await _ready(office, "mark_absent", calls=1)
    office.faults.plan("BulkBook.results", Kind.CRASH_BEFORE)
    with pytest.raises(Crashed):
        await finish(office.runner())
    office.restart()
    office.clock.advance(1_000)
    await operate.act(office.desk.world, "reopened", call_id, who="eva", reason="I hear it")
    await finish(office.runner())
    assert await office.acts(call_id) == {"closed": 1, "reopened": 1}
    assert await office.results() == {call_id: ("done", "")}


async def test_a_mark_of_another_job_with_the_same_words_is_a_mark_of_its_own() -> None:
    office = Office()
    [call_id] = await _ready(office, "mark_absent", calls=1)
    await finish(office.runner())
    office.clock.advance(1_000)
    await operate.act(office.desk.world, "reopened", call_id, who="eva", reason="no")
    office.clock.advance(1_000)
    await office.started("mark_absent", bulk_id="job-2")
    await finish(office.runner())
    assert await office.acts(call_id) == {"closed": 2, "reopened": 1}


async def test_an_act_wakes_the_workers_even_if_its_first_doer_died_before_it_could() -> None:
    office = Office()
    await _ready(office, "reopen", calls=1)
    await office.stage.drain()
    office.faults.plan("WorkQueue.put", Kind.CRASH_BEFORE)
    with pytest.raises(Crashed):
        await finish(office.runner())
    office.restart()
    assert await office.desk.world.queue.depth() == 0
    await finish(office.runner())
    assert await office.desk.world.queue.depth() == 1


# -- cancel ---------------------------------------------------------------------------------------


async def test_a_cancel_in_the_middle_keeps_what_is_done_and_leaves_the_rest() -> None:
    office = Office()
    calls = await _ready(office, "reopen", calls=ITEMS_PER_S + 5)
    runner = office.runner()
    assert await runner.turn()
    await bulk.cancel(office.desk, ANA, "job-1")
    await finish(runner)
    job = await office.job()
    assert (job.state, job.done) == ("cancelled", ITEMS_PER_S)
    acts = [sum((await office.acts(call_id)).values()) for call_id in calls]
    assert sorted(acts) == [0] * 5 + [1] * ITEMS_PER_S


async def test_a_cancel_between_the_look_and_the_work_is_heard() -> None:
    office = Office()
    [call_id] = await _ready(office, "reopen", calls=1)
    stale = StaleBook(office.desk.bulk, await office.desk.bulk.jobs())
    await bulk.cancel(office.desk, ANA, "job-1")
    desk = replace(office.desk, bulk=stale)  # type: ignore[arg-type] # a fake
    await office.runner(desk).turn()
    assert await office.acts(call_id) == {}


async def test_a_cancel_at_the_last_moment_is_told_that_the_job_has_ended() -> None:
    office = Office()
    await _ready(office, "reopen")
    await finish(office.runner())
    with pytest.raises(Conflict):
        await bulk.cancel(office.desk, ANA, "job-1")


@pytest.mark.parametrize("kind", [Kind.LOST, Kind.UNANSWERED])
async def test_a_start_whose_answer_was_lost_is_a_start_when_asked_again(kind: Kind) -> None:
    office = Office()
    await office.lost()
    await office.draft("reopen")
    office.faults.plan("BulkBook.change", kind)
    with pytest.raises(OcpIngestError):
        await bulk.start(office.desk, ANA, "job-1")
    await bulk.start(office.desk, ANA, "job-1")
    assert (await office.job()).state == "running"


async def test_two_starts_at_once_are_one_start() -> None:
    office = Office()
    await office.lost()
    await office.draft("reopen")
    slow = Faults(office.clock)
    slow.plan("BulkBook.change", Kind.SLOW)
    late = asyncio.create_task(bulk.start(office.desk_with(slow), ANA, "job-1"))
    while office.clock.next_at() is None:
        await asyncio.sleep(0)
    await bulk.start(office.desk, ANA, "job-1")
    office.clock.advance(10_000)
    await late
    assert (await office.job()).state == "running"


# -- trouble --------------------------------------------------------------------------------------


async def test_one_call_in_trouble_holds_up_no_other_and_fails_in_the_end() -> None:
    office = Office()
    calls = await _ready(office, "reopen", calls=5)
    breaks = BreakingCalls(office.desk.world.calls, {calls[2]})
    real = Hurry()
    runner = office.runner(breaking(office.desk, breaks), real)
    assert await runner.turn()
    assert (await office.job()).done == 4, "the others need not wait"
    await finish(runner)
    results = await office.results()
    assert results.pop(calls[2]) == ("failed", "The store is busy.")
    assert set(results.values()) == {("done", "")}
    assert breaks.asked[calls[2]] == TRIES_MAX
    assert (await office.job()).failed == 1
    assert real.at_ms - 1_000_000 > 60 * SECOND_MS, "tries come after longer and longer pauses"


async def test_trouble_that_passes_leaves_no_trace() -> None:
    office = Office()
    calls = await _ready(office, "reopen", calls=3)
    breaks = BreakingCalls(office.desk.world.calls, {calls[0]})
    runner = office.runner(breaking(office.desk, breaks))
    for _ in range(5):
        await runner.turn()
    breaks.bad.clear()
    await finish(runner)
    await _each_was_done_once(office, "reopen", calls)


async def test_an_outage_of_half_an_hour_fails_no_item() -> None:
    office = Office()
    calls = await _ready(office, "reopen", calls=3)
    breaks = BreakingCalls(office.desk.world.calls, set(calls))
    real = Hurry()
    runner = office.runner(breaking(office.desk, breaks), real)
    while real.at_ms < 1_000_000 + 1_800 * SECOND_MS:
        assert await runner.turn()
    assert max(breaks.asked.values()) < OUTAGE_TRIES_MAX, "nobody hammers a store that is away"
    breaks.bad.clear()
    await finish(runner)
    await _each_was_done_once(office, "reopen", calls)


async def test_after_an_outage_the_pace_is_kept_although_everything_is_due() -> None:
    office = Office()
    calls = await _ready(office, "reopen", calls=ITEMS_PER_S * 2 + 5)
    breaks = BreakingCalls(office.desk.world.calls, set(calls))
    real = Hurry()
    runner = office.runner(breaking(office.desk, breaks), real)
    for _ in range(4):
        await runner.turn()
    real.at_ms += 600 * SECOND_MS
    breaks.bad.clear()
    while (await office.job()).state == "running":
        before = (await office.job()).done
        await runner.turn()
        assert (await office.job()).done - before <= ITEMS_PER_S
    await _each_was_done_once(office, "reopen", calls)


async def test_an_outage_without_end_ends_the_job_all_the_same() -> None:
    office = Office()
    [call_id] = await _ready(office, "reopen", calls=1)
    breaks = BreakingCalls(office.desk.world.calls, {call_id})
    await finish(office.runner(breaking(office.desk, breaks)), turns_max=20_000)
    assert breaks.asked[call_id] == OUTAGE_TRIES_MAX
    assert (await office.job()).state == "done"
    assert (await office.job()).failed == 1


async def test_a_bug_on_one_call_is_its_result_and_nobody_elses() -> None:
    office = Office()
    calls = await _ready(office, "reopen", calls=3)
    breaks = BreakingCalls(office.desk.world.calls, {calls[1]}, ValueError("+34600111222"))
    await finish(office.runner(breaking(office.desk, breaks)))
    results = await office.results()
    assert results.pop(calls[1]) == ("failed", "A bug: ValueError; see the log.")
    assert set(results.values()) == {("done", "")}


async def test_no_more_items_a_second_than_the_bound_however_many_jobs_run() -> None:
    office = Office()
    for _ in range(ITEMS_PER_S + 5):
        await office.call()
    await office.started("retry")
    await office.started("retry", bulk_id="job-2")
    real, seen = Hurry(), Counter[int]()
    breaks = BreakingCalls(office.desk.world.calls, set())
    runner, before = office.runner(breaking(office.desk, breaks), real), 0
    while await runner.turn():
        done = (await office.job()).done + (await office.job("job-2")).done
        seen[real.at_ms // SECOND_MS] += done - before
        before = done
        # A turn has a batch of each of the two jobs, and each takes its second.
        assert done <= ITEMS_PER_S * (real.at_ms - 1_000_000) // SECOND_MS
    assert before == 2 * (ITEMS_PER_S + 5)


# -- what is done to whom -------------------------------------------------------------------------


@pytest.mark.parametrize("action", BULK_ACTIONS)
@pytest.mark.parametrize("state", ["call", "lost", "refused", "quarantined", "stored", "arriving"])
async def test_what_the_dry_run_says_is_what_happens(action: BulkAction, state: str) -> None:
    office = Office()
    call_id = await getattr(office, state)()
    policy = office.stage.settings.policy
    said = why_not(await office.stage.call(call_id), action, policy)
    job = await office.draft(action)
    made = await bulk.foreseen(office.desk, job.bulk_id)
    assert made is not None
    assert made.counts == {said: 1}
    await bulk.start(office.desk, ANA, "job-1")
    await finish(office.runner())
    assert (await office.results())[call_id] == (("skipped", said) if said else ("done", ""))
    assert await office.acts(call_id) == ({} if said else {EVENT_OF[action]: 1})


@pytest.mark.parametrize(
    ("state", "acts"),
    [
        ("call", {"retry", "mark_absent"}),
        ("lost", {"reopen"}),
        ("refused", {"retry", "release", "mark_absent"}),
        ("quarantined", {"reopen", "release"}),
        ("denied", {"reopen", "release"}),
        ("stored", set()),
        ("arriving", {"retry"}),
    ],
)
async def test_which_actions_make_sense_for_which_calls(state: str, acts: set[str]) -> None:
    office = Office()
    call = await office.stage.call(await getattr(office, state)())
    policy = office.stage.settings.policy
    assert {action for action in BULK_ACTIONS if not why_not(call, action, policy)} == acts


async def test_acts_have_the_effect_that_they_promise() -> None:
    office = Office()
    lost, held, open_call = await office.lost(), await office.quarantined(), await office.call()
    orders = (("reopen", "lost"), ("release", "quarantined"), ("mark_absent", "none"))
    for number, (action, state) in enumerate(orders):
        await office.started(action, bulk_id=f"job-{number}", outcome=state)
        await finish(office.runner())
        await office.stage.drain()
    policy = office.stage.settings.policy
    ended = {c: outcome(await office.stage.call(c), policy) for c in (lost, held, open_call)}
    # The reopened one was open when all open ones were marked.
    assert {c: o.outcome if o else None for c, o in ended.items()} == {
        lost: "absent", held: "stored", open_call: "absent",
    }  # fmt: skip


async def test_a_call_that_went_to_another_line_of_business_is_not_touched() -> None:
    office = Office()
    cards = await office.lost("cards")
    await office.started("reopen", CARLA)
    runner = office.runner()
    runner._lob_of = lambda call: "banking"
    await finish(runner)
    assert await office.results() == {cards: ("skipped", "other_lob")}
    assert await office.acts(cards) == {}


# -- the loop -------------------------------------------------------------------------------------


async def _until(office: Office, done: str) -> None:
    for _ in range(500):
        await asyncio.sleep(0)
        if (await office.job()).state == done:
            return
    raise AssertionError(f"the job never was {done}")


async def test_the_loop_takes_up_what_runs_when_it_starts_and_hears_the_bell() -> None:
    office = Office()
    await _ready(office, "reopen")
    stop, real = asyncio.Event(), Hurry()
    runner = office.runner(real=real)
    loop = asyncio.create_task(runner.run(stop))
    await _until(office, "done")
    stop.set()
    await loop
    assert loop.exception() is None


async def test_the_loop_outlives_a_store_that_does_not_answer_and_a_bug() -> None:
    office = Office()
    await _ready(office, "reopen")
    troubles = iter([Fault(Kind.LOST), Fault(Kind.LOST)])
    faults = Faults(
        office.clock, lambda point: next(troubles, None) if point == "BulkBook.jobs" else None
    )
    stop = asyncio.Event()
    loop = asyncio.create_task(office.runner(office.desk_with(faults)).run(stop))
    await _until(office, "done")
    stop.set()
    await loop
