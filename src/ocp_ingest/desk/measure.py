"""Gauges for whoever watches from outside, set at every look that the alerts take."""

from __future__ import annotations

from collections import Counter
from typing import Final

from ocp_ingest.core import overview
from ocp_ingest.core.alerts import UNKNOWN_LOB, Objectives, Snapshot
from ocp_ingest.core.counting import DAYS_MAX, day_of
from ocp_ingest.core.limits import DAY_MS, SECOND_MS
from ocp_ingest.desk.ports import Figures
from ocp_ingest.desk.world import Desk
from ocp_ingest.telemetry import Measured, measured

# Open incidents that are counted; there is one per root cause and group.
_OPEN_MAX: Final = 1_000
LAW_NOTE: Final = "law"


async def measure(desk: Desk, objectives: Objectives, snapshot: Snapshot) -> None:
    """Sets the gauges. Raises Transient."""
    metrics, now_ms = measured(), desk.world.clock.now_ms()
    _set_shares(metrics, snapshot)
    terms = await recent_terms(desk.figures, now_ms)
    for term in ("started", *overview.PARTS):
        metrics.set("ocp_ingest_calls", terms.get(term, 0), term)
    await _set_backlog(
        desk.figures, metrics, now_ms, desk.world.settings.policy.stage2.retention_ms
    )
    held = await desk.world.incidents.incidents(limit=_OPEN_MAX)
    counted = Counter(incident.severity for incident in held)
    for severity in ("warning", "critical"):
        metrics.set("ocp_ingest_incidents_open", counted[severity], severity)
    law = await desk.notes.get(LAW_NOTE)
    if law is not None:
        metrics.set("ocp_ingest_law_holds", float(bool(law.get("holds"))))
        at_s = float(law.get("at_ms", 0)) / SECOND_MS
        metrics.set("ocp_ingest_law_checked_timestamp_seconds", at_s)


def _set_shares(metrics: Measured, snapshot: Snapshot) -> None:
    for lob, held in snapshot.completeness.items():
        due = held.stored + held.ended + held.waiting
        share = held.stored / due if due else 1.0
        metrics.set("ocp_ingest_completeness_ratio", share, lob or UNKNOWN_LOB)
    for lob, came in snapshot.streamed.items():
        if came.of:
            metrics.set("ocp_ingest_streamed_ratio", came.good / came.of, lob or UNKNOWN_LOB)
    for state, aged in snapshot.aged.items():
        metrics.set("ocp_ingest_stuck_seconds", aged.age_ms / SECOND_MS, state)


async def recent_terms(figures: Figures, now_ms: int) -> dict[str, int]:
    """Calls that began in the last DAYS_MAX days by what they count for. Raises Transient.

    From counters; a day that leaves takes its calls along. The law's check counts all there are.
    """
    first = day_of(now_ms - (DAYS_MAX - 1) * DAY_MS)
    return overview.total(held.terms for held in await figures.days(first, day_of(now_ms)))


async def _set_backlog(figures: Figures, metrics: Measured, now_ms: int, retention_ms: int) -> None:
    spans = overview.by_age(now_ms)
    edges = sorted(span.from_ms for span in spans if span.from_ms is not None)
    counts = await figures.open_ages(edges, None)
    for span, count in zip(reversed(spans), counts, strict=True):
        metrics.set("ocp_ingest_open_calls", count, span.name)
    oldest = await figures.oldest_open(None)
    age_ms = max(0, now_ms - oldest.started_at) if oldest is not None else 0
    metrics.set("ocp_ingest_oldest_open_seconds", age_ms / SECOND_MS)
    metrics.set("ocp_ingest_retention_left_seconds", (retention_ms - age_ms) / SECOND_MS)
