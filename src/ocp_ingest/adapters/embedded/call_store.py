"""CallStore on SQLite: journal, record, pending index and look-ups in one transaction.

Rules
1. Journal first, then merge; both in one operation of the writer, so a crash leaves both or none.
2. The columns of `call` are derived (adapters.journal.derive); pend_at is NULL when no work is
   open, and its partial indexes hold nothing else, so finding due work reads no finished call.
3. Raw vendor bytes are encrypted (Vault); `journal()` gives them back as they came.
4. When the policy differs from the one that derived the columns, `open` derives them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, Literal

import apsw
import msgspec

from ocp_ingest.adapters.embedded import call_pages, journal_rows
from ocp_ingest.adapters.embedded.database import Database, change, row, rows, value
from ocp_ingest.adapters.embedded.evidence import add_count
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import EVIDENCE_KINDS, VARIANTS_REFUSED, Row, derive, settle
from ocp_ingest.core.call import Call, fold, merge, new
from ocp_ingest.core.errors import Terminal
from ocp_ingest.core.events import Event, canonical_hash
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.vendor import lookups
from ocp_ingest.ports import Appended, CallPage, CallQuery, Pending
from ocp_ingest.telemetry import log

# Records derived anew in one transaction when the policy has changed.
REDERIVE_BATCH: Final = 500

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Call)

_PUT: Final = """
INSERT INTO call (call_id, ocp_group, lob, stage, outcome, started_at, pend_at, record)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (call_id) DO UPDATE SET
  ocp_group=excluded.ocp_group, lob=excluded.lob, stage=excluded.stage, outcome=excluded.outcome,
  started_at=excluded.started_at, pend_at=excluded.pend_at, record=excluded.record
