"""The words of a letter, in English and Spanish: one alert, or a digest of several.

A letter says what has happened in the reader's language, the incident's own text (English, as in
the log), since when, how many calls, and where to look. It holds no number of a caller and nothing
that a person typed: how an incident was closed by hand is told in the console.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from ocp_ingest.core.alerts import Severity
from ocp_ingest.core.incident_words import Language, meaning
from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.quiet import local_time
from ocp_ingest.desk.news import opening_of
from ocp_ingest.desk.notify import Channel, Channels, Letter
from ocp_ingest.desk.ports import Alert, AlertWhat

# Alerts spelt out in a digest; the rest is a number and a link.
DIGEST_LINES_MAX: Final = 30
# Calls named in a letter: enough to start with; the console has more.
_CALLS: Final = 3
# Of an incident's key in a subject; names of groups are the vendor's and may be long.
_KEY_CHARS: Final = 80
_TEXT_CHARS: Final = 600
# Of a key in a link; longer ones would make the link unreadable, and the page lists them all.
_LINK_CHARS: Final = 300

_WHAT: Final[dict[Language, dict[AlertWhat, str]]] = {
    "en": {
        "opened": "New", "worse": "Now critical", "reminder": "Still open", "closed": "Closed",
        "test": "Test",
    },
    "es": {
        "opened": "Nueva", "worse": "Ahora crítica", "reminder": "Sigue abierta",
        "closed": "Cerrada", "test": "Prueba",
    },
}  # fmt: skip
_SEVERITY: Final[dict[Language, dict[Severity, str]]] = {
    "en": {"warning": "warning", "critical": "critical"},
    "es": {"warning": "advertencia", "critical": "crítica"},
}
_WORDS: Final[dict[Language, dict[str, str]]] = {
    "en": {
        "severity": "Severity", "detail": "Detail", "since": "Open since", "closed": "Closed at",
        "calls": "Calls touched", "for_example": "for example", "console": "Console",
        "runbook": "What to do", "incident": "Incident",
        "test": "This is a test of the channel. If you can read it, alerts arrive.",
        "test_subject": "alerts arrive",
        "digest": "{n} alerts since {at}", "more": "… and {n} more; see the console.",
        "sent_by": "Sent by ocp-ingest.",
    },
    "es": {
        "severity": "Gravedad", "detail": "Detalle", "since": "Abierta desde",
        "closed": "Cerrada el", "calls": "Llamadas afectadas", "for_example": "por ejemplo",
        "console": "Consola", "runbook": "Qué hacer", "incident": "Incidencia",
        "test": "Esto es una prueba del canal. Si puede leerla, los avisos llegan.",
        "test_subject": "los avisos llegan",
        "digest": "{n} avisos desde el {at}", "more": "… y {n} más; véalos en la consola.",
        "sent_by": "Enviado por ocp-ingest.",
    },
}  # fmt: skip


def letter(channels: Channels, channel: Channel, alerts: Sequence[Alert], now_ms: int) -> Letter:
    """The letter that tells these alerts, earliest first; more than one make a digest."""
    assert alerts, "a letter is about something"
    ordered = sorted(alerts, key=lambda alert: (alert.made_at_ms, alert.alert_id))
    language = channel.wants.language
    if len(ordered) == 1:
        first = ordered[0]
        subject, text = _subject(first, language), _text(channels, channel, first)
        ident, thread = first.alert_id, opening_of(first.incident)
    else:
        subject, text = _digest(channels, channel, ordered)
        said = "\0".join(alert.alert_id for alert in ordered)
        ident = hashlib.sha256(said.encode()).hexdigest()[:32]
        thread = ident
    critical = any(a.incident.severity == "critical" and a.what != "closed" for a in ordered)
    return Letter(
        letter_id=ident,
        thread=thread,
        severity="critical" if critical else "warning",
        language=language,
        subject=subject,
        text=text,
        alerts=tuple(ordered),
        links=tuple(links(channels, alert.incident) for alert in ordered),
        at_ms=now_ms,
    )


def links(channels: Channels, incident: Incident) -> tuple[str, str]:
    """Where the console shows an incident, and its runbook; "" where that is not configured."""
    base = channels.console_url.rstrip("/")
    key = f"?key={quote(incident.key, safe='')}" if len(incident.key) <= _LINK_CHARS else ""
    console = f"{base}/incidents{key}" if base else ""
    if incident.kind == TEST_KIND:
        return (f"{base}/alerts" if base else ""), ""
    if channels.runbooks_url:
        runbook = f"{channels.runbooks_url.rstrip('/')}/{quote(incident.kind, safe='')}"
        runbook = f"{runbook}.md" if "/blob/" in runbook or "/raw/" in runbook else runbook
    else:
        runbook = f"{base}/runbooks/{quote(incident.kind, safe='')}" if base else ""
    return console, runbook


# The kind of what a test tells; no incident has it.
TEST_KIND: Final = "test"


def one_line(text: str, chars_max: int) -> str:
    """Text that may hold anything, as one bounded line that can be printed."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(plain.split())
    return line if len(line) <= chars_max else f"{line[: chars_max - 1]}…"


