"""Figures on SQLite: sums that the writer keeps (call_rows), and a small index of open calls.

`recount` in two parts, so that the writer is not held up while a day's records are read:
1. beside the writer, in pieces: every record of the day is derived, and a row that does not say
   what its record says is put right by the writer, counters with it
2. in the writer: the rows of the day are summed by what they are counted for, and counters that
   say something else are corrected
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import apsw

from ocp_ingest.adapters.embedded import call_rows
from ocp_ingest.adapters.embedded.database import Database, change, row, rows, snapshot, value
from ocp_ingest.adapters.journal import Deriving, derive
from ocp_ingest.core.counting import check_days, check_edges, day_span
from ocp_ingest.desk.ports import DayFigures, OpenCall
from ocp_ingest.telemetry import log

# Records of one piece of a recount: some 30 ms of a reader's time.
RECOUNT_BATCH: Final = 500

# The words of the partial index `call_open`, without which SQLite would not use it.
_OPEN: Final = "call INDEXED BY call_open WHERE pend_at IS NOT NULL AND stage != 'stored'"
_PIECE: Final = """
SELECT started_at, call_id FROM call INDEXED BY call_by_start
WHERE started_at BETWEEN ? AND ? AND (started_at < ? OR call_id > ?)
ORDER BY started_at DESC, call_id LIMIT ?
"""
_SUMS: Final = """
SELECT lob, counted, count(*) FROM call INDEXED BY call_by_start
WHERE started_at >= ? AND started_at < ? AND counted IS NOT NULL GROUP BY lob, counted
"""
_EVER: Final = (1 << 63) - 1

_Counter = tuple[str, str, str]  # day, line of business, term
_Place = tuple[int, str]  # start, call id


class EmbeddedFigures:
    """See ocp_ingest.desk.ports.Figures."""

    def __init__(self, database: Database, deriving: Deriving) -> None:
        self._database = database
        self._deriving = deriving

    async def days(self, first: str, last: str) -> list[DayFigures]:
        """All counters of some days. Raises Invalid."""
        check_days(first, last)
        sql = (
            "SELECT day, lob, term, n FROM day_count WHERE day BETWEEN ? AND ? AND n != 0 "
            "ORDER BY day, lob, term"
        )
        found: dict[tuple[str, str], dict[str, int]] = {}
        for day, lob, term, n in await self._database.read(lambda c: rows(c, sql, (first, last))):
            found.setdefault((day, lob), {})[term] = n
        return [DayFigures(lob, day, terms) for (day, lob), terms in found.items()]

    async def open_ages(self, edges_ms: Sequence[int], lobs: Sequence[str] | None) -> list[int]:
        """Open calls by when they began. Raises Invalid."""
        edges = check_edges(edges_ms)
        spans = list(zip((-_EVER, *edges), (*edges, _EVER), strict=True))
        sql = f"SELECT count(*) FROM {_OPEN} AND lob=? AND started_at >= ? AND started_at < ?"  # noqa: S608

        def operation(connection: apsw.Connection) -> list[int]:
            with snapshot(connection):
                wanted = _lobs(connection, lobs)
                return [sum(value(connection, sql, (lob, *s)) for lob in wanted) for s in spans]

        return await self._database.read(operation)

    async def oldest_open(self, lobs: Sequence[str] | None) -> OpenCall | None:
        """The open call that began first; of several the one whose id is the smallest."""
        sql = (
            f"SELECT started_at, call_id FROM {_OPEN} AND lob=? "  # noqa: S608
            "ORDER BY started_at, call_id LIMIT 1"
        )

        def operation(connection: apsw.Connection) -> list[tuple[int, str]]:
            with snapshot(connection):
                wanted = _lobs(connection, lobs)
                found = [row(connection, sql, (lob,)) for lob in wanted]
            return [(one[0], one[1]) for one in found if one is not None]

        oldest = min(await self._database.read(operation), default=None)
        return None if oldest is None else OpenCall(oldest[1], oldest[0])

    async def recount(self, day: str, *, by: str, now_ms: int) -> int:
        """Counts a day anew; how many counters had to be corrected. Raises Invalid for no day."""
        first_ms, until_ms = day_span(day)
        corrected: set[_Counter] = set()
        after: _Place | None = (until_ms - 1, "")
        while after is not None:
            look = partial(self._look, first_ms=first_ms, after=after)
            wrong, after = await self._database.read(look)
            if wrong:
                corrected |= await self._database.write(partial(self._mend, call_ids=wrong))
        correct = partial(_correct, day=day, first_ms=first_ms, until_ms=until_ms)
        corrected |= await self._database.write(correct)
        if corrected:
            log().warning("figures.corrected", day=day, counters=len(corrected), by=by)
        return len(corrected)

    def _look(
        self, connection: apsw.Connection, first_ms: int, after: _Place
    ) -> tuple[list[str], _Place | None]:
        """Calls of the next piece whose rows are not as they should be, and where it ended."""
        with snapshot(connection):
            found = rows(connection, _PIECE, (first_ms, after[0], *after, RECOUNT_BATCH))
            wrong = [i for _, i in found if not self._is_right(connection, i)]
        return wrong, (found[-1] if len(found) == RECOUNT_BATCH else None)

    def _is_right(self, connection: apsw.Connection, call_id: str) -> bool:
        held = call_rows.held(connection, call_id)
        call = None if held is None else call_rows.readable(held)
        if held is None or call is None:
            return True  # of what can't be read `rebuild` knows more
        return call_rows.is_as(connection, call, derive(call, self._deriving), held)

    def _mend(self, connection: apsw.Connection, call_ids: list[str]) -> set[_Counter]:
        tally = call_rows.Tally()
        for call_id in call_ids:
            held = call_rows.held(connection, call_id)
            call = None if held is None else call_rows.readable(held)
            if held is not None and call is not None:
                derived = derive(call, self._deriving)
                call_rows.put_right(connection, call, derived, held, tally)
        return tally.write(connection)


def _correct(connection: apsw.Connection, day: str, first_ms: int, until_ms: int) -> set[_Counter]:
    """Sets the counters of a day to what its rows are counted for."""
    sums: dict[_Counter, int] = {}
    for lob, counted, calls in rows(connection, _SUMS, (first_ms, until_ms)):
        for term in call_rows.terms_of(counted):
            sums[day, lob, term] = sums.get((day, lob, term), 0) + calls
    sql = "SELECT lob, term, n FROM day_count WHERE day=?"
    held: dict[_Counter, int] = {(day, lob, t): n for lob, t, n in rows(connection, sql, (day,))}
    corrected = {each for each in {*sums, *held} if sums.get(each, 0) != held.get(each, 0)}
    for each in corrected:
        missing = sums.get(each, 0) - held.get(each, 0)
        change(connection, call_rows.ADD_COUNT, (*each, missing))
    return corrected


def _lobs(connection: apsw.Connection, lobs: Sequence[str] | None) -> list[str]:
    """The lines of business that are asked for; None: all that have open calls."""
    if lobs is not None:
        return sorted(set(lobs))
    found: list[str] = []
    first = f"SELECT lob FROM {_OPEN} ORDER BY lob LIMIT 1"  # noqa: S608
    more = f"SELECT lob FROM {_OPEN} AND lob > ? ORDER BY lob LIMIT 1"  # noqa: S608
    lob = value(connection, first)
    while lob is not None:
        found.append(lob)
        lob = value(connection, more, (lob,))
    return found
