"""Epoch milliseconds to text, without a clock or a time zone: everything is UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(at_ms: int) -> datetime:
    """A UTC datetime; exact, unlike a float timestamp."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def rfc3339(at_ms: int | None) -> str | None:
    """`2026-11-22T10:00:00.000Z`, or None."""
    if at_ms is None:
        return None
    return to_datetime(at_ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def parse_rfc3339(text: str) -> int:
    """Epoch ms of an RFC 3339 text; a date alone is its midnight. Raises ValueError."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def day_path(at_ms: int) -> str:
    """`2026/11/22`."""
    return to_datetime(at_ms).strftime("%Y/%m/%d")


def day(at_ms: int) -> str:
    """`2026-11-22`."""
    return to_datetime(at_ms).strftime("%Y-%m-%d")
