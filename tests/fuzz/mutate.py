"""Seeded mutations of bytes: what a coverage-guided fuzzer does between two looks at coverage."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random

STEPS_MAX = 6  # mutations of one input; more and nothing of its structure is left
BYTES_MAX = 16_384  # of one input; larger ones cost time and reach nothing that these don't
# Sizes and counts that overflow, wrap, or stand for "unknown".
_ODD = (0, 1, 2, 4, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
# Words of the formats, so that chance need not spell them.
WORDS: dict[str, tuple[bytes, ...]] = {
    "audio": (
        b"RIFF", b"RIFX", b"RF64", b"BW64", b"WAVE", b"fmt ", b"data", b"LIST", b"fact", b"ds64",
        b"ID3\x04\0\0\0\0\0\x10", b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"Xing", b"Info", b"VBRI",
        b"\xff\xfb\x90\x00", b"\xff\xe3\x08\xc4", b"<html>", b"%PDF", b"OggS", b"fLaC", b"\r\n",
    ),
    "zip": tuple(b"PK" + mark for mark in (
        b"\x03\x04", b"\x01\x02", b"\x05\x06", b"\x06\x06", b"\x06\x07", b"\x07\x08",
    )),
    "multipart": (
        b"--b", b"--b--", b"\r\n", b"\r\n--b\r\n", b"Content-Disposition: form-data; name=",
        b'"file"', b'"metadata"', b"; filename=", b"filename*=utf-8''", b"Content-Length: 3",
        b"Transfer-Encoding: chunked", b"\n", b"\r", b"\0",
    ),
    "json_form": (
        b'"data":', b'"url":', b'"name":', b'"size":', b'"sha256":', b'"http://', b"null",
        b"[" * 99, b"\xff", b"\\ud800", b"1e999", b"-0", b"==", b"{", b"}",
    ),
    "events": (
        b"\n", b"[", b"]", b"{", b"}", b",", b'"', b"\\", b"[" * 99, b"\xff", b"\x1f\x8b\x08",
    ),
    "answers": (
        b'"id":', b'"status":', b"PENDING", b"COMPLETED", b'"files":', b'"exports":', b"null", b"[",
        b"]", b"{", b"}", b"1e999", b"2023-01-12T12:00:00.000Z", b"-1", b"\\u0000",
    ),
    "names": (
        b"filename=", b"filename*=", b"UTF-8''", b"%", b'"', b"\\", b";", b"~", b".wav", b"/",
        b"\xc3\xb1", b"\0", b"1795341600000",
    ),
}  # fmt: skip

_Change = Callable[[Random, bytearray, Sequence[bytes], Sequence[bytes]], None]


def mutated(rng: Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One input of the corpus, changed in a few places."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(1, STEPS_MAX)):
        rng.choice(_CHANGES)(rng, data, corpus, words)
    return bytes(data[:BYTES_MAX])


def _span(rng: Random, data: bytearray) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 256, len(data))))


def _flip(rng: Random, data: bytearray, _: Sequence[bytes], __: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(rng: Random, data: bytearray, _: Sequence[bytes], __: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _number(rng: Random, data: bytearray, _: Sequence[bytes], __: Sequence[bytes]) -> None:
    at, value = rng.randrange(len(data) + 1), rng.choice(_ODD)
    packed = struct.pack(rng.choice(("<I", ">I")), value)[: rng.choice((1, 2, 4))]
    data[at : at + len(packed)] = packed


def _cut(rng: Random, data: bytearray, _: Sequence[bytes], __: Sequence[bytes]) -> None:
    start, end = _span(rng, data)
    del data[start:end]


def _twice(rng: Random, data: bytearray, _: Sequence[bytes], __: Sequence[bytes]) -> None:
    start, end = _span(rng, data)
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[start:end] * rng.choice((1, 1, 2, 8))


def _word(rng: Random, data: bytearray, _: Sequence[bytes], words: Sequence[bytes]) -> None:
    at, word = rng.randrange(len(data) + 1), rng.choice(words)
    data[at : at + rng.choice((0, len(word)))] = word


def _splice(rng: Random, data: bytearray, corpus: Sequence[bytes], __: Sequence[bytes]) -> None:
    other = rng.choice(corpus)
    at = rng.randrange(len(data) + 1)
    data[at:] = other[rng.randrange(len(other) + 1) :]


def _noise(rng: Random, data: bytearray, _: Sequence[bytes], __: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 8, 300)))


_CHANGES: tuple[_Change, ...] = (_flip, _byte, _number, _cut, _twice, _word, _splice, _noise)
