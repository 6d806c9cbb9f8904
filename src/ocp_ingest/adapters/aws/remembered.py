"""Answers that are remembered for a moment: pages that look every few seconds share one read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

# A live page asks every 5 s, each viewer's for itself; counters are a second old in any case.
LOOK_S: Final = 2.0
# Questions remembered at once: of the periods that people look at there are a few.
_QUESTIONS_MAX: Final = 32


class Remembered(Generic[K, V]):
    """Asks once for all who ask at once, and once in `age_s` times what the answer weighs."""

    def __init__(
        self, read: Callable[[K], Awaitable[V]], age_s: float, *,
        weight: Callable[[V], float] = lambda _: 1.0,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`age_s` 0: every question is a read. `weight` is 1 for an answer of the usual size."""
        self._read = read
        self._age_s = age_s
        self._weight = weight
        self._steady_s = steady_s
        self._asking = asyncio.Lock()
        self._said: dict[K, tuple[float, V]] = {}

    async def get(self, question: K) -> V:
        """The answer; raises what the read raises, which is not remembered."""
        async with self._asking:
            now_s = self._steady_s()
            self._said = {q: said for q, said in self._said.items() if now_s < said[0]}
            held = self._said.get(question)
            if held is not None:
                return held[1]
            answer = await self._read(question)
            if self._age_s > 0 and len(self._said) < _QUESTIONS_MAX:
                until_s = self._steady_s() + self._age_s * self._weight(answer)
                self._said[question] = until_s, answer
            return answer
