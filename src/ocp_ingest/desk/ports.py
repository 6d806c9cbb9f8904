"""What the desk may ask of the world: figures, alerts, bulk work, people.

Common to all, as in ocp_ingest.ports: any method may raise Transient, and doing the same thing
again is always safe. Embedded, memory and AWS implementations pass ONE contract suite each
(people: no AWS one; there they come from OpenID Connect).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

from ocp_ingest.core.incidents import Incident

# -- figures --------------------------------------------------------------------------------------


class DayFigures(msgspec.Struct, frozen=True):
    """Counters of the calls of one line of business that began on one day.

    `lob` is "" while it is not known; `day` is yyyymmdd, UTC; `terms` as in core.counting.
    """

    lob: str
    day: str
    terms: dict[str, int]


class OpenCall(msgspec.Struct, frozen=True):
    """A call without a stored recording whose work is open."""

    call_id: str
    started_at: int


class Figures(Protocol):
    """Counters kept as calls change, so that a page over millions reads only a few of them."""

    async def days(self, first: str, last: str) -> list[DayFigures]:
        """All counters of the days `first` to `last` (both included) that counted anything.

        Raises Invalid for more than core.counting.DAYS_MAX days, or for no day.
        """

    async def open_ages(self, edges_ms: Sequence[int], lobs: Sequence[str] | None) -> list[int]:
        """How many open calls began before edges_ms[0], then up to edges_ms[1], …, after the last.

        `edges_ms` rise; the answer has one number more than there are edges. `lobs`: only these
        (None: all). Raises Invalid for more than 16 edges.
        """

    async def oldest_open(self, lobs: Sequence[str] | None) -> OpenCall | None:
        """The open call that began first."""

    async def recount(self, day: str, *, by: str, now_ms: int) -> int:
        """Counts a day anew from the records; how many counters had to be corrected."""


# -- alerts ---------------------------------------------------------------------------------------

AlertWhat = Literal["opened", "worse", "reminder", "closed", "test"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be told over one channel, once. `alert_id` is made of what it is about."""

    alert_id: str
    channel: str
    what: AlertWhat
    incident: Incident
    made_at_ms: int
    tries: int = 0
    next_at_ms: int = 0  # not before; after the last try it stays undelivered
    sent_at_ms: int | None = None
    given_up: bool = False
    error: str = ""


class AlertBook(Protocol):
    """What is to be told, and what was."""

    async def add(self, alert: Alert) -> bool:
        """Adds it; False when one of its id is there (which stands)."""

    async def keep(self, alert: Alert, *, tries_before: int) -> bool:
        """Replaces the alert of this id if its `tries` are still those; False when they are not."""

    async def due(self, now_ms: int, *, limit: int = 100) -> list[Alert]:
        """Neither sent nor given up, and due; earliest first."""

    async def alerts(self, *, limit: int = 100) -> list[Alert]:
        """The newest, by the time they were made."""


# -- bulk work ------------------------------------------------------------------------------------

BulkState = Literal["draft", "running", "cancelled", "done"]


class BulkJob(msgspec.Struct, frozen=True, kw_only=True):
    """One action on many calls. `filter` is what they were selected by, for people."""

    bulk_id: str
    action: str
    by: str
    reason: str
    filter: dict[str, str]
    lobs: tuple[str, ...] | None  # what `by` may see; None: everything
    made_at_ms: int
    total: int
    state: BulkState = "draft"
    started_at_ms: int = 0
    ended_at_ms: int = 0
    done: int = 0  # items with a result of any kind
    failed: int = 0


# The result of an item that was tried and not done; `BulkJob.failed` counts these.
BULK_FAILED: Final = "failed"


class BulkItem(msgspec.Struct, frozen=True):
    """What became of one call: `result` "" while it waits, then a word; `text` says why."""

    position: int
    call_id: str
    result: str = ""
    text: str = ""
    at_ms: int = 0


class BulkBook(Protocol):
    """Bulk jobs, their frozen lists of calls, and a result for each."""

    async def create(self, job: BulkJob, call_ids: Sequence[str]) -> bool:
        """Keeps both, durable; False when a job of this id is there (it stands)."""

    async def job(self, bulk_id: str) -> BulkJob | None:
        """A job, with `done` and `failed` as they are now."""

    async def jobs(self, *, limit: int = 50) -> list[BulkJob]:
        """The newest."""

    async def change(
        self, bulk_id: str, from_state: BulkState, to_state: BulkState, *, at_ms: int
    ) -> bool:
        """Moves a job on, setting started_at_ms or ended_at_ms; False when it was elsewhere."""

    async def waiting(self, bulk_id: str, *, limit: int) -> list[BulkItem]:
        """Items without a result, by position."""

    async def results(self, bulk_id: str, items: Sequence[BulkItem]) -> None:
        """Keeps results; one that has a result keeps it, and is counted once."""

    async def items(
        self, bulk_id: str, *, after: int = -1, limit: int = 100, failed_only: bool = False
    ) -> list[BulkItem]:
        """Items after a position."""


# -- people ---------------------------------------------------------------------------------------


class LocalUser(msgspec.Struct, frozen=True, kw_only=True):
    """A person of the embedded runtime. `password` is an Argon2id PHC string, never the word.

    `lobs`: lines of business they see; ("*",) is all. `generation` rises with every change that
    must end their sessions.
    """

    name: str
    role: str
    lobs: tuple[str, ...]
    password: str
    enabled: bool = True
    generation: int = 1
    changed_at_ms: int = 0


class UserBook(Protocol):
    """The people who may log in."""

    async def user(self, name: str) -> LocalUser | None:
        """A person, whether enabled or not."""

    async def users(self) -> list[LocalUser]:
        """All, by name."""

    async def put(self, user: LocalUser) -> None:
        """Adds or replaces a person."""


# -- desk-wide facts ------------------------------------------------------------------------------


# A note is read and written whole, and often.
NOTE_BYTES_MAX: Final = 65_536


class DeskNotes(Protocol):
    """Small values of the desk that outlive a process: the last check of the law, and the like."""

    async def put(self, name: str, value: dict[str, Any]) -> None:
        """Keeps a value; replaces an older one. Raises TooLarge over NOTE_BYTES_MAX as JSON."""

    async def get(self, name: str) -> dict[str, Any] | None:
        """What was kept, or None."""
