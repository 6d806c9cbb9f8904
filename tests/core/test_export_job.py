"""From plan to export, once and only once."""

from typing import Any

import pytest
from msgspec.structs import replace

from ocp_ingest.core.cost_model import CostModel
from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.export_job import (
    Abandon,
    Action,
    Adopt,
    BackOff,
    Bisect,
    Block,
    Busy,
    Create,
    Created,
    DownloadsFinished,
    End,
    Export,
    ExportJob,
    FetchManifest,
    Files,
    Finish,
    Ignore,
    Listed,
    ListExports,
    Nothing,
    Observation,
    PollAt,
    Quarantine,
    RateLimited,
    Refused,
    Release,
    Results,
    StartDownloads,
    State,
    Status,
    TakenOver,
    Unavailable,
    VendorStatus,
    new_job,
    step,
    wait_ms,
)
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.core.plan import Window

POLICY = Policy()
T0 = 1_790_000_000_000 // DAY_MS * DAY_MS
FROM, TO = T0, T0 + 4 * HOUR_MS
NOW = T0 + 10 * HOUR_MS
LOST = Unavailable("timeout")
DOWN = Unavailable("502")


def window(hours: int = 4) -> Window:
    return Window(
        ocp_group="retail",
        from_ms=FROM,
        to_ms=FROM + hours * HOUR_MS,
        call_ids=("a", "b"),
        predicted_s=240,
        urgent=False,
        why="",
        deadline_at=T0 + 60 * DAY_MS,
        waiting_since=NOW,
        ready_at=T0 + 7 * HOUR_MS,
    )


def planned(hours: int = 4) -> ExportJob:
    return new_job(window(hours), 1, CostModel(), NOW, fence=3)


def export(status: str = "IN_PROGRESS", **changes: Any) -> Export:
    made = Export(
        export_id="e1",
        status=VendorStatus(status),
        from_ms=FROM,
        to_ms=TO,
        types=("audio",),
        created_at=NOW,
    )
    return replace(made, **changes)


def run(job: ExportJob, *seen: Observation | tuple[int, Observation]) -> tuple[ExportJob, Action]:
    """Feeds observations, each now or at (ms after NOW, observation)."""
    action: Action = Ignore("nothing seen yet")
    at = NOW
    for item in seen:
        after_ms, observation = item if isinstance(item, tuple) else (at - NOW, item)
        at = NOW + after_ms
        job, action = step(job, observation, at, POLICY)
    return job, action


def running(hours: int = 4, **changes: Any) -> ExportJob:
    made = export(to_ms=FROM + hours * HOUR_MS, **changes)
    return run(planned(hours), Nothing(), Created(made))[0]


def status(value: str, n: int, **changes: Any) -> Status:
    return Status(export(value, **changes), n)


def downloading(wanted: int = 2) -> ExportJob:
    return run(running(), status("COMPLETED", 1), Files(9, wanted, "m"), Nothing())[0]


# The way when all goes well


def test_the_intent_is_written_before_the_post() -> None:
    job, action = run(planned(), Nothing())
    assert job.state is State.CREATING
    assert action == Create(job.intent_id, "retail", FROM, TO, ("audio",))
    assert (job.intent_at, job.fence) == (NOW, 3)


def test_a_plan_that_lay_for_a_day_is_given_up_and_made_anew() -> None:
    assert isinstance(run(planned(), (DAY_MS - 1, Nothing()))[1], Create)
    doubtful, _ = run(planned(), Nothing(), LOST)
    for job, seen in ((planned(), Nothing()), (doubtful, Nothing()), (doubtful, Listed(()))):
        ended, action = run(job, (DAY_MS, seen))
        assert isinstance(action, Abandon)
        assert ended.end is End.NOT_CREATED


