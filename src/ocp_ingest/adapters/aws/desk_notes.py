"""DeskNotes on DynamoDB: one item each, below its 400 KB by the port's own bound."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.dynamo import b, key
from ocp_ingest.adapters.aws.items import Items
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.notes import note_bytes

_PK: Final = "desk#note"


class AwsDeskNotes:
    """See ocp_ingest.desk.ports.DeskNotes."""

    def __init__(self, aws: Aws) -> None:
        self._items = Items(aws)

    async def put(self, name: str, value: dict[str, Any]) -> None:
        """Keeps a value; replaces an older one. Raises TooLarge."""
        await self._items.put(key(_PK, _sk(name)) | {"d": b(note_bytes(value))})

    async def get(self, name: str) -> dict[str, Any] | None:
        """What was kept, or None. Reads its own writes."""
        item = await self._items.get(_PK, _sk(name))
        found: dict[str, Any] | None = None if item is None else msgspec.json.decode(item["d"]["B"])
        return found


def _sk(name: str) -> str:
    return table.bounded_key("n", name)
