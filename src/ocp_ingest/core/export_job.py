"""The life of one export job: what was seen, in which state, leads to which action.

The machine is pure. Its driver, a sweep loop or a chain of functions, does only this:

    job, action = step(job, seen, now, policy)    # 1 decide
    keep `job`, conditional on its fence           # 2 write ahead: always before the action
    do `action`, which yields the next `seen`      # 3 or end, or wait until the action's time

Action                   the driver does                          and then feeds (or a failure *)
Create                   POST                                     Created, Busy
ListExports              lists the group's exports                Listed
PollAt                   at that time asks the status, keeps n    Status, Gone
FetchManifest            stores the file list                     Files, Gone
StartDownloads           hands the wanted files to the worker     Nothing; later Progress,
                                                                  DownloadsFinished
Cancel                   DELETE                                   Cancelled, Gone
Adopt, Release, Block    nothing, frees the slot, tells the group Nothing, unless the job has ended
BackOff                  waits                                    Nothing
Finish, Retry, Bisect,   frees the slot if held, tells the group  nothing more: the job has ended
Quarantine, HalfOpen,
Abandon
StandDown, Ignore        does not keep `job`                      what comes next
* Refused, RateLimited, Unavailable

Nothing means "time has passed"; TakenOver means "the runner that had this job is gone, I hold the
lease now". Both may come at any time, as may duplicates: each poll answer carries its number, and
one that is not the next is ignored.

Rules: an answer lost is never taken for a refusal (only a listing leads on); what OCP refuses for
its own reasons (409, 429, 5xx) never spends a call's try; every wait is finite; only an export of
our own is cancelled; an ended job stays ended.

export_facts         the job, and what can be observed
export_actions       what the driver can be told to do
export_table         (state, observation) → rule and the actions it may choose
export_rules_create  rules until the export is known: creating, listing
export_rules_run     rules while OCP works: polling, cancelling, blocked
export_rules_fetch   rules once it is complete: file list, downloads
export_steps         what those rules share
"""

import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

from msgspec.structs import replace

from ocp_ingest.core.cost_model import CostModel
from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.export_actions import (
    Abandon,
    Act,
    Action,
    Adopt,
    BackOff,
    Bisect,
    Block,
    Cancel,
    Create,
    FetchManifest,
    Finish,
    HalfOpen,
    Ignore,
    ListExports,
    PollAt,
    Quarantine,
    Release,
    Retry,
    StandDown,
    StartDownloads,
    Step,
)
from ocp_ingest.core.export_facts import (
    TYPES_DEFAULT,
    Busy,
    Cancelled,
    Created,
    DownloadsFinished,
    End,
    Export,
    ExportJob,
    Files,
    Gone,
    LeaseLost,
    Listed,
    Nothing,
    Observation,
    Progress,
    RateLimited,
    Refused,
    Results,
    Seen,
    State,
    Status,
    TakenOver,
    Unavailable,
    VendorStatus,
)
from ocp_ingest.core.export_rules_create import LISTING_ABSENT, RANGE_REFUSED
from ocp_ingest.core.export_rules_fetch import download_deadline
from ocp_ingest.core.export_rules_run import wait_ms
from ocp_ingest.core.export_table import TABLE, Row, row, table_rows
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.core.plan import Window

__all__ = [
    "GROUP_CHARS_MAX",
    "LISTING_ABSENT",
    "RANGE_REFUSED",
    "TABLE",
    "Abandon",
    "Act",
    "Action",
    "Adopt",
    "BackOff",
    "Bisect",
    "Block",
    "Busy",
    "Cancel",
    "Cancelled",
    "Create",
    "Created",
    "DownloadsFinished",
    "End",
    "Export",
    "ExportJob",
    "FetchManifest",
    "Files",
    "Finish",
    "Gone",
    "HalfOpen",
    "Ignore",
    "LeaseLost",
    "ListExports",
    "Listed",
    "Nothing",
    "Observation",
    "PollAt",
    "Progress",
    "Quarantine",
    "RateLimited",
    "Refused",
    "Release",
    "Results",
    "Retry",
    "Row",
    "Seen",
    "StandDown",
    "StartDownloads",
    "State",
    "Status",
    "Step",
    "TakenOver",
    "Unavailable",
    "VendorStatus",
    "decide",
    "download_deadline",
    "job_key",
    "new_job",
    "retry_of",
    "row",
    "step",
    "table_rows",
    "timer_name",
    "wait_ms",
]

