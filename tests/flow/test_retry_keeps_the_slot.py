"""A failed export's retry has the group's slot before any other window."""

from __future__ import annotations

from ocp_ingest.adapters.memory.faults import Kind
from ocp_ingest.core.limits import HOUR_MS
from tests.flow.reconcile_stage import HOUR_0, Theatre


async def test_a_runner_that_falls_before_it_asks_again_plans_nothing_else_meanwhile() -> None:
    theatre = Theatre()
    for n in range(3):
        await theatre.announced(f"c{n}", HOUR_0 + n * 60 * HOUR_MS)
    await theatre.run_for(200 * HOUR_MS)
    theatre.ocp.poison_hours = {HOUR_0 + n * 60 * HOUR_MS for n in range(3)}
    await theatre.process.sweeper.sweep()
    await theatre.run_until(lambda: bool(theatre.jobs()), within_ms=HOUR_MS)
    [first] = theatre.jobs()
    # Whether its retry is there already: the answer is lost, and the runner starts anew.
    theatre.process.faults.plan("ExportBook.job", Kind.UNANSWERED)
    await theatre.run_until(lambda: "failed" in theatre.ends(), within_ms=HOUR_MS)
    theatre.ocp.poison_hours = set()
    await theatre.run_until(lambda: len(theatre.jobs()) == 2, within_ms=HOUR_MS)
    again = theatre.jobs()[1]
    assert (again.from_ms, again.attempt) == (first.from_ms, 2)
    await theatre.run_until(lambda: theatre.process.idle, within_ms=12 * HOUR_MS)
    assert set((await theatre.outcomes()).values()) == {"stored"}
    assert sorted(theatre.ends()) == ["done", "done", "done", "failed"]
