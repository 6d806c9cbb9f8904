"""Several runners on one book: one export at a time per group, and a zombie writes nothing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from ocp_ingest.adapters.memory.clock import ManualClock
from ocp_ingest.adapters.memory.faults import Kind
from ocp_ingest.core.export_job import End
from ocp_ingest.core.limits import GROUP_LEASE_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.reconcile.book import Lease
from tests.flow.reconcile_stage import GROUP, HOUR_0, Process, Theatre, asleep


class Frozen(ManualClock):
    """The real time of a process that can be paused: it sleeps on, whatever time it is."""

    def __init__(self, shared: ManualClock) -> None:
        super().__init__()
        self._shared = shared
        self.paused = False
        self._goes = asyncio.Event()
        self._goes.set()

    def now_ms(self) -> int:
        return self._shared.now_ms()

    async def sleep_ms(self, duration_ms: int) -> None:
        await self._shared.sleep_ms(duration_ms)
        await self._goes.wait()

    def pause(self) -> None:
        self._goes.clear()

    def resume(self) -> None:
        self._goes.set()


async def idle(theatre: Theatre, *processes: Process, within_ms: int = 12 * HOUR_MS) -> None:
    await theatre.run_until(lambda: all(p.idle for p in processes), within_ms=within_ms)


async def test_two_runners_started_together_never_run_two_exports_of_a_group() -> None:
    theatre = Theatre(groups=("a", "b"))
    for n in range(4):
        for group in ("a", "b"):
            await theatre.announced(f"{group}{n}", HOUR_0 + n * 60 * HOUR_MS, group=group)
    await theatre.run_for(200 * HOUR_MS)
    one, other = theatre.process, theatre.restart()
    await asyncio.gather(one.sweeper.sweep(), other.sweeper.sweep())
    await idle(theatre, one, other)
    assert set((await theatre.outcomes()).values()) == {"stored"}
    assert theatre.ocp.most_at_once == {"a": 1, "b": 1}
    assert len(theatre.ocp.ours) == 8
    assert all(times == 1 for times in theatre.ocp.fetched.values())
    theatre.check_settled()


async def test_who_finds_the_lease_taken_waits_and_goes_on_when_its_owner_died() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    first = theatre.process
    await first.sweeper.sweep()
    await theatre.run_until(lambda: len(theatre.ocp.ours) == 1, within_ms=MINUTE_MS)
    await first.kill()
    second = theatre.restart()
    await second.sweeper.sweep()
    await theatre.run_for(GROUP_LEASE_MS // 2)
    assert theatre.ocp.asked["status"] == 0, "the dead runner's lease is respected"
    await idle(theatre, second, within_ms=HOUR_MS)
    assert await theatre.outcomes() == {"c": "stored"}
    assert len(theatre.ocp.ours) == 1
    assert theatre.ends() == ["done"]


async def test_stopped_in_good_order_it_hands_over_at_once() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    await theatre.process.sweeper.sweep()
    await theatre.run_until(lambda: len(theatre.ocp.ours) == 1, within_ms=MINUTE_MS)
    await theatre.process.sweeper.stop()
    second = theatre.restart()
    await second.sweeper.sweep()
    await theatre.run_for(1)
    assert theatre.ocp.asked["status"] == 1
    await idle(theatre, second)
    assert len(theatre.ocp.ours) == 1
    assert await theatre.outcomes() == {"c": "stored"}


@pytest.mark.parametrize("operation", ["create", "status", "files", "fetch"])
async def test_the_late_writes_of_a_runner_paused_longer_than_its_lease_are_refused(
    operation: str,
) -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    clock = Frozen(theatre.clock)
    zombie = theatre.restart(clock)
    ocp, asks = theatre.ocp, asyncio.Event()
    answers = asyncio.Event()
    held = {"create": ocp.create, "status": ocp.status, "files": ocp.files}
    if operation == "fetch":
        answers = theatre.hold_downloads()
        ocp.on_ask = lambda asked: asks.set() if asked == "fetch" else None
    else:

        async def late(*args: object) -> object:
            said = await held[operation](*args)  # type: ignore[operator]
            asks.set()
            await answers.wait()
            return said

        setattr(ocp, operation, late)
    await zombie.sweeper.sweep()
    await theatre.run_until(asks.is_set, within_ms=HOUR_MS)
    clock.pause()
    setattr(ocp, operation, held.get(operation, ocp.fetch))
    ocp.held = None

    successor = theatre.restart()
    await successor.sweeper.sweep()
    await idle(theatre, successor, within_ms=HOUR_MS)
    assert await theatre.outcomes() == {"c": "stored"}
    book, journal = msgspec.to_builtins(theatre.book_state.jobs), dict(theatre.stage.state.journal)
    lease = theatre.book_state.leases[GROUP]

    answers.set()
    await theatre.run_for(MINUTE_MS)
    assert msgspec.to_builtins(theatre.book_state.jobs) == book
    assert theatre.stage.state.journal == journal
    clock.resume()
    await theatre.run_for(HOUR_MS)
    assert len(ocp.ours) == 1
    assert theatre.book_state.leases[GROUP].fence >= lease.fence
    assert [job.end for job in theatre.jobs()] == [End.DONE]
    assert theatre.process.idle
    assert zombie.idle
    await zombie.kill()


async def test_a_runner_that_learns_that_its_lease_is_lost_stops_its_downloads() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    process = theatre.process
    theatre.hold_downloads()
    await process.sweeper.sweep()
    await theatre.run_until(lambda: theatre.ocp.asked["fetch"] == 1, within_ms=HOUR_MS)
    held = theatre.book_state.leases[GROUP]
    until_ms = theatre.clock.now_ms() + HOUR_MS
    theatre.book_state.leases[GROUP] = Lease(
        ocp_group=GROUP, owner="thief", fence=held.fence + 1, until_ms=until_ms
    )
    await theatre.run_for(GROUP_LEASE_MS)
    running = {task.get_name() for task in asyncio.all_tasks()}
    assert not {name for name in running if name.startswith(("drive:", "download:", "work:"))}
    assert theatre.book_state.leases[GROUP].owner == "thief"
    # It waits for its turn, and goes on with the same export.
    theatre.ocp.held = None
    await idle(theatre, process, within_ms=3 * HOUR_MS)
    assert await theatre.outcomes() == {"c": "stored"}
    assert len(theatre.ocp.ours) == 1


async def test_the_lease_is_renewed_while_a_download_takes_hours() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    answers = theatre.hold_downloads()
    await theatre.process.sweeper.sweep()
    await theatre.run_until(lambda: theatre.ocp.asked["fetch"] == 1, within_ms=HOUR_MS)
    fence = theatre.book_state.leases[GROUP].fence
    for _ in range(20):
        await theatre.run_for(HOUR_MS // 2)
        assert theatre.book_state.leases[GROUP].until_ms > theatre.clock.now_ms()
    answers.set()
    await idle(theatre, theatre.process)
    assert theatre.book_state.leases[GROUP].fence == fence
    assert theatre.ocp.asked["fetch"] == 1
    assert await theatre.outcomes() == {"c": "stored"}


async def test_a_download_that_never_ends_ends_with_the_export() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    theatre.hold_downloads()
    await theatre.process.sweeper.sweep()
    await theatre.run_until(lambda: theatre.ends() == ["expired"], within_ms=21 * HOUR_MS)
    theatre.ocp.held = None
    await theatre.live(12 * HOUR_MS)
    assert await theatre.outcomes() == {"c": "stored"}


async def test_an_answer_kept_though_our_store_did_not_say_so_is_taken_up_as_it_is() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    # The keeps are: the new job, its intent, the export's id.
    theatre.process.faults.plan("ExportBook.keep", Kind.UNANSWERED, nth=3)
    await theatre.process.sweeper.sweep()
    await idle(theatre, theatre.process, within_ms=HOUR_MS)
    assert await theatre.outcomes() == {"c": "stored"}
    assert theatre.ocp.asked["listing"] == 0, "the id is in the book: there is nothing to look for"


async def test_a_long_job_costs_no_detection_while_nothing_changes() -> None:
    theatre = Theatre()
    for n in range(30):
        await theatre.announced(f"c{n}", HOUR_0 + n * MINUTE_MS)
    await theatre.run_for(4 * HOUR_MS)
    answers = theatre.hold_downloads()
    await theatre.process.sweeper.sweep()
    await theatre.run_for(10 * HOUR_MS)
    assert theatre.process.faults.passed.count("CallStore.pending") <= 10
    answers.set()
    await idle(theatre, theatre.process)
    assert set((await theatre.outcomes()).values()) == {"stored"}


async def test_rings_while_a_job_waits_ask_ocp_nothing_and_plan_nothing() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    await theatre.process.sweeper.sweep()
    await theatre.run_until(lambda: len(theatre.ocp.ours) == 1, within_ms=MINUTE_MS)
    looked = theatre.process.faults.passed.count("CallStore.pending")
    for _ in range(50):
        theatre.process.sweeper.nudge(GROUP)
        await asleep()
    assert theatre.ocp.asked["status"] == 0
    assert theatre.process.faults.passed.count("CallStore.pending") == looked
    await idle(theatre, theatre.process)
    assert theatre.ocp.asked["status"] == 2


async def test_a_ring_at_any_moment_is_heard() -> None:
    """Also one at the very moment when the runner ends: it looks once more."""
    theatre = Theatre()
    process = theatre.process
    for turns in range(60):
        process.sweeper.nudge(GROUP)
        for _ in range(turns):
            await asyncio.sleep(0)
        before = process.faults.passed.count("CallStore.pending")
        process.sweeper.nudge(GROUP)
        await asleep()
        assert process.faults.passed.count("CallStore.pending") > before, turns
        assert process.idle
