"""Laws of the simulator's recordings: right length, repeatable, real speech, silent where muted."""

import functools
import hashlib
import io
import subprocess
import sys
import wave
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]  # comes with the speech clips; an independent reader
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ocp_sim import audio
from ocp_sim.audio import AudioSpec, Clip, Voices, load_voices, render, trim
from ocp_sim.audio_codecs import g711_decode

WAVS = ("pcm16", "alaw", "mulaw")
SILENCE = {"pcm16": 0x00, "alaw": 0xD5, "mulaw": 0xFF}
TALK = 400  # amplitude that line noise never reaches
Sound = NDArray[np.int32]


@functools.cache
def voices() -> Voices:
    return load_voices(None)


def sound(data: bytes, codec: str) -> Sound:
    """Samples of shape (frames, channels), read by someone else's reader."""
    if codec == "pcm16":
        with wave.open(io.BytesIO(data)) as file:
            raw = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            return raw.reshape(-1, file.getnchannels()).astype(np.int32)
    samples: NDArray[np.int16] = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)[0]
    return samples.astype(np.int32)


specs = st.builds(
    AudioSpec,
    codec=st.sampled_from(WAVS),
    channels=st.integers(1, 2),
    sample_rate_hz=st.sampled_from([8000, 16000]),
    duration_ms=st.integers(1, 9000),
    mutes=st.just(()),
)


@settings(max_examples=40, deadline=None)
@given(spec=specs, seed=st.integers(-5, 5))
def test_a_wav_has_exactly_the_frames_of_its_duration(spec: AudioSpec, seed: int) -> None:
    heard = sound(render(spec, seed, voices()), spec.codec)
    frames = round(spec.duration_ms * spec.sample_rate_hz / 1000)
    assert heard.shape == (frames, spec.channels)


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (8000, 2), (16000, 1), (16000, 2)])
def test_an_mp3_is_at_most_three_frames_longer(rate_hz: int, channels: int) -> None:
    for seed in range(6):
        spec = AudioSpec("mp3", channels, rate_hz, 5123, ())
        heard = sound(render(spec, seed, voices()), "mp3")
        frames = round(5123 * rate_hz / 1000)
        assert heard.shape[1] == channels
        assert frames <= len(heard) <= frames + 3 * 576


@settings(max_examples=30, deadline=None)
@given(spec=specs.filter(lambda spec: spec.duration_ms >= 200), seed=st.integers(0, 99))
def test_both_are_heard_however_short_the_call(spec: AudioSpec, seed: int) -> None:
    heard = np.abs(sound(render(spec, seed, voices()), spec.codec))
    assert (heard.max(axis=0) > TALK).all()
    first_half, second_half = np.array_split(heard, [int(len(heard) * 0.55)])
    assert first_half.max() > TALK
    assert second_half.max() > TALK


@pytest.mark.parametrize("seed", range(5))
def test_agent_and_customer_take_turns_and_the_agent_begins(seed: int) -> None:
    spec = AudioSpec("pcm16", 2, 8000, 30_000, ())
    windows = np.abs(sound(render(spec, seed, voices()), "pcm16")).reshape(-1, 400, 2).max(axis=1)
    agent, customer = (windows > TALK).T
    assert not (agent & customer).any()
    assert agent.argmax() < customer.argmax()
    assert min(agent.mean(), customer.mean()) > 0.1
    order = [who for who in np.where(agent, 1, np.where(customer, 2, 0)) if who]
    assert np.count_nonzero(np.diff(order)) >= 4  # five turns or more in half a minute


@pytest.mark.parametrize("seed", range(3))
def test_one_channel_holds_what_two_hold(seed: int) -> None:
    two = sound(render(AudioSpec("pcm16", 2, 8000, 9000, ()), seed, voices()), "pcm16")
    one = sound(render(AudioSpec("pcm16", 1, 8000, 9000, ()), seed, voices()), "pcm16")
    noise = int(np.abs(voices().line_noise(8000)).max())
    assert np.abs(two.sum(axis=1) - one[:, 0]).max() <= 3 * noise < TALK


