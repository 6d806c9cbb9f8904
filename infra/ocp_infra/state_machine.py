"""The state machine that recovers one window: its definition is infra/asl, its rights are here.

Its role may do exactly what the definition asks for: invoke four functions, set a poll, send one
message. Executions log every event, without their data: that holds tokens.
"""

from __future__ import annotations

from typing import Any, Final

from asl.render import TIMES, render
from aws_cdk import Aws, Stack
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from ocp_infra import grants
from ocp_infra.keys import Keys
from ocp_infra.logs import group
from ocp_infra.names import Names
from ocp_infra.queues import Queues
from ocp_infra.settings import Options

FUNCTIONS: Final = ("export", "metadata", "finish", "detect")
# The one state that sets a schedule; its input holds a token, so it is put under our key.
_POLLING_STATE: Final = "WaitForExport"
# Step Functions delivers logs through CloudWatch's log delivery, which knows no resources
# (docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html).
_DELIVERY: Final = (
    "logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery", "logs:ListLogDeliveries", "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
)  # fmt: skip


def definition(names: Names, queues: Queues, *, role_arn: str, key_arn: str) -> dict[str, Any]:
    """The definition with this deployment's names."""
    rendered = render(
        {
            **{f"{name.capitalize()}FunctionArn": names.function_arn(name) for name in FUNCTIONS},
            "PullerFunctionArn": names.function_arn("puller"),
            "ScheduleGroup": names.schedule_group,
            "ScheduleRoleArn": role_arn,
            "ScheduleDlqArn": queues.schedule_dead.queue_arn,
            "DownloadQueueUrl": queues.download.queue_url,
            "Partition": Aws.PARTITION,
            **TIMES,
        }
    )
    rendered["States"][_POLLING_STATE]["Arguments"]["KmsKeyArn"] = key_arn
    return rendered


class StateMachine(Construct):
    """The state machine, its role and its log."""

    def __init__(
        self, scope: Construct, names: Names, options: Options, keys: Keys, queues: Queues,
        schedule_role_arn: str,
    ) -> None:  # fmt: skip
        super().__init__(scope, "StateMachine")
        key_arn = keys.messages.key_arn
        log = group(self, "Log", f"/aws/vendedlogs/states/{names.state_machine}", keys.logs,
                    options.log_days)  # fmt: skip
        invoked = [names.function_arn(name) for name in FUNCTIONS]
        role = grants.role(
            self, "Role", "states.amazonaws.com", "Recovers one window of an OCP group",
            [
                grants.allow("InvokeSteps", ["lambda:InvokeFunction"], invoked),
                *grants.set_polls(names, schedule_role_arn, key_arn),
                *grants.send("SendDownloads", [queues.download.queue_arn]),
                grants.key("UseQueueKey", key_arn, grants.WRITE_KEY, "sqs"),
                grants.allow("DeliverLogs", _DELIVERY, ["*"]),
            ],
        )  # fmt: skip
        if options.tracing:
            role.add_to_policy(grants.trace())
        made = stepfunctions.CfnStateMachine(
            self,
            "Recover",
            state_machine_name=names.state_machine,
            state_machine_type="STANDARD",
            role_arn=role.role_arn,
            definition_string=Stack.of(self).to_json_string(
                definition(names, queues, role_arn=schedule_role_arn, key_arn=key_arn)
            ),
            logging_configuration=stepfunctions.CfnStateMachine.LoggingConfigurationProperty(
                level="ALL",
                include_execution_data=False,
                destinations=[stepfunctions.CfnStateMachine.LogDestinationProperty(
                    cloud_watch_logs_log_group=(
                        stepfunctions.CfnStateMachine.CloudWatchLogsLogGroupProperty(
                            log_group_arn=log.log_group_arn
                        )
                    )
                )],
            ),
            tracing_configuration=stepfunctions.CfnStateMachine.TracingConfigurationProperty(
                enabled=options.tracing
            ),
        )  # fmt: skip
        made.node.add_dependency(role)
