"""Sweeps the landing store: bytes that nothing refers to, or that are stored by now.

A crash between "stored" and the removal from landing, or between an upload's commit and its
journal entry, leaves an orphan there. Nothing that an open call may still need is ever removed.
"""

from __future__ import annotations

import asyncio

from ocp_ingest.core.errors import Transient
from ocp_ingest.core.settings import LANDING
from ocp_ingest.ingest.world import World
from ocp_ingest.telemetry import log

# An object is looked at twice, so long apart: what was unreferenced both times was no upload
# whose journal entry was on its way. An hour is far beyond any request's life.
PATIENCE_S = 3_600.0
_PAGE = 500


async def run(world: World, stop: asyncio.Event, *, patience_s: float = PATIENCE_S) -> None:
    """Sweeps once every `patience_s` real seconds until `stop` is set."""
    suspects: set[str] = set()
    while not stop.is_set():
        try:
            suspects = await sweep_landing(world, suspects)
        except Transient as gone:
            log().warning("housekeeping.unavailable", reason=gone.text)
        try:
            await asyncio.wait_for(stop.wait(), patience_s)
        except TimeoutError:
            continue


async def sweep_landing(world: World, suspects: set[str]) -> set[str]:
    """Removes what was unreferenced last time and still is; returns what is unreferenced now."""
    found: set[str] = set()
    after = ""
    while page := await world.recordings.list(LANDING, after=after, limit=_PAGE):
        for held in page:
            if await is_needed(world, held.key):
                continue
            if held.key in suspects:
                await world.recordings.delete(LANDING, held.key)
                log().info("landing.swept", bytes=held.bytes)
            else:
                found.add(held.key)
        after = page[-1].key
    return found


async def is_needed(world: World, landing_key: str) -> bool:
    """Whether a call refers to these bytes and does not have them stored yet."""
    call_id = await world.calls.call_of("landing", landing_key)
    call = await world.calls.load(call_id) if call_id is not None else None
    if call is None:
        return False
    for recording in call.recordings.values():
        for sha256, version in recording.versions.items():
            if version.at_hand == landing_key:
                return recording.stored is None or recording.stored.sha256 != sha256
    return False
