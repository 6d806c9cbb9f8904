"""The chunk walk of WAV, RF64, BW64 and RIFX, pushed byte by byte or block by block.

Rules
  1. Every size is unsigned and only compared with bytes that really arrived; nothing is allocated
     from a size. Kept are: 8-byte chunk headers, 24 bytes of ``ds64``, 4 of ``fact``, one ``fmt ``.
  2. Before the audio at most ``CHUNKS_MAX`` chunks and ``HEADER_BYTES_MAX`` bytes.
  3. Exactly one ``fmt ``, before ``data``; exactly one ``data``.
  4. The size of ``data`` is the declared one, or a sentinel of a writer that did not know it yet:
     0 with bytes following, 0x7FFFF000 to 0x7FFFFFFF (SoX), 0xFFFFFF00 and more (FFmpeg and kin);
     in RF64/BW64 the 64-bit size of ``ds64``, where 0 or all ones is the sentinel.
     A sentinel that the bytes fulfil exactly was no sentinel.
  5. After the audio the walk stops at the first name that is not printable; what follows is only
     counted. ``riff_verdict`` says what the counts mean.
  6. States: GATHER (collect ``_want`` bytes, then ``_then``), SKIP, DATA, REST (count only).

Sources: Microsoft RIFF MCI 1991, EBU Tech 3306 (RF64), ITU-R BS.2088 (BW64).
"""

import struct
from collections.abc import Callable
from typing import Final, Protocol

from ocp_ingest.core.audio.problems import ProblemList
from ocp_ingest.core.audio.report import Findings, Loudness
from ocp_ingest.core.audio.riff_verdict import (
    CHUNK_HEADER,
    KNOWN_CHUNKS,
    Walked,
    findings,
    is_sentinel,
    judge,
)
from ocp_ingest.core.audio.wav_content import WavContent
from ocp_ingest.core.audio.wav_format import FMT_BYTES_MAX, FMT_BYTES_MIN, WavFormat, parse_fmt

CHUNKS_MAX: Final = 4_096  # chunks; real files have fewer than 30
HEADER_BYTES_MAX: Final = 64 << 20  # bytes before the audio; cover pictures are far smaller
DS64_BYTES_MIN: Final = 24  # bytes: RIFF size, data size, sample count
_AUDIO: Final = "the audio"
_PADDING: Final = "a padding byte"
_ENDLESS: Final = 1 << 70  # more than any file
_32: Final = 0xFFFFFFFF
_64: Final = (1 << 64) - 1
_ZEROS: Final = bytes(1 << 18)


class Listener(Protocol):
    """Takes the audio of a file while the walk passes it."""

    def feed(self, block: bytes, start: int, end: int) -> None:
        """Take ``block[start:end]``, the next bytes of the audio."""

    def finish(self, problems: ProblemList) -> tuple[Loudness, float | None]:
        """Return the silence and the share of digital zero; add what is wrong."""


