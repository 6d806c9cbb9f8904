"""The embedded store's own way to read many calls says what the ports say, of good and bad rows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from ocp_ingest.evidence import sealer, verify
from ocp_ingest.evidence.findings import Finding
from ocp_ingest.evidence.sheet import PortSheets, Sheet
from tests.evidence.every_byte import Call
from tests.evidence.kit import Site

CHANGES = 60


async def both(site: Site, call_ids: list[str]) -> tuple[list[Sheet], list[Sheet]]:
    """By the store's own reader, and by the ports."""
    own = site.evidence.reader
    ports = PortSheets(site.world.calls, site.evidence.seals)
    assert not isinstance(own, PortSheets)
    assert await own.chains(call_ids) == await ports.chains(call_ids)
    return await own.of(call_ids), await ports.of(call_ids)


async def test_calls_of_every_kind_are_read_alike(site: Site) -> None:
    calls = [await site.stored(), await site.quarantined(), await site.announced()]
    await sealer.seal(site.evidence)
    calls += [await site.stored(), "nobody"]  # not sealed yet; not there
    own, ports = await both(site, calls)
    assert own == ports
    assert [len(sheet.waiting) > 0 for sheet in own] == [False, False, False, True, False]
    await site.next_day()
    own, ports = await both(site, calls)
    assert own == ports
    assert [sheet.rows is not None and not sheet.rows.said for sheet in own] == [True] * 5


@pytest.mark.parametrize("what", ["journal", "record"])
def test_what_is_wrong_is_read_alike(tmp_path: Path, what: str) -> None:
    call = Call(tmp_path / "call")
    places = Random(what).sample(call.places(what), CHANGES)
    try:
        for place in places:
            before = call._value(place.where)
            found = _found_by_both(call, place.where, place.at)
            assert found is None or found[0] == found[1], (place, before)
    finally:
        call.close()


def _found_by_both(call: Call, where: str, at: int) -> tuple[list[Finding], ...] | None:
    with call.changed_row(where, at) as is_changed:
        if not is_changed:
            return None
        own, ports = asyncio.run(both(call.site, [call.call_id]))
        found = [
            asyncio.run(verify._call(call.site.evidence, sheet, False, True))
            for sheet in (*own, *ports)
        ]
        return tuple(found)
