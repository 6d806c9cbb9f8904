"""A person's saved searches: a name and the query of the calls page, kept in the desk's notes.

Rules
1. One note per person, under a hash of their name: names may be e-mail addresses of any length.
2. A link's id is made of its name, so saving under a name again replaces it, and a lost answer
   repeated changes nothing.
3. The note is read, changed and written under a lock of this process. Between two processes the
   later of two changes made by one person within milliseconds wins: a saved search, no evidence.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

import msgspec

from ocp_ingest.core.access import Person
from ocp_ingest.core.errors import Invalid
from ocp_ingest.desk.ports import DeskNotes

# A menu longer than this is searched, not read; with the bounds below a note stays under 64 KiB.
LINKS_MAX: Final = 30
NAME_CHARS_MAX: Final = 60
QUERY_CHARS_MAX: Final = 1_500  # every parameter at its longest; below what browsers take
_ID_CHARS: Final = 16


class Link(msgspec.Struct, frozen=True):
    """A saved search; `query` is that of the calls page, without a cursor."""

    id: str
    name: str
    query: str


class _Note(msgspec.Struct, frozen=True):
    links: list[Link] = []


class SavedLinks:
    """The saved searches of everybody."""

    def __init__(self, notes: DeskNotes) -> None:
        self._notes = notes
        self._writing = asyncio.Lock()

    async def of(self, person: Person) -> list[Link]:
        """A person's links, by name."""
        held = await self._notes.get(_ref(person))
        return [] if held is None else msgspec.convert(held, _Note).links

    async def add(self, person: Person, name: str, query: str) -> None:
        """Saves a search under a name, replacing that of the same name.

        Raises Invalid without a name, for one or a query over the bounds, or for one link too many.
        """
        name = " ".join(name.split())
        if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
            raise Invalid(f"A name has 1 to {NAME_CHARS_MAX} characters.", say="calls.links.bad")
        if len(query) > QUERY_CHARS_MAX:
            raise Invalid("This search is too long to be saved.", say="calls.links.bad")
        link = Link(_id_of(name), name, query)
        async with self._writing:
            others = [held for held in await self.of(person) if held.id != link.id]
            if len(others) >= LINKS_MAX:
                raise Invalid(
                    f"There are {LINKS_MAX} saved searches: delete one first.",
                    say="calls.links.full", max=LINKS_MAX,
                )  # fmt: skip
            await self._put(person, [*others, link])

    async def delete(self, person: Person, link_id: str) -> None:
        """Forgets a link; none there is fine."""
        async with self._writing:
            held = await self.of(person)
            left = [link for link in held if link.id != link_id]
            if len(left) < len(held):
                await self._put(person, left)

    async def _put(self, person: Person, links: list[Link]) -> None:
        ordered = sorted(links, key=lambda link: (link.name.casefold(), link.id))
        await self._notes.put(_ref(person), msgspec.to_builtins(_Note(ordered)))


def _ref(person: Person) -> str:
    return f"console.links.{hashlib.sha256(person.name.encode()).hexdigest()[:32]}"


def _id_of(name: str) -> str:
    return hashlib.sha256(name.casefold().encode()).hexdigest()[:_ID_CHARS]
