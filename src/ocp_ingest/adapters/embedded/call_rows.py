"""Rows of the call table, and with them what is derived from a row: counters and problem rows.

Rules
1. A record is written with its columns in one statement, and with the counters and problem rows
   that these stand for in one transaction.
2. Counters change by the difference between what the row stood for (its `counted`, under its line
   of business and day) and what it stands for now, so it does not matter by which policy, rules or
   program the row was counted, or whether it was.
3. Differences are gathered and written once, over an operation or, of events, over all that is
   committed together: they are of few days, and each changes a few terms.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from ocp_ingest.adapters.embedded.asking import asking, rows_of
from ocp_ingest.adapters.embedded.database import change, row, value
from ocp_ingest.adapters.journal import Row, standing_of
from ocp_ingest.core.call import Call
from ocp_ingest.core.counting import TERMS, day_of

COLUMNS: Final = "ocp_group, lob, stage, outcome, started_at, pend_at, problems, counted"
PUT: Final = f"""
INSERT INTO call (call_id, {COLUMNS}, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (call_id) DO UPDATE SET
  ocp_group=excluded.ocp_group, lob=excluded.lob, stage=excluded.stage, outcome=excluded.outcome,
  started_at=excluded.started_at, pend_at=excluded.pend_at, problems=excluded.problems,
  counted=excluded.counted, record=excluded.record
"""  # noqa: S608 - constants
# The same for a row that is there, where only these columns change: an index of columns that are
# not named is not touched.
_PUT_RECORD: Final = "UPDATE call SET counted=?, record=? WHERE call_id=?"
_PUT_STATE: Final = """
UPDATE call SET stage=?, outcome=?, pend_at=?, problems=?, counted=?, record=? WHERE call_id=?
"""
PUT_PROBLEM: Final = """
INSERT OR IGNORE INTO call_problem (code, outcome, stage, lob, ocp_group, started_at, call_id)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_DROP_PROBLEM: Final = """
DELETE FROM call_problem WHERE code=? AND outcome=? AND stage=? AND lob=? AND ocp_group=?
  AND started_at=? AND call_id=?
"""
ADD_COUNT: Final = """
INSERT INTO day_count (day, lob, term, n) VALUES (?, ?, ?, ?)
ON CONFLICT (day, lob, term) DO UPDATE SET n = n + excluded.n
"""

_BITS: Final = {term: 1 << n for n, term in enumerate(TERMS)}
assert len(TERMS) < 64, "terms are the bits of an integer of SQLite"
_LINE: Final = "\n"

ENCODER: Final = msgspec.msgpack.Encoder()
DECODER: Final = msgspec.msgpack.Decoder(Call)


class Held(NamedTuple):
    """A row as it is kept; `counted` None: it is in no counter yet."""

    row: Row
    counted: int | None
    record: bytes


class Tally:
    """What is to be added to the counters (rule 3)."""

    def __init__(self) -> None:
        self._by: dict[tuple[str, str], dict[int, int]] = {}

    def move(self, before: Held | None, after: Row | None, counted: int) -> None:
        """A call leaves what it was counted for and enters what it counts for now."""
        old = 0 if before is None else before.counted or 0
        was = _place(before.row) if before is not None else ("", "")
        now = _place(after) if after is not None else was
        if was == now:
            self._add(now, counted & ~old, 1)
            self._add(now, old & ~counted, -1)
        else:
            self._add(was, old, -1)
            self._add(now, counted, 1)

    def write(self, connection: apsw.Connection) -> set[tuple[str, str, str]]:
        """Adds it to the counters, once; which ones (day, line of business, term)."""
        changed = set()
        for (day, lob), bits in self._by.items():
            for bit, number in bits.items():
                if number:
                    counter = (day, lob, TERMS[bit.bit_length() - 1])
                    change(connection, ADD_COUNT, (*counter, number))
                    changed.add(counter)
        self._by.clear()
        return changed

    def forget(self) -> None:
        """Drops what was gathered and not written."""
        self._by.clear()

    def _add(self, place: tuple[str, str], bits: int, sign: int) -> None:
        if not bits:
            return
        counts = self._by.setdefault(place, {})
        while bits:
            bit = bits & -bits
            counts[bit] = counts.get(bit, 0) + sign
            bits ^= bit


_HELD: Final = asking(f"SELECT call_id, {COLUMNS}, record FROM call WHERE call_id IN (?)")  # noqa: S608


def held(connection: apsw.Connection, call_id: str) -> Held | None:
    """The row of a call, or None."""
    found = row(connection, _HELD[1], (call_id,))
    return None if found is None else _held(found)


def held_all(connection: apsw.Connection, call_ids: Collection[str]) -> dict[str, Held]:
    """The rows of those calls that have one."""
    found: dict[str, Held] = {}
    for columns in rows_of(connection, _HELD, call_ids):
        found[columns[0]] = _held(columns)
    return found


def _held(columns: tuple[Any, ...]) -> Held:
    _, ocp_group, lob, stage, outcome, started_at, pend_at, problems, counted, record = columns
    codes = tuple(problems.split(_LINE)) if problems else ()
    held_row = Row(ocp_group, lob, stage, outcome, started_at, pend_at, codes)
    return Held(held_row, counted, record)


def put(
    connection: apsw.Connection, call: Call, derived: Row, before: Held | None, tally: Tally
) -> None:
    """Writes a record in place of the row `before`, which must be what is there (rules 1, 2)."""
    counted = counted_of(call, derived)
    _write(connection, values(call, derived, counted), derived, before)
    tally.move(before, derived, counted)
    if not derived.problems and (before is None or not before.row.problems):
        return
    old = problem_rows(call.call_id, before.row) if before is not None else []
    new = problem_rows(call.call_id, derived)
    for gone in old:
        if gone not in new:
            change(connection, _DROP_PROBLEM, gone)
    for fresh in new:
        if fresh not in old:
            change(connection, PUT_PROBLEM, fresh)


def _write(
    connection: apsw.Connection, row: tuple[str | int | bytes | None, ...], derived: Row,
    before: Held | None,
) -> None:  # fmt: skip
    if before is not None and before.row == derived:
        change(connection, _PUT_RECORD, (*row[-2:], row[0]))
    elif before is not None and _place_and_start(before.row) == _place_and_start(derived):
        stage, outcome, _, *state = row[3:]
        change(connection, _PUT_STATE, (stage, outcome, *state, row[0]))
    else:
        change(connection, PUT, row)


def _place_and_start(derived: Row) -> tuple[str, str, int]:
    return derived.ocp_group, derived.lob, derived.started_at


def remove(connection: apsw.Connection, call_id: str, before: Held, tally: Tally) -> None:
    """Takes a row away, with all that it stood for."""
    change(connection, "DELETE FROM call WHERE call_id=?", (call_id,))
    tally.move(before, None, 0)
    for gone in problem_rows(call_id, before.row):
        change(connection, _DROP_PROBLEM, gone)


def is_as(connection: apsw.Connection, call: Call, derived: Row, before: Held) -> bool:
    """Whether a row's columns, counters and problem rows are those of a record."""
    if before.row != derived or before.counted != counted_of(call, derived):
        return False
    sql = f"SELECT count(*) {_DROP_PROBLEM.strip().removeprefix('DELETE')}"
    return all(value(connection, sql, one) for one in problem_rows(call.call_id, derived))


def put_right(
    connection: apsw.Connection, call: Call, derived: Row, before: Held | None, tally: Tally
) -> None:
    """As `put`, and problem rows come back that were lost."""
    put(connection, call, derived, before, tally)
    for lost in problem_rows(call.call_id, derived):
        change(connection, PUT_PROBLEM, lost)


def readable(before: Held) -> Call | None:
    """The record of a row, or None when it can't be read."""
    try:
        return DECODER.decode(before.record)
    except msgspec.MsgspecError:
        return None


def values(call: Call, derived: Row, counted: int) -> tuple[str | int | bytes | None, ...]:
    """The values of PUT."""
    return (
        call.call_id, derived.ocp_group, derived.lob, derived.stage, derived.outcome,
        derived.started_at, derived.pend_at, _LINE.join(derived.problems), counted,
        ENCODER.encode(call),
    )  # fmt: skip


def counted_of(call: Call, derived: Row) -> int:
    """The terms that a record counts in, as bits by their place in TERMS; 0: none."""
    found = standing_of(call, derived)
    return 0 if found is None else sum(map(_BITS.__getitem__, found.terms))


def terms_of(counted: int) -> list[str]:
    """The terms of bits."""
    return [term for term, bit in _BITS.items() if counted & bit]


def problem_rows(call_id: str, derived: Row) -> list[tuple[str | int, ...]]:
    """The rows of call_problem that columns stand for, in the order of its columns."""
    place = (derived.outcome, derived.stage, derived.lob, derived.ocp_group, derived.started_at)
    return [(code, *place, call_id) for code in derived.problems]


def _place(derived: Row) -> tuple[str, str]:
    return day_of(derived.started_at), derived.lob
