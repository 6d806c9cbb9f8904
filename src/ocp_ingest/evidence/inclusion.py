"""Where a call is in a closed day's tree, and the proof of it; one part of the leaves is read."""

from __future__ import annotations

import msgspec

from ocp_ingest.core.errors import Damaged
from ocp_ingest.core.proof import (
    Link,
    Step,
    Tip,
    Tree,
    climb,
    leaf_line,
    order_of,
    root_of,
    sha256,
)
from ocp_ingest.evidence.close import SealedDay, sealed_day
from ocp_ingest.evidence.keys import check
from ocp_ingest.evidence.ports import SealBook, Shelf


class Part(msgspec.Struct, frozen=True):
    """One part of a day's leaves: its file, the file's hash, how many, their root, the first's
    call, percent-encoded.
    """

    name: str
    sha256: str
    leaves: int
    root: str
    first: str


class Inclusion(msgspec.Struct, frozen=True):
    """The proof that a closed day's root stands for a call as it was at the day's end."""

    day: SealedDay
    leaf: bytes
    tip: Tip
    steps: tuple[Step, ...]


def parts_of(day: SealedDay) -> list[Part]:
    """The parts of a day. Raises Damaged when the list is not the one that the statement signs."""
    if sha256(day.parts) != day.said["parts"]:
        raise Damaged(f"The list of the leaves of {day.day} is not the one that was signed.")
    found = []
    for line in day.parts.decode("ascii").splitlines():
        name, digest, leaves, root, first = line.split(" ")
        found.append(Part(name, digest, int(leaves), root, first))
    return found


async def leaves_of(shelf: Shelf, day: SealedDay, part: Part) -> list[bytes]:
    """The leaves of a part, as lines. Raises Damaged when they are not those of the tree."""
    body = await shelf.get(f"days/{day.day}/{part.name}")
    if body is None:
        raise Damaged(f"The leaves of {day.day} are gone ({part.name}).")
    lines = body.splitlines(keepends=True)
    if sha256(body) != part.sha256 or root_of(map(sha256, lines)) != part.root:
        raise Damaged(f"The leaves of {day.day} are not those that were sealed ({part.name}).")
    return lines


async def day_checked(shelf: Shelf, named: str) -> SealedDay:
    """A closed day whose signature, list of parts and root fit. Raises Damaged."""
    day = await sealed_day(shelf, named)
    if day is None:
        raise Damaged(f"The day {named} has no statement on the shelf.")
    if day.said.get("day") != named:
        raise Damaged(f"The statement of {named} is that of another day.")
    check(day.statement, day.signature, day.public_key, day.said.get("key", ""))
    tree, leaves = Tree(), 0
    for part in parts_of(day):
        tree.add(part.root)
        leaves += part.leaves
    if (tree.root, str(leaves)) != (day.said["root"], day.said["leaves"]):
        raise Damaged(f"The parts of {named} do not give the root that was signed.")
    return day


async def include(seals: SealBook, shelf: Shelf, links: list[Link]) -> Inclusion | None:
    """The newest proof of a call's chain; None while no day that it is sealed on is closed.

    Raises Damaged when the shelf does not say what the chain says.
    """
    closed = (await seals.marks()).closed
    ended = [link for link in links if link.day <= closed]
    if not ended:
        return None
    last = ended[-1]
    tip = Tip(last.entry.call_id, last.n, last.link)
    return await prove_in(shelf, await day_checked(shelf, last.day), tip)


async def prove_in(shelf: Shelf, day: SealedDay, tip: Tip) -> Inclusion:
    """The proof that a chain ended so on a day. Raises Damaged when its leaf is not there."""
    parts = parts_of(day)
    name = order_of(tip.call_id)
    number = sum(_order(part.first) <= name for part in parts) - 1
    if number >= 0:
        lines = await leaves_of(shelf, day, parts[number])
        if (line := leaf_line(tip)) in lines:
            steps = _steps(parts, number, lines, lines.index(line))
            if climb(sha256(line), steps) == day.said["root"]:
                return Inclusion(day, line, tip, tuple(steps))
    raise Damaged(f"The call is not among the leaves of {day.day} as its chain stands.")


def _order(first: str) -> str:
    from urllib.parse import unquote

    return order_of("" if first == "-" else unquote(first, errors="surrogatepass"))


def _steps(parts: list[Part], number: int, lines: list[bytes], index: int) -> list[Step]:
    """Through the part, then through the tree of the parts (rule 4 of core.proof)."""
    inside, above = Tree(watch=index), Tree(watch=number)
    for line in lines:
        inside.add(sha256(line))
    for part in parts:
        above.add(part.root)
    return inside.proof + above.proof
