"""Deployments for tests, with credentials of the stand-in and no settings of the developer's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.aws.servers import launch
from tests.runtime.site import Site


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment is that of a process in the deployment, whoever runs the tests."""
    for name in [n for n in os.environ if n.startswith(("OCP_INGEST_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in launch.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A deployment of its own."""
    return Site(tmp_path)
