"""Reconciliation: every group's slot and jobs, one job whole, what would be exported, and run now.

Groups, windows and figures of jobs are everybody's; a call is named to those alone whose lines of
business it is in, and counted for the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from ocp_ingest.core.errors import Conflict, NotFound
from ocp_ingest.core.export_facts import ExportJob
from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.plan import Window
from ocp_ingest.entrypoints.console import formats, timeline
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.jobs import (
    LOOKS,
    JobRow,
    Named,
    files_of,
    named,
    row_of,
    why_of,
)
from ocp_ingest.entrypoints.console.page import AnyRequest, Visit, form_of, visit_of
from ocp_ingest.reconcile.census import CensusState, held_state
from ocp_ingest.reconcile.drive import are_holding
from ocp_ingest.reconcile.dry_run import dry_run
from ocp_ingest.reconcile.plan import GroupPlan
from ocp_ingest.reconcile.results import held_results
from ocp_ingest.telemetry import log

DAYS: Final = (1, 3, 7, 14, 30, 60)  # 60 is OCP's retention: nothing older is exported
DAYS_DEFAULT: Final = 3
# Read for one page, newest first: a week of a busy group. More is found by group and span.
JOBS_READ_MAX: Final = 500
JOBS_LISTED_MAX: Final = 200
GROUPS_SHOWN_MAX: Final = 50
CALLS_SHOWN_MAX: Final = 200
FILES_SHOWN_MAX: Final = 300
# Of one window of the plan: enough to know which they are.
WINDOW_CALLS_MAX: Final = 20
WINDOWS_SHOWN_MAX: Final = 30
# A plan reads every call that is due; a page must not wait for 100,000 of them.
PLAN_S_MAX: Final = 5.0
ATTEMPTS_SHOWN_MAX: Final = 50


class Drawn(msgspec.Struct, frozen=True):
    """A job of a lane; `words` say all that the drawing does, for those who don't see it."""

    row: JobRow
    words: str


