"""The only place that reads the machine's time."""

from __future__ import annotations

import asyncio
import time

_MS: int = 1_000


class SystemClock:
    """Real time; what leases, HTTP and tokens are measured in."""

    def now_ms(self) -> int:
        """Epoch milliseconds UTC."""
        return time.time_ns() // 1_000_000

    async def sleep_ms(self, duration_ms: int) -> None:
        """Waits so long."""
        await asyncio.sleep(max(0, duration_ms) / _MS)


class ScaledClock:
    """Domain time that runs `scale` times as fast as real time.

    At the real time `real_origin_s` (epoch seconds) it was `origin_ms`; kept with the data, both
    make the clock go on where it was after a restart.
    """

    def __init__(self, origin_ms: int, scale: float, real_origin_s: float) -> None:
        if scale <= 0:
            raise ValueError("a clock's scale must be above 0")
        self._origin_ms = origin_ms
        self._scale = scale
        self._real_origin_s = real_origin_s

    def now_ms(self) -> int:
        """Epoch milliseconds UTC, in domain time."""
        elapsed_s = time.time() - self._real_origin_s
        return self._origin_ms + int(elapsed_s * self._scale * _MS)

    async def sleep_ms(self, duration_ms: int) -> None:
        """Waits so long in domain time."""
        await asyncio.sleep(max(0, duration_ms) / _MS / self._scale)
