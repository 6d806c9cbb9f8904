"""From an error to the page that a person gets, in their language; for htmx, a notice alone.

error                      status   what the person sees
LoginNeeded                303      the log-in, and then where they wanted to go
TooMany                    429      wait, with Retry-After
Denied                     403
NotFound                   404
TooLarge                   413
Invalid                    400
Conflict                   409
Transient                  503      try again, with Retry-After
anything else              500      the reference under which the log has it

An error says `say="<key>"` when a text of ours tells it in the person's language, `<param>` by its
other ids; without, its own English sentence is shown below ours for the kind of error.
"""

from __future__ import annotations

import math
from typing import Any, Final

from litestar.exceptions import HTTPException
from litestar.response import Response

from ocp_ingest.core.errors import (
    Conflict,
    Denied,
    Invalid,
    NotFound,
    OcpIngestError,
    Terminal,
    TooLarge,
    Transient,
)
from ocp_ingest.core.masking import mask_text
from ocp_ingest.entrypoints.api.problems import reference
from ocp_ingest.entrypoints.console import cookies
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.guard import stranger
from ocp_ingest.entrypoints.console.page import (
    HTML,
    PREFIX,
    AnyRequest,
    Visit,
    fragment,
    held_visit,
    local_path,
    url,
)
from ocp_ingest.entrypoints.console.security import LoginNeeded, TooMany

_STATUS: Final[tuple[tuple[type[OcpIngestError], int], ...]] = (
    (TooMany, 429), (Denied, 403), (NotFound, 404), (TooLarge, 413), (Invalid, 400),
    (Conflict, 409), (Transient, 503),
)  # fmt: skip
# Statuses with a title and an explanation of their own; others share those of 500.
TOLD: Final = (400, 403, 404, 405, 409, 413, 429, 500, 503)


def answer(console: Console, request: AnyRequest, bad: Exception) -> Response[bytes]:
    """What is answered to an error."""
    visit = held_visit(request.scope)
    if visit is None:
        jar = cookies.read(request.headers.get("cookie", ""))
        visit = stranger(console, request, jar)
    if isinstance(bad, LoginNeeded):
        return _to_login(request, visit)
    status, headers = _status(bad), _headers(bad)
    found = reference(bad, visit.path.split("?")[0]) if _is_bug(bad) else ""
    detail, theirs = _detail(console, visit, bad)
    if visit.htmx:
        kind = status if status in TOLD else 500
        text = detail if theirs else console.pages.say(visit, f"shell.error.{kind}.title")
        text = f"{text} {detail}" if detail and not theirs else text
        return Response(fragment("bad", text), status_code=status, media_type=HTML, headers=headers)
    page = console.page(
        visit, "error.html", status, code=status, kind=status if status in TOLD else 500,
        detail=detail, theirs=theirs, reference=found,
    )  # fmt: skip
    page.headers.update(headers)
    return page


def _status(bad: Exception) -> int:
    for kind, status in _STATUS:
        if isinstance(bad, kind):
            return status
    return bad.status_code if isinstance(bad, HTTPException) else 500


def _is_bug(bad: Exception) -> bool:
    if isinstance(bad, HTTPException):
        return bad.status_code >= 500
    return not isinstance(bad, OcpIngestError)


def _headers(bad: Exception) -> dict[str, str]:
    if isinstance(bad, Transient):
        return {"Retry-After": str(max(1, math.ceil(bad.retry_after_s)))}
    if isinstance(bad, HTTPException) and bad.headers:
        return {k: v for k, v in bad.headers.items() if k.lower() == "allow"}
    return {}


def _detail(console: Console, visit: Visit, bad: Exception) -> tuple[str, bool]:
    """What the error itself says, and whether that is in the person's language."""
    if not isinstance(bad, OcpIngestError):
        return "", False
    key = bad.ids.get("say")
    if isinstance(key, str) and key in console.pages.texts:
        params: dict[str, Any] = {k: v for k, v in bad.ids.items() if k != "say"}
        return console.pages.say(visit, key, **params), True
    # A Terminal's sentence is for whoever mends it; the rest is about what was asked.
    return (mask_text(bad.text), False) if not isinstance(bad, Terminal) else (bad.text, False)


def _to_login(request: AnyRequest, visit: Visit) -> Response[bytes]:
    """The log-in; a page goes on where it was, a POST can't be made again by going there."""
    here = f"{visit.path}?{visit.query}" if visit.query else visit.path
    if visit.htmx:
        current = request.headers.get("hx-current-url", "")
        here = PREFIX + current.partition(PREFIX)[2]
        target = url("/login", next=local_path(here))
        return Response(b"", status_code=403, headers={"HX-Redirect": target})
    wanted = local_path(here) if request.method == "GET" and here != f"{PREFIX}/" else None
    return Response(b"", status_code=303, headers={"Location": url("/login", next=wanted)})
