"""The load of a soak: calls that OCP's export does not know, so that nothing can heal a lost one.

Each call has two events and a recording; each is sent until it has its 2xx, through the proxy. What
has its 2xx is in the ledger here, and must be in the journal and in the store, whatever happens.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from random import Random

import aiohttp

from ocp_ingest.bootstrap import Embedded
from ocp_ingest.core.errors import NotFound
from ocp_ingest.core.settings import LANDING
from tests.story.kit import Sender, Talk, encoded, hiss, sha256

FORMS = ("raw", "raw", "put", "multipart", "base64")
BLOCK_BYTES = 16_384
BLOCKS = 16  # about what a recording has
APPS = ("banking-a", "cards-b", "insurance-c")


class Input:
    """One message: its bytes, and whether it was acknowledged."""

    def __init__(self, talk: Talk, kind: str, body: bytes, form: str = "") -> None:
        self.talk = talk
        self.kind = kind
        self.body = body
        self.form = form
        self.acknowledged = False

    async def send(self, to: Sender, pause_s: float) -> int:
        """One try; its status. A raw upload pauses so long between its blocks."""
        if self.kind == "event":
            status, _ = await to.send("/v1/events", self.body)
        elif self.form in ("raw", "put"):
            method = "PUT" if self.form == "put" else "POST"
            status, _ = await to.send(
                "/v1/recordings", self._slowly(pause_s), method,
                Content_Disposition=f'attachment; filename="{self.talk.name}"',
                Content_Length=str(len(self.body)),
            )  # fmt: skip
        else:
            status, _ = await to.deliver(self.talk.name, self.body, self.form)
        return status

    async def _slowly(self, pause_s: float) -> AsyncIterator[bytes]:
        for at in range(0, len(self.body), BLOCK_BYTES):
            yield self.body[at : at + BLOCK_BYTES]
            await asyncio.sleep(pause_s)


class Load:
    """All inputs, what became of them, and how often sending failed."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.inputs: list[Input] = []
        self.answers: Counter[str] = Counter()
        self.under_way = 0

    @property
    def acknowledged(self) -> int:
        """Inputs with a 2xx."""
        return sum(one.acknowledged for one in self.inputs)

    @property
    def recordings(self) -> list[Input]:
        """Those that are audio."""
        return [one for one in self.inputs if one.kind == "recording"]

    def add(self, calls: int, now_ms: int) -> None:
        """New calls that ended ten minutes before `now_ms`."""
        for _ in range(calls):
            talk = Talk(self.rng, self.rng.randrange(3_000, 12_000, 20), self.rng.choice(APPS))
            talk.start_ms = now_ms - 600_000 - talk.duration_ms
            talk.name = talk.named("wav")
            some = [
                Input(talk, "event", encoded(talk.start())),
                Input(talk, "event", encoded(talk.end())),
                Input(talk, "recording", hiss(self.rng, talk.duration_ms),
                      self.rng.choice(FORMS)),
            ]  # fmt: skip
            self.rng.shuffle(some)
            self.inputs += some

    async def send(self, to: Sender, over_s: float) -> list[Input]:
        """Sends all that has no 2xx yet, begun within `over_s`; those that got it now."""
        waits = [(one, self.rng.uniform(0, over_s)) for one in self.inputs if not one.acknowledged]
        done = await asyncio.gather(*(self._one(one, to, wait_s) for one, wait_s in waits))
        return [one for one in done if one is not None]

    async def _one(self, one: Input, to: Sender, wait_s: float) -> Input | None:
        await asyncio.sleep(wait_s)
        self.under_way += 1
        try:
            status = await one.send(to, wait_s / BLOCKS)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as broken:
            self.answers[type(broken).__name__] += 1
            return None
        finally:
            self.under_way -= 1
        self.answers[str(status)] += 1
        # A connection that is cut inside the body is told 400 where the answer still passes.
        assert status in (200, 201, 400, 503), status
        one.acknowledged = status in (200, 201)
        return one if one.acknowledged else None


async def lost(runtime: Embedded, inputs: Iterable[Input]) -> list[str]:
    """The acknowledged inputs whose journal or bytes are not there, or there twice, or other."""
    wrong = []
    for one in inputs:
        journal = await runtime.world.calls.journal(one.talk.call_id)
        if one.kind == "event":
            times = [event.raw for event in journal].count(one.body)
            if times != 1:
                wrong.append(f"event {one.talk.call_id}: {times} times in the journal")
            continue
        received = [event for event in journal if event.kind == "received"]
        if len(received) != 1:
            wrong.append(f"recording {one.talk.call_id}: received {len(received)} times")
        elif received[0].data["sha256"] != sha256(one.body):
            wrong.append(f"recording {one.talk.call_id}: another hash")
        elif await _bytes(runtime, one.talk.call_id, received[0].data["landing_key"]) != one.body:
            wrong.append(f"recording {one.talk.call_id}: other bytes")
    return wrong


async def _bytes(runtime: Embedded, call_id: str, landing_key: str) -> bytes | None:
    """A recording's bytes: in landing, or, moved on, in its bucket."""
    store = runtime.world.recordings
    try:
        return b"".join([block async for block in store.read(LANDING, landing_key)])
    except NotFound:
        call = await runtime.world.calls.load(call_id)
        place = call.root.stored if call is not None else None
        if place is None:
            return None
        return b"".join([block async for block in store.read(place.bucket, place.key)])
