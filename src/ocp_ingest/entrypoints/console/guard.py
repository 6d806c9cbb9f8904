"""Before every page: who asks, may they, and is it their own page that asks.

marks of a handler (opt)     who gets in
none                         people who are logged in
opt=OPEN                     everybody: log-in, preferences; a POST needs its CSRF token, too
opt=STATIC                   everybody, without a look at cookies: static files
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import AsyncAnyCallable

from ocp_ingest.core.access import Person
from ocp_ingest.core.errors import Denied
from ocp_ingest.entrypoints.console import cookies, locale
from ocp_ingest.entrypoints.console.cookies import Cookies
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.page import NOBODY, AnyRequest, Theme, Visit, set_visit
from ocp_ingest.entrypoints.console.security import (
    AUTOMATIC_HEADER,
    CSRF_PURPOSE,
    SAFE_METHODS,
    LoginNeeded,
    TooMany,
    check_origin,
    csrf_said,
)
from ocp_ingest.entrypoints.console.session import Session

OPEN: Final[dict[str, Any]] = {"console_open": True}
STATIC: Final[dict[str, Any]] = {"console_static": True}
_THEMES: Final = ("auto", "dark", "light")


def guard_of(console: Console) -> AsyncAnyCallable:
    """The guard of all routes."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], h: BaseRouteHandler) -> None:
        if h.opt.get("console_static"):
            return
        request = cast(AnyRequest, connection)
        jar = cookies.read(request.headers.get("cookie", ""))
        visit, session = stranger(console, request, jar), None
        set_visit(request.scope, visit)
        session = console.sessions.read(jar.get(console.cookies.session, ""))
        person = await console.sessions.person(session) if session is not None else None
        if session is not None and person is not None:
            visit = _known(console, request, jar, session, person)
            set_visit(request.scope, visit)
            _limit(console, session)
        elif not h.opt.get("console_open"):
            raise LoginNeeded("Log in first.")
        if request.method not in SAFE_METHODS:
            await _check_ours(console, request, bound_to(session, person, jar, console.cookies))

    return guard


def stranger(console: Console, request: AnyRequest, jar: Mapping[str, str]) -> Visit:
    """The visit of somebody who is not logged in; forms are bound to the entry cookie."""
    held = bound_to(None, None, jar, console.cookies)
    csrf = console.seal.tag(CSRF_PURPOSE, held) if held else ""
    return _visit(console, request, jar, NOBODY, csrf, "")


def bound_to(
    session: Session | None, person: Person | None, jar: Mapping[str, str], names: Cookies
) -> str:
    """What a CSRF token is made of: the session's id, before a log-in the entry cookie's text."""
    if session is not None and person is not None:
        return f"session:{session.id}"
    entry = jar.get(names.entry, "")
    return f"entry:{entry}" if entry else ""


def _known(
    console: Console, request: AnyRequest, jar: Mapping[str, str], session: Session, person: Person
) -> Visit:
    csrf = console.seal.tag(CSRF_PURPOSE, bound_to(session, person, jar, console.cookies))
    visit = _visit(console, request, jar, person, csrf, session.id)
    # A page that updates itself must not keep its session alive.
    renewed = console.sessions.renewed(session)
    if renewed is not None and AUTOMATIC_HEADER not in request.headers:
        name, sealed = console.cookies.session, console.sessions.sealed(renewed)
        visit.cookies.append(console.cookies.make(name, sealed))
    return visit


def _visit(
    console: Console, request: AnyRequest, jar: Mapping[str, str], person: Person, csrf: str,
    session_id: str,
) -> Visit:  # fmt: skip
    accept = request.headers.get("accept-language", "")
    theme = jar.get(console.cookies.theme, "")
    path = str(request.scope.get("console_path", "/console/"))
    return Visit(
        person=person,
        lang=locale.chosen(
            jar.get(console.cookies.lang, ""), accept, console.config.console.default_lang
        ),
        csrf=csrf, now_ms=console.now_ms, path=path,
        htmx=request.headers.get("hx-request") == "true",
        session_id=session_id,
        query=request.scope["query_string"].decode("latin-1"),
        theme=cast(Theme, theme) if theme in _THEMES else "auto",
        said=console.said(jar.get(console.cookies.said, "")),
    )  # fmt: skip


def _limit(console: Console, session: Session) -> None:
    wait_s = console.limits.requests.take(session.id, console.now_s())
    if wait_s > 0:
        raise TooMany("Too many requests: wait a moment.", retry_after_s=max(1.0, wait_s),
                      say="shell.error.too_many")  # fmt: skip


async def _check_ours(console: Console, request: AnyRequest, bound: str) -> None:
    check_origin(request)
    said = await csrf_said(request)
    if bound and said and console.seal.is_tag(CSRF_PURPOSE, bound, said):
        return
    # Without the cookie there is nothing to compare with: browsers drop Secure ones over http.
    say = "shell.error.csrf" if bound else "shell.error.no_cookie"
    raise Denied("The form's token is missing or of another session.", authenticated=True, say=say)
