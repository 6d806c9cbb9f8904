"""A group's slot, for whoever holds its lease: what to export next, and what a job's end says.

fill    plan the group ─► the best window, or a census ─► job kept ─► calls say "asked"
tell    answer on the calls ─► learn ─► retry or census count ─► incidents
close   the job is not open any more

Each can be done twice, so whoever dies in between is followed by one that does it again. Nothing
of OCP is touched here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ocp_ingest.core.export_group import Closed
from ocp_ingest.core.export_job import ExportJob, State, retry_of
from ocp_ingest.core.plan import Window
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import census, finish, watch
from ocp_ingest.reconcile.detect import UNKNOWN_GROUP, Ask
from ocp_ingest.reconcile.download import is_census
from ocp_ingest.reconcile.drive import Driver, are_holding, is_retried
from ocp_ingest.reconcile.plan import job_for, plan_group
from ocp_ingest.reconcile.results import failing
from ocp_ingest.reconcile.watch import GroupWatch
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log, measured

# Jobs of a group that may be open at once: one exports, the others download. More would only
# share the same line, and their exports expire meanwhile.
JOBS_OPEN_MAX: Final = 4


class Filled(msgspec.Struct, frozen=True):
    """What came of filling the slot: a new job; or until when it is closed; or nothing due."""

    job: ExportJob | None = None
    closed: Closed | None = None
    counted: bool = False  # the census was asked, and no hour is left to count now


class Told(msgspec.Struct, frozen=True):
    """Who else has something to do because of a job's end."""

    counted: bool | None = None  # of a census: whether its hours are counted; None: no census
    groups: tuple[str, ...] = ()  # to be looked at: what was found may be theirs


class Slot:
    """The slot of the driver's group; `driver.jobs` are all its open jobs."""

    def __init__(self, world: World, stage2: Stage2, driver: Driver, watched: GroupWatch) -> None:
        self._world = world
        self._stage2 = stage2
        self._driver = driver
        self._watch = watched

    # -- filling it ---------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether a job may be started."""
        jobs = self._driver.jobs
        # One that has ended and is still open was not settled: the slot is its retry's.
        follows = any(job.state is State.ENDED and is_retried(job) for job in jobs.values())
        return len(jobs) < JOBS_OPEN_MAX and not are_holding(jobs.values()) and not follows

    async def fill(self, asks: Sequence[Ask], *, at_once: bool) -> Filled:
        """Starts the best window for the asks; without one the census, `at_once` if asked for."""
        driver, now_ms = self._driver, self._world.clock.now_ms()
        asks = self._not_being_served(asks)
        made = plan_group(self._world, driver.group, asks, self._stage2.per_call)
        await self._watch.state(driver.group)
        if made.closed is not None:
            return Filled(closed=made.closed)
        if made.plan.windows:
            window = made.plan.windows[0]
            job = await job_for(self._stage2, driver.lease, driver.group, window, asks, now_ms)
            return Filled(await self._start(job))
        # One census at a time: the state moves on only when its last one is settled.
        if not self._stage2.census or any(is_census(job) for job in driver.jobs.values()):
            return Filled()
        hours = await self._hours_to_count(at_once)
        if hours is None:
            return Filled(counted=True)
        job = await census.job_for(self._stage2, driver.lease, driver.group, hours, now_ms)
        return Filled(await self._start(job))

    async def _hours_to_count(self, at_once: bool) -> Window | None:
        group = self._driver.group
        return await census.window(self._world, self._stage2, group, at_once=at_once)

    def _not_being_served(self, asks: Sequence[Ask]) -> list[Ask]:
        """Without the calls whose export is still downloading."""
        jobs = list(self._driver.jobs.values())
        planned = {call_id for job in jobs for call_id in job.call_ids}
        return [
            ask for ask in asks
            if ask.call.call_id not in planned and not any(_covers(job, ask) for job in jobs)
        ]  # fmt: skip

    async def _start(self, job: ExportJob) -> ExportJob:
        await self._driver.keep(job)
        await finish.ask(self._world, job)
        log().info(
            "export.planned", job_key=job.job_key, calls=len(job.call_ids), hours=job.hours,
            types=list(job.types),
        )  # fmt: skip
        return job

    # -- settling a job -----------------------------------------------------------------------

    async def tell(self, job: ExportJob) -> Told:
        """Says everywhere what an ended job means, and starts its retry."""
        log().info(
            "export.ended", job_key=job.job_key, end=job.end.value if job.end else "",
            why=job.end_why,
        )  # fmt: skip
        measured().add("ocp_ingest_export_jobs_total", 1, job.end.value if job.end else "")
        told = Told()
        if not is_census(job):
            await finish.answer(self._world, self._stage2, job)
            await self._driver.learn(job)
        if is_retried(job):
            again = retry_of(job, self._world.clock.now_ms())
            if await self._stage2.book.job(again.job_key) is None:
                await self._start(again)
        elif is_census(job):
            told = await self._count(job)
        await watch.job_ended(self._world, job, await failing(self._stage2, job))
        return told

    async def _count(self, job: ExportJob) -> Told:
        counted = await census.finish(self._world, self._stage2, job)
        if counted is None:
            return Told(counted=False)
        # What it found may belong to other groups.
        return Told(counted=True, groups=tuple(await self._world.calls.pending_groups()))

    async def close(self, job: ExportJob) -> tuple[str, ...]:
        """Takes a job off the open ones; returns the groups whose turn it may be now."""
        await self._stage2.book.settle(self._driver.lease, job.job_key)
        self._driver.jobs.pop(job.job_key, None)
        now_ms = self._world.clock.now_ms()
        # Calls of no known group are asked for in one group after the other.
        if await self._world.calls.pending(until_ms=now_ms, limit=1, ocp_group=UNKNOWN_GROUP):
            return self._stage2.groups
        return ()


def _covers(job: ExportJob, ask: Ask) -> bool:
    """Whether an open job may bring what a call needs, though it was planned without it."""
    start_ms, end_ms = ask.call.start_ms, ask.call.end_ms or ask.call.start_ms
    inside = job.from_ms <= start_ms <= end_ms < job.to_ms and set(ask.needs) <= set(job.types)
    return inside and job.posted_at >= ask.call.eligible_at
