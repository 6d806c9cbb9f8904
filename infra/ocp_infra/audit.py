"""The archive of what happened: every change of the table, append-only, locked.

The stream forgets after 24 hours, so a batch that fails is halved until the one bad record is
found, tried for most of that time, and then named in a dead-letter queue. `archive_late` and
`archive_dead_letters` ring long before anything is forgotten.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from ocp_infra.buckets import Buckets
from ocp_infra.data import Data
from ocp_infra.functions import Functions
from ocp_infra.queues import Queues

# Objects of a few hundred records: one PUT for each record would cost more than the table.
_BATCH: Final = 500
_WINDOW_S: Final = 30
_RETRIES_MAX: Final = 100
_AGE_S_MAX: Final = 20 * 3600  # four hours before the stream forgets


class Audit(Construct):
    """From the table's stream to the archive bucket."""

    def __init__(
        self, scope: Construct, data: Data, functions: Functions, buckets: Buckets, queues: Queues
    ) -> None:
        super().__init__(scope, "Audit")
        buckets.close_archive(functions.roles["archive"], functions.roles["seal"])
        lambda_.CfnEventSourceMapping(
            self,
            "Stream",
            function_name=functions.made["archive"].function_name,
            event_source_arn=data.stream_arn,
            starting_position="TRIM_HORIZON",
            batch_size=_BATCH,
            maximum_batching_window_in_seconds=_WINDOW_S,
            # With a window, Lambda tells the function which shard a batch is of, and one shard's
            # batches come one after the other: what was counted is not counted again.
            tumbling_window_in_seconds=_WINDOW_S,
            bisect_batch_on_function_error=True,
            maximum_retry_attempts=_RETRIES_MAX,
            maximum_record_age_in_seconds=_AGE_S_MAX,
            function_response_types=["ReportBatchItemFailures"],
            destination_config=lambda_.CfnEventSourceMapping.DestinationConfigProperty(
                on_failure=lambda_.CfnEventSourceMapping.OnFailureProperty(
                    destination=queues.archive_dead.queue_arn
                )
            ),
        ).node.add_dependency(functions.roles["archive"])
