"""MPEG audio frame headers and Layer III side information, as tables.

Rules
  1. A header is 32 bits: 11 sync, 2 version, 2 layer, 1 no-CRC, 4 bit rate, 2 rate, 1 padding,
     1 private, 2 mode, 2 mode extension, 4 others (ISO 11172-3 2.4.1.3, ISO 13818-3 2.4.1;
     version 00 is the MPEG-2.5 extension, where telephone MP3 at 8 kHz lives).
  2. A frame's identity (version, layer, rate, mono or not) never changes within a recording.
  3. Loudness without decoding, per granule and channel (ISO 11172-3 2.4.1.7): no bits
     (``part2_3_length`` 0) is silence; otherwise the loudest coefficient is at most
     ``2 ** ((global_gain - 210) / 4) * q ** (4/3)``, q being the largest value that the chosen
     Huffman tables can say. In steps of ``global_gain`` (1.505 dB): ``gain + STEPS[table]``.

How good rule 3 is (tests/core/audio/test_mpeg_silence.py measures it again): digital silence is
always told. Judged against the sound that went in, by the rules of ``wav_content``, with LAME at
16 to 64 kbit/s and VBR, 8 and 16 kHz: 94 to 97 % of the frames of normal speech (-3 dBFS peaks)
agree, and 88 to 91 % of speech 14 dB quieter, with line noise up to -60 dBFS; most of the rest are
frames at the edges of words. Noise from -55 dBFS on counts as sound. In M/S stereo both channels
count as loud when either part is: a one-way call in joint stereo is only seen where the encoder
chose L/R, which LAME does but for the first frames.
"""

import math
from struct import Struct
from typing import Final

import msgspec

_BIT_RATES: Final = {  # kbit/s by (version is 1, layer)
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ: Final = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
_IDENTITY: Final = 0xFFFE0C00  # sync, version, layer, rate


class Header(msgspec.Struct, frozen=True):
    """One understood header. ``length`` in bytes, 0 for free format; ``samples`` per frame."""

    layer: int
    length: int
    samples: int
    rate_hz: int
    channels: int
    identity: int
    padding: int
    mid_side: bool
    crc: bool


def parse_header(word: int) -> Header | None:
    """Return what the 32-bit ``word`` says, or None when it is no MPEG audio header."""
    version, layer = word >> 19 & 3, 4 - (word >> 17 & 3)
    rate_index, rate_code = word >> 12 & 15, word >> 10 & 3
    if word >> 21 != 0x7FF or version == 1 or layer == 4 or rate_index == 15 or rate_code == 3:
        return None
    first = version == 3
    rate_hz = _RATES_HZ[version][rate_code]
    bit_rate = _BIT_RATES[first, layer][rate_index] * 1000
    padding = word >> 9 & 1
    samples = {1: 384, 2: 1152, 3: 1152 if first else 576}[layer]
    if layer == 1:
        length = (12 * bit_rate // rate_hz + padding) * 4
    else:
        length = samples // 8 * bit_rate // rate_hz + padding
    mode = word >> 6 & 3
    return Header(
        layer=layer,
        length=length if bit_rate else 0,
        samples=samples,
        rate_hz=rate_hz,
        channels=1 if mode == 3 else 2,
        identity=(word & _IDENTITY) | (mode == 3),
        padding=padding,
        mid_side=mode == 1 and bool(word >> 5 & 1),
        crc=not word >> 16 & 1,
    )


# -- side information ---------------------------------------------------------------------------

LOUD_GAIN: Final = 173  # steps: 210 - 55 dB / 1.505 dB, the level that agrees best with -42 dBFS
_LINBITS: Final = (1, 2, 3, 4, 6, 8, 10, 13, 4, 5, 6, 7, 8, 9, 11, 13)  # tables 16 to 31
_LARGEST: Final = (0, 1, 2, 2, 0, 3, 3, 5, 5, 5, 7, 7, 7, 15, 0, 15)  # tables 0 to 15
STEPS: Final = tuple(
    round(16 / 3 * math.log2(max(1, q)))
    for q in (*_LARGEST, *(15 + (1 << linbits) - 1 for linbits in _LINBITS))
)


def _steps_by_fields() -> bytes:
    """Return the largest step for each value of the 16 bits from the window-switching flag on.

    Flag 0: three tables of 5 bits. Flag 1: block type (2), mixed (1), two tables, 2 bits of gain.
    """
    at_least = {low: bytes(max(low, step) for step in STEPS) for low in set(STEPS)}
    long_blocks = b"".join(at_least[max(one, two)] for one in STEPS for two in STEPS)
    pairs = b"".join(at_least[one] for one in STEPS)
    short_blocks = b"".join(bytes([step]) * 4 for step in pairs)
    return long_blocks + short_blocks * 8


STEPS_BY_FIELDS: Final = _steps_by_fields()


class SideLayout:
    """Where the side information of one kind of stream stands, as ``struct`` formats.

    Each granule and channel lies in one 64-bit word; ``parts`` are (channel bit, index of the word,
    left shift, right shift), after which the 16 bits of ``STEPS_BY_FIELDS`` are the lowest,
    ``global_gain`` stands at ``gain_shift`` and ``part2_3_length`` at ``size_shift``.
    """

    def __init__(self, mpeg1: bool, channels: int, crc: bool) -> None:
        start, starts, scale, rest = _SIDE[mpeg1, channels]
        self.gain_shift = 16 + scale
        self.size_shift = 16 + scale + 8 + 9
        width = 12 + 9 + 8 + scale + 16
        parts = []
        for number, at in enumerate(starts):
            shift = (at + 8) * 8 - (start + number * (width + rest) + width)
            parts.append((1 << number % channels, number + 1, max(0, -shift), max(0, shift)))
        self.parts: Final = tuple(parts)
        self._format = f">I{starts[0] + 2 * crc}x{len(starts)}Q"
        self.head: Final = Struct(self._format)
        self._frames: dict[int, Struct] = {}

    def frame(self, length: int) -> Struct:
        """Return the format of a whole frame of ``length`` bytes; lengths are few per stream."""
        found = self._frames.get(length)
        if found is None:
            found = Struct(f"{self._format}{length - self.head.size}x")
            self._frames[length] = found
        return found

    def loud(self, values: tuple[int, ...]) -> int:
        """Return the channels that are loud in a frame, one bit each."""
        loud = 0
        for bit, index, left, right in self.parts:
            fields = values[index] << left >> right
            gain = fields >> self.gain_shift & 0xFF
            level = gain + STEPS_BY_FIELDS[fields & 0xFFFF]
            if level > LOUD_GAIN and fields >> self.size_shift & 0xFFF:
                loud |= bit
        return loud


# (MPEG-1, channels) -> first bit of the first granule, byte of each 64-bit word, bits of the scale
# factor field, bits between the 16 of the tables and the next granule
_SIDE: Final[dict[tuple[bool, int], tuple[int, tuple[int, ...], int, int]]] = {
    (True, 1): (18, (1, 9), 4, 10),
    (True, 2): (20, (0, 8, 16, 24), 4, 10),
    (False, 1): (9, (0,), 9, 9),
    (False, 2): (10, (1, 9), 9, 9),
}
SIDE_BYTES: Final = {(True, 1): 17, (True, 2): 32, (False, 1): 9, (False, 2): 17}
