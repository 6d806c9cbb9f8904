"""Where the bytes of a recording are, and which event set each flag: told by the record alone."""

from __future__ import annotations

import pytest
from hypothesis import given

from ocp_ingest.core import events as ev
from ocp_ingest.core.call import FLAGS, flags, fold
from ocp_ingest.core.events import VENDOR_KINDS, Event
from ocp_ingest.core.flag_evidence import flag_evidence
from ocp_ingest.core.places import whereabouts
from tests.core.strategies import CALL, CHILDREN, COSTLY_LAW, T0, journals, received, sha_of
from tests.core.test_explain import CDRS
from tests.core.walk import BAD_AT_OCP, END_MS, GOOD, Ocp, Walk
from tests.flow.stage import CALL_ID, NAME, Stage, dialog_end, dialog_start, tone


def wheres(walk: Walk, version: int) -> list[str]:
    return [place.where for place in whereabouts(walk.call, CALL, sha_of(CALL, version))]


def test_a_recording_is_in_landing_until_it_is_stored() -> None:
    walk = Walk([*CDRS, received(at_ms=END_MS)], Ocp())
    seen = []
    while walk.step():
        seen.append(wheres(walk, GOOD))
    assert seen[0] == []
    assert ["landing"] in seen
    assert seen[-1] == ["stored"]
    [place] = whereabouts(walk.call, CALL, sha_of(CALL, GOOD))
    assert (place.bucket, place.key) == ("lob-claims", f"k/{CALL}.wav")


def test_an_unusable_one_is_in_quarantine_as_well() -> None:
    walk = Walk([*CDRS, received(version=BAD_AT_OCP)], Ocp(audio=BAD_AT_OCP))
    walk.run()
    assert wheres(walk, BAD_AT_OCP) == ["landing", "quarantine"]
    assert wheres(walk, GOOD) == [], "of bytes that never came nobody knows a place"


def test_bytes_that_were_lost_from_landing_are_not_looked_for_there() -> None:
    gone = ev.landing_lost(
        CALL, CALL, sha_of(CALL, GOOD), at_ms=T0, landing_key=received().data["landing_key"],
        how="Gone.",
    )  # fmt: skip
    assert whereabouts(fold(CALL, [*CDRS, received(), gone]), CALL, sha_of(CALL, GOOD)) == ()


@pytest.mark.parametrize(("audio", "where"), [
    (tone(), ["stored"]), (tone(60_000), ["landing", "quarantine"]),
    (b"<html>502</html>" * 40, ["landing", "quarantine"]), (b"x", ["landing", "quarantine"]),
])  # fmt: skip
async def test_what_the_pipeline_wrote_is_where_it_is_said_to_be(
    audio: bytes, where: list[str]
) -> None:
    """Valid, too long, no audio, one byte: each place that is named holds these very bytes."""
    stage = Stage()
    await stage.send(dialog_start(), dialog_end())
    await stage.upload(audio, NAME)
    await stage.drain()
    call = await stage.call()
    [sha] = call.recordings[CALL_ID].versions
    places = whereabouts(call, CALL_ID, sha)
    assert [place.where for place in places] == where
    for place in places:
        assert stage.objects(place.bucket)[place.key] == audio


@COSTLY_LAW
@given(journals())
def test_every_flag_has_the_event_that_says_its_time(journal: list[Event]) -> None:
    call = fold(CALL, journal)
    found = flag_evidence(call, journal)
    assert [(f.flag, f.at_ms) for f in found] == list(flags(call).items())
    for said in found:
        assert (said.event is None) is (said.at_ms is None), said.flag
        if said.event is None:
            continue
        if said.event.kind in VENDOR_KINDS:
            assert said.event.data["sets"][said.flag][1] == said.at_ms
        else:
            assert said.event.at_ms == said.at_ms
            assert said.event.kind in ("received", "validated", "stored")


def test_a_childs_recording_and_an_invalid_verdict_set_no_flag() -> None:
    """Told apart from the root's own events of the same millisecond."""
    child = received(CHILDREN[0], at_ms=T0)
    mine = received(at_ms=T0)
    verdicts = [
        ev.validated(CALL, CALL, sha_of(CALL, version), epoch=0, at_ms=END_MS,
                     valid=valid, problems=[], rules="claims:1")
        for version, valid in ((BAD_AT_OCP, False), (GOOD, True))
    ]  # fmt: skip
    journal = [*CDRS, child, mine, *verdicts]
    found = {f.flag: f.event for f in flag_evidence(fold(CALL, journal), journal)}
    assert found["file_received"] == mine
    assert found["post_processed"] == verdicts[1]


def test_a_flag_without_its_event_in_the_journal_has_no_evidence() -> None:
    call = fold(CALL, CDRS)
    assert [f.event for f in flag_evidence(call, [])] == [None] * len(FLAGS)
    assert flag_evidence(call, CDRS)[0].event == CDRS[0]
