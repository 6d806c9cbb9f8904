"""What `ocp-ingest doctor --runtime aws` looks at: the deployment's resources, one by one.

fail   the platform can't do its work with it
look   it works, but a protection is off, a message is dead, or our role may not look

Whoever runs it needs to read configurations only; what the role may not read is a finding that
names the permission, never a guess. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from ocp_ingest.adapters.aws.session import Answered, Service
from ocp_ingest.adapters.aws.settings import OWN_BUCKETS
from ocp_ingest.bootstrap import Runtime
from ocp_ingest.bootstrap_aws import AwsRuntime
from ocp_ingest.core.errors import NoRights
from ocp_ingest.core.settings import LANDING
from ocp_ingest.entrypoints.doctor import Finding, say
from ocp_ingest.entrypoints.worker import DOWNLOAD_TRIES_MAX

# Operation -> what IAM calls the right to it, where it is not the operation's own name.
_RIGHTS: Final = {
    "s3.get_bucket_versioning": "s3:GetBucketVersioning",
    "s3.get_bucket_encryption": "s3:GetEncryptionConfiguration",
    "s3.get_public_access_block": "s3:GetBucketPublicAccessBlock",
}
_BLOCKS: Final = (
    "BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets",
)  # fmt: skip


class _Unseen(Exception):
    """A resource could not be looked at; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding["text"])
        self.finding = finding


def checks(runtime: Runtime) -> list[tuple[str, Callable[[], Awaitable[list[Finding]]]]]:
    """Every check of the resources by name, for `doctor.examine`."""
    assert isinstance(runtime, AwsRuntime)
    return [(name, _bound(check, runtime)) for name, check in _CHECKS.items()]


def _bound(
    check: Callable[[AwsRuntime], Awaitable[list[Finding]]], runtime: AwsRuntime
) -> Callable[[], Awaitable[list[Finding]]]:
    async def run() -> list[Finding]:
        try:
            return await check(runtime)
        except _Unseen as unseen:
            return [unseen.finding]

    return run


async def _ask(
    runtime: AwsRuntime, what: str, service: Service, operation: str, **params: Any
) -> dict[str, Any]:
    """A read. Raises _Unseen with the finding where there is no answer; Answered never."""
    try:
        return await runtime.aws.call(service, operation, again=True, **params)
    except NoRights:
        text = f"It can't be looked at: this role lacks {_right(service, operation)}."
        raise _Unseen(say("look", what, text)) from None
    except Answered as bad:
        if bad.status == 403:  # a HEAD has no words
            text = f"It can't be looked at: this role lacks {_right(service, operation)}."
            raise _Unseen(say("look", what, text)) from None
        raise _Unseen(say("fail", what, f"It is answered {bad.code}.")) from bad


def _right(service: str, operation: str) -> str:
    prefix = {"stepfunctions": "states"}.get(service, service)
    named = "".join(part.capitalize() for part in operation.split("_"))
    return _RIGHTS.get(f"{service}.{operation}", f"{prefix}:{named}")


async def _identity(runtime: AwsRuntime) -> list[Finding]:
    said = await _ask(runtime, "who am I", "sts", "get_caller_identity")
    return [say("ok", "who am I", str(said["Arn"]))]


async def _secret(runtime: AwsRuntime) -> list[Finding]:
    if not runtime.config.aws.secret_arn:
        return [say("look", "secret", "`aws.secret_arn` is not set: secrets are in files.")]
    # It was read when the runtime was opened, or there would be no doctor.
    return [say("ok", "secret", "It can be read and has what is needed.")]


async def _table(runtime: AwsRuntime) -> list[Finding]:
    from ocp_ingest.adapters.aws.table import TABLE

    name = runtime.config.aws.table
    what = f"table {name}"
    held = (await _ask(runtime, what, "dynamodb", "describe_table", TableName=name))["Table"]
    found = []
    if held.get("TableStatus") != "ACTIVE":
        found.append(say("fail", what, f"Its state is {held.get('TableStatus')}."))
    if _keys(held) != _keys(TABLE):
        found.append(say("fail", what, "Its keys are not those of this version."))
    indexes = {index["IndexName"]: index for index in held.get("GlobalSecondaryIndexes", ())}
    for wanted in TABLE["GlobalSecondaryIndexes"]:
        found += _index(what, wanted, indexes.get(wanted["IndexName"]))
    stream = held.get("StreamSpecification", {})
    if stream.get("StreamViewType") != TABLE["StreamSpecification"]["StreamViewType"]:
        found.append(say("fail", what, "It has no stream of new and old images: no archive."))
    if not held.get("DeletionProtectionEnabled"):
        found.append(say("look", what, "Deletion protection is off."))
    if held.get("SSEDescription", {}).get("SSEType") != "KMS":
        found.append(say("look", what, "It is encrypted under a key of AWS's, not of yours."))
    return found or [say("ok", what, "Keys, indexes, stream and protection are as they should be.")]


