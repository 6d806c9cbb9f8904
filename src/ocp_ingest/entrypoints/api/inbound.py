"""A request's body as blocks, with a bound on silence; the only reader of ASGI's `receive`.

A sender that falls silent is told to try again (503): by our contract a 4xx would end its tries.
A sender that vanishes inside its body gets 400 if it still listens; nothing of it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import parse_qs

from litestar.types import Receive, Scope

from ocp_ingest.core.errors import Invalid, TooLarge, Transient

# After an early refusal we go on reading for a moment: a sender that is still busy sending would
# otherwise see a broken connection instead of the answer.
DRAIN_BYTES_MAX: Final = 16 * 1024 * 1024
DRAIN_S_MAX: Final = 2.0


class Disconnected(Invalid):
    """The sender went away inside the body."""


class Inbound:
    """One request as the doors see it."""

    __slots__ = ("_done", "_idle_s", "_receive", "headers", "method", "query_string", "scope")

    def __init__(self, scope: Scope, receive: Receive, idle_s: float) -> None:
        self.scope = scope
        self.method: str = scope["method"]  # type: ignore[typeddict-item]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.query_string: bytes = scope["query_string"]
        self._receive = receive
        self._idle_s = idle_s
        self._done = False

    def header(self, name: bytes) -> str:
        """A header's text, "" when it is not there; bytes that are no UTF-8 are read as Latin-1."""
        value = self.headers.get(name, b"")
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("latin-1")

    def query(self, name: str) -> str | None:
        """The first value of a query parameter."""
        if not self.query_string:
            return None
        found = parse_qs(self.query_string.decode("latin-1"), keep_blank_values=True)
        return found.get(name, [None])[0]

    def length(self) -> int | None:
        """The announced Content-Length; None when the body comes in chunks."""
        text = self.headers.get(b"content-length")
        if text is None:
            return None
        if not text.isdigit():
            raise Invalid("The Content-Length is no number.")
        return int(text)

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body, in blocks as they come. Raises Transient for silence, Disconnected."""
        loop = asyncio.get_running_loop()
        while not self._done:
            try:
                async with asyncio.timeout_at(loop.time() + self._idle_s):
                    message = await self._receive()
            except TimeoutError:
                self._done = True
                raise Transient(
                    f"Nothing came for {self._idle_s:g} s inside the body: send it again whole."
                ) from None
            if message["type"] != "http.request":
                self._done = True
                raise Disconnected("The body ended before its announced end: send it again whole.")
            self._done = not message.get("more_body", False)
            block = message.get("body", b"")
            if block:
                yield block

    async def whole(self, bytes_max: int, what: str) -> bytes:
        """The whole body. Raises TooLarge over the bound, before reading it where announced."""
        announced = self.length()
        if announced is not None and announced > bytes_max:
            raise TooLarge(f"{what} may have {bytes_max} bytes; {announced} were announced.")
        held: list[bytes] = []
        size = 0
        async for block in self.blocks():
            size += len(block)
            if size > bytes_max:
                raise TooLarge(f"{what} may have {bytes_max} bytes.")
            held.append(block)
        return held[0] if len(held) == 1 else b"".join(held)

    @property
    def unread(self) -> bool:
        """Whether the sender may still be sending."""
        return not self._done and b"expect" not in self.headers

    async def drain(self) -> None:
        """Reads on for a moment after a refusal; never raises."""
        loop = asyncio.get_running_loop()
        end_s, left = loop.time() + DRAIN_S_MAX, DRAIN_BYTES_MAX
        try:
            async with asyncio.timeout_at(end_s):
                async for block in self.blocks():
                    left -= len(block)
                    if left < 0:
                        return
        except (TimeoutError, Transient, Disconnected):
            return
