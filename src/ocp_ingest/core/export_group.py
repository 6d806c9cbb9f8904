"""What one OCP group's past exports mean for its next ones.

on the job's action     effect on the group
Adopt, PollAt           the slot is ours: no longer busy
BackOff after 409       busy since then; an alarm after two hours
BackOff after 429, 5xx  cool down until then
StartDownloads, first   the export succeeded: learn its cost, close the breaker, end the block that
                        it caused itself, clear the window's suspects and quarantined hours
Finish DONE, PARTIAL    after eight in a row a halved cap doubles; a slow download halves it
Finish EXPIRED          third in a row: the cap halves (48 → 24 → 12 → 6 → 3 → 1 h)
Bisect                  the window's range becomes suspect: windows there get half its hours
Quarantine              the hour is in no window until its retry
Block                   nothing is exported until then
HalfOpen                windows of one hour only, until one planned after it succeeds; a stuck
                        export teaches that it takes at least so long
Abandon                 cool down for a quarter of an hour; while OCP creates nothing, for a share
                        of the time since the first such job: every job is written into the journal
                        of each of its calls, and an outage may last for weeks

The state is a value: a runner reads it, asks `gate`, plans with `caps_of`, and keeps what `after`
gives.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from ocp_ingest.core.cost_model import CostModel
from ocp_ingest.core.eligibility import Policy, next_watermark
from ocp_ingest.core.export_job import (
    Abandon,
    Action,
    Adopt,
    BackOff,
    Bisect,
    Block,
    End,
    ExportJob,
    Finish,
    HalfOpen,
    PollAt,
    Quarantine,
    StartDownloads,
    State,
    wait_ms,
)
from ocp_ingest.core.limits import HOUR_MS, SECOND_MS
from ocp_ingest.core.plan import Caps, PoisonHour, Suspect

# The incident that a job's end opens; the ends not named here heal by themselves.
INCIDENT_OF: Final[Mapping[End, str]] = {
    End.QUARANTINED: "hours_quarantined",
    End.STUCK: "group_half_open",
    End.REFUSED: "group_blocked",
    End.CANCELLED: "slot_busy",
    End.SLOT_HELD: "slot_busy",
    End.VENDOR_DOWN: "vendor_down",
    End.NOT_CREATED: "vendor_down",
}
# Ends of jobs for which OCP made no export: it is down, or as good as down.
_NOTHING_CREATED: Final = frozenset({End.VENDOR_DOWN, End.NOT_CREATED})
# 64 suspect ranges cover 128 days at 48 h each; more would mean that everything fails.
SUSPECTS_MAX: Final = 64
# A day of single poison hours and a margin; beyond it the group as a whole is ill.
POISON_MAX: Final = 64
# A download that used this share of its time makes the next one expire: shrink before it does.
SLOW_DOWNLOAD_SHARE: Final = 0.5


class GroupState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of a group between exports; times epoch ms, 0 = never."""

    ocp_group: str
    cooldown_until: int = 0
    blocked_until: int = 0
    blocked_why: str = ""
    half_open_since: int | None = None
    window_cap_hours: int = 48
    suspects: tuple[Suspect, ...] = ()
    poison_hours: tuple[PoisonHour, ...] = ()
    silent_since: int | None = None  # when the first job in a row was given up without an export
    expiries: int = 0  # in a row
    successes: int = 0  # in a row under the present cap
    busy_since: int | None = None
    model: CostModel = CostModel()
    watermark_ms: int | None = None  # None: the policy's

    @property
    def half_open(self) -> bool:
        """Whether an export was stuck and none has succeeded since."""
        return self.half_open_since is not None


class Open(msgspec.Struct, frozen=True, tag=True):
    """The group may export now, in windows of at most `hours`."""

    hours: int


class Closed(msgspec.Struct, frozen=True, tag=True):
    """The group has to wait until then."""

    until_ms: int
    why: str


class Alarm(msgspec.Struct, frozen=True):
    """An incident that stays open while the group is in this state; `kind` as in incidents.py."""

    kind: str
    since_ms: int | None
    why: str


