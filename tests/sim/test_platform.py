"""Every rule of the Export API, one law each. The clock is an argument throughout."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocp_sim import config, ids
from ocp_sim.platform import RUNNING, Fate, Job, Platform, RefusedError, ms_of, text_of, whole_hours
from tests.sim.kit import GROUPS, HOUR, T0, small_world

GROUP = GROUPS[0]
SPAN = (T0, T0 + 10 * HOUR)
AFTER = T0 + 13 * HOUR  # the calls of small_world are over and past the watermark
DAY = 24 * HOUR
WELL = Fate()


def platform(calls: int = 60, rules: config.Export | None = None, **shares: Any) -> Platform:
    return Platform(small_world(calls, **shares), rules or config.Export(), ids.chance(1))


def export(
    where: Platform, span: tuple[int, int] = SPAN, types: tuple[str, ...] = ("audio",),
    now_ms: int = AFTER, fate: Fate = WELL, group: str = GROUP,
) -> Job:  # fmt: skip
    return where.create(now_ms, group, span, types, allowed=GROUPS, fate=fate)


def names(job: Job) -> set[str]:
    return {file.name for file in job.files}


def refused(act: Callable[[], object]) -> int:
    with pytest.raises(RefusedError) as caught:
        act()
    return caught.value.status


# ---- range ------------------------------------------------------------------------------------


def test_the_documented_example_of_dropped_minutes() -> None:
    def at(text: str) -> int:
        return ms_of(f"2023-01-12T{text}:00.000Z")

    assert whole_hours((at("12:10"), at("13:20"))) == (at("12:00"), at("13:00"))


@given(st.integers(T0, T0 + 40 * HOUR), st.integers(0, 60 * HOUR))
def test_an_export_is_of_whole_hours_both_ends_floored_or_is_refused(at: int, span: int) -> None:
    where = platform(calls=0)
    hours = (at + span) // HOUR - at // HOUR
    if 1 <= hours <= 48:
        job = export(where, (at, at + span), now_ms=T0 + 200 * HOUR)
        assert job.from_ms == at - at % HOUR
        assert job.to_ms == (at + span) - (at + span) % HOUR
    else:
        assert refused(lambda: export(where, (at, at + span))) == 400


def test_times_are_iso_8601_with_milliseconds_and_z() -> None:
    assert text_of(1_673_524_800_000) == "2023-01-12T12:00:00.000Z"
    assert ms_of("2023-01-12T12:00:00.000Z") == 1_673_524_800_000
    assert refused(lambda: ms_of("yesterday")) == 400
    assert refused(lambda: ms_of("2023-01-12T12:00:00")) == 400


def test_a_range_into_the_future_is_a_setting() -> None:
    span = (AFTER, AFTER + 2 * HOUR)
    assert export(platform(), span).files == ()
    strict = platform(rules=config.Export(future_allowed=False))
    assert refused(lambda: export(strict, span)) == 400


@pytest.mark.parametrize("types", [(), ("Audio",), ("audio", "video")])
def test_unknown_types_are_refused(types: tuple[str, ...]) -> None:
    assert refused(lambda: export(platform(), types=types)) == 400


# ---- who, and how many ------------------------------------------------------------------------


def test_a_group_off_the_whitelist_is_refused_whatever_is_asked() -> None:
    where = platform()
    job = export(where)
    only = ("latam-retail",)
    assert refused(lambda: where.create(AFTER, GROUP, SPAN, ("audio",), allowed=only)) == 403
    assert refused(lambda: where.get(GROUP, job.id, allowed=only)) == 403
    assert refused(lambda: where.exports(GROUP, allowed=only)) == 403


def test_a_group_that_does_not_exist_is_refused_alike() -> None:
    assert refused(lambda: platform().exports("nobody", allowed=("nobody",))) == 403


def test_a_second_export_of_a_group_is_refused_until_the_first_ends() -> None:
    where = platform()
    first = export(where)
    assert first.ready_ms is not None
    assert refused(lambda: export(where, now_ms=AFTER + 1)) == 409
    export(where, now_ms=first.ready_ms)


def test_other_groups_do_not_wait() -> None:
    where = platform()
    export(where)
    export(where, group=GROUPS[1])


def test_somebody_elses_export_holds_the_slot_and_is_listed() -> None:
    where = platform()
    where.hold_slot(AFTER, GROUP, 600_000)
    assert refused(lambda: export(where)) == 409
    assert [job.created_by for job in where.exports(GROUP, allowed=GROUPS)] == ["console"]
    export(where, now_ms=AFTER + 700_000)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4 * HOUR), st.sampled_from(
    ["create", "cancel", "foreign", "stuck"])), max_size=30))  # fmt: skip
def test_never_do_two_exports_of_a_group_run_at_once(acts: list[tuple[int, str]]) -> None:
    where, now_ms = platform(calls=0), AFTER
    for wait_ms, act in acts:
        now_ms += wait_ms
        busy = where.running(now_ms, GROUP)
        if act == "foreign":
            where.hold_slot(now_ms, GROUP, 5_000_000)
        elif act == "cancel" and busy:
            where.cancel(now_ms, busy)
            assert where.running(now_ms, GROUP) is None
        elif act in ("create", "stuck"):
            asked = partial(export, where, now_ms=now_ms, fate=Fate(stuck=act == "stuck"))
            assert (refused(asked) == 409) if busy else asked()
        running = [j for j in where.jobs[GROUP].values() if j.status(now_ms) in RUNNING]
        assert len(running) <= 1
    assert where.most_running[GROUP] <= 1


# ---- life of a job ----------------------------------------------------------------------------


def test_a_job_is_pending_then_in_progress_then_completed_then_expired() -> None:
    where = platform()
    job = export(where, (T0, T0 + 5 * HOUR))
    rules = where.rules
    done = AFTER + int((rules.pending_s + rules.job_fixed_s + 5 * rules.job_per_hour_s) * 1000)
    moments = {
        AFTER: "PENDING",
        AFTER + 20_000 - 1: "PENDING",
        AFTER + 20_000: "IN_PROGRESS",
        done - 1: "IN_PROGRESS",
        done: "COMPLETED",
        AFTER + DAY - 1: "COMPLETED",
        AFTER + DAY: "EXPIRED",
    }
    assert {at: job.status(at) for at in moments} == moments


def test_a_longer_range_takes_longer() -> None:
    short = export(platform(), (T0, T0 + HOUR)).ready_ms
    long = export(platform(), (T0, T0 + 48 * HOUR)).ready_ms
    assert short is not None
    assert long is not None
    assert long - short == 47 * 10_000


def test_data_is_there_from_completion_until_one_day_after_creation() -> None:
    where = platform()
    job = export(where)
    assert job.ready_ms is not None
    assert refused(lambda: where.files(AFTER, job)) == 409
    assert where.files(job.ready_ms, job) == job.files != ()
    assert where.files(AFTER + DAY - 1, job)
    assert refused(lambda: where.files(AFTER + DAY, job)) == 410


def test_a_stuck_job_holds_the_slot_until_it_expires() -> None:
    where = platform()
    job = export(where, fate=Fate(stuck=True))
    assert job.status(AFTER + DAY - 1) == "IN_PROGRESS"
    assert refused(lambda: export(where, now_ms=AFTER + DAY - 1)) == 409
    assert export(where, now_ms=AFTER + DAY)


def test_a_failed_job_has_no_files_and_frees_the_slot() -> None:
    where = platform()
    job = export(where, fate=Fate(failed=True))
    assert job.ready_ms is not None
    assert job.status(job.ready_ms) == "FAILED"
    assert job.files == ()
    export(where, now_ms=job.ready_ms)


def test_a_job_that_expires_early_is_gone_soon_after_completion() -> None:
    job = export(platform(), fate=Fate(kept_ms=60_000))
    assert job.ready_ms is not None
    assert job.status(job.ready_ms) == "COMPLETED"
    assert job.status(job.ready_ms + 60_000) == "EXPIRED"


def test_a_running_export_can_be_cancelled_once_and_again() -> None:
    where = platform()
    job = export(where)
    where.cancel(AFTER + 1, job)
    where.cancel(AFTER + 2, job)
    assert job.status(AFTER + 3) == "CANCELLED"
    assert refused(lambda: where.files(AFTER + 3, job)) == 410
    export(where, now_ms=AFTER + 3)


def test_an_export_that_has_ended_cannot_be_cancelled() -> None:
    where = platform()
    job = export(where)
    assert job.ready_ms is not None
    assert refused(lambda: where.cancel(job.ready_ms or 0, job)) == 409
    never = platform(rules=config.Export(cancel_supported=False))
    assert refused(lambda: never.cancel(AFTER, export(never))) == 405


def test_exports_are_listed_newest_first_and_found_by_id() -> None:
    where = platform()
    made = [export(where, now_ms=AFTER + n * HOUR) for n in range(3)]
    assert where.exports(GROUP, allowed=GROUPS) == tuple(reversed(made))
    assert where.get(GROUP, made[1].id, allowed=GROUPS) is made[1]
    assert refused(lambda: where.get(GROUP, "no-such", allowed=GROUPS)) == 404


# ---- what an export holds ---------------------------------------------------------------------


def recordings(where: Platform, *, group: str = GROUP) -> dict[str, int]:
    """Names of a group's recordings and when their calls start."""
    return {
        call.recording.name: call.start_ms
        for call in where._calls[group]
        if call.recording is not None
    }


