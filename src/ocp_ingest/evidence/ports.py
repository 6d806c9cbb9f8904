"""What the seal of the journals may ask of the world.

Common to all, as in ocp_ingest.ports: any method may raise Transient, and doing the same thing
again is always safe. Embedded, memory and AWS implementations pass ONE contract suite.

What is sealed                     where
links, chains' ends, day's calls   SealBook: beside the journal, in a table of its own
leaves, statements, signatures     Shelf: created only, never overwritten; on AWS under Object Lock
the key                            Signer: a file of mode 600; on AWS in KMS, which never gives it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from ocp_ingest.core.errors import Conflict
from ocp_ingest.core.proof import Entry, Link, Tip


class DayClosed(Conflict):
    """The day is closed, or being closed: nothing more is sealed in it."""

    code = "day_closed"


class Fresh(msgspec.Struct, frozen=True):
    """Events that are not sealed yet, in the order in which the store took them; `mark` is the
    store's own. An entry may have been sealed already, after a crash: it is not sealed twice.
    """

    entries: tuple[Entry, ...]
    mark: Any = None


class Marks(msgspec.Struct, frozen=True):
    """How far the days are sealed; days are yyyy-mm-dd, UTC, "" for none.

    `first` is that of the first link; up to `closing` nothing more is sealed; up to `closed` every
    day has its statement on the shelf, the last of them with this SHA-256.
    """

    first: str = ""
    closing: str = ""
    closed: str = ""
    statement: str = ""


class SealBook(Protocol):
    """The chains of all calls, and how far they and the days are sealed."""

    async def fresh(self, *, limit: int) -> Fresh:
        """The next events to be sealed; none: all are."""

    async def seal(self, entries: Sequence[Entry], day: str) -> int:
        """Extends the chains of the entries' calls, in the order given; how many links were made.

        Durable; an entry whose event is in its chain adds nothing. A chain never forks: of two
        writers one extends it, the other extends what the first made. Raises DayClosed.
        """

    async def done(self, fresh: Fresh) -> None:
        """Its entries are sealed: they are not given again."""

    async def chain(self, call_id: str) -> list[Link]:
        """All links of a call, in order; empty when nothing of it is sealed."""

    async def sealed_on(self, day: str, *, after: str = "", limit: int) -> list[Tip]:
        """Calls that were sealed on a day, in the order of core.proof.order_of, and where their
        chains stood at its end. Only of a day that is not closed yet.
        """

    async def marks(self) -> Marks:
        """How far the days are."""

    async def begin_close(self, day: str) -> None:
        """From now on nothing more is sealed on this day or any before it."""

    async def closed(self, day: str, statement: str) -> None:
        """The day's statement is on the shelf; a day not after the last one changes nothing."""

    # -- for checks ---------------------------------------------------------------------------

    async def call_ids(self, *, after: str = "", limit: int) -> list[str]:
        """Calls that have a chain, in the order of CallStore.call_ids."""

    async def waiting(self, call_id: str) -> frozenset[str]:
        """Ids of events of a call that `fresh` has still to give."""

    async def audit(self, call_id: str) -> list[str]:
        """What is wrong with a call's rows beyond what its events say, in sentences."""

    async def strays(self, *, limit: int) -> list[str]:
        """Calls that have a record and no journal."""

    # -- small values of the evidence: how far a scrub has come ---------------------------------

    async def note(self, name: str) -> str:
        """A value, or ""."""

    async def put_note(self, name: str, value: str) -> None:
        """Keeps a value."""


class Signer(Protocol):
    """Signs with Ed25519 (RFC 8032, PureEdDSA: what `openssl pkeyutl -rawin` verifies)."""

    async def public_key(self) -> bytes:
        """The public key as DER SubjectPublicKeyInfo (RFC 8410)."""

    async def sign(self, message: bytes) -> bytes:
        """64 bytes over a message of at most STATEMENT_BYTES_MAX. Raises Transient, Terminal."""


class Shelf(Protocol):
    """Small files that are created once and never changed."""

    async def put(self, name: str, body: bytes) -> bytes:
        """Keeps a file, durable; returns what stands under its name, which may be older."""

    async def get(self, name: str) -> bytes | None:
        """A file, or None. Raises TooLarge for one that is none of ours."""
