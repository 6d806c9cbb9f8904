"""The nightly check: the conservation law from its own sources, and counters against records.

check_law   counts (evidence.conservation), says it in the desk's note "law", opens or closes the
            incident conservation_broken; then counts the last days' counters anew
run         that, once a day at the configured hour

A difference may be a call on its way: a copy is there a moment before its record says so, and after
a crash up to the next detection. So what differs is counted again after a pause, and only what
differs every time breaks the law. Buckets are listed where the desk may (`Desk.listing`); on AWS
that is dear, so the terms come from the indexes there, and the archive's function recounts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from ocp_ingest.core.alerts import Duty
from ocp_ingest.core.counting import day_of
from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.quiet import local_time
from ocp_ingest.desk.measure import LAW_NOTE
from ocp_ingest.desk.world import Desk
from ocp_ingest.evidence.conservation import Conservation, conservation
from ocp_ingest.ingest import tell
from ocp_ingest.telemetry import log

KIND: Final = "conservation_broken"
# Who asks when nobody does.
NIGHTLY: Final = "ocp-ingest"
# Real seconds between counts of what differs: somebody waits for the first; nobody for the second,
# which outlasts the half hour until a step of a dead worker is taken up again.
PAUSES_S: Final = (2.0,)
NIGHT_PAUSES_S: Final = (60.0, 600.0, 1_800.0)
RECOUNT_DAYS: Final = 4
# The clock is looked at so often, in real seconds, and up to as much later: processes of one
# deployment do not all begin at once.
_EVERY_S: Final = 60.0
# A check that was begun and not ended in this time is begun by somebody else.
_PATIENCE_MS: Final = 6 * HOUR_MS
_BEGUN_NOTE: Final = "law.begun"
# Differences kept; there are two kinds of them.
_DIFFERENCES_MAX: Final = 16


async def check_law(
    desk: Desk, by: str, *, pauses_s: Sequence[float] = PAUSES_S, recount_days: int = RECOUNT_DAYS
) -> dict[str, Any]:
    """Checks the law now and keeps what was found; the note "law". Raises Transient.

    {"at_ms", "by", "holds", "exact", "terms", "differences", "recounted": {day: counters put
    right}, "took_ms"}; `by` is who asked.
    """
    world = desk.world
    loop = asyncio.get_running_loop()
    began_s, began_ms = loop.time(), world.clock.now_ms()
    found = await _counted(desk, pauses_s)
    note: dict[str, Any] = {
        "at_ms": began_ms,
        "by": by,
        "holds": found.holds,
        "exact": found.exact,
        "terms": dict(found.terms),
        "differences": list(found.differences[:_DIFFERENCES_MAX]),
        "recounted": {},
        "took_ms": int((loop.time() - began_s) * 1000),
    }
    await desk.notes.put(LAW_NOTE, note)
    await _say(desk, found)
    log().info("law.checked", by=by, holds=found.holds, exact=found.exact)
    if desk.listing:
        # A day at a time, and each piece whole: whoever is stopped goes on the next night.
        for back in range(1, recount_days + 1):
            day = day_of(began_ms - back * DAY_MS)
            put_right = await desk.figures.recount(day, by=by, now_ms=world.clock.now_ms())
            note["recounted"][day] = put_right
        note["took_ms"] = int((loop.time() - began_s) * 1000)
        await desk.notes.put(LAW_NOTE, note)
    return note


async def _counted(desk: Desk, pauses_s: Sequence[float]) -> Conservation:
    """The last count; one that holds ends the counting."""
    found = await conservation(desk.world, listing=desk.listing)
    for pause_s in pauses_s:
        if found.holds:
            break
        await asyncio.sleep(pause_s)
        found = await conservation(desk.world, listing=desk.listing)
    return found


async def _say(desk: Desk, found: Conservation) -> None:
    if found.holds:
        await desk.world.incidents.close(KIND, desk.world.clock.now_ms(), "the law holds again")
        return
    await tell.people(desk.world, KIND, " ".join(found.differences), severity="critical")


# -- once a day -----------------------------------------------------------------------------------


async def run(desk: Desk, duty: Duty, stop: asyncio.Event, *, every_s: float = _EVERY_S) -> None:
    """Checks once a day, after the configured hour, until `stop` is set."""
    while not stop.is_set():
        try:
            if await _is_due(desk, duty):
                await _nightly(desk, duty)
        except OcpIngestError as failed:
            log().warning("law.not_checked", code=failed.code, reason=failed.text)
        except Exception as bug:  # a bug must not end the loop
            log().error("law.not_checked", code="bug", reason=type(bug).__name__, exc_info=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every_s * (1 + desk.world.chance()))


async def _nightly(desk: Desk, duty: Duty) -> None:
    await desk.notes.put(_BEGUN_NOTE, {"at_ms": desk.world.clock.now_ms()})
    await check_law(desk, NIGHTLY, pauses_s=NIGHT_PAUSES_S, recount_days=duty.law_days)


async def _is_due(desk: Desk, duty: Duty) -> bool:
    now_ms = desk.world.clock.now_ms()
    due_ms = last_due_ms(now_ms, duty)
    law = await desk.notes.get(LAW_NOTE)
    if law is not None and law.get("at_ms", 0) >= due_ms:
        return False
    begun = await desk.notes.get(_BEGUN_NOTE)
    at_ms = begun.get("at_ms", 0) if begun is not None else 0
    return not (at_ms >= due_ms and now_ms < at_ms + _PATIENCE_MS)


def last_due_ms(now_ms: int, duty: Duty) -> int:
    """When the law was last due to be checked: the configured hour, today or yesterday."""
    local = local_time(now_ms, duty.time_zone)
    hour = local.replace(hour=duty.law_hour, minute=0, second=0, microsecond=0, fold=0)
    if hour > local:
        hour -= timedelta(days=1)
    return int(hour.timestamp() * 1000)
