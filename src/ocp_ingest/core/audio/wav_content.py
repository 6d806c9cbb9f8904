"""How loud uncompressed audio is, window by window, while its bytes pass.

Rules
  1. A window is 100 ms of the audio, counted from its first byte, at most ``WINDOW_BYTES_MAX``.
  2. A sample is loud from 1/128 of full scale on (-42 dBFS): that is what the highest byte of a
     PCM or float sample, or the exponent of a G.711 byte, says without any arithmetic.
     G.711 silence is 0xD5/0x55 (A-law) and 0xFF/0x7F (µ-law), never 0.
  3. A channel is silent in a window when at most 1 % of its samples are loud (so that a click does
     not make sound of silence), or when it holds one constant value (a stuck line carries nothing).
  4. A run of 0x00 in G.711 is full scale held for the whole run: lost bytes, filled with zeros.
     Whole windows are compared, so a run is surely found from ``ZERO_RUN_BYTES_MIN`` plus two
     windows on, and never below ``ZERO_RUN_BYTES_MIN``.
  5. No sample is touched by Python: ``bytes.translate`` deletes the quiet ones, slices separate
     the channels, ``startswith`` compares with digital zero. The first eighth of a window is
     enough to call it loud; only quiet windows are read whole.
"""

from typing import Final

from ocp_ingest.core.audio.problems import ProblemList
from ocp_ingest.core.audio.report import Loudness
from ocp_ingest.core.audio.silence import SilenceMeter

WINDOW_BYTES_MAX: Final = 32_768  # bytes kept between blocks at most
LOUD_PERCENT: Final = 1  # of the samples of a silent window may be loud
ZERO_RUN_BYTES_MIN: Final = 4_096  # bytes; half a second of one channel at 8 kHz
CONSTANT_SHARE: Final = 0.5  # of the time, from which a stuck channel is reported

_ALAW_QUIET: Final = bytes(b for b in range(256) if not (b ^ 0x55) & 0x70)  # exponent 0: < 256
_MULAW_QUIET: Final = bytes(b for b in range(256) if (b ^ 0xFF) & 0x7F < 0x18)  # < 256 of 32,768
_FLOAT_QUIET: Final = bytes(b for b in range(256) if b & 0x7F < 0x3C)  # exponent below 2 ** -7
_PCM_QUIET: Final = b"\x00\xff"
_U8_QUIET: Final = b"\x7f\x80\x81"

# Doubles need two bytes: the first says "2 or more", the second refines 2 ** -15 .. 2.
_DOUBLE_HIGH: Final = bytes(
    0 if b & 0x7F < 0x3F else 1 if b & 0x7F == 0x3F else 2 for b in range(256)
)
_DOUBLE_NEXT: Final = bytes(2 | (b >= 0x80) for b in range(256))

_ZERO: Final = {"pcm_u8": b"\x80", "pcm_alaw": b"\xd5\x55", "pcm_mulaw": b"\xff\x7f"}
_QUIET: Final = {"pcm_u8": _U8_QUIET, "pcm_alaw": _ALAW_QUIET, "pcm_mulaw": _MULAW_QUIET}


