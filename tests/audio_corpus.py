"""Recordings made by code: whole ones with their true properties, and every way to be broken.

``VALID``         name -> a recording and the truth about it
``BROKEN``        name -> bytes that must yield the codes in ``BROKEN_CODES[name]``
``UNDETECTABLE``  name -> damage that no file shows by itself: it must still be read without harm

Deterministic; the builders are in ``tests/core/audio/builders.py``.
"""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.core.audio.builders import (
    FMT16,
    LIST,
    RATE,
    WAV_CODECS,
    ape,
    big_endian,
    chunk,
    ds64,
    encode,
    extensible,
    fmt,
    frame,
    hush,
    id3,
    id3v1,
    interleave,
    lame,
    lyrics,
    mp3,
    open_ended,
    pcm,
    rf64,
    riff,
    speech,
    talk,
    vbri,
    wav,
    xing,
)

Make = Callable[[], bytes]
_32 = 0xFFFFFFFF


# -- whole recordings ----------------------------------------------------------------------


@dataclass(frozen=True)
class Valid:
    """A recording and the truth about it; ``duration_ms`` may be off by ``slack_ms`` (encoders)."""

    make: Make
    container: str
    codec: str
    rate_hz: int
    channels: int
    bits: int
    duration_ms: int
    warnings: tuple[str, ...] = ()
    slack_ms: int = 0


VALID: dict[str, Valid] = {}


for _codec, (_tag, _bits) in WAV_CODECS.items():
    for _channels in (1, 2):
        for _extended in (False, True):
            VALID[f"{_codec}_{_channels}{'_extensible' * _extended}"] = Valid(
                partial(lambda ch, **kw: wav(speech(ch), channels=ch, **kw), _channels,
                        codec=_codec, extended=_extended),
                "wav", _codec, RATE, _channels, _bits, 2000,
            )  # fmt: skip


def _valid_wav(name: str, make: Make, *warnings: str, container: str = "wav") -> None:
    codec = "pcm_s16be" if container == "rifx" else "pcm_s16le"
    VALID[name] = Valid(make, container, codec, RATE, 1, 16, 2000, warnings)


def _valid_data(*around: bytes) -> Make:
    return lambda: riff(FMT16, *around, chunk(b"data", pcm()))


_valid_wav("list_before_data", _valid_data(LIST))
_valid_wav("list_after_data", lambda: riff(FMT16, chunk(b"data", pcm()), LIST))
_valid_wav("fact_right", _valid_data(chunk(b"fact", struct.pack("<I", 2 * RATE))))
_valid_wav("odd_list", _valid_data(chunk(b"LIST", b"odd")))
_valid_wav("odd_list_without_pad", _valid_data(chunk(b"LIST", b"odd")[:-1]), "missing_pad")
_valid_wav("rf64", lambda: rf64(pcm()), container="rf64")
_valid_wav("bw64", lambda: rf64(pcm(), b"BW64"), container="bw64")
_valid_wav("rifx", big_endian, "big_endian", container="rifx")
for _name, _size in (("zero", 0), ("ffmpeg", _32), ("sox", 0x7FFFF000), ("less", 0xFFFFFFDB)):
    _valid_wav(f"streaming_{_name}", partial(open_ended, _size), "streaming_header")
_valid_wav("streaming_list", partial(open_ended, _32, LIST), "streaming_header")
_valid_wav(
    "streaming_rf64",
    lambda: rf64(pcm(), sizes=ds64(0, 0)),
    "streaming_header",
    container="rf64",
)


def _valid_mp3(
    name: str, make: Make, duration_ms: int, *warnings: str, rate: int = RATE, channels: int = 1,
    slack_ms: int = 0,
) -> None:  # fmt: skip
    VALID[name] = Valid(make, "mp3", "mp3", rate, channels, 0, duration_ms, warnings, slack_ms)


