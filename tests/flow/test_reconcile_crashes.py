"""A stop at any point of stage 2 resumes the same export, and ends as if it had not happened.

The points are not written by hand: a clean run says which effects are passed, and each of them is
a case, four times: process dead before it, dead after it, request lost, answer lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from _pytest.mark import ParameterSet

from ocp_ingest.adapters.memory.faults import Kind
from ocp_ingest.core.call import fold
from ocp_ingest.core.export_job import End
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from tests.flow.reconcile_stage import GROUP, HOUR_0, Theatre

KINDS = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.LOST, Kind.UNANSWERED)


Scene = Callable[[], Awaitable[Theatre]]


async def _lost() -> Theatre:
    """Two calls that wait for an export: one lacks its recording, one also its CDR End."""
    theatre = Theatre()
    await theatre.announced("c1")
    half = theatre.at_ocp("c2", HOUR_0 + MINUTE_MS)
    await theatre.stage.send(half.cdrs["dialog_start"])
    await theatre.run_for(9 * HOUR_MS)
    return theatre


async def _failing() -> Theatre:
    """The same, and OCP fails the first export."""
    theatre = await _lost()
    theatre.ocp.fails_first = True
    return theatre


# Scene -> exports that it takes.
SCENES: dict[Scene, int] = {_lost: 1, _failing: 2}
# A read has no effect that could be lost: it is stopped before it, or fails.
READS = {"load", "call_of", "pending", "note", "job", "jobs", "group", "read", "take", "page"}


def _passed(scene: Scene) -> list[str]:
    """The effects of a clean run, in order."""

    async def clean() -> list[str]:
        theatre = await scene()
        before = len(theatre.process.faults.passed)
        await theatre.sweep()
        return theatre.process.faults.passed[before:]

    return asyncio.run(clean())


def _cases() -> list[ParameterSet]:
    cases: list[ParameterSet] = []
    for scene in SCENES:
        counted: Counter[str] = Counter()
        for point in _passed(scene):
            counted[point] += 1
            port, _, method = point.rpartition(".")
            # Bytes on their way are the pipeline's own story: test_crash_points.
            if method in ("bytes", "write"):
                continue
            if scene is _failing and port.startswith("RecordingStore"):
                continue
            for kind in (Kind.CRASH_BEFORE, Kind.LOST) if method in READS else KINDS:
                name = f"{scene.__name__}-{point}-{counted[point]}-{kind.value}"
                cases.append(pytest.param(scene, point, counted[point], kind, id=name))
    return cases


def test_the_clean_run_passes_every_effect_of_the_book() -> None:
    book = {point for point in _passed(_lost) if point.startswith("ExportBook")}
    assert book >= {
        "ExportBook.lease", "ExportBook.keep", "ExportBook.put_note", "ExportBook.note",
        "ExportBook.settle", "ExportBook.give_up", "ExportBook.jobs", "ExportBook.group",
    }  # fmt: skip


@pytest.mark.parametrize(("scene", "point", "nth", "kind"), _cases())
async def test_stopped_anywhere_it_resumes_the_same_export(
    scene: Scene, point: str, nth: int, kind: Kind
) -> None:
    theatre = await scene()
    theatre.process.faults.plan(point, kind, nth=nth)
    await theatre.live(6 * HOUR_MS)
    assert await theatre.outcomes() == {"c1": "stored", "c2": "stored"}
    for call_id, call in theatre.ocp.calls.items():
        assert theatre.stored_bytes(call_id) == call.audio
        journal = await theatre.process.world.calls.journal(call_id)
        assert fold(call_id, journal) == await theatre.stage.call(call_id)
    assert len(theatre.ocp.ours) == SCENES[scene], "no second export"
    # A failed export whose answer nobody heard is none of our jobs': the same one asks again.
    *failed, last = [job.end for job in theatre.jobs()]
    assert last is End.DONE
    assert failed in ([], [End.FAILED])
    assert len(failed) < SCENES[scene]
    for call_id in theatre.ocp.calls:
        exports = (await theatre.stage.call(call_id)).exports
        assert set(exports) == {job.job_key for job in theatre.jobs()}
        assert all(e.asked_at_ms and e.answered_at_ms for e in exports.values())
    assert theatre.incidents() == {}
    theatre.check_settled()
    lease = theatre.book_state.leases[GROUP]
    assert lease.owner == "", "nobody holds on to the group"


async def test_stopped_again_and_again_it_ends_all_the_same() -> None:
    theatre = await _lost()
    for nth in range(1, 40):
        theatre.process.faults.plan("ExportBook.keep", Kind.CRASH_AFTER, nth=2 + nth % 2)
        await theatre.live(30 * MINUTE_MS)
    theatre.restart()
    await theatre.live(DAY_MS)
    assert await theatre.outcomes() == {"c1": "stored", "c2": "stored"}
    assert len(theatre.ocp.ours) == 1
    theatre.check_settled()
