"""One ministack per test process, and the resources of a deployment of its own for each test.

OCP_TEST_DYNAMODB_ENDPOINT chooses another server for DynamoDB (DynamoDB Local),
OCP_TEST_S3_ENDPOINT one for S3 (SeaweedFS, LocalStack), OCP_TEST_SQS_ENDPOINT and
OCP_TEST_SCHEDULER_ENDPOINT those for queues and schedules (LocalStack).
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import sys
import tempfile
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec

from ocp_ingest.adapters.aws.notes import STATE_BUCKET
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.aws.table import TABLE
from tests.aws.clients import client
from tests.aws.servers import launch

ENDPOINT: Final = "OCP_TEST_DYNAMODB_ENDPOINT"
S3_ENDPOINT: Final = "OCP_TEST_S3_ENDPOINT"
SQS_ENDPOINT: Final = "OCP_TEST_SQS_ENDPOINT"
SCHEDULER_ENDPOINT: Final = "OCP_TEST_SCHEDULER_ENDPOINT"
TARGET_ARN: Final = f"arn:aws:lambda:{launch.REGION}:{launch.ACCOUNT}:function:puller"
ROLE_ARN: Final = f"arn:aws:iam::{launch.ACCOUNT}:role/schedules"
DEAD_ARN: Final = f"arn:aws:sqs:{launch.REGION}:{launch.ACCOUNT}:schedules-dead"

_numbers = count(1)


@functools.cache
def url() -> str:
    """The address of this process's ministack, started when first asked for."""
    folder = Path(tempfile.mkdtemp(prefix="ministack-"))
    port = launch.free_port()
    # All of its files go into the folder; SERVICES keeps it from listening for others.
    env = launch.environment(
        GATEWAY_PORT=str(port), BIND_HOST="127.0.0.1", LOG_LEVEL="ERROR", TMPDIR=str(folder),
        SERVICES="dynamodb,sqs,s3,scheduler,sts,sns",
    )  # fmt: skip
    command = [sys.executable, "-m", "ministack"]
    address = f"http://127.0.0.1:{port}"
    server = launch.Server("ministack", command, folder=folder, url=address, env=env).start()

    def end() -> None:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return address


def deployment(*, tries_max: int = 3, **more: Any) -> AwsSettings:
    """Table, state bucket, work queue and its dead-letter queue, schedule group: new and empty."""
    name = _name()
    where = queues(tries_max=tries_max)
    dynamodb = os.environ.get(ENDPOINT) or url()
    _client("dynamodb", dynamodb).create_table(TableName=name, **TABLE)
    s3 = os.environ.get(S3_ENDPOINT) or url()
    _client("s3", s3).create_bucket(
        Bucket=f"{name}-{STATE_BUCKET}",
        CreateBucketConfiguration={"LocationConstraint": launch.REGION},
    )
    return msgspec.structs.replace(
        where, table=name, bucket_prefix=f"{name}-", schedule_group=schedules().schedule_group,
        schedule_role_arn=ROLE_ARN, schedule_dlq_arn=DEAD_ARN,
        endpoints={
            "dynamodb": dynamodb, "s3": s3, "sqs": _sqs(), "scheduler": _scheduler()
        },
        **more,
    )  # fmt: skip


def queues(*, tries_max: int) -> AwsSettings:
    """A work queue with its dead-letter queue."""
    name, sqs = _name(), _client("sqs", _sqs())
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    policy = {"deadLetterTargetArn": attributes["QueueArn"], "maxReceiveCount": tries_max}
    work = sqs.create_queue(
        QueueName=f"{name}-work", Attributes={"RedrivePolicy": json.dumps(policy)}
    )["QueueUrl"]
    return AwsSettings(
        region=launch.REGION, work_queue_url=work, work_dlq_url=dead, endpoints={"sqs": _sqs()}
    )


def schedules() -> AwsSettings:
    """A schedule group."""
    name = _name()
    _client("scheduler", _scheduler()).create_schedule_group(Name=name)
    return AwsSettings(
        region=launch.REGION, schedule_group=name, schedule_role_arn=ROLE_ARN,
        schedule_dlq_arn=DEAD_ARN, endpoints={"scheduler": _scheduler()},
    )  # fmt: skip


def _sqs() -> str:
    return os.environ.get(SQS_ENDPOINT) or url()


def _scheduler() -> str:
    return os.environ.get(SCHEDULER_ENDPOINT) or url()


def _name() -> str:
    return f"t{os.getpid()}-{next(_numbers)}"


@functools.cache
def _client(service: str, address: str) -> Any:
    return client(service, address)
