"""How long an export takes: seconds = α + β · hours, learned per OCP group.

The model is five sums, so it is small, merges by addition and needs no history. Each new job
fades the older ones by 1/64: the group's last ~64 jobs count. Two imaginary jobs on the prior line
(1 h and 48 h) take part in every fit with a tenth of a job's weight, so that one sample, or samples
of one span only, still give a line. The fit is least squares with α ≥ 0 and β ≥ 0.
"""

from typing import Final

import msgspec

ALPHA_PRIOR_S: Final = 120.0  # seconds per job: two minutes of queueing and packing, until measured
BETA_PRIOR_S: Final = 30.0  # seconds per exported hour, until measured
PRIOR_HOURS: Final = (1.0, 48.0)  # the ends of the range that OCP accepts
PRIOR_WEIGHT: Final = 0.1  # jobs; enough for a determinant, too little to argue with a real job
JOBS_MEMORY: Final = 64.0  # jobs; about a week of a busy group, so a changed OCP is learned in days
SECONDS_MAX: Final = 6 * 3600.0  # a longer job is stuck, not slow: it says nothing about the next
PREDICTED_S_MIN: Final = 1.0  # keeps calls per second finite


class CostModel(msgspec.Struct, frozen=True):
    """Faded sums over past jobs: weight, hours, seconds, hours², hours·seconds."""

    n: float = 0.0
    h: float = 0.0
    s: float = 0.0
    hh: float = 0.0
    hs: float = 0.0

    def observe(self, hours: float, seconds: float) -> "CostModel":
        """The model after one more job of `hours` that took `seconds`."""
        seconds = min(max(seconds, 0.0), SECONDS_MAX)
        fade = 1.0 - 1.0 / JOBS_MEMORY
        return CostModel(
            self.n * fade + 1.0,
            self.h * fade + hours,
            self.s * fade + seconds,
            self.hh * fade + hours * hours,
            self.hs * fade + hours * seconds,
        )

    def merge(self, other: "CostModel") -> "CostModel":
        """Both histories in one, weighing at most as much as one full memory."""
        total = self.n + other.n
        keep = min(1.0, JOBS_MEMORY / total) if total else 1.0
        return CostModel(
            total * keep,
            (self.h + other.h) * keep,
            (self.s + other.s) * keep,
            (self.hh + other.hh) * keep,
            (self.hs + other.hs) * keep,
        )

    @property
    def alpha_s(self) -> float:
        """Fixed seconds per job, never negative."""
        return self.line()[0]

    @property
    def beta_s(self) -> float:
        """Seconds per exported hour, never negative."""
        return self.line()[1]

    def predict_s(self, hours: float) -> float:
        """Predicted seconds of an export of `hours`."""
        alpha, beta = self.line()
        return max(PREDICTED_S_MIN, alpha + beta * hours)

    def line(self) -> tuple[float, float]:
        """(α, β) of the best line with neither below zero."""
        n, h, s, hh, hs = self.n, self.h, self.s, self.hh, self.hs
        for hours in PRIOR_HOURS:
            seconds = ALPHA_PRIOR_S + BETA_PRIOR_S * hours
            w = PRIOR_WEIGHT
            n, h, s = n + w, h + w * hours, s + w * seconds
            hh, hs = hh + w * hours * hours, hs + w * hours * seconds
        # The prior jobs differ in span, so the determinant is positive.
        beta = (n * hs - h * s) / (n * hh - h * h)
        alpha = (s - beta * h) / n
        if beta < 0.0:
            return s / n, 0.0
        if alpha < 0.0:
            return 0.0, hs / hh
        return alpha, beta
