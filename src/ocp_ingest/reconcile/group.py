"""One OCP group under its lease: open jobs side by side, one of them holding OCP's slot.

round: collect ended drives ─► settle ended jobs ─► look? plan, start ─► drive what is due ─► wait

look    the group is detected and planned anew only when something may have changed: at the
        start, when somebody rings, when a job has ended, when a closed slot opens again
settle  answer on the calls ─► incidents ─► alarm cancelled ─► job no longer open; each can be
        done twice, so a runner that dies in between is followed by one that does it again
guard   renews the lease beside all this; when it is lost, everything here is cancelled
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from ocp_ingest.core.errors import Conflict, OcpIngestError, Transient
from ocp_ingest.core.export_group import Closed
from ocp_ingest.core.export_job import ExportJob, State
from ocp_ingest.core.limits import MINUTE_MS, SECOND_MS
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import finish, watch
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.detect import detect
from ocp_ingest.reconcile.drive import Driven, Driver, alarm_name
from ocp_ingest.reconcile.hold import Hold
from ocp_ingest.reconcile.slot import Slot
from ocp_ingest.reconcile.watch import GroupWatch
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

# Longest pause before a job whose drive failed is driven again; the first is a second.
DRIVE_AGAIN_MS_MAX: Final = 15 * MINUTE_MS


class Bell:
    """How others reach a group's runner: `rung` to look again, `census` to count at once."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()
        self.census = False


