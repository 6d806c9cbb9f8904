"""Ports: who drives an export job where no process lives for hours.

A state machine runs one execution per job: a chain of short invocations, with waits in between
that cost nothing. It knows nothing that the book does not, so an execution that is gone is
replaced by another one of the same job.

Any method may raise Transient (the effect may or may not have happened) and NoRights.
"""

from __future__ import annotations

from typing import Any, Protocol


class Executions(Protocol):
    """Executions of the state machine that recovers one window."""

    async def start(self, name: str, job_key: str, ocp_group: str) -> bool:
        """Starts an execution of that name; one that runs already under it stands for it.

        False when the name is spent: an execution of that name has ended within 90 days.
        """

    async def is_running(self, ref: str) -> bool:
        """Whether the execution of that name or ARN runs; one just started may not be seen yet."""


class Tasks(Protocol):
    """Answers to a waiting state, by the token that it handed out; False: nobody waits any more.

    A token is spent by its answer, and by the end of its state's time.
    """

    async def success(self, token: str, output: dict[str, Any]) -> bool:
        """Lets the state machine go on with this."""

    async def failure(self, token: str, error: str, cause: str) -> bool:
        """Lets the state fail."""

    async def heartbeat(self, token: str) -> bool:
        """Says that the work goes on."""


class Detection(Protocol):
    """Asks for a look at what is due, soon and in another invocation."""

    async def ask(self, ocp_group: str | None = None) -> None:
        """Lets one group be looked at, or all. Lost, it is made up for by the next look."""
