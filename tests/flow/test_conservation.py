"""started = stored + absent + quarantined + lost + in flight holds after every single step.

`started` comes from the journal, `in_flight` from the pending index, `stored` from the buckets,
the rest from the records: any step that forgets one of them breaks the law here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocp_ingest.core import events as ev
from ocp_ingest.core.errors import Conflict, OcpIngestError
from ocp_ingest.core.lifecycle import outcome
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.evidence.conservation import conservation
from ocp_ingest.ingest import operate
from ocp_ingest.reconcile.detect import detect
from tests.flow.stage import START_MS, Stage, dialog_end, dialog_start, tone

CALLS = tuple(f"{digit * 40}.{START_MS}.{'C3' * 16}" for digit in "abc")
GOOD, OTHER = tone(), tone(level=4_000)
BAD = b"<html><body>502 Bad Gateway</body></html>" * 40


def _name(call_id: str) -> str:
    return f"{call_id}~4001~{START_MS}~{call_id}.wav"


async def _start(stage: Stage, call_id: str) -> None:
    await stage.send(dialog_start(call_id))


async def _end(stage: Stage, call_id: str) -> None:
    await stage.send(dialog_end(call_id))


async def _end_of_test_call(stage: Stage, call_id: str) -> None:
    await stage.send(dialog_end(call_id, test_flag=True))


async def _good(stage: Stage, call_id: str) -> None:
    await _upload(stage, call_id, GOOD)


async def _other(stage: Stage, call_id: str) -> None:
    await _upload(stage, call_id, OTHER)


async def _bad(stage: Stage, call_id: str) -> None:
    await _upload(stage, call_id, BAD)


async def _upload(stage: Stage, call_id: str, body: bytes) -> None:
    with contextlib.suppress(Conflict):
        await stage.upload(body, _name(call_id))


async def _export_without_it(stage: Stage, call_id: str) -> None:
    """An export of the call's hours held nothing of it."""
    now_ms = stage.clock.now_ms()
    found = {"audio": False, "dialog_start": False, "dialog_end": False}
    event = ev.export_answered(
        call_id, f"job-{now_ms}", at_ms=now_ms, job_id="x", task_id="t",
        window=(START_MS, START_MS + HOUR_MS), found=found, files=[], metadata={},
    )  # fmt: skip
    if await stage.world.calls.load(call_id) is not None:
        await stage.world.calls.append([event])


async def _mark_absent(stage: Stage, call_id: str) -> None:
    await _operator(operate.mark_absent(stage.world, call_id, who="ana", reason="no recording"))


async def _reopen(stage: Stage, call_id: str) -> None:
    await _operator(operate.act(stage.world, "reopened", call_id, who="ana", reason="look again"))


async def _release(stage: Stage, call_id: str) -> None:
    await _operator(operate.act(stage.world, "released", call_id, who="ana", reason="it is good"))


async def _operator(act: Coroutine[Any, Any, object]) -> None:
    with contextlib.suppress(OcpIngestError):  # nothing to do there; the law holds all the same
        await act


async def _work(stage: Stage, _call_id: str) -> None:
    await stage.drain()


async def _detect(stage: Stage, _call_id: str) -> None:
    await detect(stage.world)


async def _minutes(stage: Stage, _call_id: str) -> None:
    stage.clock.advance(20 * MINUTE_MS)


async def _weeks(stage: Stage, _call_id: str) -> None:
    stage.clock.advance(31 * DAY_MS)


async def _crash(stage: Stage, _call_id: str) -> None:
    stage.restart()


STEPS: tuple[Callable[[Stage, str], Coroutine[Any, Any, None]], ...] = (
    _start, _end, _end_of_test_call, _good, _other, _bad, _export_without_it, _mark_absent,
    _reopen, _release, _work, _detect, _minutes, _weeks, _crash,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(CALLS)), max_size=30))
def test_every_call_is_in_exactly_one_term_after_every_step(
    story: list[tuple[Callable[[Stage, str], Coroutine[Any, Any, None]], str]],
) -> None:
    async def play() -> None:
        stage = Stage()
        for step, call_id in story:
            await step(stage, call_id)
            said = await conservation(stage.world)
            assert said.differences == (), step.__name__
            assert said.terms["started"] == len(stage.state.journal)

    asyncio.run(play())


def test_the_law_can_fail() -> None:
    """An object that vanishes from its bucket breaks it: `stored` is not what records say."""

    async def play() -> None:
        stage = Stage()
        await stage.send(dialog_start(CALLS[0]), dialog_end(CALLS[0]))
        await stage.upload(GOOD, _name(CALLS[0]))
        await stage.drain()
        done = outcome(await stage.call(CALLS[0]), stage.settings.policy)
        assert done is not None
        assert (await conservation(stage.world)).holds
        stage.state.buckets["lob-banking"].clear()
        assert not (await conservation(stage.world)).holds

    asyncio.run(play())


def test_a_further_dialog_s_recording_does_not_make_its_call_stored() -> None:
    async def play() -> None:
        stage = Stage()
        call_id, child = CALLS[0], f"{'d' * 40}.{START_MS}.{'D4' * 16}"
        await stage.send(dialog_start(call_id), dialog_end(call_id))
        await stage.upload(GOOD, f"{call_id}~4001~{START_MS}~{child}.wav")
        await stage.drain()
        assert len(stage.objects("lob-banking")) == 2  # the recording and its metadata
        said = await conservation(stage.world)
        assert said.holds
        assert (said.terms["stored"], said.terms["in_flight"]) == (0, 1)

    asyncio.run(play())