def test_an_export_holds_the_recordings_of_its_group_that_start_in_its_range() -> None:
    where = platform()
    span = (T0 + 2 * HOUR, T0 + 5 * HOUR)
    wanted = {n for n, start in recordings(where).items() if span[0] <= start < span[1]}
    assert wanted
    assert names(export(where, span)) == wanted


def test_adjacent_hours_share_nothing_and_miss_nothing() -> None:
    where = platform(calls=200)
    found: list[str] = []
    for n in range(10):
        span = (T0 + n * HOUR, T0 + (n + 1) * HOUR)
        found += names(export(where, span, now_ms=AFTER + n * HOUR))
    assert sorted(found) == sorted(recordings(where))


def test_the_range_may_filter_on_the_end_instead() -> None:
    rules = config.Export(range_by="end")
    world = small_world(calls=60, duration_s=(1200, 2400))
    where = Platform(world, rules, ids.chance(1))
    calls = [c for c in where._calls[GROUP] if c.start_ms < T0 + 3 * HOUR <= c.end_ms]
    assert calls, "some call must cross the hour"
    assert calls[0].recording is not None
    assert calls[0].recording.name in names(export(where, (T0 + 3 * HOUR, T0 + 4 * HOUR)))


def test_a_call_enters_exports_only_after_the_watermark() -> None:
    where = platform(rules=config.Export(watermark_s=6000))
    call = where._calls[GROUP][0]
    assert call.recording is not None
    span = (call.start_ms, call.start_ms + HOUR)
    early, due = call.end_ms + 5_999_999, call.end_ms + 6_000_000
    assert call.recording.name not in names(export(where, span, now_ms=early))
    assert call.recording.name in names(export(where, span, now_ms=due + 10 * HOUR))
    assert call.recording.name in names(export(platform(), span, now_ms=due))


