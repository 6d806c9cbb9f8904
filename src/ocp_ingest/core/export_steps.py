"""What the rules of all phases share: ending a job, waiting, counting errors, jitter.

A rule is a function (job, seen, now, policy) → (job to keep, action). The first line of a rule's
docstring is a sentence of the documentation. Which rule applies when: export_table.
"""

import math
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from msgspec.structs import replace

from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.export_actions import (
    Abandon,
    BackOff,
    Bisect,
    Finish,
    Ignore,
    Quarantine,
    StandDown,
    Step,
)
from ocp_ingest.core.export_facts import End, ExportJob, RateLimited, Results, Seen, State
from ocp_ingest.core.limits import HOUR_MS, SECOND_MS

Rule = Callable[[ExportJob, Any, int, Policy], Step]


def ignore(job: ExportJob, seen: Seen, _now: int, _policy: Policy) -> Step:
    """Changes nothing: a duplicate, or an answer that came too late to matter."""
    return job, Ignore(f"{type(seen).__name__} means nothing while {job.state.value}")


def stand_down(job: ExportJob, _seen: Seen, _now: int, _policy: Policy) -> Step:
    """Leaves the job to the runner that holds it."""
    return job, StandDown("another runner holds the job")


def split(job: ExportJob, why: str, now: int, policy: Policy) -> Step:
    """48 → 24 → … → 1 h; an hour that cannot be split is the poison."""
    if job.hours <= 1:
        until = now + policy.poison_retry_ms
        return ended(job, End.QUARANTINED, why, now), Quarantine(job.from_ms, until, why)
    middle = job.from_ms + job.hours // 2 * HOUR_MS
    halves = ((job.from_ms, middle), (middle, job.to_ms))
    return ended(job, End.BISECTED, why, now), Bisect(halves, why)


def finish(job: ExportJob, end: End, results: Results, why: str, now: int) -> Step:
    """Ends the job with what its downloads brought."""
    return ended(job, end, why, now), Finish(end, results, why)


def abandon(job: ExportJob, end: End, why: str, now: int) -> Step:
    """Ends the job without a verdict on its calls."""
    return ended(job, end, why, now), Abandon(end, why)


def ended(job: ExportJob, end: End, why: str, now: int) -> ExportJob:
    """The job at its end; it holds the slot no longer."""
    released = now if job.released_at is None else job.released_at
    return replace(
        job, state=State.ENDED, end=end, end_why=why, finished_at=now, released_at=released
    )


def wait(job: ExportJob, why: str, now: int = 0, policy: Policy | None = None) -> Step:
    """Until `not_before`; with `now` and `policy`, an alarm once the slot was held for too long."""
    alarm = (
        policy is not None
        and job.busy_since is not None
        and now - job.busy_since >= policy.busy_alarm_ms
    )
    return job, BackOff(job.not_before, why, alarm=alarm)


def after_error(job: ExportJob, seen: Seen, now: int, policy: Policy) -> Step:
    """One more error: waits, or gives up after too many in a row."""
    job = delayed(job, seen, now, policy)
    if job.errors > policy.errors_max:
        return abandon(job, End.VENDOR_DOWN, f"{job.errors} errors in a row", now)
    return wait(job, f"OCP answered {type(seen).__name__}", now, policy)


def delayed(job: ExportJob, seen: Seen, now: int, policy: Policy) -> ExportJob:
    """One more error: wait as told, else exponentially with full jitter, at least a second."""
    told = retry_after_ms(seen.retry_after_s, policy) if isinstance(seen, RateLimited) else None
    if told is None:
        doubled = policy.backoff_min_ms << min(job.errors, 32)
        told = int(min(policy.backoff_max_ms, doubled) * _chance(job, f"e{job.errors}"))
    return replace(job, errors=job.errors + 1, not_before=now + max(told, SECOND_MS))


def retry_after_ms(asked_s: float | None, policy: Policy) -> int | None:
    """Retry-After within our bounds; None when OCP named no time."""
    if asked_s is None or math.isnan(asked_s):
        return None
    return int(min(max(asked_s, 0.0) * SECOND_MS, policy.retry_after_ms_max))


def busy_jitter_ms(job: ExportJob, policy: Policy) -> int:
    """How much later than the estimated end to look: differs by job, so that they do not meet."""
    low, high = policy.busy_retry_min_ms, policy.busy_retry_max_ms
    return low + int((high - low) * _chance(job, f"b{job.creates}-{job.not_before}"))


def _chance(job: ExportJob, salt: str) -> float:
    """A number in [0, 1) that differs by job and try: jitter without a source of chance."""
    digest = blake2b(f"{job.job_key}:{salt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def is_stale(job: ExportJob, poll_n: int | None) -> bool:
    """Whether this answers another poll than the next one."""
    return poll_n is not None and poll_n != job.polls + 1


def export_id_of(job: ExportJob) -> str:
    """The id of the export that runs or ran."""
    assert job.export_id is not None, "only a running export gets here"
    return job.export_id
