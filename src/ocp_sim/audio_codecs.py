"""Codecs and containers of the simulator's recordings: G.711, WAV, MP3.

What leaves here, by codec name:

    pcm16         RIFF/WAVE, fmt tag 1, fmt of 16 bytes, data
    alaw, mulaw   RIFF/WAVE, fmt tag 6 or 7, fmt of 18 bytes (cbSize 0), fact, data
    mp3           bare MPEG Layer III frames: no ID3; a Xing or Info frame in front when asked for

What can be read (voices only): PCM 8 to 32 bits, float 32 and 64, G.711, WAVE_FORMAT_EXTENSIBLE.
Samples are int16 arrays of shape (frames, channels) on the way out, float32 mono on the way in.
"""

import struct
from typing import Final, NamedTuple

import lameenc  # type: ignore[import-not-found]  # C extension without stubs
import numpy as np
from numpy.typing import NDArray

Int16 = NDArray[np.int16]
Float32 = NDArray[np.float32]
Uint8 = NDArray[np.uint8]

WAV_TAGS: Final = {"pcm16": 1, "alaw": 6, "mulaw": 7}
WAV_SILENCE: Final = {"pcm16": 0x00, "alaw": 0xD5, "mulaw": 0xFF}

# Work in blocks of this many samples: a table look-up widens its index eightfold meanwhile.
BLOCK_SAMPLES: Final = 1 << 18

# ISO/IEC 11172-3 and 13818-3, Layer III, by version bits of the header (3 = 1, 2 = 2, 0 = 2.5).
_MP3_RATES_HZ: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MP3_KBPS_V1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBPS_V2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MP3_SAMPLE_RATES_HZ: Final = frozenset(hz for rates in _MP3_RATES_HZ.values() for hz in rates)
MP3_VBR_KBPS_MAX: Final = 32  # else LAME spends far more than the mean on 8 kHz
_XING_BYTES: Final = 4 + 4 + 4 + 4 + 100  # id, flags, frame count, byte count, seek table


# ---- G.711 -------------------------------------------------------------------------------------