_valid_mp3("mp3_cbr", lambda: mp3(40), 2880)
_valid_mp3("mp3_one_frame", lambda: mp3(1), 72)
_valid_mp3("mp3_id3", lambda: id3() + mp3(40), 2880)
_valid_mp3("mp3_id3_footer", lambda: id3(footer=True) + mp3(40), 2880)
_valid_mp3("mp3_two_id3", lambda: id3() + id3(5000) + mp3(40), 2880)
_valid_mp3("mp3_id3v1", lambda: mp3(40) + id3v1(), 2880)
_valid_mp3("mp3_ape", lambda: mp3(40) + ape(), 2880)
_valid_mp3("mp3_lyrics", lambda: mp3(40) + lyrics() + id3v1(), 2880)
_valid_mp3("mp3_all_tags", lambda: id3() + mp3(40) + ape() + lyrics() + id3v1(), 2880)
_valid_mp3("mp3_xing", lambda: xing(40, 41 * 144) + mp3(40), 2880)
_valid_mp3("mp3_info", lambda: id3() + xing(40, 41 * 144, b"Info") + mp3(40) + id3v1(), 2880)
_valid_mp3("mp3_vbri", lambda: vbri(40, 41 * 144) + mp3(40), 2880)
_valid_mp3("mp3_vbr_by_hand", lambda: (frame() + frame(0xFFE338C4, 216)) * 20, 2880)
_valid_mp3("mp3_crc", lambda: (struct.pack(">IH", 0xFFE228C4, 7) + frame()[4:142]) * 40, 2880)
_valid_mp3("mp3_mpeg1_stereo", lambda: frame(0xFFFB5044, 208, side=32) * 50, 1306, rate=44_100,
           channels=2)  # fmt: skip
_valid_mp3("mp3_mpeg2_mono", lambda: frame(0xFFF338C4, 108) * 50, 1800, rate=16_000)
_valid_mp3("mp3_free", lambda: frame(0xFFE308C4, 500) * 40, 2880, "free_format")


def _lame_cbr(kbps: int) -> bytes:
    return lame(talk(3), kbps=kbps)


for _kbps in (8, 16, 32, 64):
    _valid_mp3(f"lame_cbr_{_kbps}", partial(_lame_cbr, _kbps), 3000, slack_ms=300)
_valid_mp3("lame_vbr", lambda: lame(talk(3), vbr=4), 3000, slack_ms=300)
_valid_mp3("lame_stereo", lambda: lame(interleave(talk(3), talk(3, seed=9)), channels=2, kbps=32),
           3000, channels=2, slack_ms=300)  # fmt: skip
_valid_mp3("lame_44k", lambda: lame(talk(3), kbps=64, out_rate=44_100), 3000, rate=44_100,
           slack_ms=300)  # fmt: skip

# -- broken recordings ---------------------------------------------------------------------

BROKEN: dict[str, Make] = {}
BROKEN_CODES: dict[str, tuple[str, ...]] = {}
UNDETECTABLE: dict[str, Make] = {}


def _broken(name: str, make: Make, *codes: str) -> None:
    assert name not in BROKEN
    BROKEN[name] = make
    BROKEN_CODES[name] = codes


