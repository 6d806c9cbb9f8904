"""Many seeds on all cores, for as long or as many as asked; what they hit, and what broke."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context

import msgspec

from ocp_proof.effects import ALL_PAIRS
from ocp_proof.run import Ran, run


class Total(msgspec.Struct):
    """What all seeds gave together."""

    seeds: int = 0
    calls: int = 0
    call_days: float = 0.0  # simulated calls times simulated days
    steps: int = 0
    checks: int = 0
    faults: int = 0
    seconds: float = 0.0  # on the wall
    hits: Counter[tuple[str, str]] = Counter()
    passed: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    broken: list[Ran] = []

    @property
    def call_days_per_s(self) -> float:
        """Simulated call-days for each second on the wall."""
        return self.call_days / max(self.seconds, 0.001)

    @property
    def missing(self) -> list[tuple[str, str]]:
        """Pairs of an effect and a fault that can strike it, and never did."""
        return [pair for pair in ALL_PAIRS if not self.hits[pair]]

    def add(self, ran: Ran) -> None:
        """Counts one seed."""
        self.seeds += 1
        self.calls += ran.calls
        self.call_days += ran.calls * ran.days
        self.steps += ran.steps
        self.checks += ran.checks
        self.faults += len(ran.struck)
        self.hits.update((one.point, one.what) for one in ran.struck)
        self.passed.update(ran.points)
        self.outcomes.update(ran.outcomes)
        if ran.broken:
            self.broken.append(ran)


def run_many(
    first: int, count: int, *, calls: int, seconds: float | None = None, jobs: int = 0,
    stop_at_failure: bool = True,
) -> Total:  # fmt: skip
    """Seeds `first` to `first + count - 1`, or as many of them as fit into `seconds`."""
    began = time.monotonic()
    total = Total()
    seeds = iter(range(first, first + count))
    jobs = jobs or os.cpu_count() or 1
    # The modules are there for good: no collection after a seed needs to look at them.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=gc.freeze) as pool:
        running: set[Future[Ran]] = set()
        while True:
            over = seconds is not None and time.monotonic() - began > seconds
            if not over and not (total.broken and stop_at_failure):
                running |= set(_start(pool, seeds, calls, 2 * jobs - len(running)))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                total.add(one.result())
    total.seconds = time.monotonic() - began
    return total


def _start(
    pool: ProcessPoolExecutor, seeds: Iterator[int], calls: int, room: int
) -> Iterator[Future[Ran]]:
    for _ in range(max(0, room)):
        seed = next(seeds, None)
        if seed is None:
            return
        yield pool.submit(run, seed, calls=calls)
