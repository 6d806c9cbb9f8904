"""Every finding of cdk-nag that is acknowledged, and every wildcard in a resource, with its reason.

One list for both. acknowledge.py hands it to cdk-nag, finding by finding; tests read the template
and refuse a wildcard that has no reason here, and a reason that nothing needs any more.

A resource is written as cdk-nag shows it: `<Table.Arn>` for an attribute, `<AWS::Region>` for a
name of CloudFormation's, everything else as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

# What a resource with a wildcard looks like -> why it can't be named.
WILDCARDS: Final[tuple[tuple[str, str], ...]] = (
    (r"<Data\w+\.Arn>/index/\*",
     "All three indexes of one table; whoever reads the table reads them."),
    (r"<\w+\.Arn>:\*",
     "Streams of one log group; the service that writes them makes up their names."),
    (r"arn:<AWS::Partition>:s3:::[^*]+/\*",
     "Objects of one bucket; their keys are made of calls' ids and dates."),
    (r"arn:.*:scheduler:.*:schedule/[a-z0-9-]+-polls/\*",
     "Schedules of our own group; each poll has a name of its own."),
    (r"arn:.*:scheduler:.*:schedule/\*/\*",
     "ListSchedules of an operator: the list of a group is asked for, not one schedule."),
    (r"arn:.*:states:.*:execution:[a-z0-9-]+-recover-window:\*",
     "Executions of our own state machine; each has the name of its job."),
)  # fmt: skip
# Actions on resource "*" -> why there is no resource to name.
UNNAMED: Final[tuple[tuple[str, str], ...]] = (
    (r"ecr:GetAuthorizationToken",
     "A token is for the whole registry; images have rights of their own."),
    (r"logs:\w+LogDeliver(y|ies)|logs:(Put|Describe)ResourcePolic(y|ies)|logs:DescribeLogGroups",
     "Log delivery of Step Functions knows no resources."),
    (r"xray:\w+", "X-Ray knows no resources for traces."),
)  # fmt: skip

NAG: Final = "AwsSolutions::AwsSolutions-"
# (end of the construct's path, rule, reason).
FINDINGS: Final[tuple[tuple[str, str, str], ...]] = (
    ("/Buckets/Bucket-logs", "S1", "It holds the access logs of the others: its own would grow it "
     "for ever."),
    ("/Queues/schedule-dead/Resource", "SQS3", "It is the dead-letter queue of the schedules."),
    ("/Queues/function-dead/Resource", "SQS3", "It is the dead-letter queue of the functions."),
    ("/Queues/archive-dead/Resource", "SQS3", "It is the dead-letter queue of the table's stream."),
    ("/Secret/Secret", "SMG4", "number_key must never change (stand-ins of customers are made with "
     "it), and OCP's password is changed at OCP, by a person."),
    ("/Identity/Pool/Resource", "COG8", "The few people in it are made by hand and have a second "
     "factor; who wants more sets `console.oidc.issuer` to a provider of their own."),
    ("/SessionKey/Secret/Resource", "SMG4", "A new key logs everybody out; it is made anew by hand "
     "when somebody may have seen it."),
    ("/Edge/Group/Resource", "EC23", "With the default of `client_cidrs` everybody may knock; "
     "every request needs a token. Set the vendor's networks where they are known."),
    ("/Services/Task-ingest/Resource", "ECS2", "The variables are names and addresses; secrets are "
     "read from Secrets Manager by the process."),
    ("/Services/Task-worker/Resource", "ECS2", "The variables are names and addresses; secrets are "
     "read from Secrets Manager by the process."),
    ("/StateMachine/Recover", "SF2", "Tracing is an option (`tracing=true`): every state is in the "
     "log already."),
    *((f"/Functions/Function-{name}/Resource", "L1", "3.13 is the version that the end-to-end "
       "tests run the functions on; the package's wheels are built for it.")
      for name in ("detect", "export", "puller", "metadata", "finish", "dead_letters", "archive",
                   "seal")),
)  # fmt: skip


def why(resource: str, actions: list[str]) -> str | None:
    """The reason of a resource with a wildcard, or None when there is none."""
    if resource != "*":
        return _first(WILDCARDS, resource)
    reasons = [_first(UNNAMED, action) for action in actions]
    return "; ".join(sorted(set(filter(None, reasons)))) if all(reasons) else None


def _first(table: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((reason for pattern, reason in table if re.fullmatch(pattern, text)), None)


def shown(value: Any) -> str:
    """A resource of a template's policy as cdk-nag shows it."""
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return f"<{value['Ref']}>"
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    if "Fn::Join" in value:
        glue, parts = value["Fn::Join"]
        joined: str = glue.join(shown(part) for part in parts)
        return joined
    raise ValueError(f"{value} is no resource that a policy of ours has")


def wildcards(document: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """(resource, actions) of each statement's resources that hold a wildcard."""
    for statement in document["Statement"]:
        for resource in many(statement["Resource"]):
            text = shown(resource)
            if "*" in text:
                yield text, [str(action) for action in many(statement["Action"])]


def many(value: Any) -> list[Any]:
    """IAM writes one value where there is one."""
    return value if isinstance(value, list) else [value]
