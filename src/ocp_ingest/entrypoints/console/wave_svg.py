"""A waveform as SVG attributes: one closed path for each channel, in a picture that stretches.

The picture is as many units wide as there are pairs and CHANNEL_HEIGHT high for each channel. The
height of a level is its share of full scale to the power of EXPONENT, so that speech 20 dB below
full scale is still a quarter of the height; where it is silent a thin line remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ocp_ingest.core.audio.peaks import MIDDLE, Waveform

CHANNEL_HEIGHT: Final = 100
EXPONENT: Final = 0.6
_LINE: Final = 1.0  # the least half height: a hairline on every screen
_HALF: Final = CHANNEL_HEIGHT / 2


class Drawing(msgspec.Struct, frozen=True):
    """`paths`: the attribute `d` per channel; `silences`: (x, width) of what is silent."""

    width: int
    height: int
    paths: tuple[str, ...]
    middles: tuple[int, ...]
    silences: tuple[tuple[float, float], ...]


def drawing(waveform: Waveform, silent_runs: Sequence[Sequence[int]]) -> Drawing:
    """The picture of a waveform; `silent_runs` are (start_ms, length_ms) of the report."""
    width = len(waveform.lows[0])
    paths = tuple(
        _path(lows, highs, channel * CHANNEL_HEIGHT)
        for channel, (lows, highs) in enumerate(zip(waveform.lows, waveform.highs, strict=True))
    )
    middles = tuple(int(c * CHANNEL_HEIGHT + _HALF) for c in range(len(paths)))
    per_ms = width / max(1, waveform.duration_ms)
    silences = tuple(
        (round(start * per_ms, 1), round(min(length * per_ms, width - start * per_ms), 1))
        for start, length in silent_runs
        if start * per_ms < width
    )
    return Drawing(width, CHANNEL_HEIGHT * len(paths), paths, middles, silences)


def _height(level: int) -> float:
    """Signed distance from the middle, upwards positive."""
    share = (level - MIDDLE) / MIDDLE
    return float(abs(share) ** EXPONENT * _HALF * (1 if share >= 0 else -1))


_HEIGHTS: Final = tuple(_height(level) for level in range(256))


def _path(lows: bytes, highs: bytes, top: float) -> str:
    """Along the highs to the right, along the lows back; each pair one unit wide."""
    middle = top + _HALF
    upper = [f"{x} {middle - max(_HEIGHTS[high], _LINE):.1f}" for x, high in enumerate(highs)]
    lower = [f"{x} {middle - min(_HEIGHTS[low], -_LINE):.1f}" for x, low in enumerate(lows)]
    end = len(highs)
    right = f"{end} {upper[-1].split()[1]}L{end} {lower[-1].split()[1]}"
    return f"M{'L'.join(upper)}L{right}L{'L'.join(reversed(lower))}Z"
