"""The whole of a list that comes in pages, although it may change or lie meanwhile.

Pages are told      read to the last; an empty page, a name twice or another number of pages on
                    the way means that the list changed: it is read again until two readings agree
Pages not told      read until a page is empty or brings nothing new
A page that was     the same; but if two readings agree on it, Unreadable: OCP does not understand
told and repeats    our page numbers, and the first page would be taken for all there is
Too much            Unreadable, naming the bound
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from ocp_ingest.adapters.ocp.answers import Page
from ocp_ingest.adapters.ocp.failed import Unreadable
from ocp_ingest.reconcile.ports import ExportFile

# 48 hours of a group with 2,000 calls an hour, in pages of 100.
PAGES_MAX: Final = 1_000
FILES_MAX: Final = 100_000
READINGS_MAX: Final = 4


class _Reading(NamedTuple):
    files: tuple[ExportFile, ...]
    calm: bool  # nothing speaks against it
    repeats: bool = False


async def whole_list(
    read: Callable[[int], Awaitable[Page]], first: int = 0
) -> tuple[ExportFile, ...]:
    """All files, each name once, in OCP's order; `read` gets a page. Raises Unreadable."""
    before: _Reading | None = None
    for _ in range(READINGS_MAX):
        found = await _reading(read, first)
        if found.calm:
            return found.files
        if found == before:
            if found.repeats:
                raise Unreadable("A page repeats another: check `ocp.fields.page_query`.")
            return found.files
        before = found
    raise Unreadable(f"The file list changed under {READINGS_MAX} readings.")


async def _reading(read: Callable[[int], Awaitable[Page]], first: int) -> _Reading:
    known: dict[str, ExportFile] = {}
    pages, calm = None, True
    for n in range(PAGES_MAX):
        files, told = await read(first + n)
        if told is not None and told > PAGES_MAX:
            raise Unreadable(f"The file list has {told} pages, over {PAGES_MAX}.")
        calm = calm and (n == 0 or told == pages)
        pages = told
        added = _add(known, files)
        if len(known) > FILES_MAX:
            raise Unreadable(f"The file list has over {FILES_MAX} files.")
        if pages is None:
            if not added:
                return _Reading(tuple(known.values()), calm)
            continue
        if n > 0 and not added:
            return _Reading(tuple(known.values()), calm=False, repeats=bool(files))
        calm = calm and added == len(files)
        if n + 1 >= pages:
            return _Reading(tuple(known.values()), calm)
    raise Unreadable(f"The file list does not end within {PAGES_MAX} pages.")


def _add(known: dict[str, ExportFile], files: tuple[ExportFile, ...]) -> int:
    before = len(known)
    for file in files:
        known.setdefault(file.name, file)
    return len(known) - before
