"""Timetable on SQLite: a row per alarm, read by whoever rings them."""

from __future__ import annotations

from typing import Any

import msgspec

from ocp_ingest.adapters.embedded.database import Database, change, rows, value
from ocp_ingest.ports import Alarm


class EmbeddedTimetable:
    """See ocp_ingest.ports.Timetable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, name: str, at_ms: int, body: dict[str, Any]) -> bool:
        """Sets an alarm; one of that name that is there already stands."""
        sql = "INSERT OR IGNORE INTO alarm (name, at_ms, body) VALUES (?, ?, ?)"
        values = (name, at_ms, msgspec.json.encode(body))
        return await self._database.write(lambda c: change(c, sql, values) == 1)

    async def cancel(self, name: str) -> None:
        """Forgets an alarm."""
        sql = "DELETE FROM alarm WHERE name=?"
        await self._database.write(lambda c: change(c, sql, (name,)))

    async def due(self, now_ms: int, *, limit: int = 100) -> list[Alarm]:
        """Alarms whose time has come, earliest first; each again until it is cancelled."""
        sql = "SELECT name, at_ms, body FROM alarm WHERE at_ms <= ? ORDER BY at_ms, name LIMIT ?"
        found = await self._database.read(lambda c: rows(c, sql, (now_ms, limit)))
        return [Alarm(name, at_ms, msgspec.json.decode(body)) for name, at_ms, body in found]

    async def next_at(self) -> int | None:
        """When the next alarm rings."""
        sql = "SELECT min(at_ms) FROM alarm"
        found: int | None = self._database.read_now(lambda c: value(c, sql))
        return found
