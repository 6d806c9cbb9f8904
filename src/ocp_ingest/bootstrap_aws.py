"""Wiring of the AWS runtime: DynamoDB, S3, SQS, Scheduler, as `[aws]` names them.

Nothing is created here: the resources come from the template. Opening makes one request, for the
secrets, and none where no secret is named; connections are made when they are first used. That
and imports where they are needed keep a function's cold start short.

Secrets   `aws.secret_arn` holds a JSON object. "number_key" is the HMAC key that stands for
          callers' numbers; every other name is a key of the configuration, laid over it before
          it is checked (config.py, rule 5).
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ocp_ingest import bootstrap
from ocp_ingest import config as config_module
from ocp_ingest.adapters.aws.settings import configured
from ocp_ingest.config_model import Config
from ocp_ingest.core.errors import Invalid, NoRights
from ocp_ingest.core.limits import GROUP_LEASE_MS
from ocp_ingest.desk.world import Desk
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.book import ExportBook
from ocp_ingest.reconcile.world import Stage2

if TYPE_CHECKING:
    from ocp_ingest.adapters.aws.session import Aws
    from ocp_ingest.evidence.world import Evidence

# HMAC-SHA-256 needs no more; a shorter one could be guessed from known numbers.
NUMBER_KEY_CHARS_MIN: Final = 32
# Below it the archive bucket keeps the seals of the days, under the bucket's Object Lock.
SHELF_PREFIX: Final = "evidence/"


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsRuntime:
    """One process's view of a deployment; it ends with the `open` that gave it."""

    config: Config  # with the secrets
    world: World
    book: ExportBook
    desk: Desk
    aws: Aws


@asynccontextmanager
async def open(config: Config) -> AsyncIterator[AwsRuntime]:
    """The runtime that `[aws]` describes.

    Raises Invalid for a half-set configuration or secret, naming the key; NoRights and Transient as
    Secrets Manager answers.
    """
    if not configured(config.aws):
        raise Invalid("`aws.table` is missing: the section [aws] says where the resources are.")
    from ocp_ingest.adapters.aws.session import Aws

    async with Aws(config.aws) as aws:
        secrets = await _secrets(aws, config.aws.secret_arn) if config.aws.secret_arn else {}
        laid = config_module.with_secrets(config, secrets)
        yield _runtime(laid, aws, _number_key(laid, secrets))


@asynccontextmanager
async def exports(runtime: AwsRuntime) -> AsyncIterator[Stage2 | None]:
    """Stage 2 with its connections, logged out at the end; None when no OCP is configured."""
    async with bootstrap.stage2_of(runtime, lease_ms=GROUP_LEASE_MS) as stage2:
        yield stage2


def _runtime(config: Config, aws: Aws, number_key: bytes) -> AwsRuntime:
    from ocp_ingest.adapters.aws.alert_book import AwsAlertBook
    from ocp_ingest.adapters.aws.bulk_book import AwsBulkBook
    from ocp_ingest.adapters.aws.call_store import AwsCallStore
    from ocp_ingest.adapters.aws.desk_notes import AwsDeskNotes
    from ocp_ingest.adapters.aws.evidence import AwsEvidence
    from ocp_ingest.adapters.aws.export_book import AwsExportBook
    from ocp_ingest.adapters.aws.figures import AwsFigures
    from ocp_ingest.adapters.aws.incidents import AwsIncidents
    from ocp_ingest.adapters.aws.open_work import OpenWork
    from ocp_ingest.adapters.aws.recording_store import AwsRecordingStore
    from ocp_ingest.adapters.aws.remembered import LOOK_S
    from ocp_ingest.adapters.aws.timetable import AwsTimetable
    from ocp_ingest.adapters.aws.work_queue import AwsWorkQueue
    from ocp_ingest.adapters.journal import Deriving

    settings, limits = config_module.settings(config, number_key), config.limits
    section, open_work = config.aws, OpenWork(aws, remember_s=LOOK_S)
    world = World(
        settings=settings,
        clock=bootstrap.clock(config),
        calls=AwsCallStore(aws, Deriving.of(settings), open_work=open_work),
        evidence=AwsEvidence(aws, items_max=limits.evidence_items_max),
        incidents=AwsIncidents(aws),
        recordings=AwsRecordingStore(aws, recording_bytes_max=limits.recording_bytes_max),
        queue=AwsWorkQueue(
            aws, section.work_queue_url, section.work_dlq_url, tries_max=limits.step_tries_max
        ),
        timetable=AwsTimetable(aws, target_arn=section.puller_arn),
        chance=random.random,
    )
    book = AwsExportBook(aws)
    desk = Desk(
        world=world,
        book=book,
        figures=AwsFigures(aws, open_work, remember_s=LOOK_S),
        alerts=AwsAlertBook(aws),
        bulk=AwsBulkBook(aws),
        notes=AwsDeskNotes(aws),
        listing=False,
    )
    return AwsRuntime(config=config, world=world, book=book, desk=desk, aws=aws)


