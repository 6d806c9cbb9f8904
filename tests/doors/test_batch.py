"""Splitting and decompressing bodies: the same messages in, whatever the form; bounds hold."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.errors import Invalid, TooLarge
from ocp_ingest.core.limits import Limits
from ocp_ingest.entrypoints.api.batch import split
from ocp_ingest.entrypoints.api.names import file_name
from ocp_ingest.entrypoints.api.unzip import Unzip

LIMITS = Limits()
VALUES = st.dictionaries(
    st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(), max_size=5
)
SPACE = st.text(" \t\r\n", max_size=3).map(str.encode)


@given(st.lists(VALUES, min_size=1, max_size=8), SPACE, SPACE)
def test_an_array_and_lines_give_the_same_messages(
    values: list[dict[str, object]], before: bytes, after: bytes
) -> None:
    raws = [msgspec.json.encode(v) for v in values]
    array = split(before + b"[" + (after + b",").join(raws) + b"]" + after, LIMITS)
    lines = split(before + b"\n".join(raws) + after, LIMITS, ndjson=True)
    assert [m[0] for m in array.messages] == [m[0] for m in lines.messages] == values
    assert [m[1] for m in lines.messages] == raws
    assert array.refused == lines.refused == []


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_words_never_a_crash(body: bytes) -> None:
    words = ""
    taken = 0
    try:
        batch = split(body, LIMITS)
        taken = len(batch.messages) + len(batch.refused)
    except Invalid as bad:
        words = bad.text
    assert taken or words.endswith(".") or body.strip().startswith(b"[")


@given(st.lists(st.sampled_from([b'{"a":1}', b"{", b"nope", b"[1]"]), min_size=2, max_size=9))
def test_places_of_bad_lines_are_theirs(lines: list[bytes]) -> None:
    batch = split(b"\n".join(lines), LIMITS, ndjson=True) if lines[0] != b"[1]" else None
    if batch is not None:
        bad = [n for n, line in enumerate(lines) if line in (b"{", b"nope")]
        assert [r.index for r in batch.refused] == bad
        assert len(batch.messages) == len(lines) - len(bad)


def test_a_dense_array_is_counted_before_it_is_held() -> None:
    limits = Limits(batch_events_max=10)
    inner = b'{"text":"a,[{\\"b]","list":[' + b",".join([b"1"] * 60_000) + b"]}"
    assert (
        len(split(b"[" + inner + b"," + inner + b"]", Limits(event_bytes_max=10**6)).messages) == 2
    )
    with pytest.raises(TooLarge):
        split(b"[" + b",".join([inner] * 11) + b"]", limits)


def test_a_body_of_millions_of_elements_costs_no_more_than_itself() -> None:
    body = b"[" + b",".join([b"1"] * 4_000_000) + b"]"
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            split(body, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=2000), st.integers(1, 50), st.integers(1, 3))
def test_gzip_in_blocks_of_any_size_gives_the_bytes_back(
    body: bytes, block: int, members: int
) -> None:
    packed = gzip.compress(body) * members
    unzip = Unzip(10_000)
    for start in range(0, len(packed), block):
        unzip.feed(packed[start : start + block])
    assert unzip.finish() == body * members


@given(st.integers(0, 3000))
def test_the_bound_on_what_comes_out_is_exact(size: int) -> None:
    packed = gzip.compress(bytes(size))
    unzip = Unzip(1000)
    if size <= 1000:
        unzip.feed(packed)
        assert len(unzip.finish()) == size
    else:
        with pytest.raises(TooLarge):
            unzip.feed(packed)


@pytest.mark.parametrize("packed", [zlib.compress(b"x"), b"\x1f\x8b\x08", b"PK\x03\x04", b""])
def test_what_is_no_whole_gzip_is_refused(packed: bytes) -> None:
    def unpack() -> bytes:
        unzip = Unzip(1000)
        unzip.feed(packed)
        return unzip.finish()

    with pytest.raises(Invalid):
        unpack()


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("", ""),
        ("attachment", ""),
        ('attachment; filename="a b.wav"', "a b.wav"),
        ("attachment; filename=a.wav", "a.wav"),
        ("attachment;filename = a.wav ; size=3", "a.wav"),
        ("filename=a.wav", "a.wav"),
        (r'attachment; filename="a\"b\\c.wav"', r'a"b\c.wav'),
        ('attachment; filename="a;b=c.wav"', "a;b=c.wav"),
        ('attachment; filename="50%25.wav"', "50%25.wav"),
        ("attachment; filename*=UTF-8''%C3%B1%7E.wav", "ñ~.wav"),
        ("attachment; filename*=iso-8859-1'es'%F1.wav; filename=x.wav", "ñ.wav"),
        ("attachment; filename=x.wav; FILENAME*=utf-8''y.wav", "y.wav"),
        ("attachment; filename*=UTF-16''y.wav; filename=x.wav", "x.wav"),
        ("attachment; filename*=UTF-8''%FF.wav; filename=x.wav", "x.wav"),
        ("attachment; filename*=y.wav; filename=x.wav", "x.wav"),
        ('form-data; name="filename"; filename="x.wav"', "x.wav"),
    ],
)
def test_the_file_name_of_a_content_disposition(header: str, name: str) -> None:
    assert file_name(header) == name
