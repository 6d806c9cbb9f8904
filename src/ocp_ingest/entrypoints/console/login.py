"""Log-in and log-out, by a user of ours or at a provider.

Ours        name and password, checked against the user book; wrong ones wait longer each time, and
            an unknown name takes as long as a wrong password
provider    /login/start sends people there, /login/provider takes them back (adapters.oidc)
log-out     ends the session for every process, then the provider's where it has a place for that
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any, Final

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from ocp_ingest.core.errors import Denied, OcpIngestError
from ocp_ingest.desk import people
from ocp_ingest.desk.ports import LocalUser
from ocp_ingest.entrypoints.console import cookies
from ocp_ingest.entrypoints.console.cookies import PROVIDER_S
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.guard import OPEN
from ocp_ingest.entrypoints.console.limits import network_of
from ocp_ingest.entrypoints.console.page import (
    PREFIX,
    AnyRequest,
    Visit,
    form_of,
    list_of,
    local_path,
    url,
    visit_of,
)
from ocp_ingest.entrypoints.console.security import CSRF_PURPOSE, address_of
from ocp_ingest.entrypoints.console.session import Session
from ocp_ingest.telemetry import log

_ENTRY_BYTES: Final = 16
PROVIDER_PURPOSE: Final = "provider"
# Why a provider's log-in did not work; each has a text of ours.
_WHY: Final = ("state", "refused", "no_group", "cancelled")


def routes(console: Console) -> list[HTTPRouteHandler]:
    """Log-in, log-out, and what the provider needs."""
    return [*_local(console), *_outside(console), *_leaving(console)]


# -- users of ours --------------------------------------------------------------------------------


def _local(console: Console) -> list[HTTPRouteHandler]:
    @get("/login", opt=OPEN)
    async def login_page(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        wanted = local_path(request.query_params.get("next", ""))
        if visit.person.name:
            return console.go(wanted)
        return await _page(console, request, wanted)

    @post("/login", opt=OPEN, status_code=200)
    async def login(request: AnyRequest) -> Response[bytes]:
        form = await form_of(request, "name", "next")
        # As it was typed: a password may begin or end with a space.
        password = (await list_of(request, "password"))[-1:] or [""]
        return await _try(console, request, form["name"], password[0], local_path(form["next"]))

    return [login_page, login]


async def _try(
    console: Console, request: AnyRequest, typed: str, password: str, wanted: str
) -> Response[bytes]:
    name = people.plain_name(typed)
    network = network_of(address_of(request, console.config.console.proxies))
    limits, now_s = console.limits, console.now_s()
    # What is nobody's name counts as one: a flood of those must not push real names' counts out.
    counted = name if people.is_name(name) else ""
    wait_s = max(limits.addresses.left_s(network, now_s), limits.names.left_s(counted, now_s))
    if wait_s > 0:
        log().warning("console.login_refused", why="waiting")
        answer = await _page(console, request, wanted, "login.wait", 429, name=name,
                             wait_s=int(wait_s) + 1)  # fmt: skip
        answer.headers["Retry-After"] = str(int(wait_s) + 1)
        return answer
    # Counted before it is checked: a hundred tries sent at once must not all be the first.
    limits.addresses.failed(network, now_s)
    limits.names.failed(counted, now_s)
    user = await _user(console, name)
    good = await console.passwords.verify(password, user.password if user else None)
    if user is None or not good or not user.enabled:
        log().warning("console.login_refused", why="wrong")
        return await _page(console, request, wanted, "login.wrong", 403, name=name)
    limits.addresses.forget(network)
    limits.names.forget(counted)
    log().info("console.login", person=user.name, role=user.role)
    return _in(console, request, console.sessions.of_user(user), wanted)


async def _user(console: Console, name: str) -> LocalUser | None:
    users = console.desk.users
    if users is None or not people.is_name(name):
        return None
    return await users.user(name)


def _in(console: Console, request: AnyRequest, session: Session, wanted: str) -> Response[bytes]:
    names, visit = console.cookies, visit_of(request)
    visit.cookies.append(names.make(names.session, console.sessions.sealed(session)))
    visit.cookies.append(names.end(names.entry))
    return console.go(wanted)


async def _page(
    console: Console, request: AnyRequest, wanted: str, said: str = "", status: int = 200,
    name: str = "", **params: Any,
) -> Response[bytes]:  # fmt: skip
    """The log-in, with what was wrong; gives the browser the cookie that the form is bound to."""
    visit = visit_of(request)
    users = console.desk.users
    some = bool(await users.users()) if users is not None else False
    return console.page(
        _with_entry(console, request, visit), "login.html", status, wanted=wanted, name=name,
        wrong=console.pages.say(visit, said, **params) if said else "",
        local=users is not None and (some or console.provider is None),
        nobody_yet=users is not None and not some and console.provider is None,
        unset=users is None and console.provider is None,
        provider_url=url("/login/start", next=wanted) if console.provider else "",
        data_dir=console.config.data.dir,
    )  # fmt: skip


def _with_entry(console: Console, request: AnyRequest, visit: Visit) -> Visit:
    names = console.cookies
    if cookies.read(request.headers.get("cookie", "")).get(names.entry):
        return visit
    entry = secrets.token_urlsafe(_ENTRY_BYTES)
    visit.cookies.append(names.make(names.entry, entry))
    return replace(visit, csrf=console.seal.tag(CSRF_PURPOSE, f"entry:{entry}"))


# -- people of a provider -------------------------------------------------------------------------


def _outside(console: Console) -> list[HTTPRouteHandler]:
    provider = console.provider
    if provider is None:
        return []
    names = console.cookies

    # Its HTTP client is no part of a start without a provider.
    from ocp_ingest.adapters.oidc.provider import Begun

    @get("/login/start", opt=OPEN)
    async def start(request: AnyRequest) -> Response[bytes]:
        wanted = local_path(request.query_params.get("next", ""))
        target, begun = await provider.begin(wanted)
        sealed = console.seal.seal(PROVIDER_PURPOSE, begun)
        visit_of(request).cookies.append(names.make(names.provider, sealed, PROVIDER_S))
        return Response(b"", status_code=303, headers={"Location": target})

    @get("/login/provider", opt=OPEN)
    async def back(request: AnyRequest) -> Response[bytes]:
        query, visit = request.query_params, visit_of(request)
        jar = cookies.read(request.headers.get("cookie", ""))
        begun = console.seal.open(PROVIDER_PURPOSE, jar.get(names.provider, ""), Begun)
        visit.cookies.append(names.end(names.provider))
        try:
            if begun is None:
                raise Denied("No log-in was under way in this browser.", say="state")
            if "code" not in query:
                raise Denied("The provider sent nobody back.", say="cancelled")
            person = await provider.finish(query["code"], query.get("state", ""), begun)
        except OcpIngestError as bad:
            return _not_in(console, request, bad)
        log().info("console.login", person=person.name, role=person.role)
        return _in(console, request, console.sessions.of_person(person), begun.next_path)

    return [start, back]


def _not_in(console: Console, request: AnyRequest, bad: OcpIngestError) -> Response[bytes]:
    why = bad.ids.get("say")
    log().warning("console.login_refused", why=why or bad.code, reason=bad.text)
    if not isinstance(bad, Denied):
        raise bad
    return console.page(
        visit_of(request), "login_refused.html", 403, why=why if why in _WHY else "refused",
        name=bad.ids.get("name") or "",
    )  # fmt: skip


# -- leaving --------------------------------------------------------------------------------------


def _leaving(console: Console) -> list[HTTPRouteHandler]:
    names = console.cookies

    @post("/logout", status_code=303)
    async def logout(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        jar = cookies.read(request.headers.get("cookie", ""))
        session = console.sessions.read(jar.get(names.session, ""))
        visit.cookies[:] = [names.end(names.session)]  # not the renewed one
        if session is not None:
            await console.sessions.end(session)
        log().info("console.logout", person=visit.person.name)
        if session is not None and session.outside:
            return console.go("/left")
        return console.go("/login", "login.left")

    @get("/left", opt=OPEN)
    async def left(request: AnyRequest) -> Response[bytes]:
        # A page of its own: by CSP a form may not lead to another host, not even by redirects.
        visit, target = visit_of(request), ""
        if console.provider is not None and not visit.person.name:
            back = console.config.console.public_url.rstrip("/") + f"{PREFIX}/login"
            target = await console.provider.logout_url(back)
        return console.page(visit, "left.html", target=target)

    return [logout, left]
