"""One call: why it is as it is, what can be done, and everything that is known of it.

Personal data is masked wherever it stands. Unmasking one event is a POST with a reason (right
"unmask"), journalled before it is shown, and shown once, on a page that nobody keeps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Response

from ocp_ingest.core.call import Call, Export
from ocp_ingest.core.errors import Invalid, NotFound
from ocp_ingest.core.events import Event
from ocp_ingest.core.explain import WORDS, Explanation, When, explain, history
from ocp_ingest.core.flag_evidence import flag_evidence
from ocp_ingest.core.lifecycle import start_ms
from ocp_ingest.core.possible import possible_actions
from ocp_ingest.core.view import call_view, event_view
from ocp_ingest.desk.access import accessed
from ocp_ingest.entrypoints.console import formats
from ocp_ingest.entrypoints.console.actions import PATHS
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.page import AnyRequest, Visit, form_of, visit_of
from ocp_ingest.entrypoints.console.takes import dialogs, refused

# Events on one page of the journal: a call of many steps has thousands.
JOURNAL_PAGE: Final = 50
# A raw event is at most 256 KiB (limits.event_bytes_max), indented somewhat more; the page ends.
RAW_CHARS_MAX: Final = 1_000_000
# Of an event's id in the journalled reason, so that the reason stays within its bound.
_EVENT_ID_CHARS_MAX: Final = 300
_INDENT: Final = 2
_UPDATES: Final = 200
_NO_MORE_UPDATES: Final = 286  # htmx's own: shown as any other, and the page stops asking


class Line(msgspec.Struct, frozen=True):
    """One event of the journal; `payload` and `raw` are masked JSON (`raw`: or "")."""

    event: Event
    payload: str
    raw: str


class Leaf(msgspec.Struct, frozen=True):
    """A page of the journal; `number` from 1."""

    lines: tuple[Line, ...]
    total: int
    number: int
    pages: int


def routes(console: Console) -> list[HTTPRouteHandler]:
    """All routes of the area."""

    @get("/calls/{call_id:str}")
    async def one(request: AnyRequest, call_id: FromPath[str]) -> Response[bytes]:
        visit, call = await _loaded(console, request, call_id)
        number = _page_number(request.query_params.get("journal", ""))
        return console.page(visit, "call.html", **await _values(console, visit, call, number))

    @get("/calls/{call_id:str}/state")
    async def state(request: AnyRequest, call_id: FromPath[str]) -> Response[bytes]:
        visit, call = await _loaded(console, request, call_id)
        takes = refused(await dialogs(call, visit.lang, None))
        explained = _explained(console, visit, call)
        status = _UPDATES if explained.outcome is None else _NO_MORE_UPDATES
        return console.part(
            visit, "call_state.html", status, call=call, explained=explained, takes=takes,
            moved_on=explained.outcome is not None,
        )  # fmt: skip

    @get("/calls/{call_id:str}/json")
    async def as_json(request: AnyRequest, call_id: FromPath[str]) -> Response[bytes]:
        _, call = await _loaded(console, request, call_id)
        view = call_view(call, console.desk.world.settings.policy, console.uri_of)
        headers = {"Content-Disposition": 'attachment; filename="call.json"'}
        return Response(_pretty(view).encode(), media_type="application/json", headers=headers)

    @post("/calls/{call_id:str}/unmask")
    async def unmask(request: AnyRequest, call_id: FromPath[str]) -> Response[bytes]:
        visit, call = await _loaded(console, request, call_id)
        visit.person.require("unmask")
        form = await form_of(request, "event_id", "reason")
        return await _unmasked(console, visit, call, form["event_id"], form["reason"])

    return [one, state, as_json, unmask]


async def _loaded(console: Console, request: AnyRequest, call_id: str) -> tuple[Visit, Call]:
    visit = visit_of(request)
    visit.person.require("see")
    return visit, await console.load(visit, unquote(call_id))


async def _values(console: Console, visit: Visit, call: Call, number: int) -> dict[str, Any]:
    world, person = console.desk.world, visit.person
    journal = await world.calls.journal(call.call_id)
    found = await dialogs(call, visit.lang, world.recordings)
    offers = possible_actions(call, world.settings.policy) if person.may("act") else ()
    return {
        "call": call,
        "lob": console.lob_of(call),
        "started_at": start_ms(call) or None,
        "explained": _explained(console, visit, call),
        "takes": refused(found),
        "moved_on": False,
        "history": history(call, visit.lang, _when(console, visit)),
        "offers": offers,
        "paths": PATHS,
        "may_hear": person.may("hear"),
        "may_unmask": person.may("unmask"),
        "hear_reason": console.config.console.hear_reason,
        "flags": flag_evidence(call, journal),
        "dialogs": found,
        "uri_of": console.uri_of,
        "exports": sorted(call.exports.items(), key=_by_time),
        "words": WORDS[visit.lang],
        "facts": call_view(call, world.settings.policy)["call"],
        "leaf": _leaf(journal, number, console.config.vendor.result_keys),
    }


def _by_time(item: tuple[str, Export]) -> tuple[int, str]:
    return item[1].asked_at_ms or item[1].answered_at_ms, item[0]


# -- the explanation ------------------------------------------------------------------------------


def _explained(console: Console, visit: Visit, call: Call) -> Explanation:
    policy = console.desk.world.settings.policy
    return explain(call, policy, visit.now_ms, visit.lang, _when(console, visit))


def _when(console: Console, visit: Visit) -> When:
    return lambda at_ms: formats.moment(at_ms, visit.lang, console.pages.zone)


# -- the journal ----------------------------------------------------------------------------------


def _page_number(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise Invalid("The journal has no such page.", say="call.journal.no_page")
    return max(1, int(text or 1))


def _leaf(journal: Sequence[Event], asked: int, result_keys: tuple[str, ...]) -> Leaf:
    pages = max(1, -(-len(journal) // JOURNAL_PAGE))
    number = min(asked, pages)
    start = (number - 1) * JOURNAL_PAGE
    lines = tuple(_line(event, result_keys) for event in journal[start : start + JOURNAL_PAGE])
    return Leaf(lines, len(journal), number, pages)


def _line(event: Event, result_keys: tuple[str, ...]) -> Line:
    view = event_view(event, result_keys)
    raw = view["raw"]
    return Line(event, _pretty(view["data"]), "" if raw is None else _pretty(raw))


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=_INDENT).decode()


async def _unmasked(
    console: Console, visit: Visit, call: Call, event_id: str, reason: str
) -> Response[bytes]:
    """Journals who wants to see an event as it came, and why; then shows it."""
    if not reason:
        raise Invalid("Say why.", say="call.refused.reason")
    world = console.desk.world
    journal = await world.calls.journal(call.call_id)
    event = next((held for held in journal if held.event_id == event_id), None)
    if event is None or not event.raw:
        raise NotFound("There is no such event.", say="call.journal.no_event")
    said = f"{reason} (event {event_id[:_EVENT_ID_CHARS_MAX]})"
    await accessed(world, call.call_id, who=visit.person.name, what="raw", reason=said)
    text = event.raw.decode("utf-8", "replace")
    with contextlib.suppress(msgspec.MsgspecError):  # no JSON: as it came
        text = msgspec.json.format(text, indent=_INDENT)
    text = text[:RAW_CHARS_MAX]
    return console.page(visit, "call_raw.html", call=call, event=event, text=text)
