"""A receiver died between journal and record, nobody repeated, and the bytes were swept."""

from __future__ import annotations

import pytest

from ocp_ingest.adapters.memory.faults import Crashed, Kind
from ocp_ingest.core import events as ev
from ocp_ingest.core.lifecycle import next_work, outcome
from ocp_ingest.core.settings import LANDING
from ocp_ingest.ingest.housekeeping import sweep_landing
from tests.flow.stage import CALL_ID, START_MS, Stage, dialog_end, dialog_start, tone

AUDIO = tone()
HOUR_MS = 3_600_000


async def orphaned(stage: Stage) -> None:
    await stage.send(dialog_start(), dialog_end())
    stage.faults.plan("CallStore.append.record", Kind.CRASH_BEFORE)
    with pytest.raises(Crashed):
        await stage.upload(AUDIO)
    stage.restart()
    suspects = await sweep_landing(stage.world, set())
    await sweep_landing(stage.world, suspects)
    assert not stage.state.buckets[LANDING], "nothing in the record speaks of these bytes"


async def test_the_same_bytes_from_an_export_take_their_place() -> None:
    stage = Stage()
    await orphaned(stage)
    await stage.upload(AUDIO, source="export")
    await stage.drain()
    ended = outcome(await stage.call(), stage.settings.policy)
    assert ended is not None
    assert ended.outcome == "stored"
    assert AUDIO in stage.objects("lob-banking").values()


async def test_a_repeat_of_bytes_that_are_here_is_not_kept_twice() -> None:
    stage = Stage()
    await stage.send(dialog_start())
    await stage.upload(AUDIO)
    await stage.upload(AUDIO)
    assert len(stage.state.buckets[LANDING]) == 1


async def test_bytes_that_an_export_brought_and_that_were_lost_are_no_word_of_ocp() -> None:
    stage = Stage()
    await stage.send(dialog_start(), dialog_end())
    taken = await stage.upload(AUDIO)
    stage.state.buckets[LANDING].clear()
    asked_ms = START_MS + HOUR_MS
    answer = ev.export_answered(
        CALL_ID, "g-1", at_ms=asked_ms, job_id="x1", task_id="",
        window=(START_MS, START_MS + HOUR_MS), found={"audio": True},
        files=[{"name": "x", "sha256": taken.sha256}], metadata={},
    )  # fmt: skip
    await stage.world.calls.append([answer])
    await stage.drain()
    call = await stage.call()
    work = next_work(call, stage.settings.policy)
    assert outcome(call, stage.settings.policy) is None
    assert work is not None
    assert work.action == "ask_export"
