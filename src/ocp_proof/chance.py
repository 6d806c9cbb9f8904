"""Where faults come from: one stream of chance for each effect, so that none shifts another.

A fault is named by (effect, n): the n-th time that the effect was passed. A run with some of them
switched off is the same run up to the first of them: that is what shrinking relies on.

Rules
1. Each seed has its own subset of faults that happen at all, some of them often: a seed with one
   kind of fault at a high rate reaches what a little of everything never does.
2. While a store of ours is out, all that is asked of it fails, by the rules of its seed too.
3. Besides, each seed aims at a few pairs of effect and fault, turn by turn through the table, so
   that rare pairs have their share whatever chance says.
4. Every pass of every effect, with its time, goes into `trace`: two runs are one if theirs are.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import msgspec

from ocp_proof.effects import ALL_PAIRS, EFFECTS

# The first passes of an effect are likelier to fail: rare ones get their share, hot ones too.
_EARLY: Final = 0.10
_EARLY_PASSES: Final = 8.0
_ALWAYS: Final = 0.0012
# Pairs that a seed aims at; a prime step takes it through the whole table in some fifty seeds.
_AIMED: Final = 12
_AIM_STEP: Final = 37
# An aimed fault strikes one of the first passes, most of them the first few: all are reached.
_AIM_PASSES: Final = (1, 1, 2, 3, 5, 8, 13, 40)
# Effects that a run passes a few times at most; the story sees to it that it does (`story`).
_RARE: Final = (
    "BulkBook.", "DeskNotes.", "CallStore.rebuild", "CallStore.call_ids", "Evidence.",
    "Ocp.cancel", "RecordingStore.hash", "RecordingStore.head",
)  # fmt: skip
_RARE_PASSES: Final = (1, 1, 2)

# One seed in so many is troubled, and so many of its first exports fail.
_TROUBLED_EVERY: Final = 9
_FAILED: Final = 12
# Of a store that is out, one answer in so many is lost on its way back.
_DONE_EVERY: Final = 5
# A queue that gives its messages to nobody for an hour is not out but broken: each of them lies
# there for a lease, and every look at the call would put another.
_NEVER_DONE: Final = ("WorkQueue.take",)

Name = tuple[str, int]


class Struck(msgspec.Struct, frozen=True):
    """A fault that happened: at which effect, at its how-manieth pass, and what."""

    point: str
    n: int
    what: str


def stream(*parts: object) -> Random:
    """A generator that depends on the parts alone."""
    return Random(":".join(map(str, parts)))  # noqa: S311 - reproducible, no secret


class Chance:
    """Decides, for one seed, what goes wrong; `off` are faults that don't happen this time."""

    def __init__(
        self, seed: int, *, rate: float, kinds: frozenset[str] | None = None,
        off: frozenset[Name] = frozenset(), calm_us: int | None = None,
        now_us: Callable[[], int] = lambda: 0,
        outages_ms: Sequence[tuple[int, int, str]] = (),
    ) -> None:  # fmt: skip
        """`rate` multiplies all chances, 0: nothing goes wrong; `kinds` None: every one.

        From `calm_us` on, by `now_us`, nothing happens any more; None: it never ends.
        """
        self._seed = seed
        self._rate = rate
        self._off = off
        self._calm_us = math.inf if calm_us is None else calm_us
        self._now_us = now_us
        self._outages_us = [(a * 1_000, b * 1_000, whose) for a, b, whose in outages_ms]
        self._places: dict[str, _Place] = {}
        self._kinds = kinds
        self._aims = aims(seed) if rate else {}
        self._told = bytearray()
        self.struck: list[Struck] = []

    @property
    def trace(self) -> str:
        """A hash of every effect that was passed, in order, with its time and fault."""
        return hashlib.blake2b(self._told, digest_size=8).hexdigest()

    @property
    def passes(self) -> Counter[str]:
        """How often each effect was passed."""
        return Counter({point: place.passes for point, place in self._places.items()})

    def draw(self, point: str) -> tuple[str, Random] | None:
        """The fault at this pass of the effect, with a generator for its details, or None."""
        place = self._places.get(point)
        if place is None:
            aimed = {n: what for (at, n), what in self._aims.items() if at == point}
            place = self._places[point] = _Place(self._seed, point, self._kinds, aimed)
        place.passes = n = place.passes + 1
        now_us = self._now_us()
        self._told += b"%d %s\n" % (now_us, place.name)
        if now_us >= self._calm_us or not self._rate:
            return None
        chance = _ALWAYS + _EARLY / (1 + n / _EARLY_PASSES) ** 2
        what = place.aimed.get(n)
        if place.random() < chance * self._rate and what is None and place.kinds:
            [what] = stream(self._seed, point, n, "kind").choices(place.kinds, place.weights)
        if what is None and self._outages_us:
            what = self._outage(place, point, now_us)
        if what is None or (point, n) in self._off:
            return None
        self._told += what.encode()
        self.struck.append(Struck(point, n, what))
        return what, stream(self._seed, point, n, "detail")

    def out(self, whose: str, for_ms: int) -> None:
        """A store of ours is out from now on for so long, unless nothing goes wrong at all."""
        now_us = self._now_us()
        self._outages_us.append((now_us, now_us + for_ms * 1_000, whose))

    def _outage(self, place: _Place, point: str, now_us: int) -> str | None:
        """What is asked of a store that is out is lost; now and then it is done all the same."""
        if "lost" not in EFFECTS.get(point, {}):
            return None
        for from_us, to_us, whose in self._outages_us:
            if from_us <= now_us < to_us and point.startswith(whose):
                done = place.passes % _DONE_EVERY == 0 and point not in _NEVER_DONE
                return "unanswered" if done and "unanswered" in EFFECTS[point] else "lost"
        return None


class _Place:
    """One effect in one run."""

    __slots__ = ("aimed", "kinds", "name", "passes", "random", "weights")

    def __init__(
        self, seed: int, point: str, kinds: frozenset[str] | None, aimed: dict[int, str]
    ) -> None:
        given = EFFECTS.get(point, {})
        self.name = point.encode()
        self.random = stream(seed, point).random
        self.aimed = aimed  # at which pass, what
        self.kinds = [kind for kind in given if kinds is None or kind in kinds]
        self.weights = [given[kind] for kind in self.kinds]
        self.passes = 0


def is_troubled(seed: int) -> bool:
    """Whether troubles of this seed come together: exports fail, and then a store of ours does."""
    return seed % _TROUBLED_EVERY == 0


def aims(seed: int) -> dict[Name, str]:
    """The faults that a seed is to see at the latest at these passes of their effects."""
    rng = stream(seed, "aims")
    found: dict[Name, str] = {}
    for turn in range(_AIMED):
        point, kind = ALL_PAIRS[(seed * _AIMED + turn) * _AIM_STEP % len(ALL_PAIRS)]
        rare = point.startswith(_RARE)
        found[point, rng.choice(_RARE_PASSES if rare else _AIM_PASSES)] = kind
        if point == "Ocp.cancel":  # only stuck exports are cancelled
            found |= {("Ocp.create", n): "stuck" for n in (1, 2, 3)}
    if is_troubled(seed):
        found |= {("Ocp.create", n): "failed" for n in range(1, _FAILED + 1)}
    return found
