"""verify: journal against chain against record against stored objects, in both directions.

Direction 1: every call of a journal or of a chain: each event against its link, the chain against
itself and against the leaf of each closed day, the record against the journal, every stored object
against its hash. Direction 2: every object of a bucket against the journals, every leaf of a day
against its chain.

Where everything is verified, leaves and chains are compared by sums over each day, so that no leaf
is looked up for each call; only where the sums of a day differ are its calls looked up one by one.

The platform goes on meanwhile, so what looks wrong is looked at once more: only what is wrong both
times is told. Nothing is kept but counts and one page, so memory does not grow with the calls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Damaged, OcpIngestError, Terminal, Transient
from ocp_ingest.core.proof import Entry, Link, Tip, broken_at
from ocp_ingest.evidence import inclusion
from ocp_ingest.evidence.figures import calls_of
from ocp_ingest.evidence.findings import UNREADABLE, Class, Finding, text_of, twice
from ocp_ingest.evidence.sheet import Rows, Sheet
from ocp_ingest.evidence.verify_days import Ends, days
from ocp_ingest.evidence.verify_objects import objects, objects_of
from ocp_ingest.evidence.world import Evidence

_PAGE: Final = 500
# Calls read in one go and looked at beside each other. More only take memory.
_AT_ONCE: Final = 64
_STRAYS_MAX: Final = 1_000  # told of one run; the next run tells the next ones


async def everything(evidence: Evidence, *, fast: bool = False) -> AsyncIterator[Finding]:
    """All calls, all objects, all days. `fast`: objects by size and noted hash, not re-read."""
    ends = Ends((await evidence.seals.marks()).closed)
    for what, walk in (
        ("The calls", _calls(evidence, fast, ends)),
        ("The objects", objects(evidence)),
        ("The days", days(evidence, ends=ends)),
        ("The leaves", _named(evidence, ends)),
        ("The records", _strays(evidence)),
    ):
        async for finding in _to_its_end(what, walk):
            yield finding


async def _to_its_end(what: str, walk: AsyncIterator[Finding]) -> AsyncIterator[Finding]:
    """A walk; one that can't go on, because names themselves can't be read, says so."""
    last = ""
    try:
        async for finding in walk:
            last = finding.subject
            yield finding
    except Transient:
        raise
    except (Terminal, *UNREADABLE):
        text = f"{what} after this one can't be read: the store was altered."
        yield Finding("broken", "call", last, text)


async def _calls(evidence: Evidence, fast: bool, ends: Ends) -> AsyncIterator[Finding]:
    batch: list[str] = []
    async for call_id in _all_calls(evidence):
        batch.append(call_id)
        if len(batch) == _AT_ONCE:
            for finding in await _some(evidence, batch, fast, ends):
                yield finding
            batch = []
    for finding in await _some(evidence, batch, fast, ends):
        yield finding


async def _some(evidence: Evidence, batch: list[str], fast: bool, ends: Ends) -> list[Finding]:
    """Some calls beside each other, all to their ends; findings in order."""
    sheets = await evidence.reader.of(batch)
    ended = await asyncio.gather(
        *(_one(evidence, sheet, fast, ends) for sheet in sheets), return_exceptions=True
    )
    found: list[Finding] = []
    for one in ended:
        if isinstance(one, BaseException):
            raise one
        found += one
    return found


async def _strays(evidence: Evidence) -> AsyncIterator[Finding]:
    for call_id in await evidence.seals.strays(limit=_STRAYS_MAX):
        yield Finding("missing", "call", call_id, "There is a record and no journal.")


async def one_day(evidence: Evidence, day: str, *, fast: bool = False) -> AsyncIterator[Finding]:
    """The calls that began on a day (yyyy-mm-dd), and the day's seal."""
    async for finding in _to_its_end("The calls", _calls_of(evidence, day, fast)):
        yield finding
    if (await evidence.seals.marks()).closed >= day:
        async for finding in days(evidence, only=day):
            yield finding


async def _calls_of(evidence: Evidence, day: str, fast: bool) -> AsyncIterator[Finding]:
    async for one in calls_of(evidence.world, day):
        for finding in await one_call(evidence, one.call.call_id, fast=fast):
            yield finding


async def _named(evidence: Evidence, ends: Ends) -> AsyncIterator[Finding]:
    """The calls whose chains do not end on suspicious days as the leaves say."""
    if not ends.suspicious:
        return
    async for call_id in _all_calls(evidence):
        with contextlib.suppress(Damaged, *UNREADABLE):  # told already
            links = await evidence.seals.chain(call_id)
            for finding in await _leaves(evidence, call_id, links, ends.suspicious):
                yield finding


