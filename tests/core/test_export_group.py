"""A group learns from its exports, shrinks, blocks, heals; and no poison hour stops the rest."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ocp_ingest.core.cost_model import CostModel
from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.export_group import (
    INCIDENT_OF,
    Closed,
    GroupState,
    Open,
    adapt_watermark,
    after,
    alarms,
    caps_of,
    gate,
)
from ocp_ingest.core.export_job import (
    Abandon,
    Act,
    BackOff,
    Bisect,
    Block,
    Create,
    Created,
    End,
    Export,
    ExportJob,
    FetchManifest,
    Files,
    Finish,
    HalfOpen,
    Nothing,
    Observation,
    PollAt,
    Quarantine,
    Release,
    Results,
    Retry,
    StartDownloads,
    State,
    Status,
    VendorStatus,
    new_job,
    retry_of,
    step,
)
from ocp_ingest.core.incidents import INCIDENT_KINDS
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.core.plan import PendingCall, PoisonHour, Suspect, Window, plan

POLICY = Policy()
T0 = 1_790_000_000_000 // DAY_MS * DAY_MS
NOW = T0 + 5 * DAY_MS
GROUP = GroupState(ocp_group="g")


def job_of(hours: int = 4, **changes: Any) -> ExportJob:
    window = Window(
        ocp_group="g",
        from_ms=T0,
        to_ms=T0 + hours * HOUR_MS,
        call_ids=("a",),
        predicted_s=1,
        urgent=False,
        why="",
        deadline_at=T0 + 60 * DAY_MS,
        waiting_since=T0,
        ready_at=T0,
    )
    return replace(new_job(window, 1, CostModel(), NOW), **{"ready_at": NOW, **changes})


def done(group: GroupState, end: End = End.DONE, now: int = NOW) -> GroupState:
    return after(group, job_of(round=1), Finish(end, Results(), ""), now, POLICY)


def test_a_new_group_is_open_for_the_widest_windows() -> None:
    assert gate(GROUP, NOW) == Open(48)
    assert caps_of(GROUP).hours == 48
    assert alarms(GROUP, NOW, POLICY) == ()


def test_the_third_expiry_in_a_row_halves_the_windows_down_to_one_hour() -> None:
    group, caps = GROUP, list[int]()
    for _ in range(21):
        group = done(group, End.EXPIRED)
        caps.append(group.window_cap_hours)
    assert caps[:3] == [48, 48, 24]
    assert caps[2::3] == [24, 12, 6, 3, 1, 1, 1]
    assert done(done(done(GROUP, End.EXPIRED), End.EXPIRED)).expiries == 0


def test_eight_good_jobs_double_a_halved_cap_again() -> None:
    group = replace(GROUP, window_cap_hours=12)
    assert [a.kind for a in alarms(group, NOW, POLICY)] == ["windows_shrunk"]
    for _ in range(7):
        group = done(group)
    assert group.window_cap_hours == 12
    assert done(group).window_cap_hours == 24


def test_a_download_that_took_half_its_time_shrinks_windows_before_one_expires() -> None:
    assert done(GROUP, now=NOW + 11 * HOUR_MS).window_cap_hours == 24
    assert done(GROUP, now=NOW + 9 * HOUR_MS).window_cap_hours == 48


def test_the_cost_of_each_export_is_learned_once() -> None:
    job = job_of(round=1, measured_ms=600_000)
    group = after(GROUP, job, StartDownloads("e", 1, 0), NOW, POLICY)
    assert group.model == CostModel().observe(4, 600)
    again = after(group, replace(job, round=2), StartDownloads("e", 2, 0), NOW, POLICY)
    assert after(again, job, Finish(End.DONE, Results(), ""), NOW, POLICY).model == group.model
    empty = after(GROUP, replace(job, round=0), Finish(End.DONE, Results(), ""), NOW, POLICY)
    assert empty.model == group.model


def test_a_failed_window_makes_its_range_suspect_until_a_window_there_succeeds() -> None:
    group = after(GROUP, job_of(8), Bisect((), ""), NOW, POLICY)
    assert group.suspects == (Suspect(T0, T0 + 8 * HOUR_MS, 4),)
    half = job_of(4, round=1)
    group = after(group, half, StartDownloads("e", 1, 0), NOW, POLICY)
    assert group.suspects == (Suspect(T0 + 4 * HOUR_MS, T0 + 8 * HOUR_MS, 4),)


def test_a_success_in_the_middle_leaves_both_sides_suspect() -> None:
    around = Suspect(T0 - HOUR_MS, T0 + 6 * HOUR_MS, 3)
    group = replace(GROUP, suspects=(around,))
    group = after(group, job_of(4, round=1), StartDownloads("e", 1, 0), NOW, POLICY)
    assert [(s.from_ms - T0, s.to_ms - T0) for s in group.suspects] == [
        (-HOUR_MS, 0),
        (4 * HOUR_MS, 6 * HOUR_MS),
    ]


def test_a_quarantined_hour_is_kept_out_alarmed_and_freed_by_its_first_success() -> None:
    group = after(GROUP, job_of(1), Quarantine(T0, NOW + DAY_MS, ""), NOW, POLICY)
    assert caps_of(group).poison == (PoisonHour(T0, NOW + DAY_MS),)
    assert [a.kind for a in alarms(group, NOW, POLICY)] == ["hours_quarantined"]
    later = after(group, job_of(1), Quarantine(T0, NOW + 2 * DAY_MS, ""), NOW, POLICY)
    assert later.poison_hours == (PoisonHour(T0, NOW + 2 * DAY_MS),)
    freed = after(later, job_of(1, round=1), StartDownloads("e", 1, 0), NOW, POLICY)
    assert freed.poison_hours == ()


def test_hours_that_ocp_has_deleted_are_forgotten() -> None:
    old = replace(GROUP, poison_hours=(PoisonHour(T0 - 61 * DAY_MS, 0),))
    assert after(old, job_of(8), Bisect((), ""), NOW, POLICY).poison_hours == ()


def test_a_block_closes_the_group_and_half_open_tries_one_hour_until_a_success() -> None:
    blocked = after(GROUP, job_of(), Block("g", NOW + HOUR_MS, "stuck"), NOW, POLICY)
    assert gate(blocked, NOW) == Closed(NOW + HOUR_MS, "stuck")
    assert gate(blocked, NOW + HOUR_MS) == Open(48)
    assert [a.kind for a in alarms(blocked, NOW, POLICY)] == ["group_blocked"]
    half = after(blocked, job_of(), HalfOpen("g", T0, T0 + HOUR_MS, ""), NOW + 1, POLICY)
    assert gate(half, NOW + 1) == Open(1)
    assert caps_of(half).hours == 1
    assert [a.kind for a in alarms(half, NOW, POLICY)] == ["group_half_open"]
    old = job_of(round=1, planned_at=NOW)
    still = after(half, old, StartDownloads("e", 1, 0), NOW + 2, POLICY)
    assert still.half_open, "a job planned before the trouble proves nothing"
    new = job_of(round=1, planned_at=NOW + 2)
    assert gate(after(half, new, StartDownloads("e", 1, 0), NOW + 3, POLICY), NOW + 3) == Open(48)


def test_a_foreign_export_alarms_after_two_hours_and_is_forgotten_once_the_slot_is_ours() -> None:
    job = job_of(state=State.BUSY, busy_since=NOW)
    group = after(GROUP, job, BackOff(NOW + MINUTE_MS, ""), NOW, POLICY)
    assert alarms(group, NOW + 2 * HOUR_MS - 1, POLICY) == ()
    assert [a.kind for a in alarms(group, NOW + 2 * HOUR_MS, POLICY)] == ["slot_busy"]
    assert after(group, job, PollAt(NOW, 1), NOW, POLICY).busy_since is None
    assert gate(group, NOW) == Open(48), "the job itself knows when to look again"


def test_errors_and_given_up_jobs_cool_the_group_down() -> None:
    job = job_of(state=State.PLANNED)
    group = after(GROUP, job, BackOff(NOW + MINUTE_MS, ""), NOW, POLICY)
    assert gate(group, NOW) == Closed(NOW + MINUTE_MS, "the group cools down after errors")
    group = after(GROUP, job, Abandon(End.VENDOR_DOWN, ""), NOW, POLICY)
    assert gate(group, NOW + 15 * MINUTE_MS - 1) != Open(48)
    assert gate(group, NOW + 15 * MINUTE_MS) == Open(48)


def test_while_ocp_is_silent_jobs_get_rarer_so_that_journals_stay_short() -> None:
    job, group, now, jobs = job_of(state=State.PLANNED), GROUP, NOW, 0
    while now < NOW + 60 * DAY_MS:
        group = after(group, job, Abandon(End.VENDOR_DOWN, ""), now, POLICY)
        pause = group.cooldown_until - now
        assert pause <= max(15 * MINUTE_MS, (now - NOW) // 12), "a short outage is soon over"
        now, jobs = group.cooldown_until, jobs + 1
    assert jobs < 420  # 5,760 without: a call's record would outgrow what a database takes
    answered = after(group, job, PollAt(now, 1), now, POLICY)
    again = after(answered, job, Abandon(End.VENDOR_DOWN, ""), now, POLICY)
    assert gate(again, now + 15 * MINUTE_MS) == Open(48)
    held = after(group, job, Abandon(End.SLOT_HELD, ""), now, POLICY)
    assert gate(held, now + 15 * MINUTE_MS) == Open(48)


def test_every_incident_named_here_exists() -> None:
    assert set(INCIDENT_OF.values()) <= set(INCIDENT_KINDS)
    heals = {End.DONE, End.PARTIAL, End.EXPIRED, End.FAILED, End.BISECTED}
    assert set(INCIDENT_OF) == set(End) - heals


def test_the_watermark_is_the_policy_s_until_the_group_has_its_own() -> None:
    assert adapt_watermark(GROUP, 0, 100, POLICY).watermark_ms == 90 * MINUTE_MS
    assert adapt_watermark(GROUP, 20, 100, POLICY).watermark_ms == 3 * HOUR_MS


def test_the_state_survives_the_wire() -> None:
    group = replace(GROUP, suspects=(Suspect(1, 2, 3),), model=CostModel().observe(1, 2))
    assert msgspec.json.decode(msgspec.json.encode(group), type=GroupState) == group


class Ocp:
    """An OCP that fails every export touching a poison hour and serves all others."""

    def __init__(self, poison: set[int]) -> None:
        self.poison = poison
        self.exports = 0

    def answer(self, job: ExportJob, action: Act, now: int) -> tuple[int, Observation]:
        match action:
            case Create():
                self.exports += 1
                return now, Created(self.export(job, VendorStatus.PENDING, now))
            case PollAt(at_ms=at, n=n):
                hours = range(job.from_ms // HOUR_MS, job.to_ms // HOUR_MS)
                bad = any(hour in self.poison for hour in hours)
                status = VendorStatus.FAILED if bad else VendorStatus.COMPLETED
                return at, Status(self.export(job, status, now), n)
            case FetchManifest():
                return now, Files(9, len(job.call_ids), "m")
            case _:
                assert isinstance(action, StartDownloads | Release)
                return now, Nothing()

    def export(self, job: ExportJob, status: VendorStatus, now: int) -> Export:
        return Export(
            export_id=f"e{self.exports}",
            status=status,
            from_ms=job.from_ms,
            to_ms=job.to_ms,
            types=job.types,
            created_at=now,
        )


def export_once(ocp: Ocp, job: ExportJob, group: GroupState, now: int) -> tuple[Any, ...]:
    """One job to its downloads or its end: (job, its last action, group, now)."""
    seen: Observation = Nothing()
    while True:
        job, action = step(job, seen, now, POLICY)
        group = after(group, job, action, now, POLICY)
        if job.state in (State.ENDED, State.DOWNLOADING):
            return job, action, group, now
        now, seen = ocp.answer(job, action, now)


@settings(max_examples=40)
@given(
    st.sets(st.integers(0, 95), min_size=1, max_size=60),
    st.sets(st.integers(0, 95), max_size=3),
)
def test_poison_hours_are_found_by_halving_and_every_other_call_is_exported(
    call_hours: set[int], poison: set[int]
) -> None:
    first = T0 // HOUR_MS
    ocp, group, now = Ocp({first + hour for hour in poison}), GROUP, NOW
    pending = {
        str(h): PendingCall(
            str(h), T0 + h * HOUR_MS, T0 + h * HOUR_MS + 1, 0, T0, T0 + 60 * DAY_MS, NOW
        )
        for h in call_hours
    }
    for attempt in range(200):
        made = plan("g", pending.values(), group.model, POLICY, now, caps_of(group))
        if not made.windows:
            break
        job = new_job(made.windows[0], attempt, group.model, now)
        job, action, group, now = export_once(ocp, job, group, now)
        if isinstance(action, Retry):
            job, action, group, now = export_once(ocp, retry_of(job, now), group, now)
        if isinstance(action, StartDownloads):
            for name in job.call_ids:
                del pending[name]
    assert {int(name) for name in pending} == call_hours & poison
    assert {(p.hour_ms - T0) // HOUR_MS for p in group.poison_hours} == call_hours & poison
    # Two exports for each halving (48, 24, 12, 6, 3, 1 h), one for what each halving splits off.
    assert ocp.exports <= len(call_hours) + 18 * len(poison)


@pytest.mark.parametrize("hours", [1, 2, 48])
def test_a_group_that_recovers_from_a_stuck_export_goes_on_in_full_windows(hours: int) -> None:
    group = after(GROUP, job_of(), HalfOpen("g", T0, T0 + HOUR_MS, ""), NOW, POLICY)
    call = PendingCall("a", T0, T0 + hours * HOUR_MS - 1, 0, T0, T0 + 60 * DAY_MS, NOW)
    policy = Policy(max_call_ms=48 * HOUR_MS)
    made = plan("g", [call], group.model, policy, NOW, caps_of(group))
    assert made.windows[0].hours == 1
    job = new_job(made.windows[0], 1, group.model, NOW)
    _, _, group, now = export_once(Ocp(set()), job, group, NOW)
    made = plan("g", [call], group.model, policy, now, caps_of(group))
    assert made.windows[0].hours == hours
