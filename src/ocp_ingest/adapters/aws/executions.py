"""The state machine and the detection on AWS: Step Functions, and Lambda invoked asynchronously.

StartExecution with the name and input of a running execution answers as if it had started it; a
name whose execution has ended is refused for 90 days, whatever the input (Step Functions API,
StartExecution). DescribeExecution is eventually consistent.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ocp_ingest.adapters.aws import functions
from ocp_ingest.adapters.aws.session import Answered, Aws
from ocp_ingest.core.errors import Invalid

_RUNNING: Final = frozenset({"RUNNING", "PENDING_REDRIVE"})


class AwsExecutions:
    """See ocp_ingest.reconcile.executions.Executions."""

    def __init__(self, aws: Aws) -> None:
        """Raises Invalid when the settings name no state machine."""
        self._aws = aws
        self._machine = _needed(aws.settings.state_machine_arn, "state_machine_arn")

    async def start(self, name: str, job_key: str, ocp_group: str) -> bool:
        """Starts an execution; False when the name is spent. Raises Transient, NoRights."""
        # The same text each time: another input would not be the same execution.
        body = msgspec.json.encode({"job_key": job_key, "ocp_group": ocp_group}).decode()
        try:
            await self._aws.call(
                "stepfunctions", "start_execution", again=True,
                stateMachineArn=self._machine, name=name, input=body,
            )  # fmt: skip
        except Answered as answered:
            if answered.code == "ExecutionAlreadyExists":
                return False
            raise
        return True

    async def is_running(self, ref: str) -> bool:
        """Whether the execution of that name or ARN runs. Raises Transient, NoRights."""
        arn = ref if ":" in ref else self._arn(ref)
        try:
            held = await self._aws.call(
                "stepfunctions", "describe_execution", again=True, executionArn=arn
            )
        except Answered as answered:
            if answered.code == "ExecutionDoesNotExist":
                return False
            raise
        return held.get("status") in _RUNNING

    def _arn(self, name: str) -> str:
        """arn:…:stateMachine:<machine> → arn:…:execution:<machine>:<name>."""
        head, _, machine = self._machine.rpartition(":stateMachine:")
        return f"{head}:execution:{machine}:{name}"


class AwsDetection:
    """See ocp_ingest.reconcile.executions.Detection."""

    def __init__(self, aws: Aws) -> None:
        """Raises Invalid when the settings name no function."""
        self._aws = aws
        self._function = _needed(aws.settings.detect_arn, "detect_arn")

    async def ask(self, ocp_group: str | None = None) -> None:
        """Invokes detect, without waiting for it. Raises Transient, NoRights, Terminal."""
        await functions.tell(
            self._aws, self._function, {} if ocp_group is None else {"ocp_group": ocp_group}
        )


def _needed(value: str, key: str) -> str:
    if not value:
        raise Invalid(f"`aws.{key}` is missing: the state machine's functions need it.")
    return value
