"""What every answer of the console carries, and what every request must prove.

A request that may change something (any method but GET, HEAD)
    comes from our own pages: Sec-Fetch-Site, where the browser sends it, says same-origin; else
    Origin, unless it is "null" (as our no-referrer policy makes it), names our host
    carries the token of its session: field `csrf` or header X-CSRF-Token; the token is an HMAC of
    the session's id, so nobody without the session's cookie can know it
Both are checked: the first stops what leaks a token, the second old browsers.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from ocp_ingest.core.errors import Denied, Transient
from ocp_ingest.entrypoints.console.page import AnyRequest, fields_of

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
# On every answer; a handler's own value of Cache-Control stands.
HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
)
NO_STORE: Final = (b"cache-control", b"no-store")
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"
CSRF_PURPOSE: Final = "csrf"
# Sent by console.js with requests that a page makes by itself.
AUTOMATIC_HEADER: Final = "x-console-automatic"


class LoginNeeded(Denied):
    """Nobody is logged in."""


class TooMany(Transient):
    """Too much was asked for in too short a time."""

    code = "too_many"


def check_origin(request: AnyRequest) -> None:
    """Raises Denied for a request that another site's page made."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise _foreign()
        return
    origin = request.headers.get("origin", "null")
    if origin != "null" and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise _foreign()


async def csrf_said(request: AnyRequest) -> str:
    """The token that a request carries, or ""."""
    said = request.headers.get(CSRF_HEADER, "")
    return said or dict(await fields_of(request)).get(CSRF_FIELD, "")


def _foreign() -> Denied:
    return Denied(
        "This request was made by another site's page.", authenticated=True,
        say="shell.error.foreign",
    )  # fmt: skip


def address_of(request: AnyRequest, proxies: int) -> str:
    """Who asks, behind so many proxies of ours: each adds what it saw to X-Forwarded-For."""
    client = request.scope.get("client")
    seen = [client[0] if client else ""]
    forwarded = request.headers.get("x-forwarded-for", "")
    seen += [part.strip() for part in reversed(forwarded.split(","))]
    return seen[min(proxies, len(seen) - 1)] if proxies else seen[0]
