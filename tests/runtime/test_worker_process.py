"""What a worker holds is given back at a stop; health and readiness say how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.config_model import Server
from ocp_ingest.core.errors import Invalid, NoRights, Terminal, Transient
from ocp_ingest.entrypoints.platform import Tasks
from ocp_ingest.entrypoints.platform_aws import HeldQueue, Reach, holding
from ocp_ingest.entrypoints.worker_health import healthy
from ocp_ingest.ingest import pipeline
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import Message
from tests.doors.kit import config_of, memory_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world in memory with two messages on its queue."""
    return memory_world(config_of(tmp_path / "data"), MemoryState(), Faults())


async def _put(world: World, *calls: str) -> None:
    for call in calls:
        await world.queue.put(f"call:{call}", {"call_id": call})


async def _take(world: World) -> set[str]:
    taken = await world.queue.take(limit=10, lease_ms=60_000, wait_s=0)
    return {message.body["call_id"] for message in taken}


async def test_what_is_held_at_the_end_is_there_for_others_at_once(world: World) -> None:
    await _put(world, "a", "b", "c")
    async with holding(world) as held:
        messages = {m.body["call_id"]: m for m in
                    await held.queue.take(limit=10, lease_ms=60_000, wait_s=0)}  # fmt: skip
        await held.queue.done(messages["a"])
        await held.queue.give_back(messages["b"], delay_ms=3_600_000)
        assert await _take(world) == set()
        assert isinstance(held.queue, HeldQueue)
        assert [m.body["call_id"] for m in held.queue.held.values()] == ["c"]
    # c was held; b was given back before, with a wait of its own.
    assert await _take(world) == {"c"}


async def test_a_worker_that_is_broken_off_inside_a_step_gives_its_call_back(world: World) -> None:
    """SIGTERM while a step hangs: the loop is cancelled, another worker takes the call."""
    hanging = asyncio.Event()

    class Hangs:
        async def load(self, _: str) -> None:
            hanging.set()
            await asyncio.sleep(3600)

    await _put(world, "a")
    stop = asyncio.Event()
    stuck = replace(world, calls=Hangs())  # type: ignore[arg-type]  # a store that only hangs
    async with holding(stuck) as held:
        async with _tasks(0.1) as tasks:
            tasks.start("worker-0", pipeline.work(held, stop, idle_s=0.01))
            await asyncio.wait_for(hanging.wait(), 5)
            assert await _take(world) == set()
            stop.set()
        assert await _take(world) == set(), "given back before the worker had ended"
    assert await _take(world) == {"a"}


def _tasks(stop_s_max: float) -> Any:
    from contextlib import AsyncExitStack, asynccontextmanager

    @asynccontextmanager
    async def made() -> Any:
        async with AsyncExitStack() as stack:
            yield Tasks(stack, stop_s_max)

    return made()


async def test_all_loops_together_have_the_time_of_a_stop() -> None:
    """Four loops that hang end after one patience, not after four."""
    began = asyncio.get_running_loop().time()
    async with _tasks(0.5) as tasks:
        for number in range(4):
            tasks.start(f"hangs-{number}", asyncio.sleep(3600))
        await asyncio.sleep(0)
    assert asyncio.get_running_loop().time() - began < 1.5


async def test_a_queue_that_is_gone_at_the_end_keeps_nobody_from_ending(tmp_path: Path) -> None:
    class Gone:
        async def take(self, **_: Any) -> Any:
            return [Message({"call_id": "a"}, "r", 1)]

        async def give_back(self, *_: Any, **__: Any) -> None:
            raise Transient("The queue is gone.")

    world = memory_world(config_of(tmp_path / "data"), MemoryState(), Faults())
    async with holding(replace(world, queue=Gone())) as held:  # type: ignore[arg-type]
        await held.queue.take(limit=1, lease_ms=1, wait_s=0)


# -- readiness ------------------------------------------------------------------------------------


class Asked:
    """A port of which one question is asked."""

    def __init__(self, fate: Exception | None = None, wait_s: float = 0.0) -> None:
        self.fate, self.wait_s, self.times = fate, wait_s, 0

    async def answer(self, *_: Any) -> None:
        """Nothing found, or the fate."""
        self.times += 1
        await asyncio.sleep(self.wait_s)
        if self.fate is not None:
            raise self.fate

    load = head = answer


def _reach(world: World, store: Asked, landing: Asked, now: Callable[[], float]) -> Reach:
    return Reach(replace(world, calls=store, recordings=landing), now)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("store", "landing", "said"),
    [
        (None, None, (True, True)),
        (Transient("x"), None, (False, True)),
        (None, Transient("x"), (True, False)),
        (NoRights("x"), None, (False, True)),
        (None, NoRights("x"), (True, True)),
        (RuntimeError("x"), Terminal("x"), (False, False)),
    ],
)
async def test_readiness_says_what_answers(
    world: World, store: Exception | None, landing: Exception | None, said: tuple[bool, bool]
) -> None:
    reach = _reach(world, Asked(store), Asked(landing), lambda: 0.0)
    assert tuple((await reach.checks()).values()) == said


async def test_an_answer_is_remembered_for_seconds_and_asked_once_for_all(world: World) -> None:
    now = 100.0
    store, landing = Asked(wait_s=0.01), Asked()
    reach = _reach(world, store, landing, lambda: now)
    await asyncio.gather(*(reach.checks() for _ in range(20)))
    now = 104.9
    await reach.checks()
    assert (store.times, landing.times) == (1, 1)
    now, store.fate = 105.0, Transient("gone")
    assert await reach.checks() == {"store": False, "landing": True}


# -- health ---------------------------------------------------------------------------------------


async def _get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.json()


async def test_a_loop_that_ended_makes_the_worker_unhealthy() -> None:
    alive = {"worker-0": True}
    reached = {"store": True, "landing": False}

    async def reach() -> dict[str, bool]:
        return reached

    ask: Callable[[str], Awaitable[tuple[int, dict[str, Any]]]]
    async with healthy(Server(port=0), lambda: alive, reach) as port:
        ask = lambda path: _get(port, path)  # noqa: E731
        assert await ask("/healthz") == (
            200,
            {"healthy": True, "checks": {"worker:worker-0": True}},
        )
        assert (await ask("/readyz"))[0] == 503
        reached["landing"] = True
        assert (await ask("/readyz"))[0] == 200
        alive["worker-0"] = False
        assert (await ask("/healthz"))[0] == 503
        assert (await ask("/readyz"))[0] == 503


async def test_a_port_that_is_taken_is_said_by_its_setting() -> None:
    async def reach() -> dict[str, bool]:
        return {}

    async with healthy(Server(port=0), dict, reach) as port:
        with pytest.raises(Invalid, match=r"`server\.port`"):
            async with healthy(Server(port=port), dict, reach):
                pass
