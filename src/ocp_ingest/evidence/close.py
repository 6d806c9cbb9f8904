"""Closes a day: the tree over all calls sealed on it, the day's figures, one signed statement.

Order: leaves and parts, exceptions, figures, the public key, the signature, the statement last. A
crash anywhere leaves files that the next try finds standing or makes beside: what stands decides,
and a statement that stands has its leaves, its figures and its signature.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec

from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.errors import Damaged
from ocp_ingest.core.proof import PART_LEAVES, ZERO, Tree, encoded, leaf_line, sha256
from ocp_ingest.core.statement import DAY, parse, render
from ocp_ingest.evidence.denominator import census_of
from ocp_ingest.evidence.figures import Sums, Surveyed, calls_of, exception_line
from ocp_ingest.evidence.keys import keep_key, key_id
from ocp_ingest.evidence.ports import Shelf
from ocp_ingest.evidence.world import Evidence

# Exceptions of one file: some 3 MB.
EXCEPTIONS_PER_FILE: Final = 10_000
Each = Callable[[Surveyed], Awaitable[list[tuple[str, bytes]]]]
_PRETTY: Final = msgspec.json.Encoder(order="sorted")


async def close_day(evidence: Evidence, day: str, previous_day: str, previous: str) -> str:
    """The SHA-256 of the day's statement, which stands on the shelf when this returns.

    Raises Damaged when what stands there is not what this runtime would say.
    """
    tree, parts = await _leaves(evidence, day)
    listed = await evidence.shelf.put(f"days/{day}/parts.txt", parts)
    if listed != parts:
        raise Damaged(f"The leaves of {day} on the shelf are not those of the chains.")
    figures = await _figures(evidence, day)
    fields = {
        "issuer": evidence.issuer,
        "day": day,
        "previous_day": previous_day or "none",
        "previous": previous or ZERO,
        "leaves": str(tree.leaves),
        "root": tree.root,
        "parts": sha256(parts),
        "figures": sha256(figures),
        "sealed_at": str(rfc3339(evidence.real.now_ms())),
        "key": await key_id(evidence.signer),
    }
    return await _state(evidence, day, fields)


class Leaves(msgspec.Struct, frozen=True):
    """The whole tree of a day."""

    leaves: int
    root: str


async def _leaves(evidence: Evidence, day: str) -> tuple[Leaves, bytes]:
    """Writes the leaves of each part; the tree, and the list of its parts."""
    whole, count, listed = Tree(), 0, []
    async for number, part in _parts(evidence, day):
        body = b"".join(part)
        name = leaves_name(number)
        if await evidence.shelf.put(f"days/{day}/{name}", body) != body:
            raise Damaged(f"The leaves of {day} on the shelf are not those of the chains.")
        tree = Tree()
        for line in part:
            tree.add(sha256(line))
        whole.add(tree.root)
        count += len(part)
        first = part[0].split(b" ")[1].decode("ascii")
        listed.append(f"{name} {sha256(body)} {len(part)} {tree.root} {first}\n")
    return Leaves(count, whole.root), "".join(listed).encode("ascii")


async def _parts(evidence: Evidence, day: str) -> AsyncIterator[tuple[int, list[bytes]]]:
    after, number = "", 0
    while tips := await evidence.seals.sealed_on(day, after=after, limit=PART_LEAVES):
        yield number, [leaf_line(tip) for tip in tips]
        after, number = tips[-1].call_id, number + 1


def leaves_name(number: int) -> str:
    """The file of a part's leaves."""
    return f"leaves-{number:05}.txt"


async def _figures(evidence: Evidence, day: str) -> bytes:
    """The figures that stand for the day: those of the first try to close it."""
    name = f"days/{day}/figures.json"
    standing = await evidence.shelf.get(name)
    if standing is not None:
        return standing

    for attempt in range(_ATTEMPTS_MAX):
        walk = Walk(evidence, day, f"exceptions-{attempt}")
        if await _all_kept(evidence, day, walk):
            return await evidence.shelf.put(name, _PRETTY.encode(await walk.said()))
    raise Damaged(f"The figures of {day} could not be written: look at the shelf.")


