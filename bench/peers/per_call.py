"""Recovery as it suggests itself: for each call that lacks its recording, export, poll, download.

The calls of a group one after the other, since OCP exports once per group at a time; groups beside
each other. A poll follows a minute after the export was asked for. What is downloaded is stored by
our own steps, as durable as ours; the call's own file only, for that is what is looked for.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Final, NamedTuple

from ocp_ingest.core.export_facts import Created, Status, VendorStatus
from ocp_ingest.core.limits import HOUR_MS, MINUTE_MS
from ocp_ingest.core.recording import parse_name
from ocp_ingest.ingest import intake
from ocp_ingest.ingest.pipeline import advance
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.ports import ExportApi, ExportFile, FileList

POLL_EVERY_MS: Final = MINUTE_MS
POLLS_MAX: Final = 60


class Wanted(NamedTuple):
    """A call whose recording is missing."""

    call_id: str
    ocp_group: str
    start_ms: int
    end_ms: int


async def recover(world: World, api: ExportApi, calls: Iterable[Wanted]) -> None:
    """Brings all of them. Raises RuntimeError for whatever is not as it should be."""
    by_group: dict[str, list[Wanted]] = {}
    for call in calls:
        by_group.setdefault(call.ocp_group, []).append(call)

    async def group(wanted: list[Wanted]) -> None:
        for call in wanted:
            await _recover(world, api, call)

    async with asyncio.TaskGroup() as tasks:
        for wanted in by_group.values():
            tasks.create_task(group(wanted))


async def _recover(world: World, api: ExportApi, call: Wanted) -> None:
    first_ms = call.start_ms // HOUR_MS * HOUR_MS
    end_ms = (call.end_ms // HOUR_MS + 1) * HOUR_MS
    created = await api.create(call.ocp_group, first_ms, end_ms, ("audio",))
    if not isinstance(created, Created):
        raise RuntimeError(f"no export: {created}")
    export_id = created.export.export_id
    for n in range(1, POLLS_MAX + 1):
        await world.clock.sleep_ms(POLL_EVERY_MS)
        seen = await api.status(call.ocp_group, export_id, n)
        if isinstance(seen, Status) and seen.export.status is VendorStatus.COMPLETED:
            break
    else:
        raise RuntimeError("the export does not end")
    listed = await api.files(call.ocp_group, export_id)
    if not isinstance(listed, FileList):
        raise RuntimeError(f"no file list: {listed}")
    for file in listed.files:
        if call.call_id in file.name:
            await _download(world, api, call, export_id, file)


async def _download(
    world: World, api: ExportApi, call: Wanted, export_id: str, file: ExportFile
) -> None:
    async with aclosing(api.fetch(call.ocp_group, export_id, file)) as members:
        async for fetched in members:
            await intake.recording(
                world, parse_name(fetched.name), _blocks(fetched.blocks), source="export",
                expected_bytes=fetched.size, expected_sha256=fetched.sha256,
            )  # fmt: skip
    await advance(world, call.call_id)


async def _blocks(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes | memoryview]:
    async for block in blocks:
        yield block
