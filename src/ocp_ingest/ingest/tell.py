"""Telling others: workers, that a call has a step to do; people, that something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ocp_ingest.core.incidents import INCIDENT_KINDS, Incident
from ocp_ingest.ingest.world import World


async def workers(world: World, call_id: str) -> None:
    """Queues a call for whichever worker comes first; while it waits, once is enough."""
    await world.queue.put(f"call:{call_id}", {"call_id": call_id})


async def people(
    world: World,
    kind: str,
    text: str,
    *,
    key: str | None = None,
    severity: Literal["warning", "critical"] = "warning",
    calls: Sequence[str] = (),
) -> None:
    """Opens an incident, or adds to the one open under its key (by default its kind)."""
    assert kind in INCIDENT_KINDS, f"incident kind {kind} has no meaning and no runbook"
    await world.incidents.open(
        Incident(
            key=key or kind,
            kind=kind,
            severity=severity,
            text=text,
            opened_at_ms=world.clock.now_ms(),
            calls=len(calls),
            sample=tuple(calls),
        )
    )
