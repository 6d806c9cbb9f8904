"""Rows of the journal table: events in, events out, raw bytes encrypted in between."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import apsw
import msgspec

from ocp_ingest.adapters.embedded.asking import asking, rows_of
from ocp_ingest.adapters.embedded.database import change, row, rows, value
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import journal_order, variant_range
from ocp_ingest.core.events import Event, canonical_data, content_hash

_COLUMNS: Final = (
    "call_id, event_id, kind, at_ms, key_at_ms, source, received_at_ms, body_hash, key_id, "
    "data, raw"
)
_INSERT: Final = f"""
INSERT INTO journal ({_COLUMNS}, content_hash, opens)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (call_id, event_id) DO NOTHING
"""  # noqa: S608 - constants
_SELECT: Final = f"SELECT {_COLUMNS} FROM journal WHERE call_id=?"  # noqa: S608 - constants
_SELECT_ROWS: Final = (
    f"SELECT {_COLUMNS}, seq, content_hash, opens, key_id, data, length(raw) > 0 "  # noqa: S608
    "FROM journal WHERE call_id=?"
)
# Not by the index of events that open, which is in the order of arrival.
_OPENED: Final = asking(
    "SELECT call_id FROM journal INDEXED BY journal_event WHERE call_id IN (?) AND opens=1"
)

_DECODER: Final = msgspec.json.Decoder(dict)


def insert(connection: apsw.Connection, vault: Vault, event: Event, opens: bool) -> bool:
    """Adds an event; False, and nothing is changed, when its id is held already."""
    key_id = vault.key_id if event.raw else ""
    raw = vault.encrypt(event.raw, _name(event.call_id, event.event_id)) if event.raw else b""
    data = canonical_data(event)
    added = change(
        connection,
        _INSERT,
        (
            event.call_id, event.event_id, event.kind, event.at_ms, event.key_at_ms, event.source,
            event.received_at_ms, event.body_hash, key_id, data, raw,
            content_hash(event, data), 1 if opens else None,
        ),
    )  # fmt: skip
    if key_id and key_id not in vault.noted:
        note_key(connection, key_id)
    return added == 1


def find(connection: apsw.Connection, vault: Vault, call_id: str, event_id: str) -> Event | None:
    """The event of an id, or None."""
    found = row(connection, f"{_SELECT} AND event_id=?", (call_id, event_id))
    return None if found is None else _event(vault, found)


def read(connection: apsw.Connection, vault: Vault, call_id: str) -> list[Event]:
    """All events of a call, by time of what they say."""
    found = rows(connection, _SELECT, (call_id,))
    return sorted((_event(vault, columns) for columns in found), key=journal_order)


def read_rows(
    connection: apsw.Connection, vault: Vault, call_id: str
) -> list[tuple[Event, tuple[Any, ...]]]:
    """All events of a call, each with seq, content hash, `opens`, key, data, and whether it has
    raw bytes, as its row has them.
    """
    found = rows(connection, _SELECT_ROWS, (call_id,))
    return [(_event(vault, columns[:11]), columns[11:]) for columns in found]


def variants(connection: apsw.Connection, call_id: str, event_id: str) -> int:
    """How many variants of an event are held."""
    sql = "SELECT count(*) FROM journal WHERE call_id=? AND event_id >= ? AND event_id < ?"
    return int(value(connection, sql, (call_id, *variant_range(event_id))))


def opened(connection: apsw.Connection, call_ids: Collection[str]) -> set[str]:
    """Those of some calls of which the journal holds the event that opened them."""
    return {call_id for (call_id,) in rows_of(connection, _OPENED, call_ids)}


def note_key(connection: apsw.Connection, key_id: str) -> None:
    """Notes that rows need a key, so that a start without it is refused at once."""
    change(connection, "INSERT OR IGNORE INTO meta VALUES (?, ?)", (f"key:{key_id}", key_id))


def key_ids(connection: apsw.Connection) -> list[str]:
    """Keys that rows of this database need."""
    sql = "SELECT value FROM meta WHERE name GLOB 'key:*'"
    return [key_id for (key_id,) in rows(connection, sql)]


def _event(vault: Vault, columns: tuple[Any, ...]) -> Event:
    call_id, event_id, kind, at_ms, key_at_ms, source, received_at_ms, body_hash = columns[:8]
    key_id, data, raw = columns[8:]
    name = _name(call_id, event_id)
    return Event(
        call_id=call_id,
        event_id=event_id,
        kind=kind,
        at_ms=at_ms,
        key_at_ms=key_at_ms,
        source=source,
        received_at_ms=received_at_ms,
        data=_DECODER.decode(data),
        raw=vault.decrypt(raw, name, key_id) if key_id else b"",
        body_hash=body_hash,
    )


def _name(call_id: str, event_id: str) -> str:
    return f"{len(call_id)}:{call_id}:{event_id}"
