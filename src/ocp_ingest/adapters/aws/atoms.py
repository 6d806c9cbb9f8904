"""Atoms of a record: values that no dictionary can foretell, kept once and as bytes.

Deflate needs some 12 bits for a hexadecimal digit that says 4, and a time or a number is news to
it each time. So `Atoms` takes hashes, UUIDs, times and numbers out of a record and leaves their
numbers; what is left is structure. See codec.py for the form.

Kind       value                                     bytes in the pool
CALL       the call's id                             none
TIME       a time in ms                              the first: 6; others: distance from it, varint
INT        a number of 128 or more                   varint
NEGATIVE   a number below 0                          varint of -1 - n
SHARE      a share between 0 and 1, six digits       3
UUID       in lower case                             16
LANDING    a landing key, "ab/ab…"                   16
ISO        a time as "2026-11-20T18:24:36.118Z"      like TIME
HEX + n    hexadecimal text in lower case            n
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from ocp_ingest.adapters.aws.words import KEYS_1
from ocp_ingest.core.limits import TIME_MS_MAX, TIME_MS_MIN

CALL, TIME, INT, NEGATIVE, SHARE, UUID, LANDING, ISO, HEX = range(9)

# Shorter ones are no shorter as atoms; longer ones have no number of their own.
_HEX_BYTES: Final = range(6, 129)
_TEXT_CHARS_MIN: Final = 2 * _HEX_BYTES.start
_INT_INLINE: Final = 128  # smaller ones are one byte of msgpack as they are
_TIME_BYTES: Final = 6
_SHARE_UNIT: Final = 1_000_000
_SHARE_BYTES: Final = 3

# In text: where the call's id was; and, at its beginning, that the rest is as it was.
_CALL_MARK: Final = "\x01"
_AS_IT_IS: Final = "\x02"

_HEX_TEXT: Final = re.compile(r"(?:[0-9a-f]{2})+")
_UUID_TEXT: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LANDING_TEXT: Final = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{30}")
_ISO_TEXT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")

# Texts that are sixteen bytes in another dress.
_TEXTS: Final[tuple[tuple[int, re.Pattern[str], Callable[[str], bytes]], ...]] = (
    (UUID, _UUID_TEXT, lambda text: bytes.fromhex(text.replace("-", ""))),
    (LANDING, _LANDING_TEXT, lambda text: bytes.fromhex(text[3:])),
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)

_KEY_CODES: Final = {key: code for code, key in enumerate(KEYS_1)}


class Atoms:
    """The atoms of one record, in the order in which they are met."""

    def __init__(self, call_id: str) -> None:
        self.kinds = bytearray()
        self.pool = bytearray()
        self._call_id = call_id
        self._numbers: dict[tuple[int, object], int] = {}
        self._base: int | None = None

    def tree(self, value: Any) -> Any:
        """The value with its atoms replaced."""
        if isinstance(value, dict):
            return {self._key(key): self.tree(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.tree(item) for item in value]
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, float):
            return self._float(value)
        return self._int(value) if type(value) is int else value  # true and false are ints too

    def _key(self, key: str | int) -> Any:
        code = _KEY_CODES.get(key)
        if code is not None:
            return code
        return self._text(key) if isinstance(key, str) else self._number(key)

    def _int(self, value: int) -> int:
        if 0 <= value < _INT_INLINE:
            return value
        if TIME_MS_MIN <= value < TIME_MS_MAX:
            return self._atom(TIME, value, lambda: self._time(value))
        return self._number(value)

    def _number(self, value: int) -> int:
        if value < 0:
            return self._atom(NEGATIVE, value, lambda: _varint(-1 - value))
        return self._atom(INT, value, lambda: _varint(value))

    def _float(self, value: float) -> float | int:
        if 0 < value < 1:
            scaled = round(value * _SHARE_UNIT)
            if scaled / _SHARE_UNIT == value:
                return self._atom(SHARE, value, lambda: scaled.to_bytes(_SHARE_BYTES, "big"))
        return value

    def _text(self, text: str) -> str | int:
        if text == self._call_id:
            return self._atom(CALL, text, bytes)
        if len(text) < _TEXT_CHARS_MIN:
            return self._plain(text)
        for kind, form, body in _TEXTS:
            if form.fullmatch(text):
                return self._atom(kind, text, partial(body, text))
        if _HEX_TEXT.fullmatch(text) and len(text) // 2 in _HEX_BYTES:
            return self._atom(HEX + len(text) // 2, text, lambda: bytes.fromhex(text))
        at_ms = _ms(text) if _ISO_TEXT.fullmatch(text) else None
        if at_ms is not None:
            return self._atom(ISO, text, lambda: self._time(at_ms))
        return self._plain(text)

    def _plain(self, text: str) -> str:
        if _CALL_MARK in text or text.startswith(_AS_IT_IS):
            return _AS_IT_IS + text
        return text.replace(self._call_id, _CALL_MARK) if self._call_id else text

    def _time(self, at_ms: int) -> bytes:
        """The first time as it is, the others as their distance from it."""
        if self._base is None:
            self._base = at_ms
            return at_ms.to_bytes(_TIME_BYTES, "big")
        distance = at_ms - self._base
        return _varint(2 * distance if distance >= 0 else -2 * distance - 1)

    def _atom(self, kind: int, value: object, body: Callable[[], bytes]) -> int:
        number = self._numbers.get((kind, value))
        if number is None:
            number = self._numbers[kind, value] = len(self._numbers)
            self.pool += body()
            self.kinds.append(kind)
        return -1 - number


def atoms_of(call_id: str, kinds: bytes, pool: bytes) -> list[Any]:
    """The atoms that a pool holds. Raises ValueError for a pool that is none of ours."""
    reader = _Reader(pool, call_id)
    found = [_READERS[kind](reader) if kind < HEX else reader.hex(kind - HEX) for kind in kinds]
    reader.end()
    return found


class _Reader:
    """A pool, from its first byte to its last."""

    def __init__(self, pool: bytes, call_id: str) -> None:
        self.call_id = call_id
        self._pool = pool
        self._at = 0
        self._base: int | None = None

    def take(self, count: int) -> bytes:
        self._at += count
        if self._at > len(self._pool):
            raise ValueError("a pool without its end")
        return self._pool[self._at - count : self._at]

    def varint(self) -> int:
        number = shift = 0
        while True:  # ends with the pool
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:  # no more follows
                return number

    def time(self) -> int:
        if self._base is None:
            self._base = int.from_bytes(self.take(_TIME_BYTES), "big")
            return self._base
        coded = self.varint()
        return self._base + (-(coded + 1) // 2 if coded & 1 else coded // 2)

    def share(self) -> float:
        return int.from_bytes(self.take(_SHARE_BYTES), "big") / _SHARE_UNIT

    def hex(self, count: int) -> str:
        return self.take(count).hex()

    def uuid(self) -> str:
        text = self.hex(16)
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def landing(self) -> str:
        text = self.hex(16)
        return f"{text[:2]}/{text}"

    def end(self) -> None:
        if self._at != len(self._pool):
            raise ValueError("a pool with more than its atoms")


_READERS: Final[dict[int, Callable[[_Reader], Any]]] = {
    CALL: lambda reader: reader.call_id,
    TIME: _Reader.time,
    INT: _Reader.varint,
    NEGATIVE: lambda reader: -1 - reader.varint(),
    SHARE: _Reader.share,
    UUID: _Reader.uuid,
    LANDING: _Reader.landing,
    ISO: lambda reader: _iso(reader.time()),
}


def restored(value: Any, call_id: str, atoms: list[Any]) -> Any:
    """The value that a tree stands for."""
    if isinstance(value, dict):
        return {
            _key_of(key, call_id, atoms): restored(item, call_id, atoms)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [restored(item, call_id, atoms) for item in value]
    if isinstance(value, str):
        plain = value.startswith(_AS_IT_IS)
        return value[1:] if plain else value.replace(_CALL_MARK, call_id)
    return atoms[-1 - value] if type(value) is int and value < 0 else value


def _key_of(key: str | int, call_id: str, atoms: list[Any]) -> Any:
    if isinstance(key, int) and key >= 0:
        return KEYS_1[key]
    return restored(key, call_id, atoms)


def _varint(number: int) -> bytes:
    body = bytearray()
    while number > 0x7F:
        body.append(number & 0x7F | 0x80)
        number >>= 7
    body.append(number)
    return bytes(body)


def _ms(text: str) -> int | None:
    """The time of an ISO text, if it is one that `_iso` writes so."""
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        return None
    at_ms = (moment - _EPOCH) // _MS
    return at_ms if at_ms >= 0 and _iso(at_ms) == text else None


def _iso(at_ms: int) -> str:
    moment = _EPOCH + at_ms * _MS
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03}Z"
