"""A request that did not bring what was asked, carried to where it becomes a value or an error."""

from __future__ import annotations

from ocp_ingest.core.export_job import RateLimited, Refused, Unavailable


class Failed(Exception):
    """Raised inside this adapter only; `seen` is what the port answers."""

    def __init__(self, seen: Refused | RateLimited | Unavailable) -> None:
        super().__init__(type(seen).__name__)
        self.seen = seen


class Unreadable(Exception):
    """An answer that is not as configured; the text names the field and the setting."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