async def _all_calls(evidence: Evidence) -> AsyncIterator[str]:
    """Calls of journals and of chains, each once, in order."""
    after = ""
    while True:  # ends with both lists
        ids = await evidence.world.calls.call_ids(after=after, limit=_PAGE)
        sealed = await evidence.seals.call_ids(after=after, limit=_PAGE)
        # Beyond the end of a full page the other list may have names that this one has not shown.
        ends = [page[-1] for page in (ids, sealed) if len(page) == _PAGE]
        found = sorted({*ids, *sealed})
        if ends:
            found = [call_id for call_id in found if call_id <= min(ends)]
        for call_id in found:
            yield call_id
        if not ends:
            return
        after = min(ends)


# -- one call --------------------------------------------------------------------------------------


async def one_call(evidence: Evidence, call_id: str, *, fast: bool = False) -> list[Finding]:
    """What is wrong with a call, or one `ok`. Raises Transient."""
    [sheet] = await evidence.reader.of([call_id])
    return await _one(evidence, sheet, fast, None)


async def _one(
    evidence: Evidence, sheet: Sheet, fast: bool, ends: Ends | None
) -> list[Finding]:  # fmt: skip
    """With `ends` the call's leaves are not looked up but summed up there."""
    read = [sheet]

    async def look() -> list[Finding]:
        here = read.pop() if read else (await evidence.reader.of([sheet.call_id]))[0]
        return await _call(evidence, here, fast, ends is None)

    found = await twice(look)
    if ends is not None and sheet.links is not None:
        ends.add(sheet.links)
    return found or [Finding("ok", "call", sheet.call_id)]


async def _call(evidence: Evidence, sheet: Sheet, fast: bool, leaves: bool) -> list[Finding]:
    def bad(kind: Class, text: str) -> Finding:
        return Finding(kind, "call", sheet.call_id, text)

    links, events, call = sheet.links, sheet.events, sheet.call
    if links is None:
        return [bad("broken", "The call's chain can't be read.")]
    if events is None or call is None:
        return [bad("broken", "The call's journal can't be read: it was altered.")]
    found = [*_chain(links, bad), *_journal(sheet.entries, links, bad)]
    sealed = {link.entry.event_id for link in links}
    found += [
        bad("extra", f"The event {event.event_id} is in the journal and in no chain.")
        for event in events
        if event.event_id not in sealed and event.event_id not in sheet.waiting
    ]
    if leaves and not found:  # else the tree would say the same once more
        found += await _leaves(evidence, sheet.call_id, links)
    found += _rows(sheet.rows, call, bool(events), bad)
    if not events:
        return found
    try:
        return found + await objects_of(evidence, call, events, fast)
    except Transient:
        raise
    except (OcpIngestError, *UNREADABLE):
        # A bucket or key that can be none, or facts that a stored recording must have.
        return [*found, bad("broken", "What the journal says of the call's objects is no sense.")]


Bad = Callable[[Class, str], Finding]


def _chain(links: list[Link], bad: Bad) -> list[Finding]:
    if (n := broken_at(links)) is not None:
        return [bad("broken", f"Link {n} of the chain does not follow from those before it.")]
    if [link.day for link in links] != sorted(link.day for link in links):
        return [bad("broken", "The days of the chain's links are not in order.")]
    return []


def _journal(held: dict[str, Entry], links: list[Link], bad: Bad) -> Iterable[Finding]:
    for link in links:
        entry = held.get(link.entry.event_id)
        if entry is None:
            yield bad("missing", f"The event {link.entry.event_id} was sealed and is gone.")
        elif entry != link.entry:
            yield bad("differs", f"The event {link.entry.event_id} is not what was sealed.")


async def _leaves(
    evidence: Evidence, call_id: str, links: list[Link], only: frozenset[str] | None = None
) -> list[Finding]:
    """The end of the chain on every closed day (or some) is a leaf of that day's tree."""
    closed = (await evidence.seals.marks()).closed
    ends = {link.day: Tip(call_id, link.n, link.link) for link in links if link.day <= closed}
    found = []
    for named, tip in ends.items():
        if only is not None and named not in only:
            continue
        try:
            day = await inclusion.day_checked(evidence.shelf, named)
            await inclusion.prove_in(evidence.shelf, day, tip)
        except Transient:
            raise
        except (OcpIngestError, *UNREADABLE) as broken:
            found.append(Finding("broken", "call", call_id, text_of(broken)))
    return found


def _rows(rows: Rows | None, call: Call, has_journal: bool, bad: Bad) -> list[Finding]:
    """The record, and what else the store keeps of the call."""
    if rows is None:
        return [bad("broken", "A row of the call can't be read.")]
    found = [bad("differs", text) for text in rows.said]
    if has_journal and rows.record is None:
        found.append(bad("missing", "The record is gone: run `ocp-ingest replay`."))
    elif rows.record is not None and not has_journal:
        found.append(bad("missing", "There is a record and no journal."))
    elif rows.record is not None and rows.record != call and not rows.said:
        found.append(bad("differs", "The record is not what its journal gives: run replay."))
    return found
