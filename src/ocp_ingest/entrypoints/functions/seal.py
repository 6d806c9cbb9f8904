"""seal: one pass of the sealer, by a schedule: what waits is sealed, days that are over are closed.

event          does besides
{}
{"all": true}  looks into every journal for events in no chain: after an update, or by hand

answer  {"links": events sealed, "days": days closed}

Its role alone may sign, and write below evidence/ of the archive. An invocation that is cut off is
followed by one that goes on; what two do at the same time is done once.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import structlog

from ocp_ingest import bootstrap_aws
from ocp_ingest import config as config_module
from ocp_ingest.core.errors import Damaged, Terminal
from ocp_ingest.entrypoints.functions.runtime import Context, Event
from ocp_ingest.telemetry import set_up_logs

if TYPE_CHECKING:
    from ocp_ingest.bootstrap_aws import AwsRuntime


class Process:
    """The one runtime of this process, opened by its first invocation."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._stack = AsyncExitStack()
        self._opened: AwsRuntime | None = None

    def run(self, event: Event, context: Context) -> dict[str, Any]:
        """One pass. Raises Transient, and Damaged or Terminal, which opened an incident."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        with structlog.contextvars.bound_contextvars(request_id=context.aws_request_id, op="seal"):
            return self._runner.run(self._pass(every=event.get("all") is True))

    async def _pass(self, *, every: bool) -> dict[str, Any]:
        from ocp_ingest.evidence import sealer

        if self._opened is None:
            config = config_module.load()
            set_up_logs("json", config.log.level)
            self._opened = await self._stack.enter_async_context(bootstrap_aws.open(config))
        evidence = bootstrap_aws.evidence(self._opened)
        try:
            found = await sealer.catch_up(evidence) if every else 0
            done = await bootstrap_aws.seal(self._opened)
        except (Damaged, Terminal) as broken:
            await sealer.tell(evidence, "seal", broken.text)
            raise
        return {**done, "links": done["links"] + found}

    def close(self) -> None:
        """Closes everything; for tests: Lambda just ends the process."""
        if self._runner is not None:
            self._runner.run(self._stack.aclose())
            self._runner.close()
        self._runner, self._opened = None, None


_PROCESS: Final = Process()
_ONE_AT_A_TIME: Final = threading.Lock()


def handler(event: Event, context: Context) -> dict[str, Any]:
    """One pass."""
    with _ONE_AT_A_TIME:
        return _PROCESS.run(event, context)
