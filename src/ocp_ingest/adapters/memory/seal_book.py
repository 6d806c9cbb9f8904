"""SealBook in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.events import Event
from ocp_ingest.core.proof import Entry, Link, Tip, entry_of, extend, order_of, start
from ocp_ingest.evidence.ports import DayClosed, Fresh, Marks

_EVENT: Final = msgspec.json.Decoder(Event)
_LINK: Final = msgspec.msgpack.Decoder(Link)
_TIP: Final = msgspec.msgpack.Decoder(Tip)
_CALL: Final = msgspec.msgpack.Decoder(Call)


class MemorySealBook:
    """See ocp_ingest.evidence.ports.SealBook. Calls in the order in which they came."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def fresh(self, *, limit: int) -> Fresh:
        """Events that no chain has."""
        async with self._faults.at("SealBook.fresh"):
            found = []
            for call_id in self._state.journal:
                found += list(self._lacking(call_id))
                if len(found) >= limit:
                    break
            return Fresh(tuple(found[:limit]))

    async def seal(self, entries: Sequence[Entry], day: str) -> int:
        """Extends the chains."""
        async with self._faults.at("SealBook.seal"):
            if day <= self._note("closing"):
                raise DayClosed(f"The day {day} is closed.")
            by_call: dict[str, list[Entry]] = {}
            for entry in entries:
                by_call.setdefault(entry.call_id, []).append(entry)
            made = sum(self._extend(call_id, held, day) for call_id, held in by_call.items())
            if made:
                self._state.seal_notes.setdefault("first", day)
            return made

    async def done(self, fresh: Fresh) -> None:
        """What is in a chain is not given again anyway."""

    async def chain(self, call_id: str) -> list[Link]:
        """All links of a call."""
        async with self._faults.at("SealBook.chain"):
            return self._chain(call_id)

    async def sealed_on(self, day: str, *, after: str = "", limit: int) -> list[Tip]:
        """Calls that were sealed on a day."""
        async with self._faults.at("SealBook.sealed_on"):
            held = self._state.seal_days.get(day, {})
            first = order_of(after) if after else ""
            return [_TIP.decode(held[name]) for name in sorted(held) if name > first][:limit]

    async def marks(self) -> Marks:
        """How far the days are."""
        async with self._faults.at("SealBook.marks"):
            names = ("first", "closing", "closed", "statement")
            return Marks(*(self._note(name) for name in names))

    async def begin_close(self, day: str) -> None:
        """Moves the mark on, never back."""
        async with self._faults.at("SealBook.begin_close"):
            self._state.seal_notes["closing"] = max(day, self._note("closing"))

    async def closed(self, day: str, statement: str) -> None:
        """Moves the mark on, never back."""
        async with self._faults.at("SealBook.closed"):
            if day > self._note("closed"):
                self._state.seal_notes |= {"closed": day, "statement": statement}
            for old in [held for held in self._state.seal_days if held <= self._note("closed")]:
                del self._state.seal_days[old]

    async def call_ids(self, *, after: str = "", limit: int) -> list[str]:
        """Calls that have a chain."""
        async with self._faults.at("SealBook.call_ids"):
            return sorted(name for name in self._state.seal_links if name > after)[:limit]

    async def waiting(self, call_id: str) -> frozenset[str]:
        """Events that no chain has."""
        async with self._faults.at("SealBook.waiting"):
            return frozenset(entry.event_id for entry in self._lacking(call_id))

    async def audit(self, call_id: str) -> list[str]:
        """The record must be what the journal gives."""
        async with self._faults.at("SealBook.audit"):
            body = self._state.records.get(call_id)
            events = [_EVENT.decode(e) for e in self._state.journal.get(call_id, {}).values()]
            if not events or (body is not None and _CALL.decode(body) == fold(call_id, events)):
                return []
            return ["The record is not what its journal gives: run `ocp-ingest replay`."]

    async def strays(self, *, limit: int) -> list[str]:
        """Calls that have a record and no journal."""
        async with self._faults.at("SealBook.strays"):
            return sorted(set(self._state.records) - set(self._state.journal))[:limit]

    async def note(self, name: str) -> str:
        """A value."""
        async with self._faults.at("SealBook.note"):
            return self._note(f"note:{name}")

    async def put_note(self, name: str, value: str) -> None:
        """Keeps a value."""
        async with self._faults.at("SealBook.put_note"):
            self._state.seal_notes[f"note:{name}"] = value

    # -----------------------------------------------------------------------------------------

    def _lacking(self, call_id: str) -> Iterator[Entry]:
        sealed = {link.entry.event_id for link in self._chain(call_id)}
        for event_id, body in self._state.journal.get(call_id, {}).items():
            if event_id not in sealed:
                yield entry_of(_EVENT.decode(body))

    def _extend(self, call_id: str, entries: list[Entry], day: str) -> int:
        held = self._chain(call_id)
        sealed = {link.entry.event_id for link in held}
        lacking = {e.event_id: e for e in entries if e.event_id not in sealed}
        if not lacking:
            return 0
        tip = Tip(call_id, held[-1].n, held[-1].link) if held else start(call_id)
        links = extend(tip, lacking.values(), day)
        kept = self._state.seal_links.setdefault(call_id, [])
        kept += [msgspec.msgpack.encode(link) for link in links]
        end = Tip(call_id, links[-1].n, links[-1].link)
        self._state.seal_days.setdefault(day, {})[order_of(call_id)] = msgspec.msgpack.encode(end)
        return len(links)

    def _chain(self, call_id: str) -> list[Link]:
        return [_LINK.decode(body) for body in self._state.seal_links.get(call_id, [])]

    def _note(self, name: str) -> str:
        return self._state.seal_notes.get(name, "")