def gate(group: GroupState, now: int) -> Open | Closed:
    """Whether the group may export now."""
    if now < group.blocked_until:
        return Closed(group.blocked_until, group.blocked_why or "the group is blocked")
    if now < group.cooldown_until:
        return Closed(group.cooldown_until, "the group cools down after errors")
    return Open(1 if group.half_open else group.window_cap_hours)


def caps_of(group: GroupState) -> Caps:
    """What the planner has to respect."""
    hours = 1 if group.half_open else group.window_cap_hours
    return Caps(hours, group.suspects, group.poison_hours)


def alarms(group: GroupState, now: int, policy: Policy) -> tuple[Alarm, ...]:
    """The group's open alarms, in words for the operator."""
    found: list[Alarm] = []
    if group.busy_since is not None and now - group.busy_since >= policy.busy_alarm_ms:
        hours = (now - group.busy_since) // HOUR_MS
        why = f"another export has held the group's slot for {hours} h: who runs it?"
        found.append(Alarm("slot_busy", group.busy_since, why))
    if now < group.blocked_until:
        found.append(Alarm("group_blocked", None, group.blocked_why))
    if group.half_open:
        why = "an export was stuck; the group is tried one hour at a time"
        found.append(Alarm("group_half_open", group.half_open_since, why))
    if group.poison_hours:
        why = f"{len(group.poison_hours)} hours cannot be exported; each is tried again daily"
        found.append(Alarm("hours_quarantined", None, why))
    if group.window_cap_hours < policy.window_hours_max:
        why = f"downloads are too slow for a day: windows of {group.window_cap_hours} h at most"
        found.append(Alarm("windows_shrunk", None, why))
    return tuple(found)


def adapt_watermark(group: GroupState, missed: int, asked: int, policy: Policy) -> GroupState:
    """The group with the watermark that its miss rate asks for; see `next_watermark`."""
    current = policy.watermark_ms if group.watermark_ms is None else group.watermark_ms
    return replace(group, watermark_ms=next_watermark(current, missed, asked, policy))


def after(  # noqa: PLR0911 - one return for each row of the table above
    group: GroupState, job: ExportJob, action: Action, now: int, policy: Policy
) -> GroupState:
    """The group after a job's `step`, given the job and the action that it returned."""
    match action:
        case Adopt() | PollAt():
            return replace(group, busy_since=None, silent_since=None)
        case BackOff():
            return _backed_off(group, job, action)
        case StartDownloads(round=1):
            return _exported(group, job, now, policy)
        case Finish(end=End.EXPIRED):
            return _expired(group, policy)
        case Finish():
            exported = group if job.round else _exported(group, job, now, policy)
            return _succeeded(exported, job, now, policy)
        case Bisect() | Quarantine():
            return _failed(group, job, action, now, policy)
        case Block(until_ms=until, why=why):
            return replace(group, blocked_until=until, blocked_why=why, busy_since=None)
        case HalfOpen():
            return _stuck(group, job, now, policy)
        case Abandon():
            return _abandoned(group, action, now, policy)
        case _:
            return group


def _stuck(group: GroupState, job: ExportJob, now: int, policy: Policy) -> GroupState:
    """It took at least as long as we waited: else a slow OCP would be given up on for ever."""
    model = group.model
    if job.end is End.STUCK:
        model = model.observe(job.hours, wait_ms(job, policy) / SECOND_MS)
    return replace(group, model=model, half_open_since=now, blocked_until=0, blocked_why="")


def _backed_off(group: GroupState, job: ExportJob, action: BackOff) -> GroupState:
    if job.state is State.BUSY:
        since = job.busy_since if group.busy_since is None else group.busy_since
        return replace(group, busy_since=since)
    if job.state in (State.PLANNED, State.DOUBTFUL):
        return replace(group, cooldown_until=max(group.cooldown_until, action.until_ms))
    return group


