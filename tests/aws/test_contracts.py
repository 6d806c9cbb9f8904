"""The contract suites on other servers than the small one that `make test` uses for them.

DynamoDB Local is Amazon's own code, LocalStack knows most of SQS, Scheduler and S3, SeaweedFS is a
second opinion on S3 that checks signatures. Where one of them lies about AWS is in the suites'
own tables of differences.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.aws.servers import launch
from tests.aws.servers.fetch import ROOT

SUITE_S_MAX = 480
CALLS = "OCP_TEST_DYNAMODB_ENDPOINT"
AUDIO, AUDIO_SERVER = "OCP_TEST_S3_ENDPOINT", "OCP_TEST_S3_SERVER"
QUEUE, TIMETABLE = "OCP_TEST_SQS_ENDPOINT", "OCP_TEST_SCHEDULER_ENDPOINT"


def run(folder: Path, files: list[str], **endpoints: str) -> None:
    """The AWS cases of these files against those endpoints, in a session of their own."""
    log = folder / "suite.log"
    with log.open("w") as output:
        status = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k",
             "not embedded and not memory", *files],
            cwd=ROOT, env=launch.environment(**endpoints), stdout=output, stderr=output,
            timeout=SUITE_S_MAX, check=False,
        ).returncode  # fmt: skip
    assert status == 0, log.read_text("utf-8")[-6000:]


@pytest.mark.timeout(SUITE_S_MAX + 60)
def test_everything_in_the_table_on_dynamodb_local(dynamodb: str, tmp_path: Path) -> None:
    files = [
        "tests/contracts/test_call_store.py", "tests/contracts/test_evidence.py",
        "tests/contracts/test_export_book.py", "tests/aws_adapters/test_call_store_aws.py",
        "tests/aws_adapters/test_evidence_aws.py", "tests/aws_adapters/test_export_book_aws.py",
    ]  # fmt: skip
    run(tmp_path, files, **{CALLS: dynamodb})


@pytest.mark.timeout(SUITE_S_MAX + 60)
def test_queues_and_timers_on_localstack(localstack: str, tmp_path: Path) -> None:
    files = [
        "tests/contracts/test_work_queue.py", "tests/contracts/test_timetable.py",
        "tests/aws_adapters/test_work_queue_aws.py", "tests/aws_adapters/test_timetable_aws.py",
    ]  # fmt: skip
    run(tmp_path, files, **{QUEUE: localstack, TIMETABLE: localstack})


RECORDINGS = [
    "tests/contracts/test_recording_store.py", "tests/aws_adapters/test_recording_store_aws.py"
]  # fmt: skip


@pytest.mark.timeout(SUITE_S_MAX + 60)
def test_recordings_on_localstack(localstack: str, tmp_path: Path) -> None:
    run(tmp_path, RECORDINGS, **{AUDIO: localstack, AUDIO_SERVER: "localstack"})


@pytest.mark.timeout(SUITE_S_MAX + 60)
def test_recordings_on_seaweedfs(seaweedfs: str, tmp_path: Path) -> None:
    run(tmp_path, RECORDINGS, **{AUDIO: seaweedfs, AUDIO_SERVER: "seaweedfs"})
