"""Builders of recordings, byte by byte: sound, WAV chunks, MP3 frames, tags.

Deterministic, from the standard library alone, except the MP3s that ``lameenc`` encodes.
"""

import importlib
import math
import random
import struct
from array import array
from functools import cache

RATE = 8_000
_32 = 0xFFFFFFFF


# -- sound -----------------------------------------------------------------------------------------


@cache
def talk(seconds: float, rate: int = RATE, seed: int = 1, peak: int = 12_000) -> tuple[int, ...]:
    """Speech-like samples: loud syllables of some 200 ms on a voice of 120 Hz, never silent."""
    rng = random.Random(seed)
    out = []
    for n in range(int(seconds * rate)):
        t = n / rate
        swell = 0.35 + 0.65 * abs(math.sin(math.pi * 2.5 * t + seed))
        voice = sum(math.sin(2 * math.pi * 120 * k * t) / k for k in (1, 2, 3, 5, 8))
        out.append(int(peak * swell * voice / 2.2) + rng.randint(-40, 40))
    return tuple(out)


@cache
def hush(seconds: float, rate: int = RATE, seed: int = 1, noise: int = 6) -> tuple[int, ...]:
    """A quiet line: noise of at most ``noise`` of 32,768."""
    rng = random.Random(seed)
    return tuple(rng.randint(-noise, noise) for _ in range(int(seconds * rate)))


def interleave(*channels: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sample for frame in zip(*channels, strict=True) for sample in frame)


@cache
def _alaw_byte(sample: int) -> int:
    sign = 0x80 if sample >= 0 else 0
    level = (sample if sample >= 0 else -sample - 1) >> 3
    exponent = max(0, level.bit_length() - 5)
    mantissa = level >> max(1, exponent) & 15
    return (sign | exponent << 4 | mantissa) ^ 0x55


@cache
def _mulaw_byte(sample: int) -> int:
    level = min(abs(sample), 32_635) + 132
    exponent = level.bit_length() - 8
    return (~((0x80 if sample < 0 else 0) | exponent << 4 | level >> (exponent + 3) & 15)) & 0xFF


def encode(samples: tuple[int, ...], codec: str) -> bytes:
    """Return 16-bit ``samples`` in ``codec`` as the report names it."""
    order = ">" if codec.endswith("be") else "<"
    match codec[:7]:
        case "pcm_s16":
            return struct.pack(f"{order}{len(samples)}h", *samples)
        case "pcm_u8":
            return bytes((s >> 8) + 128 for s in samples)
        case "pcm_s24":
            return b"".join(struct.pack("<i", s << 8)[:3] for s in samples)
        case "pcm_s32":
            return array("i", (s << 16 for s in samples)).tobytes()
        case "pcm_f32":
            return array("f", (s / 32_768 for s in samples)).tobytes()
        case "pcm_f64":
            return array("d", (s / 32_768 for s in samples)).tobytes()
        case "pcm_ala":
            return bytes(map(_alaw_byte, samples))
        case _:
            return bytes(map(_mulaw_byte, samples))


# -- WAV -------------------------------------------------------------------------------------------

# codec -> (format tag, bits)
WAV_CODECS = {
    "pcm_s16le": (1, 16),
    "pcm_u8": (1, 8),
    "pcm_s24le": (1, 24),
    "pcm_s32le": (1, 32),
    "pcm_f32le": (3, 32),
    "pcm_f64le": (3, 64),
    "pcm_alaw": (6, 8),
    "pcm_mulaw": (7, 8),
}


def chunk(name: bytes, body: bytes, size: int | None = None, order: str = "<") -> bytes:
    head = name + struct.pack(order + "I", len(body) if size is None else size)
    return head + body + bytes(len(body) % 2)


def fmt(
    tag: int, channels: int, rate: int, bits: int, *, align: int | None = None,
    byte_rate: int | None = None, more: bytes = b"", order: str = "<",
) -> bytes:  # fmt: skip
    align = channels * bits // 8 if align is None else align
    byte_rate = rate * align if byte_rate is None else byte_rate
    body = struct.pack(order + "HHIIHH", tag, channels, rate, byte_rate & _32, align, bits)
    return chunk(b"fmt ", body + more, order=order)


def extensible(tag: int, channels: int, rate: int, bits: int, guid: bytes = b"") -> bytes:
    guid = guid or struct.pack("<I", tag) + bytes.fromhex("00001000800000aa00389b71")
    return fmt(0xFFFE, channels, rate, bits, more=struct.pack("<HHI", 22, bits, 0) + guid)


def riff(
    *chunks: bytes, magic: bytes = b"RIFF", size: int | None = None, order: str = "<"
) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack(order + "I", len(body) if size is None else size) + body


def wav(
    samples: tuple[int, ...], codec: str = "pcm_s16le", channels: int = 1, *, extended: bool = False
) -> bytes:
    """A plain WAV at 8 kHz: RIFF, fmt, data."""
    tag, bits = WAV_CODECS[codec]
    described = (extensible if extended else fmt)(tag, channels, RATE, bits)
    return riff(described, chunk(b"data", encode(samples, codec)))


