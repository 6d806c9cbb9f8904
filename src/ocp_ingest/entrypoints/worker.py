"""The download loop of the Fargate worker: messages of the download queue, one at a time.

A message is sent by the state machine, without an envelope: {"job_key", "ocp_group", "round",
"until_ms", "task_token", "dialog_group_ids"}. reconcile/branches.py has the rules.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ocp_ingest.reconcile.branches import MESSAGES_AT_ONCE, AudioWorker
from ocp_ingest.reconcile.world import Stage2

if TYPE_CHECKING:
    from ocp_ingest.bootstrap_aws import AwsRuntime

# Receives of a message before it is a dead letter: a redeployment in the middle is no failure,
# three more may be. The template's redrive policy says the same.
DOWNLOAD_TRIES_MAX: Final = 4


async def run_downloads(
    runtime: AwsRuntime, stage2: Stage2, stop: asyncio.Event, *, at_once: int = MESSAGES_AT_ONCE
) -> None:
    """Downloads until `stop` is set; what is under way then is given back with its results."""
    from ocp_ingest.adapters.aws.tasks import AwsTasks
    from ocp_ingest.adapters.aws.work_queue import AwsWorkQueue

    section = runtime.config.aws
    queue = AwsWorkQueue(
        runtime.aws, section.download_queue_url, section.download_dlq_url, DOWNLOAD_TRIES_MAX
    )
    worker = AudioWorker(runtime.world, stage2, queue, AwsTasks(runtime.aws))
    await asyncio.gather(*(worker.run(stop) for _ in range(at_once)))
