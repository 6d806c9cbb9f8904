"""finish: counts what a round of downloads brought; another round follows, or the job is settled.

event   {"job_key", "ocp_group", "round", "branches": [{"branch", "failed", …}]}
answer  {"next": "done"} or {"next": "wait", "wait_s"}, and more; reconcile/answer.py
"""

from __future__ import annotations

from typing import Any

from ocp_ingest.entrypoints.functions.runtime import (
    Context,
    Event,
    Functions,
    number_of,
    run,
    text_of,
)


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Ends a round."""
    key, group = text_of(event, "job_key"), text_of(event, "ocp_group")
    number = number_of(event, "round")
    branches = [one for one in event.get("branches") or [] if isinstance(one, dict)]

    async def work(functions: Functions) -> dict[str, Any]:
        return (await functions.flow().finish(key, group, number, branches)).data()

    return run(context, work, op="finish", job_key=key)
