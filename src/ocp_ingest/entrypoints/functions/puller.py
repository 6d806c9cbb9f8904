"""puller: polls an export when a timer rings; reconcile/pull.py has the rules.

event   {"export_job_id", "task_token", "dialog_group_ids", "ocp_group", "iteration", "job_key"}

Scheduler delivers at least once and Lambda repeats a failed invocation twice, so the same event
may come several times, or a day late.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ocp_ingest.core.errors import Invalid
from ocp_ingest.entrypoints.functions.runtime import Context, Event, Functions, run
from ocp_ingest.reconcile.answer import checked_poll
from ocp_ingest.reconcile.pull import pull


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Makes one poll. Raises Invalid for an event that is none of ours."""
    try:
        asked = checked_poll(event)
    except msgspec.ValidationError as bad:
        # The message names a field, never its value: one of them is a bearer token.
        raise Invalid(f"The timer's input is none of ours: {bad}") from None

    async def work(functions: Functions) -> dict[str, Any]:
        return await pull(functions.runtime.world, functions.flow(), functions.tasks(), asked)

    return run(context, work, op="poll", job_key=asked.job_key)
