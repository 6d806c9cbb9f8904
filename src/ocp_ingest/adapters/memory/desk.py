"""The desk's ports in memory, and a whole desk of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ocp_ingest.adapters.journal import Row, standing_of
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.adapters.notes import note_bytes
from ocp_ingest.core.call import Call
from ocp_ingest.core.counting import add, check_days, check_edges, day_span
from ocp_ingest.desk.ports import (
    BULK_FAILED,
    Alert,
    BulkItem,
    BulkJob,
    BulkState,
    DayFigures,
    LocalUser,
    OpenCall,
)
from ocp_ingest.desk.world import Desk
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.book import ExportBook

_CALL: Final = msgspec.msgpack.Decoder(Call)
_ALERT: Final = msgspec.msgpack.Decoder(Alert)
_JOB: Final = msgspec.msgpack.Decoder(BulkJob)
_ITEM: Final = msgspec.msgpack.Decoder(BulkItem)
_USER: Final = msgspec.msgpack.Decoder(LocalUser)


def memory_desk(world: World, book: ExportBook, state: MemoryState, faults: Faults) -> Desk:
    """A desk over the state of a memory world."""
    return Desk(
        world=world, book=book, figures=MemoryFigures(state, faults),
        alerts=MemoryAlertBook(state, faults), bulk=MemoryBulkBook(state, faults),
        notes=MemoryDeskNotes(state, faults), users=MemoryUserBook(state, faults),
    )  # fmt: skip


class MemoryFigures:
    """See ocp_ingest.desk.ports.Figures. Counts the records whenever it is asked."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def days(self, first: str, last: str) -> list[DayFigures]:
        """All counters of some days. Raises Invalid."""
        check_days(first, last)
        totals: dict[tuple[str, str], dict[str, int]] = {}
        async with self._faults.at("Figures.days"):
            for call_id, row in self._state.rows.items():
                found = standing_of(_CALL.decode(self._state.records[call_id]), row)
                if found is not None and first <= found.day <= last:
                    add(totals.setdefault((found.day, found.lob), {}), found.terms)
        return [DayFigures(lob, day, dict(sorted(t.items()))) for (day, lob), t in _sorted(totals)]

    async def open_ages(self, edges_ms: Sequence[int], lobs: Sequence[str] | None) -> list[int]:
        """Open calls by when they began. Raises Invalid."""
        edges = check_edges(edges_ms)
        counts = [0] * (len(edges) + 1)
        async with self._faults.at("Figures.open_ages"):
            for started_at, _ in self._open(lobs):
                counts[bisect_right(edges, started_at)] += 1
        return counts

    async def oldest_open(self, lobs: Sequence[str] | None) -> OpenCall | None:
        """The open call that began first; of several the one whose id is the smallest."""
        async with self._faults.at("Figures.oldest_open"):
            oldest = min(self._open(lobs), default=None)
        return None if oldest is None else OpenCall(oldest[1], oldest[0])

    async def recount(self, day: str, *, by: str, now_ms: int) -> int:
        """Nothing is ever wrong: no counters are kept. Raises Invalid for no day."""
        day_span(day)
        async with self._faults.at("Figures.recount"):
            return 0

    def _open(self, lobs: Sequence[str] | None) -> list[tuple[int, str]]:
        return [
            (row.started_at, call_id)
            for call_id, row in self._state.rows.items()
            if _is_open(row) and (lobs is None or row.lob in lobs)
        ]


def _is_open(row: Row) -> bool:
    return row.pend_at is not None and row.stage != "stored"


def _sorted(
    totals: dict[tuple[str, str], dict[str, int]],
) -> list[tuple[tuple[str, str], dict[str, int]]]:
    return sorted((place, terms) for place, terms in totals.items())


