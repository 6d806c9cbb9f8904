"""The read API: calls, their journals, incidents, the conservation law."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import unquote

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Response

from ocp_ingest.core.calendar import parse_rfc3339, rfc3339
from ocp_ingest.core.errors import Invalid, NotFound
from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.lifecycle import STAGES
from ocp_ingest.core.limits import TIME_MS_MAX, TIME_MS_MIN
from ocp_ingest.core.view import call_view, event_view
from ocp_ingest.entrypoints.api.auth import guard
from ocp_ingest.entrypoints.api.deps import Deps
from ocp_ingest.ports import CallQuery

_ENCODER: Final = msgspec.json.Encoder()
_PAGE: Final = 50
OUTCOMES: Final = ("stored", "absent", "quarantined", "lost", "none")
_TERMS: Final = ("stored", "absent", "quarantined", "lost", "in_flight")


def answer(body: Any, status: int = 200) -> Response[bytes]:
    """A JSON answer; encoded here, so that its shape is what the view made and nothing else."""
    return Response(_ENCODER.encode(body), status_code=status, media_type="application/json")


def reading(deps: Deps) -> list[HTTPRouteHandler]:
    """The handlers of the read API; all ask for the scope `read`."""
    world, config = deps.world, deps.config
    guards = [guard(deps, "read")]
    policy = world.settings.policy
    page_max = config.limits.page_items_max
    result_keys = config.vendor.result_keys

    @get("/v1/calls", guards=guards)
    async def calls(
        *,
        stage: FromQuery[str | None] = None,
        outcome: FromQuery[str | None] = None,
        lob: FromQuery[str | None] = None,
        ocp_group: FromQuery[str | None] = None,
        since: Annotated[str | None, QueryParameter(name="from")] = None,
        until: Annotated[str | None, QueryParameter(name="to")] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = _PAGE,
    ) -> Response[bytes]:
        query = CallQuery(
            stage=_one_of("stage", stage, tuple(STAGES)),
            outcome=_one_of("outcome", outcome, OUTCOMES),
            lob=lob, ocp_group=ocp_group, from_ms=_time("from", since), to_ms=_time("to", until),
            cursor=cursor, limit=_limit(limit, page_max),
        )  # fmt: skip
        page = await world.calls.page(query)
        views = [call_view(call, policy, deps.hooks.uri_of) for call in page.calls]
        return answer({"calls": views, "cursor": page.cursor})

    @get("/v1/calls/{call_id:str}", guards=guards)
    async def call(call_id: FromPath[str]) -> Response[bytes]:
        found = await world.calls.load(unquote(call_id))
        if found is None:
            raise NotFound("There is no call of that id.")
        return answer(call_view(found, policy, deps.hooks.uri_of))

    @get("/v1/calls/{call_id:str}/events", guards=guards)
    async def journal(
        call_id: FromPath[str],
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = _PAGE,
    ) -> Response[bytes]:
        ident = unquote(call_id)
        events = await world.calls.journal(ident)
        if not events:
            raise NotFound("There is no call of that id.")
        start, count = _offset(cursor), _limit(limit, page_max)
        end = start + count
        return answer({
            "call_id": ident,
            "events": [event_view(event, result_keys) for event in events[start:end]],
            "cursor": str(end) if end < len(events) else None,
        })  # fmt: skip

    @get("/v1/incidents", guards=guards)
    async def incidents(
        all_: Annotated[bool, QueryParameter(name="all")] = False,
    ) -> Response[bytes]:
        found = await world.incidents.incidents(open_only=not all_, limit=page_max)
        return answer({"incidents": [_incident(incident) for incident in found]})

    @get("/v1/conservation", guards=guards)
    async def conservation() -> Response[bytes]:
        return answer(await conservation_of(deps))

    return [calls, call, journal, incidents, conservation]


async def conservation_of(deps: Deps) -> dict[str, Any]:
    """The terms of the conservation law and whether it holds."""
    counts = await deps.world.calls.counts()
    terms = {term: counts.get(term, 0) for term in ("started", *_TERMS)}
    holds = terms["started"] == sum(terms[term] for term in _TERMS)
    return {**terms, "holds": holds}


def _incident(incident: Incident) -> dict[str, Any]:
    return {
        "key": incident.key, "kind": incident.kind, "severity": incident.severity,
        "text": incident.text,
        "opened_at": rfc3339(incident.opened_at_ms),
        "last_at": rfc3339(incident.last_at_ms or None),
        "closed_at": rfc3339(incident.closed_at_ms),
        "closed_how": incident.closed_how,
        "calls": incident.calls, "sample": list(incident.sample),
    }  # fmt: skip


def _one_of(field: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise Invalid(f"Field `{field}` must be one of {', '.join(allowed)}.")
    return value


def _time(field: str, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        at_ms = parse_rfc3339(value.replace(" ", "+"))
    except (ValueError, OverflowError):
        raise Invalid(
            f"Field `{field}` must be a time like 2026-11-22T10:00:00Z or a date."
        ) from None
    return min(max(at_ms, TIME_MS_MIN), TIME_MS_MAX)


def _limit(limit: int, page_max: int) -> int:
    if not 1 <= limit <= page_max:
        raise Invalid(f"Field `limit` must be 1 to {page_max}.")
    return limit


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
        raise Invalid("Field `cursor` is not one that this platform gave.")
    return int(cursor)
