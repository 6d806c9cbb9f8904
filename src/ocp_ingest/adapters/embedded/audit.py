"""What `verify` can't see through the ports: rows of the embedded store that don't fit their call.

The event's content, and when and how we heard of it, are guarded by the chain. Here is the rest:
the form of its row, the marks beside it, the record's row with its columns and counters, and the
ends of chains on days that are not closed yet.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import apsw
import msgspec

from ocp_ingest.adapters.embedded import call_rows, journal_rows
from ocp_ingest.adapters.embedded.call_rows import Held
from ocp_ingest.adapters.embedded.database import rows
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import EVIDENCE_KINDS, Deriving, derive, journal_order
from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.events import Event
from ocp_ingest.core.proof import Entry, Link, entry_of, order_of

_END: Final = "SELECT day, n, lower(hex(link)), call_id FROM seal_day WHERE day=? AND name=?"
_DECODE: Final = msgspec.msgpack.decode
_ENCODER: Final = msgspec.json.Encoder()


class Row(NamedTuple):
    """What a row of the journal has beside its event; `event` is as read, `data` are its bytes."""

    event_id: str
    event: Event
    seq: int
    content_hash: str
    opens: int | None
    key_id: str
    data: bytes
    has_raw: bool


class Journal(NamedTuple):
    """The journal of a call, read once: its rows by `seq`, and what they say."""

    call: Call
    rows: list[Row]
    events: list[Event]  # in the order of adapters.journal.journal_order
    entries: dict[str, Entry]


class Record(NamedTuple):
    """The row of a record, and what it says; None for what is not there or can't be read."""

    held: Held | None
    call: Call | None

    @classmethod
    def of(cls, connection: apsw.Connection, call_id: str) -> Record:
        """Reads it."""
        held = call_rows.held(connection, call_id)
        return cls(held, None if held is None else call_rows.readable(held))


def journal(connection: apsw.Connection, vault: Vault, call_id: str) -> Journal:
    """Reads it. Raises as journal_rows.read for a row that can't be read."""
    held = [
        Row(event.event_id, event, *beside)
        for event, beside in journal_rows.read_rows(connection, vault, call_id)
    ]
    held.sort(key=lambda row: row.seq)
    events = sorted((row.event for row in held), key=journal_order)
    entries = {event.event_id: entry_of(event) for event in events}
    return Journal(fold(call_id, events), held, events, entries)


def judged(
    connection: apsw.Connection, deriving: Deriving, read: Journal, record: Record,
    sealed: tuple[list[Link], dict[str, int]], closed: str,
) -> list[str]:  # fmt: skip
    """What is wrong, in sentences, with the rows of a journal and a chain that were read, and with
    the record's row. Raises as journal_rows.read for a row that can't be read.
    """
    links, seqs = sealed
    found = [text for row in read.rows for text in _row(read, row)]
    found += _opening(read.rows)
    found += _seqs(read.rows, seqs)
    found += _ends(connection, read.call.call_id, links, closed)
    if read.events:
        found += _record(connection, deriving, read.call, record)
    return found


def _row(read: Journal, row: Row) -> list[str]:
    found = []
    if row.content_hash != read.entries[row.event_id].event_hash:
        found.append(f"The hash noted beside the event {row.event_id} is not its own.")
    if _ENCODER.encode(row.event.data) != bytes(row.data):
        found.append(f"The data of the event {row.event_id} are not as they were written.")
    if not row.key_id and row.has_raw:
        found.append(f"The event {row.event_id} has raw bytes without a key.")
    return found


def _opening(held: list[Row]) -> list[str]:
    """Exactly the first event that is evidence of a call makes it count as started."""
    evidence = [row for row in held if row.event.kind in EVIDENCE_KINDS]
    right = [(row.event_id, 1) for row in evidence[:1]]
    marked = [(row.event_id, row.opens) for row in held if row.opens is not None]
    if marked == right:
        return []
    return ["The mark with which a call counts as started is not on its first evidence."]


def _seqs(held: list[Row], sealed: dict[str, int]) -> list[str]:
    return [
        f"The event {row.event_id} is at another place of the journal than when it was sealed."
        for row in held
        if sealed.get(row.event_id, row.seq) != row.seq
    ]


def _ends(connection: apsw.Connection, call_id: str, links: list[Link], closed: str) -> list[str]:
    """The ends of the chain on open days are those that their leaves will be made of."""
    last = {link.day: (link.day, link.n, link.link, call_id) for link in links if link.day > closed}
    # By the primary key of each open day: there are one or two.
    noted = [
        row for day in sorted(last) for row in rows(connection, _END, (day, order_of(call_id)))
    ]
    if [last[day] for day in sorted(last)] == noted:
        return []
    return ["The end of the call's chain on a day still open is not the one noted for its leaf."]


def _record(
    connection: apsw.Connection, deriving: Deriving, call: Call, record: Record
) -> list[str]:
    if record.held is None:
        return ["The journal has no record: run `ocp-ingest replay`."]
    if record.call != call or not _is_whole(record.held, call):
        return ["The record is not what its journal gives: run `ocp-ingest replay`."]
    if not call_rows.is_as(connection, call, derive(call, deriving), record.held):
        return ["The record's columns or counters are not those of its journal: run replay."]
    return []


def _is_whole(held: Held, call: Call) -> bool:
    """Whether a record's bytes say what the record read from them says, and nothing else.

    Equal is not the same: -0.0 equals 0.0, and an unknown field is ignored in reading. A map may be
    in another order, and of an older program's record a field may be missing.
    """
    again = call_rows.ENCODER.encode(call)
    return again == held.record or _within(_DECODE(held.record), _DECODE(again))


def _within(part: object, whole: object) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _within(part[key], whole[key]) for key in part)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(_within, part, whole))
    return type(part) is type(whole) and repr(part) == repr(whole)