class MemoryAlertBook:
    """See ocp_ingest.desk.ports.AlertBook."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self._held = state.alerts
        self._faults = faults

    async def add(self, alert: Alert) -> bool:
        """Adds it, unless one of its id is there."""
        async with self._faults.at("AlertBook.add"):
            if alert.alert_id in self._held:
                return False
            self._held[alert.alert_id] = msgspec.msgpack.encode(alert)
            return True

    async def keep(self, alert: Alert, *, tries_before: int) -> bool:
        """Replaces the alert if it was not tried since."""
        async with self._faults.at("AlertBook.keep"):
            body = self._held.get(alert.alert_id)
            if body is None or _ALERT.decode(body).tries != tries_before:
                return False
            self._held[alert.alert_id] = msgspec.msgpack.encode(alert)
            return True

    async def due(self, now_ms: int, *, limit: int = 100) -> list[Alert]:
        """Neither sent nor given up, and due; earliest first."""
        async with self._faults.at("AlertBook.due"):
            held = self._alerts()
        waiting = [a for a in held if a.sent_at_ms is None and not a.given_up]
        due = [alert for alert in waiting if alert.next_at_ms <= now_ms]
        return sorted(due, key=lambda alert: (alert.next_at_ms, alert.alert_id))[:limit]

    async def alerts(self, *, limit: int = 100) -> list[Alert]:
        """The newest."""
        async with self._faults.at("AlertBook.alerts"):
            held = self._alerts()
        return sorted(held, key=lambda a: (a.made_at_ms, a.alert_id), reverse=True)[:limit]

    def _alerts(self) -> list[Alert]:
        return [_ALERT.decode(body) for body in self._held.values()]


class MemoryBulkBook:
    """See ocp_ingest.desk.ports.BulkBook."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self._jobs = state.bulk_jobs
        self._held = state.bulk_items
        self._faults = faults

    async def create(self, job: BulkJob, call_ids: Sequence[str]) -> bool:
        """Keeps both, unless a job of this id is there."""
        async with self._faults.at("BulkBook.create"):
            if job.bulk_id in self._jobs:
                return False
            self._jobs[job.bulk_id] = msgspec.msgpack.encode(job)
            items = [BulkItem(position, call_id) for position, call_id in enumerate(call_ids)]
            self._held[job.bulk_id] = [msgspec.msgpack.encode(item) for item in items]
            return True

    async def job(self, bulk_id: str) -> BulkJob | None:
        """A job as it is now."""
        async with self._faults.at("BulkBook.job"):
            return self._job(bulk_id) if bulk_id in self._jobs else None

    async def jobs(self, *, limit: int = 50) -> list[BulkJob]:
        """The newest."""
        async with self._faults.at("BulkBook.jobs"):
            held = [self._job(bulk_id) for bulk_id in self._jobs]
        return sorted(held, key=lambda job: (job.made_at_ms, job.bulk_id), reverse=True)[:limit]

    async def change(
        self, bulk_id: str, from_state: BulkState, to_state: BulkState, *, at_ms: int
    ) -> bool:
        """Moves a job on; False when it was elsewhere."""
        async with self._faults.at("BulkBook.change"):
            body = self._jobs.get(bulk_id)
            if body is None or _JOB.decode(body).state != from_state:
                return False
            job, running = _JOB.decode(body), to_state == "running"
            moved = msgspec.structs.replace(
                job, state=to_state, started_at_ms=at_ms if running else job.started_at_ms,
                ended_at_ms=job.ended_at_ms if running else at_ms,
            )  # fmt: skip
            self._jobs[bulk_id] = msgspec.msgpack.encode(moved)
            return True

    async def waiting(self, bulk_id: str, *, limit: int) -> list[BulkItem]:
        """Items without a result, by position."""
        async with self._faults.at("BulkBook.waiting"):
            return [item for item in self._items(bulk_id) if not item.result][:limit]

    async def results(self, bulk_id: str, items: Sequence[BulkItem]) -> None:
        """Keeps results; one that is there stands."""
        async with self._faults.at("BulkBook.results"):
            held = self._held.get(bulk_id, [])
            for item in items:
                if item.position < len(held) and item.result:
                    before = _ITEM.decode(held[item.position])
                    if not before.result:
                        kept = msgspec.structs.replace(item, call_id=before.call_id)
                        held[item.position] = msgspec.msgpack.encode(kept)

    async def items(
        self, bulk_id: str, *, after: int = -1, limit: int = 100, failed_only: bool = False
    ) -> list[BulkItem]:
        """Items after a position."""
        async with self._faults.at("BulkBook.items"):
            held = self._items(bulk_id)
        asked = [item for item in held if item.result == BULK_FAILED or not failed_only]
        return [item for item in asked if item.position > after][:limit]

    def _items(self, bulk_id: str) -> list[BulkItem]:
        return [_ITEM.decode(body) for body in self._held.get(bulk_id, ())]

    def _job(self, bulk_id: str) -> BulkJob:
        results = [item.result for item in self._items(bulk_id) if item.result]
        return msgspec.structs.replace(
            _JOB.decode(self._jobs[bulk_id]), done=len(results), failed=results.count(BULK_FAILED)
        )


class MemoryUserBook:
    """See ocp_ingest.desk.ports.UserBook."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self._held = state.desk_users
        self._faults = faults

    async def user(self, name: str) -> LocalUser | None:
        """A person, whether enabled or not."""
        async with self._faults.at("UserBook.user"):
            body = self._held.get(name)
        return None if body is None else _USER.decode(body)

    async def users(self) -> list[LocalUser]:
        """All, by name."""
        async with self._faults.at("UserBook.users"):
            return [_USER.decode(body) for _, body in sorted(self._held.items())]

    async def put(self, user: LocalUser) -> None:
        """Adds or replaces a person."""
        async with self._faults.at("UserBook.put"):
            self._held[user.name] = msgspec.msgpack.encode(user)


class MemoryDeskNotes:
    """See ocp_ingest.desk.ports.DeskNotes."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self._held = state.desk_notes
        self._faults = faults

    async def put(self, name: str, value: dict[str, Any]) -> None:
        """Keeps a value; replaces an older one. Raises TooLarge."""
        body = note_bytes(value)
        async with self._faults.at("DeskNotes.put"):
            self._held[name] = body

    async def get(self, name: str) -> dict[str, Any] | None:
        """What was kept, or None."""
        async with self._faults.at("DeskNotes.get"):
            body = self._held.get(name)
        found: dict[str, Any] | None = None if body is None else msgspec.json.decode(body)
        return found
