"""Runbooks: docs/runbooks/*.md as pages, in a checkout and in an installed package alike.

What a page makes of Markdown
    raw HTML            shown as text, never as HTML
    <name>.md           the runbook of that name, where there is one
    any other link      its text, and where it led in brackets: pages lead nowhere outside
    a table             one that becomes cards on a phone, each cell under its column's name
A name that is asked for is looked up in a list made at the start; it is never part of a path.
"""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Response
from markupsafe import Markup

from ocp_ingest.core.errors import NotFound
from ocp_ingest.core.incident_words import meaning
from ocp_ingest.core.incidents import INCIDENT_KINDS
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.page import AnyRequest, Visit, url, visit_of

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

INDEX: Final = "README"
# The package's own copy, which a wheel has, else the checkout's.
_PACKAGE: Final = Path(__file__).resolve().parents[2]
FOLDERS: Final = (_PACKAGE / "runbooks", _PACKAGE.parents[1] / "docs" / "runbooks")


def routes(console: Console) -> list[HTTPRouteHandler]:
    """All routes of the area."""

    @get("/runbooks", sync_to_thread=False)
    def index(request: AnyRequest) -> Response[bytes]:
        return _page(console, visit_of(request), INDEX)

    @get("/runbooks/{name:str}", sync_to_thread=False)
    def runbook(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
        if name == INDEX or name not in names():
            raise NotFound("There is no runbook of this name.", say="incidents.error.no_runbook")
        return _page(console, visit_of(request), name)

    return [index, runbook]


def _page(console: Console, visit: Visit, name: str) -> Response[bytes]:
    visit.person.require("see")
    means = meaning(name, visit.lang) if name in INCIDENT_KINDS else ""
    return console.page(
        visit, "runbook.html", name=name, index=name == INDEX, means=capital(means),
        body=Markup(rendered(name)),  # noqa: S704 - made here, of our own files, raw HTML escaped
    )  # fmt: skip


def capital(text: str) -> str:
    """A sentence's first letter is a capital."""
    return text[:1].upper() + text[1:]


@functools.cache
def folder() -> Path | None:
    """Where the runbooks are; None in an installation that was made without them."""
    return next((found for found in FOLDERS if found.is_dir()), None)


@functools.cache
def names() -> frozenset[str]:
    """Names of all runbooks, without their ending."""
    found = folder()
    return frozenset(path.stem for path in found.glob("*.md")) if found else frozenset()


def runbook_url(name: str) -> str | None:
    """The page of a runbook, or None where there is none of the name."""
    if name == INDEX:
        return url("/runbooks")
    return url(f"/runbooks/{name}") if name in names() else None


@functools.cache
def rendered(name: str) -> str:
    """A runbook as HTML, without its title. Raises NotFound for one that is not there."""
    found = folder()
    if found is None or name not in names():
        raise NotFound("There are no runbooks here.", say="incidents.error.no_runbook")
    return html_of((found / f"{name}.md").read_text("utf-8"))


def html_of(text: str) -> str:
    """Markdown as the pages show it; see the module's table."""
    made = _markdown()
    tokens = made.parse(text)
    if tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        tokens = tokens[3:]  # the page has a title of its own
    for token in tokens:
        if token.type == "inline":
            token.children = _led_home(token.children or [])
    _label_cells(tokens)
    html: str = made.renderer.render(tokens, made.options, {})
    return html


@functools.cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt  # no part of a start: runbooks are read when needed

    made = MarkdownIt("commonmark", {"html": False}).enable("table")
    made.add_render_rule("fence", _fence)
    made.add_render_rule("table_open", _fixed('<table class="data">\n'))
    made.add_render_rule("th_open", _fixed('<th scope="col">'))
    made.add_render_rule("td_open", _cell)
    made.add_render_rule("td_close", _fixed("</span></td>\n"))
    return made


def _fixed(text: str) -> Any:
    def rule(_renderer: Any, _tokens: Any, _number: int, _options: Any, _env: Any) -> str:
        return text

    return rule


def _fence(_r: Any, tokens: Sequence[Token], number: int, _options: Any, _env: Any) -> str:
    return Markup('<pre class="code"><code>{}</code></pre>\n').format(tokens[number].content)


def _cell(_r: Any, tokens: Sequence[Token], number: int, _options: Any, _env: Any) -> str:
    label = str(tokens[number].meta.get("label", ""))
    return Markup('<td data-label="{}"><span>').format(label) if label else "<td><span>"


def _label_cells(tokens: Sequence[Token]) -> None:
    """Tells each cell its column's name; the first one of a row is its name."""
    heads: list[str] = []
    column = 0
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "table_open":
            heads = []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "th_open" and after is not None:
            heads.append(after.content)
        elif token.type == "td_open":
            token.meta["label"] = heads[column] if 0 < column < len(heads) else ""
            column += 1


def _led_home(children: Sequence[Token]) -> list[Token]:
    """Links among runbooks are kept; any other becomes its text."""
    kept: list[Token] = []
    outside: list[str] = []  # of the link that is open: what stands in brackets after it
    for token in children:
        if token.type == "link_open":
            href = str(token.attrs.get("href", ""))
            target = _target(href)
            if target is None:
                outside.append(_shown(href))
                continue
            token.attrs = {"href": target}
            kept.append(token)
        elif token.type == "link_close" and outside:
            kept += _text(outside.pop())
        elif token.type == "image":
            kept += _text(token.content)
        else:
            kept.append(token)
    return kept


def _target(href: str) -> str | None:
    name, dot, ending = href.partition("#")[0].partition(".")
    return runbook_url(name) if (dot, ending) == (".", "md") else None


def _shown(href: str) -> str:
    """Where a link led, for people who have the documentation; "" within the page."""
    path = href.partition("#")[0]
    if not path:
        return ""
    if "://" in path or path.startswith("mailto:"):
        return f" ({path})"
    return f" ({posixpath.normpath(posixpath.join('docs/runbooks', path))})"


def _text(text: str) -> list[Token]:
    from markdown_it.token import Token

    return [Token("text", "", 0, content=text)] if text else []
