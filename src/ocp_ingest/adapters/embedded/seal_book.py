"""SealBook on SQLite: the chains beside the journal, extended by the one writer.

Rules
1. The order in which the store took events is `journal.seq`; what lies behind the highest sealed
   one (note "position") is still to be sealed.
2. A chain is read, extended and written in one transaction, so it never forks; day's ends and the
   refusal of closed days are in the same one.
3. A link takes the hash that was noted beside the event when it was taken, not one of today's
   bytes: a row that was altered in between does not fit its link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw

from ocp_ingest.adapters.embedded import audit
from ocp_ingest.adapters.embedded.database import Database, change, row, rows, value
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core.proof import ZERO, Entry, Link, Tip, extend, order_of
from ocp_ingest.evidence.ports import DayClosed, Fresh, Marks

_FRESH: Final = """
SELECT seq, call_id, event_id, content_hash, source, received_at_ms, body_hash
FROM journal WHERE seq > ? ORDER BY seq LIMIT ?
"""
_LINKS: Final = """
SELECT n, lower(hex(link)), day, call_id, event_id, lower(hex(event_hash)), source, received_at_ms,
  body_hash, seq
FROM seal_link WHERE call_id=? ORDER BY n
"""
_PUT_LINK: Final = """
INSERT INTO seal_link
  (call_id, n, event_id, event_hash, link, source, received_at_ms, body_hash, day, seq)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_DAY: Final = "INSERT OR REPLACE INTO seal_day (day, name, call_id, n, link) VALUES (?,?,?,?,?)"
_PUT_NOTE: Final = "INSERT OR REPLACE INTO seal_note (name, value) VALUES (?, ?)"
_SEALED_ON: Final = """
SELECT call_id, n, lower(hex(link)) FROM seal_day WHERE day=? AND name > ? ORDER BY name LIMIT ?
"""
_STRAYS: Final = """
SELECT call_id FROM call c
WHERE NOT EXISTS (SELECT 1 FROM journal j WHERE j.call_id = c.call_id) ORDER BY call_id LIMIT ?
"""
# Rows of closed days removed in one commit.
_DROPPED_AT_ONCE: Final = 10_000


class EmbeddedSealBook:
    """See ocp_ingest.evidence.ports.SealBook."""

    def __init__(self, database: Database, vault: Vault, deriving: Deriving) -> None:
        """`vault` and `deriving` are for `audit`."""
        self._database = database
        self._vault = vault
        self._deriving = deriving

    async def fresh(self, *, limit: int) -> Fresh:
        """The next events by seq."""

        def read(connection: apsw.Connection) -> list[tuple[Any, ...]]:
            return rows(connection, _FRESH, (position(connection), limit))

        found = await self._database.read(read)
        entries = tuple(Entry(*columns) for _, *columns in found)
        return Fresh(entries, found[-1][0] if found else None)

    async def seal(self, entries: Sequence[Entry], day: str) -> int:
        """Rule 2."""
        taken = list(entries)
        return await self._database.write(lambda c: _seal(c, taken, day), weight=len(taken))

    async def done(self, fresh: Fresh) -> None:
        """Moves the position on, never back."""
        if fresh.mark is None:
            return

        def operation(connection: apsw.Connection) -> None:
            if fresh.mark > position(connection):
                _put(connection, "position", str(fresh.mark))

        await self._database.write(operation)

    async def chain(self, call_id: str) -> list[Link]:
        """All links of a call."""
        return await self._database.read(lambda c: chain(c, call_id))

    async def sealed_on(self, day: str, *, after: str = "", limit: int) -> list[Tip]:
        """Calls that were sealed on a day."""
        name = order_of(after) if after else ""
        found = await self._database.read(lambda c: rows(c, _SEALED_ON, (day, name, limit)))
        return [Tip(*columns) for columns in found]

    async def marks(self) -> Marks:
        """How far the days are."""
        return self._database.read_now(marks)

    async def begin_close(self, day: str) -> None:
        """Moves the mark on, never back."""

        def operation(connection: apsw.Connection) -> None:
            if day > marks(connection).closing:
                _put(connection, "closing", day)

        await self._database.write(operation)

    async def closed(self, day: str, statement: str) -> None:
        """Moves the mark on and drops what only the closing needed."""

        def operation(connection: apsw.Connection) -> None:
            if day > marks(connection).closed:
                _put(connection, "closed", day)
                _put(connection, "statement", statement)

        await self._database.write(operation)
        while await self._database.write(_drop_closed):
            continue  # ends with the rows of closed days

    async def call_ids(self, *, after: str = "", limit: int) -> list[str]:
        """Calls that have a chain."""
        sql = "SELECT DISTINCT call_id FROM seal_link WHERE call_id > ? ORDER BY call_id LIMIT ?"
        found = await self._database.read(lambda c: rows(c, sql, (after, limit)))
        return [call_id for (call_id,) in found]

    async def waiting(self, call_id: str) -> frozenset[str]:
        """Events behind the position."""
        sql = "SELECT event_id FROM journal WHERE call_id=? AND seq > ?"
        found = await self._database.read(lambda c: rows(c, sql, (call_id, position(c))))
        return frozenset(event_id for (event_id,) in found)

    async def audit(self, call_id: str) -> list[str]:
        """See ocp_ingest.adapters.embedded.audit."""

        def read(connection: apsw.Connection) -> list[str]:
            journal = audit.journal(connection, self._vault, call_id)
            record, sealed = (
                audit.Record.of(connection, call_id),
                chain_and_seqs(connection, call_id),
            )
            closed = marks(connection).closed
            return audit.judged(connection, self._deriving, journal, record, sealed, closed)

        return await self._database.read(read)

    async def strays(self, *, limit: int) -> list[str]:
        """Calls that have a record and no journal."""
        found = await self._database.read(lambda c: rows(c, _STRAYS, (limit,)))
        return [call_id for (call_id,) in found]

    async def note(self, name: str) -> str:
        """A value."""
        return self._database.read_now(lambda c: _note(c, f"note:{name}"))

    async def put_note(self, name: str, value: str) -> None:
        """Keeps a value."""
        await self._database.write(lambda c: _put(c, f"note:{name}", value))


