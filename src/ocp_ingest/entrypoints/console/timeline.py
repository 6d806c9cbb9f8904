"""Where things are drawn on a time axis: pure geometry in units of an SVG's view box.

The axis is WIDTH units wide; what is too short to be seen or hit is drawn BAR_WIDTH_MIN wide.
Bars that would touch lie in rows above each other, as many as are needed up to ROWS_MAX; what finds
no room there is counted and stands in the table below the drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final, Generic, TypeVar

import msgspec

from ocp_ingest.core.limits import DAY_MS, HOUR_MS

T = TypeVar("T")

WIDTH: Final = 1_000
ROW_HEIGHT: Final = 24
BAR_HEIGHT: Final = 20
AXIS_HEIGHT: Final = 20
# A sign of one letter fits, and a finger finds it (WCAG 2.5.8 asks for 24 px with its row).
BAR_WIDTH_MIN: Final = 20
# From here on a number fits beside the sign.
BAR_WIDTH_NUMBER: Final = 48
# Attempts at one window beside each other; a window that was halved for ever has no more.
ROWS_MAX: Final = 12
_GAP: Final = 2  # so that neighbours are told apart
TICKS_MAX: Final = 9
_STEPS_MS: Final = tuple(
    n * HOUR_MS for n in (1, 2, 3, 6, 12, 24, 48, 96, 168, 336)
)  # a step is whole hours or whole days


class Bar(msgspec.Struct, Generic[T], frozen=True):
    """One thing on the axis; `number` is whether its number fits."""

    x: int
    y: int
    width: int
    row: int
    number: bool
    of: T


class Tick(msgspec.Struct, frozen=True):
    """A mark of the axis; `day` is whether a day begins there (in the zone)."""

    x: int
    at_ms: int
    day: bool


class Lane(msgspec.Struct, Generic[T], frozen=True):
    """One drawing: its bars, the marks of its axis, where now is, and what found no room."""

    bars: tuple[Bar[T], ...]
    ticks: tuple[Tick, ...]
    now_x: int | None
    height: int
    left_out: int


def lane(
    items: Iterable[tuple[int, int, T]], from_ms: int, to_ms: int, now_ms: int, zone: tzinfo
) -> Lane[T]:
    """Draws `(from_ms, to_ms, thing)` on the axis from `from_ms` to `to_ms`."""
    assert from_ms < to_ms, "an axis has a length"
    rows: list[int] = []  # where each row is free from
    bars, left_out = [], 0
    for start, end, thing in sorted(items, key=lambda item: (item[0], item[1])):
        if end <= from_ms or start >= to_ms:
            continue
        left, width = _place(start, end, from_ms, to_ms)
        row = next((n for n, free in enumerate(rows) if free <= left), len(rows))
        if row == ROWS_MAX:
            left_out += 1
            continue
        rows[row : row + 1] = [left + width]
        number = width >= BAR_WIDTH_NUMBER
        bars.append(Bar(left, row * ROW_HEIGHT, width - _GAP, row, number, thing))
    return Lane(
        bars=tuple(bars),
        ticks=ticks(from_ms, to_ms, zone),
        now_x=_x(now_ms, from_ms, to_ms) if from_ms <= now_ms <= to_ms else None,
        height=max(1, len(rows)) * ROW_HEIGHT + AXIS_HEIGHT,
        left_out=left_out,
    )


def _x(at_ms: int, from_ms: int, to_ms: int) -> int:
    return (at_ms - from_ms) * WIDTH // (to_ms - from_ms)


def _place(start: int, end: int, from_ms: int, to_ms: int) -> tuple[int, int]:
    """Left end and width, inside of the axis and never too small."""
    left = max(0, _x(start, from_ms, to_ms))
    right = min(WIDTH, _x(end, from_ms, to_ms))
    width = max(BAR_WIDTH_MIN, right - left)
    return min(left, WIDTH - width), width


def ticks(from_ms: int, to_ms: int, zone: tzinfo) -> tuple[Tick, ...]:
    """At most TICKS_MAX marks at round times of the zone."""
    step_ms = next((s for s in _STEPS_MS if (to_ms - from_ms) // s < TICKS_MAX), _STEPS_MS[-1])
    found: list[Tick] = []
    for at in _round_times(datetime.fromtimestamp(from_ms / 1000, zone), step_ms):
        at_ms = int(at.timestamp() * 1000)
        if at_ms > to_ms or len(found) == TICKS_MAX:
            break
        # A mark at the very end would have its words cut off.
        if from_ms <= at_ms < to_ms and _x(at_ms, from_ms, to_ms) < WIDTH - BAR_WIDTH_NUMBER:
            found.append(Tick(_x(at_ms, from_ms, to_ms), at_ms, at.hour == 0))
    return tuple(found)


def _round_times(start: datetime, step_ms: int) -> Iterable[datetime]:
    """Times of a wall clock, from midnight on; a night when clocks change is not counted wrong."""
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    step = timedelta(milliseconds=step_ms)
    # Twice the marks and the hours of the first day are more than enough to pass the end.
    for number in range(TICKS_MAX * 2 + DAY_MS // min(step_ms, DAY_MS)):
        yield (midnight + number * step).replace(tzinfo=start.tzinfo)


def spans(days: Sequence[int], wanted: str, default: int) -> int:
    """The wanted number of days if it is one of these, else the default."""
    return int(wanted) if wanted.isdecimal() and int(wanted) in days else default
