"""Bounds of the one door: a broken sender can't grow a record without end; empty bodies."""

from __future__ import annotations

import pytest

from ocp_ingest.core.errors import Conflict, Invalid
from ocp_ingest.core.lifecycle import usable
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, RECORDING_VERSIONS_MAX
from ocp_ingest.core.settings import LANDING
from tests.flow.reconcile_stage import Theatre
from tests.flow.stage import CALL_ID, Stage, tone


async def test_the_number_of_different_recordings_of_a_dialog_is_bounded() -> None:
    stage = Stage()
    for number in range(RECORDING_VERSIONS_MAX + 3):
        stage.clock.advance(1_000)
        if number == 0:
            await stage.upload(tone(level=1_000))
            continue
        with pytest.raises(Conflict):
            await stage.upload(tone(level=1_000 + number))
    call = await stage.call()
    assert len(call.recordings[CALL_ID].versions) == RECORDING_VERSIONS_MAX
    assert len(stage.objects(LANDING)) == RECORDING_VERSIONS_MAX
    assert len(await stage.world.evidence.kept()) == 3
    assert (await stage.upload(tone(level=1_000))).result == "already_received"


async def test_an_empty_push_is_refused_and_an_empty_exported_file_is_ocps_evidence() -> None:
    stage = Stage()
    with pytest.raises(Invalid, match="empty"):
        await stage.upload(b"")
    assert CALL_ID not in stage.state.records
    assert (await stage.upload(b"", source="export")).bytes == 0
    await stage.drain()
    [version] = (await stage.call()).recordings[CALL_ID].versions.values()
    assert usable(await stage.call(), version, CALL_ID) is False


async def test_a_call_whose_recording_is_empty_at_ocp_ends_quarantined_not_asked_for_ever() -> None:
    theatre = Theatre()
    await theatre.announced("c", audio=b"")
    await theatre.run_for(4 * HOUR_MS)
    await theatre.live(3 * DAY_MS)
    assert await theatre.outcomes() == {"c": "quarantined"}
    assert len(theatre.ocp.ours) == 2