def _bit_length(magnitude: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.frexp(magnitude)[1].astype(np.int32)


def _alaw_table() -> Uint8:
    linear = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.where(linear < 0, ~linear, linear) >> 4
    segment = np.maximum(_bit_length(magnitude) - 4, 0)
    mantissa = (magnitude >> np.maximum(segment - 1, 0)) & 0xF
    code = (segment << 4) | mantissa | np.where(linear < 0, 0, 0x80)
    return np.asarray(code ^ 0x55, np.uint8)


def _mulaw_table() -> Uint8:
    linear = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.minimum((np.where(linear < 0, ~linear, linear) >> 2) + 33, 0x1FFF)
    segment = _bit_length(magnitude) - 5
    code = ((8 - segment) << 4) | (0xF - ((magnitude >> segment) & 0xF))
    return np.asarray(code | np.where(linear < 0, 0, 0x80), np.uint8)


# Indexed by the 16-bit sample seen as unsigned; the arithmetic is that of ITU-T G.191.
_ENCODE: Final = {"alaw": _alaw_table(), "mulaw": _mulaw_table()}


def g711_encode(pcm: Int16, law: str) -> bytes:
    """Encode samples, interleaved as they lie, to one byte each; `law` is "alaw" or "mulaw".

    Bit-exact to ITU-T G.711 with the rounding of ITU-T G.191 (`alaw_compress`, `ulaw_compress`).
    """
    flat = np.ascontiguousarray(pcm).reshape(-1).view(np.uint16)
    out = np.empty(flat.size, np.uint8)
    for start in range(0, flat.size, BLOCK_SAMPLES):
        block = slice(start, start + BLOCK_SAMPLES)
        out[block] = _ENCODE[law][flat[block]]
    return out.tobytes()


def g711_decode(payload: bytes, law: str) -> Int16:
    """Decode one byte a sample to 16 bits, flat; `law` is "alaw" or "mulaw"."""
    code = np.arange(256, dtype=np.int32) ^ (0x55 if law == "alaw" else 0xFF)
    segment, mantissa = (code >> 4) & 7, code & 0xF
    if law == "alaw":
        first = segment == 0
        value = ((mantissa << 4) + np.where(first, 8, 0x108)) << np.maximum(segment - 1, 0)
        value = np.where(code & 0x80, value, -value)
    else:
        value = (((mantissa << 3) + 0x84) << segment) - 0x84
        value = np.where(code & 0x80, -value, value)
    table: Int16 = value.astype(np.int16)
    return table[np.frombuffer(payload, np.uint8)]


# ---- WAV ---------------------------------------------------------------------------------------


class Chunk(NamedTuple):
    """One RIFF chunk: where its payload starts and how long it says it is, in bytes."""

    id: bytes
    offset: int
    size: int


def wav_chunks(data: bytes) -> dict[bytes, Chunk]:
    """Return the chunks of a RIFF/WAVE file by id, the first of each; ValueError for another."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("not a RIFF/WAVE file")
    found: dict[bytes, Chunk] = {}
    at = 12
    while at + 8 <= len(data):
        ident, size = struct.unpack_from("<4sI", data, at)
        found.setdefault(ident, Chunk(ident, at + 8, size))
        at += 8 + size + (size & 1)
    return found


def wav_encode(pcm: Int16, codec: str, sample_rate_hz: int) -> bytes:
    """Encode (frames, channels) to a complete WAV file with right sizes."""
    frames, channels = pcm.shape
    little = pcm.astype("<i2", copy=False)
    payload = little.tobytes() if codec == "pcm16" else g711_encode(pcm, codec)
    width = 2 if codec == "pcm16" else 1
    align = channels * width
    fmt = struct.pack(
        "<HHIIHH",
        WAV_TAGS[codec],
        channels,
        sample_rate_hz,
        sample_rate_hz * align,
        align,
        8 * width,
    )
    if codec == "pcm16":
        head = struct.pack("<4sI", b"fmt ", 16) + fmt
    else:
        head = struct.pack("<4sI", b"fmt ", 18) + fmt + b"\0\0"
        head += struct.pack("<4sII", b"fact", 4, frames)
    pad = b"\0" * (len(payload) & 1)
    riff_bytes = 4 + len(head) + 8 + len(payload) + len(pad)
    riff = struct.pack("<4sI4s", b"RIFF", riff_bytes, b"WAVE")
    return b"".join((riff, head, struct.pack("<4sI", b"data", len(payload)), payload, pad))


def wav_read(data: bytes) -> tuple[Float32, int]:
    """Return a WAV file as float32 mono in -1..1 and its sample rate in Hz.

    Channels are averaged. ValueError when it is no WAV or of a codec not listed above. A float
    format chunk of 16 bytes, without cbSize, is accepted.
    """
    chunks = wav_chunks(data)
    if b"fmt " not in chunks or b"data" not in chunks or chunks[b"fmt "].size < 16:
        raise ValueError("no fmt or data chunk")
    fmt = chunks[b"fmt "]
    tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", data, fmt.offset)
    if tag == 0xFFFE and fmt.size >= 40:
        (tag,) = struct.unpack_from("<H", data, fmt.offset + 24)
    if not 1 <= channels <= 8 or not 4_000 <= rate_hz <= 192_000:
        raise ValueError(f"{channels} channels at {rate_hz} Hz")
    body = chunks[b"data"]
    flat = _to_float(data[body.offset : body.offset + body.size], tag, bits)
    frames = flat.size // channels
    mono = flat[: frames * channels].reshape(frames, channels).mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise ValueError("samples that are no numbers")
    return mono, rate_hz


def _to_float(payload: bytes, tag: int, bits: int) -> Float32:
    width = bits // 8
    if width == 0 or (tag, bits) not in {
        *((1, b) for b in (8, 16, 24, 32)), (3, 32), (3, 64), (6, 8), (7, 8),
    }:  # fmt: skip
        raise ValueError(f"fmt tag {tag} with {bits} bits is not read here")
    payload = payload[: len(payload) // width * width]
    if tag == 3:
        return np.frombuffer(payload, f"<f{width}").astype(np.float32)
    if tag in (6, 7):
        whole, full_scale = g711_decode(payload, "alaw" if tag == 6 else "mulaw"), 2.0**15
    elif bits == 8:
        whole, full_scale = np.frombuffer(payload, np.uint8).astype(np.int16) - 128, 2.0**7
    elif bits == 24:
        wide = np.zeros((len(payload) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(payload, np.uint8).reshape(-1, 3)
        whole, full_scale = wide.reshape(-1).view("<i4"), 2.0**31
    else:
        whole, full_scale = np.frombuffer(payload, f"<i{width}"), 2.0 ** (bits - 1)
    return whole.astype(np.float32) / np.float32(full_scale)


# ---- MP3 ---------------------------------------------------------------------------------------


def mp3_encode(pcm: Int16, sample_rate_hz: int, *, kbps: int, vbr: bool, tag: bool) -> bytes:
    """Encode (frames, channels) with LAME; `kbps` is the bit rate of CBR, the mean wished of VBR.

    `tag` puts a Xing (VBR) or Info (CBR) frame in front. MPEG frames hold 576 or 1152 samples and
    LAME adds its delay, so the file is up to three frames longer than what went in.
    """
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(pcm.shape[1])
    encoder.set_in_sample_rate(sample_rate_hz)
    encoder.set_out_sample_rate(sample_rate_hz)
    encoder.set_quality(7)  # the fastest: a recorder does not polish
    if vbr:
        encoder.set_vbr(3)  # ABR: variable frames about a mean, what keeps telephony small
        encoder.set_vbr_mean_bitrate_kbps(kbps)
        encoder.set_vbr_max_bitrate_kbps(max(kbps, MP3_VBR_KBPS_MAX))
    else:
        encoder.set_bit_rate(kbps)
    parts = [
        bytes(encoder.encode(pcm[at : at + BLOCK_SAMPLES].astype("<i2", copy=False).tobytes()))
        for at in range(0, len(pcm), BLOCK_SAMPLES)
    ]
    stream = b"".join([*parts, bytes(encoder.flush())])
    return (mp3_count_frame(stream, b"Xing" if vbr else b"Info") if tag else b"") + stream


class Mp3Frame(NamedTuple):
    """One MPEG Layer III frame: where it is and how long, in bytes."""

    offset: int
    size: int


def mp3_frames(data: bytes) -> list[Mp3Frame]:
    """Return the frames from the first byte on, up to the end or to what is no frame.

    The last one may be longer than what is left of the data.
    """
    frames: list[Mp3Frame] = []
    at = 0
    while at + 4 <= len(data):
        size = _mp3_frame_bytes(int.from_bytes(data[at : at + 4], "big"))
        if size == 0:
            break
        frames.append(Mp3Frame(at, size))
        at += size
    return frames


def _mp3_frame_bytes(header: int) -> int:
    """Return the length of the frame with this header, 0 when it is no Layer III header."""
    version, layer = header >> 19 & 3, header >> 17 & 3
    kbps_index, rate_index = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 1:
        return 0
    if kbps_index in (0, 15) or rate_index == 3:
        return 0
    kbps = (_MP3_KBPS_V1 if version == 3 else _MP3_KBPS_V2)[kbps_index]
    slots = 144_000 if version == 3 else 72_000
    return slots * kbps // _MP3_RATES_HZ[version][rate_index] + (header >> 9 & 1)


def mp3_count_frame(stream: bytes, ident: bytes, times: int = 1) -> bytes:
    """Return a frame that counts the frames and bytes of the file that it is put in front of.

    `ident` is b"Xing" for variable, b"Info" for constant bit rates; `times` makes both counts lie.
    Layout: Xing's VBR header (id, flags 1 | 2 | 4, frames, bytes, seek table) after the frame's
    side information; it counts its own bytes but is not one of the frames.
    """
    frames = mp3_frames(stream)
    first = int.from_bytes(stream[:4], "big")
    mono, version = first >> 6 & 3 == 3, first >> 19 & 3
    side_bytes = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    bare = (first | 1 << 16) & ~(15 << 12 | 1 << 9)  # no CRC, no padding, bit rate to choose
    header = next(
        candidate
        for candidate in (bare | index << 12 for index in range(1, 15))
        if _mp3_frame_bytes(candidate) >= 4 + side_bytes + _XING_BYTES
    )
    size = _mp3_frame_bytes(header)
    total = size + len(stream)
    seek = bytes(
        256 * (size + frames[len(frames) * percent // 100].offset) // total
        for percent in range(100)
    )
    counts = struct.pack(">4sIII", ident, 7, len(frames) * times, total * times)
    return (header.to_bytes(4, "big") + bytes(side_bytes) + counts + seek).ljust(size, b"\0")
