"""Domain time on the virtual loop; each process may run ahead or behind by its skew."""

from __future__ import annotations

import asyncio

from ocp_proof.loop import SimLoop


class SimClock:
    """See ocp_ingest.ports.Clock."""

    def __init__(self, loop: SimLoop, origin_ms: int, skew_ms: int = 0) -> None:
        self._loop = loop
        self._origin_ms = origin_ms + skew_ms

    def now_ms(self) -> int:
        """Epoch milliseconds UTC, as this process believes."""
        return self._origin_ms + self._loop.now_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        """Waits in virtual time."""
        await asyncio.sleep(max(0, duration_ms) / 1000)