async def _all_kept(evidence: Evidence, day: str, walk: Walk) -> bool:
    """Whether all files of exceptions are on the shelf: none is where another try's stands, which
    was cut short before its figures.
    """
    async for file, body in walk.files():
        if await evidence.shelf.put(f"days/{day}/{file}", body) != body:
            return False
    return True


# Tries of a close that were cut short after writing exceptions and before the figures.
_ATTEMPTS_MAX: Final = 100


class Walk:
    """One walk over the calls that began on a day: `files` first, to its end, then `said`."""

    def __init__(
        self, evidence: Evidence, day: str, prefix: str, lob: str | None = None,
        each: Each | None = None,
    ) -> None:  # fmt: skip
        """`each` hears every call and gives files that are ready; `lob` None: all of them."""
        self._evidence = evidence
        self._day = day
        self._prefix = prefix
        self._lob = lob
        self._each = each
        self._sums = Sums()
        self._as_of = rfc3339(evidence.world.clock.now_ms())
        self._files: list[dict[str, Any]] = []
        self._lines: list[bytes] = []

    async def files(self) -> AsyncIterator[tuple[str, bytes]]:
        """Files of exceptions, and those that `each` gives, by name, as they fill."""
        async for one in calls_of(self._evidence.world, self._day, self._lob):
            self._sums.add(one)
            if self._each is not None:
                for file in await self._each(one):
                    yield file
            if one.state != "stored":
                self._lines.append(exception_line(one))
            if len(self._lines) == EXCEPTIONS_PER_FILE:
                yield self._file()
        if self._lines:
            yield self._file()

    def _file(self) -> tuple[str, bytes]:
        name, body = f"{self._prefix}-{len(self._files):05}.ndjson", b"".join(self._lines)
        self._files.append({"name": name, "sha256": sha256(body), "calls": len(self._lines)})
        self._lines.clear()
        return name, body

    async def said(self) -> dict[str, Any]:
        """The figures."""
        calls = sum(file["calls"] for file in self._files)
        return {
            "day": self._day,
            "as_of": self._as_of,
            "lines_of_business": self._sums.lines(),
            "total": self._sums.total(),
            "exceptions": {"calls": calls, "files": self._files},
            "census": await census_of(self._evidence.exports, self._day),
        }


async def _state(evidence: Evidence, day: str, fields: dict[str, str]) -> str:
    name = f"days/{day}/statement.txt"
    standing = await evidence.shelf.get(name)
    if standing is None:
        body = render(DAY, fields)
        await keep_key(evidence)
        await evidence.shelf.put(signature_name(day, body), await evidence.signer.sign(body))
        standing = await evidence.shelf.put(name, body)
    said = parse(standing, DAY)
    for field in ("day", "previous", "leaves", "root", "parts", "figures"):
        if said.get(field) != fields[field]:
            raise Damaged(f"The statement of {day} on the shelf is not of these chains ({field}).")
    return sha256(standing)


def signature_name(day: str, statement: bytes) -> str:
    """Where the signature of a day's statement is."""
    return f"days/{day}/{sha256(statement)}.sig"


class SealedDay(msgspec.Struct, frozen=True):
    """A closed day as the shelf has it; `said` are the statement's fields."""

    day: str
    statement: bytes
    signature: bytes
    public_key: bytes  # PEM
    parts: bytes
    said: dict[str, str]


async def sealed_day(shelf: Shelf, day: str) -> SealedDay | None:
    """A closed day; None when it has no statement. Raises Damaged when files of it are missing."""
    statement = await shelf.get(f"days/{day}/statement.txt")
    if statement is None:
        return None
    said = parse(statement, DAY)
    key, parts = said.get("key", ""), await shelf.get(f"days/{day}/parts.txt")
    signature = await shelf.get(signature_name(day, statement))
    public_key = await shelf.get(f"keys/{encoded(key)}.pem")
    if parts is None or signature is None or public_key is None:
        raise Damaged(f"The seal of {day} lacks its parts, its signature or its public key.")
    return SealedDay(day, statement, signature, public_key, parts, said)
