"""What is known of an export job, and what can be observed about it.

One job is one ExportJob; its driver keeps it as a whole. An observation (Seen) is one answer of
OCP, one sign of the download worker, or the mere passing of time. Theory of operation: export_job.
"""

import enum
from typing import Final

import msgspec

from ocp_ingest.core.limits import HOUR_MS


class State(enum.StrEnum):
    """Where a job stands."""

    PLANNED = "planned"  # nothing sent
    CREATING = "creating"  # intent written: the POST may or may not have reached OCP
    DOUBTFUL = "doubtful"  # its answer was lost: only a listing leads on
    BUSY = "busy"  # 409: someone holds the group's slot
    RUNNING = "running"  # export id known, polled
    CANCELLING = "cancelling"  # ran out of its wait
    BLOCKED = "blocked"  # could not be cancelled: watched until OCP drops it
    READY = "ready"  # completed: its file list is not stored yet
    DOWNLOADING = "downloading"  # file list stored, downloads handed over
    ENDED = "ended"  # for the reason in `end`


class End(enum.StrEnum):
    """Why a job ended. Calls not served go back to pending, whatever the end."""

    DONE = "done"  # every wanted file has its result
    PARTIAL = "partial"  # some files failed in every round
    EXPIRED = "expired"  # OCP deleted the data first
    FAILED = "failed"  # OCP failed it: asked once more
    BISECTED = "bisected"  # OCP failed or refused it again: its halves come next
    QUARANTINED = "quarantined"  # OCP failed this one hour again
    STUCK = "stuck"  # never completed within its wait
    REFUSED = "refused"  # our rights or the contract: people must act
    CANCELLED = "cancelled"  # someone cancelled it at OCP, twice
    SLOT_HELD = "slot_held"  # others held the slot for a day
    VENDOR_DOWN = "vendor_down"  # errors in a row
    NOT_CREATED = "not_created"  # neither created nor refused within a day


class VendorStatus(enum.StrEnum):
    """OCP's export states in our spelling (ocp-facts 10.3); the tenant's is configuration."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


# What an export is asked for unless the calls lack something else.
TYPES_DEFAULT: Final = ("audio",)
# An export in one of these holds its group's slot.
UNDER_WAY: Final = frozenset({VendorStatus.PENDING, VendorStatus.IN_PROGRESS})


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """One export as OCP describes it; times epoch ms."""

    export_id: str
    status: VendorStatus
    from_ms: int
    to_ms: int
    types: tuple[str, ...]
    created_at: int
    expires_at: int | None = None
    file_count: int | None = None


class Results(msgspec.Struct, frozen=True):
    """How a round of downloads ended, in files; `ref` points at the result of each."""

    done: int = 0  # stored, or with a verdict
    failed: int = 0  # could not be fetched
    gone: int = 0  # 410: OCP deleted it first
    ref: str = ""


class ExportJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is known of one job; kept as a whole, conditional on `fence`. Times epoch ms."""

    job_key: str
    ocp_group: str
    from_ms: int
    to_ms: int
    attempt: int
    planned_at: int
    ready_from: int  # an export created before this may lack one of the calls
    alpha_s: float  # cost model at planning time
    beta_s: float
    types: tuple[str, ...] = TYPES_DEFAULT
    call_ids: tuple[str, ...] = ()  # empty where the list is kept beside the job
    spent_export_ids: tuple[str, ...] = ()  # exports that already disappointed these calls
    failures: int = 0  # times in a row that OCP failed or cancelled this window
    fence: int = 0
    state: State = State.PLANNED
    # creating
    intent_id: str = ""
    intent_at: int = 0
    first_intent_at: int = 0
    creates: int = 0
    lost: int = 0
    errors: int = 0
    not_before: int = 0
    busy_since: int | None = None
    # running
    export_id: str | None = None
    ours: bool = False
    posted_at: int = 0  # OCP's creation time, never in our future
    watched_from: int = 0
    polls: int = 0
    first_polled_at: int = 0
    last_polled_at: int = 0
    next_poll_at: int = 0
    status: VendorStatus | None = None
    expires_at: int = 0
    file_count: int | None = None
    cancels: int = 0
    blocked_until: int = 0
    # ready
    ready_at: int = 0
    measured_ms: int | None = None  # how long it held the slot, None where that says nothing
    manifest_ref: str = ""
    wanted: int = 0
    released_at: int | None = None
    round: int = 0
    beat_at: int | None = None  # last sign of the download worker; None when none is at work
    downloaded: int = 0
    # ended
    end: End | None = None
    end_why: str = ""
    finished_at: int | None = None
    # who waits for it
    task_token: str | None = None
    task_id: str | None = None
    execution_ref: str | None = None

    @property
    def hours(self) -> int:
        """Length of the window in hours."""
        return (self.to_ms - self.from_ms) // HOUR_MS

    @property
    def predicted_s(self) -> float:
        """Predicted seconds until OCP completes it."""
        return max(1.0, self.alpha_s + self.beta_s * self.hours)


class Seen(msgspec.Struct, frozen=True, tag=True):
    """Anything that can be observed about a job."""


class Nothing(Seen, frozen=True):
    """Time has passed, or the last action has no answer of its own."""


class TakenOver(Seen, frozen=True):
    """A new runner holds the lease, with a higher fence; the old one may have died anywhere."""

    fence: int


class LeaseLost(Seen, frozen=True):
    """A write of ours was refused: another runner has the job."""


class Created(Seen, frozen=True):
    """201."""

    export: Export


class Busy(Seen, frozen=True):
    """409: one export per group; with the listing, if the driver has it already."""

    exports: tuple[Export, ...] | None = None


class Refused(Seen, frozen=True):
    """Another 4xx; retrying as it is would not help."""

    status: int
    message: str = ""
    poll_n: int | None = None


class RateLimited(Seen, frozen=True):
    """429."""

    retry_after_s: float | None = None
    poll_n: int | None = None


class Unavailable(Seen, frozen=True):
    """5xx, time-out, lost answer; `sent` is False only if the request surely never left."""

    kind: str
    sent: bool = True
    poll_n: int | None = None


class Listed(Seen, frozen=True):
    """The group's exports, all pages."""

    exports: tuple[Export, ...]


class Status(Seen, frozen=True):
    """The answer to poll `poll_n`."""

    export: Export
    poll_n: int


class Gone(Seen, frozen=True):
    """404 or 410 on an export or its files."""

    poll_n: int | None = None


class Files(Seen, frozen=True):
    """The file list is stored at `ref`; `wanted` of its `total` files belong to pending calls."""

    total: int
    wanted: int
    ref: str


class Progress(Seen, frozen=True):
    """A heartbeat of the download worker; `done` files so far."""

    done: int


class DownloadsFinished(Seen, frozen=True):
    """The worker is through with its round."""

    results: Results
    round: int


class Cancelled(Seen, frozen=True):
    """204 to our DELETE."""


Observation = (
    Nothing | TakenOver | LeaseLost | Created | Busy | Refused | RateLimited | Unavailable
    | Listed | Status | Gone | Files | Progress | DownloadsFinished | Cancelled
)  # fmt: skip
