"""Incidents, and inputs that nobody took: rejected ones, parked messages, unknown messages.

Whose is what
    incidents      everybody's; calls of others are counted and their ids are hidden in the text.
                   One about a single line of business is shown to those who see it
    closing one    operators; with a scope, only if every call that it touched is theirs
    a rejected     its kind, reason, time and size are everybody's; as nobody knows whose call it
    input          is about, its content is for those who see everything: masked, or, with the
                   right to unmask and a reason that is kept before, as it came
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from ocp_ingest.core import words, words_es
from ocp_ingest.core.access import Person
from ocp_ingest.core.errors import Denied, NotFound
from ocp_ingest.core.incident_words import meaning
from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.lifecycle import STAGES
from ocp_ingest.core.masking import MASK, mask_raw, mask_text
from ocp_ingest.entrypoints.console import alerts
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.jobs import theirs
from ocp_ingest.entrypoints.console.page import AnyRequest, Visit, form_of, url, visit_of
from ocp_ingest.entrypoints.console.runbooks import capital, runbook_url
from ocp_ingest.ingest import operate
from ocp_ingest.ports import Kept, Message
from ocp_ingest.telemetry import log

# There is one incident per root cause and group; closed ones are a history that search is for.
OPEN_SHOWN_MAX: Final = 200
CLOSED_READ_MAX: Final = 500
CLOSED_SHOWN_MAX: Final = 100
REJECTED_SHOWN_MAX: Final = 50
# Among so many of the newest one is looked for that somebody wants to see.
REJECTED_READ_MAX: Final = 1_000
PARKED_SHOWN_MAX: Final = 100
# Of a masked input; a page of fifty stays below 200 KB.
PREVIEW_CHARS_MAX: Final = 2_000
# What is no text is shown as hex digits, so many bytes of it.
HEX_BYTES_MAX: Final = 2_048
UNKNOWN_PREFIX: Final = "unknown_type:"

# Kinds of one line of business each: "<kind>:<line of business>".
OF_A_LOB: Final = frozenset({"completeness_low", "stream_share_low"})
_OF_A_GROUP: Final = frozenset({
    "group_blocked", "group_half_open", "slot_busy", "hours_quarantined", "windows_shrunk",
    "vendor_down",
})  # fmt: skip
# kind -> the filter of the calls that it is about; {} besides what its key names.
_FILTERS: Final[dict[str, dict[str, str]]] = {
    "unassigned": {"lob": "unassigned"},
    "recording_quarantined": {"outcome": "quarantined"},
    "recording_lost": {"outcome": "lost"},
    "retention_near": {"outcome": "none"},
    "subscription_silent": {"outcome": "none"},
    "completeness_low": {"term": "in_flight"},
    "stream_share_low": {"term": "recovered"},
    "calls_stuck": {"outcome": "none"},
}
# Recorded texts that are sentences of ours.
_IN_SPANISH: Final = {text: words_es.WHY[code] for code, text in words.WHY.items()}
_UNKNOWN: Final = "unknown"  # how keys spell a group or a line of business that nobody knows


class Touched(msgspec.Struct, frozen=True):
    """Calls of an incident that the visitor may be told, and how many it touched besides."""

    call_ids: list[str]
    others: int


class IncidentRow(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as the visitor may see it; `where` leads to what it is about.

    `lang` is the language of its recorded text.
    """

    incident: Incident
    title: str
    text: str
    lang: str
    how: str
    touched: Touched
    runbook: str | None
    where: str | None
    may_close: bool


