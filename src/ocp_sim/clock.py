"""Domain time that runs faster than real time, the same in every process given three numbers.

Scaled: call times, watermarks, job durations, retention, the stream's retry window.
Never scaled: HTTP time-outs, token lifetimes, Retry-After, short-lived URLs.
"""

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """What the simulator asks of time."""

    origin_ms: int  # domain time at the beginning

    def now_ms(self) -> int:
        """Domain time, epoch milliseconds."""
        ...

    def wait_s(self, until_ms: int) -> float:
        """Real seconds until that domain time; 0 when it has passed."""
        ...

    def real_s(self, span_ms: float) -> float:
        """How many real seconds a span of domain milliseconds takes."""
        ...


class ScaledClock:
    """Domain now = origin + (real now - real origin) * scale."""

    def __init__(
        self,
        origin_ms: int,
        scale: float,
        real_origin_s: float,
        real_now_s: Callable[[], float] = time.time,
    ) -> None:
        if scale <= 0:
            raise ValueError("clock scale must be above 0")
        self.origin_ms = origin_ms
        self.scale = scale
        self.real_origin_s = real_origin_s
        self._real_now_s = real_now_s
        self._from_ms, self._from_s = origin_ms, real_origin_s

    def now_ms(self) -> int:
        """Domain time, epoch milliseconds."""
        elapsed_s = self._real_now_s() - self._from_s
        return self._from_ms + int(elapsed_s * self.scale * 1000)

    def rescale(self, scale: float) -> tuple[int, float]:
        """Goes on from now at another pace; domain ms and real seconds of that moment.

        Who waits already wakes when the old pace says. Raises ValueError.
        """
        if scale <= 0:
            raise ValueError("clock scale must be above 0")
        self._from_ms, self._from_s = self.now_ms(), self._real_now_s()
        self.scale = scale
        return self._from_ms, self._from_s

    def wait_s(self, until_ms: int) -> float:
        """Real seconds until that domain time; 0 when it has passed."""
        return max(0.0, self.real_s(until_ms - self.now_ms()))

    def real_s(self, span_ms: float) -> float:
        """How many real seconds a span of domain milliseconds takes."""
        return span_ms / 1000 / self.scale
