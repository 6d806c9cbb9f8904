"""How long to fuzz: a moment in `make test`, as long as asked with FUZZ_SECONDS.

Seconds are processor time of this process, so that a busy machine fuzzes as much as an idle one,
and no more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

EXAMPLES = 12  # of one round; a round is never cut, so it has to be short


def seconds(share: float, quick: float) -> float:
    """The time of one test: its share of FUZZ_SECONDS, or `quick` where none is set."""
    asked = os.environ.get("FUZZ_SECONDS", "")
    return float(asked) * share if asked else quick


def rounds(of_s: float, clock: Callable[[], float] = time.process_time) -> Iterator[int]:
    """Seeds, one a round, until the time is over; at least one."""
    end_s, seed = clock() + of_s, 0
    while seed == 0 or clock() < end_s:
        yield seed
        seed += 1
