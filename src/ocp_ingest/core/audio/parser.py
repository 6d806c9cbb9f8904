"""One pass over a recording: count, hash, recognise, walk, listen, judge.

Rules
  1. Bytes come in any blocks; the report does not depend on how they were cut.
  2. The first ``SNIFF_BYTES`` decide what it is; then one walker takes everything.
  3. Memory is one block and a few KB, whatever the file claims about itself.
  4. No input raises. What is wrong is a problem of the report.
  5. Small blocks are collected to ``BLOCK_BYTES_MIN`` first, which only saves time.
"""

import hashlib
from typing import Protocol

from ocp_ingest.core.audio.mangled import MangleCheck
from ocp_ingest.core.audio.mpeg import MpegWalker
from ocp_ingest.core.audio.problems import ProblemList
from ocp_ingest.core.audio.report import AudioReport, Findings, Loudness
from ocp_ingest.core.audio.riff import RiffWalker
from ocp_ingest.core.audio.sniff import (
    NAMES,
    SNIFF_BYTES,
    VAGUE_NAMES,
    WAV_NAMES,
    WRAPPERS,
    sniff,
    wav_inside,
)

BLOCK_BYTES_MIN = 16_384  # bytes; below it the call costs more than the work
FILE_BYTES_MIN = 12  # bytes of the shortest header that says anything


class _Walker(Protocol):
    def feed(self, block: bytes) -> None: ...
    def finish(self) -> tuple[Findings, Loudness]: ...


class _Other:
    """Everything that is neither WAV nor MP3: named, and only counted."""

    def __init__(self, container: str) -> None:
        self._container = container

    def feed(self, block: bytes) -> None:
        pass

    def finish(self) -> tuple[Findings, Loudness]:
        return Findings(self._container), Loudness()


class AudioParser:
    """Reads one recording as its bytes pass.

    ``hash=False`` leaves ``sha256`` empty; ``content=False`` reads headers only (for the door):
    no silence, no text-conversion check, and for MP3 no frames, so no duration but the declared.
    """

    def __init__(self, *, hash: bool = True, content: bool = True) -> None:
        self._hash = hashlib.sha256() if hash else None
        self._content = content
        self._mangle = MangleCheck() if content else None
        self._problems = ProblemList()
        self._bytes = 0
        self._pending = bytearray()
        self._walker: _Walker | None = None

    def feed(self, block: bytes | memoryview) -> None:
        """Take the next bytes; best in blocks of 256 KB."""
        self._bytes += len(block)
        # At the door, past the head, there is nothing to collect for: samples are not looked at.
        door = self._walker is not None and not self._content
        if door or (not self._pending and len(block) >= BLOCK_BYTES_MIN):
            self._take(block if isinstance(block, bytes) else bytes(block))
            return
        self._pending += block
        if len(self._pending) >= BLOCK_BYTES_MIN:
            self._take_pending()

    def _take_pending(self) -> None:
        block = bytes(self._pending)
        self._pending.clear()
        self._take(block)

    def _take(self, block: bytes) -> None:
        """Take a block; the first one holds at least ``SNIFF_BYTES`` unless the file is shorter."""
        if self._hash is not None:
            self._hash.update(block)
        if self._walker is None:
            self._walker = self._recognise(block[:SNIFF_BYTES])
        if self._mangle is not None:
            self._mangle.feed(block)
        self._walker.feed(block)

    def _recognise(self, head: bytes) -> _Walker:
        name = sniff(head)
        if len(head) < FILE_BYTES_MIN:
            code = "too_short" if head else "empty"
            self._problems.add(code, bytes=len(head))
            return _Other(name)
        if name in VAGUE_NAMES or name in WRAPPERS:
            at = wav_inside(head)
            if at > 0:
                self._problems.add("leading_bytes", at=at)
        if name in WAV_NAMES:
            return RiffWalker(name, self._problems, content=self._content)
        if name == "mp3" or (name in VAGUE_NAMES and MpegWalker.begins_in(head)):
            return MpegWalker(self._problems, content=self._content)
        return _Other(name)

    def finish(self, *, expected_bytes: int | None = None) -> AudioReport:
        """Return the report; ``expected_bytes`` is what the sender announced (Content-Length)."""
        if self._pending or self._walker is None:
            self._take_pending()
        assert self._walker is not None
        found, loud = self._walker.finish()
        self._judge_name(found.container)
        self._judge_transport(found.container, expected_bytes)
        return AudioReport(
            container=found.container,
            codec=found.codec,
            sample_rate_hz=found.sample_rate_hz,
            channels=found.channels,
            bits_per_sample=found.bits_per_sample,
            bit_rate_bps=found.bit_rate_bps,
            frames=found.frames,
            duration_ms=found.duration_ms,
            declared_duration_ms=found.declared_duration_ms,
            bytes=self._bytes,
            sha256=self._hash.hexdigest() if self._hash is not None else "",
            silence_share=loud.silence_share,
            channel_silence_share=loud.channel_silence_share,
            dead_tail_ms=loud.dead_tail_ms,
            longest_silence_ms=loud.longest_silence_ms,
            silent_runs=loud.silent_runs,
            digital_zero_share=found.digital_zero_share,
            streaming_header=found.streaming_header,
            problems=self._problems.as_tuple(),
        )

    def _judge_name(self, container: str) -> None:
        if container in NAMES and self._bytes >= FILE_BYTES_MIN:
            family, words = NAMES[container]
            self._problems.add(f"{family}.{container}", words=words, bytes=self._bytes)

    def _judge_transport(self, container: str, expected_bytes: int | None) -> None:
        if expected_bytes is not None and expected_bytes != self._bytes:
            self._problems.add("length_mismatch", expected=expected_bytes, received=self._bytes)
        if self._mangle is None:
            return
        audio = container in WAV_NAMES or container == "mp3"
        if audio and self._mangle.crlf:
            self._problems.add("crlf_mangled")
        if (audio or container == "unknown") and self._mangle.utf8:
            self._problems.add("utf8_mangled")
