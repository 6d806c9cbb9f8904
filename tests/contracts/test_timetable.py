"""Laws of a Timetable."""

from __future__ import annotations

import asyncio

from tests.contracts.runtimes import Runtime


class TestTimetable:
    async def test_an_alarm_rings_from_its_time_on_until_it_is_cancelled(
        self, runtime: Runtime
    ) -> None:
        assert await runtime.timetable.set("poll-1", 100, {"job": "j", "n": [1, None, "ñ"]})
        assert await runtime.timetable.due(99) == []
        runtime.restart()
        for now_ms in (100, 101):
            [alarm] = await runtime.timetable.due(now_ms)
            assert (alarm.name, alarm.at_ms) == ("poll-1", 100)
            assert alarm.body == {"job": "j", "n": [1, None, "ñ"]}
        await runtime.timetable.cancel("poll-1")
        assert await runtime.timetable.due(101) == []
        await runtime.timetable.cancel("poll-1")

    async def test_of_two_alarms_with_one_name_the_first_stands(self, runtime: Runtime) -> None:
        assert await runtime.timetable.set("a", 100, {"n": 1})
        assert not await runtime.timetable.set("a", 50, {"n": 2})
        [alarm] = await runtime.timetable.due(1_000)
        assert (alarm.at_ms, alarm.body) == (100, {"n": 1})
        await runtime.timetable.cancel("a")
        assert await runtime.timetable.set("a", 50, {"n": 2})

    async def test_set_by_many_at_once_it_is_set_once(self, runtime: Runtime) -> None:
        wins = await asyncio.gather(*(runtime.timetable.set("a", n, {"n": n}) for n in range(10)))
        assert sum(wins) == 1
        [alarm] = await runtime.timetable.due(1_000)
        assert alarm.body == {"n": wins.index(True)}

    async def test_the_earliest_ring_first_up_to_the_limit(self, runtime: Runtime) -> None:
        for name, at_ms in (("d", 40), ("b", 20), ("c", 20), ("a", 30)):
            await runtime.timetable.set(name, at_ms, {})
        assert [a.name for a in await runtime.timetable.due(30)] == ["b", "c", "a"]
        assert [a.name for a in await runtime.timetable.due(99, limit=2)] == ["b", "c"]

    async def test_next_at_is_the_earliest_alarm(self, runtime: Runtime) -> None:
        assert await runtime.timetable.next_at() is None
        await runtime.timetable.set("a", 40, {})
        await runtime.timetable.set("b", 20, {})
        assert await runtime.timetable.next_at() == 20
        await runtime.timetable.cancel("b")
        assert await runtime.timetable.next_at() == 40
