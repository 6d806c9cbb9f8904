"""Silence of uncompressed audio is measured as a sample-by-sample judge would measure it."""

import math
import struct
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocp_ingest.core.audio.problems import ProblemList
from ocp_ingest.core.audio.silence import RUNS_MAX, SilenceMeter
from tests.core.audio.builders import RATE, WAV_CODECS, encode, hush, interleave, talk, wav
from tests.core.audio.reading import codes, read

WINDOW = RATE // 10


def decode_alaw(byte: int) -> int:
    """ITU-T G.711, by its decision values, to 16 bits."""
    byte ^= 0x55
    exponent, mantissa = byte >> 4 & 7, byte & 15
    level = (mantissa << 4) + 8 if not exponent else ((mantissa << 4) + 264) << (exponent - 1)
    return level if byte & 0x80 else -level


def decode_mulaw(byte: int) -> int:
    byte ^= 0xFF
    exponent, mantissa = byte >> 4 & 7, byte & 15
    level = (((mantissa << 3) + 132) << exponent) - 132
    return -level if byte & 0x80 else level


def judge(samples: list[int]) -> float:
    """The share of silent windows of 100 ms: at most 1 % of the samples at 256 or more."""
    silent = 0
    for at in range(0, len(samples), WINDOW):
        window = samples[at : at + WINDOW]
        loud = sum(not -256 <= sample < 256 for sample in window)
        silent += len(window) * (loud <= len(window) // 100)
    return silent / len(samples)


def mixture(seed: int, seconds: int = 4) -> tuple[int, ...]:
    """Talk, hush and single clicks in pieces of odd lengths."""
    rng = Random(seed)
    out: list[int] = []
    while len(out) < (seconds + 1) * RATE:
        piece = rng.choice([talk(1, seed=seed % 5), hush(1), hush(1, noise=240), (0,) * RATE])
        out += piece[: rng.randrange(100, 5_000)]
        out.append(rng.choice([0, 20_000]))
    return tuple(out[: seconds * RATE + rng.choice([0, rng.randrange(50, WINDOW)])])


@pytest.mark.parametrize("codec", WAV_CODECS)
@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=8)
def test_the_share_is_that_of_a_judge_who_hears_every_sample(codec: str, seed: int) -> None:
    samples = mixture(seed)
    data = encode(samples, codec)
    heard = list(samples)
    if codec == "pcm_alaw":
        heard = [decode_alaw(byte) for byte in data]
    elif codec == "pcm_mulaw":
        heard = [decode_mulaw(byte) for byte in data]
    elif codec == "pcm_u8":
        # one step of 8 bits is the whole limit, and the quiet steps are -1, 0 and 1
        heard = [0 if -1 <= byte - 128 <= 1 else 9_999 for byte in data]
    elif codec.startswith("pcm_f"):
        heard = [sample if abs(sample) < 256 else 9_999 for sample in samples]
    report = read(wav(samples, codec))
    assert report.silence_share == pytest.approx(judge(heard), abs=1e-5)


@pytest.mark.parametrize("codec", WAV_CODECS)
def test_a_sample_is_loud_from_a_hundred_and_twenty_eighth_of_full_scale(codec: str) -> None:
    """Square waves on both sides of the limit; 8 bits and the two laws have coarser steps."""
    quiet, loud = {"pcm_u8": (256, 512), "pcm_alaw": (240, 262), "pcm_mulaw": (240, 262)}.get(
        codec, (255, 257)
    )
    assert read(wav((quiet, -quiet) * RATE, codec)).silence_share == 1
    assert read(wav((loud, -loud) * RATE, codec)).silence_share == 0


@pytest.mark.parametrize("codec", WAV_CODECS)
@pytest.mark.parametrize("clicks", [8, 9])
def test_one_sample_in_a_hundred_makes_no_sound(codec: str, clicks: int) -> None:
    """8 of the 800 samples of a window may be loud, wherever they stand, and 9 may not."""
    for at in (0, 60, 700):
        window = [0] * WINDOW
        window[at : at + 2 * clicks : 2] = [9_000] * clicks
        share = read(wav(tuple(window) * 10, codec)).silence_share
        assert share == (1 if clicks == 8 else 0)


