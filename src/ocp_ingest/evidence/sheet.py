"""Everything that `verify` reads of a call, at once: what is there, not yet whether it is right.

A store that can read many calls in one go gives `Sheets` of its own (adapters.embedded.sheets);
`PortSheets` reads any store through the ports, a few calls beside each other. Both give the same
sheets, which the tests of the evidence hold against each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.errors import OcpIngestError, Transient
from ocp_ingest.core.events import Event
from ocp_ingest.core.proof import Entry, Link, entry_of
from ocp_ingest.evidence.findings import UNREADABLE
from ocp_ingest.evidence.ports import SealBook
from ocp_ingest.ports import CallStore

# Calls read beside each other: they mostly wait, for a disk or for AWS.
_AT_ONCE: Final = 16


class Rows(msgspec.Struct, frozen=True):
    """The record, and what the store itself finds wrong with its rows (SealBook.audit)."""

    record: Call | None
    said: tuple[str, ...]


class Sheet(msgspec.Struct, frozen=True):
    """One call; None stands for what can't be read, and what hangs on it."""

    call_id: str
    links: list[Link] | None
    events: list[Event] | None = None
    call: Call | None = None  # what the journal gives
    entries: dict[str, Entry] = {}  # what a link has to say of each event, by event id
    waiting: frozenset[str] = frozenset()
    rows: Rows | None = None


class Sheets(Protocol):
    """Reads calls."""

    async def of(self, call_ids: Sequence[str]) -> list[Sheet]:
        """One sheet each, in this order. Raises Transient."""

    async def chains(self, call_ids: Sequence[str]) -> list[list[Link] | None]:
        """Their chains alone; None for one that can't be read. Raises Transient."""


class PortSheets:
    """Through the ports, whatever is behind them."""

    def __init__(self, calls: CallStore, seals: SealBook) -> None:
        self._calls = calls
        self._seals = seals
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def of(self, call_ids: Sequence[str]) -> list[Sheet]:
        """See Sheets."""
        return await asyncio.gather(*(self._slotted(call_id) for call_id in call_ids))

    async def chains(self, call_ids: Sequence[str]) -> list[list[Link] | None]:
        """See Sheets."""
        return await asyncio.gather(*(self._links(call_id) for call_id in call_ids))

    async def _slotted(self, call_id: str) -> Sheet:
        async with self._slots:
            return await self._sheet(call_id)

    async def _sheet(self, call_id: str) -> Sheet:
        links = await self._links(call_id)
        if links is None:
            return Sheet(call_id, None)
        try:
            events = await self._calls.journal(call_id)
            call = fold(call_id, events)
            entries = {event.event_id: entry_of(event) for event in events}
        except Transient:
            raise
        except (OcpIngestError, *UNREADABLE):
            return Sheet(call_id, links)
        waiting = await self._seals.waiting(call_id)
        return Sheet(call_id, links, events, call, entries, waiting, await self._rows(call_id))

    async def _links(self, call_id: str) -> list[Link] | None:
        try:
            return await self._seals.chain(call_id)
        except Transient:
            raise
        except (OcpIngestError, *UNREADABLE):
            return None

    async def _rows(self, call_id: str) -> Rows | None:
        try:
            record = await self._calls.load(call_id)
            return Rows(record, tuple(await self._seals.audit(call_id)))
        except Transient:
            raise
        except (OcpIngestError, *UNREADABLE):
            return None
