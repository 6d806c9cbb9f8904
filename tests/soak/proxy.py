"""A TCP proxy that breaks connections: real sockets, seeded faults.

fate       what happens to a connection
through    nothing
slow       every block waits
reset      after so many bytes of one direction both ends get a reset
truncate   after so many bytes of one direction both ends are closed in order: a short answer
half       after so many bytes one direction ends (FIN), the other goes on for a moment
refuse     it is closed before a byte passed
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from random import Random
from typing import Final

BLOCK_BYTES: Final = 16_384
SLOW_S_MAX: Final = 0.05  # of one block
HALF_S: Final = 0.5  # so long the other direction goes on
LAST_S: Final = 2.0  # an end that has gone, killed perhaps, holds the other no longer than this
# Where a connection is cut: heads of requests and answers are as likely as bodies.
CUT_BYTES: Final = (1, 200, 600, 2_000, 20_000, 100_000)
FATES: Final = ("slow", "reset", "truncate", "half", "refuse")


class FaultProxy:
    """Listens on a port of its own and passes to `target`; `share` of the connections break."""

    def __init__(self, rng: Random, share: float) -> None:
        self.rng = rng
        self.share = share
        self.target = ("127.0.0.1", 0)
        self.port = 0
        self.seen: Counter[str] = Counter()
        self._deck: list[str] = []
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def broken(self) -> int:
        """Connections that were cut."""
        return sum(n for fate, n in self.seen.items() if fate not in ("through", "slow", "dead"))

    async def start(self) -> None:
        """Begins to listen."""
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends it and what passes through it."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._pass(reader, writer)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._open.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        breaks = self.rng.random() < self.share
        try:
            there = await asyncio.open_connection(*self.target)
        except OSError:
            self.seen["dead"] += 1
            writer.transport.abort()
            return
        fate = self._dealt() if breaks else "through"
        self.seen[fate] += 1
        if fate == "refuse":
            _reset(there[1])
            _reset(writer)
            return
        limits: list[int | None] = [None, None]
        if fate in ("reset", "truncate", "half"):
            limits[self.rng.randrange(2)] = self.rng.randrange(self.rng.choice(CUT_BYTES)) + 1
        ways = [
            asyncio.create_task(self._copy(reader, there[1], limits[0], fate)),
            asyncio.create_task(self._copy(there[0], writer, limits[1], fate)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            cut = any(task.result() for task in done if not task.exception())
            if fate == "half" or not cut:
                await asyncio.wait(ways, timeout=HALF_S if cut else LAST_S)
        finally:
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (there[1], writer):
                _reset(end) if fate == "reset" else end.close()

    def _dealt(self) -> str:
        """As cards are: every fate is met before one comes again, also in a short run."""
        if not self._deck:
            self._deck = self.rng.sample(FATES, len(FATES))
        return self._deck.pop()

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, limit: int | None, fate: str
    ) -> bool:
        """Passes one direction on; True when it was cut."""
        left = limit
        while block := await source.read(BLOCK_BYTES):
            if fate == "slow":
                await asyncio.sleep(self.rng.uniform(0, SLOW_S_MAX))
            if left is not None:
                block = block[:left]
                left -= len(block)
            if sink.transport.is_closing():
                return True
            sink.write(block)
            with contextlib.suppress(ConnectionError):
                await sink.drain()
            if left == 0:
                if fate == "half" and sink.can_write_eof():
                    sink.write_eof()
                return True
        if sink.can_write_eof():
            with contextlib.suppress(OSError):
                sink.write_eof()
        return False


def _reset(end: asyncio.StreamWriter) -> None:
    """Closes with RST, as a machine that went away does."""
    held: socket.socket | None = end.get_extra_info("socket")
    if held is not None:
        with contextlib.suppress(OSError):
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()
