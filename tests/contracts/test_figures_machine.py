"""Figures under any sequence of events, restarts, rebuilds and changes of rules."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ocp_ingest.adapters.journal import Deriving, derive
from ocp_ingest.core.counting import TERMS, check_days, day_of
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.routing import Rule
from ocp_ingest.ports import CallQuery
from tests.contracts import samples
from tests.contracts.runtimes import DESKS, DeskRuntime
from tests.contracts.samples import T0
from tests.contracts.test_figures import expected, records, settle, told

T = TypeVar("T")

CALLS: Final = ("c1", "c2", "c3")
EVENTS: Final = [
    *(event for call in CALLS for event in samples.pool(call)),
    samples.start("c2", T0 - DAY_MS), samples.routed("c3", lob="cards"),
    samples.stored("c3", lob="cards"), samples.start("c3", T0 + DAY_MS, group="g2"),
]  # fmt: skip
RULES: Final = (
    Deriving(routing=(Rule(lob="care", when={"ocp_group": "g1"}),)),
    Deriving(routing=(Rule(lob="cards", when={"ocp_group": "g*"}),)),
    Deriving(CallPolicy(recording_off_groups=("g1",))),
)
FIRST, LAST = day_of(T0 - 40 * DAY_MS), day_of(T0 + 40 * DAY_MS)
NEVER: Final = day_of(0)  # of calls whose start nothing tells
EDGES: Final = [T0 - HOUR_MS, T0, T0 + 1, T0 + HOUR_MS]

numbers = st.integers(0, len(EVENTS) - 1)


class FiguresMachine(RuleBasedStateMachine):
    """The same commands on several runtimes; figures are those folded from their records."""

    names: ClassVar[tuple[str, ...]] = ("embedded", "memory")

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.runtimes: list[DeskRuntime] = []
        for name in self.names:
            folder = Path(self.folder.name) / name
            folder.mkdir()
            self.runtimes.append(DESKS[name](folder))

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            for runtime in self.runtimes:
                runtime.close()
            self.runner.close()
            self.folder.cleanup()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @rule(chosen=st.lists(numbers, min_size=1, max_size=8))
    def append(self, chosen: list[int]) -> None:
        for runtime in self.runtimes:
            self.run(runtime.calls.append([EVENTS[number] for number in chosen]))

    @rule(rules=st.sampled_from(RULES))
    def configure(self, rules: Deriving) -> None:
        for runtime in self.runtimes:
            runtime.deriving = rules
            self.run(settle(runtime))

    @rule(call=st.sampled_from(CALLS))
    def rebuild(self, call: str) -> None:
        for runtime in self.runtimes:
            assert self.run(runtime.calls.rebuild(call)) is False

    @rule(days=st.integers(-2, 2))
    def recount(self, days: int) -> None:
        for runtime in self.runtimes:
            counted = runtime.figures.recount(day_of(T0 + days * DAY_MS), by="x", now_ms=T0)
            assert self.run(counted) == 0

    @invariant()
    def counters_are_those_of_the_records(self) -> None:
        check_days(FIRST, LAST)
        for runtime in getattr(self, "runtimes", ()):
            found = self.run(runtime.figures.days(FIRST, LAST))
            found += self.run(runtime.figures.days(NEVER, NEVER))
            assert told(found) == self.run(expected(runtime))
            assert all(n > 0 for each in found for n in each.terms.values())
            assert all(set(each.terms) <= set(TERMS) for each in found)

    @invariant()
    def open_calls_are_told_by_their_ages(self) -> None:
        for runtime in getattr(self, "runtimes", ()):
            derived = [derive(call, runtime.deriving) for call in self.run(records(runtime))]
            waiting = [r for r in derived if r.pend_at is not None and r.stage != "stored"]
            for lobs in (None, ["care"], ["cards", ""]):
                starts = [r.started_at for r in waiting if lobs is None or r.lob in lobs]
                spans = zip([-(1 << 60), *EDGES], [*EDGES, 1 << 60], strict=True)
                counts = [sum(a <= start < b for start in starts) for a, b in spans]
                assert self.run(runtime.figures.open_ages(EDGES, lobs)) == counts
                oldest = self.run(runtime.figures.oldest_open(lobs))
                assert (oldest.started_at if oldest else None) == min(starts, default=None)

    @invariant()
    def calls_are_found_by_problem_and_line_of_business(self) -> None:
        for runtime in getattr(self, "runtimes", ()):
            calls = self.run(records(runtime))
            derived = {call.call_id: derive(call, runtime.deriving) for call in calls}
            for problem in ("truncated", "absent-code"):
                for lobs in (None, ("care", "cards")):
                    page = self.run(runtime.calls.page(CallQuery(problem=problem, lobs=lobs)))
                    assert {call.call_id for call in page.calls} == {
                        call for call, row in derived.items()
                        if problem in row.problems and (lobs is None or row.lob in lobs)
                    }  # fmt: skip


FiguresMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestFiguresMachine = FiguresMachine.TestCase
