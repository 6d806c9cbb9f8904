"""CallStore on SQLite: journal, record, pending index and look-ups in one transaction.

Rules
1. Journal first, then merge; both in one operation of the writer, so a crash leaves both or none.
2. The columns of `call` are derived (adapters.journal.derive); pend_at is NULL when no work is
   open, and its partial indexes hold nothing else, so finding due work reads no finished call.
   Counters and problem rows follow the columns in the same transaction (call_rows).
3. Raw vendor bytes are encrypted (Vault); `journal()` gives them back as they came.
4. When policy or routing rules differ from those that derived the columns, `open` derives them
   anew, in batches; what was begun goes on after a stop. A file of an older program, which has no
   counters yet, gets them in the same way.
5. What several callers append at once is taken in one operation: a row is read, derived and
   written once, however many events of its call there are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from itertools import islice
from typing import Final, Literal

import apsw
import msgspec

from ocp_ingest.adapters.embedded import call_pages, call_rows, journal_rows
from ocp_ingest.adapters.embedded.call_rows import DECODER, Held, Tally
from ocp_ingest.adapters.embedded.database import Database, change, rows, value
from ocp_ingest.adapters.embedded.evidence import add_count
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import EVIDENCE_KINDS, VARIANTS_REFUSED, Deriving, derive, settle
from ocp_ingest.core.call import Call, fold, merge, new
from ocp_ingest.core.errors import Terminal
from ocp_ingest.core.events import Event
from ocp_ingest.core.vendor import lookups
from ocp_ingest.ports import Appended, CallPage, CallQuery, Pending
from ocp_ingest.telemetry import log

# Records derived anew in one transaction when what derives them has changed.
REDERIVE_BATCH: Final = 500

# What all columns are of; and while they are derived anew: for what, and how far that is.
_MARK: Final = "policy"
_UNDER_WAY: Final = "rederive"
_PUT_META: Final = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"

# The earlier message about an id wins, then the smaller call id: the same in any order.
_LOOKUP: Final = """
INSERT INTO lookup (kind, ident, at_ms, call_id) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, ident) DO UPDATE SET at_ms=excluded.at_ms, call_id=excluded.call_id
WHERE (excluded.at_ms, excluded.call_id) < (lookup.at_ms, lookup.call_id)
"""

# Kind of a look-up -> register that says it, in every message that says either.
_SAID_BY: Final = {
    "dialog": "root_dialog_id", "session": "session_id", "connection": "connection_id",
}  # fmt: skip

# (kind, id) -> the time of the message that says it, and its call.
Names = dict[tuple[str, str], tuple[int, str]]


class EmbeddedCallStore:
    """See ocp_ingest.ports.CallStore."""

    def __init__(self, database: Database, vault: Vault, deriving: Deriving) -> None:
        """Blocks while columns are derived anew. Raises Terminal when a data key is missing."""
        self._database = database
        self._vault = vault
        self._deriving = deriving
        self._tally = Tally()
        database.gather(self._tally)
        for key_id in database.read_now(journal_rows.key_ids):
            vault.require(key_id)
        current = vault.key_id
        database.write_now(lambda connection: journal_rows.note_key(connection, current))
        vault.noted.add(current)
        self._rederive()

    async def append(self, events: Sequence[Event]) -> list[Appended]:
        """Rule 1."""
        if not events:
            return []
        taken = list(events)
        return await self._database.write_together(self._append_all, taken, weight=len(taken))

    async def load(self, call_id: str) -> Call | None:
        """The record, or None."""
        return self._database.read_now(lambda connection: self._held(connection, call_id)[1])

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
            return CallPage([DECODER.decode(record) for record in records], cursor)
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

    def _append_all(
        self, connection: apsw.Connection, requests: list[list[Event]]
    ) -> list[list[Appended]]:
        """Rule 5."""
        answers = iter(self._append(connection, [event for each in requests for event in each]))
        return [list(islice(answers, len(events))) for events in requests]

    def _append(self, connection: apsw.Connection, events: list[Event]) -> list[Appended]:
        taking = self._taking(connection, dict.fromkeys(event.call_id for event in events))
        names: Names = {}
        answers = []
        for event in events:
            call = taking[event.call_id]
            standing, is_new = self._journal(connection, event, call, names)
            call.now = merge(call.now, standing)
            answers.append(Appended(standing, is_new, call.now))
        if names:
            connection.executemany(_LOOKUP, [(*name, *whose) for name, whose in names.items()])
        for call in taking.values():
            if call.now != call.before:
                derived = derive(call.now, self._deriving)
                call_rows.put(connection, call.now, derived, call.held, self._tally)
        return answers

    def _taking(self, connection: apsw.Connection, call_ids: Collection[str]) -> dict[str, _Taking]:
        """Calls as they are held; the journal is asked of those that have no row."""
        held = call_rows.held_all(connection, call_ids)
        fresh = [call_id for call_id in call_ids if call_id not in held]
        opened = journal_rows.opened(connection, fresh)
        taking = {}
        for call_id in call_ids:
            row = held.get(call_id)
            record, readable = self._record(connection, call_id, row)
            before = record if readable else None
            taking[call_id] = _Taking(row, before, record or new(call_id), call_id in opened)
        return taking

    def _journal(
        self, connection: apsw.Connection, event: Event, call: _Taking, names: Names
    ) -> tuple[Event, bool]:
        # Nearly every event is new: what stands is asked only of those that are not.
        if journal_rows.insert(connection, self._vault, event, call.opens(event)):
            _name(names, event, call.now)
            return event, True
        settled = settle(
            event,
            lambda event_id: journal_rows.find(connection, self._vault, event.call_id, event_id),
            lambda event_id: journal_rows.variants(connection, event.call_id, event_id),
        )
        if settled.new:
            opens = call.opens(settled.event)
            journal_rows.insert(connection, self._vault, settled.event, opens)
            _name(names, settled.event, call.now)
        if settled.refused:
            add_count(connection, VARIANTS_REFUSED, 1)
        return settled.event, settled.new

    def _record(
        self, connection: apsw.Connection, call_id: str, held: Held | None
    ) -> tuple[Call | None, bool]:
        """The record of a row, and whether it could be read; if not, the journal gives it."""
        if held is None:
            return None, True
        call = call_rows.readable(held)
        if call is not None:
            return call, True
        log().error("record.unreadable", call_id=call_id)
        return fold(call_id, journal_rows.read(connection, self._vault, call_id)), False

    def _held(
        self, connection: apsw.Connection, call_id: str
    ) -> tuple[Held | None, Call | None, bool]:
        """The row of a call, and what `_record` says of it."""
        held = call_rows.held(connection, call_id)
        return held, *self._record(connection, call_id, held)

    def _rebuild(self, connection: apsw.Connection, call_id: str) -> bool:
        events = journal_rows.read(connection, self._vault, call_id)
        held, record, readable = self._held(connection, call_id)
        before, tally = connection.total_changes(), Tally()
        if not events:
            if held is not None:
                call_rows.remove(connection, call_id, held, tally)
        else:
            call = fold(call_id, events)
            self._put_right(connection, call, held, call == record and readable, tally)
        tally.write(connection)
        for event in events:
            _look_up(connection, event)
        return connection.total_changes() != before

    def _put_right(
        self, connection: apsw.Connection, call: Call, held: Held | None, same: bool, tally: Tally
    ) -> None:
        """Writes a row, with all that it stands for, unless it is as it should be."""
        derived = derive(call, self._deriving)
        if held is None or not same or not call_rows.is_as(connection, call, derived, held):
            call_rows.put_right(connection, call, derived, held, tally)

    def _rederive(self) -> None:
        """Rule 4."""
        mark = self._deriving.mark
        if self._database.read_now(lambda c: _meta(c, _MARK)) == mark:
            return
        under_way = self._database.read_now(lambda c: _meta(c, _UNDER_WAY))
        doing, _, reached = under_way.partition(" ")
        after: str | None = reached if doing == mark else ""
        while after is not None:
            after = self._database.write_now(partial(self._rederive_batch, mark=mark, after=after))

    def _rederive_batch(self, connection: apsw.Connection, mark: str, after: str) -> str | None:
        sql = "SELECT call_id FROM call WHERE call_id > ? ORDER BY call_id LIMIT ?"
        last, tally = None, Tally()
        for (call_id,) in rows(connection, sql, (after, REDERIVE_BATCH)):
            held, call, readable = self._held(connection, call_id)
            assert call is not None, "a row was read that is not there"
            self._put_right(connection, call, held, readable, tally)
            last = call_id
        tally.write(connection)
        if last is not None:
            change(connection, _PUT_META, (_UNDER_WAY, f"{mark} {last}"))
        else:
            change(connection, _PUT_META, (_MARK, mark))
            change(connection, "DELETE FROM meta WHERE name=?", (_UNDER_WAY,))
        return last


def _meta(connection: apsw.Connection, name: str) -> str:
    return value(connection, "SELECT value FROM meta WHERE name=?", (name,)) or ""


class _Taking:
    """A call of which events are being taken.

    `held` is its row, `before` the record in it, None when there is none that can be read; `now`
    is the record with the events so far.
    """

    __slots__ = ("before", "held", "now", "opened")

    def __init__(self, held: Held | None, before: Call | None, now: Call, opened: bool) -> None:
        self.held = held
        self.before = before
        self.now = now
        self.opened = opened  # the journal holds an event that opens, although there is no row

    def opens(self, event: Event) -> bool:
        """Whether the call counts as started from this event on: no event before it was evidence.

        A record knows that. Where its row was lost, the journal does.
        """
        return not (self.now.evidenced or self.opened) and event.kind in EVIDENCE_KINDS


def _name(names: Names, event: Event, call: Call) -> None:
    """Notes the ids of an event that its call's record does not show to be in `lookup` already."""
    whose = event.at_ms, event.call_id
    for name in lookups(event):
        kind, ident = name
        reg = call.regs.get(_SAID_BY.get(kind, ""))
        # An earlier message of this call said it: what is held stands before this one.
        if reg is not None and reg[3] == ident and reg[1] <= event.at_ms:
            continue
        held = names.get(name)
        if held is None or whose < held:
            names[name] = whose


def _look_up(connection: apsw.Connection, event: Event) -> None:
    found = [(kind, ident, event.at_ms, event.call_id) for kind, ident in lookups(event)]
    if found:
        connection.executemany(_LOOKUP, found)
