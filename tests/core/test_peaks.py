"""The envelope shows each sound where it is and as high as it is, however its bytes arrive."""

from __future__ import annotations

import math
import struct
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocp_ingest.core.audio.peaks import MIDDLE, PAIR_FRAMES_MIN, PAIRS_MAX, PeakReader, Waveform
from tests.audio_corpus import BROKEN, VALID
from tests.core.audio.builders import (
    FMT16,
    RATE,
    WAV_CODECS,
    big_endian,
    chunk,
    encode,
    fmt,
    hush,
    interleave,
    lame,
    pcm,
    rf64,
    riff,
    talk,
    wav,
)
from tests.core.audio.test_mpeg_silence import by_hand

STEP = 1 / 128  # of full scale


def draw(data: bytes, block: int = 0) -> Waveform | None:
    reader = PeakReader()
    for at in range(0, len(data), block or len(data) or 1):
        reader.feed(data[at : at + block] if block else data)
    return reader.finish()


def drawn(data: bytes, block: int = 0) -> Waveform:
    found = draw(data, block)
    assert found is not None
    return found


def level(byte: int) -> float:
    return (byte - MIDDLE) / MIDDLE


def true_pairs(channel: tuple[int, ...], pair_frames: int) -> list[tuple[float, float]]:
    parts = [channel[at : at + pair_frames] for at in range(0, len(channel), pair_frames)]
    return [(min(part) / 32_768, max(part) / 32_768) for part in parts]


def assert_shows(found: Waveform, number: int, channel: tuple[int, ...], slack: float) -> None:
    truth = true_pairs(channel, found.pair_frames)
    shown = list(zip(found.lows[number], found.highs[number], strict=True))
    assert len(shown) == len(truth)
    for (low, high), (lowest, highest) in zip(shown, truth, strict=True):
        assert level(low) == pytest.approx(lowest, abs=slack)
        assert level(high) == pytest.approx(highest, abs=slack)


# G.711 keeps 5 bits of a sample: within 1/32 of its height; one step more for the picture.
SLACK = {"pcm_alaw": 1 / 32 + STEP, "pcm_mulaw": 1 / 32 + STEP}


@pytest.mark.parametrize("codec", WAV_CODECS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_pair_shows_the_lowest_and_the_highest_sample_of_its_time(
    codec: str, channels: int
) -> None:
    tracks = [talk(1.5, seed=n + 1) + hush(0.5, seed=n + 1) for n in range(channels)]
    found = drawn(wav(interleave(*tracks), codec, channels))
    assert (len(found.lows), found.frames, found.rate_hz) == (channels, len(tracks[0]), RATE)
    assert found.duration_ms == 2_000
    assert not found.estimated
    for number, track in enumerate(tracks):
        assert_shows(found, number, track, SLACK.get(codec, STEP))


@pytest.mark.parametrize("make", [big_endian, lambda: rf64(pcm())], ids=["rifx", "rf64"])
def test_the_other_containers_show_the_same(make: object) -> None:
    found = drawn(make())  # type: ignore[operator]
    assert_shows(found, 0, talk(2), STEP)


def test_big_endian_floats_are_turned_round() -> None:
    samples = talk(1)
    body = struct.pack(f">{len(samples)}f", *(s / 32_768 for s in samples))
    data = chunk(b"data", body, order=">")
    found = drawn(riff(fmt(3, 1, RATE, 32, order=">"), data, magic=b"RIFX", order=">"))
    assert_shows(found, 0, samples, STEP)


@given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=5 * PAIR_FRAMES_MIN),
       st.sampled_from(sorted(WAV_CODECS)))  # fmt: skip
def test_any_samples_are_shown(samples: list[int], codec: str) -> None:
    found = drawn(wav(tuple(samples), codec))
    assert_shows(found, 0, tuple(samples), SLACK.get(codec, STEP))


@settings(deadline=None)
@given(st.integers(1, 700), st.sampled_from(["pcm_s24le", "pcm_alaw", "pcm_f64le"]),
       st.integers(1, 2))  # fmt: skip
def test_any_cut_into_blocks_gives_the_same(block: int, codec: str, channels: int) -> None:
    whole = wav(interleave(*(talk(0.7, seed=n + 1) for n in range(channels))), codec, channels)
    assert draw(whole, block) == draw(whole)


@pytest.mark.parametrize("name", sorted(VALID))
@pytest.mark.parametrize("block", [1_000, 65_536])
def test_whole_recordings_of_every_kind_are_drawn_alike_however_cut(name: str, block: int) -> None:
    data = VALID[name].make()
    whole = drawn(data)
    assert draw(data, block) == whole
    assert len(whole.lows[0]) == len(whole.highs[0]) == math.ceil(whole.frames / whole.pair_frames)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_is_broken_is_drawn_as_far_as_it_is_audio_and_raises_nothing(name: str) -> None:
    data = BROKEN[name]()
    assert draw(data, 777) == draw(data)


def test_what_is_no_audio_is_not_drawn() -> None:
    assert draw(b"") is None
    assert draw(b"<html><body>502 Bad Gateway</body></html>" * 300) is None
    assert draw(wav(())) is None


