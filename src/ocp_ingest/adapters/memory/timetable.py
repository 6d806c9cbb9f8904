"""Timetable in memory."""

from __future__ import annotations

from typing import Any

import msgspec

from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.ports import Alarm


class MemoryTimetable:
    """See ocp_ingest.ports.Timetable."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def set(self, name: str, at_ms: int, body: dict[str, Any]) -> bool:
        """Sets an alarm; one of that name that is there already stands."""
        async with self._faults.at("Timetable.set"):
            if name in self._state.alarms:
                return False
            self._state.alarms[name] = (at_ms, msgspec.json.encode(body))
            return True

    async def cancel(self, name: str) -> None:
        """Forgets an alarm."""
        async with self._faults.at("Timetable.cancel"):
            self._state.alarms.pop(name, None)

    async def due(self, now_ms: int, *, limit: int = 100) -> list[Alarm]:
        """Alarms whose time has come, earliest first."""
        async with self._faults.at("Timetable.due"):
            found = sorted((at, name, body) for name, (at, body) in self._state.alarms.items())
        due = [Alarm(name, at, msgspec.json.decode(body)) for at, name, body in found]
        return [alarm for alarm in due if alarm.at_ms <= now_ms][:limit]

    async def next_at(self) -> int | None:
        """When the next alarm rings."""
        async with self._faults.at("Timetable.next_at"):
            return min((at for at, _ in self._state.alarms.values()), default=None)