def _subject(alert: Alert, language: Language) -> str:
    incident = alert.incident
    what = _WHAT[language][alert.what]
    if alert.what == "test":
        return f"[ocp-ingest] {what}: {_WORDS[language]['test_subject']}"
    severity = _SEVERITY[language][incident.severity]
    return f"[ocp-ingest] {what} ({severity}): {one_line(incident.key, _KEY_CHARS)}"


def _text(channels: Channels, channel: Channel, alert: Alert) -> str:
    words, incident = _WORDS[channel.wants.language], alert.incident
    if alert.what == "test":
        console, _ = links(channels, incident)
        lines = [words["test"], "", f"{words['console']}: {console}" if console else ""]
        return "\n".join([*lines, "", words["sent_by"]]).replace("\n\n\n", "\n\n") + "\n"
    lines = [
        f"{_WHAT[channel.wants.language][alert.what]}: {_meaning(incident, channel)}.",
        "",
        f"{words['incident']}: {one_line(incident.key, 2 * _KEY_CHARS)}",
        f"{words['severity']}: {_SEVERITY[channel.wants.language][incident.severity]}",
    ]
    if incident.text:
        lines.append(f"{words['detail']}: {one_line(incident.text, _TEXT_CHARS)}")
    lines.append(f"{words['since']}: {_when(incident.opened_at_ms, channel)}")
    if alert.what == "closed" and incident.closed_at_ms:
        lines.append(f"{words['closed']}: {_when(incident.closed_at_ms, channel)}")
    lines += _calls(incident, words)
    console, runbook = links(channels, incident)
    ends = [("runbook", runbook), ("console", console)]
    lines += ["", *(f"{words[name]}: {url}" for name, url in ends if url)]
    return "\n".join([*lines, "", words["sent_by"]]).replace("\n\n\n", "\n\n") + "\n"


def _calls(incident: Incident, words: dict[str, str]) -> list[str]:
    if not incident.calls:
        return []
    some = ", ".join(one_line(call, _KEY_CHARS) for call in incident.sample[:_CALLS])
    return [
        f"{words['calls']}: {incident.calls}"
        + (f" ({words['for_example']} {some})" if some else "")
    ]


def _digest(channels: Channels, channel: Channel, alerts: Sequence[Alert]) -> tuple[str, str]:
    language = channel.wants.language
    words = _WORDS[language]
    said = words["digest"].format(n=len(alerts), at=_when(alerts[0].made_at_ms, channel))
    lines = [f"{said}:", ""]
    for alert in alerts[:DIGEST_LINES_MAX]:
        what, incident = _WHAT[language][alert.what], alert.incident
        severity = _SEVERITY[language][incident.severity]
        when = _when(alert.made_at_ms, channel)
        lines.append(f"- {when}  {what} ({severity}): {one_line(incident.key, 2 * _KEY_CHARS)}")
        lines.append(f"  {_meaning(incident, channel)}.")
        lines += [f"  {url}" for url in links(channels, incident)[1:] if url]
    if len(alerts) > DIGEST_LINES_MAX:
        lines += ["", words["more"].format(n=len(alerts) - DIGEST_LINES_MAX)]
    if channels.console_url:
        lines += ["", f"{words['console']}: {channels.console_url.rstrip('/')}/incidents"]
    return f"[ocp-ingest] {said}", "\n".join([*lines, "", words["sent_by"]]) + "\n"


def _meaning(incident: Incident, channel: Channel) -> str:
    text = one_line(meaning(incident.kind, channel.wants.language), _TEXT_CHARS)
    return text[:1].upper() + text[1:]


def _when(at_ms: int, channel: Channel) -> str:
    local = local_time(at_ms, channel.wants.time_zone)
    return f"{local:%Y-%m-%d %H:%M} {local.tzname()}"
