"""A served API for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doors.kit import Doors, doors_of


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    """The API with its defaults."""
    async with doors_of(tmp_path / "data") as served:
        yield served
