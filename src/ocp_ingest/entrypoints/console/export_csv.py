"""Calls as CSV (RFC 4180), written page by page while the browser takes them.

Rules
1. Every cell is quoted; one that a spreadsheet would take for a formula gets an apostrophe before
   it: call ids and reasons are words of others.
2. Column names and values are the read API's, in no language: what reads the file is a program or
   a pivot table. Times are RFC 3339, UTC.
3. A file that does not hold the whole filter says so in its last line. One that broke in the
   middle ends without the stream's end, so that browsers call it failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final

from ocp_ingest.core.access import Person
from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.lifecycle import CallPolicy, closing, next_work
from ocp_ingest.entrypoints.console.filters import Filter, Found, Reader
from ocp_ingest.telemetry import log

# About 20 MB, and within half a minute; a longer list is asked for by parts of its time.
ROWS_MAX: Final = 100_000
# Calls looked at when a filter keeps few of them: a minute's work.
READS_MAX: Final = 5_000
# Calls derived without letting others have the event loop: some 10 ms.
PAGE_CALLS: Final = 50

COLUMNS: Final = (
    "call_id", "started_at", "line_of_business", "ocp_group", "stage", "outcome", "reason",
    "next_action", "next_at", "problems",
)  # fmt: skip
# What spreadsheets take for the beginning of a formula (OWASP, CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def line(cells: Iterable[str]) -> str:
    """One line, with its end."""
    return ",".join(map(_cell, cells)) + "\r\n"


def _cell(text: str) -> str:
    safe = f"'{text}" if text.startswith(_FORMULA) else text
    return '"' + safe.replace('"', '""') + '"'


def cells_of(found: Found, policy: CallPolicy) -> tuple[str, ...]:
    """A call's cells, in the order of COLUMNS."""
    call, row = found.call, found.row
    work = next_work(call, policy)
    ended = closing(call) if row.outcome not in ("none", "stored", "") else None
    return (
        call.call_id, rfc3339(row.started_at) or "", row.lob, row.ocp_group, row.stage,
        "open" if row.outcome == "none" else row.outcome,
        ended.reason if ended else "",
        work.action if work else "", (rfc3339(work.at_ms) or "") if work else "",
        " ".join(row.problems),
    )  # fmt: skip


async def rows(
    reader: Reader, chosen: Filter, person: Person, policy: CallPolicy,
    first: tuple[list[Found], str | None], rows_max: int = ROWS_MAX,
) -> AsyncIterator[bytes]:  # fmt: skip
    """The file, in pieces; `first` is the first page, read before anything was answered."""
    written, cut = 0, False
    try:
        yield line(COLUMNS).encode()
        found, cursor = first
        for _ in range(READS_MAX):
            if found:
                yield "".join(line(cells_of(one, policy)) for one in found).encode()
                written += len(found)
            cut = cursor is not None
            if cursor is None or written >= rows_max:
                break
            await asyncio.sleep(0)  # a store in memory would never let others have their turn
            limit = min(PAGE_CALLS, rows_max - written)
            found, cursor = await reader.page(chosen, person, cursor, limit)
        if cut:
            yield line([_cut_text(written)]).encode()
    finally:
        log().info("console.exported", person=person.name, rows=written, cut=cut)


def _cut_text(written: int) -> str:
    return (
        f"CUT: only the first {written} calls of this search are here. Choose a shorter period "
        "and export again for the others."
    )
