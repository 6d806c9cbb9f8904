"""EventBridge Scheduler: group and role of one-off polls; sweep, nightly recount, and seals.

Regular schedules are not in the group: who sets polls must not be able to touch them. Each has a
role that may invoke its one function and nothing else.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from ocp_infra import grants
from ocp_infra.keys import Keys
from ocp_infra.names import Names
from ocp_infra.queues import Queues
from ocp_infra.settings import Platform

# An event that could not be delivered is of no use once the next one is due (a sweep), or after
# the night (a recount, when changes of the day before have ended).
_RETRIES: Final = 3
_RECOUNT_AT: Final = "cron(30 3 * * ? *)"
_RECOUNT_AGE_S: Final = 3 * 3600
# Events are sealed within minutes; oftener would only cost more writes for the same chains.
_SEAL_MINUTES: Final = 5


class Schedules(Construct):
    """Group, roles, sweep."""

    def __init__(
        self, scope: Construct, names: Names, platform: Platform, keys: Keys, queues: Queues
    ) -> None:
        super().__init__(scope, "Schedules")
        self.group = scheduler.CfnScheduleGroup(self, "Polls", name=names.schedule_group)
        self.poll_role = _role(
            self, "PollRole", "Polls exports: what one-off schedules invoke under",
            names.arn("scheduler", f"schedule-group/{names.schedule_group}"),
            [
                grants.allow("InvokePuller", ["lambda:InvokeFunction"],
                             [names.function_arn("puller")]),
                *_dead_letters(queues, keys),
                grants.allow("DecryptPolls", ["kms:Decrypt"], [keys.messages.key_arn]),
            ],
        )  # fmt: skip
        every_s = platform.detect_every_s
        self._regular(
            names, keys, queues, "Sweep", "detect", "{}",
            f"rate({every_s // 60} minute{'s' if every_s > 60 else ''})", every_s,
            "Looks for calls that lack something, and starts what is due",
        )  # fmt: skip
        self._regular(
            names, keys, queues, "Recount", "archive", '{"recount": true}', _RECOUNT_AT,
            _RECOUNT_AGE_S, "Counts the last days anew, from their records",
        )  # fmt: skip
        self._regular(
            names, keys, queues, "Seal", "seal", "{}", f"rate({_SEAL_MINUTES} minutes)",
            _SEAL_MINUTES * 60, "Seals what waits, and closes the days that are over",
        )  # fmt: skip

    def _regular(
        self, names: Names, keys: Keys, queues: Queues, ident: str, function: str, event: str,
        expression: str, age_s: int, text: str,
    ) -> None:  # fmt: skip
        """A schedule of the default group, under a role of its own."""
        invoke = grants.allow(
            f"Invoke{ident}", ["lambda:InvokeFunction"], [names.function_arn(function)]
        )
        role = _role(
            self, f"{ident}Role", text, names.arn("scheduler", "schedule-group/default"),
            [invoke, *_dead_letters(queues, keys)],
        )  # fmt: skip
        property_ = scheduler.CfnSchedule
        scheduler.CfnSchedule(
            self,
            ident,
            name=f"{names.prefix}-{ident.lower()}",
            description=text,
            flexible_time_window=property_.FlexibleTimeWindowProperty(mode="OFF"),
            schedule_expression=expression,
            target=property_.TargetProperty(
                arn=names.function_arn(function), role_arn=role.role_arn, input=event,
                retry_policy=property_.RetryPolicyProperty(
                    maximum_event_age_in_seconds=age_s, maximum_retry_attempts=_RETRIES
                ),
                dead_letter_config=property_.DeadLetterConfigProperty(
                    arn=queues.schedule_dead.queue_arn
                ),
            ),
        ).node.add_dependency(role)  # fmt: skip


def _role(
    scope: Construct, ident: str, text: str, source: str,
    statements: list[iam.PolicyStatement],
) -> iam.Role:  # fmt: skip
    """A role that Scheduler takes on for schedules of one group only."""
    made = iam.Role(
        scope, ident, description=text,
        assumed_by=iam.ServicePrincipal("scheduler.amazonaws.com", conditions={
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
            "ArnEquals": {"aws:SourceArn": source},
        }),
    )  # fmt: skip
    for statement in statements:
        made.add_to_policy(statement)
    return made


def _dead_letters(queues: Queues, keys: Keys) -> list[iam.PolicyStatement]:
    return [
        *grants.send("SendDeadLetters", [queues.schedule_dead.queue_arn]),
        grants.key("EncryptDeadLetters", keys.messages.key_arn, grants.WRITE_KEY, "sqs"),
    ]