@pytest.mark.parametrize("codec", WAV_CODECS)
def test_each_channel_has_its_own_share(codec: str) -> None:
    left, right, third = talk(3), hush(3), talk(1) + hush(2)
    report = read(wav(interleave(left, right, third), codec, 3))
    assert report.channel_silence_share == pytest.approx((0, 1, 2 / 3), abs=0.001)
    assert report.silence_share == 0
    assert codes(report) == {"silent_channel"}


@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw", "pcm_s16le"])
def test_runs_and_tail_stand_where_they_are(codec: str) -> None:
    samples = talk(1) + hush(2) + talk(1) + (0,) * RATE * 3 + talk(1) + hush(11)
    report = read(wav(samples, codec))
    assert report.silent_runs == ((1000, 2000), (4000, 3000), (8000, 11_000))
    assert report.longest_silence_ms == report.dead_tail_ms == 11_000
    assert codes(report) == {"dead_tail"}
    assert report.digital_zero_share == pytest.approx(3 / 19, abs=0.01)


@pytest.mark.parametrize("codec", WAV_CODECS)
def test_digital_zero_is_the_zero_of_the_codec(codec: str) -> None:
    report = read(wav((0,) * 4 * RATE, codec))
    assert (report.silence_share, report.digital_zero_share) == (1, 1)
    assert codes(report) == {"silent"}


@pytest.mark.parametrize("codec", WAV_CODECS)
def test_a_stuck_line_is_silent_however_high(codec: str) -> None:
    report = read(wav((9_000,) * 4 * RATE, codec))
    assert report.silence_share == 1
    assert codes(report) == {"silent", "constant_value"}


@pytest.mark.parametrize("hz", [50, 300, 1_000, 2_000, 2_666.6, 4_000])
@pytest.mark.parametrize("codec", WAV_CODECS)
def test_a_tone_is_no_silence(codec: str, hz: float) -> None:
    tone = tuple(int(8_000 * math.sin(2 * math.pi * hz * n / RATE + 0.7)) for n in range(2 * RATE))
    assert read(wav(tone, codec)).silence_share == 0


def test_floats_that_are_no_numbers_are_loud() -> None:
    data = bytearray(wav(hush(1), "pcm_f32le"))
    for odd in (math.nan, math.inf, -math.inf):
        data[44:] = (struct.pack("<f", odd) + struct.pack("<f", 0.0)) * 4_000
        assert read(bytes(data)).silence_share == 0


@pytest.mark.parametrize("run", [3_000, 8_000])
def test_zeros_in_g711_are_a_hole_only_when_long(run: int) -> None:
    data = encode(talk(4), "pcm_alaw")
    whole = wav(talk(4), "pcm_alaw")
    holed = whole[:44] + data[:9_000] + bytes(run) + data[9_000 + run :]
    assert ("zero_filled" in codes(read(holed))) == (run >= 4_096 + 2 * WINDOW)


@given(
    runs=st.lists(st.tuples(st.booleans(), st.integers(1, 40_000)), min_size=1, max_size=300),
)
@settings(deadline=None, max_examples=60)
def test_the_meter_keeps_the_longest_runs(runs: list[tuple[bool, int]]) -> None:
    meter = SilenceMeter(1, RATE)
    merged: list[list[int]] = []
    at = 0
    last = False
    for silent, frames in runs:
        meter.add(int(silent), frames)
        if silent and last:
            merged[-1][1] += frames
        elif silent:
            merged.append([at, frames])
        last = silent
        at += frames
    loud = meter.result(ProblemList())
    assert loud.longest_silence_ms == round(max((n for _, n in merged), default=0) / 8 + 1e-9)
    longest = sorted((n for _, n in merged if n >= RATE), reverse=True)[:RUNS_MAX]
    assert sorted((n for _, n in loud.silent_runs), reverse=True) == [
        round(n / 8 + 1e-9) for n in longest
    ]
    assert list(loud.silent_runs) == sorted(loud.silent_runs)
    assert loud.dead_tail_ms == (round(merged[-1][1] / 8 + 1e-9) if last else 0)


def test_of_more_than_sixty_four_runs_the_longest_are_kept() -> None:
    meter = SilenceMeter(1, RATE)
    for number in range(100):
        meter.add(1, RATE * (1 + number * 37 % 100))
        meter.add(0, RATE)
    kept = meter.result(ProblemList()).silent_runs
    assert sorted(length_ms for _, length_ms in kept) == [1000 * n for n in range(37, 101)]
    assert kept == tuple(sorted(kept))
