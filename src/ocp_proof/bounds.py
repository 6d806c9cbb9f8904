"""Laws of exports, leases, queue and alarms: who may write, and that every bound is held.

Law                                                              checked at each change of
one export at a time for each OCP group                          an export job
a settled job stays ended and closed; a fence never falls        an export job
a job is written under its group's newest fence: never by a      an export job
  zombie
its window holds its calls, as they are known when it is made,   an export job
  and none before OCP can know it
its export at OCP holds all that the job is for, and is no       an export job
  spent one
windows of whole hours, 1 to 48; tries, polls, cancels, rounds   an export job
  and lost answers within their bounds; calls, each once
at most JOBS_OPEN_MAX jobs of a group are open                   an export job
a running lease changes its owner for nobody; its fence rises    a lease
  with each owner
one waiting message for each call; none tried too often; no      the queue
  more than the calls need; done is done: no step is left
an alarm is the rhythm's, a group's slot's or a known job's: so  the timetable
  there are no more than these
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from ocp_ingest.adapters.memory.export_book import ExportBookState
from ocp_ingest.adapters.memory.state import MemoryState, StoredMessage
from ocp_ingest.core.call import Call
from ocp_ingest.core.export_job import ExportJob, State
from ocp_ingest.core.lifecycle import works
from ocp_ingest.core.limits import HOUR_MS, MINUTE_MS
from ocp_ingest.core.settings import Settings
from ocp_ingest.ingest.pipeline import STEPS
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.drive import alarm_name
from ocp_ingest.reconcile.schedule import DETECT
from ocp_ingest.reconcile.slot import JOBS_OPEN_MAX
from ocp_proof.law import law
from ocp_proof.readings import CALLS, JOBS
from ocp_sim import platform as sim

# The clocks of two processes differ by no more in any story.
_SKEW_MS: Final = 2 * MINUTE_MS
# Messages of one call: one waits; each of its four pushes, repeated four times at most, each of the
# eight times that a person asks, and each of the four times that one of three processes puts an
# overdue call within an hour (ingest.again), may leave one that a worker who is paused, or whose
# answer was lost, holds until its lease is over.
_MESSAGES_PER_CALL: Final = 1 + 4 * 4 + 8 + 4 * 3
_WATERMARK_MS: Final = 2 * HOUR_MS  # OCP's own advice for data of its warehouse
_HOURS_MAX: Final = 48  # OCP refuses longer windows
# POSTs of one job: the wait for somebody else's export ends by time, not by number.
_CREATES_MAX: Final = 600
# A completed export whose list can't be read is asked on for until its data are gone, 20 hours,
# with pauses of up to 15 minutes, half of that on average: 160 times, and by chance more. One that
# runs, every few minutes, by the hour; a worker that falls silent is followed by another; so is
# each runner, under a new fence.
_TRIES_MAX: Final = 220


class Bounds:
    """The checks, over the state that they watch; `now_ms` is the true time."""

    def __init__(
        self, settings: Settings, state: MemoryState, book: ExportBookState,
        now_ms: Callable[[], int], exports: Callable[[str], Mapping[str, sim.Job]] = lambda _: {},
    ) -> None:  # fmt: skip
        """`exports` gives the exports that a group has at OCP."""
        self._exports = exports
        self._settings = settings
        self._policy = settings.policy.stage2
        self._state = state
        self._book = book
        self._now_ms = now_ms
        self.changed_ms: dict[str, int] = {}  # when the record of a call changed last
        self._came_late: set[str] = set()
        self._settled: set[str] = set()
        self._alarms: set[str] = set()  # of each job there ever was
        self.late = False  # what changes now was asked for long ago, by whoever gave it up since
        self.checked = 0

    # -- exports -------------------------------------------------------------------------------

    def job(self, job_key: str, before: bytes | None, after: bytes | None) -> None:
        """A change of an export job."""
        self.checked += 1
        law(after is not None, f"{job_key} was removed")
        assert after is not None
        held = JOBS(job_key, before) if before is not None else None
        mine = JOBS(job_key, after)
        self._alarms.add(alarm_name(job_key))
        # A request that lingered writes an older state; its runner, or the next, decides again.
        if self.late:
            self._came_late.add(job_key)
            return
        if held is not None:
            law(
                mine.state is State.ENDED or job_key in self._book.open,
                f"{job_key} was settled and goes on",
            )
            law(held.fence <= mine.fence, f"{job_key}: its fence fell")
        lease = self._book.leases.get(mine.ocp_group)
        law(
            lease is not None and mine.fence <= lease.fence,
            f"{job_key}: written under a fence that nobody was given",
        )
        assert lease is not None
        law(
            mine.fence == lease.fence or mine.state in (State.PLANNED, State.ENDED),
            f"{job_key}: written by a zombie, under fence {mine.fence} of {lease.fence}",
        )
        self._bounded(mine)
        self._serves(mine)
        if before is None:
            self._holds_its_calls(mine)
        self._alone(mine)

    def _bounded(self, job: ExportJob) -> None:
        policy = self._policy
        hours, odd = divmod(job.to_ms - job.from_ms, HOUR_MS)
        law(
            not odd and job.from_ms % HOUR_MS == 0 and 1 <= hours <= _HOURS_MAX,
            f"{job.job_key}: a window of {job.to_ms - job.from_ms} ms",
        )
        held = {
            "polls": (
                job.polls,
                policy.polls_max + 1 + job.fence + _TRIES_MAX * (job.blocked_until > 0),
            ),
            "cancels": (job.cancels, policy.cancels_max),
            "rounds": (job.round, policy.download_rounds_max + _TRIES_MAX + job.fence),
            "lost answers": (job.lost, policy.lost_max + 1),
            "errors": (job.errors, policy.errors_max + _TRIES_MAX * (job.export_id is not None)),
            "POSTs": (job.creates, _CREATES_MAX),
            "failures": (job.failures, 3),
            "calls": (len(job.call_ids), len(self._state.records)),
        }
        one_too_many = job.state is State.ENDED  # what made it give up is counted too
        for name, (number, most) in held.items():
            law(
                number <= most + one_too_many,
                f"{job.job_key}: {number} {name}, {most} at most, {job.state}",
            )
        law(len(set(job.call_ids)) == len(job.call_ids), f"{job.job_key}: it has a call twice")

    def _holds_its_calls(self, job: ExportJob) -> None:
        """By what was known of them when it was planned."""
        for call_id in job.call_ids:
            record = self._state.records.get(call_id)
            law(record is not None, f"{job.job_key}: nobody knows {call_id}")
            assert record is not None
            call = CALLS(call_id, record)
            start_ms = call.get("call_started") or call.get("call_ended")
            if start_ms is not None:
                # One of unknown end, or over several hours, may be looked for in some of them.
                end_ms = call.get("call_ended") or start_ms + self._policy.max_call_ms
                law(
                    job.from_ms <= end_ms and start_ms < job.to_ms,
                    f"{job.job_key}: {call_id} is not in its window",
                )
            self._is_ready(job, call)

    def _is_ready(self, job: ExportJob, call: Call) -> None:
        """OCP's warehouse lags: a call is asked for from so long after its last hour on."""
        ended_ms, started_ms = call.get("call_ended"), call.get("call_started")
        if ended_ms is None or started_ms is None or call.acts:
            return  # taken to have lasted long; or a person said: now
        ready_ms = ended_ms // HOUR_MS * HOUR_MS + HOUR_MS + _WATERMARK_MS
        last_ms = started_ms + self._policy.retention_ms - self._policy.retention_ms // 4
        law(
            job.planned_at >= min(ready_ms, last_ms) - _SKEW_MS,
            f"{job.job_key}: {call.call_id} is asked for before OCP can know it",
        )

    def _serves(self, job: ExportJob) -> None:
        export = self._exports(job.ocp_group).get(job.export_id or "")
        if export is None:
            return
        law(export.id not in job.spent_export_ids, f"{job.job_key}: {export.id} has disappointed")
        law(
            export.from_ms <= job.from_ms and job.to_ms <= export.to_ms
            and set(job.types) <= set(export.types),
            f"{job.job_key}: {export.id} does not hold what the job is for",
        )  # fmt: skip

    def _alone(self, mine: ExportJob) -> None:
        others = [
            job for key in self._book.open
            if key != mine.job_key and (job := JOBS(key, self._book.jobs[key])).ocp_group
            == mine.ocp_group
        ]  # fmt: skip
        if mine.job_key in self._book.open:
            law(
                len(others) < JOBS_OPEN_MAX + 1,
                f"{mine.ocp_group}: {len(others) + 1} jobs are open",
            )
        if _holds_slot(mine):
            for other in others:
                # A plan that was given up and arrives all the same meets OCP's own 409.
                late = {mine.job_key, other.job_key} & self._came_late
                law(
                    bool(late) or not _holds_slot(other),
                    f"{mine.job_key} and {other.job_key} both export {mine.ocp_group}",
                )

    def opened(self, job_key: str, is_open: bool) -> None:
        """A job joins the open ones, or leaves them: for good."""
        self.checked += 1
        if not is_open:
            self._settled.add(job_key)
        law(not is_open or job_key not in self._settled, f"{job_key} was settled and is open again")

    def lease(self, group: str, before: Lease | None, after: Lease | None) -> None:
        """A change of a lease."""
        self.checked += 1
        law(after is not None, f"{group}: its lease was removed")
        assert after is not None
        if before is None:
            return
        law(after.fence >= before.fence, f"{group}: the fence of its lease fell")
        if after.owner in ("", before.owner):
            return
        runs = before.owner != "" and before.until_ms > self._now_ms() + _SKEW_MS
        law(not runs, f"{group}: {after.owner} took the lease that {before.owner} has")
        law(after.fence > before.fence, f"{group}: a new owner under an old fence")

    # -- queue and alarms ----------------------------------------------------------------------

    def message(
        self, ident: int, before: StoredMessage | None, after: StoredMessage | None
    ) -> None:
        """A message is put, or done."""
        self.checked += 1
        tries_max = self._settings.limits.step_tries_max
        if after is None:
            assert before is not None
            law(before.tries <= tries_max, f"message {ident} was tried {before.tries} times")
            self._nothing_left(before)
            return
        same = Counter(
            (held.key, held.state)
            for held in self._state.messages.values()
            if held.key == after.key
        )
        law(same[after.key, "waiting"] == 0, f"{after.key} waits twice")
        law(sum(same.values()) < _MESSAGES_PER_CALL, f"{after.key}: {sum(same.values())} messages")

    def _nothing_left(self, done: StoredMessage) -> None:
        """A message is only done when its call has no step left that its worker could have seen."""
        others = [m for m in self._state.messages.values() if m.key == done.key and m is not done]
        call_id = done.key.removeprefix("call:")
        record = self._state.records.get(call_id)
        taken_ms = done.at_ms - self._settings.limits.step_lease_ms
        if others or record is None or self.changed_ms.get(call_id, 0) >= taken_ms - _SKEW_MS:
            return
        left = [
            work for work in works(CALLS(call_id, record), self._settings.policy)
            if work.action in STEPS and work.code != "awaits_cdr"
        ]  # fmt: skip
        law(not left, f"{call_id}: its message is done, and {[w.action for w in left]} is not")

    def alarm_set(self, name: str) -> None:
        """An alarm is set."""
        self.checked += 1
        slots = {f"slot:{group}" for group in self._book.leases}
        known = name == DETECT or name in self._alarms or name in slots
        law(known, f"{name}: an alarm of nothing")


def _holds_slot(job: ExportJob) -> bool:
    return job.released_at is None and job.state not in (State.ENDED, State.PLANNED)
