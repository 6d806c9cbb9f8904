"""The envelope of a recording, for the eye: lowest and highest level per stretch of time.

Rules
  1. A level is one byte: 128 is the middle, 0 and 255 are full scale, so one step is 1/128 of it,
     which is less than a pixel of any picture of a call. The highest byte of a PCM sample says it
     without arithmetic; G.711 by a table; floats by their upper 16 bits.
  2. A pair (lowest, highest) stands for ``pair_frames`` sample frames. When ``PAIRS_MAX`` pairs are
     full, neighbours are joined and each stands for twice as much: memory is constant, no length
     is needed beforehand, and the result does not depend on how the bytes arrived.
  3. No sample is touched by Python: slices separate the channels, ``set`` finds the levels that
     occur, and only those (256 at most) are compared.
  4. MP3 is not decoded: a frame is silent or not by its side information (``mpeg_header`` rule 3),
     and the same numbers give a rough height, drawn on both sides of the middle: ``estimated``.
"""

import struct
import sys
from array import array
from functools import cache
from typing import Final

import msgspec

from ocp_ingest.core.audio.mpeg import MpegWalker
from ocp_ingest.core.audio.mpeg_header import LOUD_GAIN, STEPS_BY_FIELDS, SideLayout
from ocp_ingest.core.audio.problems import ProblemList
from ocp_ingest.core.audio.report import Loudness, milliseconds
from ocp_ingest.core.audio.riff import Listener, RiffWalker
from ocp_ingest.core.audio.sniff import SNIFF_BYTES, VAGUE_NAMES, WAV_NAMES, sniff
from ocp_ingest.core.audio.wav_format import WavFormat

PAIRS_MAX: Final = 1_600  # so 800 to 1,600 of a longer recording: about one per pixel of a screen
PAIR_FRAMES_MIN: Final = 64  # sample frames, 8 ms at 8 kHz: finer than any picture shows
MIDDLE: Final = 128  # the level of silence


def _alaw_linear(byte: int) -> int:
    """ITU-T G.711 table 1a, in 16 bits."""
    byte ^= 0x55
    level, segment = (byte & 0x0F) << 4, (byte & 0x70) >> 4
    level = level + 8 if segment == 0 else (level + 0x108) << (segment - 1)
    return level if byte & 0x80 else -level


def _mulaw_linear(byte: int) -> int:
    """ITU-T G.711 table 2a, in 16 bits."""
    byte ^= 0xFF
    level = ((((byte & 0x0F) << 3) + 0x84) << ((byte & 0x70) >> 4)) - 0x84
    return -level if byte & 0x80 else level


_ALAW: Final = bytes((_alaw_linear(byte) >> 8) + MIDDLE for byte in range(256))
_MULAW: Final = bytes((_mulaw_linear(byte) >> 8) + MIDDLE for byte in range(256))
_SIGNED: Final = bytes(byte ^ 0x80 for byte in range(256))
_UNSIGNED: Final = bytes(range(256))
_TABLES: Final = {"pcm_u8": _UNSIGNED, "pcm_alaw": _ALAW, "pcm_mulaw": _MULAW}


@cache
def _float_levels() -> bytes:
    """Level of each value of a float's upper 16 bits; what is no number counts as silence."""
    values = struct.unpack("<65536f", b"".join(n.to_bytes(4, "little") for n in _UPPER))
    scaled = (value * 128 if value == value else 0.0 for value in values)  # noqa: PLR0124 (NaN)
    return bytes(int(max(0.0, min(255.0, value + MIDDLE))) for value in scaled)


_UPPER: Final = range(0, 1 << 32, 1 << 16)


class Waveform(msgspec.Struct, frozen=True):
    """Per channel one byte for each pair, ``lows`` and ``highs``; the last pair may be shorter.

    ``frames`` are sample frames in all, ``pair_frames`` those that a pair stands for.
    """

    lows: tuple[bytes, ...]
    highs: tuple[bytes, ...]
    frames: int
    pair_frames: int
    rate_hz: int
    estimated: bool = False

    @property
    def duration_ms(self) -> int:
        """How long all of it lasts."""
        return milliseconds(self.frames, self.rate_hz) or 0


