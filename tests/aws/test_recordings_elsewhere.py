"""The recording store on other servers than the one of `make test`: what one gets wrong, one has.

Each run is a pytest of its own: OCP_TEST_S3_ENDPOINT and OCP_TEST_S3_SERVER choose the server, and
its known differences (tests/aws_adapters/s3_kit.py) are strict expected failures in there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.aws.servers import launch
from tests.aws.servers.fetch import ROOT, Servers
from tests.aws_adapters.s3_kit import ENDPOINT, SERVER

SUITES: Final = {
    "contract": ["tests/contracts/test_recording_store.py", "-k", "aws"],
    "failures": ["tests/aws_adapters/test_recording_store_aws.py"],
}
RUN_S_MAX: Final = 280


@pytest.mark.parametrize("suite", SUITES)
def test_seaweedfs_holds_the_laws(servers: Servers, tmp_path: Path, suite: str) -> None:
    # One of its own each: it runs out of volumes after some hundred buckets.
    with launch.seaweedfs(servers, tmp_path / "seaweedfs") as server:
        run(suite, "seaweedfs", server.url)


@pytest.mark.parametrize("suite", SUITES)
def test_localstack_holds_the_laws(localstack: str, suite: str) -> None:
    run(suite, "localstack", localstack)


def run(suite: str, name: str, url: str) -> None:
    """Runs a suite against a server. What it prints is shown when it fails."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n0", *SUITES[suite]]
    env = launch.environment() | {ENDPOINT: url, SERVER: name}
    ran = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
    )
    assert ran.returncode == 0, ran.stdout[-8_000:] + ran.stderr[-2_000:]
