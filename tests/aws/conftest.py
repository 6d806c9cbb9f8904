"""Tests on servers that stand for AWS; collected only when OCP_TEST_AWS=1 (`make test-aws`).

What needs no server (the laws of the state machine's definition) is collected always.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aws.servers import fetch, launch
from tests.aws.servers.fetch import Servers

WITHOUT_SERVERS = ("test_definition.py",)

collect_ignore_glob: list[str] = []
if os.environ.get("OCP_TEST_AWS") != "1":
    _here = Path(__file__).parent
    collect_ignore_glob = [p.name for p in _here.glob("test_*.py") if p.name not in WITHOUT_SERVERS]


@pytest.fixture(scope="session")
def servers() -> Servers:
    """Where the servers are; installed by the first test that asks."""
    return fetch.fetch()


@pytest.fixture(scope="session")
def localstack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one LocalStack for the whole session."""
    if servers.localstack is None:
        pytest.skip(servers.why)
    with launch.localstack(servers, tmp_path_factory.mktemp("localstack")) as server:
        yield server.url


@pytest.fixture(scope="session")
def dynamodb(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one DynamoDB Local, in memory."""
    with launch.dynamodb(servers, tmp_path_factory.mktemp("dynamodb")) as server:
        yield server.url


@pytest.fixture(scope="session")
def seaweedfs(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one SeaweedFS."""
    with launch.seaweedfs(servers, tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server.url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What could not be proved on this machine is said at the very end, once and loudly."""
    reasons = {
        str(report.longrepr[2])
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and "Python 3.13" in str(report.longrepr[2])
    }
    for reason in sorted(reasons):
        terminalreporter.write_sep("!", "NOT PROVED ON THIS MACHINE", red=True, bold=True)
        terminalreporter.write_line(reason, red=True)
