"""Call recordings laid out from real speech: two people, in turn, through a telephone line.

How a recording comes about, each step a pure function of (spec, seed, voices):

    voices   clips → silence at both ends cut off → resampled → 300–3400 Hz → levelled → int16
    line     faint noise of the same band on every channel: a live line is never digital zero
    turns    agent, pause, customer, pause, agent … to the very end; both are heard in any length
    mutes    digital silence of the codec, cut into the conversation; the talk goes on after it
    codec    WAV (PCM 16, A-law, µ-law) or MP3 (16–32 kbit/s below 32 kHz; CBR, with Info, or Xing)

Laws: a WAV has exactly round(duration × rate) frames, an MP3 those plus at most three MPEG frames;
agent left and customer right, or both in one channel; the same bytes for the same arguments, on one
build of numpy, soxr and LAME; whatever is not muted is heard. Memory: up to four times the PCM.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import soxr  # type: ignore[import-untyped]

from ocp_sim.audio_codecs import (
    MP3_SAMPLE_RATES_HZ,
    WAV_TAGS,
    Float32,
    Int16,
    mp3_encode,
    wav_encode,
    wav_read,
)
from ocp_sim.audio_faults import CORRUPTIONS, RULE_BREAKERS, corrupt

__all__ = [
    "CORRUPTIONS", "RULE_BREAKERS", "AudioSpec", "Clip", "Voices", "corrupt", "load_voices",
    "render", "trim",
]  # fmt: skip

CODECS: Final = (*WAV_TAGS, "mp3")
PCM_BYTES_MAX: Final = 1 << 30  # one recording is built in memory: 4.6 h of stereo at 16 kHz
SAMPLE_RATES_HZ: Final = (8_000, 48_000)  # telephone band needs 8 kHz; MPEG ends at 48 kHz

CLIP_S_MIN: Final = 0.3  # shorter ones are clicks and beeps
CLIP_RMS_MIN: Final = 0.003  # -50 dBFS: the silence prompts of a PBX
VOICES_S_MAX: Final = 3_600.0  # of speech taken from one folder: 115 MB at 8 kHz
VOICE_FILE_BYTES_MAX: Final = 64 << 20

BAND_HZ: Final = (300.0, 3_400.0)  # ITU-T G.712
BAND_EDGE_HZ: Final = 100.0  # width of the slopes, inside the band
SPEECH_RMS: Final = 0.1  # -20 dBFS, a well-set telephone
SPEECH_PEAK: Final = 0.45  # two people and the line never overflow 16 bits
NOISE_RMS: Final = 24.0  # of 32768: -63 dBFS
NOISE_S: Final = 4

LEAD_S_MAX: Final = 0.4
TURN_S_MAX: Final = 8.0
PAUSE_S: Final = (0.15, 0.9)
FADE_S: Final = 0.005


class AudioSpec(NamedTuple):
    """What a recording shall be: codec ("pcm16", "alaw", "mulaw", "mp3"), 1 or 2 channels, length.

    `mutes` are muted (sensitive) stretches (start_ms, length_ms), in order and apart.
    """

    codec: str
    channels: int
    sample_rate_hz: int
    duration_ms: int
    mutes: tuple[tuple[int, int], ...]


class Clip(NamedTuple):
    """One utterance: float32 mono in -1..1; clips of one group (a folder, a language) go along."""

    name: str
    group: str
    sample_rate_hz: int
    samples: Float32


class Voices:
    """Speech clips, brought to telephone quality for a sample rate when first asked for."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        """Take the clips, in their order; ValueError when there is none."""
        if not clips:
            raise ValueError("no speech: not one usable clip")
        self.clips: Final = tuple(clips)
        self._telephone: dict[tuple[int, int], Int16] = {}
        self._noise: dict[int, Int16] = {}

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the clips, group by group."""
        members: dict[str, list[int]] = {}
        for index, clip in enumerate(self.clips):
            members.setdefault(clip.group, []).append(index)
        return tuple(tuple(indices) for indices in members.values())

    @cached_property
    def group_seconds(self) -> tuple[float, ...]:
        """Seconds of speech in each group."""
        seconds = [clip.samples.size / clip.sample_rate_hz for clip in self.clips]
        return tuple(sum(seconds[index] for index in group) for group in self.groups)

    def telephone(self, index: int, sample_rate_hz: int) -> Int16:
        """Return one clip as it sounds at the far end of a line, at this rate."""
        key = (index, sample_rate_hz)
        if key not in self._telephone:
            clip = self.clips[index]
            speech = _without_edges(clip.samples)
            if clip.sample_rate_hz != sample_rate_hz:
                speech = soxr.resample(speech, clip.sample_rate_hz, sample_rate_hz)
            speech = _band_limited(speech, sample_rate_hz)
            gain = min(SPEECH_RMS / _rms(speech), SPEECH_PEAK / float(np.abs(speech).max()))
            self._telephone[key] = np.rint(speech * (gain * 32767)).astype(np.int16)
        return self._telephone[key]

    def line_noise(self, sample_rate_hz: int) -> Int16:
        """Return some seconds of an open line at this rate."""
        if sample_rate_hz not in self._noise:
            source = _chance("line", sample_rate_hz)
            raw = np.frombuffer(source.randbytes(2 * NOISE_S * sample_rate_hz), "<i2")
            hiss = _band_limited(raw.astype(np.float32), sample_rate_hz)
            self._noise[sample_rate_hz] = np.rint(hiss * (NOISE_RMS / _rms(hiss))).astype(np.int16)
        return self._noise[sample_rate_hz]


