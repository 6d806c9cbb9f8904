"""The contract suites run on every runtime of this registry; a new one is one more entry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.aws_runtime import DIFFERENCES, AwsRuntime
from tests.contracts.runtimes import DESKS, RUNTIMES, DeskRuntime, Runtime


@pytest.fixture(params=sorted(RUNTIMES))
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    """All ports of one runtime over one empty state."""
    _note_difference(request)
    made = RUNTIMES[request.param](tmp_path)
    yield made
    await _close(made)


@pytest.fixture(params=sorted(DESKS))
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DeskRuntime]:
    """The same with the ports of the desk."""
    _note_difference(request)
    made = DESKS[request.param](tmp_path)
    yield made
    await _close(made)


def _note_difference(request: pytest.FixtureRequest) -> None:
    why = DIFFERENCES.get(request.node.originalname) if request.param == "aws" else None
    if why is not None:
        request.applymarker(pytest.mark.xfail(strict=True, reason=why))


async def _close(made: Runtime) -> None:
    if isinstance(made, AwsRuntime):  # its connections close in the event loop, which runs here
        await made.aclose()
    else:
        made.close()
