"""Where the resources of a deployment are; section `[aws]`. The template sets it by variables.

Without a table the section is not in use. Everything here is a name or an address, no secret.
"""

from __future__ import annotations

from typing import Final

import msgspec

# Buckets of every deployment, besides those of the lines of business.
OWN_BUCKETS: Final = ("landing", "quarantine", "state", "archive")
# What every process of a deployment must know; the rest is for some of them.
_NEEDED: Final = ("region", "table", "bucket_prefix", "work_queue_url", "work_dlq_url")
# What is of no use alone.
_TOGETHER: Final = (
    ("download_queue_url", "download_dlq_url"),
    ("schedule_group", "schedule_role_arn", "schedule_dlq_arn"),
)
_ADDRESSES: Final = (
    *(key for together in _TOGETHER for key in together),
    "state_machine_arn", "puller_arn", "detect_arn", "secret_arn",
)  # fmt: skip


class AwsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Resources of one deployment, as the template made them."""

    region: str = ""
    # DynamoDB: everything but audio and long lists.
    table: str = ""
    # S3: a bucket's name is this and the name that the pipeline knows it by ("landing", "lob-…").
    bucket_prefix: str = ""
    # SQS: calls with a step to do, and where those end up that were tried too often.
    work_queue_url: str = ""
    work_dlq_url: str = ""
    # SQS: downloads of finished exports, each with the token of a waiting state machine.
    download_queue_url: str = ""
    download_dlq_url: str = ""
    # Step Functions: the state machine that recovers one window of a group.
    state_machine_arn: str = ""
    # EventBridge Scheduler: one-off schedules live in this group, invoke under this role, and end
    # up in this queue when they can't be delivered. Their input holds a token: it is encrypted
    # under this key, or one of AWS's own.
    schedule_group: str = ""
    schedule_role_arn: str = ""
    schedule_dlq_arn: str = ""
    schedule_key_arn: str = ""
    # Lambda.
    puller_arn: str = ""
    detect_arn: str = ""
    # Secrets Manager: a JSON object {configuration key: value}, e.g. {"ocp.password": "…"}; also
    # "number_key", the HMAC key that stands for callers' numbers, the same for every process.
    secret_arn: str = ""
    # IAM: bucket as the pipeline knows it -> role that alone may write there. Empty: our own role.
    bucket_roles: dict[str, str] = {}
    # Other addresses of services, for VPC endpoints and for servers that stand in for AWS:
    # {"dynamodb": "https://…"}; names as in botocore.
    endpoints: dict[str, str] = {}
    # Connections that one process keeps to one service.
    connections_max: int = 64
    # An answer that takes longer is taken for lost; S3 blocks of 8 MiB need less on any line.
    connect_s_max: float = 5.0
    answer_s_max: float = 30.0


def configured(settings: AwsSettings) -> bool:
    """Whether the section is in use."""
    return bool(settings.table)


def lacking(settings: AwsSettings) -> list[str]:
    """What a half-set section lacks, in sentences that name the key."""
    given = [key for key in (*_NEEDED, *_ADDRESSES) if getattr(settings, key)]
    if not given:
        return []
    found = [
        f"`aws.{key}` is missing, but `aws.{given[0]}` is set."
        for key in _NEEDED
        if key not in given
    ]
    for together in _TOGETHER:
        there = [key for key in together if key in given]
        found += [
            f"`aws.{key}` is missing, but `aws.{there[0]}` is set."
            for key in together
            if there and key not in there
        ]
    return found + _beyond_bounds(settings)


def _beyond_bounds(settings: AwsSettings) -> list[str]:
    bounds = ("connections_max", "connect_s_max", "answer_s_max")
    return [f"`aws.{key}` must be greater than 0." for key in bounds if getattr(settings, key) <= 0]