def load_voices(folder: Path | None) -> Voices:
    """Load every usable WAV under `folder`, or the clips of the package pytest-audioeval.

    Files that are not WAV of a known codec, silent ones and mere clicks are passed over; so is what
    goes beyond an hour of speech. FileNotFoundError without folder or package, ValueError when
    nothing usable is there.
    """
    if folder is None:
        root, files = _packaged_clips()
    else:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder of voices at {folder}")
        root = folder
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".wav")
    return Voices(list(_usable(root, files)))


def render(spec: AudioSpec, seed: int, voices: Voices) -> bytes:
    """Return the recording as a file, under the laws above; ValueError for an impossible spec."""
    _check(spec)
    rate_hz = spec.sample_rate_hz
    frames = round(spec.duration_ms * rate_hz / 1000)
    chance = _chance("render", seed)
    stretches = _audible(spec, frames)
    audible = sum(stop - start for start, stop in stretches)
    if audible == 0:
        raise ValueError("nothing to hear: the mutes cover the whole recording")
    pcm = _line(audible, spec, seed, voices)
    _talk(pcm, rate_hz, chance, voices)
    if audible < frames:
        talk, pcm, said = pcm, np.zeros((frames, spec.channels), np.int16), 0
        for start, stop in stretches:
            pcm[start:stop] = talk[said : said + stop - start]
            said += stop - start
    if spec.codec != "mp3":
        return wav_encode(pcm, spec.codec, rate_hz)
    vbr, tag = chance.choice(((False, False), (False, False), (False, True), (True, True)))
    return mp3_encode(pcm, rate_hz, kbps=_kbps(spec, chance), vbr=vbr, tag=tag)


def trim(spec: AudioSpec, share: float) -> AudioSpec:
    """Return the spec with `share` of its length (0 < share ≤ 0.99) taken away, as OCP does.

    Mutes shrink and move with it: what was partly audible stays so.
    """
    if not 0 < share <= 0.99:
        raise ValueError(f"share {share} is not in (0, 0.99]")
    keep = 1 - share
    duration_ms = max(1, min(spec.duration_ms - 1, math.ceil(spec.duration_ms * keep)))
    mutes = ((int(start * keep), int(length * keep)) for start, length in spec.mutes)
    return spec._replace(duration_ms=duration_ms, mutes=tuple(m for m in mutes if m[1] > 0))


# ---- the conversation --------------------------------------------------------------------------


