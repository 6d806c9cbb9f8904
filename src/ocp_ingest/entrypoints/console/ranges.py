"""Range requests (RFC 9110 section 14): which bytes of an object are asked for; pure.

header                       answer
none, another unit, several  the whole object (200): a server may ignore what it does not do
bytes=a-b, bytes=a-          that part (206), cut at the end of the object
bytes=-n                     the last n bytes (206)
begins behind the end        416, with the length of the object
If-Range of another version  the whole object (200)
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_ONE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


class Part(msgspec.Struct, frozen=True):
    """`length` bytes from `offset` on, of an object of `size`; `whole`: no range was asked for."""

    offset: int
    length: int
    size: int
    whole: bool = False

    @property
    def content_range(self) -> str:
        """The value of Content-Range."""
        return f"bytes {self.offset}-{self.offset + self.length - 1}/{self.size}"


class Unsatisfiable(msgspec.Struct, frozen=True):
    """The range begins behind the end."""

    size: int

    @property
    def content_range(self) -> str:
        """The value of Content-Range."""
        return f"bytes */{self.size}"


def part_of(size: int, etag: str, asked: str | None, if_range: str | None) -> Part | Unsatisfiable:
    """What to answer to `Range: asked` and `If-Range: if_range`; `etag` is the object's, quoted."""
    whole = Part(0, size, size, whole=True)
    if asked is None or (if_range is not None and if_range.strip() != etag):
        return whole
    found = _ONE.fullmatch(asked.strip().replace(" ", ""))
    if found is None or found.groups() == ("", ""):
        return whole
    first, last = found.groups()
    if not first:
        length = min(int(last), size)
        return Part(size - length, length, size) if length else Unsatisfiable(size)
    offset = int(first)
    if last and int(last) < offset:
        return whole  # no valid range: to be ignored
    if offset >= size:
        return Unsatisfiable(size)
    return Part(offset, min(int(last or size), size - 1) - offset + 1, size)
