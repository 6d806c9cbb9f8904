"""Answers to waiting states of Step Functions.

A token whose state has been answered, timed out or stopped is refused as TaskTimedOut ("expired or
already closed"), as TaskDoesNotExist or as InvalidToken (Step Functions API, SendTaskSuccess):
somebody else has gone on, which is no error. So a repeat after a lost answer is told that nobody
waits any more; the work was done either way.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ocp_ingest.adapters.aws.session import Answered, Aws

_SUPERSEDED: Final = frozenset({
    "TaskTimedOut", "TaskTimedOutException", "TaskDoesNotExist", "TaskDoesNotExistException",
    "InvalidToken", "InvalidTokenException",
})  # fmt: skip
# What SendTaskFailure takes.
_ERROR_CHARS_MAX: Final = 256
_CAUSE_CHARS_MAX: Final = 32_768


class AwsTasks:
    """See ocp_ingest.reconcile.executions.Tasks."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    async def success(self, token: str, output: dict[str, Any]) -> bool:
        """Answers the token; False when nobody waits for it. Raises Transient, NoRights."""
        return await self._send(
            "send_task_success", taskToken=token, output=msgspec.json.encode(output).decode()
        )

    async def failure(self, token: str, error: str, cause: str) -> bool:
        """Fails the token; False when nobody waits for it. Raises Transient, NoRights."""
        return await self._send(
            "send_task_failure", taskToken=token,
            error=error[:_ERROR_CHARS_MAX], cause=cause[:_CAUSE_CHARS_MAX],
        )  # fmt: skip

    async def heartbeat(self, token: str) -> bool:
        """Beats for the token; False when nobody waits for it. Raises Transient, NoRights."""
        return await self._send("send_task_heartbeat", taskToken=token)

    async def _send(self, operation: str, **params: str) -> bool:
        if not params["taskToken"]:
            return False  # a message without a token: nobody ever waited
        try:
            await self._aws.call("stepfunctions", operation, again=True, **params)
        except Answered as answered:
            if answered.code in _SUPERSEDED:
                return False
            raise
        return True
