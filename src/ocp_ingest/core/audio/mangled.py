"""Binary data that went through a text conversion on its way.

Rules
  1. Line ends: after a conversion of LF to CR LF no lone LF is left. One lone LF disproves it.
  2. Encoding: binary read as text and written as UTF-8 is valid UTF-8 throughout, which binary
     audio is not. A bad sequence before ``PROOFS_ENOUGH`` characters beyond ASCII disproves it.
  3. Sound files disprove both within a few hundred bytes, so the check costs nothing after that.
"""

import codecs
from typing import Final

PROOFS_MIN: Final = 8  # by chance: 256 to the power of -8 for line ends
PROOFS_ENOUGH: Final = 64  # stop looking


class MangleCheck:
    """Looks for the two conversions while bytes pass; ``feed`` takes them in order."""

    def __init__(self) -> None:
        self._line_ends = 0
        self._lone = False
        self._last = b""
        self._multibyte = 0
        self._decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()

    def feed(self, block: bytes) -> None:
        """Look at the next bytes."""
        if not self._lone and self._line_ends < PROOFS_ENOUGH:
            self._feed_line_ends(block)
        if self._decoder is not None and self._multibyte < PROOFS_ENOUGH:
            self._feed_encoding(block)

    def _feed_line_ends(self, block: bytes) -> None:
        at = block.find(b"\n")
        while at >= 0 and self._line_ends < PROOFS_ENOUGH:
            before = block[at - 1 : at] if at else self._last
            if before != b"\r":
                self._lone = True
                return
            self._line_ends += 1
            at = block.find(b"\n", at + 1)
        self._last = block[-1:] or self._last

    def _feed_encoding(self, block: bytes) -> None:
        assert self._decoder is not None
        try:
            text = self._decoder.decode(block)
        except UnicodeDecodeError as bad:
            text = bytes(bad.object[: bad.start]).decode()  # what was proven before it still counts
            self._decoder = None
        if not text.isascii():
            self._multibyte += len(text) - len(text.encode("ascii", "ignore"))

    @property
    def crlf(self) -> bool:
        """True when every line feed so far, and enough of them, followed a carriage return."""
        return not self._lone and self._line_ends >= PROOFS_MIN

    @property
    def utf8(self) -> bool:
        """True when the bytes so far began as valid UTF-8 with many non-ASCII characters."""
        return self._multibyte >= PROOFS_ENOUGH