"""
_COLUMNS: Final = "ocp_group, lob, stage, outcome, started_at, pend_at"
# The earlier message about an id wins, then the smaller call id: the same in any order.
_LOOKUP: Final = """
INSERT INTO lookup (kind, ident, at_ms, call_id) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, ident) DO UPDATE SET at_ms=excluded.at_ms, call_id=excluded.call_id
WHERE (excluded.at_ms, excluded.call_id) < (lookup.at_ms, lookup.call_id)
"""


class EmbeddedCallStore:
    """See ocp_ingest.ports.CallStore."""

    def __init__(self, database: Database, vault: Vault, policy: CallPolicy) -> None:
        """Blocks while columns are derived anew. Raises Terminal when a data key is missing."""
        self._database = database
        self._vault = vault
        self._policy = policy
        for key_id in database.read_now(journal_rows.key_ids):
            vault.require(key_id)
        self._rederive()

    async def append(self, events: Sequence[Event]) -> list[Appended]:
        """Rule 1."""
        if not events:
            return []
        taken = list(events)
        return await self._database.write(
            lambda connection: self._append(connection, taken), weight=len(taken)
        )

    async def load(self, call_id: str) -> Call | None:
        """The record, or None."""
        return self._database.read_now(lambda connection: self._record(connection, call_id)[0])

    async def journal(self, call_id: str) -> list[Event]:
        """All events of a call, decrypted."""
        return await self._database.read(
            lambda connection: journal_rows.read(connection, self._vault, call_id)
        )

    async def call_of(
        self, kind: Literal["dialog", "session", "connection", "landing"], ident: str
    ) -> str | None:
        """The call that an id of another kind belongs to."""
        sql = "SELECT call_id FROM lookup WHERE kind=? AND ident=?"
        found: str | None = self._database.read_now(lambda c: value(c, sql, (kind, ident)))
        return found

    async def pending(
        self, *, until_ms: int, limit: int, ocp_group: str | None = None,
        after: Pending | None = None,
    ) -> list[Pending]:  # fmt: skip
        """Calls with due work, earliest first."""
        return await self._database.read(
            lambda c: call_pages.pending(c, until_ms, limit, ocp_group, after)
        )

    async def pending_groups(self) -> dict[str, int]:
        """OCP groups with open work, and how many calls each has."""
        sql = "SELECT ocp_group, count(*) FROM call WHERE pend_at IS NOT NULL GROUP BY ocp_group"
        return dict(await self._database.read(lambda c: rows(c, sql)))

    async def page(self, query: CallQuery) -> CallPage:
        """A page of calls, newest start first."""
        records, cursor = await self._database.read(lambda c: call_pages.page(c, query))
        try:
            return CallPage([_DECODER.decode(record) for record in records], cursor)
        except msgspec.MsgspecError:
            raise Terminal("A record can't be read: run `ocp-ingest replay`.") from None

    async def rebuild(self, call_id: str) -> bool:
        """Folds the journal anew into record, columns and look-ups."""
        return await self._database.write(lambda connection: self._rebuild(connection, call_id))

    async def call_ids(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """Ids of all calls with a journal, in order."""
        sql = "SELECT DISTINCT call_id FROM journal WHERE call_id > ? ORDER BY call_id LIMIT ?"
        found = await self._database.read(lambda c: rows(c, sql, (after, limit)))
        return [call_id for (call_id,) in found]

    async def counts(self) -> dict[str, int]:
        """The terms of the conservation law, each from its own source."""
        return await self._database.read(call_pages.counts)

    # -- operations of the writer -------------------------------------------------------------

    def _append(self, connection: apsw.Connection, events: list[Event]) -> list[Appended]:
        held: dict[str, Call | None] = {}
        calls: dict[str, Call] = {}
        answers = []
        for event in events:
            call_id = event.call_id
            if call_id not in calls:
                record, readable = self._record(connection, call_id)
                held[call_id] = record if readable else None
                calls[call_id] = record or new(call_id)
            standing, is_new = self._journal(connection, event)
            calls[call_id] = merge(calls[call_id], standing)
            answers.append(Appended(standing, is_new, calls[call_id]))
        for call_id, call in calls.items():
            if call != held[call_id]:
                _put(connection, call, derive(call, self._policy))
        return answers

    def _journal(self, connection: apsw.Connection, event: Event) -> tuple[Event, bool]:
        settled = settle(
            event,
            lambda event_id: journal_rows.find(connection, self._vault, event.call_id, event_id),
            lambda event_id: journal_rows.variants(connection, event.call_id, event_id),
        )
        if settled.new:
            opens = _opens(connection, settled.event)
            journal_rows.insert(connection, self._vault, settled.event, opens)
            _look_up(connection, settled.event)
        if settled.refused:
            add_count(connection, VARIANTS_REFUSED, 1)
        return settled.event, settled.new

    def _record(self, connection: apsw.Connection, call_id: str) -> tuple[Call | None, bool]:
        """The record and whether it could be read; if not, the journal gives it."""
        try:
            return _load(connection, call_id), True
        except msgspec.MsgspecError:
            log().error("record.unreadable", call_id=call_id)
            return fold(call_id, journal_rows.read(connection, self._vault, call_id)), False

    def _rebuild(self, connection: apsw.Connection, call_id: str) -> bool:
        events = journal_rows.read(connection, self._vault, call_id)
        record, readable = self._record(connection, call_id)
        held = record if readable else None
        before = connection.total_changes()
        if not events:
            return change(connection, "DELETE FROM call WHERE call_id=?", (call_id,)) > 0
        call = fold(call_id, events)
        derived = derive(call, self._policy)
        if call != held or derived != _row(connection, call_id):
            _put(connection, call, derived)
        for event in events:
            _look_up(connection, event)
        return connection.total_changes() != before

    def _rederive(self) -> None:
        """Rule 4; a stop in between starts it again, since the mark is written last."""
        mark = canonical_hash(msgspec.to_builtins(self._policy))
        sql = "SELECT value FROM meta WHERE name='policy'"
        if self._database.read_now(lambda c: value(c, sql)) == mark:
            return
        after: str | None = ""
        while after is not None:
            after = self._database.write_now(partial(self._rederive_batch, after=after))
        put = "INSERT OR REPLACE INTO meta (name, value) VALUES ('policy', ?)"
        self._database.write_now(lambda c: change(c, put, (mark,)))

    def _rederive_batch(self, connection: apsw.Connection, after: str) -> str | None:
        sql = "SELECT record FROM call WHERE call_id > ? ORDER BY call_id LIMIT ?"
        last = None
        for (record,) in rows(connection, sql, (after, REDERIVE_BATCH)):
            call = _DECODER.decode(record)
            derived = derive(call, self._policy)
            if derived != _row(connection, call.call_id):
                _put(connection, call, derived)
            last = call.call_id
        return last


def _load(connection: apsw.Connection, call_id: str) -> Call | None:
    """The record as it is kept. Raises msgspec.MsgspecError when it can't be read."""
    record = value(connection, "SELECT record FROM call WHERE call_id=?", (call_id,))
    return None if record is None else _DECODER.decode(record)


def _row(connection: apsw.Connection, call_id: str) -> Row | None:
    sql = f"SELECT {_COLUMNS} FROM call WHERE call_id=?"  # noqa: S608 - a constant
    found = row(connection, sql, (call_id,))
    return None if found is None else Row(*found)


def _put(connection: apsw.Connection, call: Call, derived: Row) -> None:
    columns = msgspec.structs.astuple(derived)
    change(connection, _PUT, (call.call_id, *columns, _ENCODER.encode(call)))


def _look_up(connection: apsw.Connection, event: Event) -> None:
    for kind, ident in lookups(event):
        change(connection, _LOOKUP, (kind, ident, event.at_ms, event.call_id))


def _opens(connection: apsw.Connection, event: Event) -> bool:
    """Whether a call counts as started from this event on: the journal holds no such one yet."""
    if event.kind not in EVIDENCE_KINDS:
        return False
    sql = "SELECT 1 FROM journal WHERE call_id=? AND opens=1"
    return value(connection, sql, (event.call_id,)) is None
