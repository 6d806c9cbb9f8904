"""What is news to a channel: the open incidents held against what was told before. Pure.

Seen                                         told as
an open incident that the channel wants      opened
  it has become critical since               worse (opened, to a channel that wants only critical)
  critical, and open for another interval    reminder
told as opened, and open no more             closed

Ids of alerts are made of channel, incident, its opening, and what is told, so that two processes
that see the same make the same alert, and the book keeps one. What was told (`Told`) is kept
between looks; should it be lost, everything is made again, under the same ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from ocp_ingest.core.alerts import Severity
from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.quiet import quiet_until
from ocp_ingest.desk.notify import Channel, Wants
from ocp_ingest.desk.ports import Alert, AlertWhat

# Openings remembered: the note that holds them has 64 KiB, and nobody reads more alerts than this.
TOLD_MAX: Final = 200
# Of a key, for a closing whose incident can't be found any more.
_KEY_CHARS_MAX: Final = 120


class Told(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What was told of one opening of an incident, and to whom."""

    key: str
    kind: str
    opened_at_ms: int
    severity: Severity = "warning"
    channels: tuple[str, ...] = ()
    reminded: int = 0


class News(msgspec.Struct, frozen=True):
    """Alerts to be added to the book, what will have been told then, and what is left out."""

    alerts: tuple[Alert, ...]
    told: dict[str, Told]
    left_out: int = 0


def news(
    held: Sequence[Incident],
    closed: Iterable[Incident],
    told: Mapping[str, Told],
    channels: Sequence[Channel],
    *,
    now_ms: int,
    remind_ms: int,
) -> News:
    """What is to be told now.

    `held` are all open incidents, `closed` those that may have closed lately.
    """
    order = sorted(held, key=lambda i: (i.severity != "critical", -i.opened_at_ms, i.key))
    alerts: list[Alert] = []
    after: dict[str, Told] = {}
    for incident in order[:TOLD_MAX]:
        ident = opening_of(incident)
        before = told.get(ident)
        made, after[ident] = _open(incident, before, channels, now_ms, remind_ms)
        alerts += made
    over = {opening_of(incident): incident for incident in closed if incident.closed_at_ms}
    still = {opening_of(incident) for incident in order}
    for ident, before in told.items():
        if ident not in still:
            alerts += _closed(over.get(ident), before, channels, now_ms)
    return News(tuple(alerts), after, max(0, len(order) - TOLD_MAX))


def _open(
    incident: Incident, before: Told | None, channels: Sequence[Channel], now_ms: int,
    remind_ms: int,
) -> tuple[list[Alert], Told]:  # fmt: skip
    now = before or Told(
        key=incident.key[:_KEY_CHARS_MAX], kind=incident.kind, opened_at_ms=incident.opened_at_ms,
        severity=incident.severity,
    )  # fmt: skip
    worse = incident.severity == "critical" and now.severity == "warning"
    turns = max(0, now_ms - incident.opened_at_ms) // remind_ms if remind_ms > 0 else 0
    remind = incident.severity == "critical" and turns > now.reminded
    made, names = [], list(now.channels)
    for channel in channels:
        if channel.name not in names:
            if channel.wants.severity_min == "warning" or incident.severity == "critical":
                made.append(alert_of(channel, "opened", incident, now_ms))
                names.append(channel.name)
        elif worse:
            made.append(alert_of(channel, "worse", incident, now_ms))
        elif remind:
            made.append(alert_of(channel, "reminder", incident, now_ms, turn=turns))
    after = replace(
        now, severity=incident.severity, channels=tuple(names), reminded=max(now.reminded, turns)
    )
    return made, after


def _closed(
    incident: Incident | None, before: Told, channels: Sequence[Channel], now_ms: int
) -> list[Alert]:
    gone = incident or Incident(
        key=before.key, kind=before.kind, severity=before.severity, text="",
        opened_at_ms=before.opened_at_ms, closed_at_ms=now_ms,
    )  # fmt: skip
    return [
        alert_of(channel, "closed", gone, now_ms)
        for channel in channels
        if channel.name in before.channels
    ]


def opening_of(incident: Incident) -> str:
    """Names one opening of an incident; when it opens again it is another."""
    said = f"{incident.opened_at_ms}\0{incident.key}"
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def alert_of(
    channel: Channel, what: AlertWhat, incident: Incident, now_ms: int, *, turn: int = 0
) -> Alert:
    """The alert that tells this; due at once, or when the quiet hours end."""
    said = "\0".join((channel.name, opening_of(incident), what, str(turn)))
    held_until = held_back(channel.wants, what, incident.severity, now_ms)
    return Alert(
        alert_id=hashlib.sha256(said.encode()).hexdigest()[:32],
        channel=channel.name,
        what=what,
        incident=incident,
        made_at_ms=now_ms,
        next_at_ms=held_until or now_ms,
    )


def held_back(wants: Wants, what: AlertWhat, severity: Severity, at_ms: int) -> int | None:
    """Until when the channel's quiet hours hold an alert back; None: it may go."""
    if what == "test" or (severity == "critical" and wants.quiet.critical_passes):
        return None
    return quiet_until(wants.quiet, wants.time_zone, at_ms)
