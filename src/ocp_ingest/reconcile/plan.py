"""plan: from the calls that wait in a group to the next window to export, and why.

The decision is core.plan; this file feeds it the group's state and turns a window into a job.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ocp_ingest.core.export_group import Closed, GroupState, caps_of, gate
from ocp_ingest.core.export_job import ExportJob, job_key, new_job
from ocp_ingest.core.plan import Plan, Window, plan
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.detect import Ask
from ocp_ingest.reconcile.learn import patient
from ocp_ingest.reconcile.world import Stage2


class GroupPlan(msgspec.Struct, frozen=True):
    """A group's plan, and until when its slot is closed (None: open)."""

    plan: Plan
    closed: Closed | None


def plan_group(world: World, group: GroupState, asks: Iterable[Ask], per_call: bool) -> GroupPlan:
    """What would be exported for a group, in order; changes nothing."""
    now_ms = world.clock.now_ms()
    policy = world.settings.policy.stage2
    made = plan(
        group.ocp_group,
        patient(group, [ask.call for ask in asks], policy),
        group.model,
        policy,
        now_ms,
        caps_of(group),
        per_call=per_call,
    )
    way = gate(group, now_ms)
    return GroupPlan(made, way if isinstance(way, Closed) else None)


async def job_for(
    stage2: Stage2, lease: Lease, group: GroupState, window: Window, asks: Iterable[Ask],
    now_ms: int,
) -> ExportJob:  # fmt: skip
    """The job of a window: asks for the data types that its calls lack."""
    wanted = set(window.call_ids)
    served = [ask for ask in asks if ask.call.call_id in wanted]
    needs = {need for ask in served for need in ask.needs}
    return new_job(
        window,
        await next_attempt(stage2, window),
        group.model,
        now_ms,
        fence=lease.fence,
        types=tuple(sorted(needs)),
        # An export that disappointed one of the calls before must not be taken for a new one.
        spent_export_ids=tuple(sorted({spent for ask in served for spent in ask.spent})),
    )


async def next_attempt(stage2: Stage2, window: Window) -> int:
    """Counts all jobs ever made for this window, retries included: no name is used twice."""
    ref = f"attempts:{window.ocp_group}:{window.from_ms}:{window.to_ms}"
    attempt = int(await stage2.book.note(ref) or b"0") + 1
    # A retry takes the next number without a note, and the note may be a zombie's older one.
    while await stage2.book.job(_key(window, attempt)) is not None:
        attempt += 1
    await stage2.book.put_note(ref, str(attempt).encode())
    return attempt


def _key(window: Window, attempt: int) -> str:
    return job_key(window.ocp_group, window.from_ms, window.to_ms, attempt)
