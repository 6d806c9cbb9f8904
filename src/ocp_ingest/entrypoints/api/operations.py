"""Health, readiness, metrics, and asking for a reconciliation."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any, Final

from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery
from litestar.response import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.entrypoints.api.auth import guard
from ocp_ingest.entrypoints.api.deps import Deps
from ocp_ingest.entrypoints.api.problems import Unavailable
from ocp_ingest.entrypoints.api.reading import answer
from ocp_ingest.telemetry import log

# A store that takes longer than this to find nothing is no store to send work to.
_STORE_S_MAX: Final = 2.0


def operations(deps: Deps) -> list[HTTPRouteHandler]:
    """The handlers; health, readiness and metrics ask for no token and say nothing of calls."""

    @get("/healthz")
    async def health() -> Response[bytes]:
        return answer({"status": "ok"})

    @get("/readyz")
    async def ready() -> Response[bytes]:
        checks = await checked(deps)
        good = all(checks.values())
        deps.metrics.set("ocp_ingest_ready", float(good))
        return answer({"ready": good, "checks": checks}, 200 if good else 503)

    @get("/metrics")
    async def metrics() -> Response[bytes]:
        await _measure(deps)
        body = generate_latest(deps.metrics.registry)
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    @post("/v1/reconciliations", guards=[guard(deps, "operate")], status_code=202)
    async def reconcile(
        request: Request[Any, Any, Any], census: FromQuery[bool] = False
    ) -> Response[bytes]:
        hook = deps.hooks.reconcile
        if hook is None:
            raise Unavailable("Reconciliation is not part of this runtime.")
        log().info("reconcile.asked", client=request.scope["auth"].client_id)
        return answer(await hook(census), 202)

    return [health, ready, metrics, reconcile]


async def checked(deps: Deps) -> dict[str, bool]:
    """Every condition of readiness by name: the store answers, the disk has room, workers live."""
    reach = deps.hooks.reach
    found = await reach() if reach is not None else {"store": await _store_answers(deps)}
    checks = {**found, "not_stopping": not deps.uploads.closing}
    if deps.hooks.disk is not None:
        usage = await asyncio.to_thread(shutil.disk_usage, deps.hooks.disk)
        checks["disk"] = usage.free >= deps.config.data.free_bytes_min
    if deps.hooks.alive is not None:
        checks.update({f"worker:{name}": alive for name, alive in deps.hooks.alive().items()})
    return checks


async def _store_answers(deps: Deps) -> bool:
    try:
        async with asyncio.timeout(_STORE_S_MAX):
            await deps.world.calls.pending(until_ms=0, limit=1)
    except (OcpIngestError, TimeoutError, OSError):
        return False
    return True


async def _measure(deps: Deps) -> None:
    """Takes the gauge that is asked for, not kept; a queue that is away leaves the last one.

    Nothing that reads all calls: anybody may ask for metrics, as often as he likes.
    """
    try:
        async with asyncio.timeout(_STORE_S_MAX):
            deps.metrics.set("ocp_ingest_queue_depth", await deps.world.queue.depth())
    except (OcpIngestError, TimeoutError, OSError):
        return
