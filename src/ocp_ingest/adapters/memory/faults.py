"""Faults on demand: every effect of the memory adapters passes a named point.

A point is `<Port>.<method>[.<part>]`, for example `CallStore.append.journal`. What can happen:

Fault         what it does at the point
LOST          raises Transient; the effect did not happen (the request was lost)
UNANSWERED    raises Transient; the effect did happen (the answer was lost)
CRASH_BEFORE  the process dies before the effect: Crashed here and at every later point
CRASH_AFTER   the process dies after it
SLOW          waits `ms` on the clock first
THROTTLED     raises Transient with `ms` as its wait
CORRUPT       one byte of the bytes that pass is changed (points with bytes)
TORN          only the first half of the bytes passes (points with bytes)

`passed` lists the points passed, in order, so that a test can make one case per point.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

from ocp_ingest.core.errors import Transient
from ocp_ingest.ports import Clock


class Kind(Enum):
    """What can happen at a point; see the table above."""

    LOST = "lost"
    UNANSWERED = "unanswered"
    CRASH_BEFORE = "crash_before"
    CRASH_AFTER = "crash_after"
    SLOW = "slow"
    THROTTLED = "throttled"
    CORRUPT = "corrupt"
    TORN = "torn"


class Fault(msgspec.Struct, frozen=True):
    """A fault and, for SLOW and THROTTLED, how long in milliseconds."""

    kind: Kind
    ms: int = 1_000


class Crashed(BaseException):
    """The simulated process is dead; no `except Exception` may outlive it."""


# Given a point that is about to be passed, says what goes wrong there.
Decide = Callable[[str], Fault | None]

_BYTES: Final = frozenset({Kind.CORRUPT, Kind.TORN})


class Faults:
    """The faults of one incarnation of a process; a restart takes a new one."""

    def __init__(self, clock: Clock | None = None, decide: Decide | None = None) -> None:
        self._clock = clock
        self._decide = decide
        self._planned: list[tuple[str, int, int, Fault]] = []
        self._counts: dict[str, int] = {}
        self.passed: list[str] = []
        self.dead = False

    def plan(
        self, point: str, kind: Kind, *, nth: int = 1, times: int = 1, ms: int = 1_000
    ) -> None:
        """Lets a fault happen at the nth time from now that the point is passed, and after it."""
        first = self._counts.get(point, 0) + nth
        self._planned.append((point, first, first + times, Fault(kind, ms)))

    def at(self, point: str) -> _Around:
        """Around an effect; the effect itself must not await."""
        return _Around(self, point)

    def through(self, point: str, data: bytes) -> bytes:
        """Bytes that pass a point, and what becomes of them."""
        fault = self._pass(point)
        if fault is None:
            return data
        if fault.kind is Kind.TORN:
            return data[: len(data) // 2]
        if fault.kind is Kind.CORRUPT and data:
            middle = len(data) // 2
            return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
        if fault.kind in (Kind.CRASH_BEFORE, Kind.CRASH_AFTER):
            self._die(point)
        if fault.kind in (Kind.LOST, Kind.UNANSWERED, Kind.THROTTLED):
            raise Transient(f"The bytes were lost ({point}).")
        return data

    def _pass(self, point: str) -> Fault | None:
        if self.dead:
            raise Crashed(point)
        self.passed.append(point)
        self._counts[point] = now = self._counts.get(point, 0) + 1
        if self._planned:
            for planned, first, end, fault in self._planned:
                if planned == point and first <= now < end:
                    return fault
        return self._decide(point) if self._decide else None

    async def before(self, point: str) -> Fault | None:
        """Passes the point and does what goes wrong before the effect; `after` does the rest."""
        fault = self._pass(point)
        if fault is not None:
            await self._before(point, fault)
        return fault

    def after(self, point: str, fault: Fault) -> None:
        """What goes wrong once the effect has happened."""
        if fault.kind is Kind.CRASH_AFTER:
            self._die(point)
        if fault.kind is Kind.UNANSWERED:
            raise Transient(f"The answer was lost ({point}).")

    async def _before(self, point: str, fault: Fault) -> None:
        if fault.kind is Kind.CRASH_BEFORE:
            self._die(point)
        if fault.kind is Kind.LOST:
            raise Transient(f"The request was lost ({point}).")
        if fault.kind is Kind.THROTTLED:
            raise Transient("Too many requests.", retry_after_s=fault.ms / 1000)
        if fault.kind is Kind.SLOW:
            assert self._clock is not None, "a slow effect needs a clock to wait on"
            await self._clock.sleep_ms(fault.ms)
        assert fault.kind not in _BYTES, f"{point} is no point that bytes pass"

    def _die(self, point: str) -> None:
        self.dead = True
        raise Crashed(point)


class _Around:
    """`async with` for one effect; a class, since simulations pass millions of points."""

    __slots__ = ("_fault", "_faults", "_point")

    def __init__(self, faults: Faults, point: str) -> None:
        self._faults = faults
        self._point = point
        self._fault: Fault | None = None

    async def __aenter__(self) -> None:
        fault = self._faults._pass(self._point)
        if fault is not None:
            self._fault = fault
            await self._faults._before(self._point, fault)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._fault is not None and kind is None:
            self._faults.after(self._point, self._fault)
