"""An export under way: polled, stuck, failed, expired, downloaded; each ends in a named state."""

import pytest

from ocp_ingest.core.cost_model import CostModel
from ocp_ingest.core.export_job import (
    Abandon,
    BackOff,
    Bisect,
    Block,
    Cancel,
    Cancelled,
    Created,
    DownloadsFinished,
    End,
    ExportJob,
    FetchManifest,
    Finish,
    Gone,
    HalfOpen,
    Ignore,
    Nothing,
    Observation,
    PollAt,
    Progress,
    Quarantine,
    RateLimited,
    Refused,
    Release,
    Results,
    Retry,
    StartDownloads,
    State,
    Status,
    TakenOver,
    Unavailable,
    new_job,
    retry_of,
    step,
    timer_name,
    wait_ms,
)
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from tests.core.test_export_job import (
    DOWN,
    FROM,
    NOW,
    POLICY,
    TO,
    downloading,
    export,
    planned,
    run,
    running,
    status,
    window,
)

# Polling


def test_a_duplicate_delivery_changes_nothing() -> None:
    job, _ = run(running(), (MINUTE_MS, status("IN_PROGRESS", 1)))
    for late in (status("IN_PROGRESS", 1), status("COMPLETED", 1), status("FAILED", 5), Gone(1)):
        again, action = run(job, (MINUTE_MS, late))
        assert isinstance(action, Ignore)
        assert again == job


def test_setting_the_same_timer_twice_gives_the_same_timer() -> None:
    job = running()
    assert run(job, (1, Nothing()))[1] == PollAt(NOW + MINUTE_MS, 1)
    assert run(job, (2, Nothing()))[1] == PollAt(NOW + MINUTE_MS, 1)
    assert timer_name(job.job_key, 1) == timer_name(job.job_key, 1) != timer_name(job.job_key, 2)


def test_a_lost_timer_or_puller_polls_the_same_export_again() -> None:
    job = running()
    assert run(job, (20 * MINUTE_MS, Nothing()))[1] == PollAt(NOW + 20 * MINUTE_MS, 1)
    assert run(job, (10, TakenOver(9)))[1] == PollAt(NOW + 10, 1)
    assert run(job, (10, TakenOver(9)))[0].export_id == "e1"


def test_forty_polls_reach_the_end_of_the_longest_wait() -> None:
    slow = CostModel().observe(48, 20_000).observe(1, 20_000).observe(20, 20_000)
    job = new_job(window(48), 1, slow, NOW)
    wide = export(to_ms=FROM + 48 * HOUR_MS)
    job, action = run(job, Nothing(), Created(wide))
    assert wait_ms(job, POLICY) == 6 * HOUR_MS
    polls, now = 0, NOW
    while isinstance(action, PollAt):
        now, polls = action.at_ms, polls + 1
        job, action = step(job, Status(wide, action.n), now, POLICY)
    assert (polls, now) == (40, NOW + 6 * HOUR_MS)
    assert action == Cancel("e1")


def test_errors_while_polling_count_as_polls_and_honour_retry_after() -> None:
    limited = run(running(), (MINUTE_MS, RateLimited(600, poll_n=1)))[1]
    assert limited == PollAt(NOW + 11 * MINUTE_MS, 2)
    down = run(running(), (MINUTE_MS, Unavailable("503", poll_n=1)))[1]
    assert down == PollAt(NOW + 3 * MINUTE_MS, 2)


# Stuck


def stuck() -> ExportJob:
    job, action = run(running(), (30 * MINUTE_MS, status("IN_PROGRESS", 1)))
    assert action == Cancel("e1")
    return job


def test_the_wait_is_four_times_the_prediction_within_its_bounds() -> None:
    assert wait_ms(planned(1), POLICY) == 30 * MINUTE_MS
    assert wait_ms(planned(48), POLICY) == 4 * (120 + 48 * 30) * 1000


def test_a_stuck_export_is_cancelled_and_the_group_tried_with_one_hour() -> None:
    job, action = run(stuck(), (HOUR_MS, Cancelled()))
    assert isinstance(action, HalfOpen)
    assert (action.from_ms, action.to_ms) == (FROM, FROM + HOUR_MS)
    assert job.end is End.STUCK


@pytest.mark.parametrize("answer", [Refused(405), DOWN, RateLimited()])
def test_one_that_cannot_be_cancelled_blocks_its_group_for_a_day_from_its_creation(
    answer: Observation,
) -> None:
    job, action = run(stuck(), (HOUR_MS, answer))
    assert isinstance(action, Block)
    assert action.until_ms == NOW + DAY_MS
    assert run(job, (HOUR_MS, Nothing()))[1] == PollAt(NOW + 90 * MINUTE_MS, 2)
    job, action = run(job, (DAY_MS, Nothing()))
    assert isinstance(action, HalfOpen)
    assert job.end is End.STUCK


def test_a_cancel_without_answer_is_repeated_once_then_blocks() -> None:
    job, action = run(stuck(), (HOUR_MS, TakenOver(4)))
    assert action == Cancel("e1")
    assert isinstance(run(job, (HOUR_MS, Nothing()))[1], Block)


def test_a_stuck_export_that_completes_after_all_is_adopted() -> None:
    blocked, _ = run(stuck(), (HOUR_MS, Refused(405)))
    job, action = run(blocked, (5 * HOUR_MS, status("COMPLETED", 2)))
    assert action == FetchManifest("e1")
    assert job.state is State.READY


