"""The ledger says of each call how it must end, from its faults alone."""

import hashlib
from collections import Counter
from typing import Any

import pytest

from ocp_sim import config
from ocp_sim.faults import EXTRA, MAIN
from ocp_sim.ledger import Entry, ledger
from ocp_sim.world import World, build_world
from tests.sim.kit import FakeRenderer, small_world

EXPECTED = {
    "lost": ("stored", "export", "in_flight"),
    "nothing": ("stored", "census", "unknown"),
    "late": ("stored", "stream", "stored"),
    "test_call": ("absent", "stream", "absent"),
    "too_short": ("absent", "stream", "absent"),
    "expired": ("lost", "stream", "in_flight"),
    "corrupt_at_ocp": ("quarantined", "stream", "in_flight"),
    "corrupt_stream": ("stored", "export", "in_flight"),
    "error_body": ("stored", "export", "in_flight"),
    "wrong_call_id": ("stored", "export", "in_flight"),
    "missing_start": ("stored", "stream", "in_flight"),
    "missing_end": ("stored", "stream", "in_flight"),
    "endless": ("stored", "stream", "in_flight"),
    "trimmed": ("stored", "stream", "stored"),
    "reordered": ("stored", "stream", "stored"),
    "early_recording": ("stored", "stream", "stored"),
    "duplicated": ("stored", "stream", "stored"),
    "bad_token": ("stored", "stream", "stored"),
    "cut_upload": ("stored", "stream", "stored"),
}


@pytest.fixture(scope="module")
def bad_day() -> World:
    return build_world(1, 200, config.World(), renderer=FakeRenderer)


def test_every_fault_has_an_expected_end() -> None:
    assert EXPECTED.keys() == {*MAIN, *EXTRA} - {"late_at_ocp"}  # which needs another fault


@pytest.mark.parametrize("fault", EXPECTED)
def test_a_fault_decides_how_its_call_ends(fault: str) -> None:
    shares: dict[str, Any] = {fault: 0.2}
    entries = [e for e in ledger(small_world(**shares)) if fault in e.faults]
    assert entries
    for line in entries:
        assert (line.expected, line.via, line.expected_without_export) == EXPECTED[fault]


def test_every_call_has_one_line_and_every_line_a_reason(bad_day: World) -> None:
    lines = list(ledger(bad_day))
    assert [line.call_id for line in lines] == [call.call_id for call in bad_day.calls]
    assert all(line.reason for line in lines)


def test_a_bad_day_has_each_end_but_a_loss(bad_day: World) -> None:
    counts = Counter(line.expected for line in ledger(bad_day))
    assert counts == {"stored": 190, "absent": 8, "quarantined": 2}


def test_only_what_must_be_kept_has_a_recording_with_the_bytes_at_ocp(bad_day: World) -> None:
    for line in ledger(bad_day):
        assert (line.recording is not None) == (line.expected in ("stored", "quarantined"))
        if line.recording is not None:
            data = bad_day.audio(line.recording.name, "ocp")
            assert line.recording.bytes == len(data)
            assert line.recording.sha256 == hashlib.sha256(data).hexdigest()


def test_a_call_is_announced_unless_nothing_came(bad_day: World) -> None:
    silent = [line for line in ledger(bad_day) if not line.announced]
    assert silent
    assert all(line.faults == ("nothing",) for line in silent)


def test_strays_are_told_and_are_no_calls(bad_day: World) -> None:
    def strays(line: Entry) -> bool:
        return line.stray_call_id is not None

    known = {call.call_id for call in bad_day.calls}
    for line in ledger(bad_day):
        assert strays(line) == ("wrong_call_id" in line.faults)
        assert line.stray_call_id not in known
