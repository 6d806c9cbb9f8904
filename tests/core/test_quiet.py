"""Quiet hours are a wall clock's: over midnight, over the nights when clocks change."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.core.quiet import QuietHours, lacking, minutes, quiet_until, zone_of

MADRID = ZoneInfo("Europe/Madrid")
NIGHT = QuietHours(from_="22:00", to="07:00", time_zone="Europe/Madrid")
LUNCH = QuietHours(from_="13:00", to="15:30", time_zone="Europe/Madrid")


def ms(text: str, zone: ZoneInfo = MADRID) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        (NIGHT, "2026-11-22T21:59:59", None),
        (NIGHT, "2026-11-22T22:00", "2026-11-23T07:00"),
        (NIGHT, "2026-11-22T23:59", "2026-11-23T07:00"),
        (NIGHT, "2026-11-23T00:00", "2026-11-23T07:00"),
        (NIGHT, "2026-11-23T06:59", "2026-11-23T07:00"),
        (NIGHT, "2026-11-23T07:00", None),
        (NIGHT, "2026-12-31T23:00", "2027-01-01T07:00"),
        (LUNCH, "2026-11-22T12:59", None),
        (LUNCH, "2026-11-22T13:00", "2026-11-22T15:30"),
        (LUNCH, "2026-11-22T15:30", None),
        # Clocks go forward at 02:00 on 29 March 2026, and back at 03:00 on 25 October.
        (NIGHT, "2026-03-28T23:00", "2026-03-29T07:00"),
        (NIGHT, "2026-10-24T23:00", "2026-10-25T07:00"),
        (QuietHours(), "2026-11-22T23:00", None),
    ],
)
def test_they_hold_from_one_time_of_day_to_the_other(
    hours: QuietHours, now: str, until: str | None
) -> None:
    assert quiet_until(hours, "UTC", ms(now)) == (ms(until) if until else None)


def test_the_night_on_which_clocks_change_is_an_hour_shorter_or_longer() -> None:
    def lasts_h(day: str, next_day: str) -> float:
        begin = ms(f"{day}T22:00")
        end = quiet_until(NIGHT, "UTC", begin)
        assert end == ms(f"{next_day}T07:00")
        return (end - begin) / 3_600_000

    assert lasts_h("2026-03-28", "2026-03-29") == 8
    assert lasts_h("2026-10-24", "2026-10-25") == 10


def test_without_a_zone_of_their_own_they_have_the_section_s() -> None:
    hours = QuietHours(from_="22:00", to="07:00")
    at_ms = ms("2026-07-01T22:30")  # 20:30 UTC
    assert quiet_until(hours, "UTC", at_ms) is None
    assert quiet_until(hours, "Europe/Madrid", at_ms) == ms("2026-07-02T07:00")


@given(
    st.integers(0, 1439), st.integers(0, 1439), st.integers(1_700_000_000_000, 1_900_000_000_000),
    st.sampled_from(["UTC", "Europe/Madrid", "America/Bogota", "Asia/Kolkata"]),
)  # fmt: skip
def test_they_end_within_a_day_and_are_over_then(
    begin: int, end: int, at_ms: int, zone: str
) -> None:
    hours = QuietHours(
        from_=f"{begin // 60:02}:{begin % 60:02}", to=f"{end // 60:02}:{end % 60:02}"
    )
    until = quiet_until(hours, zone, at_ms)
    if until is not None:
        assert at_ms < until <= at_ms + DAY_MS + 3_600_000
        assert quiet_until(hours, zone, until) is None


@pytest.mark.parametrize(
    ("hours", "named"),
    [
        (QuietHours(from_="22:00"), ["c quiet.to"]),
        (QuietHours(to="22:00"), ["c quiet.from"]),
        (QuietHours(from_="22", to="07:00"), ["c quiet.from"]),
        (QuietHours(from_="22:00", to="24:00"), ["c quiet.to"]),
        (QuietHours(from_="07:00", to="07:00"), ["c quiet.from"]),
        (QuietHours(time_zone="Madrid"), ["c quiet.time_zone"]),
        (NIGHT, []),
        (QuietHours(), []),
    ],
)
def test_what_is_half_set_is_refused_by_its_name(hours: QuietHours, named: list[str]) -> None:
    found = lacking(hours, "c quiet")
    assert len(found) == len(named)
    assert all(f"`{name}`" in line for name, line in zip(named, found, strict=True))


@pytest.mark.parametrize("text", ["", "7:00", "25:00", "12:60", "noon", "12:00 "])
def test_a_time_of_day_is_written_one_way(text: str) -> None:
    with pytest.raises(Invalid):
        minutes(text)


@pytest.mark.parametrize("name", ["Nowhere", "../etc/passwd", "/etc/localtime", "Europe"])
def test_a_strange_time_zone_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        zone_of(name)


def test_without_a_data_base_of_time_zones_utc_is_there_and_no_name_is_refused() -> None:
    """AWS's images for functions have none; they read the same configuration."""
    code = (
        "import zoneinfo; zoneinfo.reset_tzpath(()); import sys; sys.modules['tzdata'] = None\n"
        "from ocp_ingest.core.alerts import Duty, lacking\n"
        "assert lacking(Duty()) == []\n"
        "assert lacking(Duty(time_zone='Europe/Madrid')) == []\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
