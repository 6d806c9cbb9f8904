"""CallStore in memory. Journal and record are separate effects: a crash may fall between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from ocp_ingest.adapters.journal import (
    EVIDENCE_KINDS,
    VARIANTS_REFUSED,
    Deriving,
    Row,
    cursor_of,
    derive,
    journal_order,
    parse_cursor,
    settle,
    variant_range,
)
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.reading import Reading
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.core.call import Call, fold, merge, new
from ocp_ingest.core.events import Event
from ocp_ingest.core.vendor import lookups
from ocp_ingest.ports import Appended, CallPage, CallQuery, Pending

_EVENT: Final = msgspec.json.Decoder(Event)
# Kept at most: the records of the worlds of one process.
CALLS: Final = Reading(msgspec.msgpack.Decoder(Call).decode)


class MemoryCallStore:
    """See ocp_ingest.ports.CallStore."""

    def __init__(self, state: MemoryState, faults: Faults, deriving: Deriving) -> None:
        self._state = state
        self._faults = faults
        self._deriving = deriving
        mark = deriving.mark
        if state.derived != mark:
            for call_id, record in state.records.items():
                state.rows[call_id] = derive(CALLS(call_id, record), deriving)
            state.derived = mark

    async def append(self, events: Sequence[Event]) -> list[Appended]:
        """Journal first, then merge; each event by itself."""
        return [await self._append(event) for event in list(events)]

    async def load(self, call_id: str) -> Call | None:
        """The record, or None."""
        async with self._faults.at("CallStore.load"):
            return self._load(call_id)

    async def journal(self, call_id: str) -> list[Event]:
        """All events of a call."""
        async with self._faults.at("CallStore.journal"):
            return self._events(call_id)

    async def call_of(
        self, kind: Literal["dialog", "session", "connection", "landing"], ident: str
    ) -> str | None:
        """The call that an id of another kind belongs to."""
        async with self._faults.at("CallStore.call_of"):
            found = self._state.lookups.get((kind, ident))
            return found[1] if found else None

    async def pending(
        self, *, until_ms: int, limit: int, ocp_group: str | None = None,
        after: Pending | None = None,
    ) -> list[Pending]:  # fmt: skip
        """Calls with due work, earliest first."""
        async with self._faults.at("CallStore.pending"):
            found = [p for p in self._pending() if p.at_ms <= until_ms]
        if ocp_group is not None:
            found = [p for p in found if p.ocp_group == ocp_group]
        if after is not None:
            found = [p for p in found if (p.at_ms, p.call_id) > (after.at_ms, after.call_id)]
        return sorted(found, key=lambda p: (p.at_ms, p.call_id))[:limit]

    async def pending_groups(self) -> dict[str, int]:
        """OCP groups with open work, and how many calls each has."""
        async with self._faults.at("CallStore.pending_groups"):
            groups = [p.ocp_group for p in self._pending()]
        return {group: groups.count(group) for group in sorted(set(groups))}

    async def page(self, query: CallQuery) -> CallPage:
        """A page of calls, newest start first."""
        async with self._faults.at("CallStore.page"):
            found = [(-row.started_at, call_id) for call_id, row in self._rows(query)]
        found.sort()
        if query.cursor is not None:
            started_at, call_id = parse_cursor(query.cursor)
            found = [entry for entry in found if entry > (-started_at, call_id)]
        limit = max(1, query.limit)
        page = found[:limit]
        calls = [CALLS(call_id, self._state.records[call_id]) for _, call_id in page]
        cursor = cursor_of(-page[-1][0], page[-1][1]) if len(found) > limit else None
        return CallPage(calls, cursor)

    async def rebuild(self, call_id: str) -> bool:
        """Folds the journal anew into record, columns and look-ups."""
        async with self._faults.at("CallStore.rebuild"):
            events = self._events(call_id)
            before = self._seen(call_id), dict(self._state.lookups)
            if not events:
                self._state.records.pop(call_id, None)
                self._state.rows.pop(call_id, None)
            else:
                self._put(fold(call_id, events))
            for event in events:
                self._look_up(event)
            return before != (self._seen(call_id), self._state.lookups)

    async def call_ids(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """Ids of all calls with a journal, in order."""
        async with self._faults.at("CallStore.call_ids"):
            return sorted(call_id for call_id in self._state.journal if call_id > after)[:limit]

    async def counts(self) -> dict[str, int]:
        """The terms of the conservation law, each from its own source."""
        async with self._faults.at("CallStore.counts"):
            rows = self._state.rows.values()
            outcomes = [row.outcome for row in rows]
            started = [
                call_id for call_id in self._state.journal
                if any(e.kind in EVIDENCE_KINDS for e in self._events(call_id))
            ]  # fmt: skip
            counted = {name: outcomes.count(name) for name in ("absent", "quarantined", "lost")}
            # A call whose recording is stored counts as stored, whatever else of it is open.
            counted["stored"] = sum(row.stage == "stored" for row in rows)
            counted["in_flight"] = sum(
                row.pend_at is not None and row.stage != "stored" for row in rows
            )
            return {"started": len(started), **counted}

    # -----------------------------------------------------------------------------------------

    async def _append(self, event: Event) -> Appended:
        async with self._faults.at("CallStore.append.journal"):
            held = self._state.journal.setdefault(event.call_id, {})
            settled = settle(event, lambda i: _find(held, i), lambda i: _variants(held, i))
            if settled.new:
                held[settled.event.event_id] = msgspec.json.encode(settled.event)
            if settled.refused:
                refused = self._state.counters.get(VARIANTS_REFUSED, 0)
                self._state.counters[VARIANTS_REFUSED] = refused + 1
        async with self._faults.at("CallStore.append.record"):
            before = self._load(event.call_id)
            call = merge(before or new(event.call_id), settled.event)
            if call != before:
                self._put(call)
            self._look_up(settled.event)
        return Appended(settled.event, settled.new, call)

    def _load(self, call_id: str) -> Call | None:
        record = self._state.records.get(call_id)
        return None if record is None else CALLS(call_id, record)

    def _events(self, call_id: str) -> list[Event]:
        held = self._state.journal.get(call_id, {})
        return sorted((_EVENT.decode(body) for body in held.values()), key=journal_order)

    def _put(self, call: Call) -> None:
        self._state.records[call.call_id] = msgspec.msgpack.encode(call)
        self._state.rows[call.call_id] = derive(call, self._deriving)

    def _look_up(self, event: Event) -> None:
        for name in lookups(event):
            claim = (event.at_ms, event.call_id)
            self._state.lookups[name] = min(claim, self._state.lookups.get(name, claim))

    def _seen(self, call_id: str) -> tuple[object, object]:
        return self._load(call_id), self._state.rows.get(call_id)

    def _pending(self) -> list[Pending]:
        return [
            Pending(call_id, row.ocp_group, row.pend_at)
            for call_id, row in self._state.rows.items()
            if row.pend_at is not None
        ]

    def _rows(self, query: CallQuery) -> list[tuple[str, Row]]:
        wanted = [
            (name, value)
            for name in ("stage", "outcome", "lob", "ocp_group")
            if (value := getattr(query, name)) is not None
        ]
        found = [
            (call_id, row)
            for call_id, row in self._state.rows.items()
            if (query.from_ms is None or row.started_at >= query.from_ms)
            and (query.to_ms is None or row.started_at < query.to_ms)
            and (query.lobs is None or row.lob in query.lobs)
            and (query.problem is None or query.problem in row.problems)
        ]
        for name, value in wanted:
            found = [(call_id, row) for call_id, row in found if getattr(row, name) == value]
        return found


def _find(held: dict[str, bytes], event_id: str) -> Event | None:
    body = held.get(event_id)
    return None if body is None else _EVENT.decode(body)


def _variants(held: dict[str, bytes], event_id: str) -> int:
    first, end = variant_range(event_id)
    return sum(first <= other < end for other in held)
