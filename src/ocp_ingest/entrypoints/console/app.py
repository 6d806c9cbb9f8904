"""Puts the console together: one application of its own, mounted below /console.

It is an application beside the API's, so that an error here is a page and never a problem
document, so that its routes stay out of the API's schema, and so that every answer, whatever made
it, leaves through one place that adds the headers.

Call ids may hold any character: below /console/calls/ the path stays as it was sent, each part
still encoded, and handlers decode it (urllib.parse.unquote).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

from litestar import asgi, get
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ControllerRouterHandler, Message, Receive, Scope, Send

from ocp_ingest.config_model import Config, ConsoleSection
from ocp_ingest.core.errors import NotFound
from ocp_ingest.core.view import UriOf, plain_uri
from ocp_ingest.desk.notify import Channels
from ocp_ingest.desk.world import Desk
from ocp_ingest.entrypoints.console import (
    actions,
    audio,
    bulk,
    call,
    calls,
    incidents,
    login,
    overview,
    preferences,
    problems,
    reconciliation,
    runbooks,
)
from ocp_ingest.entrypoints.console.deps import Console, Reconcile, build
from ocp_ingest.entrypoints.console.guard import STATIC, guard_of
from ocp_ingest.entrypoints.console.page import (
    FORM_BYTES_MAX,
    PREFIX,
    AnyRequest,
    held_visit,
)
from ocp_ingest.entrypoints.console.security import HEADERS, NO_STORE
from ocp_ingest.entrypoints.lean import LeanLitestar
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import Metrics, log

# Each has `routes(console)`, with paths below the console.
AREAS: Final = (
    login, preferences, overview, calls, call, audio, actions, reconciliation, bulk, incidents,
    runbooks,
)  # fmt: skip
_RAW_BELOW: Final = f"{PREFIX}/calls/"
_A_YEAR: Final = "public, max-age=31536000, immutable"


def served(
    desk: Desk | None, config: Config, *, metrics: Metrics, reconcile: Reconcile | None = None,
    stage2: Stage2 | None = None, uri_of: UriOf = plain_uri, channels: Channels | None = None,
    ring_bulk: Callable[[], None] | None = None,
) -> list[ControllerRouterHandler]:  # fmt: skip
    """What a runtime's API mounts: nothing where the console is switched off, or can't be.

    Without a user book people come from a provider, and from several processes at once: the
    console needs both settings then, and the log says which is missing.
    """
    if desk is None or not config.console.enabled:
        return []
    if desk.users is None and (missing := lacks(config.console)):
        log().warning("console.not_served", setting=missing)
        return []
    console = build(
        desk, config, metrics=metrics, reconcile=reconcile, stage2=stage2, uri_of=uri_of,
        channels=channels, ring_bulk=ring_bulk,
    )  # fmt: skip
    return console_handlers(console)


def lacks(section: ConsoleSection) -> str:
    """The setting without which several processes can't serve it; "" when it has all."""
    if not section.oidc.issuer:
        return "console.oidc.issuer"
    return "" if section.session_key or section.session_key_file else "console.session_key"


class ConsoleApp(LeanLitestar):
    """The console's own application."""


def console_handlers(
    console: Console, more: Sequence[HTTPRouteHandler] = ()
) -> list[ControllerRouterHandler]:
    """What the API mounts: the console below its prefix, and the way to it from "/".

    `more` are further routes below the prefix. All that can be wrong with a configuration was
    found when `console` was built; the application is put together at its first visit, because
    its hundred routes take a tenth of a start, which an intake that comes back has to wait for.
    """

    @functools.cache
    def app() -> ConsoleApp:
        return ConsoleApp(
            [*routes_of(console), *more],
            guards=[guard_of(console)],
            exception_handlers={
                Exception: lambda request, bad: problems.answer(console, request, bad)
            },
            openapi_config=None,
            request_max_body_size=FORM_BYTES_MAX,
            logging_config=None,
        )

    return [_entrance(app), _front_door()]


