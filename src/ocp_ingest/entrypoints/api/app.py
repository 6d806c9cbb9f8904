"""Puts the API together: routes, one way for errors, one for metrics.

The doors for events and recordings are plain ASGI below Litestar's router: they read their bodies
themselves, in blocks, and twice as many events a second pass (measured). Everything else are
ordinary handlers. Both end in the same problem documents.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from litestar import asgi, get
from litestar.connection import Request
from litestar.enums import ScopeType
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
from litestar.response import Response
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Receive, Scope, Send

from ocp_ingest.adapters.tokens.setup import Authority
from ocp_ingest.config_model import Config
from ocp_ingest.core.view import UriOf, plain_uri
from ocp_ingest.entrypoints.api.deps import Deps, Hooks
from ocp_ingest.entrypoints.api.events import take_events
from ocp_ingest.entrypoints.api.inbound import Inbound, Patience
from ocp_ingest.entrypoints.api.oauth import key_set, take_grant
from ocp_ingest.entrypoints.api.openapi import document
from ocp_ingest.entrypoints.api.operations import operations
from ocp_ingest.entrypoints.api.problems import Answer, problem
from ocp_ingest.entrypoints.api.reading import reading
from ocp_ingest.entrypoints.api.recordings import take_recording
from ocp_ingest.entrypoints.api.slots import Slots
from ocp_ingest.entrypoints.lean import LeanLitestar
from ocp_ingest.ingest.world import World
from ocp_ingest.telemetry import Metrics, log

CALLS_PREFIX: Final = "/v1/calls/"
Door = Callable[[Inbound], Awaitable[Answer]]

# Where a door leaves the status that it answers with.
_ANSWERED: Final = "ocp_ingest.status"


class Api(LeanLitestar):
    """Litestar with our metrics around it, and call ids that may hold an encoded slash."""

    deps: Deps
    # The two busy doors are entered without the router: a third of its time is had back.
    doors: Mapping[str, ASGIApp]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """ASGI."""
        if scope["type"] != ScopeType.HTTP:
            await super().__call__(scope, receive, send)
            return
        started_s = time.perf_counter()
        path = scope["path"]
        enter = self.doors.get(path)
        if enter is None:
            await self._route(scope, receive, send, started_s)
            return
        try:
            await enter(scope, receive, send)
        finally:
            marked: Any = scope
            self._measure(path, marked.get(_ANSWERED, 500), started_s)

    async def _route(self, scope: Scope, receive: Receive, send: Send, started_s: float) -> None:
        if scope["path"].startswith(CALLS_PREFIX):
            # The router splits at slashes; an id keeps its own as %2F until the handler decodes it.
            scope["path"] = scope["raw_path"].split(b"?")[0].decode("latin-1")
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await super().__call__(scope, receive, watch)
        finally:
            self._measure(route_of(scope), status, started_s)

    def _measure(self, route: str, status: int, started_s: float) -> None:
        metrics = self.deps.metrics
        metrics.add("ocp_ingest_requests_total", 1, route, str(status))
        metrics.observe("ocp_ingest_request_seconds", time.perf_counter() - started_s, route)


def route_of(scope: Scope) -> str:
    """The template of the route that a request took: bounded in number, without ids."""
    return str(scope.get("path_template") or "unknown")


def create_app(
    world: World,
    authority: Authority,
    config: Config,
    *,
    reconcile: Callable[[bool], Awaitable[dict[str, Any]]] | None = None,
    alive: Callable[[], dict[str, bool]] | None = None,
    reach: Callable[[], Awaitable[dict[str, bool]]] | None = None,
    uri_of: UriOf = plain_uri,
    metrics: Metrics | None = None,
    more: Sequence[ControllerRouterHandler] = (),
) -> Api:
    """The API over a world.

    `reconcile(census)` starts a reconciliation and says what it began; `alive` says of each
    worker loop whether it runs; `reach` what of the runtime answers, in place of the store alone
    (readiness); `uri_of` where people find an object; `more` are further
    handlers, for example the console's.

    `api.deps.uploads.close(wait_s)` ends uploads at a stop; server.serve does it.
    """
    disk = Path(config.data.dir)
    hooks = Hooks(
        reconcile=reconcile, alive=alive, reach=reach, uri_of=uri_of,
        disk=disk if disk.is_dir() else None,
    )  # fmt: skip
    deps = _deps(world, authority, config, hooks, metrics or Metrics())
    doors = [
        door(deps, "/v1/events", lambda request: take_events(deps, request)),
        door(deps, "/v1/recordings", lambda request: take_recording(deps, request)),
    ]
    handlers: list[ControllerRouterHandler] = [
        *doors,
        *reading(deps),
        *operations(deps),
        _schema(with_issuer=deps.issuer is not None),
        *more,
    ]
    if (issuer := deps.issuer) is not None:
        handlers.append(door(deps, "/oauth2/token", lambda request: take_grant(issuer, request)))
        handlers.append(key_set(issuer))
    api = Api(
        handlers,
        openapi_config=None,
        exception_handlers={Exception: _answer_problem},
        request_max_body_size=None,
        logging_config=None,
    )
    api.deps = deps
    api.doors = {path: one.fn for one in doors for path in one.paths}
    return api


def _deps(
    world: World, authority: Authority, config: Config, hooks: Hooks, metrics: Metrics
) -> Deps:
    limits = config.limits
    return Deps(
        world=world,
        authority=authority,
        config=config,
        metrics=metrics,
        hooks=hooks,
        uploads=Slots(
            limits.uploads_at_once_max,
            limits.retry_after_s,
            "uploads",
            lambda number: metrics.set("ocp_ingest_uploads", number),
        ),
        decoders=asyncio.Semaphore(limits.base64_at_once_max),
        fetches=Slots(config.fetch.at_once_max, limits.retry_after_s, "fetches"),
    )


def door(deps: Deps, path: str, take: Door) -> ASGIRouteHandler:
    """A route that reads its body itself; whatever it raises becomes a problem document."""
    patience = Patience(deps.config.limits.upload_idle_s_max)

    @asgi(path, copy_scope=False)
    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        request = Inbound(scope, receive, patience)
        try:
            answer = await take(request)
        except Exception as bad:
            answer = problem(bad, path)
            kind = type(bad).__name__
            log().info("request.refused", route=path, status=answer.status, error=kind)
        marked: Any = scope
        marked[_ANSWERED] = answer.status
        await _send(send, answer, request)

    return enter


async def _send(send: Send, answer: Answer, request: Inbound) -> None:
    headers = [
        (b"content-type", answer.media_type),
        (b"content-length", b"%d" % len(answer.body)),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if request.unread:
        # Said at once, but the connection stays until the sender had time to hear it.
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        await request.drain()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def _answer_problem(request: Request[Any, Any, Any], bad: Exception) -> Response[bytes]:
    answer = problem(bad, route_of(request.scope))
    return Response(
        answer.body,
        status_code=answer.status,
        media_type=answer.media_type.decode(),
        headers={key.decode(): value.decode() for key, value in answer.headers},
    )


def _schema(*, with_issuer: bool) -> HTTPRouteHandler:
    body = document(with_issuer=with_issuer)

    @get("/schema/openapi.json")
    async def schema() -> Response[bytes]:
        return Response(body, media_type="application/json")

    return schema
