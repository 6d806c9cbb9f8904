"""What the table's stream tells is sealed in its order, once, and closed in the archive bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_ingest.adapters.aws.archive import ARCHIVE, Archive
from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.evidence import AwsEvidence
from ocp_ingest.adapters.aws.export_book import AwsExportBook
from ocp_ingest.adapters.aws.recording_store import AwsRecordingStore
from ocp_ingest.adapters.aws.seal_book import AwsSealBook
from ocp_ingest.adapters.aws.timetable import AwsTimetable
from ocp_ingest.adapters.aws.work_queue import AwsWorkQueue
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.adapters.memory.clock import ManualClock
from ocp_ingest.adapters.memory.evidence import MemoryIncidents
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.adapters.signing import FileSigner
from ocp_ingest.bootstrap_aws import SHELF_PREFIX
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.core.proof import broken_at, entry_of
from ocp_ingest.core.settings import Settings
from ocp_ingest.evidence import inclusion, sealer, verify
from ocp_ingest.evidence.ports import DayClosed, Marks
from ocp_ingest.evidence.shelf import BucketShelf
from ocp_ingest.evidence.world import Evidence
from ocp_ingest.ingest.world import World
from tests.audit.stream import Recorder, batch
from tests.contracts import samples

NOW = samples.T0 + samples.HOUR_MS


def evidence_of(aws: Recorder, folder: Path, real: ManualClock) -> Evidence:
    """The evidence of a deployment, as bootstrap_aws wires it, with a key of a file."""
    settings, incidents = Settings(), MemoryIncidents(MemoryState(), Faults())
    where = aws.settings
    world = World(
        settings=settings,
        clock=ManualClock(NOW),
        calls=AwsCallStore(aws, Deriving.of(settings)),
        evidence=AwsEvidence(aws, items_max=9),
        incidents=incidents,
        recordings=AwsRecordingStore(aws),
        queue=AwsWorkQueue(aws, where.work_queue_url, where.work_dlq_url, 3),
        timetable=AwsTimetable(aws, ""),
        chance=lambda: 0.5,
    )
    return Evidence(
        world=world,
        exports=AwsExportBook(aws),
        seals=AwsSealBook(aws, Deriving.of(settings)),
        shelf=BucketShelf(world.recordings, ARCHIVE, SHELF_PREFIX),
        signer=FileSigner(folder / "evidence.key"),
        real=real,
        issuer="pbx.example.com",
    )


async def test_the_stream_of_a_life_becomes_one_chain_and_a_signed_day(
    aws: Recorder, tmp_path: Path
) -> None:
    real = ManualClock(NOW)
    evidence = evidence_of(aws, tmp_path, real)
    archive = Archive(aws, evidence.world.incidents)
    for event in samples.life("c1"):
        await evidence.world.calls.append([event])
    records = aws.take()
    await archive.take(batch(records[:3]), NOW)
    await archive.take(batch(records), NOW)  # a batch that came again, cut otherwise
    assert await sealer.seal(evidence) == len(samples.life("c1"))
    assert await sealer.seal(evidence) == 0
    links = await evidence.seals.chain("c1")
    assert broken_at(links) is None
    assert [link.entry.event_id for link in links] == [e.event_id for e in samples.life("c1")]
    # The chain's own items come through the stream too, and leave nothing to be sealed.
    await archive.take(batch(aws.take()), NOW)
    assert (await evidence.seals.fresh(limit=9)).entries == ()
    real.advance(2 * DAY_MS)
    [first, _] = await sealer.close_days(evidence)
    found = await inclusion.include(evidence.seals, evidence.shelf, links)
    assert found is not None
    assert (found.day.day, found.tip.n) == (first, len(links))
    said = await aws.call(
        "s3", "list_objects_v2", Bucket=f"{aws.settings.bucket_prefix}{ARCHIVE}",
        Prefix=f"evidence/days/{first}/",
    )  # fmt: skip
    assert len(said["Contents"]) >= 4


async def test_an_event_that_the_stream_never_told_is_found_and_caught_up(
    aws: Recorder, tmp_path: Path
) -> None:
    evidence = evidence_of(aws, tmp_path, ManualClock(NOW))
    await evidence.world.calls.append(samples.life("c1")[:2])
    found = await verify.one_call(evidence, "c1", fast=True)
    assert {finding.kind for finding in found} == {"extra"}
    assert await sealer.catch_up(evidence) == 2
    assert [f.kind for f in await verify.one_call(evidence, "c1", fast=True)] == ["ok"]


class Stale(AwsSealBook):
    """A sealer that read the marks before another one began to close the day."""

    async def marks(self) -> Marks:
        return Marks()


async def test_a_day_that_is_closed_between_the_look_and_the_write_takes_no_link(
    aws: Recorder, tmp_path: Path
) -> None:
    evidence = evidence_of(aws, tmp_path, ManualClock(NOW))
    await evidence.seals.begin_close("2026-11-23")
    entries = [entry_of(event) for event in samples.life("c1")]
    with pytest.raises(DayClosed):
        await Stale(aws, Deriving()).seal(entries, "2026-11-23")
    assert await evidence.seals.chain("c1") == []
