"""The ``fmt `` chunk: which codec, and whether its numbers agree with each other.

Rules
  1. Known and taken: PCM 8/16/24/32, float 32/64, A-law, µ-law; plain or WAVE_FORMAT_EXTENSIBLE.
  2. Known and refused: the tags in ``OTHERS``, by their true name; any other tag as unknown.
  3. 1 to 8 channels, 4 to 192 kHz, ``block_align`` = channels x bytes per sample: otherwise error.
  4. A wrong byte rate, or 0 or 16 bits for G.711 (what some writers put there), are only warnings:
     the rest says the same. Any other number of bits means that the header is damaged.

Tags and GUID: Microsoft mmreg.h / ksmedia.h, RFC 2361.
"""

import struct
from typing import Final

import msgspec

from ocp_ingest.core.audio.problems import ProblemList

FMT_BYTES_MIN: Final = 16  # bytes of the oldest form in use
FMT_BYTES_MAX: Final = 4_096  # bytes kept; the longest real one (MS ADPCM, MP3) has 50
CHANNELS_MAX: Final = 8  # 7.1; a call has one or two
RATE_HZ_MIN: Final = 4_000  # Hz; below telephone quality by half
RATE_HZ_MAX: Final = 192_000  # Hz; the highest in studio use

_EXTENSIBLE: Final = 0xFFFE
_EXTENSIBLE_BYTES_MIN: Final = 40
_GUID_REST: Final = bytes.fromhex("00001000800000aa00389b71")  # after the 32-bit tag
_GUID_REST_BE: Final = bytes.fromhex("00000010800000aa00389b71")  # its two words swapped, in RIFX

_PCM: Final = {8: "pcm_u8", 16: "pcm_s16le", 24: "pcm_s24le", 32: "pcm_s32le"}
_FLOAT: Final = {32: "pcm_f32le", 64: "pcm_f64le"}
_G711: Final = {0x0006: "pcm_alaw", 0x0007: "pcm_mulaw"}
_LINEAR: Final = {0x0001: ("PCM", _PCM), 0x0003: ("float", _FLOAT)}

# tag -> (name, words)
OTHERS: Final[dict[int, tuple[str, str]]] = {
    0x0002: ("ms_adpcm", "Microsoft ADPCM in WAV"),
    0x0010: ("oki_adpcm", "OKI ADPCM in WAV"),
    0x0011: ("ima_adpcm", "IMA ADPCM in WAV"),
    0x0014: ("g723", "G.723 ADPCM in WAV"),
    0x0017: ("oki_adpcm", "Dialogic/OKI ADPCM in WAV"),
    0x0022: ("truespeech", "TrueSpeech in WAV"),
    0x0031: ("gsm", "GSM 06.10 in WAV"),
    0x0040: ("g726", "G.721/G.726 ADPCM in WAV"),
    0x0042: ("g723", "G.723.1 in WAV"),
    0x0045: ("g726", "G.726 ADPCM in WAV"),
    0x0050: ("mp2", "MPEG layer I/II in WAV"),
    0x0055: ("mp3", "MP3 in WAV"),
    0x0064: ("g726", "G.726 ADPCM in WAV"),
    0x0065: ("g722", "G.722 in WAV"),
    0x0083: ("g729", "G.729 in WAV"),
    0x00FF: ("aac", "AAC in WAV"),
    0x0160: ("wma", "Windows Media Audio in WAV"),
    0x0161: ("wma", "Windows Media Audio in WAV"),
    0x0162: ("wma", "Windows Media Audio in WAV"),
    0x028F: ("g722", "G.722 in WAV"),
    0x674F: ("vorbis", "Vorbis in WAV"),
    0x706D: ("aac", "AAC in WAV"),
    0xA109: ("speex", "Speex in WAV"),
    0xF1AC: ("flac", "FLAC in WAV"),
}


class WavFormat(msgspec.Struct, frozen=True):
    """A ``fmt `` chunk as understood; ``usable`` says that bytes can be turned into time."""

    codec: str
    channels: int
    rate_hz: int
    bits: int
    align: int
    usable: bool


def parse_fmt(body: bytes, big_endian: bool, problems: ProblemList) -> WavFormat:
    """Read the body of a ``fmt `` chunk (at least 16 bytes) and add what is wrong with it."""
    order = ">" if big_endian else "<"
    tag, channels, rate, byte_rate, align, bits = struct.unpack_from(order + "HHIIHH", body)
    if tag == _EXTENSIBLE:
        tag = _extensible_tag(body, order, problems)
    codec, width = _codec(tag, bits, problems)
    if big_endian and codec.endswith("le"):
        codec = codec[:-2] + "be"
    usable = width > 0
    if usable:
        usable = _agree(channels, rate, align, width, problems)
        if usable and byte_rate != rate * align:
            problems.add("byte_rate_wrong", claimed=byte_rate, right=rate * align)
    return WavFormat(codec, channels, rate, width * 8 or bits, align, usable)


def _extensible_tag(body: bytes, order: str, problems: ProblemList) -> int:
    """Return the tag inside the GUID, or -1 after adding why there is none."""
    if len(body) < _EXTENSIBLE_BYTES_MIN or struct.unpack_from(order + "H", body, 16)[0] < 22:
        problems.add("bad_extensible")
        return -1
    tag, rest = struct.unpack_from(order + "I", body, 24)[0], body[28:40]
    if rest == _GUID_REST or (order == ">" and rest == _GUID_REST_BE):
        return int(tag)
    words = f"WAV with the unknown extended format {body[24:40].hex()}"
    problems.add("unsupported.unknown_codec", words=words)
    return -1


def _codec(tag: int, bits: int, problems: ProblemList) -> tuple[str, int]:
    """Return codec and bytes per sample (0 when the codec cannot be read)."""
    if tag in _G711:
        if bits not in (0, 8, 16):
            problems.add("bad_bits", bits=bits, codec=_G711[tag])
        elif bits != 8:
            problems.add("bits_ignored", bits=bits, codec=_G711[tag])
        return _G711[tag], 1
    if tag in _LINEAR:
        words, by_bits = _LINEAR[tag]
        if bits not in by_bits:
            problems.add("bad_bits", bits=bits, codec=words)
        return by_bits.get(bits, ""), bits // 8 if bits in by_bits else 0
    if tag in OTHERS:
        name, words = OTHERS[tag]
        problems.add(f"unsupported.{name}", words=words)
        return name, 0
    if tag >= 0:
        words = f"WAV with the unknown codec 0x{tag:04X}"
        problems.add("unsupported.unknown_codec", words=words)
    return "", 0


def _agree(channels: int, rate: int, align: int, width: int, problems: ProblemList) -> bool:
    fine = True
    if not 1 <= channels <= CHANNELS_MAX:
        problems.add("bad_channels", channels=channels, limit=CHANNELS_MAX)
        fine = False
    if not RATE_HZ_MIN <= rate <= RATE_HZ_MAX:
        problems.add("bad_sample_rate", rate=rate, low=RATE_HZ_MIN, high=RATE_HZ_MAX)
        fine = False
    if align != channels * width:
        problems.add("bad_block_align", align=align, right=channels * width)
        fine = False
    return fine
