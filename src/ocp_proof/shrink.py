"""From a failing seed to the few faults that break it: a story short enough to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ocp_proof.chance import Name, Struck
from ocp_proof.run import Ran, run

# Runs that a shrinking may take; each is a whole seed.
TRIES_MAX: Final = 80


def shrink(
    failed: Ran, *, again: Callable[[frozenset[Name]], Ran] | None = None
) -> tuple[Ran, tuple[Struck, ...]]:
    """The run with as few faults as still break a law, and those faults.

    Halves, then quarters, and so on are switched off as long as something still breaks; which
    law breaks may change, for any broken law is worth a look.
    """
    rerun = again or (lambda off: run(failed.seed, calls=failed.calls, off=off))
    best, off, tries, parts = failed, frozenset[Name](), 0, 2
    while tries < TRIES_MAX and best.struck:
        for chunk in _chunks(best.struck, parts):
            tries += 1
            tried = rerun(off | {(one.point, one.n) for one in chunk})
            if tried.broken:
                best, off = tried, off | {(one.point, one.n) for one in chunk}
                break
        else:
            if parts >= len(best.struck):
                break
            parts = min(len(best.struck), parts * 2)
    return best, best.struck


def _chunks(struck: Sequence[Struck], parts: int) -> list[Sequence[Struck]]:
    size = max(1, -(-len(struck) // parts))
    return [struck[at : at + size] for at in range(0, len(struck), size)]
