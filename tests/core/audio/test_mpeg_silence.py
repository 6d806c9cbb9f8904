"""How well silence is told in MP3 without decoding it, measured on real speech.

The judge is the sound that went in, window by window as for WAV; the encoder is LAME. The numbers
asserted are those that the docstring of ``mpeg_header`` promises, less a margin for LAME versions.
"""

import struct
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import pytest
import soxr  # type: ignore[import-untyped]

from ocp_ingest.core.audio.mpeg import MpegWalker
from ocp_ingest.core.audio.problems import ProblemList
from tests.core.audio.builders import hush, interleave, lame, talk
from tests.core.audio.reading import codes, read

Sound = npt.NDArray[np.float64]
ENCODER_DELAY = 1_105  # samples by which LAME's output lags: 576 + 529


@cache
def spoken(rate: int) -> Sound:
    """Half a minute of Spanish, English and French with a second of silence after each clip."""
    samples = files("pytest_audioeval") / "samples" / "audio"
    parts = []
    clips = [clip for language in ("es", "en", "fr") for clip in (samples / language).iterdir()]
    for clip in sorted(clips, key=str):
        if not clip.name.endswith(".wav"):
            continue
        data = clip.read_bytes()
        at = data.index(b"data")
        (size,) = struct.unpack_from("<I", data, at + 4)
        sound = np.frombuffer(data[at + 8 : at + 8 + size], "<f4").astype(float)
        parts += [sound / np.abs(sound).max() * 0.7, np.zeros(16_000)]
    return np.asarray(soxr.resample(np.concatenate(parts), 16_000, rate), dtype=float)


def heard_loud(data: bytes) -> list[bool]:
    """What the walker said of each frame, one channel."""
    walker = MpegWalker(ProblemList(), content=True)
    said: list[bool] = []
    heard = walker._heard

    def listen(loud: int, frames: int) -> None:
        said.extend([bool(loud)] * frames)
        heard(loud, frames)

    walker._heard = listen  # type: ignore[method-assign]
    walker.feed(data)
    walker.finish()
    return said


def agreement(rate: int, level: float, noise: float, **how: int) -> float:
    """The share of frames in which the walker and the judge agree."""
    rng = np.random.default_rng(1)
    sound = spoken(rate)
    pcm = np.clip(sound * level * 32_767 + rng.normal(0, noise, len(sound)), -32_768, 32_767)
    said = heard_loud(lame(tuple(int(sample) for sample in pcm), rate=rate, **how))
    agreed = total = 0
    for number, loud in enumerate(said):
        start = number * 576 - ENCODER_DELAY
        window = pcm[max(0, start) : start + 576]
        if start >= 0 and len(window) == 576:
            agreed += loud == bool((np.abs(window) >= 256).mean() > 0.01)
            total += 1
    assert total > 200
    return agreed / total


@pytest.mark.parametrize("noise", [0, 5, 18])
@pytest.mark.parametrize(
    "how", [{"kbps": 16}, {"kbps": 32}, {"kbps": 64}, {"vbr": 4}], ids=["16", "32", "64", "vbr"]
)
def test_normal_speech_agrees_in_nine_frames_of_ten(how: dict[str, int], noise: int) -> None:
    assert agreement(8_000, 1.0, noise, **how) > 0.92


@pytest.mark.parametrize("how", [{"kbps": 32}, {"vbr": 4}], ids=["32", "vbr"])
def test_wideband_speech_agrees_as_well(how: dict[str, int]) -> None:
    assert agreement(16_000, 1.0, 5, **how) > 0.92


@pytest.mark.parametrize("how", [{"kbps": 16}, {"vbr": 4}], ids=["16", "vbr"])
def test_quiet_speech_agrees_less(how: dict[str, int]) -> None:
    assert agreement(8_000, 0.2, 5, **how) > 0.85


@pytest.mark.parametrize("how", [{"kbps": 16}, {"kbps": 64}, {"vbr": 4}], ids=["16", "64", "vbr"])
def test_silence_and_line_noise_are_silent(how: dict[str, int]) -> None:
    """Digital silence always; noise of 12 of 32,768 (-69 dBFS) but for the first frames."""
    assert read(lame((0,) * 40_000, **how)).silence_share == 1
    share = read(lame(hush(10, noise=12), **how)).silence_share
    assert share is not None
    assert share > 0.98


@pytest.mark.parametrize("how", [{"kbps": 32}, {"vbr": 4}], ids=["32", "vbr"])
def test_dead_tail_and_hole_are_found_to_a_frame_or_two(how: dict[str, int]) -> None:
    samples = talk(3) + hush(4) + talk(2) + hush(12)
    report = read(lame(samples, **how))
    assert report.dead_tail_ms == pytest.approx(12_000, abs=400)
    (hole, _tail) = report.silent_runs
    assert hole[0] == pytest.approx(3_000, abs=300)
    assert hole[1] == pytest.approx(4_000, abs=300)
    assert codes(report) == {"dead_tail"}


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("how", [{"kbps": 32}, {"kbps": 64}, {"vbr": 4}], ids=["32", "64", "vbr"])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_one_way_calls_are_found_in_stereo(how: dict[str, int], side: int, rate: int) -> None:
    channels = [talk(6), hush(6)]
    report = read(lame(interleave(channels[side], channels[1 - side]), channels=2,
                       out_rate=rate, **how))  # fmt: skip
    assert report.channel_silence_share[1 - side] > 0.97
    assert report.channel_silence_share[side] < 0.05


def test_two_way_calls_are_not_one_way() -> None:
    left = talk(3) + hush(3) + talk(3)
    right = hush(3) + talk(3, seed=4) + hush(3)
    report = read(lame(interleave(left, right), channels=2, kbps=32))
    assert report.channel_silence_share == pytest.approx((1 / 3, 2 / 3), abs=0.06)
    assert report.silence_share == pytest.approx(0, abs=0.06)


def by_hand(word: int, first: bool, second: bool) -> bytes:
    """An MPEG-2.5 stereo frame of 144 bytes whose channels are loud or silent."""
    info = 0
    for number, loud in enumerate((first, second)):
        part = 500 << 51 | 20 << 42 | 180 << 34 if loud else 210 << 34
        info |= part << (136 - 10 - 63 * (number + 1))
    return (struct.pack(">I", word) + info.to_bytes(17)).ljust(144, b"\x55")


def test_mid_and_side_are_no_channels() -> None:
    """In M/S stereo a silent side means two equal channels; in L/R it means one of them."""
    left_right, mid_side = 0xFFE32804, 0xFFE32864
    assert read(by_hand(left_right, True, False) * 50).channel_silence_share == (0, 1)
    assert read(by_hand(left_right, False, True) * 50).channel_silence_share == (1, 0)
    assert read(by_hand(mid_side, True, False) * 50).channel_silence_share == (0, 0)
    assert read(by_hand(mid_side, False, False) * 50).channel_silence_share == (1, 1)
