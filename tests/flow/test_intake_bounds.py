"""A broken sender can't grow a call's record without end."""

from __future__ import annotations

import pytest

from ocp_ingest.core.errors import Conflict
from ocp_ingest.core.limits import RECORDING_VERSIONS_MAX
from ocp_ingest.core.settings import LANDING
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
