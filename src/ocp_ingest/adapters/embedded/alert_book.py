"""AlertBook on SQLite: what is due is in a partial index, so looking for it reads nothing else."""

from __future__ import annotations

from typing import Any, Final

import apsw
import msgspec

from ocp_ingest.adapters.embedded.database import Database, change, rows
from ocp_ingest.desk.ports import Alert

# Settled alerts that are kept: at a hundred a day half a year of them, in some 10 MB. An incident
# that an older one was about has been closed for long.
ALERTS_MAX: Final = 20_000

_ALERT: Final = msgspec.msgpack.Decoder(Alert)


class EmbeddedAlertBook:
    """See ocp_ingest.desk.ports.AlertBook."""

    def __init__(self, database: Database, *, alerts_max: int = ALERTS_MAX) -> None:
        self._database = database
        self._alerts_max = alerts_max

    async def add(self, alert: Alert) -> bool:
        """Adds it; the oldest settled ones give way."""

        def operation(connection: apsw.Connection) -> bool:
            sql = (
                "INSERT OR IGNORE INTO alert (alert_id, made_at_ms, tries, due_at_ms, alert) "
                "VALUES (?, ?, ?, ?, ?)"
            )
            if not change(connection, sql, (alert.alert_id, alert.made_at_ms, *_columns(alert))):
                return False
            oldest = connection.last_insert_rowid() - self._alerts_max
            change(connection, "DELETE FROM alert WHERE id <= ? AND due_at_ms IS NULL", (oldest,))
            return True

        return await self._database.write(operation)

    async def keep(self, alert: Alert, *, tries_before: int) -> bool:
        """Replaces the alert if it was not tried since."""
        sql = (
            "UPDATE alert SET tries=?, due_at_ms=?, alert=?, made_at_ms=? "
            "WHERE alert_id=? AND tries=?"
        )
        values = (*_columns(alert), alert.made_at_ms, alert.alert_id, tries_before)
        return await self._database.write(lambda c: change(c, sql, values) == 1)

    async def due(self, now_ms: int, *, limit: int = 100) -> list[Alert]:
        """Neither sent nor given up, and due; earliest first."""
        sql = (
            "SELECT alert FROM alert WHERE due_at_ms IS NOT NULL AND due_at_ms <= ? "
            "ORDER BY due_at_ms, alert_id LIMIT ?"
        )
        return await self._read(sql, (now_ms, limit))

    async def alerts(self, *, limit: int = 100) -> list[Alert]:
        """The newest."""
        sql = "SELECT alert FROM alert ORDER BY made_at_ms DESC, alert_id DESC LIMIT ?"
        return await self._read(sql, (limit,))

    async def _read(self, sql: str, values: tuple[Any, ...]) -> list[Alert]:
        found = await self._database.read(lambda c: rows(c, sql, values))
        return [_ALERT.decode(body) for (body,) in found]


def _columns(alert: Alert) -> tuple[int, int | None, bytes]:
    waits = alert.sent_at_ms is None and not alert.given_up
    return alert.tries, (alert.next_at_ms if waits else None), msgspec.msgpack.encode(alert)
