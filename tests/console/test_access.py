"""An access is in the journal before anything is given, once a sitting, and counts for nothing."""

from __future__ import annotations

import pytest

from ocp_ingest.core.errors import Invalid
from ocp_ingest.desk.access import accessed
from tests.console.kit import Site


async def test_an_access_is_journalled_once_per_sitting_and_changes_nothing(site: Site) -> None:
    made = await site.stored()
    call, counts = await site.call(made.call_id), await site.world.calls.counts()
    for _ in range(3):
        await accessed(
            site.world, made.call_id, who="ana", what="audio", reason=" a complaint ",
            dialog_id=made.call_id,
        )  # fmt: skip
    await accessed(site.world, made.call_id, who="ana", what="raw", reason="a complaint")
    events = [e for e in await site.world.calls.journal(made.call_id) if e.kind == "accessed"]
    # A slot may end between two of them.
    assert 2 <= len(events) <= 3
    assert {e.data["what"] for e in events} == {"audio", "raw"}
    assert events[0].data["reason"] == "a complaint"
    assert await site.call(made.call_id) == call
    assert await site.world.calls.counts() == counts


async def test_without_a_reason_nothing_is_journalled(site: Site) -> None:
    made = await site.stored()
    before = await site.world.calls.journal(made.call_id)
    with pytest.raises(Invalid):
        await accessed(site.world, made.call_id, who="ana", what="audio", reason="  ")
    assert await site.world.calls.journal(made.call_id) == before