class WavContent:
    """Measures the silence of interleaved samples of one codec.

    ``codec`` as in the report (``pcm_s16le`` …), ``width`` bytes per sample.
    """

    def __init__(self, codec: str, channels: int, width: int, rate_hz: int) -> None:
        self._codec = codec
        self._width = width
        self._stride = channels * width
        self._rate_hz = rate_hz
        high = 0 if codec.endswith("be") else width - 1
        self._high = [channel * width + high for channel in range(channels)]
        self._next = 1 if codec.endswith("be") else -1
        self._float = codec.startswith("pcm_f")
        self._double = self._float and width == 8
        self._quiet = _QUIET.get(codec, _FLOAT_QUIET if self._float else _PCM_QUIET)
        self._frames = max(1, min(rate_hz // 10, WINDOW_BYTES_MAX // self._stride))
        self._window = self._frames * self._stride
        zeros = _ZERO.get(codec, b"\x00")
        self._zeros = tuple(bytes([zero]) * self._window for zero in zeros)
        self._hole = bytes(self._window) if codec in ("pcm_alaw", "pcm_mulaw") else b""
        self._meter = SilenceMeter(channels, rate_hz)
        self._carry = bytearray()
        self._mask = 0
        self._mask_frames = 0
        self._zero_frames = 0
        self._constant = [0] * channels
        self._run = self._run_max = 0

    def feed(self, block: bytes, start: int, end: int) -> None:
        """Measure ``block[start:end]``, the next bytes of the audio."""
        window = self._window
        if self._carry:
            need = min(window - len(self._carry), end - start)
            self._carry += block[start : start + need]
            start += need
            if len(self._carry) < window:
                return
            self._windows(bytes(self._carry), 0, window, window)
            self._carry.clear()
        whole = start + (end - start) // window * window
        self._windows(block, start, whole, window)
        self._carry += block[whole:end]

    def finish(self, problems: ProblemList) -> tuple[Loudness, float | None]:
        """Return the silence and the share of digital zero; add what is wrong."""
        left = len(self._carry) // self._stride * self._stride
        if left:
            self._windows(bytes(self._carry), 0, left, left)
        self._meter.add(self._mask, self._mask_frames)
        self._run_max = max(self._run_max, self._run)
        if self._run_max >= ZERO_RUN_BYTES_MIN:
            problems.add("zero_filled", run=self._run_max, codec=self._codec)
        total = self._meter.frames
        for channel, frames in enumerate(self._constant, 1):
            if total and frames >= CONSTANT_SHARE * total:
                problems.add("constant_value", channel=channel, share=frames / total)
        share = round(self._zero_frames / total, 6) if total else None
        return self._meter.result(problems), share

    def _windows(self, block: bytes, start: int, end: int, window: int) -> None:
        """Judge each ``window`` bytes of ``block[start:end]``; the only loop over the audio."""
        frames = window // self._stride
        zeros = tuple(zero[:window] for zero in self._zeros)
        every = (1 << len(self._high)) - 1
        allowed = frames * LOUD_PERCENT // 100
        probe, middle = (frames // 8 + 1) * self._stride, frames // 2 * self._stride
        silent_channels, hole = self._silent_channels, self._hole
        for at in range(start, end, window):
            if block.startswith(zeros, at):
                self._zero_frames += frames
                mask = every
            else:
                mask = silent_channels(block, at, at + probe, at + middle, at + window, allowed)
            if hole and (mask or self._run):
                self._watch_hole(block, at, window, mask)
            if mask != self._mask:
                self._meter.add(self._mask, self._mask_frames)
                self._mask, self._mask_frames = mask, 0
            self._mask_frames += frames

    def _watch_hole(self, block: bytes, at: int, window: int, mask: int) -> None:
        if mask and block.startswith(self._hole[:window], at):
            self._run += window
        elif self._run:
            self._run_max, self._run = max(self._run_max, self._run), 0

    def _silent_channels(
        self, block: bytes, at: int, probe: int, middle: int, end: int, allowed: int
    ) -> int:
        """The channels that are silent in `block[at:end]`; up to `allowed` samples may be loud."""
        stride, quiet = self._stride, self._quiet
        mask, bit = 0, 1
        for high in self._high:
            if self._double:
                loud = self._loud_doubles(block, at + high, end) > allowed
            else:
                part = block[at + high : probe : stride].translate(None, quiet)
                loud = len(part) > allowed
                if not loud:
                    part = block[at + high : end : stride].translate(None, quiet)
                    loud = len(part) > allowed
            if not loud:
                mask |= bit
            elif block[at + high] == block[middle + high] and self._is_constant(
                block, at, end, high
            ):
                self._constant[bit.bit_length() - 1] += (end - at) // stride
                mask |= bit
            bit <<= 1
        return mask

    def _loud_doubles(self, block: bytes, start: int, end: int) -> int:
        part = block[start : end : self._stride].translate(_DOUBLE_HIGH)
        after = block[start + self._next : end + self._next : self._stride]
        loud = int.from_bytes(part) & int.from_bytes(after.translate(_DOUBLE_NEXT))
        return loud.bit_count()

    def _is_constant(self, block: bytes, start: int, end: int, high: int) -> bool:
        """Integers: swings below the loudness limit count as constant; floats: exactly equal."""
        offsets = range(self._width) if self._float else (0,)
        for offset in offsets:
            part = block[start + high + self._next * offset : end : self._stride]
            if part.count(part[:1]) != len(part):
                return False
        return True
