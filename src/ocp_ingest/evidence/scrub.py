"""The scrub: stored objects are read back and hashed, some each hour, all in turn, for ever.

It goes through the buckets in the order of their keys and remembers how far it has come, so every
object has its turn; what was changed without a trace is found at the latest when its turn comes.
What it finds opens the incident `evidence_broken:scrub`.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.limits import GIB
from ocp_ingest.evidence.findings import Finding
from ocp_ingest.evidence.sealer import tell
from ocp_ingest.evidence.verify_objects import one_object
from ocp_ingest.evidence.world import Evidence
from ocp_ingest.telemetry import log

# Between two rounds, in real time.
EVERY_S: Final = 3_600.0
# One round reads so much at most, whatever its number of objects: 30 s of a disk, or a cent on S3.
BYTES_MAX: Final = 4 * GIB
_NOTE: Final = "scrub"
_PAGE: Final = 200


class Scrubbed(msgspec.Struct, frozen=True):
    """One round: how many objects were looked at, and what was wrong."""

    objects: int
    findings: tuple[Finding, ...]


async def run(
    evidence: Evidence, stop: asyncio.Event, *, objects: int, every_s: float = EVERY_S
) -> None:
    """A round of so many objects every `every_s` real seconds until `stop` is set."""
    while not stop.is_set():
        try:
            await scrub(evidence, objects=objects)
        except OcpIngestError as gone:
            log().warning("scrub.unavailable", reason=gone.text)
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue


async def scrub(evidence: Evidence, *, objects: int) -> Scrubbed:
    """One round from where the last one ended, at most once around; the next one goes on."""
    buckets = list(dict.fromkeys(evidence.world.settings.buckets().values()))
    bucket, after = _place(await evidence.seals.note(_NOTE))
    at = buckets.index(bucket) if bucket in buckets else 0
    seen, read, found, wrapped = 0, 0, list[Finding](), 0
    while seen < objects and read < BYTES_MAX and wrapped < len(buckets):
        limit = min(_PAGE, objects - seen)
        page = await evidence.world.recordings.list(buckets[at], after=after, limit=limit)
        for held in page:
            found += await one_object(evidence, buckets[at], held.key)
            seen, read, after = seen + 1, read + held.bytes, held.key
        if not page:
            at, after, wrapped = (at + 1) % len(buckets), "", wrapped + 1
        await evidence.seals.put_note(_NOTE, f"{buckets[at]}\n{after}")
    log().info("scrub.done", objects=seen, bytes=read, findings=len(found))
    if found:
        subjects = ", ".join(finding.subject for finding in found[:_NAMED])
        text = f"{len(found)} stored objects are not what they were: {subjects}."
        await tell(evidence, "scrub", text)
    return Scrubbed(seen, tuple(found))


def _place(note: str) -> tuple[str, str]:
    bucket, _, after = note.partition("\n")
    return bucket, after


_NAMED: Final = 3  # objects that the incident's text names