def test_a_created_export_is_polled_after_1_2_5_and_then_every_5_minutes() -> None:
    job, action = run(planned(48), Nothing(), Created(export(to_ms=FROM + 48 * HOUR_MS)))
    delays, now = [], NOW
    for n in range(1, 8):
        assert isinstance(action, PollAt)
        assert action.n == n
        delays.append((action.at_ms - now) // MINUTE_MS)
        now = action.at_ms
        job, action = step(job, status("IN_PROGRESS", n), now, POLICY)
    assert delays == [1, 2, 5, 5, 5, 5, 5]


def test_completed_leads_to_manifest_downloads_release_and_finish_in_this_order() -> None:
    job, action = run(running(), (3 * MINUTE_MS, status("COMPLETED", 1)))
    assert action == FetchManifest("e1")
    job, action = run(job, Files(total=9, wanted=2, ref="s3://m"))
    assert isinstance(action, StartDownloads)
    assert job.released_at is None
    job, action = run(job, Nothing())
    assert action == Release("retail"), "the next window exports while this one downloads"
    job, action = run(job, DownloadsFinished(Results(done=2, ref="r"), 1))
    assert action == Finish(End.DONE, Results(done=2, ref="r"), "every wanted file has its result")
    assert (job.state, job.end, job.file_count) == (State.ENDED, End.DONE, 9)


def test_an_export_without_a_wanted_file_is_done_at_once() -> None:
    job, action = run(running(), status("COMPLETED", 1), Files(9, 0, "m"))
    assert isinstance(action, Finish)
    assert job.end is End.DONE


def test_what_is_measured_is_how_long_ocp_held_the_slot() -> None:
    first = run(running(), (MINUTE_MS, status("IN_PROGRESS", 1)))[0]
    assert run(first, (3 * MINUTE_MS, status("COMPLETED", 2)))[0].measured_ms == 3 * MINUTE_MS
    late = run(first, (5 * HOUR_MS, status("COMPLETED", 2)))[0]
    assert late.measured_ms is None, "we were away for hours, OCP was not"
    adopted = run(planned(), Listed((export(to_ms=TO + HOUR_MS),)), status("COMPLETED", 1))[0]
    assert adopted.measured_ms is None, "nobody knows how long another's export took"


# Crash between POST and persist; answers lost


def test_a_fresh_intent_without_answer_is_given_two_minutes_then_listed() -> None:
    creating, _ = run(planned(), Nothing())
    assert run(creating, (MINUTE_MS, Nothing()))[1] == BackOff(
        NOW + 2 * MINUTE_MS, "the answer to the export request is still awaited"
    )
    assert run(creating, (2 * MINUTE_MS, Nothing()))[1] == ListExports("retail")


@pytest.mark.parametrize("found", ["PENDING", "IN_PROGRESS", "COMPLETED"])
def test_the_export_of_a_crashed_post_is_adopted(found: str) -> None:
    crashed, _ = run(planned(), Nothing())
    job, action = run(crashed, (5 * MINUTE_MS, TakenOver(4)))
    assert action == ListExports("retail")
    job, action = run(job, (5 * MINUTE_MS, Listed((export(found),))))
    assert action == Adopt("e1")
    assert (job.state, job.creates, job.fence, job.ours) == (State.RUNNING, 1, 4, True)
    assert isinstance(run(job, (5 * MINUTE_MS, Nothing()))[1], PollAt)


def test_a_lost_answer_is_listed_at_once_and_asked_again_only_when_it_cannot_arrive_any_more() -> (
    None
):
    job, action = run(planned(), Nothing(), LOST)
    assert action == ListExports("retail")
    job, action = run(job, Listed(()))
    assert action == BackOff(NOW + 2 * MINUTE_MS, "the lost request may still reach OCP")
    job, action = run(job, (2 * MINUTE_MS, Nothing()))
    assert action == ListExports("retail"), "listed again before a second POST"
    job, action = run(job, (2 * MINUTE_MS, Listed(())))
    assert isinstance(action, Create)
    assert job.creates == 2


@pytest.mark.parametrize("answer", [LOST, None])
def test_the_ninth_answer_lost_ends_the_job_whether_we_saw_it_lost_or_died(
    answer: Observation | None,
) -> None:
    job, now, seen, creates = planned(), NOW, list[Observation]([Nothing()]), 0
    while job.state is not State.ENDED:
        job, action = step(job, seen.pop() if seen else Nothing(), now, POLICY)
        match action:
            case Create():
                creates += 1
                seen = [answer] if answer else []
                now += 0 if answer else 3 * MINUTE_MS
            case ListExports():
                seen = [Listed(())]
            case BackOff(until_ms=until):
                now = until
    assert (job.end, creates) == (End.VENDOR_DOWN, POLICY.lost_max + 1)


def test_a_request_that_never_left_is_sent_again_without_a_listing() -> None:
    job, action = run(planned(), Nothing(), Unavailable("no connection", sent=False))
    assert isinstance(action, BackOff)
    assert isinstance(run(job, (HOUR_MS, Nothing()))[1], Create)


def test_an_answer_that_arrives_after_all_is_taken() -> None:
    job, action = run(planned(), Nothing(), LOST, Created(export()))
    assert isinstance(action, PollAt)
    assert job.export_id == "e1"


@pytest.mark.parametrize(
    ("why_not", "changes"),
    [
        ("misses an hour", {"to_ms": TO - HOUR_MS}),
        ("older than the calls' data", {"created_at": T0 + 6 * HOUR_MS}),
        ("other types", {"types": ("dialog_start",)}),
        ("failed", {"status": VendorStatus.FAILED}),
        ("expired", {"status": VendorStatus.EXPIRED}),
        ("about to expire", {"status": VendorStatus.COMPLETED, "expires_at": NOW + MINUTE_MS}),
        ("spent", {"export_id": "spent"}),
    ],
)
def test_an_export_that_cannot_serve_is_not_adopted(why_not: str, changes: dict[str, Any]) -> None:
    job = replace(planned(), spent_export_ids=("spent",))
    action = run(job, Nothing(), LOST, Listed((export(**changes),)))[1]
    assert not isinstance(action, Adopt), why_not


def test_a_completed_export_is_adopted_before_a_running_one() -> None:
    exports = (export(), export("COMPLETED", export_id="e2", types=("ALL",)))
    assert run(planned(), Nothing(), LOST, Listed(exports))[1] == Adopt("e2")


# 409


def test_409_with_a_covering_export_adopts_it_and_never_cancels_what_is_not_ours() -> None:
    wider = export(created_at=NOW - HOUR_MS, to_ms=TO + HOUR_MS)
    job, action = run(planned(), Nothing(), Busy())
    assert action == ListExports("retail")
    job, action = run(job, Listed((wider,)))
    assert action == Adopt("e1")
    assert job.ours is False
    late = (wait_ms(job, POLICY), Status(wider, 1))
    assert isinstance(run(job, late)[1], Block)


def test_409_by_a_foreign_export_waits_for_its_estimated_end_and_spends_no_try() -> None:
    foreign = export(from_ms=FROM - 9 * HOUR_MS, to_ms=FROM - 5 * HOUR_MS)
    job, action = run(planned(), Nothing(), Busy((foreign,)))
    eta = NOW + 240_000
    assert isinstance(action, BackOff)
    assert eta + MINUTE_MS <= action.until_ms <= eta + 5 * MINUTE_MS
    assert not action.spends_attempt
    assert not action.alarm
    assert job.attempt == 1
    assert run(job, (20 * MINUTE_MS, Nothing()))[1] == ListExports("retail")
    assert isinstance(run(job, (20 * MINUTE_MS, Listed(())))[1], Create)


def test_409_alarms_after_two_hours_and_gives_the_plan_up_after_a_day() -> None:
    foreign = export(from_ms=FROM - 9 * HOUR_MS, to_ms=FROM - 5 * HOUR_MS)
    job, _ = run(planned(), Nothing(), Busy((foreign,)))
    action = run(job, (2 * HOUR_MS, Listed((foreign,))))[1]
    assert isinstance(action, BackOff)
    assert action.alarm
    job, action = run(job, (DAY_MS, Nothing()))
    assert isinstance(action, Abandon)
    assert job.end is End.SLOT_HELD


def test_409_while_the_listing_shows_nobody_waits_instead_of_spinning() -> None:
    _, action = run(planned(), Nothing(), Busy(), Listed(()))
    assert isinstance(action, BackOff)
    assert NOW + MINUTE_MS <= action.until_ms <= NOW + 5 * MINUTE_MS


def test_a_tenant_that_cannot_list_relies_on_409_alone() -> None:
    job, action = run(planned(), Nothing(), LOST, Refused(404), (3 * MINUTE_MS, Nothing()))
    assert action == ListExports("retail")
    assert isinstance(run(job, (3 * MINUTE_MS, Refused(404)))[1], Create)


# 429, 5xx, refusals


def test_retry_after_is_honoured_and_bounded() -> None:
    def until(retry_after_s: float | None) -> int:
        action = run(planned(), Nothing(), RateLimited(retry_after_s))[1]
        assert isinstance(action, BackOff)
        assert not action.spends_attempt
        return action.until_ms - NOW

    assert until(90) == 90_000
    assert until(1e12) == POLICY.retry_after_ms_max
    assert until(float("nan")) >= 1_000
    assert until(-5) == until(0) == 1_000


def test_errors_wait_longer_each_time_and_end_the_job_after_eight() -> None:
    job, waits, now = run(planned(), Nothing())[0], list[int](), NOW
    for _ in range(9):
        job, action = step(job, Unavailable("503", sent=False), now, POLICY)
        if isinstance(action, BackOff):
            waits.append(action.until_ms - now)
            now = action.until_ms
            job, action = step(job, Nothing(), now, POLICY)
    assert len(waits) == 8
    assert max(waits) <= POLICY.backoff_max_ms
    assert sum(waits[4:]) > sum(waits[:4])
    assert job.end is End.VENDOR_DOWN


def test_missing_rights_block_the_group_and_spend_nothing() -> None:
    job, action = run(planned(), Nothing(), Refused(403, "not whitelisted"))
    assert isinstance(action, Block)
    assert "403" in action.why
    assert action.until_ms == NOW + HOUR_MS
    assert job.end is End.REFUSED


def test_a_refused_range_is_halved_until_one_hour_is_quarantined() -> None:
    assert isinstance(run(planned(), Nothing(), Refused(400))[1], Bisect)
    assert isinstance(run(planned(1), Nothing(), Refused(400))[1], Quarantine)
