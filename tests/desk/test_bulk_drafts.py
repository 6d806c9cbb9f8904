"""Who may draft, start and see bulk work, and what a draft freezes."""

from __future__ import annotations

import pytest

from ocp_ingest.core.access import Person
from ocp_ingest.core.errors import Conflict, Denied, Invalid, NotFound, Transient
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.desk import bulk
from ocp_ingest.desk.ports import BulkItem, BulkJob
from tests.desk.bulk_kit import ANA, CARLA, VERA, Office, finish


async def test_a_draft_freezes_the_calls_of_its_moment_newest_first() -> None:
    office = Office()
    calls = [await office.lost() for _ in range(3)]
    await office.draft("reopen")
    await office.lost()
    assert [item.call_id for item in await office.items()] == calls[::-1]
    assert (await office.job()).state == "draft"
    assert [await office.acts(call_id) for call_id in calls] == [{}] * 3, "a dry run acts not"


async def test_a_draft_holds_only_calls_that_its_drafter_sees() -> None:
    office = Office()
    await office.lost("banking")
    mine = await office.lost("cards")
    job = await office.draft("reopen", CARLA)
    assert [item.call_id for item in await office.items()] == [mine]
    assert job.lobs == ("cards",)


async def test_what_of_a_filter_no_store_can_tell_is_told_call_by_call() -> None:
    office = Office()
    calls = [await office.lost() for _ in range(3)]
    await office.draft("reopen", keeps=lambda call: call.call_id != calls[1])
    assert {item.call_id for item in await office.items()} == {calls[0], calls[2]}


async def test_a_filter_that_holds_more_than_a_job_takes_is_told_of() -> None:
    office = Office()
    for _ in range(5):
        await office.lost()
    assert (await office.draft("reopen", calls_max=3)).total == 3
    made = await bulk.foreseen(office.desk, "job-1")
    assert made is not None
    assert (made.counts, made.more) == ({"": 3}, True)
    await office.draft("reopen", bulk_id="job-2", calls_max=5)
    whole = await bulk.foreseen(office.desk, "job-2")
    assert whole is not None
    assert whole.more is False, "there are exactly as many as it takes"


async def test_a_form_sent_twice_makes_one_job() -> None:
    office = Office()
    await office.lost()
    first = await office.draft("reopen")
    await office.lost()
    assert await office.draft("reopen", reason="another") == first
    assert len(await office.desk.bulk.jobs()) == 1


async def test_an_id_that_is_somebody_elses_is_refused() -> None:
    office = Office()
    await office.lost("cards")
    await office.draft("reopen", CARLA)
    with pytest.raises(Conflict):
        await office.draft("reopen", ANA)


@pytest.mark.parametrize("reason", ["", "   ", "x" * 1_001])
async def test_without_a_reason_there_is_no_draft(reason: str) -> None:
    office = Office()
    await office.lost()
    with pytest.raises(Invalid):
        await office.draft("reopen", reason=reason)


async def test_no_calls_and_unknown_actions_make_no_draft() -> None:
    office = Office()
    with pytest.raises(Invalid, match="No call matches"):
        await office.draft("reopen")
    await office.lost()
    with pytest.raises(Invalid, match="must be one of"):
        await office.draft("delete")


async def test_who_only_looks_drafts_starts_and_cancels_nothing() -> None:
    office = Office()
    await office.lost()
    with pytest.raises(Denied):
        await office.draft("reopen", VERA)
    await office.draft("reopen")
    with pytest.raises(Denied):
        await bulk.start(office.desk, VERA, "job-1")
    with pytest.raises(Denied):
        await bulk.cancel(office.desk, VERA, "job-1")
    assert await bulk.load(office.desk, VERA, "job-1") == await office.job()


