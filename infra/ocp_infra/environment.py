"""The configuration's section [aws] as variables: what every process is told of the deployment.

`OCP_INGEST_AWS__<KEY>` per field of AwsSettings; a test compares the two. The fields that are
missing here tune a process and have good defaults.
"""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Aws

from ocp_infra.names import Names
from ocp_infra.queues import Queues


def aws_section(
    names: Names, queues: Queues, *, table: str, schedule_role_arn: str, schedule_key_arn: str,
    secret_arn: str,
) -> dict[str, str]:  # fmt: skip
    """The section without `bucket_roles`, which only the worker is given."""
    values = {
        "region": Aws.REGION,
        "table": table,
        "bucket_prefix": names.bucket_prefix,
        "work_queue_url": queues.work.queue_url,
        "work_dlq_url": queues.work_dead.queue_url,
        "download_queue_url": queues.download.queue_url,
        "download_dlq_url": queues.download_dead.queue_url,
        "state_machine_arn": names.state_machine_arn,
        "schedule_group": names.schedule_group,
        "schedule_role_arn": schedule_role_arn,
        "schedule_dlq_arn": queues.schedule_dead.queue_arn,
        "schedule_key_arn": schedule_key_arn,
        "puller_arn": names.function_arn("puller"),
        "detect_arn": names.function_arn("detect"),
        "secret_arn": secret_arn,
    }
    return {f"OCP_INGEST_AWS__{key.upper()}": value for key, value in values.items()}


def bucket_roles(roles: Mapping[str, str]) -> dict[str, str]:
    """Bucket, as the pipeline knows it -> ARN of its copier; a TOML table on one line."""
    pairs = ", ".join(f'"{bucket}" = "{arn}"' for bucket, arn in roles.items())
    return {"OCP_INGEST_AWS__BUCKET_ROLES": "{ " + pairs + " }"}
