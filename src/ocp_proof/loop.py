"""An event loop without I/O: virtual time, and a seed that chooses who goes next.

Rules
1. Of everything that is ready, chance picks one; so a seed is one interleaving, and many seeds
   are many interleavings. Nothing in asyncio promises an order among ready tasks.
2. Time passes only when nothing is ready: it jumps to the next timer. Days take milliseconds.
3. Threads do not exist: what is sent to an executor is done at once.
4. A run is bounded in steps; more is a hot loop, and that is a failure of the code under test.
5. Nothing depends on addresses, hashes of texts or the garbage collector (see `many`): the same
   seed is the same run in every process.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from itertools import count
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")
# Enough for every task of a run that failed to end.
_LAST_STEPS = 100_000
# Tasks that a run has at once, about; twice as many are looked through for those that are done.
_TASKS = 256


class HotLoopError(AssertionError):
    """Something turns without waiting for time to pass."""


class DeadlockError(AssertionError):
    """Nothing is ready, no timer is set, and the run is not over."""


class _Handle(asyncio.Handle):
    """asyncio's, made in half the time: a run makes some fifty thousand."""

    __slots__ = ()
    # What asyncio's has, and typeshed does not tell of.
    _callback: Callable[..., object]
    _context: Context

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop, context: Context | None,
    ) -> None:  # fmt: skip
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context if context is not None else copy_context()
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class _Timer(_Handle, asyncio.TimerHandle):
    """As `_Handle`; nobody asks it whether it is `_scheduled`."""

    _when: float


class SimLoop(asyncio.AbstractEventLoop):
    """See the module; one loop is one run."""

    def __init__(self, chance: Random, *, steps_max: int) -> None:
        self._chance = chance
        self._steps_max = steps_max
        self._ready: list[_Handle] = []
        self._timers: list[tuple[int, int, _Timer]] = []
        self._order = count()
        self.now_us = 0  # virtual microseconds since the run began; read it, no more
        self._running = False
        self._failures: list[dict[str, Any]] = []
        self._tasks: list[asyncio.Task[Any]] = []  # in order; some of them are done
        self._sweep_at = _TASKS
        self._ends: BaseException | None = None
        self.steps = 0

    # -- time and order ------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self.now_us / 1_000_000

    @property
    def now_ms(self) -> int:
        """Virtual milliseconds since the run began."""
        return self.now_us // 1_000

    def call_soon(  # type: ignore[override] # variadic generics would say no more here
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Ready now; when it runs is up to chance."""
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment] # see call_soon

    def call_later(  # type: ignore[override] # see call_soon
        self, delay: float, callback: Callable[..., object], *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:  # fmt: skip
        """Ready after so many virtual seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override] # see call_soon
        self, when: float, callback: Callable[..., object], *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:  # fmt: skip
        """Ready at that virtual time."""
        handle = _Timer(callback, args, self, context)
        handle._when = when
        at_us = max(self.now_us, round(when * 1_000_000))
        heapq.heappush(self._timers, (at_us, next(self._order), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it stays in the heap and is passed over

    # -- running -------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Runs to the end of `main`, then cancels what is left. Raises what `main` raises."""
        events._set_running_loop(self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._close_generator)
        self._running = True
        try:
            task: asyncio.Task[T] = self.create_task(main)
            while not task.done():
                self._step()
            self._end_all(task)
            return task.result()
        except BaseException:
            self._abandon()
            raise
        finally:
            self._running = False
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(None)

    def _step(self) -> None:
        if not self._ready:
            self._jump()
            return
        self.steps += 1
        if self.steps > self._steps_max:
            raise HotLoopError(f"more than {self._steps_max} steps")
        ready = self._ready
        if len(ready) > 1:
            pick = int(self._chance.random() * len(ready))
            ready[pick], ready[-1] = ready[-1], ready[pick]
        handle = ready.pop()
        if not handle._cancelled:
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as failed:
                text = f"Exception in {handle!r}"
                self.call_exception_handler({"message": text, "exception": failed})
            if self._ends is not None:
                raise self._ends

    def end(self, why: BaseException) -> None:
        """Raises this out of `run` after the step that is under way; the first one counts."""
        self._ends = self._ends or why

    def _jump(self) -> None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            raise DeadlockError("everything sleeps for good")
        self.now_us = max(self.now_us, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self.now_us:
            handle = heapq.heappop(self._timers)[2]
            if not handle.cancelled():
                self._ready.append(handle)

    def _end_all(self, main: asyncio.Task[Any]) -> None:
        for task in self._still():
            if task is not main:
                task.cancel()
        while self._still():
            self._step()

    def _abandon(self) -> None:
        """Lets what is left die in order; what it still says about a run that failed is no news."""
        self._steps_max = self.steps + _LAST_STEPS
        for task in self._still():
            task.cancel()
        while self._still():
            self._ends = None
            try:
                self._step()
            except HotLoopError:
                return
            except BaseException:  # noqa: S112 - see above
                continue

    # -- what asyncio asks of a loop -----------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        """A task of this loop."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > self._sweep_at:
            self._sweep_at = 2 * len(self._still()) + _TASKS
        return task

    def _still(self) -> list[asyncio.Task[Any]]:
        """Tasks that are not done; a callback at each one's end would be a step that means nothing.

        Not asyncio.all_tasks: a set has another order in each process.
        """
        self._tasks = [task for task in self._tasks if not task.done()]
        return self._tasks

    def run_in_executor(  # type: ignore[override] # typeshed wants a coroutine, asyncio a future
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Rule 3."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as failed:
            future.set_exception(failed)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keeps what nobody took: `unretrieved` says it."""
        self._failures.append(context)

    def unretrieved(
        self, *, but: type[BaseException] | tuple[type[BaseException], ...]
    ) -> list[str]:
        """Errors of tasks that nobody looked at, without those of these kinds."""
        return [
            f"{context.get('message')}: {context.get('exception')!r}"
            for context in self._failures
            if not isinstance(context.get("exception"), but)
        ]

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Whether `run` is under way."""
        return self._running

    def is_closed(self) -> bool:
        """There is nothing to close."""
        return False

    def close(self) -> None:
        """There is nothing to close."""

    def _close_generator(self, generator: Any) -> None:
        if self._running:
            self.create_task(generator.aclose())
