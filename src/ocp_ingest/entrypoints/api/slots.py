"""How much may be under way at once; beyond it a sender is told when to come again.

At a stop, uploads under way may end within a bound; what is still running then is broken off, its
bytes are forgotten, and its sender is told to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ocp_ingest.core.errors import Transient


class Slots:
    """A bound on work of one kind; `watch` is told the number under way whenever it changes."""

    def __init__(
        self, at_once_max: int, retry_after_s: float, what: str,
        watch: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        self._at_once_max = at_once_max
        self._retry_after_s = retry_after_s
        self._what = what
        self._watch = watch or (lambda _: None)
        self._held: set[asyncio.Task[object]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False

    @property
    def under_way(self) -> int:
        """How many slots are taken."""
        return len(self._held)

    @property
    def closing(self) -> bool:
        """Whether nothing more is taken."""
        return self._closing

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Holds a slot. Raises Transient when all are taken, when stopping, or when broken off."""
        if self._closing:
            raise Transient("The server is stopping.", retry_after_s=self._retry_after_s)
        if len(self._held) >= self._at_once_max:
            raise Transient(
                f"{self._at_once_max} {self._what} are under way.",
                retry_after_s=self._retry_after_s,
            )
        task = asyncio.current_task()
        assert task is not None, "a slot is taken inside a task"
        self._held.add(task)
        self._idle.clear()
        self._watch(len(self._held))
        try:
            yield
        except asyncio.CancelledError:
            if not self._closing:
                raise
            task.uncancel()
            raise Transient("The server is stopping.", retry_after_s=self._retry_after_s) from None
        finally:
            self._held.discard(task)
            self._watch(len(self._held))
            if not self._held:
                self._idle.set()

    async def close(self, wait_s: float) -> int:
        """Takes no more; waits for what is under way, then breaks it off. How many were."""
        self._closing = True
        try:
            async with asyncio.timeout(wait_s):
                await self._idle.wait()
        except TimeoutError:
            broken = list(self._held)
            for task in broken:
                task.cancel()
            return len(broken)
        return 0
