"""Where faults come from: one stream of chance for each point, so that no point shifts another.

A fault is named by (point, n): the n-th time that the point was passed. A run with some of them
switched off is the same run up to the first of them: that is what shrinking relies on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

# The first passes of a point are likelier to fail: rare points get their share, hot ones too.
_EARLY: Final = 0.10
_EARLY_PASSES: Final = 8.0
_ALWAYS: Final = 0.0012

Name = tuple[str, int]


class Struck(msgspec.Struct, frozen=True):
    """A fault that happened: at which point, at its how-manieth pass, and what."""

    point: str
    n: int
    what: str


def stream(*parts: object) -> Random:
    """A generator that depends on the parts alone."""
    return Random(":".join(map(str, parts)))  # noqa: S311 - reproducible, no secret


class Chance:
    """Decides, for one seed, what goes wrong; `off` are faults that don't happen this time."""

    def __init__(
        self, seed: int, *, rate: float, off: frozenset[Name] = frozenset(),
        calm: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self._seed = seed
        self._rate = rate
        self._off = off
        self._calm = calm
        self._streams: dict[str, Random] = {}
        self._passes: Counter[str] = Counter()
        self.struck: list[Struck] = []
        self.hits: Counter[tuple[str, str]] = Counter()

    def draw(self, point: str, kinds: Sequence[tuple[T, float]]) -> tuple[T, Random] | None:
        """A fault of these kinds (with weights) at this pass of the point, or None."""
        n = self._passes[point] = self._passes[point] + 1
        rng = self._streams.get(point)
        if rng is None:
            rng = self._streams[point] = stream(self._seed, point)
        chance = _ALWAYS + _EARLY / (1 + n / _EARLY_PASSES) ** 2
        hit, choice, detail = rng.random() < chance * self._rate, rng.random(), rng.random()
        if not hit or self._calm() or (point, n) in self._off:
            return None
        kind = _pick(kinds, choice)
        what = str(getattr(kind, "value", kind))
        self.struck.append(Struck(point, n, what))
        self.hits[point, what] += 1
        return kind, stream(self._seed, point, n, detail)


def _pick(kinds: Sequence[tuple[T, float]], choice: float) -> T:
    at = choice * sum(weight for _, weight in kinds)
    for kind, weight in kinds:
        at -= weight
        if at < 0:
            return kind
    return kinds[-1][0]