def _seal(connection: apsw.Connection, entries: list[Entry], day: str) -> int:
    held = marks(connection)
    if day <= held.closing:
        raise DayClosed(f"The day {day} is closed.")
    by_call: dict[str, list[Entry]] = {}
    for entry in entries:
        by_call.setdefault(entry.call_id, []).append(entry)
    made = sum(_extend(connection, call_id, own, day) for call_id, own in by_call.items())
    if made and not held.first:
        _put(connection, "first", day)
    return made


def _extend(connection: apsw.Connection, call_id: str, entries: list[Entry], day: str) -> int:
    held = rows(connection, "SELECT event_id FROM seal_link WHERE call_id=?", (call_id,))
    sealed = {event_id for (event_id,) in held}
    lacking = {e.event_id: e for e in entries if e.event_id not in sealed}
    if not lacking:
        return 0
    sql = "SELECT n, lower(hex(link)) FROM seal_link WHERE call_id=? ORDER BY n DESC LIMIT 1"
    n, link = row(connection, sql, (call_id,)) or (0, ZERO)
    links = extend(Tip(call_id, n, link), lacking.values(), day)
    for made in links:
        _put_link(connection, made)
    last = links[-1]
    change(
        connection, _PUT_DAY, (day, order_of(call_id), call_id, last.n, bytes.fromhex(last.link))
    )
    return len(links)


def _put_link(connection: apsw.Connection, link: Link) -> None:
    entry = link.entry
    sql = "SELECT seq FROM journal WHERE call_id=? AND event_id=?"
    seq = value(connection, sql, (entry.call_id, entry.event_id)) or 0
    change(
        connection, _PUT_LINK,
        (
            entry.call_id, link.n, entry.event_id, _bytes(entry.event_hash),
            bytes.fromhex(link.link), entry.source, entry.received_at_ms, entry.body_hash,
            link.day, seq,
        ),
    )  # fmt: skip


def _bytes(event_hash: str) -> bytes:
    """A hash as bytes; one that was altered in the journal can't be, and nothing fits nothing."""
    try:
        return bytes.fromhex(event_hash)
    except ValueError:
        return b""


def chain(connection: apsw.Connection, call_id: str) -> list[Link]:
    """All links of a call."""
    return chain_and_seqs(connection, call_id)[0]


def chain_and_seqs(
    connection: apsw.Connection, call_id: str
) -> tuple[list[Link], dict[str, int]]:  # fmt: skip
    """All links of a call, and by event id where in the journal each was sealed."""
    links, seqs = [], {}
    for n, link, day, *entry, seq in rows(connection, _LINKS, (call_id,)):
        made = Link(n, link, day, Entry(*entry))
        links.append(made)
        seqs[made.entry.event_id] = seq
    return links, seqs


def _drop_closed(connection: apsw.Connection) -> int:
    sql = (
        "DELETE FROM seal_day WHERE (day, name) IN "
        "(SELECT day, name FROM seal_day WHERE day <= ? LIMIT ?)"
    )
    return change(connection, sql, (marks(connection).closed, _DROPPED_AT_ONCE))


def marks(connection: apsw.Connection) -> Marks:
    """How far the days are."""
    names = ("first", "closing", "closed", "statement")
    return Marks(*(_note(connection, name) for name in names))


def position(connection: apsw.Connection) -> int:
    """The `seq` up to which all events are sealed (rule 1)."""
    return int(_note(connection, "position") or 0)


def _note(connection: apsw.Connection, name: str) -> str:
    return value(connection, "SELECT value FROM seal_note WHERE name=?", (name,)) or ""


def _put(connection: apsw.Connection, name: str, said: str) -> None:
    change(connection, _PUT_NOTE, (name, said))


__all__ = ["EmbeddedSealBook"]
