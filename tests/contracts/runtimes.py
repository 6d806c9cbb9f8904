"""Sets of ports to be held to the contracts, each over a state that survives `restart`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from ocp_ingest.adapters.embedded.alert_book import EmbeddedAlertBook
from ocp_ingest.adapters.embedded.bulk_book import EmbeddedBulkBook
from ocp_ingest.adapters.embedded.call_store import EmbeddedCallStore
from ocp_ingest.adapters.embedded.database import Database
from ocp_ingest.adapters.embedded.desk_book import EmbeddedDeskNotes, EmbeddedUserBook
from ocp_ingest.adapters.embedded.evidence import EmbeddedEvidence, EmbeddedIncidents
from ocp_ingest.adapters.embedded.figures import EmbeddedFigures
from ocp_ingest.adapters.embedded.recording_store import EmbeddedRecordingStore
from ocp_ingest.adapters.embedded.seal_book import EmbeddedSealBook
from ocp_ingest.adapters.embedded.timetable import EmbeddedTimetable
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.embedded.work_queue import EmbeddedWorkQueue
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.adapters.memory.call_store import MemoryCallStore
from ocp_ingest.adapters.memory.clock import ManualClock
from ocp_ingest.adapters.memory.desk import (
    MemoryAlertBook,
    MemoryBulkBook,
    MemoryDeskNotes,
    MemoryFigures,
    MemoryUserBook,
)
from ocp_ingest.adapters.memory.evidence import MemoryEvidence, MemoryIncidents
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.recording_store import MemoryRecordingStore
from ocp_ingest.adapters.memory.seal_book import MemorySealBook
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.adapters.memory.timetable import MemoryTimetable
from ocp_ingest.adapters.memory.work_queue import MemoryWorkQueue
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.proof import Entry
from ocp_ingest.core.routing import Rule
from ocp_ingest.desk.ports import AlertBook, BulkBook, DeskNotes, Figures, UserBook
from ocp_ingest.evidence.ports import SealBook
from ocp_ingest.ports import CallStore, Evidence, Incidents, RecordingStore, Timetable, WorkQueue
from tests.contracts.aws_runtime import AwsDeskRuntime, AwsRuntime

TRIES_MAX: Final = 3  # of a message, in these tests
ITEMS_MAX: Final = 5  # of rejected inputs
BACKLOG_MAX: Final = 20_000
# Calls of the group g1 are of the line of business "care" until theirs is pinned, others of none.
DERIVING: Final = Deriving(routing=(Rule(lob="care", when={"ocp_group": "g1"}),))


class Runtime(Protocol):
    """What a contract test is given."""

    deriving: Deriving
    # The finest time, in ms, that leases and delays of its queue are measured in.
    grain_ms: int

    @property
    def policy(self) -> CallPolicy: ...

    @property
    def calls(self) -> CallStore: ...

    @property
    def evidence(self) -> Evidence: ...

    @property
    def incidents(self) -> Incidents: ...

    @property
    def recordings(self) -> RecordingStore: ...

    @property
    def queue(self) -> WorkQueue: ...

    @property
    def timetable(self) -> Timetable: ...

    @property
    def seals(self) -> SealBook: ...

    async def stream(self, entries: list[Entry]) -> None:
        """What a stream of changes tells of new events, where the seals have them from one."""

    def restart(self) -> None:
        """Drops all that a process may lose and starts again on the same state."""

    def pass_time(self, duration_ms: int) -> None:
        """Lets the time pass that leases and delays are measured in."""

    def close(self) -> None:
        """Gives everything back."""


class DeskRuntime(Runtime, Protocol):
    """What a contract test of the desk's ports is given; `users` None: people come from outside."""

    @property
    def figures(self) -> Figures: ...

    @property
    def alerts(self) -> AlertBook: ...

    @property
    def bulk(self) -> BulkBook: ...

    @property
    def notes(self) -> DeskNotes: ...

    @property
    def users(self) -> UserBook | None: ...


