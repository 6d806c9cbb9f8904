"""Evidence and Incidents on SQLite."""

from __future__ import annotations

from typing import Final

import apsw
import msgspec

from ocp_ingest.adapters.embedded import journal_rows
from ocp_ingest.adapters.embedded.database import Database, change, rows, value
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.rejects import DROPPED, REJECTED_BYTES_MAX
from ocp_ingest.core.incidents import Incident, joined
from ocp_ingest.ports import Kept

_COUNT: Final = """
INSERT INTO counter (name, n) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n
"""
_INCIDENT: Final = msgspec.msgpack.Decoder(Incident)


def add_count(connection: apsw.Connection, name: str, number: int) -> int:
    """Adds to a durable counter."""
    return change(connection, _COUNT, (name, number))


class EmbeddedEvidence:
    """See ocp_ingest.ports.Evidence; bodies are encrypted, they may hold personal data."""

    def __init__(self, database: Database, vault: Vault, *, items_max: int) -> None:
        self._database = database
        self._vault = vault
        self._items_max = items_max

    async def keep(self, kind: str, reason: str, body: bytes, at_ms: int) -> None:
        """Keeps a rejected input; the oldest give way."""
        head = body[:REJECTED_BYTES_MAX]

        def operation(connection: apsw.Connection) -> None:
            key_id = self._vault.key_id
            sealed = self._vault.encrypt(head, "rejected")
            sql = "INSERT INTO rejected (kind, reason, at_ms, key_id, body) VALUES (?, ?, ?, ?, ?)"
            change(connection, sql, (kind, reason, at_ms, key_id, sealed))
            oldest = connection.last_insert_rowid() - self._items_max
            journal_rows.note_key(connection, key_id)
            dropped = change(connection, "DELETE FROM rejected WHERE id <= ?", (oldest,))
            if dropped:
                add_count(connection, DROPPED, dropped)

        await self._database.write(operation)

    async def kept(self, *, limit: int = 100) -> list[Kept]:
        """The newest rejected inputs."""
        sql = "SELECT kind, reason, at_ms, key_id, body FROM rejected ORDER BY id DESC LIMIT ?"
        found = await self._database.read(lambda c: rows(c, sql, (limit,)))
        return [
            Kept(kind, reason, at_ms, self._vault.decrypt(body, "rejected", key_id))
            for kind, reason, at_ms, key_id, body in found
        ]

    async def count(self, names: dict[str, int]) -> None:
        """Adds to durable counters."""
        added = [(name, number) for name, number in names.items() if number]
        await self._database.write(lambda c: [add_count(c, *one) for one in added])

    async def counted(self, prefix: str = "") -> dict[str, int]:
        """Durable counters whose name starts so."""
        sql = "SELECT name, n FROM counter WHERE substr(name, 1, ?) = ? ORDER BY name"
        found = await self._database.read(lambda c: rows(c, sql, (len(prefix), prefix)))
        return dict(found)


class EmbeddedIncidents:
    """See ocp_ingest.ports.Incidents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, incident: Incident) -> bool:
        """Opens it, or adds to the one that is open under its key."""

        def operation(connection: apsw.Connection) -> bool:
            held = _open_one(connection, incident.key)
            if held is None:
                sql = "INSERT INTO incident (key, opened_at_ms, incident) VALUES (?, ?, ?)"
                body = msgspec.msgpack.encode(incident)
                change(connection, sql, (incident.key, incident.opened_at_ms, body))
                return True
            more = joined(held, incident)
            if more != held:
                _replace(connection, more)
            return False

        return await self._database.write(operation)

    async def close(self, key: str, at_ms: int, how: str) -> bool:
        """Closes the open incident of a key."""

        def operation(connection: apsw.Connection) -> bool:
            held = _open_one(connection, key)
            if held is None:
                return False
            _replace(connection, msgspec.structs.replace(held, closed_at_ms=at_ms, closed_how=how))
            return True

        return await self._database.write(operation)

    async def incidents(self, *, open_only: bool = True, limit: int = 100) -> list[Incident]:
        """Incidents, newest first."""
        where = "WHERE closed_at_ms IS NULL" if open_only else ""
        sql = f"SELECT incident FROM incident {where} ORDER BY opened_at_ms DESC, id DESC LIMIT ?"  # noqa: S608
        found = await self._database.read(lambda c: rows(c, sql, (limit,)))
        return [_INCIDENT.decode(body) for (body,) in found]


def _open_one(connection: apsw.Connection, key: str) -> Incident | None:
    sql = "SELECT incident FROM incident WHERE key=? AND closed_at_ms IS NULL"
    body = value(connection, sql, (key,))
    return None if body is None else _INCIDENT.decode(body)


def _replace(connection: apsw.Connection, incident: Incident) -> None:
    sql = "UPDATE incident SET incident=?, closed_at_ms=? WHERE key=? AND closed_at_ms IS NULL"
    body = msgspec.msgpack.encode(incident)
    change(connection, sql, (body, incident.closed_at_ms, incident.key))
