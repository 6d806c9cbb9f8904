"""How numbers, times, sizes and lengths are written in each language; pure.

what            es                      en
1234567.5       1.234.567,5             1,234,567.5
0.9991          99,91 %                 99.91%
a time          22 nov 2026, 10:00:00   22 Nov 2026, 10:00:00   (in the configured time zone)
a length        3 min 20 s              3 min 20 s
an age          hace 3 min              3 min ago
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final

NOTHING: Final = "–"

_MONTHS: Final = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "es": ("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sept", "oct", "nov", "dic"),
}
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
_SIZES: Final = ("B", "KB", "MB", "GB", "TB")


def number(value: float, lang: str, digits: int = 1) -> str:
    """With the language's separators; at most `digits` decimals, none for a whole number."""
    whole = isinstance(value, int) or round(value, digits) == round(value)
    text = f"{round(value):,}" if whole else f"{value:,.{digits}f}"
    return text if lang == "en" else text.translate(_SPANISH)


_SPANISH: Final = str.maketrans(",.", ".,")


def percent(share: float | None, lang: str, digits: int = 2) -> str:
    """A share of 1; never rounded up to 100 while anything is missing, nor down to 0."""
    if share is None:
        return NOTHING
    step = 10.0**-digits
    value = share * 100
    if share < 1:
        value = min(value, 100 - step)
    if share > 0:
        value = max(value, step)
    text = f"{value:.{digits}f}"
    if digits:
        text = text.rstrip("0").rstrip(".")
    return f"{text}%" if lang == "en" else f"{text.replace('.', ',')} %"


def moment(at_ms: int, lang: str, zone: tzinfo) -> str:
    """Date and time to the second."""
    at = datetime.fromtimestamp(at_ms / 1000, zone)
    return f"{_date(at, lang)}, {at:%H:%M:%S}"


def iso(at_ms: int) -> str:
    """For `datetime` attributes: RFC 3339, UTC, milliseconds."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def day(yyyymmdd: str, lang: str) -> str:
    """A day of the calendar; what is none is shown as it is."""
    try:
        return _date(datetime.strptime(yyyymmdd, "%Y%m%d").replace(tzinfo=UTC), lang)
    except ValueError:
        return yyyymmdd


def _date(at: datetime, lang: str) -> str:
    return f"{at.day} {_MONTHS[lang][at.month - 1]} {at.year}"


def span(duration_ms: float | None, lang: str) -> str:
    """A length by its two largest units; below a second in ms."""
    if duration_ms is None:
        return NOTHING
    left = abs(int(duration_ms))
    if left < 1_000:
        return f"{'-' if duration_ms < 0 and left else ''}{number(left, lang)} ms"
    parts: list[str] = []
    for unit, size_ms in _UNITS:
        count, left = divmod(left, size_ms)
        if count:
            parts.append(f"{number(count, lang)} {unit}")
        if len(parts) == 2 or (parts and not count):
            break
    return ("-" if duration_ms < 0 else "") + " ".join(parts)


def ago(at_ms: int | None, now_ms: int, lang: str) -> str:
    """How long before now; for a time ahead, how long until it."""
    if at_ms is None:
        return NOTHING
    passed = now_ms - at_ms
    length = span(_rough(abs(passed)), lang)
    if passed >= 0:
        return f"hace {length}" if lang == "es" else f"{length} ago"
    return f"en {length}" if lang == "es" else f"in {length}"


def _rough(length_ms: int) -> int:
    """Whole units: seconds do not matter in an age of hours."""
    for _, size_ms in _UNITS:
        if length_ms >= size_ms * 10:
            return length_ms // size_ms * size_ms
    return max(1_000, length_ms)


def size(count: float | None, lang: str) -> str:
    """Bytes by powers of 1000."""
    if count is None:
        return NOTHING
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_SIZES) - 1:
        value, unit = value / 1000, unit + 1
    return f"{number(value if unit else int(value), lang)} {_SIZES[unit]}"