class Envelope:
    """Collects the pairs of ``channels`` channels; a unit is ``unit_frames`` sample frames."""

    def __init__(self, channels: int, rate_hz: int, *, unit_frames: int, pair_units: int) -> None:
        self._rate_hz = rate_hz
        self._unit_frames = unit_frames
        self._pair_units = pair_units
        self._lows = [bytearray() for _ in range(channels)]
        self._highs = [bytearray() for _ in range(channels)]
        self._low = [255] * channels
        self._high = [0] * channels
        self._filled = self._units = 0

    @property
    def room(self) -> int:
        """Units that the pair under way still takes."""
        return self._pair_units - self._filled

    def add(self, extents: list[tuple[int, int]], units: int) -> None:
        """Add lowest and highest level of each channel during the next ``units``, ``room`` at most.

        Raises nothing; a pair that is full makes room for the next one.
        """
        for channel, (low, high) in enumerate(extents):
            self._low[channel] = min(self._low[channel], low)
            self._high[channel] = max(self._high[channel], high)
        self._filled += units
        self._units += units
        if self._filled == self._pair_units:
            self._close()
            if len(self._lows[0]) == PAIRS_MAX:
                self._join()

    def _close(self) -> None:
        for channel, (low, high) in enumerate(zip(self._low, self._high, strict=True)):
            self._lows[channel].append(low)
            self._highs[channel].append(high)
        self._low = [255] * len(self._low)
        self._high = [0] * len(self._high)
        self._filled = 0

    def _join(self) -> None:
        self._lows = [bytearray(map(min, each[::2], each[1::2])) for each in self._lows]
        self._highs = [bytearray(map(max, each[::2], each[1::2])) for each in self._highs]
        self._pair_units *= 2

    def result(self, *, estimated: bool) -> Waveform | None:
        """Return what was collected; None when that is nothing."""
        if not self._units:
            return None
        if self._filled:
            self._close()
        return Waveform(
            tuple(map(bytes, self._lows)),
            tuple(map(bytes, self._highs)),
            self._units * self._unit_frames,
            self._pair_units * self._unit_frames,
            self._rate_hz,
            estimated,
        )


