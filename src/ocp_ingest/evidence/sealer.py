"""The sealer: links events into their calls' chains, off the hot path, and closes days.

Rules
1. Events are taken in the order in which the store took them; what is sealed stays sealed, and a
   crash anywhere is healed by sealing again: an event is in its chain once.
2. A link is of the real UTC day on which it was made. A clock that goes back makes links of the day
   after the last closed one: no day is opened again.
3. A day is closed CLOSE_DELAY_MS after its end; days without links are closed too, so that the
   statements are a chain without gaps.
4. What two sealers do at the same time is done once: the book writes conditionally, the shelf
   creates only.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ocp_ingest.core.calendar import day, parse_rfc3339
from ocp_ingest.core.errors import Damaged, OcpIngestError, Terminal
from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.limits import DAY_MS, MINUTE_MS
from ocp_ingest.core.proof import Entry, entry_of
from ocp_ingest.evidence.close import close_day
from ocp_ingest.evidence.ports import DayClosed
from ocp_ingest.evidence.world import Evidence
from ocp_ingest.telemetry import log

# Events of one commit: some 20 ms of the writer, so that no sender waits long for it.
BATCH: Final = 500
# A link that was on its way at midnight is made by then.
CLOSE_DELAY_MS: Final = 5 * MINUTE_MS
# Days closed in one pass after a long stop; the next pass goes on.
DAYS_AT_ONCE: Final = 31
# Calls looked at in one go when everything is caught up on.
_PAGE: Final = 500
# Between two passes in real time; an event is sealed within a minute of its coming.
EVERY_S: Final = 30.0


async def run(evidence: Evidence, stop: asyncio.Event, *, every_s: float = EVERY_S) -> None:
    """Seals and closes every `every_s` real seconds until `stop` is set."""
    while not stop.is_set():
        try:
            await seal(evidence)
            await close_days(evidence)
        except (Damaged, Terminal) as broken:
            await tell(evidence, "seal", broken.text)
        except OcpIngestError as gone:
            log().warning("seal.unavailable", reason=gone.text)
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue


async def seal(evidence: Evidence) -> int:
    """Seals everything that waits; how many links were made."""
    made = 0
    while (fresh := await evidence.seals.fresh(limit=BATCH)).entries:
        made += await _seal(evidence, list(fresh.entries))
        await evidence.seals.done(fresh)
    if made:
        log().info("seal.made", links=made)
    return made


async def catch_up(evidence: Evidence) -> int:
    """Seals what no chain has, from the journals themselves: after an update, or a lost hint."""
    made, after = 0, ""
    while calls := await evidence.world.calls.call_ids(after=after, limit=_PAGE):
        for call_id in calls:
            events = await evidence.world.calls.journal(call_id)
            sealed = {link.entry.event_id for link in await evidence.seals.chain(call_id)}
            lacking = [entry_of(event) for event in events if event.event_id not in sealed]
            for at in range(0, len(lacking), BATCH):
                made += await _seal(evidence, lacking[at : at + BATCH])
        after = calls[-1]
    return made


async def _seal(evidence: Evidence, entries: list[Entry]) -> int:
    for _ in range(_DAY_TRIES):
        marks = await evidence.seals.marks()
        today = day(evidence.real.now_ms())
        try:
            return await evidence.seals.seal(entries, max(today, following(marks.closing)))
        except DayClosed:
            continue  # another sealer closed it between the two
    raise Terminal("Days are closed faster than events are sealed: look at the machine's clock.")


async def close_days(evidence: Evidence) -> list[str]:
    """Closes every day that is over; which ones."""
    marks = await evidence.seals.marks()
    upcoming = following(marks.closed) or marks.first
    closed: list[str] = []
    while upcoming and len(closed) < DAYS_AT_ONCE and _is_over(evidence, upcoming):
        # What the store took before the end of the day is in it, as far as it is known here.
        await evidence.seals.begin_close(upcoming)
        statement = await close_day(evidence, upcoming, marks.closed, marks.statement)
        await evidence.seals.closed(upcoming, statement)
        log().info("seal.day_closed", day=upcoming, statement=statement)
        closed.append(upcoming)
        marks = await evidence.seals.marks()
        upcoming = following(marks.closed)
    return closed


def _is_over(evidence: Evidence, named: str) -> bool:
    return evidence.real.now_ms() >= parse_rfc3339(named) + DAY_MS + CLOSE_DELAY_MS


def following(named: str) -> str:
    """The day after a day; "" after none."""
    return day(parse_rfc3339(named) + DAY_MS) if named else ""


async def tell(evidence: Evidence, what: str, text: str, calls: tuple[str, ...] = ()) -> None:
    """Opens the incident: evidence is not what it was."""
    now_ms = evidence.world.clock.now_ms()
    log().error("evidence.broken", what=what, reason=text)
    await evidence.world.incidents.open(
        Incident(
            key=f"evidence_broken:{what}", kind="evidence_broken", severity="critical", text=text,
            opened_at_ms=now_ms, last_at_ms=now_ms, calls=len(calls), sample=calls,
        )
    )  # fmt: skip


_DAY_TRIES: Final = 3
