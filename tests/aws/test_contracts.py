"""The contract suites on other servers than the small one that `make test` uses for them.

DynamoDB Local is Amazon's own code; LocalStack knows most of SQS and Scheduler. For recordings see
test_recordings_elsewhere.py.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.aws.servers import launch
from tests.aws.servers.fetch import ROOT

SUITE_S_MAX = 480
CALLS = "OCP_TEST_DYNAMODB_ENDPOINT"
QUEUE, TIMETABLE = "OCP_TEST_SQS_ENDPOINT", "OCP_TEST_SCHEDULER_ENDPOINT"


# What a stand-in is known to do otherwise and no table of the suites says: test, and the lie.
LOCALSTACK_LIES = {
    "test_a_list_that_comes_in_pages_is_whole": "refuses its own tokens when pages are small",
    "test_an_ended_lease_ends_nothing_of_the_next_holder": "an old receipt deletes a message that "
    "another has; on AWS it does nothing",
}


def run(
    folder: Path, files: list[str], endpoints: Mapping[str, str],
    lies: Mapping[str, str] = MappingProxyType({}),
) -> None:  # fmt: skip
    """The AWS cases of these files against those endpoints, in a session of their own."""
    left_out = "".join(f" and not {test}" for test in lies)
    log = folder / "suite.log"
    with log.open("w") as output:
        status = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k",
             f"not embedded and not memory{left_out}", *files],
            cwd=ROOT, env=launch.environment(**endpoints), stdout=output, stderr=output,
            timeout=SUITE_S_MAX, check=False,
        ).returncode  # fmt: skip
    assert status == 0, log.read_text("utf-8")[-6000:]


@pytest.mark.timeout(SUITE_S_MAX + 60)
def test_everything_in_the_table_on_dynamodb_local(dynamodb: str, tmp_path: Path) -> None:
    files = [
        "tests/contracts/test_call_store.py", "tests/contracts/test_evidence.py",
        "tests/contracts/test_export_book.py", "tests/contracts/test_call_pages.py",
        "tests/contracts/test_figures.py", "tests/contracts/test_alert_book.py",
        "tests/contracts/test_bulk_book.py", "tests/contracts/test_desk_notes.py",
        "tests/aws_adapters/test_call_store_aws.py", "tests/aws_adapters/test_desk_aws.py",
        "tests/aws_adapters/test_evidence_aws.py", "tests/aws_adapters/test_export_book_aws.py",
    ]  # fmt: skip
    run(tmp_path, files, {CALLS: dynamodb})


@pytest.mark.timeout(SUITE_S_MAX + 60)
def test_queues_and_timers_on_localstack(localstack: str, tmp_path: Path) -> None:
    files = [
        "tests/contracts/test_work_queue.py", "tests/contracts/test_timetable.py",
        "tests/aws_adapters/test_work_queue_aws.py", "tests/aws_adapters/test_timetable_aws.py",
    ]  # fmt: skip
    run(tmp_path, files, {QUEUE: localstack, TIMETABLE: localstack}, LOCALSTACK_LIES)
