"""The overview: is any call in danger, and what to do about it. It shows desk.overview's look.

Whole page and its live part (htmx asks for that again every few seconds) are one template; every
number is a link to the calls that it counts, by the same terms (console.filters).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from ocp_ingest.core import overview as core
from ocp_ingest.core.counting import DAYS_MAX
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.overview import Period
from ocp_ingest.core.verdict import Target, range_query
from ocp_ingest.desk import overview as desk_overview
from ocp_ingest.desk.check import check_law
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.filters import LOB_UNKNOWN
from ocp_ingest.entrypoints.console.jobs import row_of
from ocp_ingest.entrypoints.console.page import AnyRequest, Visit, url, visit_of
from ocp_ingest.telemetry import log

# The page asks for itself again so often: soon enough to watch something mend, and with ten people
# looking only a few reads a second.
REFRESH_S: Final = 5
# A check of the law is waited for so long; over many objects it goes on behind the page.
LAW_WAIT_S: Final = 3.0
# The chart's units, whatever it is scaled to.
CHART_HEIGHT: Final = 100.0
_VISIBLE: Final = 1.5  # a single lost call among thousands is still to be seen

# From the bottom up: what is well, then what is not yet, then what is not.
STACK: Final = ("stored", "absent", "in_flight", "quarantined", "lost")


class Piece(msgspec.Struct, frozen=True):
    """A part of a day's bar, in the chart's units from the top."""

    term: str
    count: int
    y: float
    height: float


class Day(msgspec.Struct, frozen=True):
    """A day of the chart."""

    day: str
    terms: Mapping[str, int]
    pieces: tuple[Piece, ...]
    query: Mapping[str, str]  # of the calls page: the calls that began on it


class LawCheck:
    """The check of the law that somebody asked for: one at a time in a process."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._task: asyncio.Task[dict[str, Any]] | None = None

    @property
    def is_running(self) -> bool:
        """Whether one is under way."""
        return self._task is not None and not self._task.done()

    async def ask(self, by: str) -> bool | None:
        """Checks, or joins the check under way: whether the law holds; None while it goes on.

        Raises what the check raises, Transient.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(check_law(self._console.desk, by))
            self._task.add_done_callback(_ended)
        done, _ = await asyncio.wait({self._task}, timeout=LAW_WAIT_S)
        return bool(self._task.result()["holds"]) if done else None


def _ended(task: asyncio.Task[dict[str, Any]]) -> None:
    # Nobody may be waiting any more for what went wrong.
    if not task.cancelled() and (failed := task.exception()) is not None:
        log().warning("law.not_checked", code=type(failed).__name__, reason=str(failed))


def routes(console: Console) -> list[HTTPRouteHandler]:
    """The page, its live part, and the check of the law."""
    law = LawCheck(console)

    @get("/")
    async def page(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        return console.page(visit, "overview.html", **await _values(console, request, visit, law))

    @get("/overview/live")
    async def live(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        values = await _values(console, request, visit, law)
        return console.part(visit, "overview_live.html", **values)

    @post("/law", status_code=303)
    async def check(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("act")
        holds = await law.ask(visit.person.name)
        if holds is None:
            return console.go("/", "overview.law.going_on", visit=visit)
        if holds:
            return console.go("/", "overview.law.said_holds", visit=visit)
        return console.go("/", "overview.law.said_broken", tone="bad", visit=visit)

    return [page, live, check]


async def _values(
    console: Console, request: AnyRequest, visit: Visit, law: LawCheck
) -> dict[str, Any]:
    params = dict(request.query_params)
    period = period_of(params, visit.now_ms)
    held = await desk_overview.look(
        console.desk, visit.person, period, console.config.alerts, console.config.ocp.groups
    )
    asked = _asked(period)
    return {
        "view": held, "rows": _rows(held), "period": period, "periods": tuple(core.PERIODS),
        "asked": asked, "objectives": console.config.alerts, "parts": core.PARTS, "stack": STACK,
        "chart": chart(held.days), "calls_of": _calls_of(period), "span_url": _span_url,
        "target_url": target_url, "job_row": row_of, "refresh_s": REFRESH_S,
        "live_url": url("/overview/live", **asked), "days_max": DAYS_MAX,
        "has_ocp": console.stage2 is not None or bool(console.config.ocp.api_url),
        "may_check": visit.person.may("act"), "law_runs": law.is_running,
        "clock": _clock(console), "biggest": _biggest, "mine": visit.person.lobs is not None,
        "policy": console.desk.world.settings.policy.stage2,
    }  # fmt: skip


def _rows(held: desk_overview.Overview) -> list[tuple[desk_overview.Line, bool]]:
    """The lines of the table, and whether each is that of all of them."""
    whole = [(held.whole, True)] if len(held.lines) > 1 else []
    return [*((line, False) for line in held.lines), *whole]


def period_of(params: Mapping[str, str], now_ms: int) -> Period:
    """The period that a URL asks for. Raises Invalid."""
    name = params.get("period", "") or core.PERIOD_DEFAULT
    try:
        if name == "custom":
            return core.custom_period(params.get("from", ""), params.get("to", ""))
        return core.named_period(name, now_ms)
    except Invalid as bad:
        raise Invalid(bad.text, say="overview.bad_period", max=DAYS_MAX) from bad


def _asked(period: Period) -> dict[str, str]:
    """The period as the page's own URL says it."""
    if period.name != "custom":
        return {"period": period.name}
    return {"period": "custom", "from": _dashed(period.first), "to": _dashed(period.last)}


