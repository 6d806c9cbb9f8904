"""verify, the days: signatures, trees, and every leaf against its chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec

from ocp_ingest.core.errors import OcpIngestError, Transient
from ocp_ingest.core.proof import ZERO, Link, Tip, leaf_of, sha256
from ocp_ingest.evidence import inclusion
from ocp_ingest.evidence.close import SealedDay
from ocp_ingest.evidence.findings import UNREADABLE, Finding, text_of, twice
from ocp_ingest.evidence.sealer import following
from ocp_ingest.evidence.world import Evidence


class Ends:
    """Sums of the leaves that chains should have, by closed day: as much memory as days."""

    def __init__(self, closed: str) -> None:
        self._closed = closed
        self._sums: dict[str, int] = {}
        self._suspicious: set[str] = set()

    def add(self, links: list[Link]) -> None:
        """The ends of one chain."""
        ends = {link.day: link for link in links if link.day <= self._closed}
        for day, link in ends.items():
            self._add(day, leaf_of(Tip(link.entry.call_id, link.n, link.link)))

    @property
    def suspicious(self) -> frozenset[str]:
        """Days whose leaves are not those of the chains."""
        return frozenset(self._suspicious)

    def differ(self, day: str, leaves: int) -> bool:
        """Whether a day's leaves, summed up, are not those of the chains."""
        if day > self._closed or self._sums.get(day, 0) == leaves:
            return False
        self._suspicious.add(day)
        return True

    def _add(self, day: str, leaf: str) -> None:
        self._sums[day] = (self._sums.get(day, 0) + int(leaf, 16)) % SUM_MODULUS


SUM_MODULUS: Final = 1 << 256
_AT_ONCE: Final = 64  # leaves whose chains are read in one go


async def days(
    evidence: Evidence, *, only: str | None = None, ends: Ends | None = None
) -> AsyncIterator[Finding]:
    """Every closed day: signature, tree, the statement before it, every leaf."""
    marks = await evidence.seals.marks()
    day, previous = marks.first, ZERO
    while day and day <= marks.closed:
        bad: list[str] = []
        statement = b""
        try:
            sealed = await inclusion.day_checked(evidence.shelf, day)
            statement = sealed.statement
            if sealed.said.get("previous") != previous:
                bad.append("The statement does not follow from that of the day before.")
            bad += await _files(evidence, sealed)
        except Transient:
            raise
        except (OcpIngestError, *UNREADABLE) as broken:
            bad.append(text_of(broken))
        previous = sha256(statement)
        if day == marks.closed and previous != marks.statement and not bad:
            bad.append("The last statement is not the one that was noted when it was closed.")
        if only in (None, day):
            for text in bad:
                yield Finding("broken", "day", day, text)
            if not bad:
                yield Finding("ok", "day", day)
                async for finding in _each_leaf(evidence, sealed, ends):
                    yield finding
        day = following(day)


async def _files(evidence: Evidence, day: SealedDay) -> list[str]:
    """What the statement has hashes of, besides the leaves."""
    figures = await evidence.shelf.get(f"days/{day.day}/figures.json")
    if figures is None or sha256(figures) != day.said["figures"]:
        return ["The figures of the day are not those that were signed."]
    said = msgspec.json.decode(figures)
    found = []
    for file in said["exceptions"]["files"]:
        body = await evidence.shelf.get(f"days/{day.day}/{file['name']}")
        if body is None or sha256(body) != file["sha256"]:
            found.append(f"The exceptions of the day are not those of its figures: {file['name']}.")
    return found


async def _each_leaf(
    evidence: Evidence, day: SealedDay, ends: Ends | None
) -> AsyncIterator[Finding]:  # fmt: skip
    total = 0
    for part in inclusion.parts_of(day):
        try:
            lines = await inclusion.leaves_of(evidence.shelf, day, part)
        except Transient:
            raise
        except OcpIngestError as broken:
            yield Finding("broken", "day", day.day, broken.text)
            continue
        for at in range(0, len(lines), _AT_ONCE):
            leaves = [_Leaf.of(line) for line in lines[at : at + _AT_ONCE]]
            total = (total + sum(int(leaf.hash, 16) for leaf in leaves)) % SUM_MODULUS
            for finding in await _some_leaves(evidence, leaves):
                yield finding
    if ends is not None and ends.differ(day.day, total):
        text = "Chains end on this day otherwise than its leaves say."
        yield Finding("broken", "day", day.day, text)


class _Leaf(NamedTuple):
    """What a line of a day's leaves says."""

    hash: str
    call_id: str
    link: str
    n: int

    @classmethod
    def of(cls, line: bytes) -> _Leaf:
        _, name, link, n = line.decode("ascii").split()
        call_id = "" if name == "-" else unquote(name, errors="surrogatepass")
        return cls(sha256(line), call_id, link, int(n))

    def missed(self, links: list[Link] | None) -> list[Finding]:
        """What is wrong with its call's chain; one that can't be read was told with the call."""
        if links is None:
            return []
        if len(links) < self.n:
            text = f"{self.n} links of the call were sealed, {len(links)} are there."
            return [Finding("missing", "call", self.call_id, text)]
        if links[self.n - 1].link != self.link:
            text = f"Link {self.n} is not the one that was sealed."
            return [Finding("broken", "call", self.call_id, text)]
        return []


async def _some_leaves(evidence: Evidence, leaves: list[_Leaf]) -> list[Finding]:
    """The chains of the leaves' calls still go through their links."""
    chains = await evidence.reader.chains([leaf.call_id for leaf in leaves])
    suspects = [leaf for leaf, links in zip(leaves, chains, strict=True) if leaf.missed(links)]
    found = []
    for leaf in suspects:
        found += await twice(partial(_leaf, evidence, leaf))
    return found


async def _leaf(evidence: Evidence, leaf: _Leaf) -> list[Finding]:
    [links] = await evidence.reader.chains([leaf.call_id])
    return leaf.missed(links)
