"""What a serving process does for the people on duty besides its pages: alerts, checks, traces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from ocp_ingest.config_model import Config, Telemetry
from ocp_ingest.desk import alerts, check
from ocp_ingest.desk.notify import Channels
from ocp_ingest.desk.world import Desk
from ocp_ingest.tracing import trace_into, tracing_to

# Runs a loop under a name until the process stops.
Start = Callable[[str, Coroutine[Any, Any, object]], None]


def start(
    desk: Desk, config: Config, channels: Channels, begin: Start, stop: asyncio.Event, *,
    alone: bool,
) -> None:  # fmt: skip
    """Starts the loops that evaluate, tell and check.

    `alone`: no reconciliation runs in this deployment, so that nobody else watches the calls.
    `channels` must stay open until the loops have ended.
    """
    begin("alerts", alerts.run(desk, config.alerts, channels, stop, alone=alone))
    begin("law", check.run(desk, config.alerts, stop))


@asynccontextmanager
async def traced(section: Telemetry) -> AsyncIterator[None]:
    """Has this process write traces while the `async with` lasts, where that is configured.

    Raises Invalid for headers that can't be read.
    """
    if not section.otlp_url:
        yield
        return
    tracing = tracing_to(
        section.otlp_url, headers_file=section.otlp_headers_file, share=section.sample_share,
        service=section.service_name, version=version("ocp-ingest"),
    )  # fmt: skip
    trace_into(tracing)
    try:
        yield
    finally:
        trace_into(None)
        assert tracing is not None, "an address was given"
        await asyncio.to_thread(tracing.close)