class GroupRunner:
    """Runs while the group has something to do; raises Conflict when its lease is lost."""

    def __init__(
        self, world: World, stage2: Stage2, ocp_group: str, bell: Bell,
        wake: Callable[[Iterable[str]], None],
    ) -> None:  # fmt: skip
        self._world = world
        self._stage2 = stage2
        self._group = ocp_group
        self._bell = bell
        self._wake_groups = wake
        self._tasks: dict[str, asyncio.Task[Driven]] = {}
        self._wake_at: dict[str, int] = {}
        self._fails: dict[str, int] = {}
        self._look = True
        self._look_at: int | None = None

    async def run(self) -> None:
        """Takes the lease, waiting for it if another runner has it, and does what there is."""
        hold = Hold(self._stage2, self._group, self._stage2.owner, self._stage2.lease_ms)
        lease = await hold.take()
        while lease is None:
            await self._stage2.real.sleep_ms(hold.renew_every_ms)
            lease = await hold.take()
        guard = work = None
        try:
            await self._begin(lease)
            guard = asyncio.create_task(hold.keep(), name=f"lease:{self._group}")
            work = asyncio.create_task(self._work(), name=f"work:{self._group}")
            await asyncio.wait({guard, work}, return_when=asyncio.FIRST_COMPLETED)
            (guard if guard.done() else work).result()
        finally:
            await _end(task for task in (work, guard) if task is not None)
            await hold.give_up()

    async def _begin(self, lease: Lease) -> None:
        self._watch = GroupWatch(self._world, self._group)
        group = await self._stage2.book.group(self._group)
        released = self._bell.rung.set
        self._driver = Driver(self._world, self._stage2, lease, group, self._watch, released)
        self._slot = Slot(self._world, self._stage2, self._driver, self._watch)

    # -- rounds -------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            await self._resume()
            while True:
                self._bell.rung.clear()  # before the look: what happens during it is looked at
                await self._collect()
                if self._is_time_to_look():
                    await self._fill_slot()
                if not self._driver.jobs:
                    return
                self._drive_due()
                await self._pause()
        finally:
            await _end(self._tasks.values())

    async def _resume(self) -> None:
        """Takes up the jobs that are open, wherever their runner left them; driving does the rest.

        One that has ended but was not settled is driven too, which ends at once.
        """
        held = await self._stage2.book.jobs(ocp_group=self._group, open_only=True, limit=1_000)
        for job in held:
            self._driver.jobs[job.job_key] = job
            if job.state is State.PLANNED:
                await finish.ask(self._world, job)  # perhaps it died before it said so
        await self._watch.state(self._driver.group)

    async def _collect(self) -> None:
        """Takes up what the drives that have stopped say."""
        stopped = [key for key, task in self._tasks.items() if task.done()]
        for key in stopped:
            task = self._tasks.pop(key)
            try:
                driven = task.result()
            except Conflict:
                raise
            except Exception as failed:
                await self._hold_off(key, failed)
                continue
            self._fails.pop(key, None)
            if driven.wait_until_ms is not None:
                self._wake_at[key] = driven.wait_until_ms
            else:
                await self._settle(driven.job)
        if stopped:
            await self._watch.state(self._driver.group)

    async def _hold_off(self, key: str, failed: Exception) -> None:
        """Lets a job wait whose drive failed; ever longer, and a person is told unless it heals."""
        self._fails[key] = fails = self._fails.get(key, 0) + 1
        if isinstance(failed, Transient):
            log().warning("export.unavailable", job_key=key, reason=failed.text)
            first_ms = int(failed.retry_after_s * SECOND_MS)
        else:
            why = failed.text if isinstance(failed, OcpIngestError) else type(failed).__name__
            log().error("export.failed", job_key=key, reason=why, exc_info=failed)
            await watch.driving_fails(self._world, self._group, why)
            first_ms = MINUTE_MS
        pause_ms = min(DRIVE_AGAIN_MS_MAX, max(SECOND_MS, first_ms) << min(fails - 1, 16))
        self._wake_at[key] = self._now() + pause_ms
        await self._driver.reload(key)

    def _drive_due(self) -> None:
        for key in self._driver.jobs:
            if key not in self._tasks and self._wake_at.get(key, 0) <= self._now():
                self._wake_at.pop(key, None)
                self._tasks[key] = asyncio.create_task(self._driver.drive(key), name=f"drive:{key}")

    async def _pause(self) -> None:
        """Waits for a drive to stop, a time that somebody waits for, or the bell."""
        times = [at for key, at in self._wake_at.items() if key not in self._tasks]
        if self._look_at is not None and self._slot.has_room():
            times.append(self._look_at)
        waits: list[asyncio.Task[object]] = [asyncio.create_task(self._bell.rung.wait())]
        if times:
            pause_ms = max(1, min(times) - self._now())
            waits.append(asyncio.create_task(self._world.clock.sleep_ms(pause_ms)))
        try:
            await asyncio.wait([*waits, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(waits)
        self._look = self._look or self._bell.rung.is_set()

    def _now(self) -> int:
        return self._world.clock.now_ms()

    # -- the slot -----------------------------------------------------------------------------

    def _is_time_to_look(self) -> bool:
        opens = self._look_at is not None and self._look_at <= self._now()
        return (self._look or opens) and self._slot.has_room()

    async def _fill_slot(self) -> None:
        """Plans the group anew and starts the best window, or a census, if the slot is open."""
        self._look, self._look_at = False, None
        found = await detect(self._world, self._group, groups=self._stage2.groups)
        asks = found.asks.get(self._group, [])
        filled = await self._slot.fill(asks, at_once=self._bell.census)
        if filled.closed is not None:
            await self._look_later(filled.closed)
        if filled.counted:
            self._bell.census = False

    async def _look_later(self, closed: Closed) -> None:
        """Looks again when the slot opens: by itself, or by the alarm if it has ended by then."""
        self._look_at = closed.until_ms
        name = f"slot:{self._group}"
        await self._world.timetable.cancel(name)
        await self._world.timetable.set(name, closed.until_ms, {"ocp_group": self._group})

    async def _settle(self, job: ExportJob) -> None:
        """Says everywhere what an ended job means, starts its retry, and takes it off."""
        told = await self._slot.tell(job)
        if told.counted is False:
            self._bell.census = False
        self._wake_others(told.groups)
        await self._world.timetable.cancel(alarm_name(job.job_key))
        turns = await self._slot.close(job)
        self._look = True
        self._wake_others(turns)  # the next group's turn to be asked for calls of no group

    def _wake_others(self, groups: Iterable[str]) -> None:
        self._wake_groups(group for group in groups if group != self._group)


async def _end(tasks: Iterable[asyncio.Task[object]]) -> None:
    """Cancels tasks and waits until they have ended."""
    held = list(tasks)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
