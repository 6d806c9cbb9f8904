"""What surrounds MP3 frames: tags, and the promises of Xing, Info and VBRI headers.

Rules
  1. A size is read, bounded and compared; nothing is allocated from it.
  2. A promise is a claim about the whole stream; it is compared with what was counted.

Sources: id3.org 2.3 and 2.4 (28-bit sizes, footer), APEv2, Lyrics3 2.00, Xing and VBRI headers.
"""

from struct import Struct
from typing import Final

import msgspec

TAG_BYTES_MAX: Final = 64 << 20  # bytes of one tag; a cover picture is far smaller
LYRICS: Final = b"LYRICSBEGIN"
LYRICS_END: Final = (b"LYRICS200", b"LYRICSEND")
_APE_IS_HEADER: Final = 1 << 29
_TWO: Final = Struct("<II").unpack_from
_WORD: Final = Struct(">I").unpack_from


def id3v2_bytes(buffer: bytes, at: int) -> int:
    """Return the whole length of the ID3v2 tag at ``at`` (10 bytes are needed), or 0."""
    if buffer[at : at + 3] != b"ID3" or buffer[at + 3] == 0xFF or buffer[at + 4] == 0xFF:
        return 0
    size = buffer[at + 6 : at + 10]
    if len(size) < 4 or any(byte & 0x80 for byte in size):
        return 0
    footer = 10 if buffer[at + 5] & 0x10 else 0
    return 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]) + footer


def tag_bytes(buffer: bytes, at: int) -> int:
    """Return the whole length of an ID3v1, ID3v2 or APE tag at ``at`` (32 bytes needed), or 0."""
    if buffer.startswith(b"TAG", at):
        return 227 if buffer[at + 3 : at + 4] == b"+" else 128
    if buffer.startswith(b"APETAGEX", at):
        size, _items = _TWO(buffer, at + 12)
        (flags,) = Struct("<I").unpack_from(buffer, at + 20)
        if flags & _APE_IS_HEADER:
            return 32 + int(size) if size <= TAG_BYTES_MAX else 0
        return 32
    return id3v2_bytes(buffer, at)


class Promise(msgspec.Struct, frozen=True):
    """What a Xing, Info or VBRI header claims; None where it claims nothing."""

    kind: str
    frames: int | None
    bytes: int | None


def read_promise(buffer: bytes, at: int, side_bytes: int) -> Promise | None:
    """Return the promise in the frame at ``at``, or None when the frame is an ordinary one.

    ``side_bytes`` is the length of the side information; some writers count the CRC in, some not.
    """
    for place in (at + 4 + side_bytes, at + 6 + side_bytes):
        kind = buffer[place : place + 4]
        if kind in (b"Xing", b"Info"):
            (flags,) = _WORD(buffer, place + 4)
            frames = _WORD(buffer, place + 8)[0] if flags & 1 else None
            size = _WORD(buffer, place + (12 if flags & 1 else 8))[0] if flags & 2 else None
            return Promise(kind.decode("ascii"), frames, size)
    if buffer.startswith(b"VBRI", at + 36):
        return Promise("VBRI", _WORD(buffer, at + 50)[0], _WORD(buffer, at + 46)[0])
    return None
