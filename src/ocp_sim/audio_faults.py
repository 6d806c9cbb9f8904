"""Ways to break a recording, WAV or MP3. What comes out is no valid recording of anything.

CORRUPTIONS, to be refused whatever the business rules say:

    name          of a WAV                                  of an MP3
    truncate      cut at 10–90 % of the data                cut inside a frame at 10–90 %
    header_only   all up to the first sample                the first frame's four header bytes
    no_fmt        the fmt chunk under another name          every frame header blotted out
    bad_fmt       0 channels, 0 Hz, 5 bits, unknown tag     every frame of the forbidden bit rate 15
    no_data       the data chunk under another name         an ID3v2 tag and not one frame
    size_lie      a data size two to nine times the truth   an Info frame that counts as wrongly

    one_byte      the first byte alone
    zero_bytes    an empty body: a receiver may refuse it at the door instead of judging it
    nul_bytes     the right length, every byte 0: blocks never written
    garbage       the right length, noise that no resynchronising reader takes for audio
    error_html    a gateway's error page under the name of the recording
    error_json    an API's error object
    error_xml     an object store's error document
    gzip          the right bytes, compressed and not said so
    other_format  the magic of Ogg, FLAC, ZIP, PNG or PDF, then noise

RULE_BREAKERS, sound containers whose content a rule may condemn; WAV only:

    silent        nothing but the codec's digital silence
    dead_tail     digital silence from 40 % on
    one_way       digital silence in place of the customer; two channels only
"""

import gzip
import json
import random
import struct
from collections.abc import Callable
from typing import Final

from ocp_sim.audio_codecs import (
    WAV_SILENCE,
    WAV_TAGS,
    Chunk,
    Mp3Frame,
    mp3_count_frame,
    mp3_frames,
    wav_chunks,
)

_MAGICS: Final = (
    b"OggS\x00\x02",
    b"fLaC\x00\x00\x00\x22",
    b"PK\x03\x04\x14\x00",
    b"\x89PNG\r\n\x1a\n",
    b"%PDF-1.7\n",
)
# (offset in the fmt chunk, struct format, value): channels, rate, bits per sample, format tag.
_BAD_FMT: Final = ((2, "<H", 0), (4, "<I", 0), (14, "<H", 5), (0, "<H", 0x9999))
# Sizes from 0x7FFFF000 on are what recorders write before they know better: no lie but a shrug.
_LIE_BYTES_MAX: Final = 0x7FFF_0000


def corrupt(data: bytes, how: str, seed: int) -> bytes:
    """Return the recording broken in the way `how`; the same bytes for the same seed.

    `how` is one of CORRUPTIONS or RULE_BREAKERS. ValueError when it is neither, when a rule breaker
    does not fit the file (see the table), or when `data` is broken already.
    """
    break_it = _WAYS.get(how) or _RULE_WAYS.get(how)
    if break_it is None:
        raise ValueError(f"{how!r} is none of {', '.join((*_WAYS, *_RULE_WAYS))}")
    chance = random.Random(f"corrupt:{how}:{seed}")  # noqa: S311 (wants to be repeatable)
    return break_it(data, chance)


