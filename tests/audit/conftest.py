"""One server for DynamoDB and S3 (ministack), and an empty deployment on it for each test."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.archive import ARCHIVE
from ocp_ingest.adapters.aws.settings import AwsSettings
from tests.audit.stream import Recorder
from tests.aws.servers import launch

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server."""
    port = launch.free_port()
    folder = tmp_path_factory.mktemp("ministack")
    env = launch.environment(GATEWAY_PORT=str(port), MINISTACK_REGION=launch.REGION)
    server = launch.Server(
        "ministack", [sys.executable, "-m", "ministack"], folder=folder,
        url=f"http://127.0.0.1:{port}", ready="/_ministack/health", env=env,
    )  # fmt: skip
    with server:
        yield server.url


@pytest.fixture
async def aws(address: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Recorder]:
    """An empty table with its buckets; every write to the table is recorded as its stream."""
    for name, value in launch.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    number = next(_numbers)
    settings = AwsSettings(
        region=launch.REGION, table=f"audit-{number}", bucket_prefix=f"audit-{number}-",
        endpoints={"dynamodb": address, "s3": address},
    )  # fmt: skip
    async with Recorder(settings) as aws:
        await aws.call("dynamodb", "create_table", TableName=settings.table, **table.TABLE)
        where = {"LocationConstraint": launch.REGION}
        await aws.call(
            "s3", "create_bucket", Bucket=f"{settings.bucket_prefix}{ARCHIVE}",
            CreateBucketConfiguration=where,
        )  # fmt: skip
        yield aws
