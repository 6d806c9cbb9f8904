"""Bulk work: one action on many calls, slowly, and each of them once.

draft    the calls of a filter, frozen as a list, with what would be done to each counted
start    by whoever drafted it, within a day: what was looked at must still be what is done
run      a batch of each running job in turn, until every item has a result; bulk_runner.py
cancel   no further batch begins; what is done stays done

A job belongs to the lines of business that its drafter saw. Only those who see all of these see
it, and what its calls belong to is asked again when the turn of each comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, cast

import msgspec

from ocp_ingest.core.access import Person
from ocp_ingest.core.bulk import BULK_ACTIONS, BulkAction, why_not
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Conflict, Denied, Invalid, NotFound, Transient
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.desk.ports import BulkItem, BulkJob, BulkState
from ocp_ingest.desk.world import Desk
from ocp_ingest.ingest import operate
from ocp_ingest.ports import CallQuery
from ocp_ingest.reconcile.together import together
from ocp_ingest.telemetry import log

# One job: a bad day of a large group. A list of ids of 80 bytes is 0.8 MB, and the runner's pace
# makes eight minutes of it. A filter that holds more says so; the next job takes the rest.
BULK_CALLS_MAX: Final = 10_000
# Records read at once while a list is frozen: a page of the store.
PAGE_CALLS: Final = 500
# Records read for one list, where the filter asks for what no column says; ten seconds' work.
READ_CALLS_MAX: Final = 50_000
# A draft older than this describes calls as they no longer are.
DRAFT_MS_MAX: Final = DAY_MS
# Running jobs take turns; more of them would each seem to stand still.
RUNNING_MAX: Final = 5
# Jobs that a runner looks through, newest first, for running ones.
JOBS_LOOKED_AT: Final = 100

LobOf = Callable[[Call], str]  # the line of business that scopes are about; "": not known
Keeps = Callable[[Call], bool]  # what of a filter the stores can't tell


class Foreseen(msgspec.Struct, frozen=True):
    """What a dry run counted: calls per code of core.bulk.WHY_NOT, "" for those acted on."""

    at_ms: int
    counts: dict[str, int]
    more: bool = False  # the filter may hold more calls than one job takes

    @property
    def acts(self) -> int:
        """Calls that would be acted on."""
        return self.counts.get("", 0)


async def draft(
    desk: Desk, person: Person, bulk_id: str, action: str, reason: str, query: CallQuery,
    keeps: Keeps, shown: Mapping[str, str], calls_max: int = BULK_CALLS_MAX,
) -> BulkJob:  # fmt: skip
    """Freezes the calls of a filter as a job and counts what would be done; the same id, once.

    `query`, narrowed to what the person sees, and `keeps` are the filter; `shown` is as people
    wrote it. Raises Denied, Invalid for an unknown action, a missing reason or a filter without
    calls, Transient while a long job runs behind very many drafts, Conflict for an id that is
    somebody else's.
    """
    person.require("act")
    operate.check_reason(reason)
    if action not in BULK_ACTIONS:
        raise Invalid(
            f"`action` must be one of {', '.join(BULK_ACTIONS)}.", say="bulk.error.action"
        )
    held = await desk.bulk.job(bulk_id)
    if held is None:
        await _room(desk)
        call_ids, foreseen = await _select(desk, person, action, query, keeps, calls_max)
        await _note(desk, bulk_id, foreseen)
        job = BulkJob(
            bulk_id=bulk_id, action=action, by=person.name, reason=reason.strip(),
            filter=dict(shown), lobs=person.lobs, made_at_ms=foreseen.at_ms, total=len(call_ids),
        )  # fmt: skip
        await desk.bulk.create(job, call_ids)
        held = await desk.bulk.job(bulk_id)
    if held is None or held.by != person.name:
        raise Conflict(
            "There is a bulk job of this id already: make a new one.", say="bulk.error.taken"
        )
    return held


async def _room(desk: Desk) -> None:
    """A runner finds running jobs among the newest: drafts must not push one out of sight."""
    jobs = await desk.bulk.jobs(limit=JOBS_LOOKED_AT)
    oldest = jobs[-(JOBS_LOOKED_AT // 4) :] if len(jobs) == JOBS_LOOKED_AT else []
    if any(job.state == "running" for job in oldest):
        raise Transient(
            "A bulk job has been running for long: wait for its end, or cancel it.",
            say="bulk.error.room",
        )


async def _select(
    desk: Desk, person: Person, action: BulkAction, query: CallQuery, keeps: Keeps, calls_max: int
) -> tuple[list[str], Foreseen]:
    policy, at_ms = desk.world.settings.policy, desk.world.clock.now_ms()
    counts: Counter[str] = Counter()
    call_ids: dict[str, None] = {}  # a call that moved between two pages is taken once
    read, cursor = 0, None
    while len(call_ids) < calls_max and read < READ_CALLS_MAX:
        limit = min(PAGE_CALLS, calls_max - len(call_ids))
        page = await desk.world.calls.page(
            msgspec.structs.replace(query, lobs=person.lobs, cursor=cursor, limit=limit)
        )
        read, cursor = read + limit, page.cursor
        for call in page.calls:
            if call.call_id not in call_ids and keeps(call):
                call_ids[call.call_id] = None
                counts[why_not(call, action, policy)] += 1
        if cursor is None:
            break
    if not call_ids:
        raise Invalid(
            "No call matches this filter: there is nothing to act on.", say="bulk.error.nobody"
        )
    return list(call_ids), Foreseen(at_ms, dict(counts), more=cursor is not None)


async def foresee(desk: Desk, job: BulkJob, lob_of: LobOf) -> Foreseen:
    """Counts anew what would be done to the calls of a job that have no result, and keeps it."""
    counts: Counter[str] = Counter()
    at_ms, after = desk.world.clock.now_ms(), -1
    while items := await desk.bulk.items(job.bulk_id, after=after, limit=PAGE_CALLS):
        waiting = [item for item in items if not item.result]
        counts.update((await expected(desk, job, lob_of, waiting)).values())
        after = items[-1].position
    before = await foreseen(desk, job.bulk_id)
    made = Foreseen(at_ms, dict(counts), more=before is not None and before.more)
    await _note(desk, job.bulk_id, made)
    return made


async def expected(
    desk: Desk, job: BulkJob, lob_of: LobOf, items: list[BulkItem]
) -> dict[int, str]:
    """By position: why an item would not be acted on now, or ""."""
    calls = await together([item.call_id for item in items], desk.world.calls.load)
    return {
        item.position: why_not_now(desk, job, lob_of, call)
        for item, call in zip(items, calls, strict=True)
    }


def why_not_now(desk: Desk, job: BulkJob, lob_of: LobOf, call: Call | None) -> str:
    if call is None:
        return "gone"
    if job.lobs is not None and lob_of(call) not in job.lobs:
        return "other_lob"
    return why_not(call, cast("BulkAction", job.action), desk.world.settings.policy)


def _ref(bulk_id: str) -> str:
    return f"bulk:{bulk_id}"


async def _note(desk: Desk, bulk_id: str, made: Foreseen) -> None:
    await desk.notes.put(_ref(bulk_id), msgspec.to_builtins(made))


async def foreseen(desk: Desk, bulk_id: str) -> Foreseen | None:
    """What the last dry run of a job counted."""
    held = await desk.notes.get(_ref(bulk_id))
    return None if held is None else msgspec.convert(held, Foreseen)


def sees(person: Person, job: BulkJob) -> bool:
    """Whether a job's calls are all of lines of business that the person sees."""
    if person.lobs is None:
        return True
    return job.lobs is not None and set(job.lobs) <= set(person.lobs)