class _WavPeaks:
    """Listens to interleaved samples of one codec."""

    def __init__(self, fmt: WavFormat) -> None:
        self.envelope = Envelope(
            fmt.channels, fmt.rate_hz, unit_frames=1, pair_units=PAIR_FRAMES_MIN
        )
        self._align = fmt.align
        self._channels = fmt.channels
        self._width = width = fmt.align // fmt.channels
        self._big = fmt.codec.endswith("be")
        self._float = fmt.codec.startswith("pcm_f")
        self._table = _TABLES.get(fmt.codec, _SIGNED)
        high = 0 if self._big else width - 1
        self._firsts = [channel * width + high for channel in range(fmt.channels)]
        self._carry = bytearray()  # the beginning of a sample frame

    def feed(self, block: bytes, start: int, end: int) -> None:
        """Take the next bytes of the audio."""
        if self._carry:
            need = min(self._align - len(self._carry), end - start)
            self._carry += block[start : start + need]
            start += need
            if len(self._carry) < self._align:
                return
            self._measure(bytes(self._carry), 0, self._align)
            self._carry.clear()
        whole = start + (end - start) // self._align * self._align
        self._measure(block, start, whole)
        self._carry += block[whole:end]

    def finish(self, problems: ProblemList) -> tuple[Loudness, float | None]:
        """Nothing is judged here."""
        return Loudness(), None

    def _measure(self, block: bytes, at: int, end: int) -> None:
        """Add whole sample frames, as far as each pair has room."""
        extents = self._float_extents if self._float else self._byte_extents
        while at < end:
            after = min(end, at + self.envelope.room * self._align)
            self.envelope.add(extents(block, at, after), (after - at) // self._align)
            at = after

    def _byte_extents(self, block: bytes, at: int, end: int) -> list[tuple[int, int]]:
        found = []
        for first in self._firsts:
            levels = bytes(set(block[at + first : end : self._align])).translate(self._table)
            found.append((min(levels), max(levels)))
        return found

    def _float_extents(self, block: bytes, at: int, end: int) -> list[tuple[int, int]]:
        """Doubles become floats first: their upper 16 bits hold too little of the value."""
        samples = array("d" if self._width == 8 else "f", block[at:end])
        if self._big != (sys.byteorder == "big"):
            samples.byteswap()
        if self._width == 8:
            samples = array("f", samples)
        halves = array("H", samples.tobytes())
        upper = halves[1 if sys.byteorder == "little" else 0 :: 2]
        levels = _float_levels()
        found = []
        for channel in range(self._channels):
            heard = {levels[half] for half in set(upper[channel :: self._channels])}
            found.append((min(heard), max(heard)))
        return found


class _RiffPeaks(RiffWalker):
    """The chunk walk, with a listener for the eye."""

    def __init__(self, container: str) -> None:
        super().__init__(container, ProblemList(), content=True)
        self._peaks: _WavPeaks | None = None

    def listener(self, fmt: WavFormat) -> Listener:
        self._peaks = _WavPeaks(fmt)
        return self._peaks

    def waveform(self) -> Waveform | None:
        self.finish()
        return self._peaks.envelope.result(estimated=False) if self._peaks else None


class _MpegPeaks(MpegWalker):
    """The frame walk, with each frame's level instead of its silence."""

    def __init__(self) -> None:
        super().__init__(ProblemList(), content=True)
        self._envelope: Envelope | None = None

    def _hear(self, buffer: bytes, at: int, word: int, entry: int, run: int) -> int:
        assert self.first is not None, "frames are heard only after the first was accepted"
        if self._envelope is None:
            self._envelope = Envelope(
                self.first.channels, self.first.rate_hz, unit_frames=self.first.samples,
                pair_units=1,
            )  # fmt: skip
        length, layout, done = entry >> 2, self._layouts[entry >> 1 & 1], 0
        while done < run:
            values = layout.head.unpack_from(buffer, at + done * length)
            if values[0] != word and self._entries.get(values[0]) != entry:
                break
            heard = _frame_levels(layout, values, self.first.channels)
            if entry & 1:  # mid and side are no channels: either may hold all of it
                heard = [max(heard)] * len(heard)
            self._envelope.add([(MIDDLE - level, MIDDLE + level) for level in heard], 1)
            done += 1
        return done

    def waveform(self) -> Waveform | None:
        self.finish()
        return self._envelope.result(estimated=True) if self._envelope else None


def _frame_levels(layout: SideLayout, values: tuple[int, ...], channels: int) -> list[int]:
    """Distance from the middle per channel, by the louder of its granules."""
    heard = [0] * channels
    for bit, index, left, right in layout.parts:
        fields = values[index] << left >> right
        gain, step = fields >> layout.gain_shift & 0xFF, STEPS_BY_FIELDS[fields & 0xFFFF]
        if gain + step > LOUD_GAIN and fields >> layout.size_shift & 0xFFF:
            level = min(127, max(2, round(128 * _BY_GAIN[gain] * _BY_STEP[step])))
            heard[bit >> 1] = max(heard[bit >> 1], level)
    return heard


# Height of a loud frame: 2 ** ((0.44 * gain + 0.33 * step - 94) / 4), a fit to the peaks of real
# speech encoded by LAME at 16 to 64 kbit/s and VBR (correlation 0.6, deviation 9 dB): it tells
# speech from silence and loud from quiet, and is no measurement.
_BY_GAIN: Final = tuple(2.0 ** ((0.44 * gain - 94) / 4) for gain in range(256))
_BY_STEP: Final = tuple(2.0 ** (0.33 * step / 4) for step in range(max(STEPS_BY_FIELDS) + 1))


class PeakReader:
    """Reads one recording as its bytes pass; holds a few KB, raises on no input."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._walker: _RiffPeaks | _MpegPeaks | None = None
        self._recognised = False

    def feed(self, block: bytes) -> None:
        """Take the next bytes; best in blocks of 256 KB."""
        if self._recognised:
            if self._walker is not None:
                self._walker.feed(block)
            return
        self._head += block
        if len(self._head) >= SNIFF_BYTES:
            self._recognise()

    def _recognise(self) -> None:
        head, self._recognised = bytes(self._head), True
        self._head.clear()
        name = sniff(head[:SNIFF_BYTES])
        if name in WAV_NAMES:
            self._walker = _RiffPeaks(name)
        elif name == "mp3" or (name in VAGUE_NAMES and MpegWalker.begins_in(head[:SNIFF_BYTES])):
            self._walker = _MpegPeaks()
        if self._walker is not None:
            self._walker.feed(head)

    def finish(self) -> Waveform | None:
        """Return the envelope; None when the bytes hold no audio that is understood."""
        if not self._recognised:
            self._recognise()
        return self._walker.waveform() if self._walker is not None else None
