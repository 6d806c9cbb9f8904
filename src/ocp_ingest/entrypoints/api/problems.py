"""From an error to the answer that a caller gets: RFC 9457 problem details, always.

error                            status   what the sender should do
Invalid (one event of a batch)   422      correct that event; the others were taken
Invalid                          400      correct the request
TooLarge                         413      send less
Unsupported                      415      send another encoding
Denied                           401/403  get a new token / another scope
NotFound                         404
NotAllowed                       405
Conflict                         409      nothing: both are kept
Transient                        503      the same again, after Retry-After
anything else                    500      the same again; `reference` is in our log

Members beside the standard's: `code` (closed set, for machines), and where they are known `index`,
`field`, `call_id`, `sha256`, `accepted`, `refused`, `reference`. Never internals, numbers, tokens.
"""

from __future__ import annotations

import re
import secrets
import traceback
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar.exceptions import HTTPException

from ocp_ingest.core.errors import (
    Conflict,
    Denied,
    Invalid,
    NotFound,
    OcpIngestError,
    TooLarge,
    Transient,
)
from ocp_ingest.core.masking import mask_text
from ocp_ingest.telemetry import log

MEDIA_TYPE: Final = "application/problem+json"
# Where each code is explained; a relative reference, so that it holds on every host.
TYPE_PREFIX: Final = "/problems/"
DETAIL_CHARS_MAX: Final = 1_000

Header = tuple[bytes, bytes]


class Unsupported(Invalid):
    """The body is encoded in a way that this door does not take."""

    code = "unsupported"


class NotAllowed(Invalid):
    """The method is not one of the resource's."""

    code = "method_not_allowed"

    def __init__(self, *allowed: str) -> None:
        super().__init__(f"This resource takes {', '.join(allowed)}.")
        self.allowed = allowed


class Unavailable(OcpIngestError):
    """What was asked for is not there in this runtime."""

    code = "unavailable"


# code -> what it means; the page of the reference documentation has one entry for each.
CODES: Final[dict[str, str]] = {
    "invalid": "the request can't be taken as it is",
    "too_large": "the request is over a bound",
    "unsupported": "the body's encoding is not taken",
    "denied": "the token is missing, bad or expired",
    "scope": "the token lacks the scope that this needs",
    "not_found": "there is no such thing",
    "method_not_allowed": "the resource does not take this method",
    "conflict": "another fact stands against this one; both are kept",
    "try_again": "the same request may succeed later",
    "unavailable": "this runtime does not offer it",
    "internal": "our fault; the reference is in our log",
}

_STATUS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (TooLarge, 413), (Unsupported, 415), (NotAllowed, 405), (Invalid, 400), (NotFound, 404),
    (Conflict, 409), (Transient, 503), (Unavailable, 503),
)  # fmt: skip
_FIELD: Final = re.compile(r"[Ff]ield `([^`]{1,100})`")
_PUBLIC_IDS: Final = ("index", "call_id", "sha256", "accepted", "new", "refused")


class Answer(msgspec.Struct, frozen=True):
    """A whole answer: status, extra headers, JSON body."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()
    media_type: bytes = b"application/json"


def problem(bad: BaseException, route: str) -> Answer:
    """The problem document of an error; errors that nobody foresaw are logged with a reference."""
    status, code, text, more = _classify(bad, route)
    document = {
        "type": TYPE_PREFIX + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": text[:DETAIL_CHARS_MAX],
        "instance": route,
        "code": code,
        **more,
    }
    return Answer(
        status, msgspec.json.encode(document), _headers(bad, status, code), MEDIA_TYPE.encode()
    )


def _classify(bad: BaseException, route: str) -> tuple[int, str, str, dict[str, Any]]:
    if isinstance(bad, Denied):
        code = "scope" if bad.authenticated else "denied"
        return (403 if bad.authenticated else 401), code, bad.text, {}
    for kind, status in _STATUS:
        if isinstance(bad, kind) and isinstance(bad, OcpIngestError):
            more = {k: bad.ids[k] for k in _PUBLIC_IDS if bad.ids.get(k) is not None}
            field = _FIELD.search(bad.text)
            if field and isinstance(bad, Invalid):
                more["field"] = field.group(1)
            # One event of several: the request as a whole was understood.
            of_batch = status == 400 and "index" in more
            return (422 if of_batch else status), bad.code, mask_text(bad.text), more
    if isinstance(bad, HTTPException):
        return _of_litestar(bad)
    return (
        500,
        "internal",
        "This is our fault: try again, and name the reference if you ask.",
        {"reference": reference(bad, route)},
    )


def _of_litestar(bad: HTTPException) -> tuple[int, str, str, dict[str, Any]]:
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported"}
    if bad.status_code >= 500:
        return 500, "internal", "This is our fault: try again.", {}
    extra = bad.extra[0] if isinstance(bad.extra, list) and bad.extra else {}
    key = extra.get("key") if isinstance(extra, dict) else None
    text = f"Parameter `{key}`: {extra.get('message')}" if key else _PLAIN.get(bad.status_code)
    more = {"field": str(key)} if key else {}
    return bad.status_code, codes.get(bad.status_code, "invalid"), text or "Not taken.", more


_PLAIN: Final = {
    400: "The request can't be understood.",
    404: "There is no such resource.",
    405: "The resource does not take this method.",
}


def reference(bad: BaseException, route: str) -> str:
    """Logs an unforeseen error and gives the reference under which it is found.

    Where it happened is logged, not what it says: a bug's text may quote the input.
    """
    found = secrets.token_hex(8)
    frames = traceback.extract_tb(bad.__traceback__)
    log().error(
        "request.failed",
        route=route,
        reference=found,
        error=type(bad).__name__,
        at=[f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno} {f.name}" for f in frames[-8:]],
    )
    return found


def _headers(bad: BaseException, status: int, code: str) -> tuple[Header, ...]:
    if status == 401:
        # RFC 6750 section 3.1: without a token no error code is given.
        missing = isinstance(bad, Denied) and bad.ids.get("missing")
        error = "" if missing else ', error="invalid_token"'
        return ((b"www-authenticate", f'Bearer realm="ocp-ingest"{error}'.encode()),)
    if status == 403:
        value = b'Bearer realm="ocp-ingest", error="insufficient_scope"'
        return ((b"www-authenticate", value),)
    if isinstance(bad, Transient):
        return ((b"retry-after", str(max(1, round(bad.retry_after_s))).encode()),)
    if isinstance(bad, NotAllowed):
        return ((b"allow", ", ".join(bad.allowed).encode()),)
    return ()
