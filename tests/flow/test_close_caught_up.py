"""A call is closed by its journal, not by a record that a crash left behind it."""

from __future__ import annotations

import pytest

from ocp_ingest.adapters.memory.faults import Crashed, Kind
from ocp_ingest.core.eligibility import deadline_at
from ocp_ingest.core.lifecycle import outcome
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.reconcile.detect import detect
from tests.flow.stage import CALL_ID, START_MS, Stage, dialog_end, dialog_start, tone

# OCP has given no answer since, and has deleted the call.
TOO_LATE_MS = DAY_MS


async def crash_at_the_record(stage: Stage, *, recording: bool) -> None:
    """The process dies between journal and record, and OCP never repeats its push."""
    stage.faults.plan("CallStore.append.record", Kind.CRASH_BEFORE)
    with pytest.raises(Crashed):
        await (stage.upload(tone()) if recording else stage.send(dialog_end()))
    stage.restart()


async def look_after_the_deadline(stage: Stage) -> None:
    late_ms = deadline_at(START_MS, stage.settings.policy.stage2) + TOO_LATE_MS
    stage.clock.advance(late_ms - stage.clock.now_ms())
    for _ in range(4):
        await detect(stage.world)
        await stage.drain()


async def test_a_recording_that_is_journalled_is_stored_and_not_called_lost() -> None:
    stage = Stage()
    await stage.send(dialog_start(), dialog_end())
    await crash_at_the_record(stage, recording=True)
    await look_after_the_deadline(stage)
    call = await stage.world.calls.load(CALL_ID)
    assert call is not None
    ended = outcome(call, stage.settings.policy)
    assert ended is not None
    assert ended.outcome == "stored"
    assert not call.closings


async def test_a_cdr_that_is_journalled_is_not_given_up() -> None:
    stage = Stage()
    await stage.send(dialog_start())
    await stage.upload(tone())
    await crash_at_the_record(stage, recording=False)
    await look_after_the_deadline(stage)
    call = await stage.world.calls.load(CALL_ID)
    assert call is not None
    assert call.get("call_ended") is not None
    assert not call.acts
    ended = outcome(call, stage.settings.policy)
    assert ended is not None
    assert ended.outcome == "stored"


async def test_what_was_never_journalled_is_lost_all_the_same() -> None:
    stage = Stage()
    await stage.send(dialog_start(), dialog_end())
    await look_after_the_deadline(stage)
    call = await stage.world.calls.load(CALL_ID)
    assert call is not None
    ended = outcome(call, stage.settings.policy)
    assert ended is not None
    assert ended.outcome == "lost"
