"""What a role may do, as statements: one function per need, no action that nobody calls.

CDK's own `grant_*` give families of actions (`s3:GetObject*`, `s3:Abort*`); these give names.
A customer-managed key is used by a role only through the service that holds the data.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from constructs import Construct

from ocp_infra.names import Names

READ_KEY = ("kms:Decrypt",)
WRITE_KEY = ("kms:Decrypt", "kms:GenerateDataKey")
# Services whose documentation asks for aws:SourceAccount in the trust of their roles. Lambda is not
# among them: it takes on roles that were passed within the account, and sends no such key.
ASKS_FOR = frozenset({
    "ecs-tasks.amazonaws.com", "states.amazonaws.com", "vpc-flow-logs.amazonaws.com",
})  # fmt: skip


def allow(
    sid: str, actions: Sequence[str], resources: Sequence[str],
    conditions: dict[str, dict[str, object]] | None = None,
) -> iam.PolicyStatement:  # fmt: skip
    """One Allow statement of an identity policy."""
    return iam.PolicyStatement(
        sid=sid, actions=list(actions), resources=list(resources), conditions=conditions
    )


def role(
    scope: Construct, name: str, service: str, description: str,
    statements: Sequence[iam.PolicyStatement],
) -> iam.Role:  # fmt: skip
    """A role for one service; where the service says for whom it asks, for this account only."""
    ours = {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
    made = iam.Role(
        scope, name, description=description,
        assumed_by=iam.ServicePrincipal(service, conditions=ours if service in ASKS_FOR else None),
    )  # fmt: skip
    for statement in statements:
        made.add_to_policy(statement)
    return made


def key(sid: str, arn: str, actions: Sequence[str], via: str) -> iam.PolicyStatement:
    """Use of a key through one service ("s3", "sqs", …)."""
    service = f"{via}.{Aws.REGION}.{Aws.URL_SUFFIX}"
    return allow(sid, actions, [arn], {"StringEquals": {"kms:ViaService": service}})


def table(arn: str, key_arn: str, *, write: bool) -> list[iam.PolicyStatement]:
    """The table and its indexes, and its key.

    DynamoDB uses the key in the caller's name; these are the actions that it names for callers
    (DynamoDB developer guide, encryption.usagenotes).
    """
    reads = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"]
    writes = ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem",
              "dynamodb:ConditionCheckItem"]  # fmt: skip
    encrypts = ["kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
    return [
        allow("ReadTable", reads, [arn, f"{arn}/index/*"]),
        *([allow("WriteTable", writes, [arn])] if write else []),
        key("UseTableKey", key_arn, ["kms:Decrypt", "kms:DescribeKey",
                                     *(encrypts if write else [])], "dynamodb"),
    ]  # fmt: skip


def bucket_read(sid: str, arn: str) -> list[iam.PolicyStatement]:
    """Objects, and the list: without it a missing object is answered 403 instead of 404."""
    return [
        allow(f"Read{sid}", ["s3:GetObject"], [f"{arn}/*"]),
        allow(f"List{sid}", ["s3:ListBucket"], [arn]),
    ]


def bucket_write(sid: str, arn: str) -> list[iam.PolicyStatement]:
    """New objects, also in parts. No deletion."""
    actions = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    return [allow(f"Write{sid}", actions, [f"{arn}/*"])]


def send(sid: str, queue_arns: Sequence[str]) -> list[iam.PolicyStatement]:
    return [allow(sid, ["sqs:SendMessage"], queue_arns)]


def consume(sid: str, queue_arns: Sequence[str]) -> list[iam.PolicyStatement]:
    actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
               "sqs:GetQueueAttributes"]  # fmt: skip
    return [allow(sid, actions, queue_arns)]


def secret(arn: str, key_arn: str) -> list[iam.PolicyStatement]:
    return [
        allow("ReadSecret", ["secretsmanager:GetSecretValue"], [arn]),
        key("UseSecretKey", key_arn, READ_KEY, "secretsmanager"),
    ]


def answer_tokens(names: Names) -> list[iam.PolicyStatement]:
    """Calling back a waiting state; only who is handed a token may."""
    actions = ["states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"]
    return [allow("AnswerTaskTokens", actions, [names.state_machine_arn])]


def set_polls(names: Names, schedule_role_arn: str, key_arn: str) -> list[iam.PolicyStatement]:
    """One-off schedules in our group, which invoke under the schedule role.

    Scheduler checks and uses the key in the name of who makes the schedule
    (docs.aws.amazon.com/scheduler/latest/UserGuide/encryption-rest.html).
    """
    return [
        allow("SetPolls", ["scheduler:CreateSchedule"], [names.schedules_arn]),
        allow("LendScheduleRole", ["iam:PassRole"], [schedule_role_arn],
              {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}),
        allow("EncryptPolls", ["kms:DescribeKey", *WRITE_KEY], [key_arn]),
    ]  # fmt: skip


def logs(group_arn: str) -> list[iam.PolicyStatement]:
    """Streams of one log group; a stream's name is made up by the service that writes it."""
    return [
        allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], [f"{group_arn}:*"]),
    ]


def trace() -> iam.PolicyStatement:
    """X-Ray has no resources to name."""
    return allow("Trace", ["xray:PutTraceSegments", "xray:PutTelemetryRecords",
                           "xray:GetSamplingRules", "xray:GetSamplingTargets"], ["*"])  # fmt: skip