def _truncate(data: bytes, chance: random.Random) -> bytes:
    share = chance.uniform(0.1, 0.9)
    if _is_wav(data):
        body = _data_chunk(data)
        return data[: body.offset + int(body.size * share)]
    frames = _mp3(data)
    frame = frames[int(len(frames) * share)]
    return data[: frame.offset + chance.randrange(frame.size // 4, frame.size - 1)]


def _header_only(data: bytes, _: random.Random) -> bytes:
    if _is_wav(data):
        return data[: _data_chunk(data).offset]
    return data[: _mp3(data)[0].offset + 4]


def _garbage(data: bytes, chance: random.Random) -> bytes:
    return b"\x9d" + _noise(max(len(data) - 1, 1), chance)


def _other_format(data: bytes, chance: random.Random) -> bytes:
    return chance.choice(_MAGICS) + _noise(len(data), chance)


def _error_html(_: bytes, chance: random.Random) -> bytes:
    status = chance.choice(("502 Bad Gateway", "503 Service Unavailable", "504 Gateway Time-out"))
    return (
        f"<!DOCTYPE html>\r\n<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status}</h1></center>\r\n<hr><center>nginx</center>\r\n"
        f"<!-- request {chance.getrandbits(64):016x} -->\r\n</body>\r\n</html>\r\n"
    ).encode()


def _error_json(_: bytes, chance: random.Random) -> bytes:
    status, error = chance.choice(
        ((404, "Not Found"), (500, "Internal Server Error"), (401, "Unauthorized"))
    )
    body = {"status": status, "error": error, "traceId": f"{chance.getrandbits(128):032x}"}
    return json.dumps(body).encode()


def _error_xml(_: bytes, chance: random.Random) -> bytes:
    code = chance.choice(("AccessDenied", "NoSuchKey", "SlowDown"))
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        f"<RequestId>{chance.getrandbits(64):016X}</RequestId></Error>"
    ).encode()


def _size_lie(data: bytes, chance: random.Random) -> bytes:
    times = chance.randint(2, 9)
    if _is_wav(data):
        body = _data_chunk(data)
        return _patched(data, body.offset - 4, "<I", min(body.size * times, _LIE_BYTES_MAX))
    first = data[: _mp3(data)[0].size]
    stream = data[len(first) :] if b"Info" in first or b"Xing" in first else data
    return mp3_count_frame(stream, b"Xing" if b"Xing" in first else b"Info", times) + stream


def _no_data(data: bytes, chance: random.Random) -> bytes:
    if _is_wav(data):
        return _patched(data, _data_chunk(data).offset - 8, "4s", b"junk")
    title = b"\x03" + f"call {chance.getrandbits(32)}".encode()
    frame = struct.pack(">4sIH", b"TIT2", len(title), 0) + title
    return struct.pack(">3sHBI", b"ID3", 0x0400, 0, len(frame)) + frame  # below 128: synchsafe


def _no_fmt(data: bytes, _: random.Random) -> bytes:
    if _is_wav(data):
        return _patched(data, _fmt_chunk(data).offset - 8, "4s", b"junk")
    out = bytearray(data)
    for frame in _mp3(data):
        out[frame.offset : frame.offset + 4] = bytes(4)
    return _without_sync(bytes(out))


def _bad_fmt(data: bytes, chance: random.Random) -> bytes:
    if _is_wav(data):
        offset, layout, value = chance.choice(_BAD_FMT)
        return _patched(data, _fmt_chunk(data).offset + offset, layout, value)
    out = bytearray(data)
    for frame in _mp3(data):
        out[frame.offset + 2] |= 0xF0
    return bytes(out)


def _muted(data: bytes, *, from_share: float = 0.0, customer_only: bool = False) -> bytes:
    fmt, body = _fmt_chunk(data), _data_chunk(data)
    tag, channels, _, _, align, _ = struct.unpack_from("<HHIIHH", data, fmt.offset)
    quiet = {WAV_TAGS[codec]: level for codec, level in WAV_SILENCE.items()}[tag]
    if customer_only and channels != 2:
        raise ValueError("one_way needs two channels")
    out = bytearray(data)
    start = body.offset + int(body.size // align * from_share) * align
    stop = body.offset + body.size
    width = align // channels
    for byte in range(width if customer_only else 0, align):
        out[start + byte : stop : align] = bytes((quiet,)) * ((stop - start) // align)
    return bytes(out)


def _is_wav(data: bytes) -> bool:
    return data[:4] == b"RIFF"


def _noise(size: int, chance: random.Random) -> bytes:
    return _without_sync(chance.randbytes(size))


def _without_sync(data: bytes) -> bytes:
    # Without 0xFF no byte can begin an MPEG frame, so no resynchronising reader finds one.
    return data.replace(b"\xff", b"\x7e")


def _data_chunk(data: bytes) -> Chunk:
    body = wav_chunks(data).get(b"data")
    if body is None or not 0 < body.size <= len(data) - body.offset:
        raise ValueError("a WAV without its data is broken already")
    return body


def _fmt_chunk(data: bytes) -> Chunk:
    fmt = wav_chunks(data).get(b"fmt ")
    if fmt is None:
        raise ValueError("a WAV without fmt is broken already")
    return fmt


def _mp3(data: bytes) -> list[Mp3Frame]:
    frames = mp3_frames(data)
    if not frames:
        raise ValueError("neither a RIFF/WAVE file nor MPEG frames")
    return frames


def _patched(data: bytes, offset: int, layout: str, value: int | bytes) -> bytes:
    out = bytearray(data)
    struct.pack_into(layout, out, offset, value)
    return bytes(out)


_WAYS: Final[dict[str, Callable[[bytes, random.Random], bytes]]] = {
    "truncate": _truncate,
    "header_only": _header_only,
    "one_byte": lambda data, _: data[:1],
    "zero_bytes": lambda data, _: b"",
    "nul_bytes": lambda data, _: bytes(len(data)),
    "garbage": _garbage,
    "error_html": _error_html,
    "error_json": _error_json,
    "error_xml": _error_xml,
    "gzip": lambda data, _: gzip.compress(data, compresslevel=1, mtime=0),
    "other_format": _other_format,
    "size_lie": _size_lie,
    "no_data": _no_data,
    "no_fmt": _no_fmt,
    "bad_fmt": _bad_fmt,
}
_RULE_WAYS: Final[dict[str, Callable[[bytes, random.Random], bytes]]] = {
    "silent": lambda data, _: _muted(data),
    "dead_tail": lambda data, _: _muted(data, from_share=0.4),
    "one_way": lambda data, _: _muted(data, customer_only=True),
}
CORRUPTIONS: Final[tuple[str, ...]] = tuple(_WAYS)
RULE_BREAKERS: Final[tuple[str, ...]] = tuple(_RULE_WAYS)
