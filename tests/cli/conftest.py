"""Stores for commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.kit import Shop


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor the folder of whoever runs the tests configures a command."""
    for name in [name for name in os.environ if name.startswith("OCP_INGEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A store without an Export API."""
    return Shop(tmp_path)
