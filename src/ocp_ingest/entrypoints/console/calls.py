"""Calls: one box that understands every id, a list by filter, its CSV, and saved searches.

All state is in the URL: a search can be bookmarked, sent to a colleague (who sees their own lines
of business of it) and handed on to bulk work. Pages go on by a cursor after the last call that was
looked at, so a call that arrives meanwhile shifts nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response, Stream

from ocp_ingest.core.access import Person
from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.lifecycle import OUTCOMES, STAGES, CallPolicy, Work, closing, next_work
from ocp_ingest.core.limits import ID_CHARS_MAX, NAME_CHARS_MAX
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.routing import UNASSIGNED
from ocp_ingest.entrypoints.console import export_csv, filters
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.filters import Filter, Found
from ocp_ingest.entrypoints.console.page import AnyRequest, Visit, call_url, form_of, url, visit_of
from ocp_ingest.entrypoints.console.problem_codes import GROUPS, label_of
from ocp_ingest.entrypoints.console.saved_links import NAME_CHARS_MAX as LINK_CHARS_MAX
from ocp_ingest.entrypoints.console.saved_links import SavedLinks

# A screen and a half; more makes a page slow to read, not to make.
PAGE_CALLS: Final = 50
# Problems named in a row; the call's own page has all.
PROBLEMS_SHOWN: Final = 3
# Exports written at once by one process: they share its event loop with the ingestion API.
EXPORTS_AT_ONCE: Final = 2
_KINDS: Final[tuple[Literal["dialog", "session", "connection"], ...]] = (
    "dialog", "session", "connection",
)  # fmt: skip
_QUOTES: Final = "\"'`<>“”«»"
# What people look for most, as searches that everybody has.
QUICK: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("in_flight", {"term": "in_flight"}),
    ("quarantined", {"outcome": "quarantined"}),
    ("lost", {"outcome": "lost"}),
    ("unannounced", {"stage": "unannounced"}),
)


class Row(msgspec.Struct, frozen=True):
    """A call in the list. `reason_code` is a problem's, else `reason` are somebody's words."""

    found: Found
    work: Work | None
    reason_code: str
    reason: str
    problems: tuple[str, ...]
    more_problems: int

    @property
    def next_at(self) -> str:
        """When the next work may be done, RFC 3339."""
        return rfc3339(self.work.at_ms if self.work else None) or ""


def row_of(found: Found, policy: CallPolicy) -> Row:
    """A call as the list shows it."""
    ended = closing(found.call) if found.row.outcome not in ("none", "stored", "") else None
    code = ended.code if ended else ""
    problems = tuple(one for one in found.row.problems if one != code)
    return Row(
        found=found, work=next_work(found.call, policy), reason_code=code,
        reason=ended.reason if ended and not code else "",
        problems=problems[:PROBLEMS_SHOWN], more_problems=max(0, len(problems) - PROBLEMS_SHOWN),
    )  # fmt: skip


async def find(console: Console, person: Person, text: str) -> list[Call]:
    """The person's calls that an id, or the name of a recording's file, may mean.

    Ids are copied out of tables and messages: with quotes around them, which may be their own.
    """
    plain = text.strip(_QUOTES).strip()
    name = parse_name(plain) if len(plain) <= NAME_CHARS_MAX else None
    idents = [text, plain, *([name.group_id, name.dialog_id] if name else [])]
    calls = console.desk.world.calls
    found: dict[str, Call] = {}
    for ident in dict.fromkeys(idents):
        if not ident or len(ident) > ID_CHARS_MAX:
            continue
        held = [ident, *[await calls.call_of(kind, ident) for kind in _KINDS]]
        for call_id in dict.fromkeys(held):
            call = await calls.load(call_id) if call_id else None
            if call is not None and person.sees(console.lob_of(call)):
                found[call.call_id] = call
    return list(found.values())


def routes(console: Console) -> list[HTTPRouteHandler]:
    """The list, its CSV, and the person's saved searches."""
    return [*_lists(console), *_links(console)]


