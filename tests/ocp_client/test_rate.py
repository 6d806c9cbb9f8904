"""Laws of the account's rate: never more than it may, and OCP's word stops everybody."""

import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.adapters.ocp.rate import PAUSE_S_MAX, TURN_S_MAX, Turns, retry_after_s
from ocp_ingest.core.export_job import Listed, RateLimited, Unavailable
from tests.ocp_client.kit import GROUP, Reply, Times, bench


def take_all(turns: Turns, times: Times, pauses: list[float]) -> list[float]:
    """When each turn came, with a rest before each."""

    async def go() -> list[float]:
        came = []
        for rest in pauses:
            times.at_s += rest
            await turns.take()
            came.append(times.at_s)
        return came

    return asyncio.run(go())


@given(st.floats(0.5, 50), st.integers(1, 20), st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_no_span_of_time_has_more_than_burst_and_rate_allow(
    per_s: float, burst: int, rests: list[float]
) -> None:
    times = Times()
    came = take_all(Turns(per_s, burst, now_s=times.steady_s, sleep=times.sleep), times, rests)
    for i, first in enumerate(came):
        for j in range(i, len(came)):
            assert j - i + 1 <= burst + per_s * (came[j] - first) + 1e-6


def test_a_burst_passes_at_once() -> None:
    times = Times()
    turns = Turns(1.0, 5, now_s=times.steady_s, sleep=times.sleep)
    assert take_all(turns, times, [0.0] * 6) == [1000.0] * 5 + [1001.0]


def test_whose_turn_is_far_away_is_told_and_takes_none() -> None:
    times = Times()
    turns = Turns(1.0, 1, now_s=times.steady_s, sleep=times.sleep)

    async def go() -> None:
        await turns.take()
        turns.pause(60.0)
        for _ in range(10):
            with pytest.raises(Failed) as limited:
                await turns.take()
            assert limited.value.seen == RateLimited(60.0)
        times.at_s += 60.0
        await turns.take()
        assert times.slept == []

    asyncio.run(go())


@given(st.floats(-10, 1e9))
def test_no_answer_stops_us_longer_than_the_bound(told_s: float) -> None:
    times = Times()
    turns = Turns(1.0, 3, now_s=times.steady_s, sleep=times.sleep)
    turns.pause(told_s)
    times.at_s += PAUSE_S_MAX
    asyncio.run(turns.take())
    assert times.slept == []


AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        (None, None, None),
        ("7", None, 7.0),
        (" 0 ", None, 0.0),
        ("1.5", None, 1.5),
        ("-3", None, None),
        ("soon", None, None),
        ("", None, None),
        ("9" * 40, None, None),
        ("٣", None, None),
        (format_datetime(AT, usegmt=True), None, 90.0),
        (format_datetime(AT, usegmt=True), "Sun, 01 Mar 2026 11:59:00 GMT", 60.0),
        (format_datetime(AT, usegmt=True), "garbage", 90.0),
        ("Sun, 01 Mar 2020 12:00:00 GMT", None, 0.0),
        ("Sun, 99 Mar 2026 12:00:00 GMT", None, None),
    ],
)
def test_retry_after_in_both_forms(
    value: str | None, date: str | None, expected: float | None
) -> None:
    assert retry_after_s(value, date, AT.timestamp() - 90) == expected


@given(st.text(max_size=40), st.none() | st.text(max_size=40))
def test_no_header_breaks_it(value: str, date: str | None) -> None:
    found = retry_after_s(value, date, 0.0)
    assert found is None or found >= 0


class TestOverHttp:
    """429 and 503 as OCP may say them."""

    @pytest.mark.parametrize("form", ["seconds", "date"])
    async def test_a_429_tells_its_wait_and_stops_all_groups_until_then(self, form: str) -> None:
        async with bench(get_tries_max=1) as at:
            header = "30"
            if form == "date":
                header = format_datetime(
                    datetime.fromtimestamp(at.times.wall_s() + 30, UTC), usegmt=True
                )
            date = format_datetime(datetime.fromtimestamp(at.times.wall_s(), UTC), usegmt=True)
            limited = Reply(429, b"", {"Retry-After": header, "Date": date})
            at.vendor.script["create"].append(limited)
            assert await at.client.create(GROUP, 0, 0, ()) == RateLimited(30.0)
            assert at.times.slept == []
            before = len(at.vendor.seen)
            assert isinstance(await at.client.listing("another"), RateLimited)
            assert len(at.vendor.seen) == before
            at.times.at_s += 30
            assert isinstance(await at.client.listing("another"), Listed)

    async def test_a_long_wait_is_not_waited_inside_a_get(self) -> None:
        async with bench() as at:
            at.vendor.script["list"].append(Reply(429, b"", {"Retry-After": "30"}))
            assert await at.client.listing(GROUP) == RateLimited(30.0)
            assert at.times.slept == []

    async def test_a_429_without_a_wait_is_told_without_one(self) -> None:
        async with bench(get_tries_max=1) as at:
            at.vendor.script["list"].append(Reply(429))
            assert await at.client.listing(GROUP) == RateLimited(None)
            assert isinstance(await at.client.listing(GROUP), Listed)

    async def test_a_503_with_a_wait_stops_us_too(self) -> None:
        async with bench(get_tries_max=1) as at:
            at.vendor.script["list"].append(Reply(503, b"", {"Retry-After": "60"}))
            assert isinstance(await at.client.listing(GROUP), Unavailable)
            assert await at.client.listing(GROUP) == RateLimited(60.0)

    async def test_a_short_wait_is_waited_inside_a_get(self) -> None:
        async with bench() as at:
            at.vendor.script["list"].append(Reply(429, b"", {"Retry-After": "3"}))
            assert isinstance(await at.client.listing(GROUP), Listed)
            assert 2.999 <= sum(at.times.slept) <= TURN_S_MAX

    async def test_the_rate_is_kept_over_all_groups(self) -> None:
        async with bench(requests_per_s=2.0, requests_burst=1, personal_access_token="x") as at:
            at.vendor.always["list"] = Reply(200, b'{"exports":[]}')
            for n in range(5):
                await at.client.listing(f"group-{n}")
            assert sum(at.times.slept) == pytest.approx(2.0)
