"""A token bucket. Pure: now is an argument, in real seconds."""

import math


class TokenBucket:
    """Lets `burst` requests pass at once and `per_s` a second in the long run."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._at_s: float | None = None

    def take(self, now_s: float) -> int:
        """0 when a request may pass, else whole seconds to wait before the next try."""
        if self._at_s is not None:
            gained = max(0.0, now_s - self._at_s) * self._per_s
            self._left = min(float(self._burst), self._left + gained)
        self._at_s = now_s
        if self._left >= 1:
            self._left -= 1
            return 0
        return max(1, math.ceil((1 - self._left) / self._per_s))