def test_the_line_keeps_to_the_telephone_band() -> None:
    heard = sound(render(AudioSpec("pcm16", 1, 16000, 20_000, ()), 1, voices()), "pcm16")[:, 0]
    power = np.abs(np.fft.rfft(heard)) ** 2
    hertz = np.fft.rfftfreq(len(heard), 1 / 16000)
    inside = (hertz >= 300) & (hertz <= 3400)
    assert power[inside].sum() > 0.999 * power.sum()
    assert power[(hertz > 500) & (hertz < 2500)].sum() > 0.5 * power.sum()


def _likeness(heard: NDArray[np.float64], clip: NDArray[np.float64]) -> float:
    """The best normalised cross-correlation of the clip with any stretch of the recording."""
    size = 1 << (len(heard) + len(clip)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(clip, size))
    products = np.fft.irfft(spectrum, size)[: len(heard) - len(clip) + 1]
    energy = np.concatenate(([0.0], np.cumsum(heard**2)))
    local = energy[len(clip) :] - energy[: -len(clip)]
    return float((products / np.sqrt(local * (clip**2).sum() + 1e-9)).max())


def _loudest_second(path: str) -> NDArray[np.float64]:
    """A second of a 16 kHz file, with nothing below 300 and above 3400 Hz."""
    samples, rate_hz = soundfile.read(path)
    assert rate_hz == 16000
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / 16000)
    spectrum[(hertz < 300) | (hertz > 3400)] = 0
    band: NDArray[np.float64] = np.fft.irfft(spectrum, len(samples))
    energy = np.cumsum(band**2)
    start = int((energy[16000:] - energy[:-16000]).argmax())
    return band[start : start + 16000]


@pytest.mark.parametrize("seed", range(3))
def test_real_speech_is_in_there(seed: int) -> None:
    """The original files, read by another reader, are found again; played backwards, none is."""
    data = render(AudioSpec("pcm16", 2, 16000, 14_000, ()), seed, voices())
    agent = sound(data, "pcm16")[:, 0].astype(np.float64)
    package = distribution("pytest-audioeval")
    files = [str(package.locate_file(f)) for f in package.files or () if f.suffix == ".wav"]
    seconds = [_loudest_second(file) for file in files if soundfile.info(file).frames > 17000]
    assert max(_likeness(agent, second) for second in seconds) > 0.95
    assert max(_likeness(agent, second[::-1]) for second in seconds) < 0.7


def _digest(spec: AudioSpec) -> str:
    return hashlib.sha256(render(spec, 7, load_voices(None))).hexdigest()


REPEATED = (
    AudioSpec("pcm16", 2, 16000, 2500, ((500, 700),)),
    AudioSpec("alaw", 1, 8000, 2500, ()),
    AudioSpec("mulaw", 2, 8000, 2500, ()),
    AudioSpec("mp3", 1, 16000, 2500, ()),
)
ELSEWHERE = """
import sys, hashlib
from ocp_sim.audio import AudioSpec, load_voices, render
for spec in reversed(eval(sys.argv[1])):
    print(hashlib.sha256(render(spec, 7, load_voices(None))).hexdigest())
assert not [name for name in sys.modules if name.startswith(("pytest", "ocp_ingest"))]
"""


