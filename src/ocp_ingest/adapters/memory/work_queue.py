"""WorkQueue in memory; the rules are those of the embedded one."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.state import MemoryState, StoredMessage
from ocp_ingest.ports import Clock, Message


class MemoryWorkQueue:
    """See ocp_ingest.ports.WorkQueue; waits on the clock it is given, never on real time."""

    def __init__(
        self, state: MemoryState, faults: Faults, clock: Clock, *, tries_max: int = 8
    ) -> None:
        self._state = state
        self._faults = faults
        self._clock = clock
        self._tries_max = tries_max
        self._bell = asyncio.Event()

    async def put(self, key: str, body: dict[str, Any], *, delay_ms: int = 0) -> None:
        """Adds a message, or brings the one that waits under its key forward."""
        encoded = msgspec.json.encode(body)
        async with self._faults.at("WorkQueue.put"):
            at_ms = self._clock.now_ms() + delay_ms
            for held in self._state.messages.values():
                if held.state == "waiting" and held.key == key and held.body == encoded:
                    held.at_ms = min(held.at_ms, at_ms)
                    break
            else:
                ident = self._state.next_id()
                self._state.messages[ident] = StoredMessage(ident, key, encoded, at_ms)
            self._ring()

    async def take(self, *, limit: int, lease_ms: int, wait_s: float) -> list[Message]:
        """Messages that nobody else holds; waits on the clock for the first one."""
        assert lease_ms > 0, "a lease that is over at once would give a message to everybody"
        until_ms = self._clock.now_ms() + int(wait_s * 1000)
        while True:
            bell = self._bell
            async with self._faults.at("WorkQueue.take"):
                taken = self._take(limit, lease_ms)
            left_ms = until_ms - self._clock.now_ms()
            if taken or left_ms <= 0:
                return taken
            await self._wait(bell, min(left_ms, self._until_next_ms(left_ms)))

    async def extend(self, message: Message, lease_ms: int) -> bool:
        """Keeps a message longer, unless somebody else has it by now."""
        async with self._faults.at("WorkQueue.extend"):
            held = self._held(message)
            if held is None:
                return False
            held.at_ms = self._clock.now_ms() + lease_ms
            return True

    async def done(self, message: Message) -> None:
        """Ends it, unless somebody else has it by now."""
        async with self._faults.at("WorkQueue.done"):
            held = self._held(message)
            if held is not None:
                del self._state.messages[held.ident]

    async def give_back(self, message: Message, *, delay_ms: int) -> None:
        """Lets others have it after a while, or parks it after the last try."""
        async with self._faults.at("WorkQueue.give_back"):
            held = self._held(message)
            if held is not None:
                held.state = "parked" if held.tries >= self._tries_max else "waiting"
                held.at_ms = self._clock.now_ms() + delay_ms
                self._ring()

    async def parked(self, *, limit: int = 100) -> list[Message]:
        """Messages that were tried too often, oldest first."""
        async with self._faults.at("WorkQueue.parked"):
            found = [m for m in self._state.messages.values() if m.state == "parked"]
        return [_message(held) for held in found[:limit]]

    async def depth(self) -> int:
        """How many messages wait or are held."""
        async with self._faults.at("WorkQueue.depth"):
            return sum(m.state != "parked" for m in self._state.messages.values())

    # -----------------------------------------------------------------------------------------

    def _take(self, limit: int, lease_ms: int) -> list[Message]:
        now_ms = self._clock.now_ms()
        due = [m for m in self._state.messages.values() if m.state != "parked"]
        taken: list[Message] = []
        for held in sorted(due, key=lambda m: (m.at_ms, m.ident)):
            if held.at_ms > now_ms or len(taken) >= limit:
                break
            if held.tries >= self._tries_max:
                held.state = "parked"
                continue
            held.state, held.at_ms, held.tries = "held", now_ms + lease_ms, held.tries + 1
            taken.append(_message(held))
        return taken

    def _held(self, message: Message) -> StoredMessage | None:
        ident, _, tries = message.receipt.partition(":")
        held = self._state.messages.get(int(ident))
        mine = held is not None and held.state == "held" and held.tries == int(tries)
        return held if mine else None

    def _until_next_ms(self, default_ms: int) -> int:
        times = [m.at_ms for m in self._state.messages.values() if m.state != "parked"]
        if not times:
            return max(1, default_ms)
        return max(1, min(times) - self._clock.now_ms())

    async def _wait(self, bell: asyncio.Event, duration_ms: int) -> None:
        waits = [
            asyncio.ensure_future(bell.wait()),
            asyncio.ensure_future(self._clock.sleep_ms(duration_ms)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _ring(self) -> None:
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()


def _message(held: StoredMessage) -> Message:
    return Message(msgspec.json.decode(held.body), f"{held.ident}:{held.tries}", held.tries)
