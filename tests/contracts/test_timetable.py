"""Laws of a Timetable."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.contracts.runtimes import Runtime

# Far in the future: a service that rings by itself must not do so in the middle of a test.
T0: Final = 4_000_000_000_000


class TestTimetable:
    async def test_an_alarm_rings_from_its_time_on_until_it_is_cancelled(
        self, runtime: Runtime
    ) -> None:
        assert await runtime.timetable.set("poll-1", T0 + 100, {"job": "j", "n": [1, None, "ñ"]})
        assert await runtime.timetable.due(T0 + 99) == []
        runtime.restart()
        for now_ms in (T0 + 100, T0 + 101):
            [alarm] = await runtime.timetable.due(now_ms)
            assert (alarm.name, alarm.at_ms) == ("poll-1", T0 + 100)
            assert alarm.body == {"job": "j", "n": [1, None, "ñ"]}
        await runtime.timetable.cancel("poll-1")
        assert await runtime.timetable.due(T0 + 101) == []
        await runtime.timetable.cancel("poll-1")

    async def test_of_two_alarms_with_one_name_the_first_stands(self, runtime: Runtime) -> None:
        assert await runtime.timetable.set("a", T0 + 100, {"n": 1})
        assert not await runtime.timetable.set("a", T0 + 50, {"n": 2})
        [alarm] = await runtime.timetable.due(T0 + 1_000)
        assert (alarm.at_ms, alarm.body) == (T0 + 100, {"n": 1})
        await runtime.timetable.cancel("a")
        assert await runtime.timetable.set("a", T0 + 50, {"n": 2})

    async def test_set_by_many_at_once_it_is_set_once(self, runtime: Runtime) -> None:
        wins = await asyncio.gather(
            *(runtime.timetable.set("a", T0 + n, {"n": n}) for n in range(10))
        )
        assert sum(wins) == 1
        [alarm] = await runtime.timetable.due(T0 + 1_000)
        assert alarm.body == {"n": wins.index(True)}

    async def test_the_earliest_ring_first_up_to_the_limit(self, runtime: Runtime) -> None:
        for name, at_ms in (("d", 40), ("b", 20), ("c", 20), ("a", 30)):
            await runtime.timetable.set(name, T0 + at_ms, {})
        assert [a.name for a in await runtime.timetable.due(T0 + 30)] == ["b", "c", "a"]
        assert [a.name for a in await runtime.timetable.due(T0 + 99, limit=2)] == ["b", "c"]

    async def test_next_at_is_the_earliest_alarm(self, runtime: Runtime) -> None:
        assert await runtime.timetable.next_at() is None
        await runtime.timetable.set("a", T0 + 40, {})
        await runtime.timetable.set("b", T0 + 20, {})
        assert await runtime.timetable.next_at() == T0 + 20
        await runtime.timetable.cancel("b")
        assert await runtime.timetable.next_at() == T0 + 40
