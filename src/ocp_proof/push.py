"""OCP's streaming subscription: pushes what the script says, and repeats what got no answer.

It stops repeating after PUSH_TRIES: what is lost then is stage 2's to find. What is acknowledged
is written down, for that must never be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from random import Random
from typing import Any, Final

import msgspec

from ocp_ingest.adapters.memory.faults import Crashed
from ocp_ingest.core.errors import Conflict, Invalid, OcpIngestError
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.vendor import Context
from ocp_ingest.ingest import intake
from ocp_ingest.ingest.world import World
from ocp_proof.chance import Chance, stream
from ocp_sim.model import Delivery
from ocp_sim.world import World as Ocp

PUSH_TRIES: Final = 4
_BLOCK: Final = 32_768
# What the wire does to a push, besides what the platform does.
_WIRE: Final = (
    ("lost", 3.0), ("unanswered", 3.0), ("duplicated", 3.0), ("delayed", 3.0), ("cut", 2.0),
)  # fmt: skip


class Acknowledged(msgspec.Struct):
    """What the platform said 2xx to: (call, event) of CDRs, and (call, dialog, sha256) of audio."""

    events: set[tuple[str, str]] = set()
    recordings: set[tuple[str, str, str]] = set()


class Pusher:
    """Every delivery is a task of its own; `door` gives a process that listens, or None."""

    def __init__(
        self, seed: int, ocp: Ocp, chance: Chance, door: Callable[[Random], World | None]
    ) -> None:
        self._seed = seed
        self._ocp = ocp
        self._chance = chance
        self._door = door
        self.acknowledged = Acknowledged()
        self.given_up = 0

    async def push(self, number: int, delivery: Delivery, in_ms: int) -> None:
        """One delivery from its time on, with its retries."""
        rng = stream(self._seed, "push", number)
        await asyncio.sleep(in_ms / 1000)
        cut = delivery.cut_first
        for tries in range(PUSH_TRIES):
            drawn = self._chance.draw(f"Push.{delivery.kind}", _WIRE)
            what = drawn[0] if drawn is not None else ""
            if what == "delayed":
                await asyncio.sleep(rng.uniform(60, 4 * 3600))
            again = what == "duplicated"
            done = await self._try(delivery, rng, what, cut=cut or what == "cut")
            cut = False
            if done and not again:
                return
            await asyncio.sleep(rng.uniform(5, 60) * 4**tries)
        self.given_up += 1

    async def _try(self, delivery: Delivery, rng: Random, what: str, *, cut: bool) -> bool:
        world = self._door(rng)
        if world is None or what == "lost":
            return False
        try:
            if delivery.recording is not None:
                await self._recording(world, delivery, cut=cut)
            else:
                await self._events(world, delivery.events, delivery)
        except (Conflict, Invalid):
            return True  # a 4xx is not repeated
        except (OcpIngestError, Crashed, _CutError):
            return False
        return what != "unanswered"

    async def _events(
        self, world: World, bodies: tuple[Mapping[str, Any], ...], delivery: Delivery
    ) -> None:
        context = Context(
            received_at_ms=world.clock.now_ms(), ocp_group_client=delivery.ocp_group,
            number_key=world.settings.number_key,
        )  # fmt: skip
        messages = [(dict(body), msgspec.json.encode(body)) for body in bodies]
        for taken in await intake.events(world, messages, context):
            if taken.call_id is not None and taken.event_id is not None:
                self.acknowledged.events.add((taken.call_id, taken.event_id))

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
        self.acknowledged.recordings.add((taken.call_id, taken.dialog_id, taken.sha256))


class _CutError(Exception):
    """The sender's connection died in the middle."""