def _abandoned(group: GroupState, action: Abandon, now: int, policy: Policy) -> GroupState:
    since = None
    if action.end in _NOTHING_CREATED:
        since = now if group.silent_since is None else group.silent_since
    share = 0 if since is None else (now - since) // policy.cooldown_share
    pause = max(policy.cooldown_ms, min(share, policy.cooldown_ms_max))
    until = max(group.cooldown_until, now + pause)
    return replace(group, cooldown_until=until, busy_since=None, silent_since=since)


def _exported(group: GroupState, job: ExportJob, now: int, policy: Policy) -> GroupState:
    model = group.model
    if job.measured_ms is not None:
        model = model.observe(job.hours, job.measured_ms / SECOND_MS)
    # A job planned before the trouble proves nothing about the time after it.
    since = group.half_open_since
    closed = since is None or job.planned_at >= since
    poison = tuple(p for p in group.poison_hours if not job.from_ms <= p.hour_ms < job.to_ms)
    if job.blocked_until and job.blocked_until == group.blocked_until:
        # The stuck export completed after all: what it blocked is free.
        group = replace(group, blocked_until=0, blocked_why="")
    group = replace(
        group,
        model=model,
        half_open_since=None if closed else since,
        suspects=_without(group.suspects, job.from_ms, job.to_ms),
        poison_hours=poison,
    )
    return _forget(group, now, policy)


def _expired(group: GroupState, policy: Policy) -> GroupState:
    expiries = group.expiries + 1
    if expiries <= policy.expiries_max:
        return replace(group, expiries=expiries, successes=0)
    return _halved(group)


def _halved(group: GroupState) -> GroupState:
    cap = max(1, group.window_cap_hours // 2)
    return replace(group, window_cap_hours=cap, expiries=0, successes=0)


def _succeeded(group: GroupState, job: ExportJob, now: int, policy: Policy) -> GroupState:
    if now - job.ready_at > SLOW_DOWNLOAD_SHARE * policy.download_ms_max:
        return _halved(group)
    successes = group.successes + 1
    if successes < policy.cap_recovery_jobs or group.window_cap_hours >= policy.window_hours_max:
        return replace(group, successes=successes, expiries=0)
    cap = min(policy.window_hours_max, group.window_cap_hours * 2)
    return replace(group, window_cap_hours=cap, successes=0, expiries=0)


def _failed(
    group: GroupState, job: ExportJob, action: Bisect | Quarantine, now: int, policy: Policy
) -> GroupState:
    suspects = _without(group.suspects, job.from_ms, job.to_ms)
    if isinstance(action, Bisect):
        suspect = Suspect(job.from_ms, job.to_ms, max(1, job.hours // 2))
        suspects = (*suspects, suspect)[-SUSPECTS_MAX:]
        return _forget(replace(group, suspects=suspects, successes=0), now, policy)
    kept = tuple(p for p in group.poison_hours if p.hour_ms != action.hour_ms)
    poison = (*kept, PoisonHour(action.hour_ms, action.until_ms))[-POISON_MAX:]
    return _forget(replace(group, suspects=suspects, poison_hours=poison, successes=0), now, policy)


def _without(suspects: tuple[Suspect, ...], from_ms: int, to_ms: int) -> tuple[Suspect, ...]:
    """The suspect ranges minus `[from_ms, to_ms)`."""
    left: list[Suspect] = []
    for s in suspects:
        if s.to_ms <= from_ms or to_ms <= s.from_ms:
            left.append(s)
            continue
        if s.from_ms < from_ms:
            left.append(Suspect(s.from_ms, from_ms, s.hours))
        if to_ms < s.to_ms:
            left.append(Suspect(to_ms, s.to_ms, s.hours))
    return tuple(left)


def _forget(group: GroupState, now: int, policy: Policy) -> GroupState:
    """Drops what concerns hours that OCP has deleted."""
    oldest = now - policy.retention_ms
    return replace(
        group,
        suspects=tuple(s for s in group.suspects if s.to_ms > oldest),
        poison_hours=tuple(p for p in group.poison_hours if p.hour_ms + HOUR_MS > oldest),
    )
