"""A group whose data reaches exports late is asked later; never earlier than configured."""

from __future__ import annotations

from ocp_ingest.adapters.memory.export_book import ExportBookState, MemoryExportBook
from ocp_ingest.core.cost_model import CostModel
from ocp_ingest.core.eligibility import Policy, hour_after
from ocp_ingest.core.events import Event, export_answered
from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.export_job import new_job
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.plan import PendingCall, Window
from ocp_ingest.reconcile.learn import learn, patient
from ocp_ingest.reconcile.world import Stage2
from tests.flow.fake_export_api import FakeOcp
from tests.flow.stage import Stage, dialog_start, settings

POLICY = Policy()
START = 1_790_000_000_000
HOURS = (START - START % HOUR_MS, START + DAY_MS)


def _call(age_ms: int = 0) -> PendingCall:
    end = START + 60_000
    at = hour_after(end) + POLICY.watermark_ms
    return PendingCall("c", START, end, 0, at, START + POLICY.retention_ms - age_ms, end)


def test_a_longer_watermark_of_the_group_defers_its_calls() -> None:
    group = GroupState(ocp_group="g", watermark_ms=POLICY.watermark_ms + 3 * HOUR_MS)
    [call] = patient(group, [_call()], POLICY)
    assert call.eligible_at == _call().eligible_at + 3 * HOUR_MS


def test_a_shorter_one_changes_nothing() -> None:
    group = GroupState(ocp_group="g", watermark_ms=HOUR_MS)
    assert patient(group, [_call()], POLICY) == [_call()]


def test_a_call_near_its_deletion_does_not_wait_for_what_was_learned() -> None:
    group = GroupState(ocp_group="g", watermark_ms=12 * HOUR_MS)
    near = _call(age_ms=POLICY.retention_ms - 2 * DAY_MS)
    assert patient(group, [near], POLICY)[0].eligible_at == near.eligible_at


async def _learned(missed: int, found: int) -> GroupState:
    """A group after an export that held recordings, of which some were missed by an earlier one."""
    stage = Stage(settings(policy=CallPolicy(stage2=Policy(watermark_sample_min=found))))
    window = Window(
        ocp_group="emea-retail", from_ms=0, to_ms=HOUR_MS, predicted_s=1.0, urgent=False, why="",
        call_ids=tuple(f"call-{n}" for n in range(found)), deadline_at=0, waiting_since=0,
        ready_at=0,
    )  # fmt: skip
    job = new_job(window, 1, CostModel(), START, types=("audio",))
    for number, call_id in enumerate(window.call_ids):
        await stage.send(dialog_start(call_id))
        if number < missed:
            await stage.world.calls.append([_answer(call_id, "earlier", START, False)])
        await stage.world.calls.append([_answer(call_id, job.job_key, START + 1, True)])
    book = MemoryExportBook(ExportBookState(), stage.faults)
    stage2 = Stage2(api=FakeOcp(stage.clock), book=book, groups=(), owner="me", real=stage.clock)
    group = await learn(stage.world, stage2, GroupState(ocp_group="emea-retail"), job)
    # Whoever takes over an answered job says it again: it counts once.
    assert await learn(stage.world, stage2, group, job) == group
    return group


def _answer(call_id: str, job_key: str, at_ms: int, held: bool) -> Event:
    return export_answered(
        call_id, job_key, at_ms=at_ms, job_id=job_key, task_id="t", window=HOURS,
        found={"audio": held}, files=[], metadata={},
    )  # fmt: skip


async def test_many_recordings_missed_at_the_first_try_raise_the_watermark() -> None:
    assert (await _learned(missed=3, found=10)).watermark_ms == POLICY.watermark_ms + HOUR_MS


async def test_hardly_any_lower_it_again() -> None:
    group = await _learned(missed=0, found=10)
    assert group.watermark_ms == POLICY.watermark_ms - HOUR_MS // 2
