"""How often one account may ask OCP: one bucket for all of its groups (ocp-facts 2.15).

A request takes its turn; turns come at `per_s`, up to `burst` at once. What OCP says with
Retry-After moves all turns. Whose turn is too far away is told so instead of waiting: the callers'
own waits are durable, this one is not. Now and sleep are arguments; times are real seconds.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.core.export_job import RateLimited

# Longer than this nobody waits inside of a request.
TURN_S_MAX: Final = 5.0
# Longest time for which one answer can stop the account: the durable waits have their own bound.
PAUSE_S_MAX: Final = 300.0


class Turns:
    """The bucket, kept as the time at which it will be full again (GCRA)."""

    def __init__(
        self,
        per_s: float,
        burst: int,
        *,
        now_s: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._interval_s = 1.0 / per_s
        self._slack_s = (burst - 1) * self._interval_s
        self._now_s = now_s
        self._sleep = sleep
        self._full_at_s = -math.inf

    async def take(self) -> None:
        """Waits for a turn. Raises Failed(RateLimited) when it is more than TURN_S_MAX away."""
        now_s = self._now_s()
        full_at_s = max(self._full_at_s, now_s)
        wait_s = full_at_s - self._slack_s - now_s
        if wait_s > TURN_S_MAX:
            raise Failed(RateLimited(wait_s))
        self._full_at_s = full_at_s + self._interval_s
        if wait_s > 0:
            await self._sleep(wait_s)

    def pause(self, for_s: float) -> None:
        """Lets nobody pass for so long, and then one at a time."""
        until_s = self._now_s() + min(max(for_s, 0.0), PAUSE_S_MAX)
        self._full_at_s = max(self._full_at_s, until_s + self._slack_s)


def retry_after_s(value: str | None, date: str | None, wall_s: float) -> float | None:
    """Seconds of a Retry-After header, in either of its forms; None where it says nothing usable.

    A date counts from the answer's own Date, where there is one: the clocks may differ.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text) if len(text) <= 12 else None
    at = _http_date(text)
    if at is None:
        return None
    said_at = _http_date(date or "")
    now_s = said_at.timestamp() if said_at else wall_s
    return max(0.0, at.timestamp() - now_s)


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
