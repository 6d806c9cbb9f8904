"""Requests on their way to a port: some arrive twice, some when nobody waits for them any more.

A request that lingers takes effect whatever has become of its sender: it gave up, asked again and
went on, or it is dead.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ocp_ingest.core.errors import OcpIngestError, Transient
from ocp_proof.bounds import Bounds
from ocp_proof.chance import Chance
from ocp_proof.effects import EFFECTS

# How long a request may linger: between two others of the same task, and after its time-out.
_LINGER_MS: Final = (20, 500, 5_000, 30_000)

Request = Callable[..., Awaitable[Any]]


class Requests:
    """A port, with its name; `wire` is the same port for what arrives without its sender."""

    def __init__(
        self, name: str, port: object, wire: object, chance: Chance, bounds: Bounds
    ) -> None:
        self._name = name
        self._port = port
        self._wire = wire
        self._chance = chance
        self._bounds = bounds

    def __getattr__(self, method: str) -> Any:
        there: Any = getattr(self._port, method)
        point = f"{self._name}.{method}()"
        if point in EFFECTS:
            there = self._sent(point, there, getattr(self._wire, method))
        self.__dict__[method] = there
        return there

    def _sent(self, point: str, ask: Request, late: Request) -> Request:
        chance = self._chance

        async def send(*args: Any, **more: Any) -> Any:
            drawn = chance.draw(point)
            if drawn is None:
                return await ask(*args, **more)
            what, rng = drawn
            if what == "duplicated":
                with contextlib.suppress(OcpIngestError):
                    await ask(*args, **more)
                return await ask(*args, **more)
            lingering = self._linger(rng.choice(_LINGER_MS), lambda: late(*args, **more))
            asyncio.create_task(lingering)  # noqa: RUF006 - the loop keeps it
            raise Transient(f"No answer ({point}).")

        return send

    async def _linger(self, ms: int, arrives: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.sleep(ms / 1000)
        # On the wire nothing waits, so nobody else is at work while this is set.
        self._bounds.late = True
        try:
            await arrives()
        except OcpIngestError:
            return  # nobody hears the refusal
        finally:
            self._bounds.late = False