def _lists(console: Console) -> list[HTTPRouteHandler]:
    world, zone = console.desk.world, console.pages.zone
    reader = filters.reader(world.calls, console.deriving)
    exports = asyncio.Semaphore(EXPORTS_AT_ONCE)

    @get("/calls")
    async def calls(request: AnyRequest) -> Response[bytes]:
        visit, query = visit_of(request), dict(request.query_params)
        asked = query.get("q", "").strip()
        if asked:
            return await _search(console, visit, asked)
        chosen = filters.filter_of(query, zone)
        cursor = query.get("cursor") or None
        found, after = await reader.page(chosen, visit.person, cursor, PAGE_CALLS)
        return await _list(console, visit, chosen, found, after, paged=cursor is not None)

    @get("/calls.csv")
    async def calls_csv(request: AnyRequest) -> Stream:
        visit, policy = visit_of(request), world.settings.policy
        chosen = filters.filter_of(dict(request.query_params), zone)
        if exports.locked():
            raise Transient("Others are exporting now: try again in a minute.",
                            retry_after_s=60.0, say="calls.csv_busy")  # fmt: skip
        # Read before anything is answered: what is wrong with the search is a page, not a file.
        first = await reader.page(chosen, visit.person, None, export_csv.PAGE_CALLS)

        async def body() -> AsyncIterator[bytes]:
            async with exports:
                async for piece in export_csv.rows(reader, chosen, visit.person, policy, first):
                    yield piece

        name = f"calls-{_stamp(visit.now_ms)}.csv"
        return Stream(
            body(), media_type="text/csv; charset=utf-8; header=present",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )  # fmt: skip

    return [calls, calls_csv]


def _stamp(now_ms: int) -> str:
    return filters.utc(now_ms).strftime("%Y%m%dT%H%M%SZ")


async def _search(console: Console, visit: Visit, text: str) -> Response[bytes]:
    held = await find(console, visit.person, text)
    if len(held) == 1:
        return console.go(call_url(held[0].call_id))
    found = [filters.found_of(call, console.deriving) for call in held]
    return await _list(console, visit, Filter(), found, None, searched=text)


async def _list(
    console: Console, visit: Visit, chosen: Filter, found: list[Found], after: str | None,
    *, paged: bool = False, searched: str = "",
) -> Response[bytes]:  # fmt: skip
    policy, person = console.desk.world.settings.policy, visit.person
    params, zone = chosen.params(), console.pages.zone
    may_bulk = person.may("act") and not searched
    return console.page(
        visit, "calls.html",
        rows=[row_of(one, policy) for one in found], chosen=chosen, params=params,
        searched=searched, from_local=filters.local(chosen.from_ms, zone),
        to_local=filters.local(chosen.to_ms, zone), zone=console.config.console.time_zone,
        lobs=_lobs(console, person), groups=console.config.ocp.groups, stages=tuple(STAGES),
        outcomes=(*OUTCOMES, filters.OPEN), problems=GROUPS, label_of=label_of,
        terms=filters.COUNTED, quick=QUICK, links=await SavedLinks(console.desk.notes).of(person),
        link_chars_max=LINK_CHARS_MAX, query=urlencode(params),
        next_url=url("/calls", **params, cursor=after) if after else "",
        first_url=url("/calls", **params) if paged else "",
        csv_url=url("/calls.csv", **params), rows_max=export_csv.ROWS_MAX,
        bulk_url=url("/bulk/new", **params) if may_bulk else "",
    )  # fmt: skip


def _lobs(console: Console, person: Person) -> list[str]:
    names = [*sorted(console.desk.world.settings.lobs), UNASSIGNED]
    unknown = [filters.LOB_UNKNOWN] if person.sees("") else []
    return [name for name in names if person.sees(name)] + unknown


# -- saved searches -------------------------------------------------------------------------------


def _links(console: Console) -> list[HTTPRouteHandler]:
    links, zone = SavedLinks(console.desk.notes), console.pages.zone

    def plain(query: str) -> dict[str, str]:
        """Only what the list itself would write: no cursor, nothing of others."""
        pairs = dict(parse_qsl(query, max_num_fields=50))
        return filters.filter_of(pairs, zone).params()

    # Not below /calls/: there every path is a call's.
    @post("/searches", status_code=303)
    async def save(request: AnyRequest) -> Response[bytes]:
        visit, form = visit_of(request), await form_of(request, "name", "query")
        params = plain(form["query"])
        await links.add(visit.person, form["name"], urlencode(params))
        return console.go(url("/calls", **params), "calls.links.saved", visit=visit)

    @post("/searches/delete", status_code=303)
    async def delete(request: AnyRequest) -> Response[bytes]:
        visit, form = visit_of(request), await form_of(request, "id", "query")
        await links.delete(visit.person, form["id"])
        back = url("/calls", **plain(form["query"]))
        return console.go(back, "calls.links.deleted", visit=visit)

    return [save, delete]
