"""Laws of the simulated event loop: virtual time, an order that a seed decides, no hot loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

import pytest

from ocp_proof.clock import SimClock
from ocp_proof.loop import DeadlockError, HotLoopError, SimLoop

T = TypeVar("T")


def play(main: Callable[[], Coroutine[Any, Any, T]], seed: int = 1, steps_max: int = 10_000) -> T:
    loop = SimLoop(Random(seed), steps_max=steps_max)  # type: ignore[abstract] # no sockets in it
    return loop.run(main())


def test_a_day_passes_at_once_and_only_when_everybody_sleeps() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        await asyncio.sleep(86_400)
        seen.append(loop.time())
        await asyncio.wait({asyncio.create_task(asyncio.sleep(5))}, timeout=1)
        seen.append(loop.time())
        return seen

    assert play(main) == [0, 86_400, 86_401]


def order(seed: int) -> list[int]:
    async def main() -> list[int]:
        done: list[int] = []

        async def one(number: int) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            done.append(number)

        await asyncio.gather(*(one(n) for n in range(6)))
        return done

    return play(main, seed)


def test_the_same_seed_is_the_same_order_and_other_seeds_are_others() -> None:
    assert order(7) == order(7)
    orders = {tuple(order(seed)) for seed in range(20)}
    assert len(orders) > 10
    assert all(sorted(one) == list(range(6)) for one in orders)


def test_what_spins_without_waiting_is_found() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(HotLoopError):
        play(main, steps_max=500)


def test_what_can_never_go_on_is_found() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError):
        play(main)


def test_threads_are_done_at_once_and_their_errors_arrive() -> None:
    async def main() -> int:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(lambda: 6 * 7)

    assert play(main) == 42


def test_an_error_that_nobody_takes_is_told() -> None:
    loop = SimLoop(Random(1), steps_max=1_000)  # type: ignore[abstract] # no sockets in it

    async def main() -> None:
        async def fails() -> None:
            raise ValueError("lost")

        task = asyncio.create_task(fails())
        await asyncio.sleep(1)
        del task

    loop.run(main())
    assert any("lost" in text for text in loop.unretrieved(but=KeyError))
    assert not loop.unretrieved(but=ValueError)


def test_locks_and_queues_keep_their_promises_in_any_order() -> None:
    async def main() -> int:
        lock, room, held, most = asyncio.Lock(), asyncio.Semaphore(2), 0, 0

        async def one() -> None:
            nonlocal held, most
            async with room, lock:
                held += 1
                most = max(most, held)
                await asyncio.sleep(0.1)
                held -= 1

        await asyncio.gather(*(one() for _ in range(20)))
        return most

    assert {play(main, seed) for seed in range(20)} == {1}


def test_clocks_of_processes_differ_by_their_skew() -> None:
    loop = SimLoop(Random(1), steps_max=1_000)  # type: ignore[abstract] # no sockets in it
    ahead, behind = SimClock(loop, 1_000, 50), SimClock(loop, 1_000, -50)

    async def main() -> None:
        await ahead.sleep_ms(500)

    loop.run(main())
    assert (ahead.now_ms(), behind.now_ms()) == (1_550, 1_450)
