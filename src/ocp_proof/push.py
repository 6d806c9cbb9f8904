"""OCP's streaming subscription: pushes what the script says, and repeats what got no answer.

It stops repeating after some tries: what is lost then is stage 2's to find. What is acknowledged
must be in the journal at that moment, and no change of the journal ever takes it out again.

Between real messages it sends some of a type that nobody knows, and some that are none at all:
what can't be taken is kept as evidence, and costs its neighbours nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Final

import msgspec

from ocp_ingest.adapters.memory.faults import Crashed
from ocp_ingest.core.errors import Conflict, Invalid, OcpIngestError
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.vendor import Context, parse
from ocp_ingest.ingest import intake
from ocp_ingest.ingest.world import World
from ocp_proof.chance import Chance, stream
from ocp_proof.invariants import Laws
from ocp_proof.story import Story
from ocp_sim.model import Delivery
from ocp_sim.world import World as Ocp

_BLOCK: Final = 32_768
# Hours that a push may linger on its way.
_LATE_S: Final = (60, 4 * 3600)
# One push of events in so many brings a message that nobody knows, or none at all, along.
_ODD_EVERY: Final = 25


class Pusher:
    """Every delivery is a task of its own; `door` gives a process that listens, or None."""

    def __init__(
        self, story: Story, ocp: Ocp, chance: Chance, laws: Laws,
        door: Callable[[Random], World | None],
    ) -> None:  # fmt: skip
        self._seed = story.seed
        self._tries = story.push_tries
        self._slowness = story.push_slowness
        self._ocp = ocp
        self._chance = chance
        self._laws = laws
        self._door = door
        self.given_up = 0

    async def push(self, number: int, delivery: Delivery, in_ms: int) -> None:
        """One delivery from its time on, with its retries."""
        rng = stream(self._seed, "push", number)
        await asyncio.sleep(in_ms / 1000)
        cut = delivery.cut_first
        for tries in range(self._tries):
            drawn = self._chance.draw(f"Push.{delivery.kind}")
            what = drawn[0] if drawn is not None else ""
            if what == "reordered":
                await asyncio.sleep(rng.uniform(*_LATE_S))
            again = what == "duplicated"
            done = await self._try(delivery, rng, what, cut=cut or what == "torn")
            cut = False
            if done and not again:
                return
            await asyncio.sleep(rng.uniform(5, 60) * 4**tries * self._slowness)
        self.given_up += 1

    async def _try(self, delivery: Delivery, rng: Random, what: str, *, cut: bool) -> bool:
        world = self._door(rng)
        if world is None or what == "lost":
            return False
        try:
            if delivery.recording is not None:
                await self._recording(world, delivery, cut=cut)
            else:
                await self._events(world, delivery, rng)
        except (Conflict, Invalid):
            return True  # a 4xx is not repeated
        except (OcpIngestError, Crashed, _CutError):
            return False
        return what != "unanswered"

    async def _events(self, world: World, delivery: Delivery, rng: Random) -> None:
        context = Context(
            received_at_ms=world.clock.now_ms(), ocp_group_client=delivery.ocp_group,
            number_key=world.settings.number_key,
        )  # fmt: skip
        bodies: list[object] = [dict(body) for body in delivery.events]
        if rng.random() < 1 / _ODD_EVERY:
            bodies.append(rng.choice(_odd(delivery)))
        messages = [(body, msgspec.json.encode(body)) for body in bodies]
        try:
            said = await intake.events(world, messages, context)
        except Invalid:  # by the odd one, the last, after its neighbours were taken
            self._laws.refused(messages[-1][1])
            for body, raw in messages[:-1]:
                event = parse(body, raw, world.settings.vendor, context).event
                assert event is not None
                self._laws.acknowledged(event.call_id, event.event_id)
            raise
        for taken in said:
            if taken.call_id is not None and taken.event_id is not None:
                self._laws.acknowledged(taken.call_id, taken.event_id)

    async def _recording(self, world: World, delivery: Delivery, *, cut: bool) -> None:
        assert delivery.recording is not None
        assert delivery.name is not None
        body = self._ocp.audio(delivery.recording, "stream")

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(body), _BLOCK):
                if cut and at > len(body) // 2:
                    raise _CutError
                await asyncio.sleep(0.02)
                yield body[at : at + _BLOCK]
            if cut:
                raise _CutError

        context = Context(received_at_ms=world.clock.now_ms(), ocp_group_client=delivery.ocp_group)
        taken = await intake.recording(
            world, parse_name(delivery.name), chunks(), source="stream",
            expected_bytes=len(body), context=context,
        )  # fmt: skip
        self._laws.acknowledged_recording(taken.call_id, taken.dialog_id, taken.sha256)


def _odd(delivery: Delivery) -> tuple[object, ...]:
    """Messages that OCP's documents do not know: of a call, of none, without an id, no object."""
    known = {"message_type": "dialog_mood", "id": delivery.call_id, "group": delivery.call_id}
    return (known, {"message_type": "weather"}, {"message_type": "dialog_end"}, "hello", None)


class _CutError(Exception):
    """The sender's connection died in the middle."""
