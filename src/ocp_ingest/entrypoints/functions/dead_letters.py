"""dead_letters: lets the state fail at once that waits for a download which was tried too often.

event   an SQS batch of the download queue's dead-letter queue
answer  {"batchItemFailures": […]}: what could not be said yet comes again
"""

from __future__ import annotations

from typing import Any

import msgspec

from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.entrypoints.functions.runtime import Context, Event, Functions, run
from ocp_ingest.reconcile.branches import parked
from ocp_ingest.telemetry import log


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Tells each waiting state, once or more."""
    records = [one for one in event.get("Records") or [] if isinstance(one, dict)]

    async def work(functions: Functions) -> dict[str, Any]:
        world, tasks = functions.runtime.world, functions.tasks()
        failed: list[dict[str, str]] = []
        for record in records:
            try:
                await parked(world, tasks, _decoded(record.get("body")))
            except OcpIngestError as error:
                log().warning("download.failed", code=error.code, reason=error.text)
                failed.append({"itemIdentifier": str(record.get("messageId"))})
        return {"batchItemFailures": failed}

    return run(context, work, op="dead_letters")


def _decoded(body: object) -> object:
    try:
        return msgspec.json.decode(body) if isinstance(body, str) else None
    except msgspec.DecodeError:
        return None
