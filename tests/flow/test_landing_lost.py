"""Bytes that vanish or rot between arrival and storing are noticed, asked for again, and healed."""

from __future__ import annotations

import pytest

from ocp_ingest.adapters.memory.faults import Kind
from ocp_ingest.core.call import fold
from ocp_ingest.core.lifecycle import next_work, outcome
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.core.settings import LANDING
from tests.flow.stage import CALL_ID, Stage, dialog_end, dialog_start, tone

AUDIO = tone()


def _vanish(stage: Stage) -> None:
    stage.state.buckets[LANDING].clear()


def _rot(stage: Stage) -> None:
    for key, (body, sha) in stage.state.buckets[LANDING].items():
        stage.state.buckets[LANDING][key] = (body[:-1] + bytes([body[-1] ^ 1]), sha)


HARMS = pytest.mark.parametrize("harm", [_vanish, _rot])


@HARMS
async def test_before_inspection(harm: object) -> None:
    stage = Stage()
    await stage.send(dialog_start(), dialog_end())
    await stage.upload(AUDIO)
    await _harmed(stage, harm)


@HARMS
async def test_between_validation_and_storing(harm: object) -> None:
    stage = Stage()
    await stage.send(dialog_start())
    await stage.upload(AUDIO)
    await stage.drain()  # inspected; validation waits for the CDR End
    await stage.send(dialog_end())
    await _harmed(stage, harm)


@HARMS
async def test_after_the_copy_and_before_it_was_told(harm: object) -> None:
    """The copy is the recording: nothing is lost, and nobody is asked again."""
    assert callable(harm)
    stage = Stage()
    await stage.send(dialog_start(), dialog_end())
    stage.faults.plan("RecordingStore.put_once", Kind.LOST)
    await stage.upload(AUDIO)
    await stage.drain()
    assert outcome(await stage.call(), stage.settings.policy) is None
    assert list(stage.objects("lob-banking").values()) == [AUDIO]
    harm(stage)
    stage.clock.advance(HOUR_MS)
    await stage.drain()
    done = outcome(await stage.call(), stage.settings.policy)
    assert done is not None
    assert done.outcome == "stored"
    assert await stage.world.incidents.incidents() == []


async def _harmed(stage: Stage, harm: object) -> None:
    assert callable(harm)
    harm(stage)
    await stage.drain()
    call = await stage.call()
    work = next_work(call, stage.settings.policy)
    assert outcome(call, stage.settings.policy) is None
    assert work is not None
    assert work.action == "ask_export"
    assert [i.kind for i in await stage.world.incidents.incidents()] == ["landing_missing"]
    assert stage.objects("lob-banking") == {}
    # The export brings the same bytes: they take the place of the lost ones.
    taken = await stage.upload(AUDIO, source="export")
    assert taken.result in ("received", "already_received")
    await stage.drain()
    call = await stage.call()
    done = outcome(call, stage.settings.policy)
    assert done is not None
    assert done.outcome == "stored"
    stored = [b for key, b in stage.objects("lob-banking").items() if key.endswith(".wav")]
    assert stored == [AUDIO]
    assert fold(CALL_ID, reversed(await stage.world.calls.journal(CALL_ID))) == call


async def test_other_bytes_may_take_a_lost_recording_s_place() -> None:
    stage = Stage()
    await stage.send(dialog_start(), dialog_end())
    await stage.upload(AUDIO)
    _vanish(stage)
    await stage.drain()
    other = tone(level=5_000)
    taken = await stage.upload(other, source="export")
    assert taken.result == "superseding"
    await stage.drain()
    stored = [b for key, b in stage.objects("lob-banking").items() if key.endswith(".wav")]
    assert stored == [other]