class Mark(msgspec.Struct, frozen=True):
    """A mark of a lane's axis with its text."""

    x: int
    text: str
    day: bool


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One group: its slot, what was learned of it, how far it is counted, what waits, its lane.

    `slot` is blocked, cooling, exporting, half_open or free.
    """

    name: str
    slot: str
    until_ms: int
    why: str
    holding: JobRow | None
    open_jobs: tuple[JobRow, ...]
    alpha_s: float
    beta_s: float
    learned: int
    window_hours: int
    watermark_ms: int
    census: CensusState
    gap_hours: int
    waiting: int
    lane: timeline.Lane[Drawn]
    marks: list[Mark]


def routes(console: Console) -> list[HTTPRouteHandler]:
    """All routes of the area."""

    @get("/reconciliation")
    async def reconciliation(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("see")
        key = request.query_params.get("job", "")
        if key:
            return await _job_page(console, visit, key)
        return await _groups_page(console, visit, request)

    @get("/reconciliation/plan")
    async def plan(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("see")
        return console.part(visit, "reconciliation_plan.html", plan=await _plan(console, visit))

    @post("/reconciliation/run")
    async def run(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("act")
        census = (await form_of(request, "census"))["census"] == "yes"
        return await _run(console, visit, census)

    return [reconciliation, plan, run]


# -- groups ---------------------------------------------------------------------------------------


async def _groups_page(console: Console, visit: Visit, request: AnyRequest) -> Response[bytes]:
    query = request.query_params
    days = timeline.spans(DAYS, query.get("days", ""), DAYS_DEFAULT)
    chosen = query.get("group", "")
    to_ms = visit.now_ms // HOUR_MS * HOUR_MS + HOUR_MS
    from_ms = to_ms - days * DAY_MS
    jobs = await console.desk.book.jobs(ocp_group=chosen or None, limit=JOBS_READ_MAX)
    rows = [row_of(job) for job in jobs if job.to_ms > from_ms]
    waiting = await console.desk.world.calls.pending_groups()
    states = {state.ocp_group: state for state in await console.desk.book.groups()}
    seen = {row.job.ocp_group for row in rows}
    known = sorted({*console.config.ocp.groups, *states, *filter(None, waiting), *seen})
    names = [chosen] if chosen in known else known
    panels = []
    for name in names[:GROUPS_SHOWN_MAX]:
        state = states.get(name) or GroupState(ocp_group=name)
        mine = [row for row in rows if row.job.ocp_group == name]
        axis = (from_ms, to_ms)
        panels.append(await _panel(console, visit, name, state, waiting.get(name, 0), mine, axis))
    wants_plan = query.get("plan", "") != ""
    return console.page(
        visit, "reconciliation.html",
        panels=panels, groups=known, chosen=chosen, days=days, spans=DAYS, from_ms=from_ms,
        to_ms=to_ms, rows=rows[:JOBS_LISTED_MAX], total=len(rows), looks=LOOKS,
        cut=len(jobs) == JOBS_READ_MAX, unknown=waiting.get("", 0), may_act=visit.person.may("act"),
        can_run=console.reconcile is not None, can_count=console.config.reconcile.census,
        plan=await _plan(console, visit) if wants_plan else None,
        widths={"bar": timeline.BAR_HEIGHT, "axis": timeline.AXIS_HEIGHT, "all": timeline.WIDTH},
    )  # fmt: skip


async def _panel(
    console: Console, visit: Visit, name: str, state: GroupState, waiting: int,
    rows: Sequence[JobRow], axis: tuple[int, int],
) -> Panel:  # fmt: skip
    book, policy = console.desk.book, console.desk.world.settings.policy.stage2
    open_jobs = await book.jobs(ocp_group=name, open_only=True)
    holding = next((job for job in open_jobs if are_holding([job])), None)
    slot, until_ms = _slot(state, holding, visit.now_ms)
    census = await held_state(book, name)
    alpha_s, beta_s = state.model.line()
    drawn = ((r.job.from_ms, r.job.to_ms, Drawn(r, _words(console, visit, r))) for r in rows)
    lane = timeline.lane(drawn, *axis, visit.now_ms, console.pages.zone)
    return Panel(
        name=name, slot=slot, until_ms=until_ms,
        why=state.blocked_why if slot == "blocked" else "",
        holding=row_of(holding) if holding else None,
        open_jobs=tuple(row_of(job) for job in open_jobs if job is not holding),
        alpha_s=alpha_s, beta_s=beta_s, learned=round(state.model.n),
        window_hours=1 if state.half_open else min(
            state.window_cap_hours, policy.window_hours_max
        ),
        watermark_ms=policy.watermark_ms if state.watermark_ms is None else state.watermark_ms,
        census=census, gap_hours=sum(b - a for a, b in census.gaps) // HOUR_MS,
        waiting=waiting,
        lane=lane, marks=[_mark(console, visit, tick) for tick in lane.ticks],
    )  # fmt: skip


def _words(console: Console, visit: Visit, row: JobRow) -> str:
    job, say = row.job, console.pages.say
    count = len(job.call_ids)
    served = (
        say(visit, "reconciliation.bar_census")
        if row.census
        else say(visit, "reconciliation.calls_n", n=count)
    )
    return say(
        visit, "reconciliation.bar", word=say(visit, f"reconciliation.{row.word}"),
        start=formats.moment(job.from_ms, visit.lang, console.pages.zone), served=served,
        hours=say(visit, "reconciliation.hours_n", n=job.hours),
    )  # fmt: skip


def _mark(console: Console, visit: Visit, tick: timeline.Tick) -> Mark:
    at = datetime.fromtimestamp(tick.at_ms / 1000, console.pages.zone)
    # The year is on the page already.
    day = formats.day(f"{at:%Y%m%d}", visit.lang).rpartition(" ")[0]
    return Mark(tick.x, day if tick.day else f"{at:%H:%M}", tick.day)


def _slot(state: GroupState, holding: ExportJob | None, now_ms: int) -> tuple[str, int]:
    """What stands in the way of the next export, if anything, and until when."""
    if now_ms < state.blocked_until:
        return "blocked", state.blocked_until
    if now_ms < state.cooldown_until:
        return "cooling", state.cooldown_until
    if holding is not None:
        return "exporting", 0
    return ("half_open", 0) if state.half_open else ("free", 0)


# -- one job --------------------------------------------------------------------------------------


async def _job_page(console: Console, visit: Visit, key: str) -> Response[bytes]:
    book = console.desk.book
    job = await book.job(key)
    if job is None:
        raise NotFound("There is no export job of this key.", say="reconciliation.error.no_job")
    attempts = [
        row_of(other)
        for other in await book.jobs(ocp_group=job.ocp_group, limit=JOBS_READ_MAX)
        if (other.from_ms, other.to_ms) == (job.from_ms, job.to_ms) and other.job_key != key
    ]
    files = await files_of(console, visit, await held_results(book, job), FILES_SHOWN_MAX)
    return console.page(
        visit, "reconciliation_job.html",
        row=row_of(job), job=job, why=why_of(job), attempts=attempts[:ATTEMPTS_SHOWN_MAX],
        calls=await named(console, visit, job.call_ids, CALLS_SHOWN_MAX), files=files,
    )  # fmt: skip


# -- the plan, and run now ------------------------------------------------------------------------


class PlanWindow(msgspec.Struct, frozen=True):
    """A window of the plan with the calls that the visitor may be told."""

    window: Window
    named: Named


class PlanView(msgspec.Struct, frozen=True):
    """The plans of all groups; `cut` when there was no time to look at every call."""

    groups: list[tuple[GroupPlan, list[PlanWindow]]]
    cut: bool
    took_ms: int


async def _plan(console: Console, visit: Visit) -> PlanView:
    config, began_s = console.config, time.monotonic()
    cut = False

    def over() -> bool:
        nonlocal cut
        cut = time.monotonic() - began_s > PLAN_S_MAX
        return cut

    made = await dry_run(
        console.desk.world, console.desk.book, config.ocp.groups,
        per_call=config.reconcile.per_call, over=over,
    )  # fmt: skip
    groups = []
    for plan in made:
        windows = [
            PlanWindow(window, await named(console, visit, window.call_ids, WINDOW_CALLS_MAX))
            for window in plan.plan.windows[:WINDOWS_SHOWN_MAX]
        ]
        groups.append((plan, windows))
    return PlanView(groups, cut, int((time.monotonic() - began_s) * 1000))


async def _run(console: Console, visit: Visit, census: bool) -> Response[bytes]:
    if console.reconcile is None:
        raise Conflict("No Export API is configured.", say="reconciliation.error.no_ocp")
    if census and not console.config.reconcile.census:
        raise Conflict("The census is switched off.", say="reconciliation.error.no_census")
    log().info("reconcile.run_now", who=visit.person.name, census=census)
    said = await console.reconcile(census)
    if said.get("running"):
        return console.go("/reconciliation", "reconciliation.ran_on", visit=visit)
    return console.go(
        "/reconciliation", "reconciliation.ran_census" if census else "reconciliation.ran",
        visit=visit, looked_at=_count(said, "looked_at"), asked=_count(said, "asked"),
        resumed=_count(said, "resumed"), closed=_count(said, "closed"),
    )  # fmt: skip


def _count(said: dict[str, Any], name: str) -> int:
    value = said.get(name, 0)
    return sum(value.values()) if isinstance(value, dict) else int(value)