def _cut(make: Make, percent: int) -> bytes:
    whole = make()
    return whole[: len(whole) * percent // 100 + 37]


def patched(whole: bytes, at: int, field: bytes) -> bytes:
    return whole[:at] + field + whole[at + len(field) :]


def _u16(value: int) -> bytes:
    return struct.pack("<H", value)


def _u32(value: int) -> bytes:
    return struct.pack("<I", value)


def _plain() -> bytes:
    return wav(speech())


def _noise(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


# Offsets in ``_plain()``
_RIFF_SIZE, _TAG, _CHANNELS, _RATE, _BYTE_RATE, _ALIGN, _BITS, _DATA_SIZE = (
    4,
    20,
    22,
    24,
    28,
    32,
    34,
    40,
)
_HEADER = 44

# Almost nothing
_broken("zero_bytes", lambda: b"", "empty")
_broken("one_byte", lambda: b"R", "too_short")
_broken("eleven_bytes", lambda: _plain()[:11], "too_short")
_broken("header_only", lambda: riff(FMT16, chunk(b"data", b"")), "no_data")
_broken("header_cut_at_data", lambda: _plain()[:_HEADER], "truncated", "no_data")
_broken("header_then_list", lambda: riff(FMT16, chunk(b"data", b""), LIST), "no_data")
_broken("only_zeros", lambda: bytes(50_000), "not_audio.zeros")

# Cut
_WHOLE_WAVS: dict[str, Make] = {
    "pcm16": _plain,
    "alaw": lambda: wav(speech(), "pcm_alaw"),
    "mulaw": lambda: wav(speech(), "pcm_mulaw"),
    "list": lambda: riff(FMT16, LIST, chunk(b"data", pcm())),
    "rf64": lambda: rf64(pcm()),
    "bw64": lambda: rf64(pcm(), b"BW64"),
}
for _percent in (10, 50, 90):
    for _name, _make in _WHOLE_WAVS.items():
        _broken(f"cut_{_name}_{_percent}", partial(_cut, _make, _percent), "truncated")
    for _name in ("mp3_xing", "mp3_vbri", "lame_cbr_16", "lame_vbr"):
        _broken(f"cut_{_name}_{_percent}", partial(_cut, VALID[_name].make, _percent), "truncated")
_broken("cut_xing_on_frame", lambda: xing(40, 41 * 144) + mp3(20), "truncated")
_broken("cut_xing_one_frame", lambda: xing(40, 41 * 144) + mp3(39), "truncated")
_broken("cut_xing_without_size", lambda: xing(40, None) + mp3(20), "truncated")
_broken("cut_off_frame", lambda: mp3(20) + frame()[:70], "truncated")
_broken("cut_in_frame_header", lambda: mp3(20) + frame()[:2], "truncated")
_broken("cut_in_fmt", lambda: _plain()[:30], "truncated_header")
_broken("cut_in_chunk_header", lambda: _plain()[:38], "truncated_header")
_broken("cut_in_list", lambda: riff(FMT16, LIST)[:-4], "truncated_header")
_broken("cut_in_late_list", lambda: riff(FMT16, chunk(b"data", pcm()), LIST)[:-4],
        "metadata_truncated")  # fmt: skip
_broken("cut_in_sample", lambda: riff(FMT16, chunk(b"data", pcm()[:-1], _32)[:-1]), "partial_frame")
UNDETECTABLE["cut_mp3_without_xing_on_frame"] = lambda: mp3(20)
UNDETECTABLE["cut_streaming_wav"] = lambda: open_ended(_32)[:9_000]

# Sizes that lie
for _name, _size in (("zero", 0), ("ones", _32), ("sox", 0x7FFFF000), ("less", 0xFFFFFF9B)):
    _broken(f"data_size_{_name}", partial(open_ended, _size), "streaming_header")
_broken("data_size_larger", lambda: patched(_plain(), _DATA_SIZE, _u32(40_000)), "truncated")
_broken("data_size_smaller", lambda: patched(_plain(), _DATA_SIZE, _u32(9_000)), "data_size_short")
_broken("riff_size_wrong", lambda: patched(_plain(), _RIFF_SIZE, _u32(99)), "riff_size_wrong")
_broken("rf64_without_ds64", lambda: rf64(pcm(), sizes=b""), "no_ds64")
_broken("rf64_zero_ds64", lambda: rf64(pcm(), sizes=ds64(0, 0)), "streaming_header")
_broken("rf64_short_ds64", lambda: rf64(pcm(), sizes=chunk(b"ds64", bytes(16))), "bad_ds64")
_broken("rf64_huge_ds64", lambda: rf64(pcm(), sizes=ds64(1 << 63, 1 << 63)), "truncated")
_broken("fact_wrong", lambda: riff(FMT16, chunk(b"fact", _u32(7)), chunk(b"data", pcm())),
        "fact_wrong")  # fmt: skip

# fmt
_broken("fmt_missing", lambda: riff(chunk(b"data", pcm())), "no_fmt")
_broken("nothing_but_list", lambda: riff(LIST), "no_fmt", "no_data")
_broken("fmt_twice", lambda: riff(FMT16, FMT16, chunk(b"data", pcm())), "fmt_twice")
_broken("fmt_after_data", lambda: riff(chunk(b"data", pcm()), FMT16), "no_fmt", "fmt_after_data")
_broken("fmt_huge", lambda: patched(_plain(), 16, _u32(0xFFFFFFF8)), "bad_fmt_size")
_broken("fmt_short", lambda: riff(chunk(b"fmt ", FMT16[8:20]), chunk(b"data", pcm())),
        "bad_fmt_size")  # fmt: skip
for _name, _at, _field, _code in (
    ("align_zero", _ALIGN, 0, "bad_block_align"),
    ("align_wrong", _ALIGN, 4, "bad_block_align"),
    ("channels_0", _CHANNELS, 0, "bad_channels"),
    ("channels_3", _CHANNELS, 3, "bad_block_align"),
    ("channels_65535", _CHANNELS, 65_535, "bad_channels"),
    ("rate_0", _RATE, 0, "bad_sample_rate"),
    *((f"bits_{bits}", _BITS, bits, "bad_bits") for bits in (0, 5, 12, 20, 36, 53, 64)),
    ("tag_unknown", _TAG, 0x1234, "unsupported.unknown_codec"),
    ("tag_ms_adpcm", _TAG, 0x0002, "unsupported.ms_adpcm"),
    ("tag_ima_adpcm", _TAG, 0x0011, "unsupported.ima_adpcm"),
    ("tag_gsm", _TAG, 0x0031, "unsupported.gsm"),
    ("tag_g722", _TAG, 0x028F, "unsupported.g722"),
    ("tag_g726", _TAG, 0x0045, "unsupported.g726"),
    ("tag_mp3", _TAG, 0x0055, "unsupported.mp3"),
):
    _broken(
        _name, partial(lambda at, field: patched(_plain(), at, _u16(field)), _at, _field), _code
    )
_broken("byte_rate_wrong", lambda: patched(_plain(), _BYTE_RATE, _u32(1)), "byte_rate_wrong")
_broken("g711_bits_wrong", lambda: riff(fmt(6, 1, RATE, 16, align=1, byte_rate=RATE), chunk(
    b"data", encode(speech(), "pcm_alaw"))), "bits_ignored")  # fmt: skip
_GUID = bytes(range(16))
_broken(
    "guid_unknown",
    lambda: riff(extensible(1, 1, RATE, 16, _GUID), chunk(b"data", pcm())),
    "unsupported.unknown_codec",
)
_broken("extensible_short", lambda: patched(_plain(), _TAG, _u16(0xFFFE)), "bad_extensible")

# Chunks
_broken("data_missing", lambda: riff(FMT16, LIST), "no_data")
_broken("data_twice", lambda: riff(FMT16, chunk(b"data", pcm()), chunk(b"data", pcm())),
        "data_twice")  # fmt: skip
_broken("million_chunks", lambda: riff(FMT16, b"JUNK\0\0\0\0" * 1_000_000),
        "too_many_chunks")  # fmt: skip
_broken("junk_65_mb_claimed", lambda: riff(FMT16, chunk(b"JUNK", bytes(99), 65 << 20)),
        "header_too_long")  # fmt: skip
_broken("list_giant", lambda: riff(FMT16, chunk(b"LIST", pcm(), 0xFFFFFFF0)), "header_too_long")
_broken("zero_size_chunks", lambda: riff(FMT16, *[chunk(b"LIST", b"")] * 5_000), "too_many_chunks")
_broken("no_chunk_name", lambda: riff(FMT16, chunk(b"\x00\x01\x02\x03", pcm())), "bad_chunk")
_broken("odd_without_pad", VALID["odd_list_without_pad"].make, "missing_pad")
_broken("trailing_garbage", lambda: _plain() + b"\xfe" + _noise(300), "trailing_bytes")
_broken("trailing_garbage_big", lambda: _plain() + b"\xfe" + _noise(20_000), "data_size_short")
_broken("trailing_zeros", lambda: _plain() + bytes(1 << 20), "trailing_zeros")
_broken("joined_wavs", lambda: _plain() + _plain(), "joined_files")
_broken("rifx", big_endian, "big_endian")
_broken("leading_bytes", lambda: b"\x01\x02junk" + _plain(), "leading_bytes", "not_audio.unknown")


# Other things under the name of a recording
def _zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("call.wav"), _plain())
    return out.getvalue()


_HTML = b"<!DOCTYPE html>\r\n<html><body>502 Bad Gateway</body></html>\r\n"
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(40)
_OTHERS: tuple[tuple[str, bytes], ...] = (
    ("html", _HTML),
    ("html", b"\xef\xbb\xbf  <HTML><head><title>Error</title></head></HTML>"),
    ("xml", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
    ("json", b'{"error": "not found", "status": 404}'),
    ("json", b' [\n {"error": "expired"} ]'),
    ("text", b"Internal Server Error, please try again\n"),
    ("utf16", "Internal Server Error".encode("utf-16")),
    ("base64", b"UklGRiR9AABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQ=="),
    ("http", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"),
    ("multipart", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nhello\r\n--x--'),
    ("ffconcat", b"ffconcat version 1.0\nfile other.wav\n"),
    ("m3u", b"#EXTM3U\n#EXT-X-VERSION:3\nhttp://127.0.0.1/a.ts\n"),
    ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + zlib.compress(_HTML)[2:]),
    ("png", _PNG),
    ("jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(40)),
    ("pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
    ("ogg", b"OggS\0\x02" + bytes(60)),
    ("opus", b"OggS\0\x02" + bytes(22) + b"OpusHead" + bytes(60)),
    ("flac", b"fLaC\0\0\0\x22" + bytes(60)),
    ("m4a", b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(60)),
    ("mp4", b"\0\0\0\x20ftypisom\0\0\0\0" + bytes(60)),
    ("3gp", b"\0\0\0\x20ftyp3gp4\0\0\0\0" + bytes(60)),
    ("amr", b"#!AMR\n" + bytes(60)),
    ("aac", b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(60)),
    ("mp2", b"\xff\xfd\x50\x04" + bytes(600)),
    ("aiff", b"FORM\0\0\0\x40AIFF" + bytes(60)),
    ("au", b".snd\0\0\0\x18" + bytes(60)),
    ("caf", b"caff\0\x01\0\0" + bytes(60)),
    ("w64", b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + bytes(60)),
    ("asf", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(60)),
    ("avi", b"RIFF\x40\0\0\0AVI LIST" + bytes(60)),
    ("riff", b"RIFF\x40\0\0\0sfbkLIST" + bytes(60)),
    ("gsm", b"".join(b"\xd3" + bytes([n] * 32) for n in range(40))),
    ("unknown", b"\x01" + _noise(5_000)),
)
_UNSUPPORTED = frozenset(
    {"ogg", "opus", "flac", "m4a", "mp4", "3gp", "amr", "aac", "mp2", "aiff", "au", "caf", "w64"}
    | {"asf", "avi", "riff", "gsm", "raw_alaw", "raw_mulaw"}
)


def _other(name: str, body: Make, number: int = 0) -> None:
    family = "unsupported" if name in _UNSUPPORTED else "not_audio"
    _broken(f"is_{name}" + f"_{number}" * bool(number), body, f"{family}.{name}")


for _number, (_name, _body) in enumerate(_OTHERS):
    _other(_name, partial(bytes, _body), _number if f"is_{_name}" in BROKEN else 0)
_other("zip", _zipped)
_other("raw_alaw", lambda: encode(hush(0.4) + talk(1), "pcm_alaw"))
_other("raw_mulaw", lambda: encode(hush(0.4) + talk(1), "pcm_mulaw"))


# Sound that is no sound
def _sound(codec: str, *parts: tuple[int, ...]) -> Make:
    return lambda: wav(tuple(sample for part in parts for sample in part), codec)


_broken("digital_silence", lambda: wav((0,) * 24_000), "silent")
_broken("line_noise_only", lambda: wav(hush(3)), "silent")
_broken("dc", lambda: wav((9_000,) * 24_000), "silent", "constant_value")
_broken("clicks_only", lambda: wav((20_000, *hush(0.5)) * 6), "silent")
_broken("one_way", lambda: wav(interleave(talk(3), hush(3)), channels=2), "silent_channel")
_broken("one_way_alaw", lambda: wav(interleave(hush(3), talk(3)), "pcm_alaw", 2), "silent_channel")
_broken("stuck_channel", lambda: wav(interleave(talk(3), (5_000,) * 24_000), channels=2),
        "silent_channel", "constant_value")  # fmt: skip
_broken("dead_tail", lambda: wav(talk(3) + hush(12)), "dead_tail")
_broken("silent_hole", lambda: wav(talk(2) + (0,) * 31 * RATE + talk(2), "pcm_mulaw"),
        "long_silence")  # fmt: skip
_broken("hole_in_alaw", lambda: patched(wav(talk(3), "pcm_alaw"), 5_000, bytes(8_000)),
        "zero_filled")  # fmt: skip
_broken("mp3_silent", lambda: mp3(40, loud=False), "silent")
_broken("mp3_dead_tail", lambda: mp3(40) + mp3(150, loud=False), "dead_tail")
_broken("mp3_one_way", lambda: lame(interleave(talk(6), (0,) * 48_000), channels=2, kbps=32),
        "silent_channel")  # fmt: skip

# Through a text conversion, and bits
_broken("crlf", lambda: _plain().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), "crlf_mangled")
_broken("utf8", lambda: _plain().decode("latin-1").encode(), "utf8_mangled")
_broken("utf8_replaced", lambda: _plain().decode("utf-8", "replace").encode(), "utf8_mangled")
_broken("bit_flip_in_id", lambda: patched(_plain(), 36, b"\xe4"), "bad_chunk")
UNDETECTABLE["bit_flips_in_samples"] = lambda: patched(_plain(), 20_000, b"\xff\x00\xaa\x55")

# MP3
_broken("id3_only", id3, "no_frames")
_broken("id3_past_end", lambda: id3(300, 90_000) + mp3(20), "truncated_header", "no_frames")
_broken("xing_times_10", lambda: xing(400, 41 * 144) + mp3(40), "xing_wrong")
_broken("xing_max", lambda: xing(_32, None) + mp3(40), "xing_wrong")
_broken("xing_too_few", lambda: xing(4, 41 * 144) + mp3(40), "xing_wrong")
_broken("vbri_times_10", lambda: vbri(400, 41 * 144) + mp3(40), "xing_wrong")
_broken("vbri_max", lambda: vbri(_32, 41 * 144) + mp3(40), "xing_wrong")
_broken("free_format", VALID["mp3_free"].make, "free_format")
_broken("junk_between", lambda: mp3(200) + _noise(200) + mp3(200), "resync")
_broken("junk_much", lambda: (mp3(4) + _noise(200)) * 10 + mp3(4), "damaged_frames")
_broken("junk_before", lambda: b"\x01\x02" + bytes(500) + mp3(40), "junk_before_audio")
_broken("junk_after", lambda: mp3(40) + b"\x01" + _noise(300), "trailing_bytes")
_broken("zeros_after", lambda: mp3(40) + bytes(9_000), "trailing_zeros")
_broken("hole_in_mp3", lambda: mp3(20) + bytes(1_440) + mp3(20), "damaged_frames")
_broken("layer_change", lambda: mp3(20) + frame(0xFFFD5004, 261) * 20, "format_change")
_broken("rate_change", lambda: mp3(20) + frame(0xFFE324C4, 96) * 20, "format_change")
_broken("tag_cut", lambda: mp3(40) + id3v1()[:60], "metadata_truncated")
_broken("crlf_mp3", lambda: lame(talk(3), kbps=32).replace(b"\n", b"\r\n"), "crlf_mangled")
