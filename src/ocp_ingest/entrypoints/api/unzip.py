"""Bodies compressed with gzip, with a bound on what comes out: a bomb costs it no memory."""

from __future__ import annotations

import zlib
from typing import Final

from ocp_ingest.core.errors import Invalid, TooLarge

_GZIP: Final = 31  # zlib's wbits for the gzip format alone
# A gzip file may hold several members; more than a few come from nobody.
MEMBERS_MAX: Final = 64


class Unzip:
    """Takes compressed blocks; never holds more than `bytes_max` of output."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._member = zlib.decompressobj(_GZIP)
        self._members = 1
        self._out = bytearray()

    def feed(self, block: bytes) -> None:
        """Takes the next block. Raises TooLarge, or Invalid for what is no gzip."""
        data = block
        while data:
            if self._member.eof:
                self._next_member()
            room = self._bytes_max - len(self._out) + 1
            try:
                self._out += self._member.decompress(data, room)
            except zlib.error as bad:
                raise Invalid(f"The body is no valid gzip: {bad}.") from None
            if len(self._out) > self._bytes_max:
                raise TooLarge(f"The body may have {self._bytes_max} bytes after decompression.")
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MEMBERS_MAX:
            raise Invalid(f"The gzip body has more than {MEMBERS_MAX} members.")
        self._member = zlib.decompressobj(_GZIP)

    def finish(self) -> bytes:
        """All of it. Raises Invalid when the end is missing."""
        if not self._member.eof:
            raise Invalid("The gzip body ends too early: send it again whole.")
        return bytes(self._out)
