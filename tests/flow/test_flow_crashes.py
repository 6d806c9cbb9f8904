"""An invocation may die anywhere, or lose a request or an answer: the same export, the same end.

The points are not written by hand: a clean run says which effects are passed in which order, by
all invocations together, and each of them is a case.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from ocp_ingest.adapters.memory.faults import Fault, Kind
from ocp_ingest.core.call import fold
from ocp_ingest.core.export_job import End
from ocp_ingest.core.limits import HOUR_MS, MINUTE_MS
from tests.flow.machine_stage import Cloud
from tests.flow.reconcile_stage import GROUP, HOUR_0

Scene = Callable[[], Awaitable[Cloud]]

# A read has no effect that could be lost: it is stopped before it, or fails.
READS = {
    "load", "call_of", "pending", "note", "job", "jobs", "group", "read", "take", "page",
    "is_running", "incidents", "pending_groups",
}  # fmt: skip


async def lost() -> Cloud:
    """Two calls that wait for an export: one lacks its recording, one also its CDR End."""
    cloud = Cloud()
    await cloud.announced("c1")
    half = cloud.at_ocp("c2", HOUR_0 + MINUTE_MS)
    await cloud.stage.send(half.cdrs["dialog_start"])
    await cloud.run_for(9 * HOUR_MS)
    return cloud


async def failing() -> Cloud:
    """The same; OCP fails the first export, and a file of the second in its first round."""
    cloud = await lost()
    cloud.ocp.fails_first = True
    cloud.ocp.cuts[cloud.ocp.calls["c1"].file_name] = 1
    return cloud


# Scene -> exports that it takes.
SCENES: dict[Scene, int] = {lost: 1, failing: 2}


async def passed(scene: Scene) -> list[str]:
    """The effects of a clean run, in order."""
    cloud = await scene()
    await cloud.sweep()
    return cloud.passed


def strike(cloud: Cloud, number: int, kind: Kind) -> None:
    """Lets the fault happen at the effect of that number, once."""
    cloud.passed.clear()
    cloud.decide = lambda _point: Fault(kind) if len(cloud.passed) == number + 1 else None


async def check(cloud: Cloud, scene: Scene) -> None:
    """Everything came, by the same exports, and nothing is left behind."""
    assert await cloud.outcomes() == {"c1": "stored", "c2": "stored"}
    for call_id, call in cloud.ocp.calls.items():
        assert cloud.stored_bytes(call_id) == call.audio
        journal = await cloud.process.world.calls.journal(call_id)
        assert fold(call_id, journal) == await cloud.stage.call(call_id)
        exports = (await cloud.stage.call(call_id)).exports
        assert set(exports) == {job.job_key for job in cloud.jobs()}
        assert all(e.asked_at_ms and e.answered_at_ms for e in exports.values())
    assert len(cloud.ocp.ours) == SCENES[scene], "no second export"
    # A failed export whose answer nobody heard is none of our jobs': the same one asks again.
    *failed, last = [job.end for job in cloud.jobs()]
    assert last is End.DONE
    assert failed in ([], [End.FAILED])
    assert cloud.incidents() == {}
    cloud.check_settled()
    assert cloud.running() == []
    assert cloud.book_state.leases[GROUP].owner == "", "nobody holds on to the group"
    assert not [t for t in cloud.machine.tokens.values() if t.open]
    assert not cloud.downloads.messages


async def test_the_clean_run_passes_every_effect_of_the_chain() -> None:
    assert set(await passed(lost)) >= {
        "ExportBook.lease", "ExportBook.keep", "ExportBook.put_note", "ExportBook.settle",
        "ExportBook.give_up", "Executions.start", "Tasks.heartbeat", "Tasks.success",
        "Detection.ask", "Timetable.set", "WorkQueue.done", "CallStore.append.journal",
    }  # fmt: skip


@pytest.mark.parametrize(
    "kind", [Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.LOST, Kind.UNANSWERED], ids=lambda k: k.value
)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_stopped_anywhere_it_ends_the_same_with_the_same_export(
    scene: Scene, kind: Kind
) -> None:
    wrong: list[str] = []
    for number, point in enumerate(await passed(scene)):
        port, _, method = point.rpartition(".")
        # Bytes on their way, and what becomes of them, are the pipeline's own story.
        if method in ("bytes", "write") or port.startswith("RecordingStore"):
            continue
        if method in READS and (scene is failing or kind in (Kind.CRASH_AFTER, Kind.UNANSWERED)):
            continue
        cloud = await scene()
        strike(cloud, number, kind)
        await cloud.live(6 * HOUR_MS)
        try:
            await check(cloud, scene)
        except AssertionError as error:
            wrong.append(f"{number} {point}: {str(error)[:300]}")
    assert wrong == []


@pytest.mark.parametrize("every", [56, 77, 98, 140, 203])
async def test_stopped_again_and_again_it_ends_all_the_same(every: int) -> None:
    cloud = await lost()
    count = 0

    def decide(_point: str) -> Fault | None:
        nonlocal count
        count += 1
        return Fault(Kind.CRASH_AFTER) if count % every == 0 else None

    cloud.decide = decide
    await cloud.live(12 * HOUR_MS)
    cloud.decide = lambda _point: None
    await cloud.live(6 * HOUR_MS)
    assert await cloud.outcomes() == {"c1": "stored", "c2": "stored"}
    assert len(cloud.ocp.ours) == 1
    cloud.check_settled()
