"""verify, the days: signatures, trees, and every leaf against its chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Final
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
        for line in lines:
            _, name, link, n = line.decode("ascii").split()
            call_id = "" if name == "-" else unquote(name, errors="surrogatepass")
            total = (total + int(sha256(line), 16)) % SUM_MODULUS
            for finding in await twice(partial(_leaf, evidence, call_id, link, int(n))):
                yield finding
    if ends is not None and ends.differ(day.day, total):
        text = "Chains end on this day otherwise than its leaves say."
        yield Finding("broken", "day", day.day, text)


async def _leaf(evidence: Evidence, call_id: str, link: str, n: int) -> list[Finding]:
    """The chain of a leaf's call still goes through that link."""
    try:
        links = await evidence.seals.chain(call_id)
    except Transient:
        raise
    except (OcpIngestError, *UNREADABLE):
        return []  # told with the call
    if len(links) < n:
        text = f"{n} links of the call were sealed, {len(links)} are there."
        return [Finding("missing", "call", call_id, text)]
    if links[n - 1].link != link:
        return [Finding("broken", "call", call_id, f"Link {n} is not the one that was sealed.")]
    return []
