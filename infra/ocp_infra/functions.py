"""The functions: one role each, with what its handler calls and nothing else.

function      invoked by                         answers within  at once
detect        the sweep, kicks, the API          300 s           5: sweeps of several groups at once
export        state machine                      110 s           -
puller        one-off schedules                  60 s            10: OCP's own rate limit is shared
metadata      state machine                      900 s           -
finish        state machine                      300 s           -
dead_letters  download-dead                      60 s            -
archive       the table's stream, every night    300 s           - (one per shard)
seal          a schedule                         900 s           1: two would do the work twice

None is in the VPC: they need AWS's interfaces and OCP's, all public, and no recording passes
through them; in private subnets every byte would be paid for at the NAT gateway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from ocp_infra import grants
from ocp_infra.function_rights import Rights
from ocp_infra.keys import Keys
from ocp_infra.logs import group
from ocp_infra.names import Names
from ocp_infra.queues import DEAD_LETTERS_S_MAX, Queues
from ocp_infra.settings import Options, Refused

# tools/build_lambda.py fetches wheels for it; a test compares the two.
RUNTIME: Final = lambda_.Runtime.PYTHON_3_13
CONFIG_FILE: Final = "/var/task/ocp-ingest.toml"
HANDLER: Final = "ocp_ingest.entrypoints.functions.{name}.handler"
_BUILD: Final = "python tools/build_lambda.py --config ocp-ingest.toml"


class Shape(NamedTuple):
    """Memory in MiB (CPU grows with it: 1,769 are one core), time in s, copies at once."""

    memory_mib: int
    s_max: int
    at_once: int | None = None


SHAPES: Final[dict[str, Shape]] = {
    "detect": Shape(1024, 300, 5),
    # The state machine waits 120 s for it, and must not give up first.
    "export": Shape(512, 110),
    "puller": Shape(512, 60, 10),
    # A list of all files of a large window is held twice (adapters.aws.notes).
    "metadata": Shape(1769, 900),
    "finish": Shape(1024, 300),
    "dead_letters": Shape(256, DEAD_LETTERS_S_MAX),
    # A batch takes seconds; a recount reads a day's records.
    "archive": Shape(512, 300),
    # A day's seal is a tree over every call of it; what is left over the next one does.
    "seal": Shape(1024, 900, 1),
}
# Asynchronous events: older ones are of no use, the next sweep or the token's heart replaces them.
_EVENT_S_MAX: Final = {"detect": 900, "puller": 600, "archive": 3600, "seal": 300}
_EVENT_RETRIES: Final = 2


class Functions(Construct):
    """All functions, with their log groups and roles."""

    def __init__(
        self, scope: Construct, names: Names, options: Options, keys: Keys, queues: Queues,
        rights: Rights, environment: Mapping[str, str],
    ) -> None:  # fmt: skip
        super().__init__(scope, "Functions")
        self._names, self._options, self._keys, self._queues = names, options, keys, queues
        self._environment = {**environment, "OCP_INGEST_CONFIG": CONFIG_FILE}
        code = _code(self, options)
        self.roles: dict[str, iam.Role] = {}
        self.made: dict[str, lambda_.Function] = {}
        for name, shape in SHAPES.items():
            self.made[name] = self._function(name, shape, code, rights.of(name))
        for name, age_s in _EVENT_S_MAX.items():
            self._asynchronous(name, age_s)
        self._feed_dead_letters()

    def _function(
        self, name: str, shape: Shape, code: lambda_.Code,
        statements: Sequence[iam.PolicyStatement],
    ) -> lambda_.Function:  # fmt: skip
        options, full = self._options, self._names.function(name)
        held = group(self, f"Log-{name}", f"/aws/lambda/{full}", self._keys.logs, options.log_days)
        role = grants.role(
            self, f"Role-{name}", "lambda.amazonaws.com", f"Function {full}",
            [*grants.logs(held.log_group_arn), *statements],
        )  # fmt: skip
        if options.tracing:
            role.add_to_policy(grants.trace())
        self.roles[name] = role
        return lambda_.Function(
            self,
            f"Function-{name}",
            function_name=full,
            description=f"ocp-ingest: {name.replace('_', ' ')}",
            architecture=lambda_.Architecture.ARM_64,
            runtime=RUNTIME,
            code=code,
            handler=HANDLER.format(name=name),
            memory_size=shape.memory_mib,
            timeout=Duration.seconds(shape.s_max),
            reserved_concurrent_executions=shape.at_once if options.reserve_concurrency else None,
            environment=self._environment,
            role=role,
            log_group=held,
            tracing=lambda_.Tracing.ACTIVE if options.tracing else lambda_.Tracing.DISABLED,
        )

    def _asynchronous(self, name: str, age_s: int) -> None:
        for statement in (
            *grants.send("SendDeadLetters", [self._queues.function_dead.queue_arn]),
            grants.key("EncryptDeadLetters", self._keys.messages.key_arn, grants.WRITE_KEY, "sqs"),
        ):
            self.roles[name].add_to_policy(statement)
        lambda_.CfnEventInvokeConfig(
            self, f"Events-{name}", function_name=self.made[name].function_name,
            qualifier="$LATEST", maximum_event_age_in_seconds=age_s,
            maximum_retry_attempts=_EVENT_RETRIES,
            destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
                on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(
                    destination=self._queues.function_dead.queue_arn
                )
            ),
        ).node.add_dependency(self.roles[name])  # fmt: skip

    def _feed_dead_letters(self) -> None:
        lambda_.CfnEventSourceMapping(
            self, "DeadLetters", function_name=self.made["dead_letters"].function_name,
            event_source_arn=self._queues.download_dead.queue_arn, batch_size=10,
            function_response_types=["ReportBatchItemFailures"],
        ).node.add_dependency(self.roles["dead_letters"])  # fmt: skip


def _code(scope: Construct, options: Options) -> lambda_.Code:
    """The functions' package. Raises Refused when it has not been built."""
    if options.lambda_s3:
        bucket, _, key = options.lambda_s3.partition("/")
        return lambda_.Code.from_bucket(s3.Bucket.from_bucket_name(scope, "Code", bucket), key)
    folder = Path(options.lambda_code)
    if options.placeholder:
        folder = Path(__file__).parent.parent / "placeholder"
    elif not (folder / "ocp_ingest").is_dir():
        raise Refused(f"The functions' package {folder} is missing: run `{_BUILD}`, or synthesise "
                      "with `-c placeholder=true` to look at the template only.")  # fmt: skip
    return lambda_.Code.from_asset(str(folder))
