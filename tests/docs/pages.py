"""What the tests of the documentation read out of its pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = (*sorted(ROOT.glob("README*.md")), *sorted(DOCS.rglob("*.md")))

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_HEADING: Final = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_NOT_IN_SLUG: Final = re.compile(r"[^\w\- ]")


def name(page: Path) -> str:
    """A page's path as people write it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str | None = None) -> list[str]:
    """The fenced blocks of a page, all or of one language."""
    found = _FENCE.findall(page.read_text("utf-8"))
    return [text for said, text in found if language in (None, said)]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def spans(page: Path) -> list[str]:
    """What stands in backticks in the prose."""
    return _SPAN.findall(prose(page))


def code(page: Path) -> Iterator[str]:
    """Every line of code on a page: of fenced blocks, continued lines joined, and spans."""
    for block in blocks(page):
        yield from block.replace("\\\n", " ").splitlines()
    yield from spans(page)


def links(page: Path) -> list[str]:
    """Targets of the links in the prose that stay inside the repository."""
    return [to for to in _LINK.findall(prose(page)) if "://" not in to]


def headings(page: Path) -> list[str]:
    """The headings of a page, without their marks."""
    return _HEADING.findall(prose(page))


def slugs(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    return {_NOT_IN_SLUG.sub("", heading.lower()).replace(" ", "-") for heading in headings(page)}
