"""UserBook and DeskNotes on SQLite: small values under a name."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ocp_ingest.adapters.embedded.database import Database, change, rows, value
from ocp_ingest.adapters.notes import note_bytes
from ocp_ingest.desk.ports import LocalUser

_USER: Final = msgspec.msgpack.Decoder(LocalUser)
_PUT_USER: Final = "INSERT OR REPLACE INTO desk_user (name, user) VALUES (?, ?)"
_PUT_NOTE: Final = "INSERT OR REPLACE INTO desk_note (name, note) VALUES (?, ?)"


class EmbeddedUserBook:
    """See ocp_ingest.desk.ports.UserBook."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def user(self, name: str) -> LocalUser | None:
        """A person, whether enabled or not."""
        sql = "SELECT user FROM desk_user WHERE name=?"
        body = self._database.read_now(lambda c: value(c, sql, (name,)))
        return None if body is None else _USER.decode(body)

    async def users(self) -> list[LocalUser]:
        """All, by name."""
        sql = "SELECT user FROM desk_user ORDER BY name"
        return [_USER.decode(body) for (body,) in await self._database.read(lambda c: rows(c, sql))]

    async def put(self, user: LocalUser) -> None:
        """Adds or replaces a person."""
        values = (user.name, msgspec.msgpack.encode(user))
        await self._database.write(lambda c: change(c, _PUT_USER, values))


class EmbeddedDeskNotes:
    """See ocp_ingest.desk.ports.DeskNotes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, name: str, value: dict[str, Any]) -> None:
        """Keeps a value; replaces an older one. Raises TooLarge."""
        body = note_bytes(value)
        await self._database.write(lambda c: change(c, _PUT_NOTE, (name, body)))

    async def get(self, name: str) -> dict[str, Any] | None:
        """What was kept, or None."""
        sql = "SELECT note FROM desk_note WHERE name=?"
        body = self._database.read_now(lambda c: value(c, sql, (name,)))
        found: dict[str, Any] | None = None if body is None else msgspec.json.decode(body)
        return found
