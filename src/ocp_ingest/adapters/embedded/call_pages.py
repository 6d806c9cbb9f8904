"""Listings over the `call` table: pending work, pages, counts."""

from __future__ import annotations

from typing import Any, Final

import apsw

from ocp_ingest.adapters.embedded.database import rows
from ocp_ingest.adapters.journal import cursor_of, parse_cursor
from ocp_ingest.ports import CallQuery, Pending

# Filters in the order of how few calls they usually leave; the first one given picks the index.
_FILTERS: Final = (
    ("outcome", "call_by_outcome"), ("stage", "call_by_stage"), ("lob", "call_by_lob"),
    ("ocp_group", "call_by_group"),
)  # fmt: skip


def pending(
    connection: apsw.Connection, until_ms: int, limit: int, ocp_group: str | None,
    after: Pending | None,
) -> list[Pending]:  # fmt: skip
    """Due calls, earliest first, from the partial index alone."""
    wheres = ["pend_at IS NOT NULL", "pend_at <= ?"]
    values: list[Any] = [until_ms]
    if ocp_group is not None:
        wheres.append("ocp_group = ?")
        values.append(ocp_group)
    if after is not None:
        wheres.append("(pend_at, call_id) > (?, ?)")
        values += [after.at_ms, after.call_id]
    index = "call_pending" if ocp_group is None else "call_pending_group"
    sql = (
        f"SELECT call_id, ocp_group, pend_at FROM call INDEXED BY {index} "  # noqa: S608
        f"WHERE {' AND '.join(wheres)} ORDER BY pend_at, call_id LIMIT ?"
    )
    return [Pending(*columns) for columns in rows(connection, sql, (*values, limit))]


def page(connection: apsw.Connection, query: CallQuery) -> tuple[list[bytes], str | None]:
    """Records of a page, and the cursor of the next one. Raises Invalid for a strange cursor."""
    wheres, values, index = _conditions(query)
    if query.cursor is not None:
        started_at, call_id = parse_cursor(query.cursor)
        wheres += ["started_at <= ?", "(started_at < ? OR call_id > ?)"]
        values += [started_at, started_at, call_id]
    sql = (
        f"SELECT record, started_at, call_id FROM call INDEXED BY {index} "  # noqa: S608
        f"WHERE {' AND '.join(wheres) or '1'} ORDER BY started_at DESC, call_id LIMIT ?"
    )
    limit = max(1, query.limit)
    found = rows(connection, sql, (*values, limit + 1))
    cursor = cursor_of(*found[limit - 1][1:]) if len(found) > limit else None
    return [record for record, _, _ in found[:limit]], cursor


def _conditions(query: CallQuery) -> tuple[list[str], list[Any], str]:
    wheres: list[str] = []
    values: list[Any] = []
    index = "call_by_start"
    for column, by in _FILTERS:
        value = getattr(query, column)
        if value is None:
            continue
        if not wheres:
            index = by
        wheres.append(f"{column} = ?")
        values.append(value)
    for bound, value in ((">=", query.from_ms), ("<", query.to_ms)):
        if value is not None:
            wheres.append(f"started_at {bound} ?")
            values.append(value)
    return wheres, values, index


def counts(connection: apsw.Connection) -> dict[str, int]:
    """The terms of the conservation law, each from its own index, in one snapshot.

    A call whose recording is stored is in no danger and counts as stored, even while something
    else of it (a CDR, a second recording) is still open.
    """
    sql = """
    SELECT 'started', count(*) FROM journal WHERE opens = 1
    UNION ALL SELECT 'in_flight', count(*) FROM call
        WHERE pend_at IS NOT NULL AND stage != 'stored'
    UNION ALL SELECT 'stored', count(*) FROM call WHERE stage = 'stored'
    UNION ALL SELECT outcome, count(*) FROM call
        WHERE outcome IN ('absent', 'quarantined', 'lost') GROUP BY outcome
    """
    found = dict.fromkeys(("started", "in_flight", "absent", "quarantined", "lost", "stored"), 0)
    found.update(dict(rows(connection, sql)))
    return found
