"""Laws of the simulator's codecs: G.711 by the tables of the Recommendation, WAV and MP3 by others'
readers (libsndfile, mpg123)."""

import io
import struct

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]  # comes with the speech clips; an independent reader
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ocp_sim.audio_codecs import (
    g711_decode,
    g711_encode,
    mp3_encode,
    mp3_frames,
    wav_encode,
    wav_read,
)

Ints = NDArray[np.int64]
EVERY_SAMPLE = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16)


def _steps(start: int, *runs: tuple[int, int]) -> Ints:
    """Decision values: from `start` on, runs of (how many, how far apart)."""
    values = [start]
    for count, step in runs:
        values += [values[-1] + step * n for n in range(1, count + 1)]
    return np.array(values)


# ITU-T G.711, tables 1a and 2a: decision values of positive samples, in units of 1/4096 and 1/8159.
ALAW_DECISIONS = _steps(
    0, (32, 2), (16, 4), (16, 8), (16, 16), (16, 32), (16, 64), (15, 128)
)  # fmt: skip
MULAW_DECISIONS = np.concatenate(
    ([0], _steps(1, (15, 2), (16, 4), (16, 8), (16, 16), (16, 32), (16, 64), (16, 128), (15, 256)))
)


def _interval(magnitudes: Ints, decisions: Ints) -> Ints:
    return np.minimum(np.searchsorted(decisions, magnitudes, side="right") - 1, 127)


@pytest.mark.parametrize(
    ("law", "sample", "code"),
    [
        ("alaw", 0, 0xD5), ("alaw", -1, 0x55), ("alaw", 16, 0xD4), ("alaw", -17, 0x54),
        ("alaw", 1008, 0xFA), ("alaw", 1024, 0xE5),
        ("alaw", 32767, 0xAA), ("alaw", -32768, 0x2A),
        ("mulaw", 0, 0xFF), ("mulaw", -1, 0x7F), ("mulaw", 4, 0xFE), ("mulaw", -8, 0x7E),
        ("mulaw", 124, 0xEF), ("mulaw", 32767, 0x80), ("mulaw", -32768, 0x00),
    ],
)  # fmt: skip
def test_known_samples_have_their_known_code(law: str, sample: int, code: int) -> None:
    assert g711_encode(np.array([sample], np.int16), law) == bytes([code])


@pytest.mark.parametrize("law", ["alaw", "mulaw"])
def test_every_sample_falls_into_the_interval_of_the_recommendation(law: str) -> None:
    """Intervals are numbered from the quietest up; the line code of A-law toggles every other bit,
    that of µ-law all of them. Negative samples mirror the positive ones, as in ITU-T G.191."""
    linear = EVERY_SAMPLE.astype(np.int64)
    magnitudes = np.where(linear < 0, ~linear, linear) // 4  # of 8192
    sign = np.where(linear < 0, 0, 0x80)
    if law == "alaw":
        expected = (sign | _interval(magnitudes // 2, ALAW_DECISIONS)) ^ 0x55
    else:
        expected = sign | (127 - _interval(magnitudes, MULAW_DECISIONS))
    codes = np.frombuffer(g711_encode(EVERY_SAMPLE, law), np.uint8)
    assert (codes == expected).all()


@pytest.mark.parametrize("law", ["alaw", "mulaw"])
def test_decoding_then_encoding_gives_the_code_back(law: str) -> None:
    codes = bytes(range(256))
    again = bytearray(g711_encode(g711_decode(codes, law), law))
    if law == "mulaw":
        again[0x7F] = 0x7F  # the negative zero of µ-law comes back as the positive one
    assert bytes(again) == codes


@pytest.mark.parametrize(("law", "subtype"), [("alaw", "ALAW"), ("mulaw", "ULAW")])
def test_another_decoder_hears_the_same(law: str, subtype: str) -> None:
    data = wav_encode(EVERY_SAMPLE.reshape(-1, 2), law, 8000)
    with soundfile.SoundFile(io.BytesIO(data)) as other:
        assert (other.subtype, other.channels, other.samplerate) == (subtype, 2, 8000)
        heard = other.read(dtype="int16")
    own = g711_decode(g711_encode(EVERY_SAMPLE, law), law).reshape(-1, 2)
    assert (heard == own).all()


@settings(max_examples=30, deadline=None)
@given(
    codec=st.sampled_from(["pcm16", "alaw", "mulaw"]),
    channels=st.integers(1, 2),
    frames=st.integers(0, 50),
    rate_hz=st.sampled_from([8000, 11025, 16000, 48000]),
)
def test_a_wav_header_tells_the_truth(codec: str, channels: int, frames: int, rate_hz: int) -> None:
    width = 2 if codec == "pcm16" else 1
    data = wav_encode(np.ones((frames, channels), np.int16), codec, rate_hz)
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    fmt = struct.unpack_from("<HHIIHH", data, 20)
    tag = {"pcm16": 1, "alaw": 6, "mulaw": 7}[codec]
    align = channels * width
    assert fmt == (tag, channels, rate_hz, rate_hz * align, align, 8 * width)
    body = 44 if codec == "pcm16" else 58
    assert data[body - 8 : body - 4] == b"data"
    size = struct.unpack_from("<I", data, body - 4)[0]
    assert size == frames * align
    assert len(data) == body + size + size % 2
    if codec != "pcm16":
        assert data[38:46] == struct.pack("<4sI", b"fact", 4)
        assert struct.unpack_from("<I", data, 46)[0] == frames


@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"]
)
def test_voices_are_read_as_another_reader_reads_them(container: str, subtype: str) -> None:
    sound = np.random.default_rng(1).uniform(-0.9, 0.9, (999, 2))
    file = io.BytesIO()
    soundfile.write(file, sound, 11025, format=container, subtype=subtype)
    samples, rate_hz = wav_read(file.getvalue())
    file.seek(0)
    expected = soundfile.read(file)[0].mean(axis=1)
    assert rate_hz == 11025
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, expected, atol=1e-6)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"ID3" + bytes(99)])
def test_what_is_no_wav_is_no_voice(data: bytes) -> None:
    with pytest.raises(ValueError):
        wav_read(data)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("vbr", "tag"), [(False, False), (False, True), (True, True)])
def test_mp3_frames_fill_the_file_and_hold_the_sound(
    rate_hz: int, channels: int, vbr: bool, tag: bool
) -> None:
    """Frame after frame to the last byte; at most three more than the sound needs."""
    frames = 3 * rate_hz
    tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(frames) / rate_hz)
    pcm = np.repeat(tone[:, None], channels, axis=1).astype(np.int16)
    data = mp3_encode(pcm, rate_hz, kbps=32, vbr=vbr, tag=tag)
    walked = mp3_frames(data)
    assert walked[-1].offset + walked[-1].size == len(data)
    samples = 1152 if rate_hz > 24000 else 576
    sounding = len(walked) - tag
    assert frames <= sounding * samples <= frames + 4 * samples
    if tag:
        at = data.index(b"Xing" if vbr else b"Info", 0, 64)
        assert struct.unpack_from(">III", data, at + 4) == (7, sounding, len(data))
        seek = data[at + 16 : at + 116]
        assert list(seek) == sorted(seek)
        assert seek[-1] > 200
    heard, other_rate_hz = soundfile.read(io.BytesIO(data), always_2d=True)
    assert (other_rate_hz, heard.shape[1]) == (rate_hz, channels)
    assert frames <= len(heard) <= frames + 4 * samples
    spectrum = np.abs(np.fft.rfft(heard[rate_hz : 2 * rate_hz, 0]))
    assert int(spectrum.argmax()) == 440