def test_a_job_holds_what_was_there_when_it_was_made() -> None:
    where = platform()
    job = export(where, now_ms=T0)
    assert job.files == ()
    assert job.ready_ms is not None
    assert where.files(job.ready_ms + 20 * HOUR, job) == ()


def test_late_data_enters_exports_hours_later() -> None:
    where = platform(lost=0.3, late_at_ocp=0.2)
    late = {c.recording.name for c in where._calls[GROUP]
            if c.recording and "late_at_ocp" in c.faults}  # fmt: skip
    assert late
    calls = {call.recording.name: call for call in where._calls[GROUP] if call.recording}
    for name in late:
        due_ms = calls[name].end_ms + 5 * HOUR
        assert name not in names(export(platform(lost=0.3, late_at_ocp=0.2), now_ms=due_ms - 1))
        assert name in names(export(platform(lost=0.3, late_at_ocp=0.2), now_ms=due_ms))


def test_nothing_older_than_the_retention_is_exported() -> None:
    where = platform()
    call = where._calls[GROUP][0]
    assert call.recording is not None
    last = call.start_ms + 60 * DAY
    assert call.recording.name in names(export(where, now_ms=last - 1))
    assert call.recording.name not in names(export(where, now_ms=last + DAY))


def test_a_recording_deleted_at_ocp_is_in_no_export_while_its_cdrs_are() -> None:
    where = platform(expired=0.3)
    job = export(where, types=("audio", "dialog_start"))
    gone = {c.recording.name for c in where._calls[GROUP] if c.recording and "expired" in c.faults}
    assert gone
    assert not gone & names(job)
    lines = [line for file in job.files for line in file.lines]
    assert gone <= {c.recording.name for c in where._calls[GROUP] if c.recording
                    and any(c.call_id.encode() in line for line in lines)}  # fmt: skip


