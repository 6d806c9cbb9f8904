"""Laws of the compressed form of records and events, which items keep for years."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.aws import call_index, codec, table, words
from ocp_ingest.adapters.aws.dynamo import Item, b, key
from ocp_ingest.adapters.aws.journal_items import item_of
from ocp_ingest.adapters.journal import Deriving, derive
from ocp_ingest.core.call import Call, fold, merge, new
from ocp_ingest.core.events import Event
from tests.aws_adapters.population import journals as simulated
from tests.core.strategies import LAW, journals

# What the cheapest write of DynamoDB holds; a byte more costs a second unit, every time.
UNIT_BYTES: Final = 1_024

# A record and an event of form 1 as they were written when it was made.
GOLDEN_CALL: Final = (
    "018374b6c11d2db466500b35da3f46d8da3ff887d508b780cccd4c4c4c2c603904c2a35e070c5f35008c353323"
    "534b33d2aa81891f31fb061f70f40dbe13d9f5fe4e7ad79b482d0001a1f576bf6466da6be5ce259a4fc5430307"
    "41c99fbe6f0449d7be3b5d76beeb26a4c5241f032b86491fafd16fe59dd7f9e6d0bf04e89f025625fae8b4a9d6"
    "fad440be6dd8aa0c5d0912bd82100ea2baafbd8baf2b4efe4880ea3390ff11135532bc8f8f23b7ce1c725e1b31"
    "cc4fc0a53580f403019f7b9802c0fe11a40dc03e03a223b0d435a0833690b236"
)
GOLDEN_EVENT: Final = (
    "01e559bb6e1531100d81c00f404583d28ff0736cd346d42928a93c1efb13e017e8a1018982062414a54294498a"
    "5cd2859a3e5d1a9af40cba37e86eb29bbb11ac84946ead5dbfb467ecf378bbb36c6e7c5f5bbbf5e1ecc53eff79"
    "f838a7dd8bf6913b7cf46e7bb675fbde9d9f7bf75f9d7dda7d7e72f0ed33ea372f1f9bbbc7a7ef1fbefe325bff"
    "dabd55265af9aacbaa335a5fc472f1836b72fadff1c6443b1b9fe2481710dd0722bbae0e713a86d0fce65e7842"
    "fd098fd325a54615b029072e7100aa96c07340aa950c66d79702156f9c6eca82a188d24f37c88db50c537d620e"
    "2d551c488a744f52344ae0ac4889023a379c122dde0a77996d3c18e5fc4d87e7735a34dd0c1db635ea5f9d33b2"
    "ce54176c4dd159b22eaf34fa018793ac092151c1643546ebac0edaa78c5667525431242c2634e7933635c6d894"
    "27a2daa2a1cce86baf43ba0cfecb06e92804ff63eff4e9b3bff54ee7685cf64eb72e7ba703522c5ee59cd6e09b"
    "515cb372511065366f926e33812bab92c0272548772641b40941c09883b55937e3fe4b6de78b54955422a01481"
    "2c1c2bc4c646605f38445295320ed30ae458d0340d8e9305976382ec15812b525f9c2d4b6bb546fcc1cba7e093"
    "890ea75f"
)


def golden() -> tuple[Call, Event]:
    """What the golden bytes say: a call of the simulator, and its CDR Start."""
    events = next(simulated(7, 60))
    return fold(events[0].call_id, events), events[0]


def item_bytes(item: Item) -> int:
    """The size of an item as DynamoDB bills it. (developer guide, CapacityUnitCalculations)"""
    total = 0
    for name, value in item.items():
        [(kind, held)] = value.items()
        if kind == "N":
            size = (len(held.strip("-0")) + 1) // 2 + 2
        else:
            size = len(held) if kind == "B" else len(held.encode())
        total += len(name.encode()) + size
    return total


def record_item(call: Call) -> Item:
    """The item that a record has."""
    row = derive(call, Deriving())
    where = key(table.call_key(call.call_id), table.SK_RECORD)
    body = {table.RECORD: b(codec.encode_call(call))}
    return where | call_index.columns(call.call_id, row) | body


def percentile(sizes: list[int], share: float) -> int:
    return sorted(sizes)[min(len(sizes) - 1, int(len(sizes) * share))]


# Any text, and the texts that the form treats as something else.
special = st.sampled_from([
    "", "\x01", "\x02", "\x01\x02", "\x02x", "call-1", "a call-1 b", "ab" * 6, "AB" * 6, "a" * 13,
    "ab" * 128, "ab" * 129, "00000000-0000-0000-0000-00000000000f", "ab/ab" + "0" * 30,
    "ab/cd" + "0" * 30, "2026-11-20T18:24:36.118Z", "2026-13-20T18:24:36.118Z",
    "2026-11-20T18:24:60.118Z", "1969-11-20T18:24:36.118Z", "٢٠٢٦-11-20T18:24:36.118Z", "seen",
    "1970-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000Z",
])  # fmt: skip
texts = st.one_of(special, st.text(max_size=20))
numbers = st.one_of(
    st.sampled_from([0, 1, 127, 128, -1, -2, 2**63, -(2**63), 1_763_805_600_000, 2**32]),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(1_262_304_000_000, 4_102_444_800_000),
    st.floats(allow_nan=False),
    st.sampled_from([0.0, -0.0, 1.0, 0.5, 1e-06, 0.999999, 0.1234567, 5e-324]),
)
values = st.recursive(
    st.one_of(texts, numbers, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
regs = st.dictionaries(
    texts, st.tuples(st.integers(0, 300), st.integers(-5, 2**45), texts, values), max_size=6
)


@LAW
@given(journals())
def test_every_record_comes_back_as_it_was(journal: list[Event]) -> None:
    call = new("call-1")
    for event in journal:
        call = merge(call, event)
        assert codec.decode_call("call-1", codec.encode_call(call)) == call


@LAW
@given(texts, regs)
def test_whatever_a_field_says_comes_back_as_it_was(call_id: str, held: Any) -> None:
    call = Call(call_id=call_id, evidenced=True, regs=held)
    back = codec.decode_call(call_id, codec.encode_call(call))
    assert back == call
    # The same to the type and the sign of zero, which are equal to others.
    assert msgspec.msgpack.encode(back) == msgspec.msgpack.encode(call)


@LAW
@given(journals(), st.binary(max_size=300), st.one_of(texts, st.just("ab" * 32)))
def test_every_event_comes_back_as_it_was(journal: list[Event], raw: bytes, digest: str) -> None:
    for event in journal:
        for held in (event, msgspec.structs.replace(event, raw=raw, body_hash=digest)):
            assert codec.decode_event(held.call_id, codec.encode_event(held)) == held


def test_records_of_simulated_calls_come_back_as_they_were() -> None:
    for journal in simulated(1, 60):
        call = fold(journal[0].call_id, journal)
        assert codec.decode_call(call.call_id, codec.encode_call(call)) == call


def test_a_write_of_a_record_is_one_unit_at_the_99th_percentile_of_all_writes() -> None:
    written: list[int] = []
    finished: list[int] = []
    for journal in simulated(2, 150):
        call = new(journal[0].call_id)
        for event in journal:
            call = merge(call, event)
            written.append(item_bytes(record_item(call)))
        finished.append(written[-1])
    assert percentile(written, 0.99) <= UNIT_BYTES
    assert percentile(finished, 0.99) <= UNIT_BYTES
    assert percentile(finished, 0.5) <= UNIT_BYTES // 2


def test_a_write_of_an_event_is_one_unit_at_the_99th_percentile() -> None:
    sizes = [item_bytes(item_of(event)) for journal in simulated(3, 100) for event in journal]
    assert percentile(sizes, 0.99) <= UNIT_BYTES


def test_words_are_what_they_were_when_items_were_written_with_them() -> None:
    names = repr(words.KEYS_1).encode()
    held = [hashlib.sha256(part).hexdigest()[:16] for part in (names, words.RECORD_1, words.CDR_1)]
    assert held == ["f4372c926d2e3c4f", "ad69eb78a3fbd2bb", "cc50b44feeac455d"]


def test_what_was_written_with_form_1_is_read_for_ever() -> None:
    call, event = golden()
    assert codec.decode_call(call.call_id, bytes.fromhex(GOLDEN_CALL)) == call
    assert codec.decode_event(event.call_id, bytes.fromhex(GOLDEN_EVENT)) == event


@given(st.binary(max_size=200))
def test_bytes_that_are_none_of_ours_are_unreadable(body: bytes) -> None:
    for form in (b"", codec.FORM):
        with pytest.raises(codec.Unreadable):
            codec.decode_call("call-1", form + body)
        with pytest.raises(codec.Unreadable):
            codec.decode_event("call-1", form + body)


def test_a_part_of_a_record_or_event_is_unreadable() -> None:
    call, event = golden()
    record, entry = codec.encode_call(call), codec.encode_event(event)
    for end in range(len(record)):
        with pytest.raises(codec.Unreadable):
            codec.decode_call(call.call_id, record[:end])
    for end in range(len(entry)):
        with pytest.raises(codec.Unreadable):
            codec.decode_event(event.call_id, entry[:end])
