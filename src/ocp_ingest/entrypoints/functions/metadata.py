"""metadata: reads the small CDR files of an export; each line goes through the one door of intake.

event   {"job_key", "ocp_group", "round", "until_ms"}
answer  {"branch": "metadata", "job_key", "round", "done", "failed", "gone", "superseded"}
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
from ocp_ingest.reconcile.branches import Errand, metadata


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Reads what it can in its time; what is left has no result, and the next round reads it."""
    errand = Errand(
        job_key=text_of(event, "job_key"),
        ocp_group=text_of(event, "ocp_group"),
        round=number_of(event, "round"),
        until_ms=number_of(event, "until_ms"),
    )

    async def work(functions: Functions) -> dict[str, Any]:
        world, stage2 = functions.runtime.world, functions.stage2
        return (await metadata(world, stage2, errand, left_ms=functions.left_ms())).data()

    return run(context, work, op="metadata", job_key=errand.job_key)
