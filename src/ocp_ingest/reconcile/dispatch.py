"""One look at what is due, where state machines drive the jobs: detect, then start what is to run.

detect ─► per group, under its lease:
            ended but not settled?  settle
            open, nobody drives it? another execution of the same job
            slot free?              plan ─► job kept, calls say "asked" ─► execution
       ─► incidents of calls

The job is kept before its execution is started. A crash in between leaves an open job without
one, which the next look starts: the same name stands for itself, a spent one gets the next
number. That number is kept on the job before it is used, so it survives whoever counts.

    job_key ─► job_key-r1 ─► job_key-r2 …      execution_ref: name when started, ARN once it runs

Somebody else may be at a group; it is looked at by a repeat of the whole look, which costs little.
What is not looked at in the time given is as old at the next look.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from ocp_ingest.core.errors import OcpIngestError, Terminal, Transient
from ocp_ingest.core.export_job import ExportJob, State
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import census, finish
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.detect import UNKNOWN_GROUP, Ask, Detected, detect, due_asks
from ocp_ingest.reconcile.drive import Driver
from ocp_ingest.reconcile.executions import Executions
from ocp_ingest.reconcile.hold import under_lease
from ocp_ingest.reconcile.slot import Slot
from ocp_ingest.reconcile.watch import GroupWatch, watch_calls
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

# Open jobs that are looked through: JOBS_OPEN_MAX of each of a thousand groups.
_JOBS_MAX: Final = 4_000
# Groups looked at side by side: each waits for the network most of its time.
_GROUPS_AT_ONCE: Final = 4
# Parts of the time given that are kept for what follows: planning and starting, once calls were
# looked at; starting, once a group's calls were read; and ending in good order.
_FOR_GROUPS: Final = 0.5
_FOR_STARTING: Final = 0.15
_FOR_ENDING: Final = 0.1
# Spent names that one look tries in a row; a number that was lost is found again in a few looks.
_NAMES_MAX: Final = 8
# Steps Functions' bound on the name of an execution.
NAME_CHARS_MAX: Final = 80
_RESUMED: Final = re.compile(r"(?P<key>.+)-r(?P<number>[0-9]+)\Z")


class Dispatched(msgspec.Struct):
    """What one look found and started; `started` are names of executions."""

    looked_at: int = 0
    resumed: int = 0
    closed: dict[str, int] = {}
    asked: dict[str, int] = {}
    started: list[str] = []
    unfinished: bool = False


def _all_of_it() -> float:
    """For those whose time has no end."""
    return 1.0


class Dispatcher:
    """One look; `owner` names it in leases, `left` says which part of its time is left."""

    def __init__(
        self, world: World, stage2: Stage2, executions: Executions, *, owner: str,
        left: Callable[[], float] = _all_of_it,
    ) -> None:  # fmt: skip
        self._world = world
        self._stage2 = stage2
        self._executions = executions
        self._owner = owner
        self._left = left
        self._failed: list[OcpIngestError] = []
        self._done = Dispatched()

    async def look(
        self, ocp_group: str | None = None, *, count_at_once: bool = False
    ) -> Dispatched:
        """Looks at one group or at all; `count_at_once`: takes the census, too.

        Raises what kept it from looking at a group, once it has looked at all others.
        """
        found = await detect(
            self._world, ocp_group, groups=self._stage2.groups, over=self._over(_FOR_GROUPS)
        )
        self._note(found)
        groups = [ocp_group] if ocp_group else await self._groups(found)
        if count_at_once:
            for group in groups:
                await census.want_at_once(self._stage2, group, wanted=True)
        turns = await self._look_at(groups, lambda group: bool(found.asks.get(group)))
        if ocp_group is None:
            await self._watch(found)
        else:  # the others were not looked for
            await self._look_at(sorted(turns - {ocp_group}), lambda _group: True)
        if self._failed:
            raise self._failed[0]
        return self._done

    def _note(self, found: Detected) -> None:
        done = self._done
        done.looked_at, done.resumed = found.looked_at, found.resumed
        done.closed, done.unfinished = found.closed, found.unfinished
        done.asked = {group: len(asks) for group, asks in found.asks.items()}

    async def _groups(self, found: Detected) -> list[str]:
        held = await self._stage2.book.jobs(open_only=True, limit=_JOBS_MAX)
        named = (*found.asks, *(job.ocp_group for job in held), *self._stage2.groups)
        return [group for group in dict.fromkeys(named) if group != UNKNOWN_GROUP]

    # -- groups -------------------------------------------------------------------------------

    def _over(self, part: float) -> Callable[[], bool]:
        return lambda: self._left() < part

    async def _look_at(self, groups: Iterable[str], is_asked: Callable[[str], bool]) -> set[str]:
        """Looks at groups side by side; returns those whose turn it may be now."""
        todo, turns = iter(groups), set[str]()

        async def worker() -> None:
            for group in todo:
                if self._left() < _FOR_ENDING:
                    self._done.unfinished = True
                    return
                turns.update(await self._group(group, is_asked=is_asked(group)))

        workers = [asyncio.create_task(worker()) for _ in range(_GROUPS_AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return turns

    async def _group(self, group: str, *, is_asked: bool) -> set[str]:
        async def work(lease: Lease) -> set[str]:
            return await self._hold(lease, is_asked=is_asked)

        try:
            return await under_lease(self._world, self._stage2, group, self._owner, work)
        except OcpIngestError as failed:  # the other groups are looked at
            log().warning("reconcile.failed", ocp_group=group, code=failed.code, reason=failed.text)
            self._failed.append(failed)
        except Exception as bug:
            error = type(bug).__name__
            log().error("reconcile.crashed", ocp_group=group, error=error, exc_info=True)
            self._failed.append(Terminal(f"A group can't be looked at: {error}.", ocp_group=group))
        return set()

    async def _hold(self, lease: Lease, *, is_asked: bool) -> set[str]:
        """What there is to do in a group whose lease is held; returns whose turn it is then."""
        book, group = self._stage2.book, lease.ocp_group
        held = await book.jobs(ocp_group=group, open_only=True, limit=_JOBS_MAX)
        watch = GroupWatch(self._world, group)
        driver = Driver(self._world, self._stage2, lease, await book.group(group), watch, _nobody)
        driver.jobs.update((job.job_key, job) for job in held)
        slot = Slot(self._world, self._stage2, driver, watch)
        turns = {one for job in held for one in await self._settle(slot, job)}
        await watch.state(driver.group)
        for job in list(driver.jobs.values()):
            await self._resume(driver, job)
        if slot.has_room():
            await self._fill(slot, driver, is_asked=is_asked)
        return turns

    async def _settle(self, slot: Slot, job: ExportJob) -> tuple[str, ...]:
        """Settles a job whose runner died between its end and its settlement."""
        if job.state is not State.ENDED:
            return ()
        told = await slot.tell(job)
        if told.counted is False:
            await census.want_at_once(self._stage2, job.ocp_group, wanted=False)
        return (*told.groups, *await slot.close(job))

    async def _fill(self, slot: Slot, driver: Driver, *, is_asked: bool) -> None:
        group = driver.group.ocp_group
        asks = await self._asks(group) if is_asked else []
        at_once = await census.is_wanted_at_once(self._stage2, group)
        filled = await slot.fill(asks, at_once=at_once)
        if filled.job is not None:
            await self._execute(driver, filled.job)
        elif filled.counted and at_once:
            await census.want_at_once(self._stage2, group, wanted=False)

    async def _asks(self, group: str) -> Sequence[Ask]:
        """What is due now that nobody else can change it: the lease is ours."""
        over = self._over(_FOR_STARTING)
        asks = await due_asks(self._world, self._stage2.groups, group, over=over)
        return asks.get(group, [])

    # -- executions ---------------------------------------------------------------------------

    async def _resume(self, driver: Driver, job: ExportJob) -> None:
        """Has an open job driven, unless an execution is at it."""
        if await self._executions.is_running(job.execution_ref or job.job_key):
            return
        if job.state is State.PLANNED:
            await finish.ask(self._world, job)  # perhaps it was planned by one who died
        await self._execute(driver, job)

    async def _execute(self, driver: Driver, job: ExportJob) -> None:
        name = (job.execution_ref or job.job_key).rpartition(":")[2]
        for _ in range(_NAMES_MAX):
            if await self._executions.start(name, job.job_key, job.ocp_group):
                self._done.started.append(name)
                log().info("execution.started", job_key=job.job_key, name=name)
                return
            name = next_name(name)
            job = replace(job, execution_ref=name, fence=driver.lease.fence)
            await driver.keep(job)
        raise Transient("All names of an execution were spent; the next look goes on from there.")

    # -----------------------------------------------------------------------------------------

    async def _watch(self, found: Detected) -> None:
        """What can't be watched now is watched at the next look; this one has done its work."""
        known = {group for group in found.asks if group} | set(self._stage2.groups)
        try:
            # Also those of which nothing is open: silence has no calls.
            known |= {g.ocp_group for g in await self._stage2.book.groups() if g.ocp_group}
            await watch_calls(self._world, sorted(known), found.asks.get(UNKNOWN_GROUP, []))
        except Exception as failed:
            log().error("reconcile.unwatched", error=type(failed).__name__, exc_info=True)


def next_name(name: str) -> str:
    """The name of an execution that follows one of the same job."""
    found = _RESUMED.fullmatch(name)
    key, number = (found["key"], int(found["number"])) if found else (name, 0)
    made = f"{key}-r{number + 1}"
    assert len(made) <= NAME_CHARS_MAX, "a job's key leaves a dozen characters"
    return made


def _nobody() -> None:
    """Nobody waits in this process for a slot to be free."""
