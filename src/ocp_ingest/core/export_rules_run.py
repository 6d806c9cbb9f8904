"""Rules while OCP works on the export: polling, cancelling, and watching one that is stuck.

Every wait is finite, and only an export of our own is cancelled. Each poll has its number; an
answer to any other poll than the next is ignored.
"""

from msgspec.structs import replace

from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.export_actions import Block, Cancel, HalfOpen, PollAt, Retry, Step
from ocp_ingest.core.export_facts import (
    UNDER_WAY,
    End,
    Export,
    ExportJob,
    Gone,
    Nothing,
    RateLimited,
    Refused,
    Seen,
    State,
    Status,
    Unavailable,
    VendorStatus,
)
from ocp_ingest.core.export_rules_fetch import expired, ready
from ocp_ingest.core.export_steps import abandon, ended, ignore, is_stale, retry_after_ms, split
from ocp_ingest.core.limits import HOUR_MS, SECOND_MS


def poll_again(job: ExportJob, _seen: Seen, now: int, _policy: Policy) -> Step:
    """Sets the same timer again, or polls now if its time is over: a lost timer costs nothing."""
    return job, PollAt(max(now, job.next_poll_at), job.polls + 1)


def poll_now(job: ExportJob, _seen: Seen, now: int, _policy: Policy) -> Step:
    """Polls the same export at once: no new one is made."""
    return replace(job, next_poll_at=now), PollAt(now, job.polls + 1)


def judge_status(  # noqa: PLR0911 - one return for each of OCP's states
    job: ExportJob, seen: Status, now: int, policy: Policy
) -> Step:
    """Goes on when completed, asks again when failed, polls on until the wait is over."""
    if is_stale(job, seen.poll_n):
        return ignore(job, seen, now, policy)
    job = _polled(job, seen.export, now)
    match seen.export.status:
        case VendorStatus.COMPLETED:
            return ready(job, seen.export, now, policy)
        case VendorStatus.FAILED if job.failures == 0:
            return _again(job, End.FAILED, "OCP failed it: asked once more", now)
        case VendorStatus.FAILED:
            return split(job, "OCP failed it twice", now, policy)
        case VendorStatus.CANCELLED:
            return vanished(job, Gone(), now, policy)
        case VendorStatus.EXPIRED:
            return expired(job, seen, now, policy)
        case _:
            return poll_next(job, now, policy)


def poll_failed(
    job: ExportJob, seen: Refused | RateLimited | Unavailable, now: int, policy: Policy
) -> Step:
    """Counts as a poll and is asked again in its turn, or after Retry-After."""
    if is_stale(job, seen.poll_n):
        return ignore(job, seen, now, policy)
    job = replace(_counted(job, now), errors=job.errors + 1)
    asked = seen.retry_after_s if isinstance(seen, RateLimited) else None
    return poll_next(job, now, policy, after_ms=retry_after_ms(asked, policy) or 0)


def vanished(job: ExportJob, seen: Gone, now: int, policy: Policy) -> Step:
    """Asks once more for an export that someone cancelled or deleted, then gives up."""
    if is_stale(job, seen.poll_n):
        return ignore(job, seen, now, policy)
    if job.failures == 0:
        return _again(job, End.CANCELLED, "it was cancelled at OCP: asked once more", now)
    return abandon(job, End.CANCELLED, "it was cancelled at OCP again", now)


