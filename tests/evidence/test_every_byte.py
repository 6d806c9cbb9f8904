"""Whichever byte of a call's journal, record or objects is changed: verify finds it, and of the
same in a pack the openssl recipe. `python tools/tamper.py` goes over every one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocp_ingest.evidence.pack import pack
from tests.evidence.every_byte import WHATS, Call, Place
from tests.evidence.kit import write
from tests.evidence.test_pack import check

VERIFIED = 120  # places of each kind, at random
RECIPES = 10


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    made = Call(tmp_path_factory.mktemp("call"))
    yield made
    made.close()


def by_column(places: list[Place]) -> list[Place]:
    """One place of every column or file, so that none is left out by chance."""
    return list({place.where.rpartition("|")[0] or place.where: place for place in places}.values())


@pytest.mark.parametrize("what", WHATS)
def test_a_changed_byte_is_found_by_verify(call: Call, what: str) -> None:
    places = call.places(what)
    chosen = [*by_column(places), *Random(what).sample(places, min(VERIFIED, len(places)))]
    found = {place: call.verify_finds(place) for place in chosen}
    assert [place for place, is_found in found.items() if is_found is False] == []
    assert sum(is_found is True for is_found in found.values()) > len(found) * 0.9
    assert not call._is_bad(), "put back, it is good again"


def test_a_changed_sign_of_a_zero_in_a_record_is_found(call: Call) -> None:
    """Found by going over every byte: -0.0 equals 0.0."""
    [where] = {place.where for place in call.places("record") if "|record|" in place.where}
    connection, zero = call._connection, call._value(where).index(b"\xcb" + bytes(8)) + 1
    record = call._value(where)
    call._put(where, record[:zero] + b"\x80" + record[zero + 1 :])
    try:
        assert connection.changes() == 1
        assert call._is_bad()
    finally:
        call._put(where, record)


@settings(max_examples=RECIPES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(at=st.integers(0, 1 << 30))
def test_a_changed_byte_of_a_pack_is_found_by_the_recipe(call: Call, at: int) -> None:
    places = call.pack_places()
    place = places[at % len(places)]
    assert call.recipe_finds(place), place


def test_a_good_pack_is_good(call: Call) -> None:
    assert check(call.pack).returncode == 0


@pytest.mark.parametrize("column", ["data", "raw"])
def test_a_pack_made_of_a_changed_journal_is_refused_or_found_by_the_recipe(
    call: Call, tmp_path: Path, column: str
) -> None:
    """What was changed before the pack was made, too: the pack's signature is no excuse."""
    places = [p for p in call.places("journal") if f"|{column}|" in p.where]
    place = Random(column).choice(places)
    before = call._value(place.where)
    body = bytearray(before)
    # Still JSON, and another fact; of encrypted bytes any.
    at = body.index(b"1") if column == "data" and b"1" in body else place.at
    body[at] = ord("2") if column == "data" else body[at] ^ 1
    call._put(place.where, bytes(body))
    try:
        folder = asyncio.run(write(pack(call.site.evidence, call.call_id), tmp_path / "pack"))
    except Exception:
        return  # it can't even be read
    finally:
        call._put(place.where, before)
    assert "FAILED  journal" in check(folder).stdout


def test_a_pack_takes_its_record_from_the_journal_and_not_from_a_changed_row(
    call: Call, tmp_path: Path
) -> None:
    place = next(p for p in call.places("record") if "|record|" in p.where)
    before = call._value(place.where)
    assert b"banking" in before
    call._put(place.where, before.replace(b"banking", b"bonking"))
    try:
        folder = asyncio.run(write(pack(call.site.evidence, call.call_id), tmp_path / "pack"))
    finally:
        call._put(place.where, before)
    assert (folder / "record.json").read_bytes() == (call.pack / "record.json").read_bytes()
    assert check(folder).returncode == 0