def test_what_the_stream_never_told_is_in_exports() -> None:
    where = platform(nothing=0.1, lost=0.2, missing_start=0.1)
    assert names(export(where)) == recordings(where).keys()


@pytest.mark.parametrize("cdr_type", ["dialog_start", "dialog_end", "dialog_step", "ivr_end"])
def test_cdrs_come_as_lines_of_json_in_files_named_json(cdr_type: str) -> None:
    where = platform(rules=config.Export(lines_per_file=7))
    job = export(where, types=(cdr_type,))
    wanted = [
        cdr.body
        for call in where._calls[GROUP]
        for cdr in call.cdrs
        if cdr.message_type == cdr_type
    ]
    got = [json.loads(line) for file in job.files for line in file.lines]
    assert got == [dict(body) for body in wanted] != []
    assert {file.name for file in job.files} == {
        f"{cdr_type}_{n:05d}.json" for n in range(-(-len(wanted) // 7))
    }


def test_all_means_every_cdr_and_no_audio() -> None:
    types = {file.type for file in export(platform(), types=("ALL",)).files}
    assert types == {"dialog_start", "dialog_step", "dialog_end", "ivr_end"}


def test_audio_may_come_as_one_zip() -> None:
    where = platform(rules=config.Export(audio_as="zip"))
    (file,) = export(where).files
    assert file.is_zip
    assert set(file.recordings) == recordings(where).keys()
    assert export(where, (T0 + 40 * HOUR, T0 + 41 * HOUR), now_ms=AFTER + DAY).files == ()


def test_a_listing_may_leave_recordings_out() -> None:
    where = platform()
    short, whole = (
        names(export(where, now_ms=AFTER + n * DAY, fate=Fate(missing_share=share)))
        for n, share in enumerate((0.5, 0))
    )
    assert short < whole
    assert len(short) == round(len(whole) / 2)
    assert whole == recordings(where).keys()


def test_the_json_of_a_job_tells_files_only_once_completed() -> None:
    job = export(platform())
    assert job.ready_ms is not None
    pending, completed = job.shown(AFTER), job.shown(job.ready_ms)
    assert pending["status"] == "PENDING"
    assert "fileCount" not in pending
    assert completed["status"] == "COMPLETED"
    assert completed["fileCount"] == len(job.files)
    assert completed["from"] == text_of(T0)
    assert completed["expiresAt"] == text_of(AFTER + DAY)