class RiffWalker:
    """Walks one file of the RIFF/WAVE family; ``content=False`` leaves loudness unmeasured."""

    def __init__(self, container: str, problems: ProblemList, *, content: bool) -> None:
        self.container = container
        self.problems = problems
        self._content_wanted = content
        self._content: Listener | None = None
        self._order = ">" if container == "rifx" else "<"
        self._wide = container in ("rf64", "bw64")
        self._offset = 0  # bytes consumed
        self._state: Callable[[bytes, int, int], int] = self._gather
        self._small = bytearray()
        self._want = 12
        self._then: Callable[[bytes], None] = self._on_file_header
        self._where = "the file header"
        self._left = 0  # bytes of the region being skipped or taken as audio
        self._chunk = b""
        self._chunk_start = 0
        self._chunks = 0
        self._chunks_end = 0
        self._riff_size = 0
        self._ds64: tuple[int, int] | None = None
        self._format: WavFormat | None = None
        self._fact = 0
        self._data_seen = False
        self._data_open = False
        self._declared = 0  # bytes of audio claimed; 0 with ``_endless`` when unknown
        self._endless = False
        self._received = 0  # bytes of audio arrived
        self._tail_start: int | None = None
        self._tail_zero = True
        if container == "rifx":
            problems.add("big_endian")

    # -- states ---------------------------------------------------------------------------------

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        at, end = 0, len(block)
        while at < end:
            at = self._state(block, at, end)

    def _gather(self, block: bytes, at: int, end: int) -> int:
        taken = min(self._want - len(self._small), end - at)
        self._small += block[at : at + taken]
        self._offset += taken
        if len(self._small) == self._want:
            found = bytes(self._small)
            self._small.clear()
            self._then(found)
        return at + taken

    def _skip(self, block: bytes, at: int, end: int) -> int:
        taken = min(self._left, end - at)
        self._left -= taken
        self._offset += taken
        if not self._left:
            self._chunk_done()
        return at + taken

    def _data(self, block: bytes, at: int, end: int) -> int:
        taken = min(self._left, end - at)
        self._left -= taken
        self._offset += taken
        self._received += taken
        if self._content is not None:
            self._content.feed(block, at, at + taken)
        if not self._left:
            self._data_open = False
            self._chunk_done()
        return at + taken

    def _rest(self, block: bytes, at: int, end: int) -> int:
        self._offset += end - at
        if self._tail_zero:
            self._tail_zero = all(
                block.startswith(_ZEROS[: min(len(_ZEROS), end - start)], start)
                for start in range(at, end, len(_ZEROS))
            )
        return end

    # -- moves between states ---------------------------------------------------------------------

    def _expect(self, want: int, then: Callable[[bytes], None], where: str) -> None:
        self._want, self._then, self._where = want, then, where
        self._state = self._gather

    def _next_chunk(self) -> None:
        self._expect(8, self._on_chunk, CHUNK_HEADER)

    def _pass(self, size: int) -> None:
        """Skip ``size`` bytes of the current chunk, then go on."""
        self._left, self._state = size, self._skip
        if not size:
            self._chunk_done()

    def _stop(self, tail_start: int | None = None) -> None:
        self._tail_start, self._state = tail_start, self._rest

    def _chunk_done(self) -> None:
        self._chunks_end = self._offset
        if (self._offset - self._chunk_start) % 2:
            self._expect(1, self._on_pad, _PADDING)
        else:
            self._next_chunk()

    def _on_pad(self, byte: bytes) -> None:
        """The padding byte is 0; a printable one is the next chunk's name without padding."""
        if byte.isalnum():
            self.problems.add("missing_pad")
            self._next_chunk()
            self._small += byte
        else:
            self._chunks_end = self._offset
            self._next_chunk()

    # -- chunks -----------------------------------------------------------------------------------

    def _on_file_header(self, head: bytes) -> None:
        self._riff_size = self._u32(head, 4)
        self._chunks_end = self._offset
        self._next_chunk()

    def _u32(self, body: bytes, at: int) -> int:
        return int(struct.unpack_from(self._order + "I", body, at)[0])

    def _on_chunk(self, head: bytes) -> None:
        name, size = head[:4], self._u32(head, 4)
        self._chunk, self._chunk_start = name, self._offset - 8
        self._chunks += 1
        if self._data_seen:
            self._on_late_chunk(name, size)
        elif not _printable(name):
            self.problems.add("bad_chunk", at=self._chunk_start)
            self._stop()
        elif self._chunks > CHUNKS_MAX:
            self.problems.add("too_many_chunks", limit=CHUNKS_MAX)
            self._stop()
        elif name == b"data":
            self._on_data(size)
        elif name == b"fmt ":
            self._on_fmt(size)
        elif self._offset + size > HEADER_BYTES_MAX:
            chunk = name.decode("ascii")
            self.problems.add("header_too_long", chunk=chunk, size=size, limit=HEADER_BYTES_MAX)
            self._stop()
        elif name == b"ds64" and self._wide and self._ds64 is None:
            self._on_ds64(size)
        elif name == b"fact" and size >= 4:
            self._expect(4, lambda body: self._on_fact(body, size), "the chunk 'fact'")
        else:
            self._pass(size)

    def _on_fmt(self, size: int) -> None:
        if not FMT_BYTES_MIN <= size <= FMT_BYTES_MAX:
            self.problems.add("bad_fmt_size", size=size, low=FMT_BYTES_MIN, limit=FMT_BYTES_MAX)
            self._stop()
        elif self._format is not None:
            self.problems.add("fmt_twice")
            self._pass(size)
        else:
            self._expect(size, self._on_fmt_body, "the format description")

    def _on_fmt_body(self, body: bytes) -> None:
        self._format = parse_fmt(body, self._order == ">", self.problems)
        self._chunk_done()

    def _on_ds64(self, size: int) -> None:
        if size < DS64_BYTES_MIN:
            self.problems.add("bad_ds64", size=size)
            self._ds64 = (0, 0)
            self._pass(size)
        else:
            self._expect(
                DS64_BYTES_MIN, lambda body: self._on_ds64_body(body, size), "the chunk 'ds64'"
            )

    def _on_ds64_body(self, body: bytes, size: int) -> None:
        self._ds64 = struct.unpack_from("<QQ", body)
        self._pass(size - DS64_BYTES_MIN)

    def _on_fact(self, body: bytes, size: int) -> None:
        self._fact = self._u32(body, 0)
        self._pass(size - 4)

    # -- audio ------------------------------------------------------------------------------------

    def _on_data(self, size: int) -> None:
        if self._format is None:
            self.problems.add("no_fmt")
        if self._wide and self._ds64 is None:
            self.problems.add("no_ds64", container=self.container.upper())
        if self._wide and self._ds64 is not None and size in (0, _32):
            size = self._ds64[1]
            self._endless = size in (0, _64)
        else:
            self._endless = is_sentinel(size)
        self._declared = size
        self._data_seen = True
        if size == 0:
            self._chunks_end = self._offset
            self._expect(8, self._on_after_zero, _AUDIO)
        else:
            self._open_data(_ENDLESS if size in (_32, _64) else size)

    def _on_after_zero(self, head: bytes) -> None:
        """Size 0: an empty recording if a known chunk follows, else a header never completed."""
        if head[:4] in KNOWN_CHUNKS:
            self._endless = False
            self._chunks_end = self._offset - 8
            self._on_chunk(head)
        else:
            self._take_first(head)

    def _take_first(self, head: bytes) -> None:
        self._endless = True
        self._open_data(_ENDLESS)
        self._offset -= len(head)
        self._data(head, 0, len(head))

    def _open_data(self, size: int) -> None:
        self._left, self._state, self._data_open = size, self._data, True
        fmt = self._format
        if self._content_wanted and fmt is not None and fmt.usable:
            self._content = self.listener(fmt)

    def listener(self, fmt: WavFormat) -> Listener:
        """Return who listens to the audio."""
        return WavContent(fmt.codec, fmt.channels, fmt.bits // 8, fmt.rate_hz)

    def _on_late_chunk(self, name: bytes, size: int) -> None:
        if name in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
            self.problems.add("joined_files", at=self._chunk_start)
            self._stop()
        elif not _printable(name) or self._chunks > CHUNKS_MAX:
            self._tail_zero = not any(self._head_bytes(name, size))
            self._stop(self._chunk_start)
        elif name == b"data":
            self.problems.add("data_twice")
            self._pass(size)
        elif name == b"fmt ":
            self.problems.add("fmt_after_data" if self._format is None else "fmt_twice")
            self._pass(size)
        else:
            self._pass(size)

    def _head_bytes(self, name: bytes, size: int) -> bytes:
        return name + size.to_bytes(4)

    # -- the end ----------------------------------------------------------------------------------

    def finish(self) -> tuple[Findings, Loudness]:
        """Judge what arrived; no more bytes follow."""
        if self._where == _AUDIO and self._state == self._gather and self._small:
            first = bytes(self._small)
            self._small.clear()
            self._take_first(first)
        walked = self._walked()
        judge(walked, self.problems)
        if self._content is None:
            return findings(walked, None), Loudness()
        loudness, zero_share = self._content.finish(self.problems)
        return findings(walked, zero_share), loudness

    def _walked(self) -> Walked:
        gathering, skipping = self._state == self._gather, self._state == self._skip
        tail_start, tail_zero = self._tail_start, self._tail_zero
        if self._data_seen and gathering and self._small and self._where == CHUNK_HEADER:
            tail_start, tail_zero = self._offset - len(self._small), not any(self._small)
        claimed = self._riff_size
        if self._wide and self._ds64 is not None and claimed == _32:
            claimed = self._ds64[0]
        return Walked(
            container=self.container,
            format=self._format,
            bytes=self._offset,
            stopped=self._state == self._rest,
            cut_chunk=self._chunk.decode("ascii") if skipping and self._left else "",
            cut_chunk_start=self._chunk_start,
            cut_header=self._where if gathering and (self._small or self._between()) else "",
            data_seen=self._data_seen,
            data_open=self._data_open,
            declared=self._declared,
            endless=self._endless and self._data_open,
            received=self._received,
            fact=self._fact,
            tail_start=tail_start,
            tail_zero=tail_zero,
            riff_size=0 if is_sentinel(claimed) else claimed,
            chunks_end=self._chunks_end,
        )

    def _between(self) -> bool:
        """True when the bytes awaited were promised by a header already read."""
        return self._where not in (CHUNK_HEADER, _PADDING, _AUDIO)


def _printable(name: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in name)
