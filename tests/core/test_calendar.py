"""Times as text: UTC, exact to the millisecond, both ways."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.calendar import day, day_path, parse_rfc3339, rfc3339, to_datetime
from ocp_ingest.core.limits import TIME_MS_MAX
from tests.core.strategies import LAW

times = st.integers(0, TIME_MS_MAX)


@LAW
@given(times)
def test_a_time_survives_the_way_to_text_and_back(at_ms: int) -> None:
    text = rfc3339(at_ms)
    assert text is not None
    assert len(text) == len("2026-11-22T10:00:00.000Z")
    assert parse_rfc3339(text) == at_ms
    assert to_datetime(at_ms).tzinfo is UTC


@LAW
@given(times, times)
def test_texts_sort_as_the_times_do(one: int, other: int) -> None:
    assert (str(rfc3339(one)) < str(rfc3339(other))) == (one < other)


@LAW
@given(times)
def test_the_day_is_the_head_of_the_text(at_ms: int) -> None:
    text = str(rfc3339(at_ms))
    assert day(at_ms) == text[:10]
    assert day_path(at_ms) == text[:10].replace("-", "/")


def test_no_time_is_no_text() -> None:
    assert rfc3339(None) is None
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T10:00:00", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:00+02:00", datetime(2026, 11, 22, 8, tzinfo=UTC)),
        ("2026-11-22T10:00:00.25Z", datetime(2026, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_times_with_and_without_zone_are_read(text: str, moment: datetime) -> None:
    assert to_datetime(parse_rfc3339(text)) == moment


@pytest.mark.parametrize("text", ["", "today", "2026-13-01", "1763805600000x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)
