"""One look on AWS is bounded in time, and no group keeps another from being looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.memory.faults import Fault, Kind
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.export_job import GROUP_CHARS_MAX, End, State, job_key
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.dispatch import Dispatched, Dispatcher, next_name
from ocp_ingest.reconcile.hold import INVOCATION_LEASE_MS, GroupBusy
from tests.flow.machine_stage import Cloud
from tests.flow.reconcile_stage import GROUP, HOUR_0


async def look(cloud: Cloud, left: Callable[[], float], group: str | None = None) -> Dispatched:
    i = cloud.invocation()
    return await Dispatcher(i.world, i.stage2, i.executions, owner=i.owner, left=left).look(group)


async def two_groups(cloud: Cloud) -> None:
    await cloud.announced("ca", group="a")
    await cloud.announced("cb", group="b")
    await cloud.run_for(4 * HOUR_MS)


async def test_a_look_starts_one_execution_for_each_group_with_something_due() -> None:
    cloud = Cloud(groups=("a", "b", "idle"))
    await two_groups(cloud)
    done = await look(cloud, lambda: 1.0)
    assert done.looked_at == 2
    assert done.asked == {"a": 1, "b": 1}
    assert sorted(done.started) == sorted(job.job_key for job in cloud.jobs())
    assert not done.unfinished
    assert set(cloud.machine.executions) == set(done.started)


async def test_a_look_at_one_group_leaves_the_others_alone() -> None:
    cloud = Cloud(groups=("a", "b"))
    await two_groups(cloud)
    done = await look(cloud, lambda: 1.0, "b")
    assert done.asked == {"b": 1}
    assert [job.ocp_group for job in cloud.jobs()] == ["b"]


async def test_out_of_time_it_says_so_and_the_next_look_goes_on() -> None:
    cloud = Cloud()
    for n in range(40):
        await cloud.announced(f"c{n}", HOUR_0 + n * MINUTE_MS // 4)
    await cloud.run_for(4 * HOUR_MS)
    asked = 0

    def left() -> float:
        nonlocal asked
        asked += 1
        return 1.0 if asked <= 2 else 0.3  # two lots are read, then half of the time is over

    done = await look(cloud, left)
    assert done.unfinished
    assert 0 < done.looked_at < 40
    assert len(done.started) == 1, "what was seen is planned all the same"
    cloud.runs.clear()
    await cloud.live(DAY_MS)
    assert set((await cloud.outcomes()).values()) == {"stored"}


async def test_without_time_it_starts_nothing_and_says_so() -> None:
    cloud = Cloud()
    await cloud.announced("c")
    await cloud.run_for(4 * HOUR_MS)
    done = await look(cloud, lambda: 0.05)
    assert done.unfinished
    assert done.started == []
    assert cloud.jobs() == []


async def test_a_group_that_is_busy_keeps_no_other_from_being_looked_at_and_is_said() -> None:
    cloud = Cloud(groups=("a", "b"))
    await two_groups(cloud)
    cloud.book_state.leases["a"] = Lease(
        ocp_group="a", owner="another", fence=5, until_ms=cloud.clock.now_ms() + HOUR_MS
    )
    looking = cloud.spawn(cloud.detect())
    await cloud.run_until(looking.done, within_ms=MINUTE_MS)
    assert isinstance(looking.exception(), GroupBusy)
    assert [job.ocp_group for job in cloud.jobs()] == ["b"]


async def test_a_bug_in_one_group_keeps_no_other_from_being_looked_at() -> None:
    cloud = Cloud(groups=("a", "b"))
    await two_groups(cloud)
    cloud.book_state.groups["a"] = b"no group state"
    looking = cloud.spawn(cloud.detect())
    await cloud.run_until(looking.done, within_ms=MINUTE_MS)
    assert looking.exception() is not None
    assert [job.ocp_group for job in cloud.jobs()] == ["b"]


async def test_a_repeat_of_a_look_starts_nothing_twice() -> None:
    cloud = Cloud()
    await cloud.announced("c")
    await cloud.run_for(4 * HOUR_MS)
    first = await cloud.detect()
    assert len(first.started) == 1
    assert (await cloud.detect()).started == []
    assert len(cloud.jobs()) == 1


async def test_work_stuck_on_our_side_is_woken_without_an_export() -> None:
    cloud = Cloud()
    call = await cloud.announced("c")
    await cloud.streamed(call.audio or b"", call.file_name)
    cloud.stage.state.messages.clear()  # the queue was lost
    await cloud.live(HOUR_MS)
    assert await cloud.outcomes() == {"c": "stored"}
    assert cloud.ocp.ours == []


async def test_a_job_that_ended_under_a_dying_invocation_is_settled_by_the_next_look() -> None:
    cloud = Cloud()
    await cloud.announced("c")
    await cloud.run_for(4 * HOUR_MS)
    cloud.decide = lambda point: Fault(Kind.LOST) if point == "ExportBook.settle" else None
    cloud.spawn(cloud.detect())
    await cloud.run_until(lambda: cloud.ends() == ["done"], within_ms=HOUR_MS)
    [name] = cloud.running()
    cloud.vanish(name)
    cloud.decide = lambda _point: None
    await cloud.run_for(INVOCATION_LEASE_MS)
    assert cloud.book_state.open
    done = await cloud.detect()
    assert done.started == [], "there is nothing left to drive"
    cloud.check_settled()


async def test_a_retry_planned_by_a_settlement_gets_an_execution_of_its_own() -> None:
    cloud = Cloud()
    cloud.ocp.fails_first = True
    await cloud.announced("c")
    await cloud.run_for(4 * HOUR_MS)
    await cloud.sweep()
    assert [job.end for job in cloud.jobs()] == [End.FAILED, End.DONE]
    assert list(cloud.machine.executions) == [job.job_key for job in cloud.jobs()]


async def test_spent_names_are_gone_through_a_few_at_a_time() -> None:
    cloud = Cloud()
    await cloud.announced("c")
    await cloud.run_for(4 * HOUR_MS)
    await cloud.detect()
    [job] = cloud.jobs()
    name = job.job_key
    for _ in range(12):  # all of them have ended
        execution = cloud.machine.executions.setdefault(
            name, type(cloud.machine.executions[job.job_key])(name, name, GROUP)
        )
        execution.running = False
        name = next_name(name)
    with pytest.raises(Transient):
        await cloud.detect()
    done = await cloud.detect()
    assert done.started == [f"{job.job_key}-r12"]
    assert cloud.jobs()[0].execution_ref == f"{job.job_key}-r12"
    assert cloud.jobs()[0].state is State.PLANNED


@given(
    st.text(min_size=1, max_size=3 * GROUP_CHARS_MAX), st.integers(1, 9_999), st.integers(0, 9_999)
)
def test_names_of_executions_are_within_the_services_bound(
    group: str, attempt: int, times: int
) -> None:
    key = job_key(group, HOUR_0, HOUR_0 + 48 * HOUR_MS, attempt)
    name = f"{key}-r{times}" if times else key
    assert len(next_name(name)) <= 80
    assert next_name(name) == f"{key}-r{times + 1}"


async def test_nothing_more_is_planned_while_a_job_has_the_slot_or_waits_for_it() -> None:
    cloud = Cloud()
    for n in range(3):
        await cloud.announced(f"c{n}", HOUR_0 + n * 60 * HOUR_MS)
    await cloud.run_for(10 * DAY_MS)
    await cloud.detect()
    await cloud.detect()
    assert len(cloud.jobs()) == 1
    cloud.ocp.takes_ms = 2 * HOUR_MS
    await cloud.run_for(10 * MINUTE_MS)
    await cloud.detect()
    assert len(cloud.jobs()) == 1


async def test_a_settlement_in_a_look_at_one_group_brings_the_next_groups_turn() -> None:
    cloud = Cloud(groups=("a", "b"))
    call = cloud.at_ocp("c", group="b")
    await cloud.streamed(call.audio or b"", call.file_name)
    await cloud.run_for(9 * HOUR_MS)
    cloud.decide = lambda point: Fault(Kind.LOST) if point == "ExportBook.settle" else None
    cloud.spawn(cloud.detect())
    await cloud.run_until(lambda: cloud.ends() == ["done"], within_ms=HOUR_MS)
    cloud.vanish(cloud.running()[0])
    cloud.decide = lambda _point: None
    await cloud.run_for(INVOCATION_LEASE_MS)
    done = await cloud.detect("a")
    assert [job.ocp_group for job in cloud.jobs()] == ["a", "b"]
    assert done.started == [cloud.jobs()[1].job_key]
