"""Names and ARNs of what is made: parts name each other without depending on each other.

Functions, the state machine and the schedule group have fixed names: a function's environment
names the state machine, whose definition names the function.
"""

from __future__ import annotations

import dataclasses

from aws_cdk import Aws

from ocp_infra.settings import ACCOUNT, Options


@dataclasses.dataclass(frozen=True)
class Names:
    """Names of one deployment; strings may hold CloudFormation's pseudo parameters."""

    options: Options

    @property
    def prefix(self) -> str:
        return self.options.name

    def arn(self, service: str, resource: str) -> str:
        return f"arn:{Aws.PARTITION}:{service}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"

    def function(self, name: str) -> str:
        return f"{self.prefix}-{name.replace('_', '-')}"

    def function_arn(self, name: str) -> str:
        return self.arn("lambda", f"function:{self.function(name)}")

    @property
    def bucket_prefix(self) -> str:
        return self.options.bucket_prefix.replace(ACCOUNT, Aws.ACCOUNT_ID)

    def bucket(self, logical: str) -> str:
        """`logical` is the name that the pipeline knows it by."""
        return self.bucket_prefix + logical

    def bucket_arn(self, logical: str) -> str:
        return f"arn:{Aws.PARTITION}:s3:::{self.bucket(logical)}"

    @property
    def state_machine(self) -> str:
        return f"{self.prefix}-recover-window"

    @property
    def state_machine_arn(self) -> str:
        return self.arn("states", f"stateMachine:{self.state_machine}")

    @property
    def executions_arn(self) -> str:
        return self.arn("states", f"execution:{self.state_machine}:*")

    @property
    def schedule_group(self) -> str:
        return f"{self.prefix}-polls"

    @property
    def schedules_arn(self) -> str:
        return self.arn("scheduler", f"schedule/{self.schedule_group}/*")
