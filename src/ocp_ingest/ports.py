"""What the steps may ask of the world, in the steps' words; each method says what it raises when.

Common to all: any method may raise Transient (the effect may or may not have happened: the
answer to any call can be lost), and doing the same thing again is always safe. Every port has an
embedded and a memory implementation here, an AWS one where it is deployed, and ONE contract suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from ocp_ingest.core.call import Call
from ocp_ingest.core.events import Event
from ocp_ingest.core.incidents import Incident


class Clock(Protocol):
    """Domain time: what grace, watermark, polls and retention are measured in."""

    def now_ms(self) -> int:
        """Epoch milliseconds UTC."""

    async def sleep_ms(self, duration_ms: int) -> None:
        """Waits so long in domain time (shorter in real time when the clock is scaled)."""


class Appended(msgspec.Struct, frozen=True):
    """What became of an event: `event` is the one that stands, `new` whether it is this one."""

    event: Event
    new: bool
    call: Call


class Pending(msgspec.Struct, frozen=True):
    """An entry of the pending index: a call with open work, due from `at_ms`."""

    call_id: str
    ocp_group: str  # "" until known
    at_ms: int


class CallQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of calls, newest start first; `cursor` continues after the last page.

    `lob`, `lobs` ask for the pinned line of business, else the one that the routing rules give
    now ("": not known); `lobs` is what the asker may see, None all. `problem` is a code of
    adapters.journal.problem_codes.
    """

    stage: str | None = None
    outcome: str | None = None  # "none": still in flight
    lob: str | None = None
    lobs: tuple[str, ...] | None = None
    problem: str | None = None
    ocp_group: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    cursor: str | None = None
    limit: int = 50


class CallPage(msgspec.Struct, frozen=True):
    """Calls of a query and where the next page starts (None: that was the last)."""

    calls: list[Call]
    cursor: str | None


