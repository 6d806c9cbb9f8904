"""What survives a crash of the memory runtime: the disk, so to speak.

Adapters hold no state of their own but what a process may lose; a restart is a new set of
adapters over the same state. Everything is kept encoded, so nobody can change it from outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ocp_ingest.adapters.journal import Row
from ocp_ingest.core.incidents import Incident
from ocp_ingest.ports import Kept


@dataclass(slots=True)
class StoredMessage:
    """A message of the queue; `state` is waiting, held or parked."""

    ident: int
    key: str
    body: bytes
    at_ms: int
    state: str = "waiting"
    tries: int = 0


@dataclass(slots=True)
class MemoryState:
    """All durable facts, by port."""

    # CallStore: call id -> event id -> event (JSON), in order of arrival; call id -> record.
    journal: dict[str, dict[str, bytes]] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    derived: str = ""  # the Deriving.mark that `rows` were derived under
    lookups: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    # Evidence, Incidents
    rejected: list[Kept] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)
    # RecordingStore: bucket -> key -> (bytes, SHA-256 as proved when written)
    buckets: dict[str, dict[str, tuple[bytes, str]]] = field(default_factory=dict)
    # WorkQueue, Timetable
    messages: dict[int, StoredMessage] = field(default_factory=dict)
    alarms: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    # The desk's: alerts by id; jobs and their items, people and notes by name
    alerts: dict[str, bytes] = field(default_factory=dict)
    bulk_jobs: dict[str, bytes] = field(default_factory=dict)
    bulk_items: dict[str, list[bytes]] = field(default_factory=dict)
    desk_users: dict[str, bytes] = field(default_factory=dict)
    desk_notes: dict[str, bytes] = field(default_factory=dict)
    # The seals': call id -> its links; "<day>" -> calls sealed on it; marks and notes by name
    seal_links: dict[str, list[bytes]] = field(default_factory=dict)
    seal_days: dict[str, dict[str, bytes]] = field(default_factory=dict)
    seal_notes: dict[str, str] = field(default_factory=dict)
    # Ids are a counter: the same run gives the same ids.
    last_id: int = 0

    def next_id(self) -> int:
        """A number that was never given before."""
        self.last_id += 1
        return self.last_id
