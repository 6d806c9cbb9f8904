"""One step of an export job in one short invocation: the second runner of stage 2.

A state machine calls these steps one after the other and waits in between. The brain is
core.export_job, as for the embedded runner; the state machine only looks up the word of the
answer. Each step takes the group's lease for itself, drives the job until it has to wait, and
gives the lease up. The job is kept before each action, so whatever dies anywhere is repeated, or
followed by another execution, which finds what may have happened:

state on entry      acquire        create             poll n              release      finish
planned             go (1)         Nothing: POST      wait                –            –
creating (2)        go             TakenOver: list    wait                –            –
doubtful, busy      go             Nothing: list      wait                –            –
                                   when due
running             go             Nothing: poll now  n = polls+1: poll   –            –
                                   if due, else poll  n = polls: the next
                                   at its time (3)    timer again; else
                                                      nothing (4)
cancelling          go             Nothing: DELETE    Nothing: DELETE     –            –
blocked             go             Nothing: poll if   wait                –            –
                                   due, else wait (5)
ready               go             Nothing: file list Nothing: file list  –            –
downloading         new execution: fetch              fetch               Nothing:     its results
                    TakenOver:                                            free the     (6)
                    new round;                                            slot; next
                    fetch                                                 round if due
ended               settle: ended  settle: ended      settle: ended       settle:      settle:
                                                                          ended        done

1  `wait` instead while a job that came before holds the slot.
2  The invocation before this one died between the intent and the answer: its POST may have
   reached OCP. One that is still at it holds the lease, so it is not met here.
3  A timer rings up to a minute late: what is due within half a minute is asked now. A pause in
   which a token would be taken for silent is spent waiting without a token.
4  Timers and invocations come at least once. Only the next poll is made; the last one, repeated,
   sets the same timer again, because the first may have died before it did; others do nothing.
5  A stuck export is watched every half hour for a day: by a wait, which costs nothing.
6  Both parts' results, whatever the branches say of themselves: what was not fetched has failed.
–  does not come to pass: the state machine goes there by other words. It says `wait` a second.

Locking: a step that finds the lease held tries again for ten seconds, then raises GroupBusy, and
the state machine repeats it. One that was frozen is refused its late writes by the fence.
Nothing here decides when what is asked: the times are the brain's; waits go out as real seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from ocp_ingest.core.errors import Invalid, NotFound, OcpIngestError, Transient
from ocp_ingest.core.export_job import (
    BackOff,
    DownloadsFinished,
    ExportJob,
    Nothing,
    Observation,
    PollAt,
    StartDownloads,
    State,
    TakenOver,
    download_deadline,
)
from ocp_ingest.core.limits import JOB_STEPS_MAX, MINUTE_MS, SECOND_MS
from ocp_ingest.ingest import tell
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import census
from ocp_ingest.reconcile.answer import (
    TIMER_LEAD_MS,
    Answer,
    PollInput,
    RealSeconds,
    Word,
    calls_of,
    task_id,
    timer,
)
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.drive import Driver, are_holding
from ocp_ingest.reconcile.executions import Detection
from ocp_ingest.reconcile.export import perform
from ocp_ingest.reconcile.hold import under_lease
from ocp_ingest.reconcile.results import count, is_open, load_results, manifest_of, part_of, ref_of
from ocp_ingest.reconcile.slot import Slot
from ocp_ingest.reconcile.watch import GroupWatch
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

# How early a poll may be made: a timer of its own would not ring sooner.
_EARLY_CREATE_MS: Final = MINUTE_MS // 2
# … and when its timer has rung: Scheduler is precise to a minute.
_EARLY_TIMER_MS: Final = MINUTE_MS
# Longest pause between two polls of a living token: below the half hour of silence after which
# its state takes the chain of timers for lost, by a timer's minute and an invocation's retries.
POLL_GAP_S_MAX: Final = 1_500
# How long a job waits for the one that holds the slot before it asks again; there is nearly never
# one, since jobs are only planned for a free slot.
_SLOT_LOOK_MS: Final = 5 * MINUTE_MS
# A round that is due so soon is awaited in place: the state machine's waits are whole seconds.
_ROUND_SOON_MS: Final = 5 * SECOND_MS
# Free the slot, start the round, and one to spare.
_RELEASE_STEPS_MAX: Final = 4
# Open jobs of a group that are looked through; JOBS_OPEN_MAX and retries stay far below.
_OPEN_MAX: Final = 1_000
# Of a state machine's error: enough to find its cause.
_ERROR_CHARS_MAX: Final = 200


@dataclass(slots=True)
class _Turn:
    """The group in the hands of one step."""

    job: ExportJob
    driver: Driver
    slot: Slot
    watch: GroupWatch


class Flow:
    """The steps of jobs; one object per invocation, since `owner` names it in the lease.

    All raise GroupBusy and Transient, to be repeated, NotFound for a job that nobody planned, and
    Invalid for one of another group.
    """

    def __init__(
        self, world: World, stage2: Stage2, detection: Detection, *, owner: str,
        real_s: RealSeconds,
    ) -> None:  # fmt: skip
        self._world = world
        self._stage2 = stage2
        self._detection = detection
        self._owner = owner
        self._real_s = real_s
        self._freed = False
        self._looks: set[str] = set()

    # -- the steps ----------------------------------------------------------------------------

    async def acquire(self, job_key: str, ocp_group: str, execution: str) -> Answer:
        """Whether the job may go on now; notes which execution drives it."""

        async def work(turn: _Turn) -> Answer:
            if turn.job.state is State.ENDED:
                return await self._settle(turn, "ended")
            if turn.job.execution_ref != execution:
                turn.job = replace(turn.job, execution_ref=execution)
                # The execution that had the round is gone; its worker may still be at it.
                if turn.job.state is State.DOWNLOADING:
                    return await self._drive(turn, TakenOver(turn.driver.lease.fence))
                await turn.driver.keep(turn.job)
            if turn.job.state is State.DOWNLOADING:
                return self._say(turn, "fetch")
            if turn.job.released_at is None and await self._is_held_by_another(turn.job):
                return self._say(turn, "wait", wait_ms=_SLOT_LOOK_MS)
            return self._say(turn, "go")

        return await self._run(job_key, ocp_group, work)

    async def create(self, job_key: str, ocp_group: str) -> Answer:
        """Drives the job until it has to wait; also after a silence, with the same export."""

        async def work(turn: _Turn) -> Answer:
            if turn.job.state is State.ENDED:
                return await self._settle(turn, "ended")
            if turn.job.state is State.DOWNLOADING:
                return self._say(turn, "fetch")
            seen: Observation = Nothing()
            if turn.job.state is State.CREATING:
                seen = TakenOver(turn.driver.lease.fence)
            return await self._drive(turn, seen, early_ms=_EARLY_CREATE_MS)

        return await self._run(job_key, ocp_group, work)

    async def poll(self, asked: PollInput) -> Answer:
        """Makes the poll that a timer rang for, if it is the next one."""
        chain = task_id(asked.task_token)

        async def work(turn: _Turn) -> Answer:
            if turn.job.state is State.ENDED:
                return await self._settle(turn, "ended")
            if (said := self._unpolled(turn, asked, chain)) is not None:
                return said
            turn.job = replace(turn.job, task_token=asked.task_token, task_id=chain)
            return await self._drive(turn, Nothing(), early_ms=_EARLY_TIMER_MS, chain=chain)

        return await self._run(asked.job_key, asked.ocp_group, work)

    def _unpolled(self, turn: _Turn, asked: PollInput, chain: str) -> Answer | None:
        """The answer to a timer where there is nothing to drive."""
        job = turn.job
        match job.state:
            case State.DOWNLOADING:
                return self._say(turn, "fetch")
            case State.BLOCKED:
                return self._wait_until(turn, job.next_poll_at)
            case State.PLANNED | State.CREATING | State.DOUBTFUL | State.BUSY:
                return self._say(turn, "wait", wait_ms=SECOND_MS)
            case State.RUNNING if asked.iteration == job.polls:
                return self._poll_at(turn, job.next_poll_at, chain)
            case State.RUNNING if asked.iteration != job.polls + 1:
                return self._say(turn, "poll", stale=True)
            case _:
                return None

    async def release(self, job_key: str, ocp_group: str) -> Answer:
        """Frees the slot and says what the round has to fetch; starts the next one when due."""

        async def work(turn: _Turn) -> Answer:
            if turn.job.state is State.DOWNLOADING:
                await self._begin_round(turn)
            if turn.job.state is State.ENDED:
                return await self._settle(turn, "ended")
            if turn.job.state is not State.DOWNLOADING:
                return self._say(turn, "wait", wait_ms=SECOND_MS)
            return await self._say_round(turn)

        return await self._run(job_key, ocp_group, work)

    async def finish(
        self, job_key: str, ocp_group: str, number: int, branches: Sequence[Mapping[str, Any]] = ()
    ) -> Answer:
        """Counts what round `number` brought: another round, or the end of the job."""
        for branch in branches:
            if branch.get("failed"):
                name, error = str(branch.get("branch")), str(branch.get("error"))
                log().warning(
                    "download.branch_failed", job_key=job_key, round=number, branch=name[:20],
                    error=error[:_ERROR_CHARS_MAX],
                )  # fmt: skip

        async def work(turn: _Turn) -> Answer:
            job = turn.job
            if job.state is State.DOWNLOADING:
                listed = await manifest_of(self._stage2, job)
                results = await load_results(self._stage2, job)
                counted = count(listed, results, ref_of(job, job.round, "all"))
                turn.job, action = await turn.driver.go(job, DownloadsFinished(counted, number))
                if turn.job.state is State.DOWNLOADING and isinstance(action, BackOff):
                    return self._wait_until(turn, action.until_ms)
            if turn.job.state is State.ENDED:
                return await self._settle(turn, "done")
            # Another execution has the job, and a newer round.
            return self._say(turn, "done")

        return await self._run(job_key, ocp_group, work)

    async def abandon(self, job_key: str, ocp_group: str, error: str) -> Answer:
        """Tells a person that an execution met what nobody foresaw; the job stays open."""
        text = f"{ocp_group}: the execution of an export job failed: {error[:_ERROR_CHARS_MAX]}"
        log().error("export.abandoned", job_key=job_key, error=error[:_ERROR_CHARS_MAX])
        await tell.people(self._world, "step_parked", text, key=_abandoned(ocp_group))
        return Answer(
            next="done", job_key=job_key, ocp_group=ocp_group, round=0, until_ms=0, export_job_id=""
        )

    # -- one step under the lease -------------------------------------------------------------

    async def _run(
        self, job_key: str, ocp_group: str, work: Callable[[_Turn], Awaitable[Answer]]
    ) -> Answer:
        async def turn(lease: Lease) -> Answer:
            return await work(await self._begin(job_key, lease))

        answer = await under_lease(self._world, self._stage2, ocp_group, self._owner, turn)
        if self._freed and answer.next not in ("ended", "done"):  # else it is looked at anyway
            self._looks.add(ocp_group)
        await self._ask_for_looks()
        log().info("flow.answered", job_key=job_key, next=answer.next, round=answer.round)
        return answer

    async def _begin(self, job_key: str, lease: Lease) -> _Turn:
        book, group = self._stage2.book, lease.ocp_group
        job = await book.job(job_key)
        if job is None:
            raise NotFound("There is no such export job.", job_key=job_key)
        if job.ocp_group != group:
            raise Invalid("The export job is of another group.", job_key=job_key)
        watch = GroupWatch(self._world, group, silent=job.errors)
        driver = Driver(
            self._world, self._stage2, lease, await book.group(group), watch, self._free
        )
        slot = Slot(self._world, self._stage2, driver, watch)
        return _Turn(replace(job, fence=lease.fence), driver, slot, watch)

    def _free(self) -> None:
        self._freed = True

    async def _is_held_by_another(self, job: ExportJob) -> bool:
        open_jobs = await self._stage2.book.jobs(
            ocp_group=job.ocp_group, open_only=True, limit=_OPEN_MAX
        )
        mine = (job.planned_at, job.job_key)
        return are_holding(one for one in open_jobs if (one.planned_at, one.job_key) < mine)

    async def _drive(
        self, turn: _Turn, seen: Observation, *, early_ms: int = 0, chain: str = ""
    ) -> Answer:
        """Takes the job as far as it goes now; `early_ms` before its time the first poll is made.

        `chain` names the living token, or the timer's set by the state machine with a new one.
        """
        chain = chain or str(turn.driver.lease.fence)  # rises with every step
        for _ in range(JOB_STEPS_MAX):
            turn.job, action = await turn.driver.go(turn.job, seen)
            if turn.job.state is State.ENDED:
                return await self._settle(turn, "ended")
            now_ms = self._world.clock.now_ms()
            match action:
                case StartDownloads():
                    return self._say(turn, "fetch")
                case BackOff():
                    return self._wait_until(turn, action.until_ms)
                case PollAt() if action.at_ms > now_ms + early_ms:
                    return self._poll_at(turn, action.at_ms, chain)
            early_ms = 0
            seen = await perform(self._world, self._stage2, turn.job, action)
            await turn.watch.heard(seen)
        log().error("export.spinning", job_key=turn.job.job_key, state=turn.job.state.value)
        return self._say(turn, "wait", wait_ms=MINUTE_MS)

    async def _begin_round(self, turn: _Turn) -> None:
        """Frees the slot, and has a round under way; or the job has ended."""
        silence_ms = self._world.settings.policy.stage2.download_silence_ms
        for _ in range(_RELEASE_STEPS_MAX):
            job, now_ms = turn.job, self._world.clock.now_ms()
            # A round in which nobody has begun for so long is given up for the next one.
            fresh = job.beat_at is not None and now_ms < job.beat_at + silence_ms
            if job.state is not State.DOWNLOADING or (job.released_at is not None and fresh):
                return
            turn.job, action = await turn.driver.go(job, Nothing())
            if isinstance(action, BackOff):
                await self._pause(action.until_ms - now_ms)
        raise Transient("The next round of downloads is not due yet.", job_key=turn.job.job_key)

    async def _pause(self, wait_ms: int) -> None:
        if wait_ms > _ROUND_SOON_MS:
            raise Transient("The next round of downloads is not due yet.")
        await self._world.clock.sleep_ms(wait_ms)

    async def _settle(self, turn: _Turn, word: Word) -> Answer:
        """Says everywhere what the job's end means; done again, it changes nothing."""
        job, group = turn.job, turn.job.ocp_group
        turn.driver.jobs[job.job_key] = job
        told = await turn.slot.tell(job)
        if told.counted is False:
            await census.want_at_once(self._stage2, group, wanted=False)
        now_ms = self._world.clock.now_ms()
        await self._world.incidents.close(_abandoned(group), now_ms, "a job came to its end")
        turns = await turn.slot.close(job)
        self._looks.update(one for one in (*told.groups, *turns) if one != group)
        return self._say(turn, word)

    async def _ask_for_looks(self) -> None:
        """Others' turn; what can't be asked for now is looked at by the next detection."""
        looks = sorted(group for group in self._looks if group)
        try:
            for group in looks if len(looks) <= 1 else [None]:
                await self._detection.ask(group)
        except OcpIngestError as failed:
            log().warning("detect.not_asked", code=failed.code, reason=failed.text)

    # -- answers ------------------------------------------------------------------------------

    def _poll_at(self, turn: _Turn, at_ms: int, chain: str) -> Answer:
        now_ms = self._world.clock.now_ms()
        pause_ms = max(at_ms - now_ms, TIMER_LEAD_MS)
        if turn.job.state is State.BLOCKED or self._real_s(pause_ms) > POLL_GAP_S_MAX:
            return self._wait_until(turn, at_ms)
        said = self._say(turn, "poll")
        return replace(said, first_poll=timer(turn.job, chain, now_ms + pause_ms))

    def _wait_until(self, turn: _Turn, until_ms: int) -> Answer:
        return self._say(turn, "wait", wait_ms=until_ms - self._world.clock.now_ms())

    async def _say_round(self, turn: _Turn) -> Answer:
        job = turn.job
        results = await load_results(self._stage2, job)
        listed = await manifest_of(self._stage2, job)
        parts = {part_of(file) for file in listed if is_open(file, results)}
        said = self._say(turn, "fetch")
        return replace(
            said, metadata="metadata" in parts, audio="audio" in parts,
            dialog_group_ids=calls_of(job),
        )  # fmt: skip

    def _say(
        self, turn: _Turn, word: Word, *, wait_ms: int | None = None, stale: bool = False
    ) -> Answer:
        job, policy = turn.job, self._world.settings.policy.stage2
        return Answer(
            next=word,
            job_key=job.job_key,
            ocp_group=job.ocp_group,
            round=job.round,
            until_ms=download_deadline(job, policy) if job.ready_at else 0,
            export_job_id=job.export_id or "",
            wait_s=0 if wait_ms is None else self._real_s(max(1, wait_ms)),
            stale=stale,
        )


def _abandoned(ocp_group: str) -> str:
    return f"step_parked:execution:{ocp_group}"