class CallStore(Protocol):
    """Journal, record, pending index and look-ups of all calls."""

    async def append(self, events: Sequence[Event]) -> list[Appended]:
        """Journal first, then merge, both durable when it returns; one answer per event, in order.

        An event whose id is already there changes nothing; the one that stands is merged again,
        which heals a crash between journal and record. A vendor message with another body under
        the same id is kept as a variant. Raises Transient when too much is waiting.
        """

    async def load(self, call_id: str) -> Call | None:
        """The record, or None. Reads its own writes."""

    async def journal(self, call_id: str) -> list[Event]:
        """All events of a call, by time of what they say; empty when the call is unknown."""

    async def call_of(
        self, kind: Literal["dialog", "session", "connection", "landing"], ident: str
    ) -> str | None:
        """The call that an id of another kind belongs to (core.vendor.lookups), or None."""

    async def pending(
        self, *, until_ms: int, limit: int, ocp_group: str | None = None,
        after: Pending | None = None,
    ) -> list[Pending]:  # fmt: skip
        """Calls whose open work is due at `until_ms`, earliest first; reads no finished call."""

    async def pending_groups(self) -> dict[str, int]:
        """OCP groups with open work, and how many calls each has."""

    async def page(self, query: CallQuery) -> CallPage:
        """A page of calls. Raises Invalid for a cursor that this store did not give."""

    async def rebuild(self, call_id: str) -> bool:
        """Folds the journal anew into the record; True when the record was not as it should be."""

    async def call_ids(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """Ids of all calls with a journal, in order; the way for replay and audits."""

    async def counts(self) -> dict[str, int]:
        """Terms of the conservation law: started (from the journal), in_flight (from the pending
        index, without calls whose recording is stored), stored, absent, quarantined, lost (from
        the records).
        """


class Evidence(Protocol):
    """Inputs that could not be taken, and counts of what was seen; kept for people to look at."""

    async def keep(self, kind: str, reason: str, body: bytes, at_ms: int) -> None:
        """Keeps a rejected input (bounded in size and number; the oldest give way)."""

    async def kept(self, *, limit: int = 100) -> list[Kept]:
        """The newest rejected inputs."""

    async def count(self, names: dict[str, int]) -> None:
        """Adds to durable counters, for example of message types unknown to us."""

    async def counted(self, prefix: str = "") -> dict[str, int]:
        """Durable counters whose name starts so."""


class Kept(msgspec.Struct, frozen=True):
    """A rejected input: what kind, why, when, and its first bytes."""

    kind: str
    reason: str
    at_ms: int
    body: bytes


class Incidents(Protocol):
    """Root causes that a person must know of; one at a time per key."""

    async def open(self, incident: Incident) -> bool:
        """Opens it, or adds to the one that is open under its key; True when it was opened."""

    async def close(self, key: str, at_ms: int, how: str) -> bool:
        """Closes the open incident of a key; False when there is none."""

    async def incidents(self, *, open_only: bool = True, limit: int = 100) -> list[Incident]:
        """Incidents, newest first."""


class Landed(msgspec.Struct, frozen=True):
    """Bytes that are durable in the landing store."""

    key: str
    bytes: int
    sha256: str


class Upload(Protocol):
    """Bytes on their way into the landing store; nothing is visible before `commit`."""

    async def write(self, block: bytes | memoryview) -> None:
        """Takes the next block; bounded memory, hashed on the way."""

    async def commit(self) -> Landed:
        """Makes them durable (for disks: file and folder synced) and says what they are."""

    async def abort(self) -> None:
        """Forgets them; never raises."""


class ObjectInfo(msgspec.Struct, frozen=True):
    """One object of a bucket; `sha256` as proved when it was written, or "" where unknown."""

    key: str
    bytes: int
    sha256: str = ""


class RecordingStore(Protocol):
    """Audio and its metadata in buckets: "landing", "quarantine", one per line of business."""

    async def begin(self) -> Upload:
        """Starts an upload into the landing store under a key of its own."""

    async def copy_once(
        self, bucket: str, key: str, to_bucket: str, to_key: str, sha256: str
    ) -> bool:
        """Copies inside the store, creates only, and proves the copy by its checksum.

        True: copied now; False: the same bytes were already there. Raises Conflict when other
        bytes are there (they are not touched), NotFound without a source, Damaged when the
        source's bytes are not those of `sha256`.
        """

    async def put_once(self, bucket: str, key: str, body: bytes) -> bool:
        """Writes a small object, creates only. True: written now; False: something was there."""

    async def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """What is there, or None."""

    async def hash(self, bucket: str, key: str) -> str:
        """SHA-256 of what is really there now, read back. Raises NotFound."""

    async def scan(self, bucket: str, key: str, sink: Callable[[bytes], None]) -> None:
        """Feeds every block, in order, to `sink`, off the event loop. Raises NotFound."""

    def read(
        self, bucket: str, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes, or a range of them, in blocks. Raises NotFound."""

    async def list(self, bucket: str, *, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Objects of a bucket by key, audio and metadata alike."""

    async def delete(self, bucket: str, key: str) -> None:
        """Removes an object of "landing" (nothing else is ever removed); none there is fine."""


class Message(msgspec.Struct, frozen=True):
    """A message taken from a queue; `tries` counts this one."""

    body: dict[str, Any]
    receipt: str
    tries: int


class WorkQueue(Protocol):
    """Work to be done by whoever comes first, at least once."""

    async def put(self, key: str, body: dict[str, Any], *, delay_ms: int = 0) -> None:
        """Adds a message; a waiting one with the same key may stand for both."""

    async def take(self, *, limit: int, lease_ms: int, wait_s: float) -> list[Message]:
        """Messages that nobody else holds; waits up to `wait_s` real seconds for the first."""

    async def extend(self, message: Message, lease_ms: int) -> bool:
        """Keeps a message longer; False when the lease was lost to somebody else."""

    async def done(self, message: Message) -> None:
        """Ends it; a lost lease makes this a no-op."""

    async def give_back(self, message: Message, *, delay_ms: int) -> None:
        """Lets others have it after a while; after the configured tries it is parked instead."""

    async def parked(self, *, limit: int = 100) -> list[Message]:
        """Messages that were tried too often (the dead-letter queue)."""

    async def depth(self) -> int:
        """How many messages wait or are held, without the parked ones."""


class Timetable(Protocol):
    """One-off alarms that survive restarts."""

    async def set(self, name: str, at_ms: int, body: dict[str, Any]) -> bool:
        """Sets an alarm; False when one of that name is there already (it stands)."""

    async def cancel(self, name: str) -> None:
        """Forgets an alarm; none there is fine."""

    async def due(self, now_ms: int, *, limit: int = 100) -> list[Alarm]:
        """Alarms whose time has come; each again until `cancel`led (at least once)."""

    async def next_at(self) -> int | None:
        """When the next alarm rings."""


class Alarm(msgspec.Struct, frozen=True):
    """An alarm of the timetable."""

    name: str
    at_ms: int
    body: dict[str, Any]
