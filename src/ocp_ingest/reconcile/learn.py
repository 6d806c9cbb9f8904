"""learn: how long a group's data takes to reach OCP's exports, from what its exports brought.

A recording that an earlier export missed and a later one held was asked for too soon. When more
than a tenth of a group's recovered recordings are such, the group is asked later; when hardly
any, earlier again. It never gets earlier than the configured watermark, on which the pending
index is built.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ocp_ingest.core.eligibility import Policy, hour_after
from ocp_ingest.core.export_group import GroupState, adapt_watermark
from ocp_ingest.core.export_job import ExportJob
from ocp_ingest.core.lifecycle import misses
from ocp_ingest.core.plan import PendingCall
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.together import together
from ocp_ingest.reconcile.world import Stage2


class Sample(msgspec.Struct, frozen=True):
    """Recovered recordings since the watermark was last looked at; `missed` at the first try."""

    asked: int = 0
    missed: int = 0
    last_job: str = ""


def _ref(ocp_group: str) -> str:
    return f"watermark:{ocp_group}"


async def learn(world: World, stage2: Stage2, group: GroupState, job: ExportJob) -> GroupState:
    """The group as an answered job leaves it; said twice of one job, it counts once.

    The new sample is kept first: a crash before the group is kept loses one adaptation, no more.
    """
    body = await stage2.book.note(_ref(group.ocp_group))
    held = msgspec.json.decode(body, type=Sample) if body else Sample()
    if held.last_job == job.job_key or "audio" not in job.types:
        return group
    asked, missed = held.asked, held.missed
    for call in await together(job.call_ids, world.calls.load):
        export = call.exports.get(job.job_key) if call is not None else None
        if call is not None and export is not None and export.found.get("audio"):
            asked += 1
            missed += misses(call, "audio", world.settings.policy) > 0
    policy = world.settings.policy.stage2
    enough = asked >= policy.watermark_sample_min
    sample = Sample(0, 0, job.job_key) if enough else Sample(asked, missed, job.job_key)
    await stage2.book.put_note(_ref(group.ocp_group), msgspec.json.encode(sample))
    return adapt_watermark(group, missed, asked, policy) if enough else group


def patient(group: GroupState, calls: Sequence[PendingCall], policy: Policy) -> list[PendingCall]:
    """The calls as eligible as the group's learned watermark lets them be, if it is longer."""
    if group.watermark_ms is None or group.watermark_ms <= policy.watermark_ms:
        return list(calls)
    extra_ms = group.watermark_ms
    return [
        msgspec.structs.replace(
            call,
            eligible_at=min(
                max(call.eligible_at, hour_after(call.end_ms or call.start_ms) + extra_ms),
                # The last tries before OCP's deletion wait for nothing.
                max(call.eligible_at, call.deadline_at - policy.retention_margin_ms),
            ),
        )
        for call in calls
    ]