def _index(what: str, wanted: dict[str, Any], held: dict[str, Any] | None) -> list[Finding]:
    name = wanted["IndexName"]
    if held is None:
        return [say("fail", what, f"The index `{name}` is missing.")]
    if _keys(held) != _keys(wanted):
        return [say("fail", what, f"The keys of the index `{name}` are not those of this version.")]
    if held.get("IndexStatus", "ACTIVE") != "ACTIVE":
        return [say("look", what, f"The index `{name}` is {held['IndexStatus']}.")]
    return []


def _keys(of: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key["AttributeName"], key["KeyType"]) for key in of.get("KeySchema", ())]


async def _backups(runtime: AwsRuntime) -> list[Finding]:
    what, name = "point-in-time recovery", runtime.config.aws.table
    said = await _ask(runtime, what, "dynamodb", "describe_continuous_backups", TableName=name)
    recovery = said["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
        return [say("look", what, "It is off: a mistake in the table could not be undone.")]
    return [say("ok", what, "It is on.")]


async def _buckets(runtime: AwsRuntime) -> list[Finding]:
    found: list[Finding] = []
    section = runtime.config.aws
    buckets = {*OWN_BUCKETS, *runtime.world.settings.buckets().values()}
    for bucket in sorted(buckets):
        what = f"bucket {section.bucket_prefix}{bucket}"
        name = section.bucket_prefix + bucket
        bad: list[Finding] = []
        for look in (_versions, _encryption, _public):
            try:
                bad += await look(runtime, what, name, bucket)
            except _Unseen as unseen:
                bad.append(unseen.finding)
            except Answered as answered:
                bad.append(say("fail", what, f"It is answered {answered.code}."))
        found += bad or [say("ok", what, "Versions, encryption and access are as they should be.")]
    return found


async def _versions(runtime: AwsRuntime, what: str, name: str, bucket: str) -> list[Finding]:
    said = await _ask(runtime, what, "s3", "get_bucket_versioning", Bucket=name)
    if said.get("Status") == "Enabled" or bucket == LANDING:  # what is there is copied or swept
        return []
    return [say("look", what, "Its objects have no versions: a deletion could not be undone.")]


async def _encryption(runtime: AwsRuntime, what: str, name: str, _: str) -> list[Finding]:
    none = "ServerSideEncryptionConfigurationNotFoundError"
    said = await _or_none(runtime, what, none, "get_bucket_encryption", name)
    rules = said.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    kinds = [r.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for r in rules]
    if any(str(kind).startswith("aws:kms") for kind in kinds):
        return []
    return [say("look", what, "It is not encrypted under a key of yours.")]


async def _public(runtime: AwsRuntime, what: str, name: str, _: str) -> list[Finding]:
    none = "NoSuchPublicAccessBlockConfiguration"
    said = await _or_none(runtime, what, none, "get_public_access_block", name)
    blocks = said.get("PublicAccessBlockConfiguration", {})
    if all(blocks.get(block) for block in _BLOCKS):
        return []
    return [say("fail", what, "Public access is not blocked in all four ways.")]


async def _or_none(
    runtime: AwsRuntime, what: str, none: str, operation: str, bucket: str
) -> dict[str, Any]:
    """A configuration that may not be there; S3 says so with an error of its own."""
    try:
        return await runtime.aws.call("s3", operation, again=True, Bucket=bucket)
    except Answered as answered:
        if answered.code == none:
            return {}
        return await _ask(runtime, what, "s3", operation, Bucket=bucket)
    except NoRights:
        return await _ask(runtime, what, "s3", operation, Bucket=bucket)


async def _queues(runtime: AwsRuntime) -> list[Finding]:
    section, limits = runtime.config.aws, runtime.config.limits
    found: list[Finding] = []
    for what, url, dlq_url, tries_max in (
        ("work queue", section.work_queue_url, section.work_dlq_url, limits.step_tries_max),
        ("download queue", section.download_queue_url, section.download_dlq_url,
         DOWNLOAD_TRIES_MAX),
    ):  # fmt: skip
        if not url:
            found.append(say("look", what, "It is not configured."))
            continue
        try:
            found += await _queue(runtime, what, url, dlq_url, tries_max)
        except _Unseen as unseen:
            found.append(unseen.finding)
    return found


async def _queue(
    runtime: AwsRuntime, what: str, url: str, dlq_url: str, tries_max: int
) -> list[Finding]:
    held, dead = await _attributes(runtime, what, url), await _attributes(runtime, what, dlq_url)
    found = _redrive(what, held, dead, tries_max)
    if int(dead.get("ApproximateNumberOfMessages", 0)):
        found.append(say("look", what, f"{dead['ApproximateNumberOfMessages']} messages are on "
                         "its dead-letter queue."))  # fmt: skip
    if not held.get("KmsMasterKeyId") and held.get("SqsManagedSseEnabled") != "true":
        found.append(say("look", what, "Its messages are not encrypted."))
    waiting = held.get("ApproximateNumberOfMessages", "0")
    return found or [say("ok", what, f"{waiting} messages wait; its dead-letter queue is empty.")]


def _redrive(
    what: str, held: dict[str, str], dead: dict[str, str], tries_max: int
) -> list[Finding]:
    try:
        policy = msgspec.json.decode(held.get("RedrivePolicy", "{}"), type=dict[str, Any])
    except msgspec.MsgspecError:
        policy = {}
    if policy.get("deadLetterTargetArn") != dead.get("QueueArn"):
        return [say("fail", what, "Its dead-letter queue is not the one that is configured.")]
    if str(policy.get("maxReceiveCount")) != str(tries_max):
        return [say("look", what, f"A message is tried {policy.get('maxReceiveCount')} times, "
                    f"{tries_max} are configured.")]  # fmt: skip
    return []


async def _attributes(runtime: AwsRuntime, what: str, url: str) -> dict[str, str]:
    said = await _ask(
        runtime, what, "sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"]
    )
    attributes: dict[str, str] = said.get("Attributes", {})
    return attributes