@pytest.mark.parametrize("end", ["FAILED", "CANCELLED", "EXPIRED"])
def test_a_stuck_export_that_dies_frees_its_group(end: str) -> None:
    blocked, _ = run(stuck(), (HOUR_MS, Refused(405)))
    assert isinstance(run(blocked, (5 * HOUR_MS, status(end, 2)))[1], HalfOpen)
    assert isinstance(run(blocked, (5 * HOUR_MS, Gone(2)))[1], HalfOpen)


# FAILED


def test_failed_is_asked_once_more_then_halved_then_its_hour_quarantined() -> None:
    job, action = run(running(), status("FAILED", 1))
    assert action == Retry(FROM, TO, 2, "OCP failed it: asked once more")
    again = retry_of(job, NOW)
    assert (again.attempt, again.failures, again.spent_export_ids) == (2, 1, ("e1",))
    assert again.job_key != job.job_key
    second = export(export_id="e2")
    job, action = run(again, Nothing(), Created(second), status("FAILED", 1))
    middle = FROM + 2 * HOUR_MS
    assert action == Bisect(((FROM, middle), (middle, TO)), "OCP failed it twice")
    assert job.end is End.BISECTED


def test_the_hour_that_fails_twice_is_quarantined_for_a_day() -> None:
    first, _ = run(running(1), status("FAILED", 1))
    job, action = run(retry_of(first, NOW), Nothing(), Created(export()), status("FAILED", 1))
    assert action == Quarantine(FROM, NOW + DAY_MS, "OCP failed it twice")
    assert job.end is End.QUARANTINED


def test_odd_windows_are_halved_without_a_gap() -> None:
    first, _ = run(running(3), status("FAILED", 1))
    action = run(retry_of(first, NOW), Nothing(), Created(export()), status("FAILED", 1))[1]
    assert isinstance(action, Bisect)
    (a, b), (c, d) = action.halves
    assert (a, b, c, d) == (FROM, FROM + HOUR_MS, FROM + HOUR_MS, FROM + 3 * HOUR_MS)


@pytest.mark.parametrize("seen", [status("CANCELLED", 1), Gone(1)])
def test_an_export_cancelled_by_others_is_asked_once_more_then_given_up(seen: Observation) -> None:
    job, action = run(running(), seen)
    assert isinstance(action, Retry)
    job, action = run(retry_of(job, NOW), Nothing(), Created(export()), seen)
    assert isinstance(action, Abandon)
    assert job.end is End.CANCELLED


# Expiry and downloads


def test_410_before_all_files_are_fetched_keeps_what_is_there_and_returns_the_rest() -> None:
    job, _ = run(downloading(), Progress(1))
    job, action = run(job, Gone())
    assert isinstance(action, Finish)
    assert (action.end, action.results) == (End.EXPIRED, Results(done=1, gone=1))
    finished = DownloadsFinished(Results(done=1, gone=1), 1)
    assert run(downloading(), finished)[0].end is End.EXPIRED


@pytest.mark.parametrize("seen", [Gone(), Nothing(), DOWN])
def test_a_file_list_that_stays_unreadable_ends_as_expired(seen: Observation) -> None:
    ready, _ = run(running(), status("COMPLETED", 1))
    job, action = run(ready, (POLICY.download_ms_max, seen))
    assert isinstance(action, Finish)
    assert job.end is End.EXPIRED


def test_a_file_list_that_cannot_be_read_frees_the_slot_and_is_tried_again() -> None:
    ready, _ = run(running(), status("COMPLETED", 1))
    job, action = run(ready, RateLimited(60))
    assert action == Release("retail")
    assert run(job, Nothing())[1] == BackOff(NOW + 60_000, "the file list is read again then")
    assert run(job, (60_000, Nothing()))[1] == FetchManifest("e1")


def test_a_silent_worker_is_replaced_and_a_busy_one_left_alone() -> None:
    job, _ = run(downloading(), (14 * MINUTE_MS, Progress(1)))
    assert isinstance(run(job, (28 * MINUTE_MS, Nothing()))[1], BackOff)
    job, action = run(job, (29 * MINUTE_MS, Nothing()))
    assert isinstance(action, StartDownloads)
    assert action.round == 2


def test_after_a_restart_the_downloads_go_on_at_once() -> None:
    assert isinstance(run(downloading(), (1, TakenOver(4)))[1], StartDownloads)


def test_failed_files_get_three_rounds_and_a_late_report_of_an_old_round_none() -> None:
    job, action = run(downloading(), DownloadsFinished(Results(1, 1), 1))
    assert isinstance(action, BackOff)
    assert action.spends_attempt
    job, action = run(job, (HOUR_MS, Nothing()))
    assert isinstance(action, StartDownloads)
    assert isinstance(run(job, (HOUR_MS, DownloadsFinished(Results(1, 1), 1)))[1], Ignore)
    job, _ = run(job, (HOUR_MS, DownloadsFinished(Results(1, 1), 2)), (2 * HOUR_MS, Nothing()))
    job, action = run(job, (2 * HOUR_MS, DownloadsFinished(Results(1, 1), 3)))
    assert isinstance(action, Finish)
    assert job.end is End.PARTIAL


def test_downloads_end_four_hours_before_the_data_expires() -> None:
    job, action = run(downloading(), (20 * HOUR_MS, Progress(1)))
    assert isinstance(action, Finish)
    assert job.end is End.EXPIRED
