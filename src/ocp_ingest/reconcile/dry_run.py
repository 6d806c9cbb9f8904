"""dry run: what would be exported now, group by group; plans as a sweep does and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.book import ExportBook
from ocp_ingest.reconcile.detect import due_asks, never
from ocp_ingest.reconcile.plan import GroupPlan, plan_group


async def dry_run(
    world: World, book: ExportBook, groups: Sequence[str], *, per_call: bool,
    over: Callable[[], bool] = never,
) -> list[GroupPlan]:  # fmt: skip
    """The plans of all groups with calls that are due to be asked for, by group.

    `groups` are those that may be asked for calls of an unknown group. Whoever has only so much
    time says when it is `over`; the calls not looked at by then are in no plan.
    """
    asks = await due_asks(world, groups, over=over)
    return [
        plan_group(world, await book.group(group), asks[group], per_call) for group in sorted(asks)
    ]
