"""Rules while an export is not yet known: creating it, and listing after a doubt or a 409.

An answer lost is never taken for a refusal: only a listing leads on. What OCP refuses for its own
reasons (409, 429, 5xx) never spends a call's try.
"""

from typing import Final

from msgspec.structs import replace

from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.export_actions import Adopt, BackOff, Block, Create, ListExports, Step
from ocp_ingest.core.export_facts import (
    UNDER_WAY,
    Busy,
    Created,
    End,
    Export,
    ExportJob,
    Gone,
    Listed,
    Refused,
    Seen,
    State,
    Unavailable,
    VendorStatus,
)
from ocp_ingest.core.export_rules_run import poll_next, running
from ocp_ingest.core.export_steps import abandon, after_error, busy_jitter_ms, ended, split, wait
from ocp_ingest.core.limits import HOUR_MS, SECOND_MS

# HTTP statuses that are about this range; any other 4xx is about our rights or paths.
RANGE_REFUSED: Final = frozenset({400, 413, 422})
# HTTP statuses with which a tenant answers whose API cannot list.
LISTING_ABSENT: Final = frozenset({404, 405, 501})


def create(job: ExportJob, _seen: Seen, now: int, policy: Policy) -> Step:
    """Writes the intent and asks OCP, once it may; gives up after a day of not being able to."""
    if (given_up := _too_late(job, now, policy)) is not None:
        return given_up
    if now < job.not_before:
        return wait(job, "OCP asked us to wait")
    return _post(job, now, policy)


def await_answer(job: ExportJob, _seen: Seen, now: int, policy: Policy) -> Step:
    """Gives a POST in flight two minutes, then asks the listing whether it reached OCP."""
    stale_at = job.intent_at + policy.intent_stale_ms
    if now < stale_at:
        return job, BackOff(stale_at, "the answer to the export request is still awaited")
    return list_now(job, _seen, now, policy)


def answer_lost(job: ExportJob, seen: Unavailable, now: int, policy: Policy) -> Step:
    """Takes a lost answer for neither yes nor no: lists; if nothing was sent, tries later."""
    if not seen.sent:
        return create_later(job, seen, now, policy)
    return list_now(job, seen, now, policy)


def create_later(job: ExportJob, seen: Seen, now: int, policy: Policy) -> Step:
    """Waits as told, or ever longer; gives up after eight errors in a row."""
    return after_error(replace(job, state=State.PLANNED), seen, now, policy)


def created(job: ExportJob, seen: Created, now: int, policy: Policy) -> Step:
    """Keeps the export id and starts to poll."""
    job = running(job, seen.export, now, ours=True)
    return poll_next(job, now, policy)


def slot_busy(job: ExportJob, seen: Busy, now: int, policy: Policy) -> Step:
    """Asks the listing who holds the slot: a 409 spends no try."""
    since = now if job.busy_since is None else job.busy_since
    look_at = now + busy_jitter_ms(job, policy)
    job = replace(job, state=State.BUSY, busy_since=since, not_before=look_at, errors=0)
    if seen.exports is None:
        return job, ListExports(job.ocp_group)
    return _judge(job, seen.exports, now, policy)


def refused(job: ExportJob, seen: Refused | Gone, now: int, policy: Policy) -> Step:
    """Splits a range that OCP refuses; stops the group where rights or paths are wrong."""
    status = seen.status if isinstance(seen, Refused) else 404
    if status in RANGE_REFUSED:
        return split(job, f"OCP refused the range with {status}", now, policy)
    until = now + policy.refused_block_ms
    why = f"OCP answered {status}: check the rights of our user for group {job.ocp_group}"
    return ended(job, End.REFUSED, why, now), Block(job.ocp_group, until, why)


# Listing


def list_now(job: ExportJob, _seen: Seen, _now: int, _policy: Policy) -> Step:
    """Lists the group's exports at once."""
    if job.state is State.CREATING:
        job = replace(job, state=State.DOUBTFUL, lost=job.lost + 1)
    return job, ListExports(job.ocp_group)


def list_when_due(job: ExportJob, _seen: Seen, now: int, policy: Policy) -> Step:
    """Lists when its time has come; gives up after a day."""
    if (given_up := _too_late(job, now, policy)) is not None:
        return given_up
    if now < job.not_before:
        return wait(job, "the group's slot is looked at again then")
    return job, ListExports(job.ocp_group)


def judge_listing(job: ExportJob, seen: Listed, now: int, policy: Policy) -> Step:
    """Adopts an export that covers the window, waits for a foreign one, else asks (again)."""
    return _judge(job, seen.exports, now, policy)


