"""Bulk work: choose an action for the calls of a filter, look at what it would do, start, watch.

GET  /bulk                        the jobs that the visitor may see
GET  /bulk/new?<filter of calls>  which calls they are, and the form
POST /bulk                        freezes them as a draft; twice with one id, once
GET  /bulk/{id}                   a draft's dry run, a job's results; ?failed=1, ?after=<position>
GET  /bulk/{id}/progress          the progress alone, for htmx
POST /bulk/{id}/dry|start|cancel
GET  /bulk/{id}/results.csv
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Response, Stream

from ocp_ingest.core.bulk import BULK_ACTIONS, WHY_NOT
from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.masking import mask_text
from ocp_ingest.desk import bulk as work
from ocp_ingest.desk.ports import BulkItem, BulkJob
from ocp_ingest.entrypoints.console import filters
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.export_csv import line
from ocp_ingest.entrypoints.console.filters import Filter, Found
from ocp_ingest.entrypoints.console.jobs import theirs
from ocp_ingest.entrypoints.console.page import AnyRequest, Visit, form_of, url, visit_of

JOBS_SHOWN_MAX: Final = 50
ITEMS_SHOWN: Final = 100
# Of the calls of a filter: enough to recognise that they are the ones meant.
SAMPLE_CALLS: Final = 10
# Counted before a draft counts them all: one page of the store.
COUNTED_MAX: Final = 500
CSV_PAGE: Final = 500
_ID_BYTES: Final = 12
_ID: Final = re.compile(r"[A-Za-z0-9_-]{16}")
_FILTER: Final = ("from", "to", "lob", "group", "stage", "outcome", "problem", "term")
_BADGES: Final = {"draft": "muted", "running": "info", "cancelled": "warn", "done": "ok"}


class ItemRow(msgspec.Struct, frozen=True):
    """An item: `word` is done, skipped, failed, waiting, or (of a draft) acts; `why` as recorded.

    `code` is one of core.bulk.WHY_NOT, "" when `why` is a sentence or nothing is to be said.
    """

    item: BulkItem
    word: str
    badge: str
    code: str
    why: str
    named: bool


def routes(console: Console) -> list[HTTPRouteHandler]:
    """All routes of the area."""
    return [*_lists(console), *_jobs(console)]


def _lists(console: Console) -> list[HTTPRouteHandler]:
    @get("/bulk")
    async def jobs(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("see")
        found = await console.desk.bulk.jobs(limit=JOBS_SHOWN_MAX)
        mine = [job for job in found if work.sees(visit.person, job)]
        return console.page(
            visit, "bulk.html", jobs=mine, badges=_BADGES, may_act=visit.person.may("act")
        )

    @get("/bulk/new")
    async def new(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("act")
        return await _new(console, visit, _filter(console, dict(request.query_params)))

    @post("/bulk")
    async def draft(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        form = await form_of(request, "bulk_id", "action", "reason", *_FILTER)
        chosen = _filter(console, {name: form[name] for name in _FILTER})
        if _ID.fullmatch(form["bulk_id"]) is None:
            raise Invalid("`bulk_id` is not one that this page gave.", say="bulk.error.id")
        job = await work.draft(
            console.desk, visit.person, form["bulk_id"], form["action"], form["reason"],
            filters.query_of(chosen, visit.person), _keeps(console, visit, chosen),
            chosen.params(),
        )  # fmt: skip
        return console.go(f"/bulk/{job.bulk_id}", visit=visit)

    return [jobs, new, draft]


def _jobs(console: Console) -> list[HTTPRouteHandler]:
    @get("/bulk/{bulk_id:str}")
    async def job(request: AnyRequest, bulk_id: FromPath[str]) -> Response[bytes]:
        visit, query = visit_of(request), request.query_params
        held = await work.load(console.desk, visit.person, bulk_id)
        after = query.get("after", "")
        return await _job(
            console, visit, held, failed=query.get("failed", "") == "1",
            after=int(after) if after.isdecimal() and len(after) < 9 else -1,
        )  # fmt: skip

    @get("/bulk/{bulk_id:str}/progress")
    async def progress(request: AnyRequest, bulk_id: FromPath[str]) -> Response[bytes]:
        visit = visit_of(request)
        held = await work.load(console.desk, visit.person, bulk_id)
        part = console.part(visit, "bulk_progress.html", job=held)
        if held.state != "running":
            part.headers["HX-Refresh"] = "true"  # now the page has more to say
        return part

    @post("/bulk/{bulk_id:str}/dry")
    async def dry(request: AnyRequest, bulk_id: FromPath[str]) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("act")
        held = await work.load(console.desk, visit.person, bulk_id)
        await work.foresee(console.desk, held, console.lob_of)
        return console.go(f"/bulk/{bulk_id}", "bulk.counted", visit=visit)

    @post("/bulk/{bulk_id:str}/start")
    async def start(request: AnyRequest, bulk_id: FromPath[str]) -> Response[bytes]:
        visit = visit_of(request)
        await work.start(console.desk, visit.person, bulk_id)
        if console.ring_bulk is not None:
            console.ring_bulk()
        return console.go(f"/bulk/{bulk_id}", "bulk.started", visit=visit)

    @post("/bulk/{bulk_id:str}/cancel")
    async def cancel(request: AnyRequest, bulk_id: FromPath[str]) -> Response[bytes]:
        visit = visit_of(request)
        await work.cancel(console.desk, visit.person, bulk_id)
        return console.go(f"/bulk/{bulk_id}", "bulk.cancelled", tone="warn", visit=visit)

    @get("/bulk/{bulk_id:str}/results.csv")
    async def results(request: AnyRequest, bulk_id: FromPath[str]) -> Stream:
        visit = visit_of(request)
        held = await work.load(console.desk, visit.person, bulk_id)
        return Stream(
            _csv(console, visit, held), media_type="text/csv; charset=utf-8; header=present",
            headers={"Content-Disposition": f'attachment; filename="bulk-{held.bulk_id}.csv"'},
        )  # fmt: skip

    return [job, progress, dry, start, cancel, results]


# -- a new one ------------------------------------------------------------------------------------


def _filter(console: Console, params: dict[str, str]) -> Filter:
    """The filter of the calls. Raises Invalid without any: all calls there are is no selection."""
    chosen = filters.filter_of(params, console.pages.zone)
    if not chosen.params():
        raise Invalid("Choose a filter first.", say="bulk.error.no_filter")
    return chosen


def _keeps(console: Console, visit: Visit, chosen: Filter) -> work.Keeps:
    def keeps(call: Call) -> bool:
        found = filters.found_of(call, console.deriving)
        # The index may lag behind a changed routing.
        return visit.person.sees(found.row.lob) and filters.keeps(chosen, call, found.row)

    return keeps


async def _new(console: Console, visit: Visit, chosen: Filter) -> Response[bytes]:
    reader = filters.reader(console.desk.world.calls, console.deriving)
    found, cursor = await reader.page(chosen, visit.person, None, COUNTED_MAX)
    sample: list[Found] = found[:SAMPLE_CALLS]
    params = chosen.params()
    return console.page(
        visit, "bulk_new.html",
        found=len(found), more=cursor is not None, sample=sample, params=params,
        calls_url=url("/calls", **params), actions=BULK_ACTIONS,
        bulk_id=secrets.token_urlsafe(_ID_BYTES), calls_max=work.BULK_CALLS_MAX,
    )  # fmt: skip


# -- one job --------------------------------------------------------------------------------------


async def _job(
    console: Console, visit: Visit, job: BulkJob, *, failed: bool, after: int
) -> Response[bytes]:
    book, is_draft = console.desk.bulk, job.state == "draft"
    items = await book.items(job.bulk_id, after=after, limit=ITEMS_SHOWN, failed_only=failed)
    more = len(items) == ITEMS_SHOWN and items[-1].position < job.total - 1
    may_act = visit.person.may("act")
    fresh = visit.now_ms - job.made_at_ms <= work.DRAFT_MS_MAX
    return console.page(
        visit, "bulk_job.html",
        job=job, rows=await _rows(console, visit, job, items), badge=_BADGES[job.state],
        failed=failed, paged=after >= 0, foreseen=await work.foreseen(console.desk, job.bulk_id),
        tally=await _tally(console, job) if job.state in ("done", "cancelled") else None,
        calls_url=url("/calls", **job.filter),
        may_start=is_draft and may_act and fresh and job.by == visit.person.name,
        may_cancel=may_act and job.state in ("draft", "running"), may_act=may_act, fresh=fresh,
        next_url=url(
            f"/bulk/{job.bulk_id}", failed="1" if failed else "", after=items[-1].position
        ) if more else "",
    )  # fmt: skip


async def _rows(
    console: Console, visit: Visit, job: BulkJob, items: list[BulkItem]
) -> list[ItemRow]:
    waiting = [item for item in items if not item.result] if job.state == "draft" else []
    expected = await work.expected(console.desk, job, console.lob_of, waiting)
    # The job was made within a scope; a call may belong to another line of business by now.
    known = set(await theirs(console, visit, [item.call_id for item in items]))
    return [_row(item, expected.get(item.position), item.call_id in known) for item in items]


def _row(item: BulkItem, code: str | None, named: bool) -> ItemRow:
    if code is not None:
        word, badge = ("skipped", "muted") if code else ("acts", "info")
        return ItemRow(item, word, badge, code, "", named)
    if not item.result:
        return ItemRow(item, "waiting", "muted", "", "", named)
    badge = {"done": "ok", "failed": "bad"}.get(item.result, "muted")
    known = item.text if item.text in WHY_NOT else ""
    return ItemRow(item, item.result, badge, known, "" if known else mask_text(item.text), named)


async def _tally(console: Console, job: BulkJob) -> dict[str, int]:
    """Items by what became of them, "" for those without a result; for a job that has ended."""
    counts: Counter[str] = Counter()
    after = -1
    while items := await console.desk.bulk.items(job.bulk_id, after=after, limit=CSV_PAGE):
        counts.update(item.result for item in items)
        after = items[-1].position
    return dict(counts)


async def _csv(console: Console, visit: Visit, job: BulkJob) -> AsyncIterator[bytes]:
    """Results as programs read them, in no language; a line of text for each item's reason."""
    yield line(("position", "call_id", "action", "result", "why", "at")).encode()
    after = -1
    while items := await console.desk.bulk.items(job.bulk_id, after=after, limit=CSV_PAGE):
        known = set(await theirs(console, visit, [item.call_id for item in items]))
        yield "".join(line(_cells(job, item)) for item in items if item.call_id in known).encode()
        after = items[-1].position


def _cells(job: BulkJob, item: BulkItem) -> tuple[str, ...]:
    why = WHY_NOT.get(item.text, mask_text(item.text))
    at = (rfc3339(item.at_ms) or "") if item.at_ms else ""
    return (str(item.position + 1), item.call_id, job.action, item.result or "waiting", why, at)
