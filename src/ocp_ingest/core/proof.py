"""Hash chains and Merkle trees that `printf` and `sha256sum` alone can follow.

Every hash is SHA-256, in lower-case hex, over one line of ASCII text that ends in a line feed:

What         its line
link n       link <n> <call> <link n-1, or 64 zeros> <event hash> <source> <received at> <body hash>
leaf         leaf <call> <last link> <number of links>
node         node <left> <right>

Rules
1. `<call>` is the call's id percent-encoded (RFC 3986, unreserved characters stay), so a line never
   holds a space, a line feed or a byte above 127 that it does not mean. So are source and body
   hash; "-" stands for an empty one.
2. The event hash covers what an event says (core.events.canonical_bytes); the link adds how and
   when we heard of it, which the event hash leaves out because a duplicate is the same event.
3. The first word tells links, leaves and nodes apart: none can be passed off as another.
4. Nodes are paired from the left, level by level; an odd one moves up unchanged. That is the tree
   of RFC 6962 section 2.1, so it can be built leaf by leaf, and from the roots of parts of 2^k
   leaves as well as from the leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from ocp_ingest.core.events import Event, content_hash

ZERO: Final = "0" * 64  # stands before the first link, and is the root of no leaves
# Leaves of one part of a day's tree: a proof reads one part, some 600 KB. A power of two (rule 4).
PART_LEAVES: Final = 4_096
# Longest name that orders leaves as it is: DynamoDB's sort keys end at 1,024 bytes.
_ORDER_CHARS_MAX: Final = 900

Side = Literal["left", "right"]


def sha256(line: bytes) -> str:
    """SHA-256 of a line, in hex."""
    return hashlib.sha256(line).hexdigest()


def encoded(text: str) -> str:
    """Rule 1."""
    # Lone surrogates can't come from any store of ours, but a damaged one must not stop a check.
    return quote(text, safe="", errors="surrogatepass") or "-"


def order_of(call_id: str) -> str:
    """What leaves of a day are ordered by, as ASCII; another for each call."""
    name = encoded(call_id)
    if len(name) <= _ORDER_CHARS_MAX:
        return name
    return f"{name[:_ORDER_CHARS_MAX]}!{sha256(name.encode())}"  # "!" is in no encoded name


class Entry(msgspec.Struct, frozen=True):
    """What one link says of its event."""

    call_id: str
    event_id: str
    event_hash: str
    source: str
    received_at_ms: int
    body_hash: str


class Link(msgspec.Struct, frozen=True):
    """The n-th link of a call's chain (from 1), made on `day` (yyyy-mm-dd, UTC)."""

    n: int
    link: str
    day: str
    entry: Entry


class Tip(msgspec.Struct, frozen=True):
    """Where a call's chain stands."""

    call_id: str
    n: int
    link: str


def entry_of(event: Event) -> Entry:
    """What a link says of an event."""
    return Entry(
        event.call_id, event.event_id, content_hash(event), event.source, event.received_at_ms,
        event.body_hash,
    )  # fmt: skip


def link_line(n: int, previous: str, entry: Entry) -> bytes:
    """The line whose hash is link `n`."""
    heard = f"{encoded(entry.source)} {entry.received_at_ms} {encoded(entry.body_hash)}"
    call = encoded(entry.call_id)
    return f"link {n} {call} {previous} {encoded(entry.event_hash)} {heard}\n".encode("ascii")


def extend(tip: Tip, entries: Iterable[Entry], day: str) -> list[Link]:
    """The links that entries of one call add to its chain."""
    made: list[Link] = []
    n, previous = tip.n, tip.link
    for entry in entries:
        n += 1
        previous = sha256(link_line(n, previous, entry))
        made.append(Link(n, previous, day, entry))
    return made


def start(call_id: str) -> Tip:
    """The chain of a call of which nothing is sealed."""
    return Tip(call_id, 0, ZERO)


def broken_at(links: Sequence[Link]) -> int | None:
    """The number of the first link that does not follow from those before it, or None."""
    previous = ZERO
    for n, link in enumerate(links, 1):
        if link.n != n or sha256(link_line(n, previous, link.entry)) != link.link:
            return n
        previous = link.link
    return None


def leaf_line(tip: Tip) -> bytes:
    """The line whose hash is a call's leaf."""
    return f"leaf {encoded(tip.call_id)} {tip.link} {tip.n}\n".encode("ascii")


def leaf_of(tip: Tip) -> str:
    """A call's leaf."""
    return sha256(leaf_line(tip))


def node(left: str, right: str) -> str:
    """The node above two others."""
    return sha256(f"node {left} {right}\n".encode("ascii"))


class Step(msgspec.Struct, frozen=True):
    """One step of an inclusion proof: the other node, and on which side of ours it is."""

    side: Side
    other: str


class Tree:
    """Builds a tree leaf by leaf, in memory for one node per level; `watch` is proved besides."""

    def __init__(self, watch: int | None = None) -> None:
        """`watch`: the number of a leaf, from 0, whose proof `proof` is to be."""
        self.count = 0
        self._watch = watch
        self._stack: list[tuple[int, str, bool]] = []  # leaves below it, the node, ours is below it
        self._steps: list[Step] = []

    def add(self, leaf: str) -> None:
        """The next leaf (or the root of the next part)."""
        size, here, ours = 1, leaf, self.count == self._watch
        self.count += 1
        while self._stack and self._stack[-1][0] == size:
            _, left, ours_left = self._stack.pop()
            here, ours = self._join(left, ours_left, here, ours, self._steps)
            size *= 2
        self._stack.append((size, here, ours))

    @property
    def root(self) -> str:
        """The root over all leaves so far; ZERO over none."""
        return self._fold([])

    @property
    def proof(self) -> list[Step]:
        """The steps from the watched leaf to the root."""
        steps = list(self._steps)
        self._fold(steps)
        return steps

    def _fold(self, steps: list[Step]) -> str:
        if not self._stack:
            return ZERO
        _, here, ours = self._stack[-1]
        for _, left, ours_left in reversed(self._stack[:-1]):
            here, ours = self._join(left, ours_left, here, ours, steps)
        return here

    @staticmethod
    def _join(
        left: str, ours_left: bool, right: str, ours_right: bool, steps: list[Step]
    ) -> tuple[str, bool]:  # fmt: skip
        if ours_left:
            steps.append(Step("right", right))
        elif ours_right:
            steps.append(Step("left", left))
        return node(left, right), ours_left or ours_right


def root_of(leaves: Iterable[str]) -> str:
    """The root over leaves."""
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root


def prove(leaves: Iterable[str], index: int) -> list[Step]:
    """The inclusion proof of a leaf by its number from 0."""
    tree = Tree(watch=index)
    for leaf in leaves:
        tree.add(leaf)
    assert 0 <= index < tree.count, "only a leaf that is there can be proved"
    return tree.proof


def climb(leaf: str, steps: Iterable[Step]) -> str:
    """The root that a proof leads to from a leaf."""
    here = leaf
    for step in steps:
        here = node(here, step.other) if step.side == "right" else node(step.other, here)
    return here
