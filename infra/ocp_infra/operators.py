"""What a person needs for `ocp-ingest --runtime aws`: a policy to attach to whom you trust.

It reads calls, journals, incidents and lists of buckets, retries and closes, and asks for a sweep.
It reads no recording and no secret value but the platform's own, which every command needs for the
key of callers' numbers.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_iam as iam
from constructs import Construct

from ocp_infra import grants
from ocp_infra.buckets import Buckets
from ocp_infra.function_rights import Rights
from ocp_infra.keys import Keys
from ocp_infra.names import Names
from ocp_infra.queues import Queues

# Lists for audits; the rest is what `doctor` looks at.
_BUCKET_LOOKS: Final = (
    "s3:ListBucket", "s3:GetBucketVersioning", "s3:GetEncryptionConfiguration",
    "s3:GetBucketPublicAccessBlock", "s3:GetBucketObjectLockConfiguration",
)  # fmt: skip


class Operators(Construct):
    """The managed policy; it is attached to nobody."""

    def __init__(
        self, scope: Construct, names: Names, keys: Keys, queues: Queues, buckets: Buckets,
        rights: Rights, table_arn: str, secret_arn: str,
    ) -> None:  # fmt: skip
        super().__init__(scope, "Operators")
        every = [names.bucket_arn(b) for b in
                 ("landing", "quarantine", "state", "archive", *buckets.lob.values())]  # fmt: skip
        all_queues = [
            queues.work, queues.work_dead, queues.download, queues.download_dead,
            queues.schedule_dead, queues.function_dead, queues.archive_dead,
        ]  # fmt: skip
        functions = [names.function_arn(name) for name in ("detect", "puller")]
        statements = [
            *rights.table(),
            *rights.secret(),
            *rights.state(write=False),
            # `ocp-ingest verify`, `report`, `export`: what was sealed, never what was recorded.
            *rights.seals(),
            grants.key("UseArchiveKey", keys.archive.key_arn, grants.READ_KEY, "s3"),
            grants.allow("LookAtBuckets", _BUCKET_LOOKS, every),
            *grants.send("Retry", [queues.work.queue_arn]),
            grants.key("UseQueueKey", keys.messages.key_arn, grants.WRITE_KEY, "sqs"),
            *grants.consume("LookAtParked", [queues.work_dead.queue_arn]),
            grants.allow("LookAtQueues", ["sqs:GetQueueAttributes"],
                         [queue.queue_arn for queue in all_queues]),
            *rights.kick_detect(),
            grants.allow("LookAtFunctions", ["lambda:GetFunctionConfiguration"], functions),
            grants.allow("LookAtTable", ["dynamodb:DescribeTable",
                         "dynamodb:DescribeContinuousBackups"], [table_arn]),
            grants.allow("LookAtSecret", ["secretsmanager:DescribeSecret"], [secret_arn]),
            grants.allow("LookAtStateMachine", ["states:DescribeStateMachine",
                         "states:ListExecutions"], [names.state_machine_arn]),
            grants.allow("LookAtExecutions", ["states:DescribeExecution",
                         "states:GetExecutionHistory"], [names.executions_arn]),
            grants.allow("LookAtPolls", ["scheduler:GetSchedule"], [names.schedules_arn]),
            grants.allow("LookAtPollGroup", ["scheduler:GetScheduleGroup"],
                         [names.arn("scheduler", f"schedule-group/{names.schedule_group}")]),
            grants.allow("ListPolls", ["scheduler:ListSchedules"],
                         [names.arn("scheduler", "schedule/*/*")]),
        ]  # fmt: skip
        self.policy = iam.ManagedPolicy(
            self, "Policy", managed_policy_name=f"{names.prefix}-operators",
            description="ocp-ingest --runtime aws", statements=statements,
        )  # fmt: skip
