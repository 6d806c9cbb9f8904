"""What `verify` can't see through the ports: rows of the embedded store that don't fit their call.

The event's content, and when and how we heard of it, are guarded by the chain. Here is the rest:
the form of its row, the marks beside it, the record's row with its columns and counters, and the
ends of chains on days that are not closed yet.
"""

from __future__ import annotations

from typing import Any, Final

import apsw
import msgspec

from ocp_ingest.adapters.embedded import call_rows, journal_rows
from ocp_ingest.adapters.embedded.database import rows
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import EVIDENCE_KINDS, Deriving, derive
from ocp_ingest.core.call import fold
from ocp_ingest.core.events import Event, content_hash
from ocp_ingest.core.proof import order_of

_ROWS: Final = """
SELECT event_id, content_hash, data, opens, key_id, raw, seq FROM journal WHERE call_id=?
ORDER BY seq
"""
_ENCODER: Final = msgspec.json.Encoder()


def audit(
    connection: apsw.Connection, vault: Vault, deriving: Deriving, call_id: str, closed: str
) -> list[str]:
    """What is wrong, in sentences. Raises as journal_rows.read for a row that can't be read."""
    events = {event.event_id: event for event in journal_rows.read(connection, vault, call_id)}
    held = rows(connection, _ROWS, (call_id,))
    found = [text for columns in held for text in _row(events, columns)]
    found += _opening(events, held)
    found += _seqs(connection, call_id, held)
    found += _ends(connection, call_id, closed)
    if events:
        found += _record(connection, deriving, call_id, list(events.values()))
    return found


def _row(events: dict[str, Event], columns: tuple[Any, ...]) -> list[str]:
    event_id, noted, data, _, key_id, raw, _ = columns
    event = events[event_id]
    found = []
    if noted != content_hash(event):
        found.append(f"The hash noted beside the event {event_id} is not its own.")
    if _ENCODER.encode(event.data) != bytes(data):
        found.append(f"The data of the event {event_id} are not as they were written.")
    if not key_id and raw:
        found.append(f"The event {event_id} has raw bytes without a key.")
    return found


def _opening(events: dict[str, Event], held: list[tuple[Any, ...]]) -> list[str]:
    """Exactly the first event that is evidence of a call makes it count as started."""
    evidence = [columns for columns in held if events[columns[0]].kind in EVIDENCE_KINDS]
    right = [(columns[0], 1) for columns in evidence[:1]]
    marked = [(columns[0], columns[3]) for columns in held if columns[3] is not None]
    if marked == right:
        return []
    return ["The mark with which a call counts as started is not on its first evidence."]


def _seqs(
    connection: apsw.Connection, call_id: str, held: list[tuple[Any, ...]]
) -> list[str]:  # fmt: skip
    sql = "SELECT event_id, seq FROM seal_link WHERE call_id=?"
    sealed = dict(rows(connection, sql, (call_id,)))
    return [
        f"The event {event_id} is at another place of the journal than when it was sealed."
        for event_id, *_, seq in held
        if sealed.get(event_id, seq) != seq
    ]


def _ends(connection: apsw.Connection, call_id: str, closed: str) -> list[str]:
    """The ends of the chain on open days are those that their leaves will be made of."""
    sql = (
        "SELECT day, max(n), link FROM seal_link WHERE call_id=? AND day > ? GROUP BY day"
        " ORDER BY day"
    )
    links = rows(connection, sql, (call_id, closed))
    # By the primary key of each open day: there are one or two.
    sql = (
        "SELECT day, n, link, call_id FROM seal_day WHERE day IN "
        "(SELECT DISTINCT day FROM seal_link WHERE call_id=? AND day > ?) AND name=? ORDER BY day"
    )
    ends = rows(connection, sql, (call_id, closed, order_of(call_id)))
    if [(*link, call_id) for link in links] == ends:
        return []
    return ["The end of the call's chain on a day still open is not the one noted for its leaf."]


def _record(
    connection: apsw.Connection, deriving: Deriving, call_id: str, events: list[Event]
) -> list[str]:
    held = call_rows.held(connection, call_id)
    if held is None:
        return ["The journal has no record: run `ocp-ingest replay`."]
    call = fold(call_id, events)
    if call_rows.readable(held) != call:
        return ["The record is not what its journal gives: run `ocp-ingest replay`."]
    if not call_rows.is_as(connection, call, derive(call, deriving), held):
        return ["The record's columns or counters are not those of its journal: run replay."]
    return []