def poll_next(job: ExportJob, now: int, policy: Policy, after_ms: int = 0) -> Step:
    """+1, +2, +5 min, then every 5; stretched so that 40 polls reach the end of the wait."""
    deadline = job.watched_from + wait_ms(job, policy)
    if now >= deadline or job.polls >= policy.polls_max:
        return _give_up(job, now, policy)
    if job.polls < len(policy.poll_delays_s):
        delay = policy.poll_delays_s[job.polls] * SECOND_MS
    else:
        left = policy.polls_max - job.polls
        delay = max(policy.poll_every_s * SECOND_MS, -(-(deadline - now) // left))
    at = min(now + max(delay, after_ms), deadline)
    return replace(job, next_poll_at=at), PollAt(at, job.polls + 1)


def _give_up(job: ExportJob, now: int, policy: Policy) -> Step:
    if job.ours and job.export_id is not None:
        return replace(job, state=State.CANCELLING, cancels=1), Cancel(job.export_id)
    return block(job, Nothing(), now, policy)


def wait_ms(job: ExportJob, policy: Policy) -> int:
    """How long OCP may take before the job counts as stuck."""
    wanted = int(policy.wait_factor * job.predicted_s * SECOND_MS)
    return min(policy.wait_ms_max, max(policy.wait_ms_min, wanted))


# Stuck


def cancel_again(job: ExportJob, seen: Seen, now: int, policy: Policy) -> Step:
    """Repeats a cancel whose answer never came, once; then blocks the group."""
    if job.cancels < policy.cancels_max and job.export_id is not None:
        return replace(job, cancels=job.cancels + 1), Cancel(job.export_id)
    return block(job, seen, now, policy)


def block(job: ExportJob, _seen: Seen, now: int, policy: Policy) -> Step:
    """Blocks the group until OCP drops the export, a day after its creation, and watches it."""
    until = job.posted_at + policy.export_life_ms
    if now >= until:
        return slot_freed(job, _seen, now, policy)
    why = "the export does not complete and cannot be cancelled"
    watch_at = min(now + policy.blocked_poll_ms, until)
    job = replace(job, state=State.BLOCKED, blocked_until=until, next_poll_at=watch_at)
    return job, Block(job.ocp_group, until, why)


def watch_again(job: ExportJob, seen: Seen, now: int, policy: Policy) -> Step:
    """Sets the same timer again; at the end of the block tries the group with one hour."""
    if now >= job.blocked_until:
        return slot_freed(job, seen, now, policy)
    return job, PollAt(max(now, job.next_poll_at), job.polls + 1)


def watch(
    job: ExportJob, seen: Refused | RateLimited | Unavailable, now: int, policy: Policy
) -> Step:
    """Looks again in half an hour: the stuck export may still complete."""
    if is_stale(job, seen.poll_n):
        return ignore(job, seen, now, policy)
    return _watch_next(_counted(job, now), now, policy)


def judge_blocked(job: ExportJob, seen: Status, now: int, policy: Policy) -> Step:
    """Adopts the stuck export if it completes after all; opens the group once it is dropped."""
    if is_stale(job, seen.poll_n):
        return ignore(job, seen, now, policy)
    job = _polled(job, seen.export, now)
    if seen.export.status is VendorStatus.COMPLETED:
        return ready(job, seen.export, now, policy)
    if seen.export.status not in UNDER_WAY:
        return slot_freed(job, seen, now, policy)
    return _watch_next(job, now, policy)


def slot_freed(job: ExportJob, _seen: Seen, now: int, _policy: Policy) -> Step:
    """Ends the stuck job and tries the group with a window of one hour."""
    why = "the export never completed; the slot is free again"
    act = HalfOpen(job.ocp_group, job.from_ms, job.from_ms + HOUR_MS, why)
    return ended(job, End.STUCK, why, now), act


def _watch_next(job: ExportJob, now: int, policy: Policy) -> Step:
    if now >= job.blocked_until:
        return slot_freed(job, Nothing(), now, policy)
    at = min(now + policy.blocked_poll_ms, job.blocked_until)
    return replace(job, next_poll_at=at), PollAt(at, job.polls + 1)


# Shared by the rules above


def running(job: ExportJob, export: Export, now: int, *, ours: bool) -> ExportJob:
    """The job with its export id, watched from now on; `ours`: we created it, so may cancel it."""
    return replace(
        job,
        state=State.RUNNING,
        export_id=export.export_id,
        ours=ours,
        posted_at=min(export.created_at, now),
        watched_from=now,
        status=export.status,
        busy_since=None,
        not_before=0,
        errors=0,
        lost=0,
    )


def _counted(job: ExportJob, now: int) -> ExportJob:
    first = job.first_polled_at or now
    return replace(job, polls=job.polls + 1, first_polled_at=first, last_polled_at=now)


def _polled(job: ExportJob, export: Export, now: int) -> ExportJob:
    return replace(_counted(job, now), status=export.status, errors=0)


def _again(job: ExportJob, end: End, why: str, now: int) -> Step:
    act = Retry(job.from_ms, job.to_ms, job.attempt + 1, why)
    return ended(job, end, why, now), act
