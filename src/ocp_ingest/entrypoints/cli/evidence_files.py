"""What the evidence commands share: the evidence of a runtime, and files of a bundle on disk."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ocp_ingest.core.errors import Conflict, Invalid

if TYPE_CHECKING:
    from ocp_ingest.bootstrap import Runtime
    from ocp_ingest.evidence.bundle import File
    from ocp_ingest.evidence.world import Evidence


def evidence_of(opened: Runtime) -> Evidence:
    """The evidence of either runtime. Raises Invalid where no signing key is configured."""
    from ocp_ingest.bootstrap import Embedded

    if isinstance(opened, Embedded):
        return opened.evidence
    from ocp_ingest import bootstrap_aws

    assert isinstance(opened, bootstrap_aws.AwsRuntime), "there are two runtimes"
    return bootstrap_aws.evidence(opened)


async def write_files(files: AsyncIterator[File], folder: Path) -> int:
    """Writes a bundle into an empty folder; how many files. Raises Invalid for a used one."""
    _prepare(folder)
    count = 0
    async for file in files:
        with _created(folder / file.name) as handle:
            async for block in file.body:
                handle.write(block)
        count += 1
    return count


async def write_blocks(blocks: AsyncIterator[bytes], path: Path) -> None:
    """Writes one new file. Raises Conflict when it is there."""
    with _created(path) as handle:
        async for block in blocks:
            handle.write(block)


def _prepare(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Invalid(f"{folder} is not empty: a bundle needs a folder of its own.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # it may hold a customer's voice


def _created(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
    except FileExistsError:
        raise Conflict(f"{path} is there already.") from None
