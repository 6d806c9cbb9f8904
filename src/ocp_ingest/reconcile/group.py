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
from ocp_ingest.core.export_job import ExportJob, State, retry_of
from ocp_ingest.core.limits import MINUTE_MS, SECOND_MS
from ocp_ingest.core.plan import Window
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import census, finish, watch
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.detect import UNKNOWN_GROUP, Ask, detect
from ocp_ingest.reconcile.download import failing, is_census
from ocp_ingest.reconcile.drive import Driven, Driver, alarm_name, are_holding, is_retried
from ocp_ingest.reconcile.plan import job_for, plan_group
from ocp_ingest.reconcile.watch import GroupWatch
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

# Jobs of a group that may be open at once: one exports, the others download. More would only
# share the same line, and their exports expire meanwhile.
JOBS_OPEN_MAX: Final = 4
# Longest pause before a job whose drive failed is driven again; the first is a second.
DRIVE_AGAIN_MS_MAX: Final = 15 * MINUTE_MS
# The lease is renewed at this part of its time: two renewals may fail.
_RENEWALS: Final = 3


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
        lease = await self._lease()
        while lease is None:
            await self._stage2.real.sleep_ms(self._stage2.lease_ms // _RENEWALS)
            lease = await self._lease()
        guard = work = None
        try:
            self._watch = GroupWatch(self._world, self._group)
            group = await self._stage2.book.group(self._group)
            released = self._bell.rung.set
            self._driver = Driver(self._world, self._stage2, lease, group, self._watch, released)
            guard = asyncio.create_task(self._hold_lease(), name=f"lease:{self._group}")
            work = asyncio.create_task(self._work(), name=f"work:{self._group}")
            await asyncio.wait({guard, work}, return_when=asyncio.FIRST_COMPLETED)
            (guard if guard.done() else work).result()
        finally:
            await _end(task for task in (work, guard) if task is not None)
            await self._give_up(lease)

    # -- the lease ----------------------------------------------------------------------------

    async def _lease(self) -> Lease | None:
        return await self._stage2.book.lease(
            self._group, self._stage2.owner,
            now_ms=self._stage2.real.now_ms(), ttl_ms=self._stage2.lease_ms,
        )  # fmt: skip

    async def _hold_lease(self) -> None:
        """Renews the lease until cancelled. Raises Conflict when it is lost."""
        while True:
            held = self._driver.lease
            await self._stage2.real.sleep_ms(self._stage2.lease_ms // _RENEWALS)
            try:
                renewed = await self._lease()
            except Transient:
                if self._stage2.real.now_ms() < held.until_ms:
                    continue
                renewed = None
            if renewed is None or renewed.fence != held.fence:
                raise Conflict("The group's lease is lost.", ocp_group=self._group)
            self._driver.lease = renewed

    async def _give_up(self, lease: Lease) -> None:
        try:
            await self._stage2.book.give_up(lease)
        except OcpIngestError as failed:  # then it runs out by itself
            log().warning("reconcile.lease_kept", ocp_group=self._group, reason=failed.text)

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
        if self._look_at is not None and self._has_room():
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

    def _has_room(self) -> bool:
        jobs = self._driver.jobs
        return len(jobs) < JOBS_OPEN_MAX and not are_holding(jobs.values())

    def _is_time_to_look(self) -> bool:
        opens = self._look_at is not None and self._look_at <= self._now()
        return (self._look or opens) and self._has_room()

    async def _fill_slot(self) -> None:
        """Plans the group anew and starts the best window, or a census, if the slot is open."""
        self._look, self._look_at = False, None
        found = await detect(self._world, self._group, groups=self._stage2.groups)
        asks = self._not_being_served(found.asks.get(self._group, []))
        driver = self._driver
        made = plan_group(self._world, driver.group, asks, self._stage2.per_call)
        await self._watch.state(driver.group)
        if made.closed is not None:
            await self._look_later(made.closed)
        elif made.plan.windows:
            window = made.plan.windows[0]
            await self._start(
                await job_for(self._stage2, driver.lease, driver.group, window, asks, self._now())
            )
        elif (hours := await self._hours_to_count()) is not None:
            await self._start(
                await census.job_for(self._stage2, driver.lease, driver.group, hours, self._now())
            )

    def _not_being_served(self, asks: list[Ask]) -> list[Ask]:
        """Without the calls whose export is still downloading."""
        jobs = list(self._driver.jobs.values())
        planned = {call_id for job in jobs for call_id in job.call_ids}
        return [
            ask for ask in asks
            if ask.call.call_id not in planned and not any(_covers(job, ask) for job in jobs)
        ]  # fmt: skip

    async def _hours_to_count(self) -> Window | None:
        # One census at a time: the state moves on only when its last one is settled.
        if not self._stage2.census or any(is_census(job) for job in self._driver.jobs.values()):
            return None
        hours = await census.window(
            self._world, self._stage2, self._driver.group, at_once=self._bell.census
        )
        if hours is None:
            self._bell.census = False
        return hours

    async def _look_later(self, closed: Closed) -> None:
        """Looks again when the slot opens: by itself, or by the alarm if it has ended by then."""
        self._look_at = closed.until_ms
        name = f"slot:{self._group}"
        await self._world.timetable.cancel(name)
        await self._world.timetable.set(name, closed.until_ms, {"ocp_group": self._group})

    async def _start(self, job: ExportJob) -> None:
        await self._driver.start(job)
        await finish.ask(self._world, job)
        log().info(
            "export.planned", job_key=job.job_key, calls=len(job.call_ids), hours=job.hours,
            types=list(job.types),
        )  # fmt: skip

    async def _settle(self, job: ExportJob) -> None:
        """Says everywhere what an ended job means, starts its retry, and takes it off."""
        log().info(
            "export.ended", job_key=job.job_key, end=job.end.value if job.end else "",
            why=job.end_why,
        )  # fmt: skip
        if not is_census(job):
            await finish.answer(self._world, self._stage2, job)
            await self._driver.learn(job)
        if is_retried(job):
            again = retry_of(job, self._now())
            if await self._stage2.book.job(again.job_key) is None:
                await self._start(again)
        elif is_census(job):
            await self._count(job)
        await watch.job_ended(self._world, job, await failing(self._stage2, job))
        await self._world.timetable.cancel(alarm_name(job.job_key))
        await self._stage2.book.settle(self._driver.lease, job.job_key)
        self._driver.jobs.pop(job.job_key, None)
        self._look = True
        if await self._world.calls.pending(until_ms=self._now(), limit=1, ocp_group=UNKNOWN_GROUP):
            self._wake_others(self._stage2.groups)  # the next group's turn to be asked for them

    async def _count(self, job: ExportJob) -> None:
        counted = await census.finish(self._world, self._stage2, job)
        if counted is None:
            self._bell.census = False
        else:  # what it found may belong to other groups
            self._wake_others(await self._world.calls.pending_groups())

    def _wake_others(self, groups: Iterable[str]) -> None:
        self._wake_groups(group for group in groups if group != self._group)


def _covers(job: ExportJob, ask: Ask) -> bool:
    """Whether an open job may bring what a call needs, though it was planned without it."""
    start_ms, end_ms = ask.call.start_ms, ask.call.end_ms or ask.call.start_ms
    inside = job.from_ms <= start_ms <= end_ms < job.to_ms and set(ask.needs) <= set(job.types)
    return inside and job.posted_at >= ask.call.eligible_at


async def _end(tasks: Iterable[asyncio.Task[object]]) -> None:
    """Cancels tasks and waits until they have ended."""
    held = list(tasks)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
