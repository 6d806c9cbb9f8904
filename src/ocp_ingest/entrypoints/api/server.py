"""Runs the API on Granian inside our own event loop, and ends it without losing an answer.

At a stop: no new upload is taken (503), the listener closes, requests under way end, uploads have
`stop_s_max`, and what is still running then is broken off and told to try again. Whatever was
answered with 2xx was durable before the answer, so nothing can be lost here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server as GranianServer

from ocp_ingest.config_model import Server
from ocp_ingest.core.errors import Invalid, Terminal
from ocp_ingest.entrypoints.api.app import Api
from ocp_ingest.telemetry import log

# A request's head is read within this; its body has its own bound on silence (limits).
_HEADER_MS_MAX: Final = 30_000
_START_S_MAX: Final = 15.0
# After uploads were broken off, their answers need a moment to leave.
_LAST_ANSWERS_S_MAX: Final = 5.0


@asynccontextmanager
async def serving(api: Api, server: Server) -> AsyncIterator[int]:
    """Serves inside the `async with`; gives the port, which is a free one for port 0.

    Raises Invalid when the address is taken or not ours.
    """
    port = server.port or free_port(server.host)
    _check_free(server.host, port)
    granian = GranianServer(
        api,
        address=server.host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_MS_MAX, keep_alive=True),
        websockets=False,
        backlog=server.backlog,
        log_enabled=False,
        log_access=False,
    )
    task = asyncio.create_task(granian.serve(), name="api")
    try:
        await _listening(task, server.host, port)
        log().info("server.started", host=server.host, port=port)
        yield port
    finally:
        await _stop(api, granian, task, server.stop_s_max)


async def serve(api: Api, server: Server, stop: asyncio.Event) -> None:
    """Serves until `stop` is set. Raises Terminal when the server ends by itself."""
    async with serving(api, server):
        await stop.wait()


async def _listening(task: asyncio.Task[None], host: str, port: int) -> None:
    try:
        async with asyncio.timeout(_START_S_MAX):
            while not task.done():
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(host, port)
                    writer.close()
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        pass
    raise Terminal(f"The server does not listen on {host}:{port}.")


async def _stop(api: Api, granian: GranianServer, task: asyncio.Task[None], wait_s: float) -> None:
    log().info("server.stopping")
    # First the listener, so that nothing new comes; then what is under way.
    granian.stop()  # type: ignore[no-untyped-call]
    broken_off = await api.deps.uploads.close(wait_s)
    done, _ = await asyncio.wait({task}, timeout=_LAST_ANSWERS_S_MAX)
    if not done:
        task.cancel()
        await asyncio.wait({task})
    log().info("server.stopped", uploads_broken_off=broken_off)


def free_port(host: str) -> int:
    """A port that nobody listens on now."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _check_free(host: str, port: int) -> None:
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as bad:
            raise Invalid(
                f"`server.host` {host} and `server.port` {port} can't be used: {bad.strerror}."
            ) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