def ds64(riff_size: int, data_size: int, frames: int = 0, more: bytes = b"") -> bytes:
    return chunk(b"ds64", struct.pack("<QQQ", riff_size, data_size, frames) + more)


def rf64(data: bytes, magic: bytes = b"RF64", sizes: bytes | None = None) -> bytes:
    sizes = ds64(len(data) + 72, len(data), len(data) // 2, bytes(4)) if sizes is None else sizes
    return riff(sizes, fmt(1, 1, RATE, 16), chunk(b"data", data, _32), magic=magic, size=_32)


def speech(channels: int = 1, seconds: float = 2) -> tuple[int, ...]:
    return interleave(*(talk(seconds, seed=number + 1) for number in range(channels)))


def pcm() -> bytes:
    """Two seconds of speech, 32,000 bytes."""
    return encode(speech(), "pcm_s16le")


FMT16 = fmt(1, 1, RATE, 16)
LIST = chunk(b"LIST", b"INFOISFT\x06\0\0\0Lavf61")


def big_endian() -> bytes:
    data = chunk(b"data", encode(speech(), "pcm_s16be"), order=">")
    return riff(fmt(1, 1, RATE, 16, order=">"), data, magic=b"RIFX", order=">")


def open_ended(size: int, *before: bytes) -> bytes:
    """A WAV whose writer never came back to fill in the sizes."""
    return riff(FMT16, *before, chunk(b"data", pcm(), size), size=size)


# -- MP3 -------------------------------------------------------------------------------------------

MP3_8K_16K = 0xFFE328C4  # MPEG-2.5 layer III, no CRC, 16 kbit/s, 8 kHz, mono: 144 bytes, 72 ms


def frame(word: int = MP3_8K_16K, length: int = 144, *, loud: bool = True, side: int = 9) -> bytes:
    """One MP3 frame; loud ones claim the global gain 180 in every granule and channel.

    Its bits are filled by hand for MPEG-2/2.5 mono; other kinds get ones all over when loud.
    """
    if side == 9:
        info = (500 << 51 | 20 << 42 | 180 << 34) if loud else 210 << 34
        return (struct.pack(">I", word) + info.to_bytes(9)).ljust(length, b"\x55")
    return (struct.pack(">I", word) + (b"\xff" if loud else b"\0") * side).ljust(length, b"\x55")


def mp3(frames: int, *, loud: bool = True) -> bytes:
    return frame(loud=loud) * frames


def id3(size: int = 300, claimed: int | None = None, *, footer: bool = False) -> bytes:
    claimed = size if claimed is None else claimed
    parts = bytes(claimed >> shift & 0x7F for shift in (21, 14, 7, 0))
    head = b"ID3\x04\x00" + (b"\x10" if footer else b"\x00") + parts
    return head + bytes(size) + (b"3DI" + head[3:] if footer else b"")


def id3v1() -> bytes:
    return b"TAG" + b"call".ljust(125, b"\0")


def ape() -> bytes:
    item = struct.pack("<II", 4, 0) + b"Title\0call"
    foot = b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, 1 << 31) + bytes(8)
    head = b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, 5 << 29) + bytes(8)
    return head + item + foot


def lyrics() -> bytes:
    body = b"LYRICSBEGININD00002" + b"10" + b"LYR00005hello"
    return body + b"%06dLYRICS200" % len(body)


def xing(frames: int, size: int | None, kind: bytes = b"Xing") -> bytes:
    """A Xing frame of 144 bytes that promises ``frames`` and, unless None, ``size`` bytes."""
    flags = 1 if size is None else 3
    body = kind + struct.pack(">II", flags, frames) + struct.pack(">I", size or 0)
    return (struct.pack(">I", MP3_8K_16K) + bytes(9) + body).ljust(144, b"\0")


def vbri(frames: int, size: int) -> bytes:
    body = b"VBRI" + struct.pack(">HHHII", 1, 0, 75, size, frames)
    return (struct.pack(">I", MP3_8K_16K) + bytes(32) + body).ljust(144, b"\0")


@cache
def lame(
    samples: tuple[int, ...], *, channels: int = 1, rate: int = RATE, kbps: int = 16,
    vbr: int | None = None, out_rate: int | None = None,
) -> bytes:  # fmt: skip
    """Encode with LAME: CBR at ``kbps``, or VBR of quality ``vbr``; no Xing header."""
    encoder = importlib.import_module("lameenc").Encoder()
    encoder.silence()
    encoder.set_channels(channels)
    encoder.set_in_sample_rate(rate)
    encoder.set_out_sample_rate(out_rate or rate)
    encoder.set_quality(7)
    if vbr is None:
        encoder.set_bit_rate(kbps)
    else:
        encoder.set_vbr(4)
        encoder.set_vbr_quality(vbr)
    return bytes(encoder.encode(encode(samples, "pcm_s16le")) + encoder.flush())
