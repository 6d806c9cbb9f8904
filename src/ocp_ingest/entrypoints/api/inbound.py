"""A request's body as blocks, with a bound on silence; the only reader of ASGI's `receive`.

A sender that falls silent is told to try again (503): by our contract a 4xx would end its tries.
A sender that vanishes inside its body gets 400 if it still listens; nothing of it is kept.

Where the length of a body was announced, its end is known with its last byte: the server's word
that nothing follows, a turn of the loop later for each request, is not waited for. Silence is
watched for all requests by one timer: they have the same patience, so who waits longest is first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import parse_qs

from litestar.types import Receive, ReceiveMessage, Scope

from ocp_ingest.core.errors import Invalid, TooLarge, Transient

# After an early refusal we go on reading for a moment: a sender that is still busy sending would
# otherwise see a broken connection instead of the answer.
DRAIN_BYTES_MAX: Final = 16 * 1024 * 1024
DRAIN_S_MAX: Final = 2.0


class Patience:
    """Ends waits that have lasted `idle_s` seconds; for one event loop at a time."""

    def __init__(self, idle_s: float) -> None:
        self.idle_s = idle_s
        self._waiting: dict[_Wait, float] = {}  # until when; the first is the oldest
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def bounded(self, receive: Receive) -> ReceiveMessage:
        """What `receive` gives. Raises TimeoutError when nothing comes in time."""
        task = asyncio.current_task()
        assert task is not None, "a door runs in a task"
        wait = _Wait(task)
        loop = task.get_loop()
        if loop is not self._loop:
            self._loop, self._timer, self._waiting = loop, None, {}
        self._waiting[wait] = loop.time() + self.idle_s
        if self._timer is None:
            self._timer = loop.call_later(self.idle_s, self._look, loop)
        try:
            return await receive()
        except asyncio.CancelledError:
            # As asyncio.timeout does: a cancellation by others stays one.
            if wait.over and task.uncancel() <= wait.cancelling:
                raise TimeoutError from None
            raise
        finally:
            self._waiting.pop(wait, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now_s = loop.time()
        while self._waiting:
            wait, until_s = next(iter(self._waiting.items()))
            if until_s > now_s:
                self._timer = loop.call_at(until_s, self._look, loop)
                return
            del self._waiting[wait]
            wait.over = True
            wait.task.cancel()


class _Wait:
    """A task that waits, and whether it has waited too long."""

    __slots__ = ("cancelling", "over", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.cancelling = task.cancelling()
        self.over = False


class Disconnected(Invalid):
    """The sender went away inside the body."""


class Inbound:
    """One request as the doors see it."""

    __slots__ = (
        "_done", "_left", "_patience", "_receive", "headers", "method", "query_string", "scope",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, patience: Patience) -> None:
        self.scope = scope
        self.method: str = scope["method"]  # type: ignore[typeddict-item]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.query_string: bytes = scope["query_string"]
        self._receive = receive
        self._patience = patience
        self._done = False
        self._left = self._announced()  # bytes still to come; None: the server says when it ends

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

    def _announced(self) -> int | None:
        text = self.headers.get(b"content-length", b"")
        # A body in chunks ends with its last chunk, whatever else its head says.
        return int(text) if text.isdigit() and b"transfer-encoding" not in self.headers else None

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body, in blocks as they come. Raises Transient for silence, Disconnected."""
        while not self._done:
            block = await self._block()
            if block:
                yield block

    async def _block(self) -> bytes:
        """The next block, maybe an empty one."""
        try:
            message = await self._patience.bounded(self._receive)
        except TimeoutError:
            self._done = True
            raise Transient(
                f"Nothing came for {self._patience.idle_s:g} s inside the body: "
                "send it again whole."
            ) from None
        if message["type"] != "http.request":
            self._done = True
            raise Disconnected("The body ended before its announced end: send it again whole.")
        block: bytes = message.get("body", b"")
        self._done = not message.get("more_body", False)
        if self._left is not None:
            self._left -= len(block)
            self._done = self._done or self._left <= 0
        return block

    async def whole(self, bytes_max: int, what: str) -> bytes:
        """The whole body. Raises TooLarge over the bound, before reading it where announced."""
        announced = self.length()
        if announced is not None and announced > bytes_max:
            raise TooLarge(f"{what} may have {bytes_max} bytes; {announced} were announced.")
        held: list[bytes] = []
        size = 0
        while not self._done:
            block = await self._block()
            size += len(block)
            if size > bytes_max:
                raise TooLarge(f"{what} may have {bytes_max} bytes.")
            if block:
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
