"""One request's Visit, and pages made of it: what templates may use is all in `Pages`.

In every template
    t(key, **params)  url(path, **query)  call_url(call_id, *more)  asset(name)  csrf_field()
    visit  nav  said            (said: the notice that the POST before this page left, or None)
    |when |ago(now) |span_ms |size |number |percent |day |quoted
Macros: {% import "ui.html" as ui %}; they see the same names, no `with context` needed.
Paths are written below the console: url("/calls", stage="stored") is /console/calls?stage=stored.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, quote, urlencode

import jinja2
from litestar.connection import Request
from litestar.response import Response
from markupsafe import Markup, escape

from ocp_ingest.core.access import Person
from ocp_ingest.core.errors import Invalid
from ocp_ingest.entrypoints.console import formats
from ocp_ingest.entrypoints.console.assets import Assets
from ocp_ingest.entrypoints.console.locale import Lang, Texts

PREFIX: Final = "/console"
HTML: Final = "text/html"  # Litestar adds the charset, which is UTF-8
TEMPLATES: Final = Path(__file__).parent / "templates"
FORM_BYTES_MAX: Final = 64 * 1024  # reasons and filters; the largest form is a bulk filter
FORM_FIELDS_MAX: Final = 200  # a page of ticked calls and a few fields
NOBODY: Final = Person("", "", ())
_VISIT_KEY: Final = "console_visit"

Theme = Literal["auto", "dark", "light"]
Tone = Literal["ok", "warn", "bad"]
AnyRequest = Request[Any, Any, Any]

# (name in nav, path below the console, its key after "g")
NAV: Final = (
    ("overview", "/", "o"), ("calls", "/calls", "c"), ("reconciliation", "/reconciliation", "r"),
    ("bulk", "/bulk", "b"), ("incidents", "/incidents", "i"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """A notice left by the request before: a text key, its parameters, its tone."""

    key: str
    params: Mapping[str, str]
    tone: Tone = "ok"


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks, in which language, when (domain time), for what.

    `csrf` goes into every form; `htmx` is whether a fragment is wanted; `session_id` names the
    session in logs and limits, never in a page.
    """

    person: Person
    lang: Lang
    csrf: str
    now_ms: int
    path: str
    htmx: bool
    session_id: str
    query: str = ""
    theme: Theme = "auto"
    said: Said | None = None
    # Cookies that the answer must carry besides: the guard's, and a shown notice's end.
    cookies: list[str] = field(default_factory=list)


def visit_of(request: AnyRequest) -> Visit:
    """The visit that the guard made of a request."""
    visit: Visit = request.scope["state"][_VISIT_KEY]
    return visit


def set_visit(scope: Any, visit: Visit) -> None:
    """Keeps the visit where `visit_of` finds it."""
    scope["state"][_VISIT_KEY] = visit


def held_visit(scope: Any) -> Visit | None:
    """The visit, or None when the request was refused before it had one."""
    found: Visit | None = scope.get("state", {}).get(_VISIT_KEY)
    return found


async def form_of(request: AnyRequest, *names: str) -> dict[str, str]:
    """Fields of an urlencoded form, "" where missing, stripped; of several values the last.

    The guard has checked the CSRF token. Raises Invalid for another encoding or too many fields.
    """
    found = dict(await fields_of(request))
    return {name: found.get(name, "").strip() for name in names}


async def list_of(request: AnyRequest, name: str) -> list[str]:
    """All values of a field that may come several times, like ticked boxes."""
    return [value for key, value in await fields_of(request) if key == name]