def _audible(spec: AudioSpec, frames: int) -> list[tuple[int, int]]:
    """Return the stretches between the mutes, in frames."""
    stretches, start = [], 0
    for mute_ms, length_ms in spec.mutes:
        stop = min(mute_ms * spec.sample_rate_hz // 1000, frames)
        stretches.append((start, stop))
        start = min((mute_ms + length_ms) * spec.sample_rate_hz // 1000, frames)
    return [*stretches, (start, frames)]


class _Turn(NamedTuple):
    start: int  # frame
    speaker: int  # 0 agent, 1 customer
    speech: Int16


def _line(frames: int, spec: AudioSpec, seed: int, voices: Voices) -> Int16:
    # Its own chance: the talk is the same in one channel and in two.
    chance = _chance("hiss", seed)
    noise = voices.line_noise(spec.sample_rate_hz)
    pcm = np.empty((frames, spec.channels), np.int16)
    for channel in range(spec.channels):
        pcm[:, channel] = np.resize(np.roll(noise, -chance.randrange(noise.size)), frames)
    return pcm


def _talk(pcm: Int16, rate_hz: int, chance: random.Random, voices: Voices) -> None:
    frames, channels = pcm.shape
    gains = (chance.uniform(0.75, 1.0), chance.uniform(0.55, 0.9))
    for turn in _turns(frames, rate_hz, chance, voices):
        speech = _faded(turn.speech * np.float32(gains[turn.speaker]), rate_hz)
        channel = min(turn.speaker, channels - 1)
        pcm[turn.start : turn.start + speech.size, channel] += np.rint(speech).astype(np.int16)


def _turns(frames: int, rate_hz: int, chance: random.Random, voices: Voices) -> Iterator[_Turn]:
    """Yield turns from the start to the last frame.

    Lead, turn and pause are bounded by shares of the whole too (5, 40 and 10 %), so that the second
    speaker begins before 55 % however short the recording is.
    """
    (group,) = chance.choices(voices.groups, voices.group_seconds)
    longest = max(1, min(round(TURN_S_MAX * rate_hz), frames * 2 // 5))
    at = min(round(chance.uniform(0, LEAD_S_MAX) * rate_hz), frames // 20)
    speaker = 0
    while at < frames:
        clip = voices.telephone(chance.choice(group), rate_hz)
        speech = clip[: min(longest, frames - at)]
        yield _Turn(at, speaker, speech)
        at += speech.size + min(round(chance.uniform(*PAUSE_S) * rate_hz), frames // 10)
        speaker ^= 1


def _faded(speech: Float32, rate_hz: int) -> Float32:
    length = min(round(FADE_S * rate_hz), speech.size // 2)
    if length:
        ramp = np.linspace(0, 1, length, endpoint=False, dtype=np.float32)
        speech[:length] *= ramp
        speech[-length:] *= ramp[::-1]
    return speech


def _kbps(spec: AudioSpec, chance: random.Random) -> int:
    if spec.sample_rate_hz >= 32_000:  # MPEG-1 begins at 32
        return 32 * spec.channels
    return chance.choice((24, 32) if spec.channels == 2 else (16, 24, 32))


def _check(spec: AudioSpec) -> None:
    if spec.codec not in CODECS:
        raise ValueError(f"codec {spec.codec!r} is none of {', '.join(CODECS)}")
    if spec.channels not in (1, 2):
        raise ValueError(f"{spec.channels} channels: a call has one or two")
    if not SAMPLE_RATES_HZ[0] <= spec.sample_rate_hz <= SAMPLE_RATES_HZ[1]:
        raise ValueError(f"{spec.sample_rate_hz} Hz is not within {SAMPLE_RATES_HZ}")
    if spec.codec == "mp3" and spec.sample_rate_hz not in MP3_SAMPLE_RATES_HZ:
        raise ValueError(f"MPEG knows no {spec.sample_rate_hz} Hz")
    if spec.duration_ms < 1:
        raise ValueError(f"{spec.duration_ms} ms is no recording")
    if spec.duration_ms * spec.sample_rate_hz // 1000 * 2 * spec.channels > PCM_BYTES_MAX:
        raise ValueError(f"{spec.duration_ms} ms is more than {PCM_BYTES_MAX} bytes of PCM")
    free_from = 0
    for start_ms, length_ms in spec.mutes:
        if start_ms < free_from or length_ms < 1:
            raise ValueError(f"mute ({start_ms}, {length_ms}) is empty, out of order or overlaps")
        free_from = start_ms + length_ms


# ---- the voices --------------------------------------------------------------------------------


def _packaged_clips() -> tuple[Path, list[Path]]:
    # Through the metadata: importing the package would load a pytest plugin.
    try:
        package = distribution("pytest-audioeval")
    except PackageNotFoundError as missing:
        raise FileNotFoundError(
            "no voices: install the extra ocp-ingest[sim] or name a folder of WAV files"
        ) from missing
    names = sorted(str(file) for file in package.files or () if file.suffix == ".wav")
    return Path(str(package.locate_file(""))), [Path(str(package.locate_file(n))) for n in names]


def _usable(root: Path, files: Iterable[Path]) -> Iterator[Clip]:
    seconds = 0.0
    for path in files:
        if path.stat().st_size > VOICE_FILE_BYTES_MAX:
            continue
        try:
            samples, rate_hz = wav_read(path.read_bytes())
        except ValueError:
            continue
        if samples.size < CLIP_S_MIN * rate_hz or _rms(samples) < CLIP_RMS_MIN:
            continue
        seconds += samples.size / rate_hz
        if seconds > VOICES_S_MAX:
            return
        name = path.relative_to(root)
        yield Clip(name.as_posix(), name.parent.as_posix(), rate_hz, samples)


def _without_edges(samples: Float32) -> Float32:
    """Return what lies between the first and the last sample above 5 % of the peak."""
    loud = np.flatnonzero(np.abs(samples) > 0.05 * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def _band_limited(samples: Float32, rate_hz: int) -> Float32:
    """Return the samples with only the telephone band left, by raised-cosine slopes."""
    size = 1 << (samples.size + rate_hz // 10).bit_length()  # room for the filter's ringing
    hertz = np.fft.rfftfreq(size, 1 / rate_hz)
    low, high = BAND_HZ
    inside = np.clip(np.minimum(hertz - low, high - hertz) / BAND_EDGE_HZ, 0, 1)
    weights = (1 - np.cos(np.pi * inside)) / 2
    limited = np.fft.irfft(np.fft.rfft(samples, size) * weights, size)
    return limited[: samples.size].astype(np.float32)


def _rms(samples: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _chance(purpose: str, seed: int) -> random.Random:
    # Seeded by text: the same in every process, and -1 differs from 1.
    return random.Random(f"{purpose}:{seed}")  # noqa: S311 (wants to be repeatable)
