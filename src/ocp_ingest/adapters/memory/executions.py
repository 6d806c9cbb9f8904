"""State machine, task tokens and detection in memory; the rules are those of AWS.

A name of an execution is spent once it was used; a token is spent by its answer, and by the end
of the state that waits for it. Whoever plays the state machine reads and ends what is here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ocp_ingest.adapters.memory.faults import Faults

# As AWS writes it: the name is what follows the last colon.
ARN = "arn:aws:states:eu-west-1:000000000000:execution:recover:"


@dataclass(slots=True)
class Execution:
    """One execution; `running` until whoever plays the state machine ends it."""

    name: str
    job_key: str
    ocp_group: str
    running: bool = True


@dataclass(slots=True)
class Waiting:
    """A state that waits for its token; `heard` rings at each sign of its worker."""

    output: bytes | None = None
    error: str = ""
    beats: int = 0
    open: bool = True
    heard: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class MachineState:
    """What the state machine knows, whoever of ours dies."""

    executions: dict[str, Execution] = field(default_factory=dict)
    tokens: dict[str, Waiting] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)  # groups to be looked at; None: all


class MemoryExecutions:
    """See ocp_ingest.reconcile.executions.Executions."""

    def __init__(self, state: MachineState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def start(self, name: str, job_key: str, ocp_group: str) -> bool:
        """Starts an execution; one that runs under the name with this input stands for it."""
        async with self._faults.at("Executions.start"):
            held = self._state.executions.get(name)
            if held is None:
                self._state.executions[name] = Execution(name, job_key, ocp_group)
                return True
            return held.running and (held.job_key, held.ocp_group) == (job_key, ocp_group)

    async def is_running(self, ref: str) -> bool:
        """Whether the execution of that name or ARN runs."""
        async with self._faults.at("Executions.is_running"):
            held = self._state.executions.get(ref.rpartition(":")[2])
            return held is not None and held.running


class MemoryTasks:
    """See ocp_ingest.reconcile.executions.Tasks."""

    def __init__(self, state: MachineState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def success(self, token: str, output: dict[str, Any]) -> bool:
        """Answers the token."""
        body = msgspec.json.encode(output)
        async with self._faults.at("Tasks.success"):
            held = self._open(token)
            if held is not None:
                held.output, held.open = body, False
                held.heard.set()
            return held is not None

    async def failure(self, token: str, error: str, cause: str) -> bool:
        """Fails the token."""
        async with self._faults.at("Tasks.failure"):
            held = self._open(token)
            if held is not None:
                held.error, held.open = error or cause, False
                held.heard.set()
            return held is not None

    async def heartbeat(self, token: str) -> bool:
        """Beats for the token."""
        async with self._faults.at("Tasks.heartbeat"):
            held = self._open(token)
            if held is not None:
                held.beats += 1
                held.heard.set()
            return held is not None

    def _open(self, token: str) -> Waiting | None:
        held = self._state.tokens.get(token)
        return held if held is not None and held.open else None


class MemoryDetection:
    """See ocp_ingest.reconcile.executions.Detection."""

    def __init__(self, state: MachineState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def ask(self, ocp_group: str | None = None) -> None:
        """Notes what is to be looked at."""
        async with self._faults.at("Detection.ask"):
            self._state.asked.append(ocp_group)
