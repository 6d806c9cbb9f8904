"""What the functions share: one runtime and one event loop per process, and errors by their fate.

Lambda keeps a process for many invocations, one at a time, and freezes it in between. So the
runtime is opened by the first one, after which connections, tokens and configuration are there.

Raised          means for who called                        errorType
GroupBusy       another invocation is at the group          GroupBusy
Transient       the same again, later                       Transient
anything else   a person must look, or the input is wrong   its own name

A subclass of Transient is raised as Transient: state machines know errors by name only.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import structlog

from ocp_ingest import bootstrap_aws
from ocp_ingest import config as config_module
from ocp_ingest.core.errors import Invalid, Terminal, Transient
from ocp_ingest.reconcile.answer import real_seconds
from ocp_ingest.reconcile.flow import Flow
from ocp_ingest.reconcile.hold import GroupBusy
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import set_up_logs

if TYPE_CHECKING:
    from ocp_ingest.bootstrap_aws import AwsRuntime
    from ocp_ingest.reconcile.executions import Detection, Executions, Tasks

T = TypeVar("T")
Event = dict[str, Any]

# Of an invocation's time, what is left for ending in good order: keeping results, giving the
# lease up, a request that is repeated.
ENDING_MS: Final = 15_000
# How much of a random name makes an invocation's lease its own. Lambda's request id is not
# enough: a failed asynchronous invocation is repeated under the same one.
_OWNER_BYTES: Final = 8


class Context(Protocol):
    """What Lambda says of an invocation."""

    @property
    def aws_request_id(self) -> str:
        """Names the invocation; its repeats have the same."""

    def get_remaining_time_in_millis(self) -> int:
        """How long until it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Functions:
    """What one invocation is given; `left_ms` is the time that it may still spend."""

    runtime: AwsRuntime
    stage2: Stage2
    left_ms: Callable[[], int]

    def owner(self) -> str:
        """A name for a lease that nobody else has."""
        return f"{self.stage2.owner}-{secrets.token_hex(_OWNER_BYTES)}"

    def flow(self) -> Flow:
        """The steps of jobs, for one invocation."""
        return Flow(
            self.runtime.world, self.stage2, self.detection(), owner=self.owner(),
            real_s=real_seconds(self.runtime.config.clock.scale),
        )  # fmt: skip

    def executions(self) -> Executions:
        """The state machine."""
        from ocp_ingest.adapters.aws.executions import AwsExecutions

        return AwsExecutions(self.runtime.aws)

    def detection(self) -> Detection:
        """The detect function."""
        from ocp_ingest.adapters.aws.executions import AwsDetection

        return AwsDetection(self.runtime.aws)

    def tasks(self) -> Tasks:
        """The waiting states."""
        from ocp_ingest.adapters.aws.tasks import AwsTasks

        return AwsTasks(self.runtime.aws)


Opened = tuple["AwsRuntime", Stage2]


@asynccontextmanager
async def opened() -> AsyncIterator[Opened]:
    """The runtime that this process's environment describes. Raises as bootstrap_aws does."""
    config = config_module.load()
    set_up_logs("json", config.log.level)
    async with bootstrap_aws.open(config) as runtime, bootstrap_aws.exports(runtime) as stage2:
        if stage2 is None:
            raise Terminal("No Export API is configured: fill the section [ocp].")
        yield runtime, stage2


class Process:
    """The one runtime of this process, opened when it is first needed."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Opened]] = opened) -> None:
        self._opening = opening
        self._runner: asyncio.Runner | None = None
        self._stack = AsyncExitStack()
        self._opened: Opened | None = None

    def run(self, context: Context, work: Callable[[Functions], Awaitable[T]], **named: str) -> T:
        """Does an invocation's work; `named` is what its log lines say besides."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            with structlog.contextvars.bound_contextvars(
                request_id=context.aws_request_id, **named
            ):
                # Else the runner's own context, which is that of its first run.
                return self._runner.run(self._work(context, work), context=copy_context())
        except GroupBusy:
            raise
        except Transient as failed:
            raise Transient(failed.text, retry_after_s=failed.retry_after_s) from failed

    async def _work(self, context: Context, work: Callable[[Functions], Awaitable[T]]) -> T:
        runtime, stage2 = await self._open()

        def left_ms() -> int:
            return max(0, context.get_remaining_time_in_millis() - ENDING_MS)

        return await work(Functions(runtime=runtime, stage2=stage2, left_ms=left_ms))

    async def _open(self) -> Opened:
        if self._opened is None:  # what could not be opened is tried again by the next one
            self._opened = await self._stack.enter_async_context(self._opening())
        return self._opened

    def close(self) -> None:
        """Closes the runtime; Lambda just ends the process."""
        if self._runner is not None:
            self._runner.run(self._stack.aclose())
            self._runner.close()
        self._runner, self._opened = None, None


# Lambda calls a handler with an event and a context only; who hosts it otherwise sets another.
PROCESS: Final[ContextVar[Process]] = ContextVar("process", default=Process())  # noqa: B039 - one per process is the point


def run(context: Context, work: Callable[[Functions], Awaitable[T]], **named: str) -> T:
    """Does an invocation's work in this process's runtime. Raises by fate, see above."""
    return PROCESS.get().run(context, work, **named)


def text_of(event: Event, key: str) -> str:
    """A text that an event must have. Raises Invalid, naming the key."""
    value = event.get(key)
    if not isinstance(value, str) or not value:
        raise Invalid(f"`{key}` is missing in the event.")
    return value


def number_of(event: Event, key: str) -> int:
    """A whole number that an event must have. Raises Invalid, naming the key."""
    value = event.get(key)
    # JSONata may write a whole number as a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise Invalid(f"`{key}` must be a whole number.")
    return int(value)
