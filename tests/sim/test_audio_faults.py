"""Law: what the simulator breaks is broken. A checker written here, from the formats alone, accepts
every rendered recording and refuses every corrupted one."""

import functools
import struct

import pytest

from ocp_sim.audio import (
    CORRUPTIONS,
    RULE_BREAKERS,
    AudioSpec,
    Voices,
    corrupt,
    load_voices,
    render,
)

SPECS = (
    AudioSpec("pcm16", 1, 8000, 1501, ()),
    AudioSpec("pcm16", 2, 16000, 700, ()),
    AudioSpec("alaw", 1, 8000, 1001, ((200, 300),)),
    AudioSpec("mulaw", 2, 8000, 2000, ()),
    AudioSpec("mp3", 1, 16000, 2000, ()),
    AudioSpec("mp3", 2, 8000, 3000, ()),
)
SEEDS = range(8)  # enough for every kind of MP3 and every variant of a corruption

KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
RATES_HZ = {0: (11025, 12000, 8000), 2: (22050, 24000, 16000)}


@functools.cache
def _voices() -> Voices:
    return load_voices(None)


@functools.cache
def _recording(spec: AudioSpec, seed: int) -> bytes:
    return render(spec, seed, _voices())


def _name(value: object) -> str | None:
    if isinstance(value, AudioSpec):
        return f"{value.codec}-{value.channels}-{value.sample_rate_hz}"
    return None


def problem(data: bytes) -> str | None:
    """Say what is wrong with a recording, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wav_problem(data)
    if len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0:
        return _mp3_problem(data)
    return "neither WAV nor MP3"


def _wav_problem(data: bytes) -> str | None:
    fmt, at = None, 12
    while at + 8 <= len(data):
        ident, size = struct.unpack_from("<4sI", data, at)
        if ident == b"fmt ":
            fmt = struct.unpack_from("<HHIIHH", data, at + 8)
        if ident == b"data":
            if fmt is None:
                return "no fmt before data"
            tag, channels, rate_hz, _, align, bits = fmt
            if (tag, bits) not in {(1, 16), (6, 8), (7, 8)} or channels not in (1, 2):
                return "fmt"
            if rate_hz not in (8000, 16000) or align != channels * bits // 8:
                return "fmt"
            if size > len(data) - at - 8:
                return "less data than promised"
            return None if size and size % align == 0 else "partial frame"
        at += 8 + size + size % 2
    return "no data"


def _mp3_problem(data: bytes) -> str | None:
    at, sizes = 0, []
    while at < len(data):
        header = int.from_bytes(data[at : at + 4], "big")
        version, kbps, rate = header >> 19 & 3, header >> 12 & 15, header >> 10 & 3
        if header >> 21 != 0x7FF or header >> 17 & 3 != 1 or version not in RATES_HZ:
            return "no frame where one should be"
        if kbps in (0, 15) or rate == 3:
            return "reserved values"
        sizes.append(72_000 * KBPS[kbps] // RATES_HZ[version][rate] + (header >> 9 & 1))
        at += sizes[-1]
    if at > len(data):
        return "last frame cut"
    for ident in (b"Info", b"Xing"):
        tag = data[: sizes[0]].find(ident)
        if tag > 0 and struct.unpack_from(">II", data, tag + 8) != (len(sizes) - 1, len(data)):
            return "counts that lie"
    return None


@pytest.mark.parametrize("spec", SPECS, ids=_name)
def test_every_rendered_recording_is_sound(spec: AudioSpec) -> None:
    assert [problem(_recording(spec, seed)) for seed in SEEDS] == [None] * len(SEEDS)


@pytest.mark.parametrize("how", CORRUPTIONS)
@pytest.mark.parametrize("spec", SPECS, ids=_name)
def test_every_corruption_of_every_codec_is_refused(spec: AudioSpec, how: str) -> None:
    for seed in SEEDS:
        broken = corrupt(_recording(spec, seed), how, seed)
        assert problem(broken) is not None
        assert broken == corrupt(_recording(spec, seed), how, seed)


@pytest.mark.parametrize("spec", SPECS, ids=_name)
def test_no_two_corruptions_are_the_same(spec: AudioSpec) -> None:
    data = _recording(spec, 1)
    assert len({data, *(corrupt(data, how, 1) for how in CORRUPTIONS)}) == 1 + len(CORRUPTIONS)


@pytest.mark.parametrize("how", ["truncate", "garbage", "error_html", "error_json", "error_xml"])
def test_another_seed_breaks_it_in_another_way(how: str) -> None:
    data = _recording(SPECS[0], 1)
    assert len({corrupt(data, how, seed) for seed in range(20)}) > 1


@pytest.mark.parametrize("how", ["truncate", "header_only", "one_byte"])
@pytest.mark.parametrize("spec", SPECS, ids=_name)
def test_a_cut_recording_is_a_beginning_of_the_whole(spec: AudioSpec, how: str) -> None:
    data = _recording(spec, 2)
    assert data.startswith(corrupt(data, how, 2))


@pytest.mark.parametrize("how", ["nul_bytes", "garbage"])
def test_noise_in_place_of_a_recording_has_its_length(how: str) -> None:
    data = _recording(SPECS[4], 1)
    assert len(corrupt(data, how, 1)) == len(data)


def test_an_mp3_that_counts_wrongly_counts_once() -> None:
    for seed in SEEDS:
        start = corrupt(_recording(SPECS[4], seed), "size_lie", seed)[:600]
        assert start.count(b"Info") + start.count(b"Xing") == 1


QUIET = {"pcm16": 0x00, "alaw": 0xD5, "mulaw": 0xFF}


@pytest.mark.parametrize("spec", SPECS[:4], ids=_name)
def test_a_rule_breaker_is_a_sound_file_with_silence_where_it_says(spec: AudioSpec) -> None:
    data = _recording(spec, 3)
    body = 44 if spec.codec == "pcm16" else 58
    end = body + struct.unpack_from("<I", data, body - 4)[0]
    quiet = QUIET[spec.codec]
    for how in RULE_BREAKERS:
        if how == "one_way" and spec.channels == 1:
            continue
        broken = corrupt(data, how, 3)
        assert problem(broken) is None
        assert (len(broken), broken[:body]) == (len(data), data[:body])
        sound, was = broken[body:end], data[body:end]
        if how == "silent":
            assert set(sound) == {quiet}
        elif how == "dead_tail":
            cut = len(sound) * 2 // 5 + 4
            assert set(sound[cut:]) == {quiet}
            assert sound[: cut - 8] == was[: cut - 8]
        else:
            width = 2 if spec.codec == "pcm16" else 1
            for byte in range(width):
                assert sound[byte :: 2 * width] == was[byte :: 2 * width]
                assert set(sound[width + byte :: 2 * width]) == {quiet}


def test_what_cannot_be_done_is_said() -> None:
    mono, mp3 = _recording(SPECS[0], 1), _recording(SPECS[4], 1)
    for data, how in ((mono, "rust"), (mono, "one_way"), (mp3, "silent"), (b"hello", "truncate")):
        with pytest.raises(ValueError):
            corrupt(data, how, 1)
    for how in ("header_only", "no_data", "no_fmt", "error_html", "size_lie"):
        with pytest.raises(ValueError):
            corrupt(corrupt(mono, how, 1), "dead_tail", 1)
