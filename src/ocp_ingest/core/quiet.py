"""Quiet hours of a channel: when it is not to ring, in its own time zone. Pure.

`from` and `to` are times of day, "22:00" to "07:00"; a span over midnight is meant as it reads. The
end is a time on a wall clock: on the night when clocks change, the night is an hour shorter or
longer, and "07:00" is 07:00 all the same.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from ocp_ingest.core.calendar import to_datetime
from ocp_ingest.core.errors import Invalid

_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


class QuietHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`quiet` of a channel. Without both times there are none."""

    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    # "" = the section's.
    time_zone: str = ""
    # Whether critical alerts ring in them.
    critical_passes: bool = True


def quiet_until(hours: QuietHours, zone: str, at_ms: int) -> int | None:
    """When the quiet hours that hold `at_ms` end (epoch ms); None outside of them.

    `zone` is what `hours` itself does not say.
    """
    if not hours.from_ or not hours.to:
        return None
    begin, end = minutes(hours.from_), minutes(hours.to)
    local = to_datetime(at_ms).astimezone(zone_of(hours.time_zone or zone))
    now = local.hour * 60 + local.minute
    if begin <= end:
        inside, days = begin <= now < end, 0
    else:
        inside, days = now >= begin or now < end, int(now >= begin)
    if not inside:
        return None
    day = (local + timedelta(days=days)).replace(
        hour=end // 60, minute=end % 60, second=0, microsecond=0, fold=0
    )
    return int(day.astimezone(UTC).timestamp() * 1000)


def minutes(text: str) -> int:
    """Minutes since midnight of "hh:mm". Raises Invalid."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise Invalid(f'"{text}" is no time of day: write it as 22:00.')
    return int(found.group(1)) * 60 + int(found.group(2))


def zone_of(name: str) -> tzinfo:
    """A time zone by its name of the IANA data base; UTC needs none. Raises Invalid."""
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Invalid(f'"{name}" is no time zone that is known here, like Europe/Madrid.') from None


def unknown_zone(name: str) -> str:
    """Why a name is no time zone, or "". Where there is no data base, as in AWS's images for
    functions, nothing can be said of it: whoever needs the zone has one.
    """
    try:
        zone_of(name)
    except Invalid as bad:
        return bad.text if available_timezones() else ""
    return ""


def local_time(at_ms: int, zone: str) -> datetime:
    """A time as people in that zone write it."""
    return to_datetime(at_ms).astimezone(zone_of(zone))


def lacking(hours: QuietHours, where: str) -> list[str]:
    """What is wrong with quiet hours, in sentences; `where` is their key."""
    found = []
    if bool(hours.from_) != bool(hours.to):
        there, gone = ("from", "to") if hours.from_ else ("to", "from")
        found.append(f"`{where}.{gone}` is missing, but `{where}.{there}` is set.")
    for key, text in (("from", hours.from_), ("to", hours.to)):
        if text and _TIME.fullmatch(text) is None:
            found.append(f'`{where}.{key}` must be a time of day like "22:00".')
    if hours.from_ and hours.from_ == hours.to:
        found.append(f"`{where}.from` and `{where}.to` are the same: leave both out, or differ.")
    if bad := unknown_zone(hours.time_zone):
        found.append(f"`{where}.time_zone`: {bad}")
    return found
