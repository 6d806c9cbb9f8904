"""How often detection queues a call whose step is overdue."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ocp_ingest.adapters.memory.faults import Kind
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.limits import HOUR_MS, MINUTE_MS
from ocp_ingest.ingest import again
from ocp_ingest.ingest.again import Again
from ocp_ingest.reconcile.detect import detect
from tests.flow.stage import CALL_ID, Stage, dialog_end, dialog_start, tone

LEASE_MS = 10 * MINUTE_MS
DUE_MS = 1_000_000


def _put_at(memory: Again, looks: range, due_ms: int = DUE_MS) -> list[int]:
    """At which looks a call is put."""
    found = []
    for now_ms in looks:
        if memory.may(CALL_ID, due_ms, now_ms):
            memory.put(CALL_ID, due_ms, now_ms, LEASE_MS)
            found.append(now_ms)
    return found


def test_it_is_put_at_once_and_then_ever_more_seldom_but_for_ever() -> None:
    day = range(DUE_MS, DUE_MS + 24 * HOUR_MS, MINUTE_MS)
    at = _put_at(Again(), day)
    pauses = [after - before for before, after in pairwise(at)]
    assert at[0] == DUE_MS
    assert pauses[:4] == [LEASE_MS, 2 * LEASE_MS, 4 * LEASE_MS, 8 * LEASE_MS]
    assert set(pauses[4:]) == {8 * LEASE_MS}


def test_another_step_that_is_due_is_put_at_once() -> None:
    memory = Again()
    _put_at(memory, range(DUE_MS, DUE_MS + HOUR_MS, MINUTE_MS))
    later = DUE_MS + HOUR_MS
    assert _put_at(memory, range(later, later + LEASE_MS + 1, MINUTE_MS), due_ms=later) == [
        later, later + LEASE_MS,
    ]  # fmt: skip


def test_a_clock_that_was_set_back_silences_no_call() -> None:
    memory = Again()
    memory.put(CALL_ID, DUE_MS, DUE_MS + HOUR_MS, LEASE_MS)
    assert memory.may(CALL_ID, DUE_MS, DUE_MS)


def test_so_many_calls_are_remembered_and_the_one_put_longest_ago_is_forgotten() -> None:
    memory = Again()
    for n in range(again._CALLS_MAX + 1):
        memory.put(str(n), DUE_MS, DUE_MS, LEASE_MS)
        if n == 1:
            memory.put("0", DUE_MS, DUE_MS, LEASE_MS)  # put again: it is not the oldest any more
    assert not memory.may("0", DUE_MS, DUE_MS)
    assert memory.may("1", DUE_MS, DUE_MS)
    assert len(memory._held) == again._CALLS_MAX


async def _overdue() -> Stage:
    """A call whose only message a worker holds, and who says nothing any more."""
    stage = Stage()
    await stage.send(dialog_start(), dialog_end())
    await stage.upload(tone())
    assert await stage.world.queue.take(limit=1, lease_ms=24 * HOUR_MS, wait_s=0)
    stage.clock.advance(2 * MINUTE_MS)
    return stage


async def test_a_call_in_the_hands_of_a_slow_worker_is_not_put_at_every_look() -> None:
    stage = await _overdue()
    resumed = 0
    for _ in range(60):
        # Another worker takes it, finds it held up by the same thing, and stands still too.
        await stage.world.queue.take(limit=1, lease_ms=24 * HOUR_MS, wait_s=0)
        resumed += (await detect(stage.world)).resumed
        stage.clock.advance(MINUTE_MS)
    assert resumed == 3, "at once, after a lease, after two more"
    assert await stage.world.queue.depth() == 1 + resumed


async def test_a_put_that_failed_is_tried_at_the_next_look() -> None:
    stage = await _overdue()
    stage.faults.plan("WorkQueue.put", Kind.LOST)
    with pytest.raises(Transient):
        await detect(stage.world)
    assert (await detect(stage.world)).resumed == 1
