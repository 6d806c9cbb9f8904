"""A worker's small HTTP server: for the container's health check and for whoever looks.

GET /healthz   200 while every loop runs, 503 once one has ended: the container is to be replaced
GET /readyz    … and the table and the landing bucket answer
GET /metrics   what this worker has measured, for Prometheus

It says nothing of calls, so it asks for no token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ocp_ingest.config_model import Server
from ocp_ingest.core.errors import Invalid
from ocp_ingest.telemetry import Metrics, log

Alive = Callable[[], dict[str, bool]]
Reach = Callable[[], Awaitable[dict[str, bool]]]


@asynccontextmanager
async def healthy(
    server: Server, alive: Alive, reach: Reach, metrics: Metrics | None = None
) -> AsyncIterator[int]:
    """Serves inside the `async with`; gives the port. Raises Invalid when it can't listen."""

    async def health(_: web.Request) -> web.Response:
        return _answer("healthy", _named(alive()))

    async def ready(_: web.Request) -> web.Response:
        return _answer("ready", {**await reach(), **_named(alive())})

    async def measured(_: web.Request) -> web.Response:
        body = generate_latest(metrics.registry) if metrics is not None else b""
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", health)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", measured)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, server.host, server.port).start()
    except OSError as bad:
        await runner.cleanup()
        raise Invalid(
            f"`server.host` {server.host} and `server.port` {server.port} can't be used: "
            f"{bad.strerror}."
        ) from None
    port = int(runner.addresses[0][1])
    log().info("server.started", host=server.host, port=port)
    try:
        yield port
    finally:
        log().info("server.stopping")
        await runner.cleanup()


def _named(alive: dict[str, bool]) -> dict[str, bool]:
    return {f"worker:{name}": runs for name, runs in alive.items()}


def _answer(word: str, checks: dict[str, bool]) -> web.Response:
    good = all(checks.values())
    return web.json_response({word: good, "checks": checks}, status=200 if good else 503)