async def fields_of(request: AnyRequest) -> list[tuple[str, str]]:
    """All fields in their order. Raises Invalid, TooLarge (by Litestar: FORM_BYTES_MAX)."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if body and media_type != "application/x-www-form-urlencoded":
        raise Invalid("Forms come as application/x-www-form-urlencoded.", say="shell.error.form")
    try:
        return parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX,
            encoding="utf-8", errors="strict",
        )  # fmt: skip
    except (ValueError, UnicodeDecodeError):
        raise Invalid("The form can't be read.", say="shell.error.form") from None


def url(path: str, **query: Any) -> str:
    """A path of the console with its query; None and "" are left out, lists repeat."""
    whole = path if path == PREFIX or path.startswith(f"{PREFIX}/") else PREFIX + path
    pairs = [(k.rstrip("_"), v) for k, v in query.items() if v is not None and v != ""]
    if not pairs:
        return whole
    return f"{whole}{'&' if '?' in whole else '?'}{urlencode(pairs, doseq=True)}"


def call_url(call_id: str, *more: str, **query: Any) -> str:
    """The page of a call, or what lies below it; every part is encoded whole."""
    return url("/".join(["/calls", *(quote(part, safe="") for part in (call_id, *more))]), **query)


def local_path(path: str) -> str:
    """A path to go on to that came from outside: ours, or the overview."""
    ours = path == PREFIX or path.startswith((f"{PREFIX}/", f"{PREFIX}?"))
    plain = path.isascii() and path.isprintable() and "\\" not in path and " " not in path
    # Browsers take "." and "..", also encoded, for steps.
    steps = path.partition("?")[0].lower().replace("%2e", ".").split("/")
    straight = not {".", ".."} & set(steps)
    fits = len(path) <= _PATH_CHARS_MAX
    return path if ours and plain and straight and fits else f"{PREFIX}/"


_PATH_CHARS_MAX: Final = 2_000  # a saved search; cookies and headers end at 4-8 KiB

# What is being rendered now: macros and filters see it without being handed it.
_now: contextvars.ContextVar[Visit] = contextvars.ContextVar("console_visit")


class Pages:
    """Templates, texts and static files; renders within one call, so nothing of a visit stays."""

    def __init__(self, texts: Texts, assets: Assets, zone: tzinfo) -> None:
        self.texts = texts
        self.assets = assets
        self.zone = zone
        self._jinja = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
            undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
            auto_reload=False,
        )  # fmt: skip
        self._jinja.globals.update(
            t=self._t, url=url, call_url=call_url, asset=self.assets.url, csrf_field=_csrf_field,
            in_lang=lambda: _now.get().lang,
        )  # fmt: skip
        self._jinja.filters.update(
            when=self._when, quoted=lambda text: quote(str(text), safe=""),
            ago=lambda at_ms, now_ms: formats.ago(at_ms, now_ms, _now.get().lang),
            span_ms=lambda length: formats.span(length, _now.get().lang),
            size=lambda count: formats.size(count, _now.get().lang),
            number=lambda value, digits=1: formats.number(value, _now.get().lang, digits),
            percent=lambda share, digits=2: formats.percent(share, _now.get().lang, digits),
            day=lambda text: formats.day(text, _now.get().lang),
        )  # fmt: skip

    def html(self, visit: Visit, template: str, **values: Any) -> str:
        """A template with its values."""
        held = _now.set(visit)
        try:
            return self._jinja.get_template(template).render(
                values, visit=visit, nav=_nav(visit), said=visit.said
            )
        finally:
            _now.reset(held)

    def response(
        self, visit: Visit, template: str, status: int = 200, **values: Any
    ) -> Response[bytes]:
        """A template as an answer."""
        body = self.html(visit, template, **values).encode()
        return Response(body, status_code=status, media_type=HTML)

    def say(self, visit: Visit, key: str, **params: Any) -> str:
        """A text in the visitor's language."""
        return self.texts.text(visit.lang, key, **params)

    def _t(self, key: str, _or: str | None = None, **params: Any) -> str:
        return self.texts.text(_now.get().lang, key, _or, **params)

    def _when(self, at_ms: int | None) -> str | Markup:
        if at_ms is None:
            return formats.NOTHING
        iso, shown = formats.iso(at_ms), formats.moment(at_ms, _now.get().lang, self.zone)
        return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(iso, shown)


def _csrf_field() -> Markup:
    return Markup('<input type="hidden" name="csrf" value="{}">').format(_now.get().csrf)


def _nav(visit: Visit) -> list[dict[str, Any]]:
    """The areas, each with its path, its key, and whether the visitor is in it."""
    return [
        {"name": name, "path": PREFIX + path, "key": key, "here": _is_in(visit.path, path)}
        for name, path, key in NAV
    ]


def _is_in(path: str, area: str) -> bool:
    below = path.removeprefix(PREFIX) or "/"
    return below == area or (area != "/" and below.startswith(f"{area}/"))


def fragment(tone: Tone, text: str) -> bytes:
    """A notice alone, for htmx."""
    role = "alert" if tone == "bad" else "status"
    return f'<div class="notice notice--{tone}" role="{role}">{escape(text)}</div>'.encode()