def test_numbers_that_are_none_count_as_silence_and_what_is_too_loud_is_full_scale() -> None:
    body = struct.pack("<6f", float("nan"), 0.5, float("inf"), float("-inf"), 7.0, -0.25)
    found = drawn(riff(fmt(3, 1, RATE, 32), chunk(b"data", body)))
    assert (found.lows[0], found.highs[0]) == (b"\x00", b"\xff")
    quiet = drawn(riff(fmt(3, 1, RATE, 32), chunk(b"data", struct.pack("<f", float("nan")))))
    assert (quiet.lows[0], quiet.highs[0]) == (bytes([MIDDLE]), bytes([MIDDLE]))


def test_pairs_are_joined_so_that_their_number_is_bounded_and_nothing_is_lost() -> None:
    """A click of one sample stays visible however long the recording is."""
    frames = PAIRS_MAX * PAIR_FRAMES_MIN * 5
    body = bytearray(frames * 2)
    at = frames * 2 // 3
    struct.pack_into("<h", body, at * 2, 20_000)
    found = drawn(riff(FMT16, chunk(b"data", bytes(body))))
    assert PAIRS_MAX // 2 <= len(found.highs[0]) <= PAIRS_MAX
    assert found.pair_frames == PAIR_FRAMES_MIN * 8
    high = [n for n, byte in enumerate(found.highs[0]) if byte > MIDDLE]
    assert high == [at // found.pair_frames]
    assert level(found.highs[0][high[0]]) == pytest.approx(20_000 / 32_768, abs=STEP)


def test_an_hour_takes_three_seconds_at_most_and_constant_memory() -> None:
    """1 h at 8 kHz, 16 bits, mono: 57.6 MB. Measured: 0.4 s."""
    block = encode(talk(16), "pcm_s16le")
    reader = PeakReader()
    head = riff(FMT16, chunk(b"data", b"", 57_600_000), size=57_600_036)
    reader.feed(head)
    started_s = time.process_time()
    for number in range(225):
        reader.feed(block)
        if number == 10:
            tracemalloc.start()
    taken_s = time.process_time() - started_s
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found = reader.finish()
    assert found is not None
    assert found.duration_ms == 3_600_000
    assert taken_s < 3
    assert most < 2_000_000


# -- MP3 -------------------------------------------------------------------------------------------


def test_mp3_shows_where_somebody_speaks_and_says_that_it_is_an_estimate() -> None:
    found = drawn(lame(talk(4) + (0,) * (4 * RATE) + talk(4), kbps=32))
    assert found.estimated
    assert found.pair_frames == 576
    assert found.duration_ms == pytest.approx(12_000, abs=300)
    loud = [high > MIDDLE + 2 for high in found.highs[0]]
    third = len(loud) // 3
    assert all(loud[3 : third - 3])
    assert not any(loud[third + 5 : 2 * third - 5])
    assert all(loud[2 * third + 5 : -5])
    assert all(MIDDLE - low == high - MIDDLE for low, high in
               zip(found.lows[0], found.highs[0], strict=True))  # fmt: skip


def test_mp3_tells_quiet_from_loud() -> None:
    loud = drawn(lame(talk(6), kbps=32)).highs[0]
    quiet = drawn(lame(talk(6, peak=2_000), kbps=32)).highs[0]
    assert sum(loud) / len(loud) - MIDDLE > 1.5 * (sum(quiet) / len(quiet) - MIDDLE)


@pytest.mark.parametrize("side", [0, 1])
def test_mp3_channels_are_drawn_apart(side: int) -> None:
    tracks = [talk(6), (0,) * (6 * RATE)]
    found = drawn(lame(interleave(tracks[side], tracks[1 - side]), channels=2, kbps=64))
    loud = [sum(high > MIDDLE + 2 for high in highs) for highs in found.highs]
    assert loud[side] > 0.9 * len(found.highs[0])
    assert loud[1 - side] < 0.1 * len(found.highs[0])


def test_mid_and_side_are_no_channels() -> None:
    """In M/S stereo a silent side means two equal channels; in L/R it means one of them."""
    apart = drawn(by_hand(0xFFE32804, True, False) * 50)
    together = drawn(by_hand(0xFFE32864, True, False) * 50)
    assert (max(apart.highs[0]) > MIDDLE, max(apart.highs[1]) > MIDDLE) == (True, False)
    assert together.highs[0] == together.highs[1]
    assert min(together.highs[0]) > MIDDLE


def test_line_noise_in_mp3_is_drawn_as_silence() -> None:
    found = drawn(lame(hush(10, noise=12), kbps=32))
    assert sum(high > MIDDLE for high in found.highs[0]) <= 3


def test_a_long_mp3_is_joined_too() -> None:
    one = lame(talk(4), kbps=16)
    found = drawn(one * 60)
    assert PAIRS_MAX // 2 <= len(found.highs[0]) <= PAIRS_MAX
    assert found.pair_frames in [576 * 2**n for n in range(1, 6)]