# Step Functions allows 80 characters in an execution name; hours and attempt need 34 of them.
GROUP_CHARS_MAX: Final = 32


def step(job: ExportJob, seen: Observation, now: int, policy: Policy) -> Step:
    """The job after `seen`, to be kept first, and the action to do then."""
    if isinstance(seen, TakenOver):
        if seen.fence < job.fence:
            return job, StandDown("the job is held under a newer fence")
        if job.state is not State.ENDED:
            job = replace(job, fence=seen.fence)
    return row(job.state, type(seen)).rule(job, seen, now, policy)


def decide(job: ExportJob, seen: Observation, now: int, policy: Policy) -> Action:
    """What to do about `seen`; `step` also gives the job to keep."""
    return step(job, seen, now, policy)[1]


def job_key(group: str, from_ms: int, to_ms: int, attempt: int) -> str:
    """Deterministic name, at most 80 of `[A-Za-z0-9_.-]`, never used twice if `attempt` rises."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", group)[:GROUP_CHARS_MAX]
    if plain != group:
        plain += "-" + blake2b(group.encode(), digest_size=6).hexdigest()
    hour = datetime.fromtimestamp(from_ms / 1000, UTC).strftime("%Y%m%dT%H")
    return f"g-{plain}-{hour}-{(to_ms - from_ms) // HOUR_MS}h-a{attempt}"


def timer_name(key: str, n: int) -> str:
    """Deterministic name of poll `n`'s timer, at most 64 of `[A-Za-z0-9-]`."""
    return f"x-{blake2b(key.encode(), digest_size=16).hexdigest()}-{n}"


def new_job(
    window: Window,
    attempt: int,
    model: CostModel,
    now: int,
    *,
    fence: int = 0,
    types: tuple[str, ...] = TYPES_DEFAULT,
    spent_export_ids: tuple[str, ...] = (),
) -> ExportJob:
    """The job of a planned window; `attempt` counts all jobs ever made for this window, from 1."""
    alpha_s, beta_s = model.line()
    return ExportJob(
        job_key=job_key(window.ocp_group, window.from_ms, window.to_ms, attempt),
        ocp_group=window.ocp_group,
        from_ms=window.from_ms,
        to_ms=window.to_ms,
        attempt=attempt,
        planned_at=now,
        ready_from=window.ready_at,
        alpha_s=alpha_s,
        beta_s=beta_s,
        types=types,
        call_ids=window.call_ids,
        spent_export_ids=spent_export_ids,
        fence=fence,
    )


def retry_of(job: ExportJob, now: int) -> ExportJob:
    """The job that follows a Retry: same window and calls, next attempt, nothing sent yet."""
    attempt = job.attempt + 1
    spent = job.spent_export_ids + ((job.export_id,) if job.export_id else ())
    return ExportJob(
        job_key=job_key(job.ocp_group, job.from_ms, job.to_ms, attempt),
        ocp_group=job.ocp_group,
        from_ms=job.from_ms,
        to_ms=job.to_ms,
        attempt=attempt,
        planned_at=now,
        ready_from=job.ready_from,
        alpha_s=job.alpha_s,
        beta_s=job.beta_s,
        types=job.types,
        call_ids=job.call_ids,
        spent_export_ids=spent,
        failures=job.failures + 1,
        fence=job.fence,
    )
