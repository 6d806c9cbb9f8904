"""Every way to be broken is told by its code, in a sentence, and never by an exception."""

import time
from collections.abc import Iterable

import pytest

from ocp_ingest.core.audio import AudioParser, AudioReport
from ocp_ingest.core.audio.problems import TABLE, ProblemList
from tests.audio_corpus import BROKEN, BROKEN_CODES, UNDETECTABLE, VALID
from tests.core.audio.builders import FMT16, chunk, mp3, pcm, riff, speech, wav, xing
from tests.core.audio.reading import codes, read

MIB = 1 << 20


def stream(blocks: Iterable[bytes | memoryview]) -> AudioReport:
    parser = AudioParser(hash=False)
    for block in blocks:
        parser.feed(block)
    return parser.finish()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_recording_yields_its_codes(name: str) -> None:
    report = read(BROKEN[name]())
    assert set(BROKEN_CODES[name]) <= codes(report)
    errors = [problem for problem in report.problems if problem.severity == "error"]
    assert report.ok == (not errors)
    for problem in report.problems:
        assert problem.text.endswith(".")
        assert "{" not in problem.text
        assert len(problem.text) > 25


@pytest.mark.parametrize("name", BROKEN)
def test_nothing_is_found_that_is_not_there(name: str) -> None:
    """Beyond the codes of the table, only consequences of the same damage."""
    consequences = {
        *("no_data", "streaming_header", "bad_block_align", "trailing_bytes", "bad_bits"),
        *("bad_chunk", "damaged_frames"),
    }
    assert codes(read(BROKEN[name]())) <= set(BROKEN_CODES[name]) | consequences


@pytest.mark.parametrize("name", UNDETECTABLE)
def test_what_no_file_shows_is_found_by_the_announced_length(name: str) -> None:
    data = UNDETECTABLE[name]()
    assert read(data).ok
    assert codes(read(data, expected_bytes=len(data) + 1)) >= {"length_mismatch"}


@pytest.mark.parametrize("percent", [10, 50, 90, 99])
@pytest.mark.parametrize("name", [n for n, v in VALID.items() if v.container != "mp3"])
def test_a_cut_wav_is_never_ok_unless_its_header_was_open(name: str, percent: int) -> None:
    data = VALID[name].make()
    if name == "list_after_data" and percent == 99:
        percent = 98  # inside the audio
    report = read(data[: len(data) * percent // 100])
    assert "truncated" in codes(report) or report.streaming_header
    assert report.duration_ms is not None
    assert report.duration_ms < VALID[name].duration_ms


def test_a_truncated_report_keeps_both_durations() -> None:
    report = read(BROKEN["cut_pcm16_50"]())
    assert report.declared_duration_ms == 2000
    assert report.duration_ms is not None
    assert 990 < report.duration_ms < 1010
    (problem,) = report.problems
    assert problem.text.startswith("The recording is cut: 15,985 of 32,000 bytes are missing")


@pytest.mark.parametrize("whole", [1, 19, 38, 39])
@pytest.mark.parametrize("more", [0, 1, 3, 70, 143])
def test_a_cut_mp3_counts_its_whole_frames(whole: int, more: int) -> None:
    data = xing(40, 41 * 144) + mp3(40)
    report = read(data[: 144 * (1 + whole) + more])
    assert report.duration_ms == 72 * whole
    assert report.declared_duration_ms == 2880
    assert "truncated" in codes(report)
    assert not report.ok
    without_xing = read(data[144 : 144 * (1 + whole) + more])
    assert report.bit_rate_bps == without_xing.bit_rate_bps == 16_000
    assert without_xing.duration_ms == 72 * whole
    assert ("truncated" in codes(without_xing)) == (more > 0)


def test_two_frames_less_than_promised_are_a_cut_and_one_less_is_not() -> None:
    assert codes(read(xing(42, None) + mp3(40))) == {"truncated"}
    assert codes(read(xing(41, None) + mp3(40))) == set()
    assert codes(read(xing(41, 42 * 144) + mp3(40))) == {"truncated"}


def test_a_frame_behind_junk_counts_only_when_others_or_the_end_follow() -> None:
    whole = mp3(200) + bytes([1]) * 50 + mp3(1)
    assert codes(read(whole)) == {"resync"}
    assert codes(read(whole[:-40])) == {"trailing_bytes"}


def test_every_code_of_the_table_is_reached() -> None:
    """A code that nothing yields is a sentence that nobody tested."""
    found = {code for expected in BROKEN_CODES.values() for code in expected}
    families = {code.split(".")[0] + ".*" if "." in code else code for code in found}
    beyond_the_corpus = {"length_mismatch", "size_wrapped"}  # the tests of this file
    assert families | beyond_the_corpus == set(TABLE)


def test_a_code_without_a_row_is_a_bug() -> None:
    with pytest.raises(KeyError):
        ProblemList().add("never_heard_of")


def test_sixty_four_megabytes_before_the_audio_are_the_limit() -> None:
    def junk(chunks: int) -> Iterable[bytes]:
        yield riff(FMT16, size=0xFFFFFFFF)
        for _ in range(chunks):
            yield chunk(b"JUNK", bytes(MIB))
        yield chunk(b"data", pcm())

    assert stream(junk(63)).ok
    assert codes(stream(junk(65))) == {"header_too_long"}


def test_a_hundred_megabytes_of_zeros_behind_the_audio_are_a_warning() -> None:
    zeros = bytes(MIB)
    for whole in (wav(speech()), mp3(40)):
        report = stream([whole, *[zeros] * 100])
        assert codes(report) == {"trailing_zeros"}
        assert report.duration_ms in (2000, 2880)


def test_sizes_wrapped_at_four_gigabytes_are_recognised() -> None:
    """5 GiB of audio under a 32-bit size: its lower half is what the header says."""
    size = 5 << 30
    head = riff(FMT16, chunk(b"data", b"", size & 0xFFFFFFFF), size=size & 0xFFFFFFFF)
    zeros = memoryview(bytes(16 * MIB))
    parser = AudioParser(hash=False, content=False)
    parser.feed(head)
    for _ in range(size // len(zeros)):
        parser.feed(zeros)
    report = parser.finish()
    assert codes(report) == {"size_wrapped"}
    assert "1,073,741,824" in report.problems[0].text


@pytest.mark.parametrize(
    "hostile",
    [
        b"\xff" * (4 * MIB),
        b"\xff\xfb\x90\x00" * MIB,
        b"\xff\xe3\x08\xc4" * MIB,
        b"\xff\xe3\x28\xc4" * MIB,
        b"ID3\x04\x00\x00\x00\x00\x00\x00" * (MIB // 4),
        mp3(2) + (b"\xff\xe3\x28\xc4" + bytes(160)) * (MIB // 64),
        mp3(2) + b"TAG" * MIB,
        mp3(2) + b"LYRICSBEGIN" * (MIB // 4),
        b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\x00\x00\x00\x00" * (MIB // 2),
        wav(speech()) + b"LIST\x00\x00\x00\x00" * (MIB // 2),
        b"\r\n" * (2 * MIB),
        "é".encode() * (2 * MIB),
    ],
    ids=range(12),
)
def test_time_is_linear_in_hostile_bytes(hostile: bytes) -> None:
    began = time.perf_counter()
    read(hostile)
    assert time.perf_counter() - began < 8  # seconds; the slowest takes under 2 alone
