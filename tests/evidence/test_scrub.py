"""Laws of the scrub: every object has its turn, over restarts, and what was changed is told."""

from __future__ import annotations

import asyncio
from random import Random

from ocp_ingest.evidence import scrub
from tests.evidence.kit import Site, flipped


async def test_every_object_has_its_turn_in_rounds_of_any_size(site: Site) -> None:
    for _ in range(3):
        await site.stored()  # a recording and its metadata each
    rounds = []
    for _ in range(4):
        rounds.append((await scrub.scrub(site.evidence, objects=4)).objects)
        site.close()
        site.open()
    assert rounds == [4, 2, 4, 2], "at the end it begins again at the start"
    assert await site.world.incidents.incidents() == []


async def test_an_empty_site_is_no_endless_round(site: Site) -> None:
    assert (await scrub.scrub(site.evidence, objects=10)).objects == 0


async def test_a_changed_byte_opens_the_incident(site: Site) -> None:
    for _ in range(3):
        await site.stored()
    path = sorted((site.data_dir / "recordings/lob-banking").glob("**/*.wav"))[1]
    path.write_bytes(flipped(path.read_bytes(), Random(1)))
    done = await scrub.scrub(site.evidence, objects=100)
    assert [finding.kind for finding in done.findings] == ["differs"]
    [incident] = await site.world.incidents.incidents()
    assert (incident.kind, incident.severity) == ("evidence_broken", "critical")
    assert path.name in incident.text


async def test_the_loop_ends_when_it_is_told_to(site: Site) -> None:
    stop = asyncio.Event()
    loop = asyncio.create_task(scrub.run(site.evidence, stop, objects=5, every_s=0.01))
    await asyncio.sleep(0.05)
    assert not loop.done()
    stop.set()
    await asyncio.wait_for(loop, 5)
