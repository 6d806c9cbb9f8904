"""Incidents: one root cause that a person must know of, opened once, however many calls it hits."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

# kind -> what has happened, in words; the runbook page has the kind's name.
INCIDENT_KINDS: Final[dict[str, str]] = {
    "unassigned": 'calls match no routing rule and went to the bucket "unassigned"',
    "recording_conflict": "two different recordings arrived for one dialog; both are kept",
    "object_conflict": "another object stands at the key of a recording; nothing was overwritten",
    "step_parked": "a step failed too often and waits for a person",
    "landing_missing": "a recording that was received is not in the landing store any more",
    "subscription_silent": "a group's calls arrive without recordings, or not at all: its "
    "subscription seems off",
    "group_blocked": "a group's exports are blocked: refused by OCP, or a stuck export holds it",
    "group_half_open": "an export was stuck; the group is tried with windows of one hour",
    "slot_busy": "somebody else's export has held a group's slot for hours",
    "hours_quarantined": "OCP can't export some hours of a group; they are tried again daily",
    "windows_shrunk": "downloads are too slow for OCP's one-day life of an export",
    "retention_near": "calls come near the end of OCP's retention without their recording",
    "vendor_down": "OCP's Export API does not answer",
    "recording_quarantined": "OCP's own copy of a recording is unusable",
    "recording_lost": "OCP's retention ended before a recording could be had",
    "archive_damaged": "the audit archive met changes that it can't read, or that must not be",
    "calls_stuck": "calls stay in one state for longer than they should",
    "completeness_low": "fewer recordings of a line of business are stored than its objective says",
    "stream_share_low": "the stream delivers fewer recordings than it should; exports bring them",
    "conservation_broken": "calls are not accounted for: the sources of the counts disagree",
    "evidence_broken": "sealed events, stored recordings or seals are not what they were",
    "alerts_undelivered": "a channel did not take an alert, however often it was tried",
}


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """`key` names the root cause; `calls` counts what it touched, `sample` holds a few of them."""

    key: str
    kind: str
    severity: Literal["warning", "critical"] = "warning"
    text: str
    opened_at_ms: int
    last_at_ms: int = 0
    closed_at_ms: int | None = None
    closed_how: str = ""
    calls: int = 0
    sample: tuple[str, ...] = ()


def joined(held: Incident, more: Incident) -> Incident:
    """An open incident with another sighting of its cause added; a call is counted once."""
    fresh = [c for c in more.sample if c not in held.sample]
    return msgspec.structs.replace(
        held,
        text=more.text,
        severity="critical" if "critical" in (held.severity, more.severity) else "warning",
        last_at_ms=max(held.last_at_ms, more.opened_at_ms),
        calls=held.calls + len(fresh),
        sample=(held.sample + tuple(fresh))[:SAMPLE_CALLS_MAX],
    )


# Calls named on an incident: enough to start looking; the rest are found by search.
SAMPLE_CALLS_MAX: Final = 20
