"""A whole recording is told exactly: what it is, how long, and that nothing is wrong with it."""

import hashlib
import io
import wave
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio_corpus import VALID
from tests.core.audio.reading import codes, read


@pytest.mark.parametrize("name", VALID)
def test_the_truth_is_found(name: str) -> None:
    valid = VALID[name]
    data = valid.make()
    report = read(data, expected_bytes=len(data))
    assert report.ok
    assert codes(report) == set(valid.warnings)
    assert (report.container, report.codec) == (valid.container, valid.codec)
    assert report.sample_rate_hz == valid.rate_hz
    assert (report.channels, report.bits_per_sample) == (valid.channels, valid.bits)
    assert report.duration_ms is not None
    assert abs(report.duration_ms - valid.duration_ms) <= valid.slack_ms
    assert report.bytes == len(data)
    assert report.sha256 == hashlib.sha256(data).hexdigest()
    assert report.streaming_header == ("streaming_header" in valid.warnings)
    assert report.silence_share is not None
    assert report.silence_share < 0.05
    assert len(report.channel_silence_share) == valid.channels


@pytest.mark.parametrize("name", VALID)
def test_the_declared_duration_is_the_measured_one_or_unknown(name: str) -> None:
    report = read(VALID[name].make())
    if report.streaming_header:
        assert report.declared_duration_ms is None
    elif report.container != "mp3" or "xing" in name or "info" in name or "vbri" in name:
        assert report.declared_duration_ms == report.duration_ms


@pytest.mark.parametrize("name", VALID)
def test_the_door_walks_the_header_alone_and_agrees(name: str) -> None:
    data = VALID[name].make()
    whole, door = read(data), read(data, content=False)
    assert (door.container, door.codec) == (whole.container, whole.codec)
    assert (door.sample_rate_hz, door.channels) == (whole.sample_rate_hz, whole.channels)
    assert door.silence_share is None
    assert door.duration_ms == (None if whole.container == "mp3" else whole.duration_ms)
    assert (door.ok, door.sha256) == (True, whole.sha256)


@given(
    channels=st.integers(1, 8),
    width=st.integers(1, 4),
    rate=st.integers(4_000, 192_000),
    frames=st.integers(1, 3_000),
    seed=st.randoms(use_true_random=False),
)
def test_pcm_agrees_with_the_wave_module(
    channels: int, width: int, rate: int, frames: int, seed: Random
) -> None:
    data = seed.randbytes(channels * width * frames)
    out = io.BytesIO()
    with wave.open(out, "wb") as writer:
        writer.setparams((channels, width, rate, frames, "NONE", ""))
        writer.writeframes(data)
    report = read(out.getvalue())
    with wave.open(io.BytesIO(out.getvalue())) as reader:
        assert report.channels == reader.getnchannels()
        assert report.bits_per_sample == reader.getsampwidth() * 8
        assert report.sample_rate_hz == reader.getframerate()
        assert report.frames == reader.getnframes() == frames
    assert report.ok
    assert report.duration_ms == round(frames * 1000 / rate + 1e-9)
    assert report.bit_rate_bps == rate * channels * width * 8