def _dashed(day: str) -> str:
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"


def _clock(console: Console) -> str:
    """Real time: what is shown is as old as this, however fast domain time runs."""
    return datetime.fromtimestamp(console.now_s(), console.pages.zone).strftime("%H:%M:%S")


# -- links ----------------------------------------------------------------------------------------


def target_url(target: Target) -> str:
    """Where one acts on a reason."""
    path = "/" if target.page == "overview" else f"/{target.page}"
    fragment = f"#{target.fragment}" if target.fragment else ""
    return url(path, **target.query) + fragment


def _calls_of(period: Period) -> Callable[..., str]:
    def calls_of(term: str, lob: str | None = None) -> str:
        """The calls that a counter counts; `lob` None: of all that the person sees."""
        query = {"term": term, **range_query(period.from_ms, period.to_ms)}
        if lob is not None:
            query["lob"] = lob or LOB_UNKNOWN
        return url("/calls", **query)

    return calls_of


def _span_url(span: core.Span) -> str:
    """The open calls that began in a span."""
    return url("/calls", term="in_flight", **range_query(span.from_ms, span.to_ms))


# -- drawings -------------------------------------------------------------------------------------


def _biggest(bars: tuple[desk_overview.Bar, ...]) -> int:
    return max((bar.calls for bar in bars), default=0)


def chart(days: tuple[tuple[str, Mapping[str, int]], ...]) -> tuple[Day, ...]:
    """The bars of the days, each as high as its calls against the busiest day's."""
    highest = max((sum(terms.get(term, 0) for term in STACK) for _, terms in days), default=0)
    return tuple(Day(day, terms, _pieces(terms, highest), _day_query(day)) for day, terms in days)


def _day_query(day: str) -> dict[str, str]:
    period = core.custom_period(_dashed(day), _dashed(day))
    return range_query(period.from_ms, period.to_ms)


def _pieces(terms: Mapping[str, int], highest: int) -> tuple[Piece, ...]:
    found: list[Piece] = []
    y = CHART_HEIGHT
    for term in STACK:
        count = terms.get(term, 0)
        if count:
            height = min(max(_VISIBLE, count / highest * CHART_HEIGHT), y)
            y -= height
            found.append(Piece(term, count, round(y, 2), round(height, 2)))
    return tuple(found)