def test_the_same_bytes_again_here_and_in_another_process() -> None:
    """Neither the cache, nor the order of rendering, nor the hash seed of Python plays a part; and
    no pytest plugin is loaded for the voices."""
    here = [_digest(spec) for spec in REPEATED]
    assert here == [hashlib.sha256(render(s, 7, voices())).hexdigest() for s in REPEATED]
    source = str(Path(audio.__file__).parents[1])
    there = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, repr(REPEATED)],
        env={"PYTHONPATH": source, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here[::-1]


@pytest.mark.parametrize("codec", [*WAVS, "mp3"])
def test_another_seed_is_another_conversation(codec: str) -> None:
    spec = AudioSpec(codec, 1, 8000, 2000, ())
    assert len({render(spec, seed, voices()) for seed in range(-10, 10)}) == 20


@pytest.mark.parametrize("codec", WAVS)
@pytest.mark.parametrize("channels", [1, 2])
def test_muted_stretches_are_digital_silence_and_nothing_else_is(codec: str, channels: int) -> None:
    spec = AudioSpec(codec, channels, 8000, 6000, ((1000, 1500), (4000, 250)))
    data = render(spec, 3, voices())
    body = 44 if codec == "pcm16" else 58
    silent = np.frombuffer(data, np.uint8)[body:] == SILENCE[codec]
    width = channels * (2 if codec == "pcm16" else 1)
    silent = silent[: 48_000 * width].reshape(-1, width).all(axis=1)
    assert silent[8_000:20_000].all()
    assert silent[32_000:34_000].all()
    rest = np.delete(silent, np.r_[8_000:20_000, 32_000:34_000])
    runs = np.diff(np.flatnonzero(~rest))
    assert runs.max() < 40  # a live line is never at rest for 5 ms
    assert rest.mean() < 0.1


def test_the_talk_goes_on_after_a_mute() -> None:
    """Without its muted stretches a recording is the shorter one that has none."""
    muted = AudioSpec("pcm16", 2, 8000, 6000, ((1000, 1500), (4000, 250)))
    heard = sound(render(muted, 3, voices()), "pcm16")
    rest = np.delete(heard, np.r_[8_000:20_000, 32_000:34_000], axis=0)
    short = muted._replace(duration_ms=4250, mutes=())
    assert (rest == sound(render(short, 3, voices()), "pcm16")).all()


def test_muted_stretches_of_an_mp3_are_silent_but_for_their_edges() -> None:
    for seed in range(4):
        data = render(AudioSpec("mp3", 2, 16000, 8000, ((3000, 2000),)), seed, voices())
        heard = np.abs(sound(data, "mp3"))
        assert heard[3250 * 16 : 4850 * 16].max() <= 2
        assert min(heard[: 3000 * 16].max(), heard[5250 * 16 :].max()) > TALK


def test_both_are_heard_around_a_mute_that_takes_nearly_all() -> None:
    spec = AudioSpec("alaw", 2, 8000, 60_000, ((200, 59_400),))
    heard = np.abs(sound(render(spec, 1, voices()), "alaw"))
    assert (heard.max(axis=0) > TALK).all()


@pytest.mark.parametrize(
    "spec",
    [
        AudioSpec("gsm", 1, 8000, 1000, ()),
        AudioSpec("pcm16", 3, 8000, 1000, ()),
        AudioSpec("pcm16", 0, 8000, 1000, ()),
        AudioSpec("pcm16", 1, 4000, 1000, ()),
        AudioSpec("mp3", 1, 8001, 1000, ()),
        AudioSpec("pcm16", 1, 8000, 0, ()),
        AudioSpec("pcm16", 2, 48000, 6_000_000, ()),
        AudioSpec("pcm16", 1, 8000, 1000, ((0, 1000),)),
        AudioSpec("pcm16", 1, 8000, 1000, ((0, 400), (300, 100))),
        AudioSpec("pcm16", 1, 8000, 1000, ((-1, 400),)),
        AudioSpec("pcm16", 1, 8000, 1000, ((10, 0),)),
    ],
)
def test_an_impossible_recording_is_refused(spec: AudioSpec) -> None:
    with pytest.raises(ValueError):
        render(spec, 1, voices())


@st.composite
def muted_specs(draw: st.DrawFn) -> AudioSpec:
    duration_ms = draw(st.integers(2, 100_000))
    edges = sorted(draw(st.sets(st.integers(0, duration_ms), max_size=6)))
    mutes = tuple((a, b - a) for a, b in zip(edges[::2], edges[1::2], strict=False))
    if sum(length for _, length in mutes) == duration_ms:
        mutes = ()
    return AudioSpec("alaw", 1, 8000, duration_ms, mutes)


@example(spec=AudioSpec("alaw", 1, 8000, 1004, ((0, 1003),)), share=0.9)
@given(spec=muted_specs(), share=st.floats(0.001, 0.99))
def test_a_trimmed_recording_is_shorter_and_still_a_recording(
    spec: AudioSpec, share: float
) -> None:
    short = trim(spec, share)
    assert short.duration_ms < spec.duration_ms
    assert abs(short.duration_ms - spec.duration_ms * (1 - share)) <= 1
    assert short._replace(duration_ms=0, mutes=()) == spec._replace(duration_ms=0, mutes=())
    audio._check(short)
    assert sum(length for _, length in short.mutes) < short.duration_ms
    assert all(start + length <= short.duration_ms for start, length in short.mutes)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_no_trim_takes_nothing_or_all(share: float) -> None:
    with pytest.raises(ValueError):
        trim(AudioSpec("alaw", 1, 8000, 1000, ()), share)


def test_the_packaged_voices_are_27_clips_in_nine_languages_with_spanish() -> None:
    names = [clip.name for clip in voices().clips]
    assert len(names) == 27
    assert [len(group) for group in voices().groups] == [3] * 9
    assert sum("/es/" in name for name in names) == 3


def _talk(path: Path, seconds: float, level: float, subtype: str = "PCM_16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(1).normal(0, level, int(8000 * seconds))
    soundfile.write(str(path), np.clip(noise, -1, 1), 8000, subtype=subtype)


def test_a_folder_gives_its_usable_wavs_by_folder(tmp_path: Path) -> None:
    _talk(tmp_path / "b" / "one.wav", 1, 0.1)
    _talk(tmp_path / "b" / "two.WAV", 1, 0.1, "ALAW")
    _talk(tmp_path / "a" / "three.wav", 1, 0.1, "FLOAT")
    _talk(tmp_path / "a" / "click.wav", 0.1, 0.1)
    _talk(tmp_path / "a" / "silence.wav", 5, 0.0001)
    _talk(tmp_path / "a" / "strange.wav", 1, 0.1, "GSM610")
    (tmp_path / "a" / "text.wav").write_text("not a WAV")
    (tmp_path / "a" / "readme.txt").write_text("no voice")
    found = load_voices(tmp_path)
    assert [clip.name for clip in found.clips] == ["a/three.wav", "b/one.wav", "b/two.WAV"]
    assert found.groups == ((0,), (1, 2))
    heard = sound(render(AudioSpec("alaw", 2, 16000, 3000, ()), 1, found), "alaw")
    assert heard.shape == (48_000, 2)


def test_a_folder_without_end_is_read_up_to_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        _talk(tmp_path / f"{number}.wav", 1, 0.1)
    monkeypatch.setattr(audio, "VOICES_S_MAX", 3.5)
    assert [clip.name for clip in load_voices(tmp_path).clips] == ["0.wav", "1.wav", "2.wav"]


def test_no_voices_no_recordings(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        load_voices(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_voices(tmp_path / "absent")
    with pytest.raises(ValueError):
        Voices([])


@settings(max_examples=20, deadline=None)
@given(level=st.floats(0.004, 1.0), seed=st.integers(0, 9))
def test_no_voice_overflows_the_line(level: float, seed: int) -> None:
    """Whatever its level, a voice arrives at a telephone's: not clipped, not faint."""
    tone = (level * np.sin(np.arange(16000) * 0.5)).astype(np.float32)
    found = Voices([Clip("tone", "", 8000, tone)])
    heard = sound(render(AudioSpec("pcm16", 1, 8000, 2000, ()), seed, found), "pcm16")
    assert 1500 < int(np.abs(heard).max()) < 16_384


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
def test_a_voice_keeps_its_pitch_and_pace_at_any_rate(rate_hz: int) -> None:
    clip = np.sin(2 * np.pi * 1000 * np.arange(12_000) / 12_000).astype(np.float32)
    speech = Voices([Clip("tone", "", 12_000, clip)]).telephone(0, rate_hz)
    assert abs(len(speech) - rate_hz) <= rate_hz // 500
    peak = int(np.abs(np.fft.rfft(speech)).argmax()) * rate_hz / len(speech)
    assert abs(peak - 1000) <= 2


def test_the_codecs_carry_the_same_conversation() -> None:
    plain = sound(render(AudioSpec("pcm16", 2, 8000, 3000, ()), 5, voices()), "pcm16")
    for law in ("alaw", "mulaw"):
        data = render(AudioSpec(law, 2, 8000, 3000, ()), 5, voices())
        coded = g711_decode(data[58:], law).reshape(-1, 2).astype(np.int32)
        assert (np.abs(coded - plain) <= np.maximum(np.abs(plain) // 16, 16)).all()