class MemoryRuntime:
    """The memory adapters without faults."""

    grain_ms = 1

    def __init__(self, _folder: Path) -> None:
        self.state = MemoryState()
        self.deriving = DERIVING
        self.clock = ManualClock(1_000)
        self.restart()

    @property
    def policy(self) -> CallPolicy:
        return self.deriving.policy

    def restart(self) -> None:
        faults = Faults(self.clock)
        state = self.state
        self.faults = faults
        self.calls: CallStore = MemoryCallStore(state, faults, self.deriving)
        self.evidence: Evidence = MemoryEvidence(state, faults, items_max=ITEMS_MAX)
        self.incidents: Incidents = MemoryIncidents(state, faults)
        self.recordings: RecordingStore = MemoryRecordingStore(state, faults)
        self.queue: WorkQueue = MemoryWorkQueue(state, faults, self.clock, tries_max=TRIES_MAX)
        self.timetable: Timetable = MemoryTimetable(state, faults)
        self.seals: SealBook = MemorySealBook(state, faults)
        self.figures: Figures = MemoryFigures(state, faults)
        self.alerts: AlertBook = MemoryAlertBook(state, faults)
        self.bulk: BulkBook = MemoryBulkBook(state, faults)
        self.notes: DeskNotes = MemoryDeskNotes(state, faults)
        self.users: UserBook | None = MemoryUserBook(state, faults)

    async def stream(self, entries: list[Entry]) -> None:
        pass

    def pass_time(self, duration_ms: int) -> None:
        self.clock.advance(duration_ms)

    def close(self) -> None:
        pass


class EmbeddedRuntime:
    """SQLite and a local disk, with a clock of our own for leases."""

    grain_ms = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deriving = DERIVING
        self.clock = ManualClock(1_000)
        self._open()

    @property
    def policy(self) -> CallPolicy:
        return self.deriving.policy

    def _open(self) -> None:
        database = Database(self.folder / "store.sqlite3", backlog_max=BACKLOG_MAX)
        vault = Vault(self.folder / "data.key")
        store = EmbeddedRecordingStore(self.folder / "recordings")
        self.database = database
        self.vault = vault
        self._recordings = store
        self.calls: CallStore = EmbeddedCallStore(database, vault, self.deriving)
        self.evidence: Evidence = EmbeddedEvidence(database, vault, items_max=ITEMS_MAX)
        self.incidents: Incidents = EmbeddedIncidents(database)
        self.recordings: RecordingStore = store
        self.queue: WorkQueue = EmbeddedWorkQueue(database, self.clock, tries_max=TRIES_MAX)
        self.timetable: Timetable = EmbeddedTimetable(database)
        self.seals: SealBook = EmbeddedSealBook(database, vault, self.deriving)
        self.figures: Figures = EmbeddedFigures(database, self.deriving)
        self.alerts: AlertBook = EmbeddedAlertBook(database)
        self.bulk: BulkBook = EmbeddedBulkBook(database)
        self.notes: DeskNotes = EmbeddedDeskNotes(database)
        self.users: UserBook | None = EmbeddedUserBook(database)

    def restart(self) -> None:
        self.close()
        self._open()

    async def stream(self, entries: list[Entry]) -> None:
        pass

    def pass_time(self, duration_ms: int) -> None:
        self.clock.advance(duration_ms)

    def close(self) -> None:
        self._recordings.close()
        self.database.close()


def _aws(folder: Path) -> Runtime:
    return AwsRuntime(folder, DERIVING, tries_max=TRIES_MAX, items_max=ITEMS_MAX)


def _aws_desk(folder: Path) -> DeskRuntime:
    return AwsDeskRuntime(folder, DERIVING, tries_max=TRIES_MAX, items_max=ITEMS_MAX)


RUNTIMES: Final[dict[str, Callable[[Path], Runtime]]] = {
    "aws": _aws,
    "embedded": EmbeddedRuntime,
    "memory": MemoryRuntime,
}
# Those that have a desk; the suites of the desk's ports run on each.
DESKS: Final[dict[str, Callable[[Path], DeskRuntime]]] = {
    "aws": _aws_desk,
    "embedded": EmbeddedRuntime,
    "memory": MemoryRuntime,
}
