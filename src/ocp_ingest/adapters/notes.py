"""Notes of the desk as every runtime keeps them."""

from __future__ import annotations

from typing import Any

import msgspec

from ocp_ingest.core.errors import TooLarge
from ocp_ingest.desk.ports import NOTE_BYTES_MAX


def note_bytes(value: dict[str, Any]) -> bytes:
    """A value as JSON. Raises TooLarge over NOTE_BYTES_MAX."""
    body = msgspec.json.encode(value)
    if len(body) > NOTE_BYTES_MAX:
        raise TooLarge(f"A note must be at most {NOTE_BYTES_MAX:,} bytes.")
    return body
