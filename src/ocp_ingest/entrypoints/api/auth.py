"""Who calls, and whether they may; every route but health, metrics and the issuer's asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from ocp_ingest.adapters.tokens.checker import Caller
from ocp_ingest.core.errors import Denied
from ocp_ingest.entrypoints.api.deps import Deps
from ocp_ingest.telemetry import log


async def authenticate(deps: Deps, headers: Mapping[bytes, bytes], scope: str) -> Caller:
    """The caller, who may do what `scope` names. Raises Denied; Transient without the keys."""
    checker = deps.authority.checker
    try:
        token = bearer(headers.get(b"authorization"))
        caller = checker.remembered(token) or await checker.check(token)
        caller.require(scope)
    except Denied as bad:
        status = "403" if bad.authenticated else "401"
        deps.metrics.add("ocp_ingest_tokens_refused_total", 1, status)
        log().info("token.refused", reason=bad.text)
        raise
    return caller


def bearer(value: bytes | None) -> bytes:
    """The token of an Authorization header. Raises Denied."""
    if not value:
        raise Denied("Send a token: `Authorization: Bearer <JWT>`.", missing=1)
    scheme, _, token = value.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise Denied("The Authorization header must be `Bearer <JWT>`.")
    return token


def guard(deps: Deps, scope: str) -> Guard:
    """A Litestar guard that asks for a scope."""

    async def check(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        caller = await authenticate(deps, dict(connection.scope["headers"]), scope)
        connection.scope["auth"] = caller

    return check
