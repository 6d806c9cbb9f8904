"""A stop at any point between two effects resumes and ends as if it had not happened.

The points are not written by hand: a clean run says which effects the steps pass, and every one
of them is a case, four times: process dead before it, dead after it, request lost, answer lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter

import pytest

from ocp_ingest.adapters.memory.faults import Crashed, Kind
from ocp_ingest.core.call import flags, fold
from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.lifecycle import outcome, works
from ocp_ingest.core.limits import HOUR_MS, MINUTE_MS
from ocp_ingest.core.settings import LANDING, QUARANTINE
from ocp_ingest.ingest.housekeeping import sweep_landing
from ocp_ingest.reconcile.detect import detect
from tests.flow.stage import CALL_ID, Stage, dialog_end, dialog_start, tone

AUDIO = tone()


async def _day(stage: Stage) -> None:
    """What OCP sends, and what the workers make of it."""
    await stage.send(dialog_start())
    await stage.upload(AUDIO)
    await stage.drain()
    await stage.send(dialog_end())
    await stage.drain()


def _passed() -> list[str]:
    """The effects of a clean run, in order."""
    stage = Stage()
    asyncio.run(_day(stage))
    return stage.faults.passed


POINTS = _passed()
KINDS = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.LOST, Kind.UNANSWERED)


def _cases() -> list[tuple[str, int, Kind]]:
    counted: Counter[str] = Counter()
    cases = []
    for point in POINTS:
        counted[point] += 1
        cases += [(point, counted[point], kind) for kind in KINDS]
    return cases


def test_the_clean_run_passes_every_step_of_the_pipeline() -> None:
    appends = [p for p in POINTS if p == "CallStore.append.journal"]
    # dialog_start, received, inspected, dialog_end, validated, routed, stored
    assert len(appends) == 7
    assert any(p.startswith("RecordingStore.copy_once") for p in POINTS)


@pytest.mark.parametrize(("point", "nth", "kind"), _cases())
async def test_a_stop_at_any_effect_ends_with_one_object_right_bytes_and_all_flags(
    point: str, nth: int, kind: Kind
) -> None:
    stage = Stage()
    stage.faults.plan(point, kind, nth=nth)
    with pytest.raises((Crashed, OcpIngestError)) if kind in KINDS[:2] else _anything():
        await _day(stage)
    stage.restart()
    await _resume(stage)
    await _check(stage)


class _anything:
    """Lost requests may be handled inside; what the sender sees is a refusal, or nothing."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        return isinstance(error, OcpIngestError)


async def _resume(stage: Stage) -> None:
    """The vendor repeats what got no 2xx (here: everything); detection finds the rest."""
    stage.clock.advance(20 * MINUTE_MS)
    await stage.send(dialog_start())
    await stage.upload(AUDIO)
    await stage.send(dialog_end())
    for _ in range(3):
        stage.clock.advance(20 * MINUTE_MS)
        await detect(stage.world)
        await stage.drain()


async def _check(stage: Stage) -> None:
    call = await stage.call()
    policy = stage.settings.policy
    assert works(call, policy) == []
    done = outcome(call, policy)
    assert done is not None
    assert done.outcome == "stored"
    assert None not in flags(call).values()
    objects = stage.objects("lob-banking")
    audio = [body for key, body in objects.items() if not key.endswith(".json")]
    assert [hashlib.sha256(body).digest() for body in audio] == [hashlib.sha256(AUDIO).digest()]
    assert sum(key.endswith(".json") for key in objects) == 1
    assert stage.objects(QUARANTINE) == {}
    journal = await stage.world.calls.journal(CALL_ID)
    assert max(Counter(event.kind for event in journal).values()) == 1
    assert fold(CALL_ID, journal) == call
    assert await stage.world.calls.pending(until_ms=2**53, limit=10) == []
    await _landing_gets_empty(stage)


async def _landing_gets_empty(stage: Stage) -> None:
    """A crash may leave orphans in landing; they are swept, the stored object stays."""
    suspects = await sweep_landing(stage.world, set())
    stage.clock.advance(HOUR_MS)
    await sweep_landing(stage.world, suspects)
    assert stage.objects(LANDING) == {}


def test_every_point_has_a_name_that_says_port_and_effect() -> None:
    assert all(re.fullmatch(r"[A-Z]\w+(\.[a-z_]+)+", point) for point in POINTS)