def routes_of(console: Console) -> list[HTTPRouteHandler]:
    """All routes of the console, relative to its prefix."""
    areas = [route for area in AREAS for route in area.routes(console)]
    return [*areas, _static(console), _nowhere()]


def _entrance(app: Callable[[], ConsoleApp]) -> ASGIRouteHandler:
    @asgi(PREFIX, is_mount=True, copy_scope=False)
    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope["raw_path"].split(b"?")[0].decode("latin-1")
        if raw == PREFIX:
            await _redirect(send, f"{PREFIX}/", scope["query_string"])
            return
        inner: Any = {
            key: value for key, value in scope.items() if key in _SCOPE_KEYS
        } | {"state": {}, "app_root_path": "", "root_path": "", "console_path": raw}  # fmt: skip
        below = raw if raw.startswith(_RAW_BELOW) else PREFIX + _below(scope["path"])
        inner["path"] = below.removeprefix(PREFIX)
        try:
            await app()(inner, receive, _dressed(send, inner))
        finally:
            # For the metrics: the template, which has no ids, never the path.
            scope["path_template"] = PREFIX + (inner.get("path_template") or "/unknown")

    return enter


# What the server said of the request; everything else in a scope is the outer application's.
_SCOPE_KEYS: Final = frozenset({
    "type", "asgi", "http_version", "method", "scheme", "raw_path", "query_string", "headers",
    "client", "server", "extensions",
})  # fmt: skip


def _below(path: str) -> str:
    """The decoded path below the prefix, whether the mount has cut it off already or not."""
    return path.removeprefix(PREFIX) if path.startswith(f"{PREFIX}/") else f"/{path.lstrip('/')}"


def _dressed(send: Send, scope: Any) -> Send:
    """Adds the headers that every answer has, and the visit's cookies."""

    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name.lower(), value) for name, value in message.get("headers", [])]
            held = {name for name, _ in headers}
            more = [pair for pair in (*HEADERS, NO_STORE) if pair[0] not in held]
            visit = held_visit(scope)
            made = [] if visit is None else visit.cookies
            kept = [(b"set-cookie", text.encode("latin-1")) for text in made]
            message["headers"] = [*headers, *more, *kept]
        await send(message)

    return dressed


async def _redirect(send: Send, path: str, query: bytes) -> None:
    target = path.encode() + (b"?" + query if query else b"")
    headers = [(b"location", target), (b"content-length", b"0"), *HEADERS, NO_STORE]
    await send({"type": "http.response.start", "status": 308, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _front_door() -> HTTPRouteHandler:
    @get("/", sync_to_thread=False, include_in_schema=False)
    def front_door() -> Response[bytes]:
        return Response(b"", status_code=303, headers={"Location": f"{PREFIX}/"})

    return front_door


def _static(console: Console) -> HTTPRouteHandler:
    assets = console.pages.assets

    @get("/static/{tag:str}/{name:path}", opt=STATIC, sync_to_thread=False)
    def static(request: AnyRequest, tag: FromPath[str], name: FromPath[str]) -> Response[bytes]:
        found = assets.find(name.strip("/"))
        if found is None:
            raise NotFound("There is no such file.")
        headers = {"Cache-Control": _A_YEAR if tag == found.tag else "no-cache"}
        body = found.body
        if found.packed is not None:
            headers["Vary"] = "Accept-Encoding"
            if "gzip" in request.headers.get("accept-encoding", ""):
                headers["Content-Encoding"] = "gzip"
                body = found.packed
        return Response(body, media_type=found.media_type, headers=headers)

    return static


def _nowhere() -> HTTPRouteHandler:
    """Any other path: behind the guard, so that nobody learns from outside which there are."""

    @get("/{rest:path}", sync_to_thread=False)
    def nowhere() -> Response[bytes]:
        raise NotFound("There is no such page.", say="shell.error.no_page")

    return nowhere