async def load(desk: Desk, person: Person, bulk_id: str) -> BulkJob:
    """A job that the person may see. Raises NotFound, for another's too."""
    job = await desk.bulk.job(bulk_id)
    if job is None or not sees(person, job):
        raise NotFound("There is no such bulk job.", say="bulk.error.none")
    return job


async def start(desk: Desk, person: Person, bulk_id: str) -> None:
    """Lets a draft run; done twice, it runs once.

    Raises NotFound, Denied for others' drafts, Conflict for one that is too old or was cancelled,
    or when too many run.
    """
    person.require("act")
    job, now_ms = await load(desk, person, bulk_id), desk.world.clock.now_ms()
    if job.by != person.name:
        raise Denied(
            "Only who drafted a bulk job starts it.", authenticated=True, say="bulk.error.others"
        )
    if job.state in ("running", "done"):
        return
    if job.state == "draft" and now_ms - job.made_at_ms > DRAFT_MS_MAX:
        raise Conflict(
            "The draft is older than a day: select the calls again.", say="bulk.error.old"
        )
    running = [j for j in await desk.bulk.jobs(limit=JOBS_LOOKED_AT) if j.state == "running"]
    if len(running) >= RUNNING_MAX:
        raise Conflict(
            f"{RUNNING_MAX} bulk jobs are running: wait for one to end.", say="bulk.error.many"
        )
    if not await _change(desk, bulk_id, "draft", "running"):
        raise Conflict(
            "The bulk job was cancelled: select the calls again.", say="bulk.error.cancelled"
        )
    log().info("bulk.started", bulk_id=bulk_id, action=job.action, calls=job.total, who=person.name)


async def cancel(desk: Desk, person: Person, bulk_id: str) -> None:
    """Ends a draft or a running job; what is done stays.

    Raises NotFound, Conflict for one that ended already.
    """
    person.require("act")
    await load(desk, person, bulk_id)
    states: tuple[BulkState, ...] = ("draft", "running")
    for state in states:
        if await _change(desk, bulk_id, state, "cancelled"):
            log().info("bulk.cancelled", bulk_id=bulk_id, who=person.name)
            return
    raise Conflict("The bulk job has ended already.", say="bulk.error.ended")


async def _change(desk: Desk, bulk_id: str, before: BulkState, then: BulkState) -> bool:
    """Moves a job on; True also when an answer was lost and it is there already."""
    now_ms = desk.world.clock.now_ms()
    if await desk.bulk.change(bulk_id, before, then, at_ms=now_ms):
        return True
    held = await desk.bulk.job(bulk_id)
    return held is not None and held.state == then
