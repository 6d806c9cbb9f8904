"""A served console for tests that need nothing special."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.console.kit import Site
from tests.console.kit import site as site_of


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """The console with its defaults and four people."""
    async with site_of(tmp_path) as served:
        yield served