async def test_a_job_is_hidden_from_who_does_not_see_all_of_its_lines() -> None:
    office = Office()
    await office.lost("cards")
    await office.draft("reopen", ANA)
    await office.draft("reopen", CARLA, "job-2")
    for action in (bulk.load, bulk.start, bulk.cancel):
        with pytest.raises(NotFound):
            await action(office.desk, CARLA, "job-1")
    both = Person("bea", "operator", ("banking", "cards"))
    assert (await bulk.load(office.desk, both, "job-2")).by == "carla"
    with pytest.raises(NotFound):
        await bulk.load(office.desk, both, "job-1")
    await office.draft("reopen", both, "job-3")
    with pytest.raises(NotFound):
        await bulk.load(office.desk, CARLA, "job-3")


async def test_only_the_drafter_starts_and_any_operator_cancels() -> None:
    office = Office()
    await office.lost("cards")
    await office.draft("reopen", CARLA)
    with pytest.raises(Denied):
        await bulk.start(office.desk, ANA, "job-1")
    await bulk.cancel(office.desk, ANA, "job-1")
    with pytest.raises(Conflict):
        await bulk.start(office.desk, CARLA, "job-1")
    assert (await office.job()).state == "cancelled"


async def test_a_draft_of_yesterday_is_not_started_any_more() -> None:
    office = Office()
    await office.lost()
    await office.draft("reopen")
    office.clock.advance(DAY_MS + 1)
    with pytest.raises(Conflict):
        await bulk.start(office.desk, ANA, "job-1")
    assert (await office.job()).state == "draft"


async def test_a_job_started_twice_runs_once_and_its_acts_keep_their_order() -> None:
    office = Office()
    call_id = await office.lost()
    await office.started("reopen")
    began = (await office.job()).started_at_ms
    office.clock.advance(5_000)
    await bulk.start(office.desk, ANA, "job-1")
    assert (await office.job()).started_at_ms == began
    await finish(office.runner())
    await bulk.start(office.desk, ANA, "job-1")
    assert (await office.job()).state == "done"
    assert await office.acts(call_id) == {"reopened": 1}


async def test_only_so_many_run_at_once() -> None:
    office = Office()
    await office.call()
    for number in range(bulk.RUNNING_MAX):
        await office.started("retry", bulk_id=f"job-{number}")
    with pytest.raises(Conflict):
        await office.started("retry", bulk_id="one-more")


async def test_drafts_never_push_a_running_job_out_of_the_runners_sight() -> None:
    office = Office()
    call_id = await office.lost()
    await office.started("reopen")

    async def drafts() -> None:
        for number in range(bulk.JOBS_LOOKED_AT * 2):
            office.clock.advance(1_000)
            await office.draft("retry", bulk_id=f"draft-{number:03}")

    with pytest.raises(Transient):
        await drafts()
    assert len(await office.desk.bulk.jobs(limit=200)) > bulk.JOBS_LOOKED_AT // 2
    await finish(office.runner())
    assert await office.acts(call_id) == {"reopened": 1}


async def test_counting_again_counts_what_is_so_now_and_leaves_out_what_is_done() -> None:
    office = Office()
    first, second, third = [await office.lost() for _ in range(3)]
    await office.draft("reopen")
    job = await office.job()
    await office.draft("reopen", bulk_id="job-2", keeps=lambda call: call.call_id == first)
    await bulk.start(office.desk, ANA, "job-2")
    await finish(office.runner())
    counted = await bulk.foresee(office.desk, job, office.lob_of)
    assert counted.counts == {"": 2, "open": 1}
    assert await bulk.foreseen(office.desk, "job-1") == counted
    position = {item.call_id: item.position for item in await office.items()}
    await office.desk.bulk.results("job-1", [BulkItem(position[second], second, "done")])
    again = await bulk.foresee(office.desk, job, office.lob_of)
    assert again.counts == {"": 1, "open": 1}
    gone = BulkJob(**{f: getattr(job, f) for f in job.__struct_fields__} | {"lobs": ("cards",)})
    assert (await bulk.foresee(office.desk, gone, office.lob_of)).counts == {"other_lob": 2}
    assert third in position