def routes(console: Console) -> list[HTTPRouteHandler]:
    """All routes of the area, the alerts' among them."""

    @get("/incidents")
    async def incidents(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("see")
        asked = request.query_params.get("key", "")
        return await _list(console, visit, request.query_params.get("state", "") == "closed", asked)

    @post("/incidents/close")
    async def close(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        form = await form_of(request, "key", "reason")
        await _close(console, visit, form["key"], form["reason"])
        return console.go("/incidents", "incidents.closed", visit=visit)

    @get("/incidents/inputs")
    async def inputs(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("see")
        return await _inputs(console, visit)

    @post("/incidents/inputs/unmask", status_code=200)
    async def unmask(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        form = await form_of(request, "ident", "reason")
        return await _unmask(console, visit, form["ident"], form["reason"])

    return [incidents, close, inputs, unmask, *alerts.routes(console)]


# -- incidents ------------------------------------------------------------------------------------


async def _list(console: Console, visit: Visit, closed: bool, asked: str) -> Response[bytes]:
    """Open incidents, or closed ones; the one that was asked for, as letters do, comes first.

    It may have been closed since its letter was sent: then the closed ones are shown.
    """
    found = await _closed(console, visit) if closed else await _open(console, visit)
    first = _of(found, asked)
    if asked and not closed and first is None:
        ended = await _closed(console, visit)
        first = _of(ended, asked)
        if first is not None:
            found, closed = ended, True
    found.sort(key=lambda one: one is not first)
    return console.page(
        visit, "incidents.html", rows=[await row_of(console, visit, one) for one in found],
        closed=closed, asked=first, gone=bool(asked) and first is None, tab="incidents",
    )  # fmt: skip


async def _open(console: Console, visit: Visit) -> list[Incident]:
    found = await console.desk.world.incidents.incidents(limit=OPEN_SHOWN_MAX)
    found.sort(key=lambda one: (one.severity != "critical", -one.opened_at_ms, one.key))
    return [one for one in found if concerns(visit.person, one)]


async def _closed(console: Console, visit: Visit) -> list[Incident]:
    store = console.desk.world.incidents
    found = await store.incidents(open_only=False, limit=CLOSED_READ_MAX)
    ended = [one for one in found if one.closed_at_ms is not None][:CLOSED_SHOWN_MAX]
    return [one for one in ended if concerns(visit.person, one)]


def _of(found: Sequence[Incident], key: str) -> Incident | None:
    return next((one for one in found if one.key == key), None)


def concerns(person: Person, incident: Incident) -> bool:
    """Whether an incident is shown to somebody: not when it is about another's line alone."""
    kind, _, about = incident.key.partition(":")
    return kind not in OF_A_LOB or person.lobs is None or person.sees(about)


async def row_of(console: Console, visit: Visit, incident: Incident) -> IncidentRow:
    """An incident as the visitor may see it."""
    found = await calls_of(console, visit, incident)
    told = _IN_SPANISH.get(incident.text) if visit.lang == "es" else None
    return IncidentRow(
        incident=incident,
        title=title_of(incident.kind, visit),
        text=told or without_others(incident.text, incident, found),
        lang=visit.lang if told else "en",
        how=without_others(incident.closed_how, incident, found),
        touched=found,
        runbook=runbook_url(incident.kind),
        where=where(incident),
        may_close=incident.closed_at_ms is None and may_close(visit.person, found),
    )


def title_of(kind: str, visit: Visit) -> str:
    """What a kind of incident means, in the visitor's language."""
    return capital(meaning(kind, visit.lang))


async def calls_of(console: Console, visit: Visit, incident: Incident) -> Touched:
    """The sampled calls that the visitor may see; the rest of what it touched is counted."""
    found = await theirs(console, visit, incident.sample)
    return Touched(found, max(incident.calls, len(incident.sample)) - len(found))


def without_others(text: str, incident: Incident, found: Touched) -> str:
    """A recorded text without numbers, and without ids of calls that the visitor may not see."""
    for call_id in incident.sample:
        if call_id not in found.call_ids:
            text = text.replace(call_id, MASK)
    return mask_text(text)


def may_close(person: Person, found: Touched) -> bool:
    """Whether somebody may close an incident that touched these calls."""
    return person.may("act") and (
        person.lobs is None or (bool(found.call_ids) and not found.others)
    )


def where(incident: Incident) -> str | None:
    """The page that shows what an incident is about."""
    kind, _, about = incident.key.partition(":")
    kind = incident.kind if incident.kind != kind else kind
    known = about if about and about != _UNKNOWN else None
    if kind in _OF_A_GROUP:
        return url("/reconciliation", group=known)
    if kind == "step_parked":
        return url("/incidents/inputs")
    if kind == "alerts_undelivered":
        return url("/alerts")
    chosen = dict(_FILTERS.get(kind, {}))
    if not chosen:
        return None
    if kind in OF_A_LOB:
        chosen["lob"] = known or "-"
    elif kind == "calls_stuck":
        chosen |= {"stage": about} if about in STAGES else {}
    elif known is not None:
        chosen["group"] = known
    return url("/calls", **chosen)


async def _close(console: Console, visit: Visit, key: str, reason: str) -> None:
    visit.person.require("act")
    operate.check_reason(reason)
    held = await console.desk.world.incidents.incidents(limit=CLOSED_READ_MAX)
    found = next((one for one in held if one.key == key), None)
    if found is None or not concerns(visit.person, found):
        raise NotFound("There is no open incident of this key.", say="incidents.error.none")
    if not may_close(visit.person, await calls_of(console, visit, found)):
        raise Denied(
            "This incident touches calls of other lines of business.", authenticated=True,
            say="incidents.error.not_yours",
        )  # fmt: skip
    await operate.close_incident(console.desk.world, key, who=visit.person.name, reason=reason)
    log().info("incident.closed", key=key, who=visit.person.name)


# -- inputs that nobody took ----------------------------------------------------------------------


class Rejected(msgspec.Struct, frozen=True):
    """A rejected input; `preview` is its masked content, "" where there is none to show."""

    ident: str
    kind: str
    reason: str
    at_ms: int
    bytes: int
    preview: str


class Parked(msgspec.Struct, frozen=True):
    """A message that was tried too often; `call_id` "" when it names none."""

    call_id: str
    tries: int


async def _inputs(console: Console, visit: Visit) -> Response[bytes]:
    world, everything = console.desk.world, visit.person.lobs is None
    kept = await world.evidence.kept(limit=REJECTED_SHOWN_MAX)
    parked = await world.queue.parked(limit=PARKED_SHOWN_MAX) if console.desk.listing else []
    counted = await world.evidence.counted(UNKNOWN_PREFIX)
    mine = await _parked(console, visit, parked)
    return console.page(
        visit, "incidents_inputs.html", tab="inputs",
        rejected=[_rejected(console, one, everything) for one in kept],
        parked=mine, parked_others=len(parked) - len(mine), listing=console.desk.listing,
        unknown=sorted(
            ((name.removeprefix(UNKNOWN_PREFIX), n) for name, n in counted.items()),
            key=lambda pair: (-pair[1], pair[0]),
        ),
        may_unmask=everything and visit.person.may("unmask"),
    )  # fmt: skip


def _rejected(console: Console, kept: Kept, everything: bool) -> Rejected:
    keys = console.config.vendor.result_keys
    shown = mask_raw(kept.body, keys) if everything else None
    preview = "" if shown is None else msgspec.json.format(msgspec.json.encode(shown)).decode()
    return Rejected(
        ident_of(kept), kept.kind, mask_text(kept.reason), kept.at_ms, len(kept.body),
        preview[:PREVIEW_CHARS_MAX],
    )  # fmt: skip


def ident_of(kept: Kept) -> str:
    """Names a rejected input: the same one, the same name."""
    head = f"{kept.at_ms}\0{kept.kind}\0{kept.reason}\0".encode()
    return hashlib.sha256(head + kept.body).hexdigest()[:24]


async def _parked(console: Console, visit: Visit, parked: Sequence[Message]) -> list[Parked]:
    """Messages about calls of the visitor; for those who see everything, all of them."""
    said = [(str(message.body.get("call_id", "")), message.tries) for message in parked]
    ids = list(dict.fromkeys(call_id for call_id, _ in said if call_id))
    known = set(await theirs(console, visit, ids))
    return [
        Parked(call_id, tries)
        for call_id, tries in said
        if call_id in known or visit.person.lobs is None
    ]


async def _unmask(console: Console, visit: Visit, ident: str, reason: str) -> Response[bytes]:
    visit.person.require("unmask")
    if visit.person.lobs is not None:
        raise Denied(
            "Nobody knows whose call a rejected input is about.", authenticated=True,
            say="incidents.error.rejected_scope",
        )  # fmt: skip
    operate.check_reason(reason)
    kept = await console.desk.world.evidence.kept(limit=REJECTED_READ_MAX)
    found = next((one for one in kept if ident_of(one) == ident), None)
    if found is None:
        raise NotFound("This input is not kept any more.", say="incidents.error.gone")
    await _accessed(console, visit, ident, reason)
    text, is_text = _readable(found.body)
    return console.page(
        visit, "incidents_input.html", found=found, text=text, is_text=is_text, reason=reason
    )


async def _accessed(console: Console, visit: Visit, ident: str, reason: str) -> None:
    """Kept before anything is shown; there is no call whose journal could hold it."""
    said: dict[str, Any] = {
        "what": "rejected_input", "ident": ident, "by": visit.person.name,
        "reason": reason, "at_ms": visit.now_ms,
    }  # fmt: skip
    name = hashlib.sha256(f"{ident}\0{visit.person.name}\0{visit.now_ms}".encode()).hexdigest()
    await console.desk.notes.put(f"accessed:{name[:32]}", said)
    log().info("rejected.unmasked", ident=ident, who=visit.person.name)


def _readable(body: bytes) -> tuple[str, bool]:
    """Bytes as text, or, when they are none, as hex digits in pairs."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return body[:HEX_BYTES_MAX].hex(" "), False
    if any(not c.isprintable() and c not in "\r\n\t" for c in text):
        return body[:HEX_BYTES_MAX].hex(" "), False
    return text, True
