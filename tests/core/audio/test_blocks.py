"""The report depends on the bytes alone: not on their blocks, their nonsense or their size."""

import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocp_ingest.core.audio import AudioParser
from ocp_ingest.core.audio.mangled import MangleCheck
from ocp_ingest.core.audio.mpeg import MpegWalker
from ocp_ingest.core.audio.problems import ProblemList
from ocp_ingest.core.audio.riff import RiffWalker
from ocp_ingest.core.audio.sniff import WAV_NAMES, sniff
from tests.audio_corpus import BROKEN, VALID
from tests.core.audio import builders as b
from tests.core.audio.reading import read

SMALL = 300_000  # bytes; larger ones are read once elsewhere
_FILES: dict[str, bytes] = {
    name: data
    for name, make in {**{n: v.make for n, v in VALID.items()}, **BROKEN}.items()
    if not name.startswith("million") and len(data := make()) <= SMALL
}
_NAMES = sorted(_FILES)
_STARTS = (
    *(b"", b"RIFF\xff\xff\xff\xffWAVE", b"RF64\xff\xff\xff\xffWAVEds64", b"ID3\x03\0\0\0\0\0\x10"),
    *(b.riff(b.FMT16), b.riff(b.FMT16, b.chunk(b"data", b"", 0)), b.mp3(1), b.mp3(3), b.xing(9, 9)),
    *(b.frame(0xFFE308C4, 100), b.riff(b.extensible(1, 2, 8_000, 16)), b"RIFX\0\0\0\0WAVEfmt "),
)
_CUTS = st.lists(st.integers(0, 1 << 20), max_size=30)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(at)]


def walk(name: str, pieces: list[bytes]) -> tuple[object, ...]:
    """Give the pieces to the walker itself, past the parser that collects small ones."""
    problems = ProblemList()
    walker: RiffWalker | MpegWalker
    if name in WAV_NAMES:
        walker = RiffWalker(name, problems, content=True)
    else:
        walker = MpegWalker(problems, content=True)
    mangle = MangleCheck()
    for piece in pieces:
        walker.feed(piece)
        mangle.feed(piece)
    return *walker.finish(), problems.as_tuple(), mangle.crlf, mangle.utf8


def walkers_agree(data: bytes, places: list[int]) -> None:
    name = sniff(data[:4096])
    kind = name if name in WAV_NAMES else "mp3"
    assert walk(kind, [data]) == walk(kind, cut(data, places))


@pytest.mark.parametrize("name", _NAMES)
def test_one_byte_at_a_time_gives_the_same_report(name: str) -> None:
    data = _FILES[name]
    whole = read(data)
    assert read(data, 1) == whole
    assert read(data, 4_099) == whole
    assert read(data, 16_384) == whole


@pytest.mark.parametrize("name", [name for name in _NAMES if len(_FILES[name]) < 40_000])
def test_the_walkers_need_no_particular_blocks(name: str) -> None:
    """Blocks of 1, 3 and 997 bytes reach the walkers uncollected."""
    data = _FILES[name]
    for size in (1, 3, 997):
        walkers_agree(data, list(range(0, len(data), size)))


@given(name=st.sampled_from(_NAMES), places=_CUTS)
@settings(deadline=None, max_examples=150)
def test_any_cut_gives_the_same_report(name: str, places: list[int]) -> None:
    data = _FILES[name]
    parser = AudioParser()
    for piece in cut(data, places):
        parser.feed(memoryview(piece))
    assert parser.finish() == read(data)
    walkers_agree(data, places)


@given(data=st.binary(max_size=3_000), start=st.sampled_from(_STARTS), places=_CUTS)
@settings(deadline=None, max_examples=300)
def test_random_bytes_never_raise(data: bytes, start: bytes, places: list[int]) -> None:
    data = start + data
    report = read(data)
    assert report.bytes == len(data)
    assert report == read(data, 7)
    walkers_agree(data, places)


@given(
    name=st.sampled_from(sorted(VALID)),
    patches=st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=5)), max_size=4),
    far=st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(max_size=300)), max_size=3),
    keep=st.integers(0, 1 << 20),
    places=_CUTS,
)
@settings(deadline=None, max_examples=400)
def test_mutated_recordings_never_raise(
    name: str,
    patches: list[tuple[int, bytes]],
    far: list[tuple[int, bytes]],
    keep: int,
    places: list[int],
) -> None:
    """Header bytes overwritten, others inserted, the end cut off."""
    data = _FILES[name]
    for at, field in patches:
        data = data[:at] + field + data[at + len(field) :]
    for at, more in far:
        data = data[: at % (len(data) + 1)] + more + data[at % (len(data) + 1) :]
    data = data[: keep % (len(data) + 1)] if keep % 3 else data
    report = read(data)
    assert report.bytes == len(data)
    assert 0 <= report.frames <= len(data) * 8 * 1152
    if report.silence_share is not None:
        assert 0 <= report.silence_share <= min(report.channel_silence_share) <= 1
    walkers_agree(data, places)


_ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "wav": (b.riff(b.FMT16, b.chunk(b"data", b"", 0xFFFFFFFF)), b.pcm() * 8 + bytes(6_144)),
    "alaw stereo": (
        b.riff(b.fmt(6, 2, 8_000, 8), b.chunk(b"data", b"", 0xFFFFFFFF)),
        b.encode(b.speech(2, 8), "pcm_alaw"),
    ),
    "mp3": (b.mp3(1), b.mp3(1_000)),
    "mp3 junk": (b.mp3(4), (b.mp3(2) + bytes(100)) * 300),
    "chunks": (b.riff(b.FMT16), b"JUNK\0\0\0\0" * 20_000),
    "giant chunk": (b.riff(b.chunk(b"LIST", b"", 60 << 20)), bytes(200_000)),
    "giant id3": (b.id3(0, (1 << 28) - 1), bytes(200_000)),
    "html": (b"<html>", b"<p>error</p>" * 20_000),
    "noise": (b"\x01", random.Random(3).randbytes(200_000)),
    "sync bytes": (b"\x01", b"\xff\xe3\x08\xc4" * 50_000),
}


@pytest.mark.parametrize("name", _ENDLESS)
def test_memory_is_one_block_and_a_few_kilobytes(name: str) -> None:
    """Forty blocks of some 200 KB leave less than 64 KB behind, and peak below three blocks."""
    head, block = _ENDLESS[name]
    parser = AudioParser()
    parser.feed(head)
    parser.feed(block)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(40):
            parser.feed(block)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 64 << 10
    assert peak - before < 3 * len(block)
    parser.finish()
