"""poll: drives one export job as the brain says, until it has to wait or has ended.

    decide (core.export_job.step) → keep the job, fenced → do the action → what was seen → decide

The job is kept before its action is done, so a runner that dies anywhere is followed by one that
knows what may already have happened. Downloads run beside: while they do, the job is told of
their progress, so the slot is released at once and the end of their time is noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from ocp_ingest.core.errors import Conflict, Transient
from ocp_ingest.core.export_group import GroupState, after
from ocp_ingest.core.export_job import (
    Action,
    BackOff,
    DownloadsFinished,
    End,
    ExportJob,
    Ignore,
    Nothing,
    Observation,
    PollAt,
    Progress,
    Results,
    StandDown,
    StartDownloads,
    State,
    TakenOver,
    step,
    timer_name,
)
from ocp_ingest.core.limits import DOWNLOADS_AT_ONCE, JOB_STEPS_MAX, MINUTE_MS
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.download import Downloads
from ocp_ingest.reconcile.export import perform
from ocp_ingest.reconcile.learn import learn
from ocp_ingest.reconcile.watch import GroupWatch
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

# How often a job hears of its downloads: a third of the silence that it takes for a dead worker.
_BEATS: Final = 3


class Driven(msgspec.Struct, frozen=True):
    """Where a drive stopped: until when to wait; None: the job has ended."""

    job: ExportJob
    wait_until_ms: int | None = None


class Driver:
    """Drives the jobs of one group under one lease; `released` is told when the slot is free."""

    def __init__(
        self, world: World, stage2: Stage2, lease: Lease, group: GroupState, watch: GroupWatch,
        released: Callable[[], None],
    ) -> None:  # fmt: skip
        self._world = world
        self._stage2 = stage2
        self.lease = lease
        self.group = group
        self.jobs: dict[str, ExportJob] = {}  # as they are kept
        self._watch = watch
        self._released = released
        self._keeping = asyncio.Lock()
        self._slots = asyncio.Semaphore(DOWNLOADS_AT_ONCE)

    async def keep(self, job: ExportJob) -> None:
        """Keeps a job as it is, new or not. Raises Conflict when the lease is lost."""
        await self._stage2.book.keep(self.lease, job=job)
        self.jobs[job.job_key] = job

    async def learn(self, job: ExportJob) -> None:
        """Keeps what an answered job says of the group's watermark."""
        async with self._keeping:
            group = await learn(self._world, self._stage2, self.group, job)
            if group != self.group:
                await self._stage2.book.keep(self.lease, group=group)
                self.group = group

    async def reload(self, job_key: str) -> None:
        """Takes job and group as they are kept: whether a write that failed was done is unknown."""
        async with self._keeping:
            self.group = await self._stage2.book.group(self.group.ocp_group)
            job = await self._stage2.book.job(job_key)
            assert job is not None, "a job that is driven was kept before"
            self.jobs[job_key] = job

    async def drive(self, job_key: str) -> Driven:
        """Takes a job as far as it goes now. Raises Conflict when the lease is lost."""
        job = self.jobs[job_key]
        work: _Work | None = None
        seen: Observation = Nothing()
        if job.fence != self.lease.fence:
            seen = TakenOver(self.lease.fence)
        steps = 0
        try:
            while steps < JOB_STEPS_MAX:
                steps += 1
                job, action = await self.go(job, seen)
                if job.state is State.ENDED:
                    return Driven(job)
                wait_until_ms = self._waits(action)
                if isinstance(action, StartDownloads):
                    await _end(work)
                    work = self._download(job, action)
                    seen = Nothing()
                elif wait_until_ms is None:
                    seen = await perform(self._world, self._stage2, job, action)
                    await self._watch.heard(seen)
                elif work is not None:
                    seen, steps = await self._progress(work, job, wait_until_ms), 0
                    work = None if isinstance(seen, DownloadsFinished) else work
                else:
                    await self._set_alarm(job, wait_until_ms)
                    return Driven(job, wait_until_ms)
        finally:
            await _end(work)
        log().error("export.spinning", job_key=job.job_key, state=job.state.value)
        return Driven(job, wait_until_ms=self._world.clock.now_ms() + MINUTE_MS)

    async def go(self, job: ExportJob, seen: Observation) -> tuple[ExportJob, Action]:
        """Decides, and keeps the job as decided; the action is the caller's to do.

        Raises Conflict when another runner has the job.
        """
        before = job
        async with self._keeping:
            now_ms = self._world.clock.now_ms()
            policy = self._world.settings.policy.stage2
            job, action = step(job, seen, now_ms, policy)
            if isinstance(action, StandDown):
                raise Conflict("Another runner holds the job.", job_key=job.job_key)
            if not isinstance(action, Ignore):
                group = after(self.group, job, action, now_ms, policy)
                await self._stage2.book.keep(self.lease, group=group, job=job)
                self.group, self.jobs[job.job_key] = group, job
        log().info(
            "export.step", job_key=job.job_key, seen=type(seen).__name__, state=job.state.value,
            action=type(action).__name__,
        )  # fmt: skip
        if before.released_at is None and job.released_at is not None:
            self._released()
        return job, action

    def _waits(self, action: Action) -> int | None:
        now_ms = self._world.clock.now_ms()
        if isinstance(action, PollAt) and action.at_ms > now_ms:
            return action.at_ms
        if isinstance(action, BackOff):
            return max(action.until_ms, now_ms + 1)
        return None

    def _download(self, job: ExportJob, action: StartDownloads) -> _Work:
        downloads = Downloads(self._world, self._stage2, job, self._slots)
        task = asyncio.create_task(downloads.run(action.until_ms), name=f"download:{job.job_key}")
        return _Work(downloads, task, action.round)

    async def _progress(self, work: _Work, job: ExportJob, until_ms: int) -> Observation:
        """Waits for the downloads, but not longer than until the job wants to be told of them.

        They beat as long as they run: all their waits are bounded by the client of OCP, in real
        time, which a scaled domain clock must not take for silence.
        """
        policy, now_ms = self._world.settings.policy.stage2, self._world.clock.now_ms()
        beat_ms = min(until_ms - now_ms, policy.download_silence_ms // _BEATS)
        pause = asyncio.create_task(self._world.clock.sleep_ms(max(1, beat_ms)))
        try:
            await asyncio.wait({work.task, pause}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
        if not work.task.done():
            await work.downloads.keep()
            return Progress(len(work.downloads.results))
        try:
            return DownloadsFinished(work.task.result(), work.round)
        except Transient as gone:
            log().warning("download.unavailable", job_key=job.job_key, reason=gone.text)
            left = max(1, job.wanted - len(work.downloads.results))
            return DownloadsFinished(Results(job.wanted - left, left), work.round)

    async def _set_alarm(self, job: ExportJob, at_ms: int) -> None:
        """The runner wakes by itself; the alarm is for when it has died."""
        name = alarm_name(job.job_key)
        await self._world.timetable.cancel(name)
        body = {"ocp_group": job.ocp_group, "job_key": job.job_key}
        await self._world.timetable.set(name, at_ms, body)


class _Work:
    """A round of downloads under way."""

    def __init__(self, downloads: Downloads, task: asyncio.Task[Results], number: int) -> None:
        self.downloads = downloads
        self.task = task
        self.round = number


async def _end(work: _Work | None) -> None:
    if work is not None:
        work.task.cancel()
        # Nobody waits for it any more: what it ended with is taken, and goes with it.
        await asyncio.gather(work.task, return_exceptions=True)


def alarm_name(job_key: str) -> str:
    """The one alarm of a job in the timetable: its next poll, or the end of its wait."""
    return timer_name(job_key, 0)


def is_retried(job: ExportJob) -> bool:
    """Whether an ended job is followed by `core.export_job.retry_of` it: its action was Retry."""
    return job.end is End.FAILED or (job.end is End.CANCELLED and job.failures == 0)


def are_holding(jobs: Iterable[ExportJob]) -> bool:
    """Whether one of these jobs has the group's slot, or waits for it."""
    return any(job.released_at is None and job.state is not State.ENDED for job in jobs)
