"""Listings over the `call` table: pending work, pages, counts.

Rules of pages
1. The calls with one outcome, stage, line of business and OCP group are a partition, and lie one
   after the other in `call_by_place`, newest first; with a problem's code before, in
   `call_problem`. A filter leaves some partitions: tens of them, a few hundred at a large site.
   Those that it does not name are found by stepping through the index from one to the next.
2. A page is the merge of its partitions, each read as far as it is needed. So it costs the number
   of partitions and its own length, whatever the filters and however many calls there are: nearly
   all are stored, and a filter that leaves few of them, or none, walks over nothing.
3. Without any filter there is one partition: all calls by start.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final, NamedTuple

import apsw

from ocp_ingest.adapters.embedded.database import rows, snapshot, value
from ocp_ingest.adapters.journal import cursor_of, parse_cursor
from ocp_ingest.ports import CallQuery, Pending

Entry = tuple[int, str]  # minus the start, call id: sorts as a page does

PLACE: Final = ("outcome", "stage", "lob", "ocp_group")

# Entries read of a partition at first and after that: of most partitions a page takes none.
_READ_FIRST: Final = 4
_READ_MORE: Final = 64
_EVER: Final = (1 << 63) - 1  # the last start that an integer of SQLite can say


class _Table(NamedTuple):
    """What holds partitions, and the columns that its index begins with."""

    source: str
    columns: tuple[str, ...]


_BY_START: Final = _Table("call INDEXED BY call_by_start", ())
_BY_PLACE: Final = _Table("call INDEXED BY call_by_place", PLACE)
_BY_PROBLEM: Final = _Table("call_problem", ("code", *PLACE))


def pending(
    connection: apsw.Connection, until_ms: int, limit: int, ocp_group: str | None,
    after: Pending | None,
) -> list[Pending]:  # fmt: skip
    """Due calls, earliest first: the merge of what each OCP group has, by its index alone."""
    place = (-_EVER, "") if after is None else (after.at_ms, after.call_id)
    with snapshot(connection):
        groups = _pending_groups(connection) if ocp_group is None else [ocp_group]
        due = heapq.merge(*(_due(connection, group, until_ms, place) for group in groups))
        return [Pending(call_id, group, at_ms) for at_ms, call_id, group in islice(due, limit)]


_PENDING: Final = "call INDEXED BY call_pending_group WHERE pend_at IS NOT NULL AND ocp_group"


def _pending_groups(connection: apsw.Connection) -> Iterator[str]:
    """The OCP groups with open work, in order."""
    sql = f"SELECT ocp_group FROM {_PENDING} {{}} ? ORDER BY ocp_group LIMIT 1"  # noqa: S608
    return _each_of(connection, sql, ())


def _due(
    connection: apsw.Connection, group: str, until_ms: int, after: tuple[int, str]
) -> Iterator[tuple[int, str, str]]:
    """What is due in one group, as (when, call, group) in order; a few at first."""
    sql = (
        f"SELECT pend_at, call_id, ocp_group FROM {_PENDING}=? AND pend_at <= ? "  # noqa: S608
        "AND (pend_at, call_id) > (?, ?) ORDER BY pend_at, call_id LIMIT ?"
    )
    size = _READ_FIRST
    while True:
        found: list[tuple[int, str, str]] = rows(connection, sql, (group, until_ms, *after, size))
        yield from found
        if len(found) < size:
            return
        after, size = found[-1][:2], _READ_MORE


def page(connection: apsw.Connection, query: CallQuery) -> tuple[list[bytes], str | None]:
    """Records of a page, and the cursor of the next one. Raises Invalid for a strange cursor."""
    after = None if query.cursor is None else parse_cursor(query.cursor)
    limit = max(1, query.limit)
    with snapshot(connection):
        found = list(islice(_entries(connection, query, after), limit + 1))
        sql = "SELECT record FROM call WHERE call_id=?"
        records = [value(connection, sql, (call_id,)) for _, call_id in found[:limit]]
    if len(found) <= limit:
        return records, None
    before, call_id = found[limit - 1]
    return records, cursor_of(-before, call_id)


def _entries(
    connection: apsw.Connection, query: CallQuery, after: tuple[int, str] | None
) -> Iterator[Entry]:
    """All that a query asks for after a place, in order, read as they are taken (rule 2)."""
    return heapq.merge(
        *(_stream(connection, table, prefix, query, after)
          for table, prefix in _partitions(connection, query))
    )  # fmt: skip


def _partitions(
    connection: apsw.Connection, query: CallQuery
) -> list[tuple[_Table, tuple[str, ...]]]:
    """Where the calls of a query are: tables, and the values that their index begins with."""
    filters = (query.outcome, query.stage, query.lob, query.ocp_group)
    if query.problem is None and query.lobs is None and filters == (None, None, None, None):
        return [(_BY_START, ())]
    table = _BY_PLACE if query.problem is None else _BY_PROBLEM
    found: list[tuple[str, ...]] = [() if query.problem is None else (query.problem,)]
    asked: dict[str, Collection[str]] = {
        name: (given,) for name, given in zip(PLACE, filters, strict=True) if given is not None
    }
    if query.lobs is not None:
        asked["lob"] = set(query.lobs) & set(asked.get("lob", query.lobs))
    for column in PLACE:
        given = asked.get(column)
        found = [
            (*prefix, each)
            for prefix in found
            for each in (_values(connection, table, prefix, column) if given is None else given)
        ]
    return [(table, prefix) for prefix in found]


def _values(
    connection: apsw.Connection, table: _Table, prefix: tuple[str, ...], column: str
) -> Iterator[str]:
    """The values that a column has after a prefix, in order."""
    wheres = [*(f"{name}=?" for name in table.columns[: len(prefix)]), f"{column} {{}} ?"]
    sql = (
        f"SELECT {column} FROM {table.source} WHERE {' AND '.join(wheres)} "  # noqa: S608
        f"ORDER BY {column} LIMIT 1"
    )
    return _each_of(connection, sql, prefix)


def _each_of(connection: apsw.Connection, sql: str, prefix: tuple[str, ...]) -> Iterator[str]:
    """The values that a statement gives, each found by one step into the index.

    The statement gives the first value; `{}` is where it compares it with the one before.
    """
    found = value(connection, sql.format(">="), (*prefix, ""))
    while found is not None:
        yield found
        found = value(connection, sql.format(">"), (*prefix, found))


def _stream(
    connection: apsw.Connection, table: _Table, prefix: tuple[str, ...], query: CallQuery,
    after: tuple[int, str] | None,
) -> Iterator[Entry]:  # fmt: skip
    """The entries of one partition, in order; a few at first, since there may be many others."""
    first_ms = -_EVER if query.from_ms is None else query.from_ms
    last_ms = _EVER if query.to_ms is None else query.to_ms - 1
    wheres = "".join(f"{name}=? AND " for name in table.columns[: len(prefix)])
    select = f"SELECT -started_at, call_id FROM {table.source} WHERE {wheres}"  # noqa: S608
    same = f"{select} started_at=? AND call_id > ? ORDER BY call_id LIMIT ?"
    older = f"{select} started_at BETWEEN ? AND ? ORDER BY started_at DESC, call_id LIMIT ?"
    size = _READ_FIRST
    while True:
        found: list[Entry] = []
        if after is not None and first_ms <= after[0] <= last_ms:
            found = rows(connection, same, (*prefix, *after, size))
        if len(found) < size:
            until_ms = last_ms if after is None else min(last_ms, after[0] - 1)
            left = size - len(found)
            found += rows(connection, older, (*prefix, first_ms, until_ms, left))
        yield from found
        if len(found) < size:
            return
        after, size = (-found[-1][0], found[-1][1]), _READ_MORE


def counts(connection: apsw.Connection) -> dict[str, int]:
    """The terms of the conservation law, each from its own index, in one snapshot.

    A call whose recording is stored is in no danger and counts as stored, even while something
    else of it (a CDR, a second recording) is still open.
    """
    sql = """
    SELECT 'started', count(*) FROM journal WHERE opens = 1
    UNION ALL SELECT 'in_flight', count(*) FROM call INDEXED BY call_open
        WHERE pend_at IS NOT NULL AND stage != 'stored'
    UNION ALL SELECT 'stored', count(*) FROM call INDEXED BY call_by_place
        WHERE outcome IN ('stored', 'none') AND stage = 'stored'
    UNION ALL SELECT outcome, count(*) FROM call
        WHERE outcome IN ('absent', 'quarantined', 'lost') GROUP BY outcome
    """
    found = dict.fromkeys(("started", "in_flight", "absent", "quarantined", "lost", "stored"), 0)
    found.update(dict(rows(connection, sql)))
    return found
