"""A whole deployment on one stand-in for AWS: its resources, and the configuration that names them.

One server per test process; every `Site` has resources of its own. What the template makes and no
emulator is needed for here (functions) is left out or faked.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import sys
import tempfile
import tomllib
from itertools import count
from pathlib import Path
from typing import Any, Final

from ocp_ingest import config as config_reader
from ocp_ingest.adapters.aws.settings import OWN_BUCKETS
from ocp_ingest.adapters.aws.table import TABLE
from ocp_ingest.config_model import Config
from tests.aws.clients import client
from tests.aws.servers import launch
from tests.aws.servers.fetch import ROOT

NUMBER_KEY: Final = "0123456789abcdef0123456789abcdef"
ROLE_ARN: Final = f"arn:aws:iam::{launch.ACCOUNT}:role/schedules"
DEAD_ARN: Final = f"arn:aws:sqs:{launch.REGION}:{launch.ACCOUNT}:schedules-dead"
PULLER_ARN: Final = f"arn:aws:lambda:{launch.REGION}:{launch.ACCOUNT}:function:puller"
SERVICES: Final = ("dynamodb", "s3", "sqs", "scheduler", "secretsmanager", "sts", "stepfunctions",
                   "lambda")  # fmt: skip
LOBS: Final = ("banking", "unassigned")

CONFIG: Final = """\
[server]
port = 0
stop_s_max = 3.0

[data]
dir = "{data_dir}"
free_bytes_min = 1

[auth.clients.ocp]
secret = "correct-horse-battery-staple"
scopes = ["ingest", "read", "operate"]

[[routing]]
lob = "banking"
when = {{ entry_app = ["banking-*", "ocp-ingest-smoke"] }}

[lob.banking]

[log]
format = "json"

[aws]
"""

_numbers = count(1)


@functools.cache
def url() -> str:
    """The address of this process's server, started when first asked for."""
    folder = Path(tempfile.mkdtemp(prefix="site-"))
    port = launch.free_port()
    env = launch.environment(
        GATEWAY_PORT=str(port), BIND_HOST="127.0.0.1", LOG_LEVEL="ERROR", TMPDIR=str(folder),
        SERVICES=",".join(SERVICES),
    )  # fmt: skip
    command = [sys.executable, "-m", "tests.aws_adapters.truthful_ministack"]
    address = f"http://127.0.0.1:{port}"
    server = launch.Server(
        "ministack", command, folder=folder, url=address, env=env, cwd=ROOT
    ).start()

    def end() -> None:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return address


class Site:
    """A deployment, and its configuration file in `folder`."""

    def __init__(
        self, folder: Path, *, secret: dict[str, Any] | None = None, more: str = "", **aws: Any
    ) -> None:
        """`secret` replaces what the secret holds; `aws` are further keys of the section."""
        self.folder = folder
        self.name = f"s{os.getpid()}-{next(_numbers)}"
        self.section: dict[str, Any] = {
            "region": launch.REGION, "table": self.name, "bucket_prefix": f"{self.name}-",
            **self._queues(), **self._schedules(), "puller_arn": PULLER_ARN,
            "secret_arn": self._secret(secret), "endpoints": dict.fromkeys(SERVICES, url()),
        } | aws  # fmt: skip
        self._table()
        self._buckets()
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "site.toml"
        text = CONFIG.format(data_dir=folder / "data")
        lines = [f"{key} = {_toml(value)}" for key, value in self.section.items()]
        self.config.write_text(text + "\n".join(lines) + "\n" + more)

    def load(self) -> Config:
        """The configuration, as a process reads it."""
        return config_reader.parse(tomllib.loads(self.config.read_text()))

    def client(self, service: str) -> Any:
        """A client as somebody else's."""
        return client(service, url())

    def bucket(self, name: str) -> str:
        """A bucket's whole name."""
        return f"{self.name}-{name}"

    def _table(self) -> None:
        self.client("dynamodb").create_table(TableName=self.name, **TABLE)

    def _buckets(self) -> None:
        for name in (*OWN_BUCKETS, *(f"lob-{lob}" for lob in LOBS)):
            self.client("s3").create_bucket(
                Bucket=self.bucket(name),
                CreateBucketConfiguration={"LocationConstraint": launch.REGION},
            )

    def _queues(self) -> dict[str, str]:
        made: dict[str, str] = {}
        for kind, tries_max in (("work", 8), ("download", 4)):
            sqs = self.client("sqs")
            dead = sqs.create_queue(QueueName=f"{self.name}-{kind}-dead")["QueueUrl"]
            arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
            policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"],
                      "maxReceiveCount": tries_max}  # fmt: skip
            attributes = {"RedrivePolicy": json.dumps(policy), "SqsManagedSseEnabled": "true"}
            queue = sqs.create_queue(QueueName=f"{self.name}-{kind}", Attributes=attributes)
            made |= {f"{kind}_queue_url": queue["QueueUrl"], f"{kind}_dlq_url": dead}
        return made

    def _schedules(self) -> dict[str, str]:
        self.client("scheduler").create_schedule_group(Name=self.name)
        return {"schedule_group": self.name, "schedule_role_arn": ROLE_ARN,
                "schedule_dlq_arn": DEAD_ARN}  # fmt: skip

    def _secret(self, held: dict[str, Any] | None) -> str:
        body = {"number_key": NUMBER_KEY} if held is None else held
        made = self.client("secretsmanager").create_secret(
            Name=self.name, SecretString=json.dumps(body)
        )
        return str(made["ARN"])


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)
