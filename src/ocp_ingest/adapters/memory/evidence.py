"""Evidence and Incidents in memory."""

from __future__ import annotations

import msgspec

from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.adapters.rejects import DROPPED, REJECTED_BYTES_MAX
from ocp_ingest.core.incidents import Incident, joined
from ocp_ingest.ports import Kept


class MemoryEvidence:
    """See ocp_ingest.ports.Evidence."""

    def __init__(self, state: MemoryState, faults: Faults, *, items_max: int = 100_000) -> None:
        self._state = state
        self._faults = faults
        self._items_max = items_max

    async def keep(self, kind: str, reason: str, body: bytes, at_ms: int) -> None:
        """Keeps a rejected input; the oldest give way."""
        async with self._faults.at("Evidence.keep"):
            rejected = self._state.rejected
            rejected.append(Kept(kind, reason, at_ms, bytes(body[:REJECTED_BYTES_MAX])))
            if (dropped := len(rejected) - self._items_max) > 0:
                del rejected[:dropped]
                self._add(DROPPED, dropped)

    async def kept(self, *, limit: int = 100) -> list[Kept]:
        """The newest rejected inputs."""
        async with self._faults.at("Evidence.kept"):
            return self._state.rejected[::-1][:limit]

    async def count(self, names: dict[str, int]) -> None:
        """Adds to durable counters."""
        async with self._faults.at("Evidence.count"):
            for name, number in names.items():
                if number:
                    self._add(name, number)

    async def counted(self, prefix: str = "") -> dict[str, int]:
        """Durable counters whose name starts so."""
        async with self._faults.at("Evidence.counted"):
            found = sorted(self._state.counters.items())
            return {name: number for name, number in found if name.startswith(prefix)}

    def _add(self, name: str, number: int) -> None:
        self._state.counters[name] = self._state.counters.get(name, 0) + number


class MemoryIncidents:
    """See ocp_ingest.ports.Incidents."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def open(self, incident: Incident) -> bool:
        """Opens it, or adds to the one that is open under its key."""
        async with self._faults.at("Incidents.open"):
            place = self._open_one(incident.key)
            if place is None:
                self._state.incidents.append(incident)
                return True
            self._state.incidents[place] = joined(self._state.incidents[place], incident)
            return False

    async def close(self, key: str, at_ms: int, how: str) -> bool:
        """Closes the open incident of a key."""
        async with self._faults.at("Incidents.close"):
            place = self._open_one(key)
            if place is None:
                return False
            held = self._state.incidents[place]
            closed = msgspec.structs.replace(held, closed_at_ms=at_ms, closed_how=how)
            self._state.incidents[place] = closed
            return True

    async def incidents(self, *, open_only: bool = True, limit: int = 100) -> list[Incident]:
        """Incidents, newest first."""
        async with self._faults.at("Incidents.incidents"):
            held = enumerate(self._state.incidents)
            newest = sorted(held, key=lambda entry: (entry[1].opened_at_ms, entry[0]), reverse=True)
            found = [i for _, i in newest if i.closed_at_ms is None or not open_only]
            return found[:limit]

    def _open_one(self, key: str) -> int | None:
        held = enumerate(self._state.incidents)
        return next((n for n, i in held if i.key == key and i.closed_at_ms is None), None)