async def _state_machine(runtime: AwsRuntime) -> list[Finding]:
    what, arn = "state machine", runtime.config.aws.state_machine_arn
    if not arn:
        return [say("fail", what, "`aws.state_machine_arn` is missing: nothing is exported.")]
    held = await _ask(runtime, what, "stepfunctions", "describe_state_machine", stateMachineArn=arn)
    if held.get("type") != "STANDARD":
        return [say("fail", what, "It is no STANDARD one: it can't wait for a token.")]
    if held.get("status", "ACTIVE") != "ACTIVE":
        return [say("fail", what, f"Its state is {held['status']}.")]
    if held.get("loggingConfiguration", {}).get("includeExecutionData"):
        return [say("look", what, "Its log has execution data, which hold tokens: switch it off.")]
    return [say("ok", what, "It is active.")]


async def _schedules(runtime: AwsRuntime) -> list[Finding]:
    what, group = "schedule group", runtime.config.aws.schedule_group
    if not group:
        return [say("fail", what, "`aws.schedule_group` is missing: no export is polled.")]
    held = await _ask(runtime, what, "scheduler", "get_schedule_group", Name=group)
    state = held.get("State", "ACTIVE")
    return [say("ok" if state == "ACTIVE" else "fail", what, f"Its state is {state}.")]


async def _functions(runtime: AwsRuntime) -> list[Finding]:
    section, found = runtime.config.aws, list[Finding]()
    for what, arn in (("function detect", section.detect_arn),
                      ("function puller", section.puller_arn)):  # fmt: skip
        if not arn:
            found.append(say("fail", what, "Its ARN is not configured."))
            continue
        try:
            held = await _ask(
                runtime, what, "lambda", "get_function_configuration", FunctionName=arn
            )
        except _Unseen as unseen:
            found.append(unseen.finding)
            continue
        state = held.get("State", "Active")
        good = state in ("Active", "Inactive")  # one that nobody called for weeks wakes up
        found.append(say("ok" if good else "fail", what, f"Its state is {state}."))
    return found


_CHECKS: Final[dict[str, Callable[[AwsRuntime], Awaitable[list[Finding]]]]] = {
    "who am I": _identity,
    "secret": _secret,
    "table": _table,
    "point-in-time recovery": _backups,
    "buckets": _buckets,
    "queues": _queues,
    "state machine": _state_machine,
    "schedule group": _schedules,
    "functions": _functions,
}
