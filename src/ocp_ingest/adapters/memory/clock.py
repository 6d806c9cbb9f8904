"""A clock that moves only when told."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class ManualClock:
    """Time stands still until `advance`; sleepers wake in the order of their times."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms
        self._order = count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        """Epoch milliseconds UTC."""
        return self._now_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        """Waits until somebody advances the clock so far; a sleep of 0 gives others a turn."""
        if duration_ms <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_ms + duration_ms, next(self._order), woken))
        await woken

    def next_at(self) -> int | None:
        """When the next sleeper wakes: how far a simulation may jump."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def advance(self, duration_ms: int) -> None:
        """Moves time on and wakes who slept until then."""
        self.advance_to(self._now_ms + duration_ms)

    def advance_to(self, at_ms: int) -> None:
        """Moves time to a moment that is not before now."""
        assert at_ms >= self._now_ms, "time does not go back"
        self._now_ms = at_ms
        while self._sleepers and self._sleepers[0][0] <= at_ms:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