def listing_refused(job: ExportJob, seen: Refused | Gone, now: int, policy: Policy) -> Step:
    """Relies on OCP's 409 alone where a tenant cannot list; stops the group without rights."""
    if isinstance(seen, Refused) and seen.status not in LISTING_ABSENT:
        until = now + policy.refused_block_ms
        why = f"OCP answered {seen.status} to the listing of group {job.ocp_group}"
        return ended(job, End.REFUSED, why, now), Block(job.ocp_group, until, why)
    return _judge(job, (), now, policy)


def listing_failed(job: ExportJob, seen: Seen, now: int, policy: Policy) -> Step:
    """Lists again later; gives up after eight errors in a row."""
    return after_error(job, seen, now, policy)


# What a listing means


def _judge(job: ExportJob, exports: tuple[Export, ...], now: int, policy: Policy) -> Step:
    job = replace(job, errors=0)
    serving = [export for export in exports if _serves(job, export, now, policy)]
    if serving:
        done_first = max(serving, key=lambda e: (e.status is VendorStatus.COMPLETED, e.created_at))
        return _adopt(job, done_first, now, policy)
    if (given_up := _too_late(job, now, policy)) is not None:
        return given_up
    under_way = [export for export in exports if export.status in UNDER_WAY]
    if under_way:
        return _held(job, under_way, now, policy)
    stale_at = job.intent_at + policy.intent_stale_ms
    if job.state is not State.BUSY and job.intent_at and now < stale_at:
        job = replace(job, state=State.DOUBTFUL, not_before=stale_at)
        return wait(job, "the lost request may still reach OCP")
    if now < job.not_before:
        return wait(job, "OCP says that an export runs, but lists none", now, policy)
    return _post(job, now, policy)


def _serves(job: ExportJob, export: Export, now: int, policy: Policy) -> bool:
    """Whether the export holds all that the job wants, and long enough."""
    if export.export_id in job.spent_export_ids:
        return False
    if not (export.from_ms <= job.from_ms and job.to_ms <= export.to_ms):
        return False
    if not (set(job.types) <= set(export.types) or "ALL" in export.types):
        return False
    if export.created_at < job.ready_from - policy.clock_skew_ms:
        return False
    if export.status in UNDER_WAY:
        return export.created_at + policy.export_life_ms > now
    expires_at = export.expires_at or export.created_at + policy.export_life_ms
    alive = expires_at - now >= policy.adopt_life_ms_min
    return export.status is VendorStatus.COMPLETED and alive


def _adopt(job: ExportJob, export: Export, now: int, policy: Policy) -> Step:
    asked = job.creates > 0 and export.created_at >= job.first_intent_at - policy.clock_skew_ms
    same = (export.from_ms, export.to_ms) == (job.from_ms, job.to_ms)
    job = running(job, export, now, ours=asked and same)
    return replace(job, next_poll_at=now), Adopt(export.export_id)


def _held(job: ExportJob, under_way: list[Export], now: int, policy: Policy) -> Step:
    """Waits for a foreign export's estimated end, looking at least every half hour."""
    ends = (
        e.created_at + (job.alpha_s + job.beta_s * (e.to_ms - e.from_ms) / HOUR_MS) * SECOND_MS
        for e in under_way
    )
    eta = max(now, int(max(ends))) + busy_jitter_ms(job, policy)
    since = now if job.busy_since is None else job.busy_since
    until = min(eta, now + policy.busy_look_ms)
    job = replace(job, state=State.BUSY, busy_since=since, not_before=until)
    return wait(job, "another export holds the group's slot", now, policy)


def _too_late(job: ExportJob, now: int, policy: Policy) -> Step | None:
    if job.busy_since is not None and now - job.busy_since >= policy.create_ms_max:
        return abandon(job, End.SLOT_HELD, "others held the group's slot all the time", now)
    if now - job.planned_at >= policy.create_ms_max:
        return abandon(job, End.NOT_CREATED, "the export could not be created in time", now)
    return None


def _post(job: ExportJob, now: int, policy: Policy) -> Step:
    if job.lost > policy.lost_max:
        return abandon(job, End.VENDOR_DOWN, f"{job.lost} answers to its export were lost", now)
    creates = job.creates + 1
    job = replace(
        job,
        state=State.CREATING,
        creates=creates,
        intent_id=f"{job.job_key}-i{creates}",
        intent_at=now,
        first_intent_at=job.first_intent_at or now,
    )
    return job, Create(job.intent_id, job.ocp_group, job.from_ms, job.to_ms, job.types)
