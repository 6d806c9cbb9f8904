"""Laws of a WorkQueue: no message is lost, none is held by two within its lease."""

from __future__ import annotations

import asyncio

from ocp_ingest.ports import Message
from tests.contracts.runtimes import TRIES_MAX, Runtime

# Two grains of the coarsest queue (runtime.grain_ms), so that there is a time within a lease.
LEASE_MS = 2_000
DELAY_MS = 2_000


async def take(runtime: Runtime, limit: int = 10) -> list[Message]:
    return await runtime.queue.take(limit=limit, lease_ms=LEASE_MS, wait_s=0)


class TestTaking:
    async def test_a_message_is_taken_with_its_body_and_its_try(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {"call": "c1", "n": [1, None, "ñ"]})
        runtime.restart()
        [message] = await take(runtime)
        assert message.body == {"call": "c1", "n": [1, None, "ñ"]}
        assert message.tries == 1

    async def test_nobody_else_has_it_within_the_lease(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {})
        await take(runtime)
        runtime.pass_time(LEASE_MS - runtime.grain_ms)
        assert await take(runtime) == []
        runtime.pass_time(runtime.grain_ms)
        [again] = await take(runtime)
        assert again.tries == 2

    async def test_takers_at_once_share_no_message(self, runtime: Runtime) -> None:
        for number in range(20):
            await runtime.queue.put(str(number), {"n": number})
        hands = await asyncio.gather(*(take(runtime, limit=3) for _ in range(8)))
        numbers = [message.body["n"] for hand in hands for message in hand]
        assert sorted(numbers) == list(range(20))
        assert all(len(hand) <= 3 for hand in hands)

    async def test_the_earliest_due_comes_first(self, runtime: Runtime) -> None:
        await runtime.queue.put("late", {"n": 3}, delay_ms=20)
        await runtime.queue.put("soon", {"n": 2}, delay_ms=10)
        await runtime.queue.put("now", {"n": 1})
        assert [m.body["n"] for m in await take(runtime)] == [1]
        runtime.pass_time(20)
        assert [m.body["n"] for m in await take(runtime)] == [2, 3]

    async def test_a_delayed_message_is_not_taken_before_its_time(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {}, delay_ms=DELAY_MS)
        assert await take(runtime) == []
        runtime.pass_time(DELAY_MS - runtime.grain_ms)
        assert await take(runtime) == []
        runtime.pass_time(runtime.grain_ms)
        assert len(await take(runtime)) == 1

    async def test_a_waiting_taker_is_woken_by_a_put(self, runtime: Runtime) -> None:
        waiting = [
            asyncio.create_task(runtime.queue.take(limit=1, lease_ms=LEASE_MS, wait_s=30))
            for _ in range(2)
        ]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        await runtime.queue.put("a", {"n": 1})
        await runtime.queue.put("b", {"n": 2})
        hands = await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert sorted(hand[0].body["n"] for hand in hands) == [1, 2]

    async def test_taking_from_an_empty_queue_without_waiting_is_empty(
        self, runtime: Runtime
    ) -> None:
        assert await take(runtime) == []


class TestEnding:
    async def test_a_done_message_never_comes_back(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {})
        [message] = await take(runtime)
        await runtime.queue.done(message)
        await runtime.queue.done(message)
        runtime.pass_time(2 * LEASE_MS)
        assert await take(runtime) == []
        assert await runtime.queue.depth() == 0

    async def test_an_ended_lease_ends_nothing_of_the_next_holder(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {})
        [old] = await take(runtime)
        runtime.pass_time(LEASE_MS)
        [new] = await take(runtime)
        await runtime.queue.done(old)
        await runtime.queue.give_back(old, delay_ms=0)
        assert not await runtime.queue.extend(old, LEASE_MS)
        assert await take(runtime) == []
        assert await runtime.queue.depth() == 1
        assert await runtime.queue.extend(new, LEASE_MS)

    async def test_a_lease_over_but_not_taken_by_others_still_ends(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {})
        [message] = await take(runtime)
        runtime.pass_time(LEASE_MS)
        await runtime.queue.done(message)
        assert await take(runtime) == []

    async def test_an_extended_lease_lasts_from_now(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {})
        [message] = await take(runtime)
        runtime.pass_time(LEASE_MS - runtime.grain_ms)
        assert await runtime.queue.extend(message, LEASE_MS)
        runtime.pass_time(LEASE_MS - runtime.grain_ms)
        assert await take(runtime) == []
        runtime.pass_time(runtime.grain_ms)
        assert len(await take(runtime)) == 1

    async def test_given_back_it_waits_its_delay(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {"n": 1})
        [message] = await take(runtime)
        await runtime.queue.give_back(message, delay_ms=DELAY_MS)
        assert not await runtime.queue.extend(message, LEASE_MS)
        runtime.pass_time(DELAY_MS - runtime.grain_ms)
        assert await take(runtime) == []
        runtime.pass_time(runtime.grain_ms)
        [again] = await take(runtime)
        assert (again.tries, again.body) == (2, {"n": 1})

    async def test_done_after_give_back_does_not_lose_the_message(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {})
        [message] = await take(runtime)
        await runtime.queue.give_back(message, delay_ms=0)
        await runtime.queue.done(message)
        assert len(await take(runtime)) == 1


class TestParking:
    async def test_after_the_last_try_a_message_is_parked_and_kept(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {"n": 1})
        for number in range(1, TRIES_MAX + 1):
            [message] = await take(runtime)
            assert message.tries == number
            await runtime.queue.give_back(message, delay_ms=0)
        runtime.restart()
        assert await take(runtime) == []
        [parked] = await runtime.queue.parked()
        assert (parked.body, parked.tries) == ({"n": 1}, TRIES_MAX)
        assert await runtime.queue.depth() == 0

    async def test_a_message_whose_holders_all_died_is_parked_too(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {"n": 1})
        for _ in range(TRIES_MAX):
            assert len(await take(runtime)) == 1
            runtime.pass_time(LEASE_MS)
        assert await take(runtime) == []
        assert [m.body for m in await runtime.queue.parked()] == [{"n": 1}]

    async def test_a_new_put_of_a_parked_key_is_work_again(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {"n": 1})
        for _ in range(TRIES_MAX):
            [message] = await take(runtime)
            await runtime.queue.give_back(message, delay_ms=0)
        await runtime.queue.put("a", {"n": 1})
        [fresh] = await take(runtime)
        assert fresh.tries == 1
        assert len(await runtime.queue.parked()) == 1


class TestMerging:
    async def test_a_put_never_merges_into_a_held_message(self, runtime: Runtime) -> None:
        """Its holder may have looked at the world before the put."""
        await runtime.queue.put("a", {"n": 1})
        [held] = await take(runtime)
        await runtime.queue.put("a", {"n": 1})
        runtime.pass_time(LEASE_MS)  # nor into one whose lease is over: its holder may end it
        await runtime.queue.put("a", {"n": 1})
        await runtime.queue.done(held)
        assert len(await take(runtime)) >= 1

    async def test_merged_puts_are_due_at_the_earliest(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {"n": 1}, delay_ms=1_000)
        await runtime.queue.put("a", {"n": 1})
        await runtime.queue.put("a", {"n": 1}, delay_ms=2_000)
        assert len(await take(runtime)) >= 1

    async def test_different_bodies_under_one_key_are_both_kept(self, runtime: Runtime) -> None:
        await runtime.queue.put("a", {"n": 1})
        await runtime.queue.put("a", {"n": 2})
        assert sorted(m.body["n"] for m in await take(runtime)) == [1, 2]
