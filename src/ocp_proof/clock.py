"""Domain time on the virtual loop; each process may run ahead or behind by its skew.

`BeatClock` is for the one loop of a process that looks at the timetable every minute, for days.
A look that finds no alarm due changes nothing, so the clock passes over it: it lets the loop sleep
on until the first of its beats at which an alarm is due. Whoever sets an alarm is heard at the
next beat after that, as in production.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ocp_ingest.core.limits import MINUTE_MS
from ocp_proof.loop import SimLoop

Alarm = tuple[int, bytes]
# The beat of ocp_ingest.reconcile.schedule; a shorter sleep means that an alarm is near.
_BEAT_MS: Final = MINUTE_MS


class SimClock:
    """See ocp_ingest.ports.Clock."""

    def __init__(self, loop: SimLoop, origin_ms: int, skew_ms: int = 0) -> None:
        self._loop = loop
        self._origin_ms = origin_ms + skew_ms

    def now_ms(self) -> int:
        """Epoch milliseconds UTC, as this process believes."""
        return self._origin_ms + self._loop.now_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        """Waits in virtual time."""
        await asyncio.sleep(max(0, duration_ms) / 1000)


class Alarms(dict[str, Alarm]):
    """The alarms of all processes; those who sleep over them hear of an earlier one."""

    def __init__(self, asks: Callable[[str], None]) -> None:
        """`asks` is called with the name of each alarm before it is set."""
        super().__init__()
        self._asks = asks
        self._sleepers: dict[asyncio.Future[None], int] = {}

    def __setitem__(self, name: str, alarm: Alarm) -> None:
        self._asks(name)
        super().__setitem__(name, alarm)
        for sleeper, until_ms in self._sleepers.items():
            if alarm[0] < until_ms and not sleeper.done():
                sleeper.set_result(None)

    def first_ms(self) -> int | None:
        """When the next one rings."""
        return min((at_ms for at_ms, _ in self.values()), default=None)

    async def sleep(self, clock: SimClock, until_ms: int) -> bool:
        """Waits until then; False when an earlier alarm was set meanwhile."""
        loop = asyncio.get_running_loop()
        sleeper = loop.create_future()
        self._sleepers[sleeper] = until_ms
        timer = loop.call_later((until_ms - clock.now_ms()) / 1000, _wake, sleeper)
        try:
            await sleeper
        finally:
            timer.cancel()
            del self._sleepers[sleeper]
        return clock.now_ms() >= until_ms


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class BeatClock(SimClock):
    """A process's clock for its schedule; see the module."""

    def __init__(self, clock: SimClock, alarms: Alarms) -> None:
        super().__init__(clock._loop, clock._origin_ms)
        self._alarms = alarms

    async def sleep_ms(self, duration_ms: int) -> None:
        """Waits for the first beat of this length at which an alarm is due."""
        if duration_ms != _BEAT_MS:
            await super().sleep_ms(duration_ms)
            return
        began_ms = heard_ms = self.now_ms()
        while True:
            beat_ms = began_ms + ((heard_ms - began_ms) // _BEAT_MS + 1) * _BEAT_MS
            first_ms = self._alarms.first_ms()
            until_ms = beat_ms if first_ms is None else max(beat_ms, first_ms)
            if await self._alarms.sleep(self, until_ms):
                return
            heard_ms = self.now_ms()
