"""The contract suites run on every runtime of this registry; a new one is one more entry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.runtimes import RUNTIMES, Runtime


@pytest.fixture(params=sorted(RUNTIMES))
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    """All ports of one runtime over one empty state."""
    made = RUNTIMES[request.param](tmp_path)
    yield made
    made.close()