def evidence(runtime: AwsRuntime) -> Evidence:
    """The seals of a deployment: chains in the table, days in the archive bucket, a key of KMS.

    Raises Invalid when no key is configured.
    """
    from ocp_ingest.adapters.aws.archive import ARCHIVE
    from ocp_ingest.adapters.aws.seal_book import AwsSealBook
    from ocp_ingest.adapters.aws.signing import KmsSigner
    from ocp_ingest.adapters.embedded.clock import SystemClock
    from ocp_ingest.adapters.journal import Deriving
    from ocp_ingest.adapters.signing import FileSigner
    from ocp_ingest.evidence.shelf import BucketShelf
    from ocp_ingest.evidence.world import Evidence

    section, world = runtime.config.evidence, runtime.world
    if not section.kms_key and not section.key_file:
        raise Invalid("`evidence.kms_key` is missing: it names the key that signs the days.")
    return Evidence(
        world=world,
        exports=runtime.book,
        seals=AwsSealBook(runtime.aws, Deriving.of(world.settings)),
        shelf=BucketShelf(world.recordings, ARCHIVE, SHELF_PREFIX),
        signer=KmsSigner(runtime.aws, section.kms_key)
        if section.kms_key
        else FileSigner(Path(section.key_file), make=False),
        real=SystemClock(),
        issuer=section.issuer,
    )


async def seal(runtime: AwsRuntime) -> dict[str, int]:
    """One pass of the sealer, for a schedule: what waits is sealed, days that are over are closed.

    Any number of them at once do it once. Raises Transient, and Damaged for a person to look.
    """
    from ocp_ingest.evidence import sealer

    opened = evidence(runtime)
    links = await sealer.seal(opened)
    return {"links": links, "days": len(await sealer.close_days(opened))}


async def _secrets(aws: Aws, arn: str) -> dict[str, Any]:
    """What the secret holds; its text gets into no error. Raises Invalid, NoRights, Transient."""
    from ocp_ingest.adapters.aws.session import Answered

    try:
        held = await aws.call("secretsmanager", "get_secret_value", again=True, SecretId=arn)
        return msgspec.json.decode(held.get("SecretString", ""), type=dict[str, Any])
    except Answered as bad:
        raise Invalid(f"The secret of `aws.secret_arn` can't be read: {bad.code}.") from None
    except NoRights as bad:
        raise NoRights(f"The secret of `aws.secret_arn` can't be read. {bad.text}") from bad
    except msgspec.MsgspecError:
        raise Invalid("The secret of `aws.secret_arn` is no JSON object of texts.") from None


def _number_key(config: Config, secrets: dict[str, Any]) -> bytes:
    """The key for callers' numbers: every process of a deployment must have the same."""
    key = secrets.get(config_module.NUMBER_KEY, "")
    if not key and config.calls.number_key_file:
        return b""  # config.settings reads the file
    if not isinstance(key, str) or len(key) < NUMBER_KEY_CHARS_MIN:
        raise Invalid(
            f"The secret of `aws.secret_arn` needs `{config_module.NUMBER_KEY}`, a text of at "
            f"least {NUMBER_KEY_CHARS_MIN} characters (or set `calls.number_key_file`): every "
            "process must make the same thing of a caller's number."
        )
    return key.encode()
