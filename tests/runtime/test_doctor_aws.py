"""The doctor tells what of a deployment is missing, unprotected, or not ours to look at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from ocp_ingest import bootstrap_aws
from ocp_ingest.bootstrap_aws import AwsRuntime
from ocp_ingest.entrypoints import doctor_aws
from ocp_ingest.entrypoints.doctor import Finding
from tests.aws.servers import launch
from tests.runtime.site import SERVICES, Site
from tests.runtime.test_commands import announced, on, within

STATES = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}


def findings(site: Site, code: int) -> dict[str, list[tuple[str, str]]]:
    """What the doctor says: what → (result, text)."""
    answer = on(site, "doctor", "--json")
    assert answer.code == code, answer.out + answer.err
    found: dict[str, list[tuple[str, str]]] = {}
    for one in answer.json():
        found.setdefault(one["what"], []).append((one["result"], one["text"]))
    assert code == int(any(r == "fail" for said in found.values() for r, _ in said))
    return found


def whole(folder: Path) -> Site:
    """A deployment with everything that a template would switch on and the stand-in knows."""
    states = Site(folder / "first").client("stepfunctions")
    machine = states.create_state_machine(
        name=f"m{folder.name[-20:]}", definition=json.dumps(STATES),
        roleArn=f"arn:aws:iam::{launch.ACCOUNT}:role/states",
    )["stateMachineArn"]  # fmt: skip
    site = Site(folder, state_machine_arn=machine, detect_arn=_function(folder, "detect"),
                puller_arn=_function(folder, "puller"))  # fmt: skip
    s3, dynamodb = site.client("s3"), site.client("dynamodb")
    for bucket in ("landing", "quarantine", "state", "archive", "lob-banking", "lob-unassigned"):
        name = site.bucket(bucket)
        if bucket != "landing":
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]
        })  # fmt: skip
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration={
            "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        })  # fmt: skip
    dynamodb.update_table(TableName=site.name, DeletionProtectionEnabled=True)
    dynamodb.update_continuous_backups(
        TableName=site.name,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
    )
    return site


def _function(folder: Path, name: str) -> str:
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("f.py", "def handler(event, context): return {}\n")
    from tests.aws.clients import client
    from tests.runtime.site import url

    made = client("lambda", url()).create_function(
        FunctionName=f"{name}-{folder.name[-20:]}", Runtime="python3.13", Handler="f.handler",
        Role=f"arn:aws:iam::{launch.ACCOUNT}:role/{name}", Code={"ZipFile": packed.getvalue()},
    )  # fmt: skip
    return str(made["FunctionArn"])


def test_a_deployment_as_the_template_makes_it_has_nothing_that_fails(tmp_path: Path) -> None:
    site = whole(tmp_path)
    announced(site, stored=True)
    found = findings(site, 0)
    # The stand-in knows no encryption of tables.
    looks = {what for what, said in found.items() if any(r == "look" for r, _ in said)}
    assert looks == {"ocp", f"table {site.name}"}
    assert [text for r, text in found[f"table {site.name}"]] == [
        "It is encrypted under a key of AWS's, not of yours."
    ]
    assert found["conservation"][0][1].startswith("started 1, ")
    for what in (
        "who am I",
        "secret",
        "point-in-time recovery",
        "work queue",
        "download queue",
        "state machine",
        "schedule group",
        "function detect",
        "function puller",
        f"bucket {site.bucket('lob-banking')}",
        f"bucket {site.bucket('archive')}",
    ):
        assert [r for r, _ in found[what]] == ["ok"], what  # fmt: skip


def _no_stream(site: Site) -> None:
    site.client("dynamodb").update_table(
        TableName=site.name, StreamSpecification={"StreamEnabled": False}
    )


def _no_index(site: Site) -> None:
    site.client("dynamodb").update_table(
        TableName=site.name, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "pending"}}]
    )


def _not_protected(site: Site) -> None:
    site.client("dynamodb").update_table(TableName=site.name, DeletionProtectionEnabled=False)


def _no_recovery(site: Site) -> None:
    site.client("dynamodb").update_continuous_backups(
        TableName=site.name,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
    )


def _open_bucket(site: Site) -> None:
    site.client("s3").delete_public_access_block(Bucket=site.bucket("lob-banking"))


def _no_versions(site: Site) -> None:
    site.client("s3").put_bucket_versioning(
        Bucket=site.bucket("archive"), VersioningConfiguration={"Status": "Suspended"}
    )


def _no_bucket(site: Site) -> None:
    site.client("s3").delete_bucket(Bucket=site.bucket("quarantine"))


def _not_encrypted(site: Site) -> None:
    site.client("s3").delete_bucket_encryption(Bucket=site.bucket("state"))


def _dead_letter(site: Site) -> None:
    site.client("sqs").send_message(
        QueueUrl=site.section["download_dlq_url"], MessageBody='{"job_key": "j"}'
    )


def _other_tries(site: Site) -> None:
    sqs, dead = site.client("sqs"), site.section["work_dlq_url"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    policy = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": 3}
    sqs.set_queue_attributes(
        QueueUrl=site.section["work_queue_url"], Attributes={"RedrivePolicy": json.dumps(policy)}
    )


def _no_redrive(site: Site) -> None:
    sqs, other = site.client("sqs"), site.section["download_dlq_url"]
    arn = sqs.get_queue_attributes(QueueUrl=other, AttributeNames=["QueueArn"])["Attributes"]
    policy = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": 8}
    sqs.set_queue_attributes(
        QueueUrl=site.section["work_queue_url"], Attributes={"RedrivePolicy": json.dumps(policy)}
    )


def _no_group(site: Site) -> None:
    site.client("scheduler").delete_schedule_group(Name=site.name)


BROKEN: dict[str, tuple[Callable[[Site], None], str, str, str, str]] = {
    "no stream": (_no_stream, "table", "fail", "table {}", "no archive"),
    "no index": (_no_index, "table", "fail", "table {}", "`pending` is missing"),
    "deletable": (_not_protected, "table", "look", "table {}", "Deletion protection"),
    "no recovery": (
        _no_recovery,
        "point-in-time recovery",
        "look",
        "point-in-time recovery",
        "is off",
    ),
    "open bucket": (_open_bucket, "buckets", "fail", "bucket {}-lob-banking", "Public access"),
    "no versions": (_no_versions, "buckets", "look", "bucket {}-archive", "no versions"),
    "no bucket": (_no_bucket, "buckets", "fail", "bucket {}-quarantine", "NoSuchBucket"),
    "not encrypted": (_not_encrypted, "buckets", "look", "bucket {}-state", "not encrypted"),
    "dead letter": (_dead_letter, "queues", "look", "download queue", "1 messages are on"),
    "other tries": (
        _other_tries,
        "queues",
        "look",
        "work queue",
        "tried 3 times, 8 are configured",
    ),
    "other dead letters": (
        _no_redrive,
        "queues",
        "fail",
        "work queue",
        "not the one that is configured",
    ),
    "no schedule group": (
        _no_group,
        "schedule group",
        "fail",
        "schedule group",
        "ResourceNotFoundException",
    ),
}


def test_whatever_is_missing_or_off_is_a_finding_of_its_own(tmp_path: Path) -> None:
    """One deployment, broken in every way in turn: a whole one for each would take minutes."""
    site = whole(tmp_path)

    async def look(runtime: AwsRuntime) -> None:
        for name, (spoil, check, result, what, words) in BROKEN.items():
            run = dict(doctor_aws.checks(runtime))[check]
            before = await run()
            spoil(site)
            told = [
                one for one in await run()
                if (one["result"], one["what"]) == (result, what.format(site.name))
                and words in one["text"]
            ]  # fmt: skip
            assert told, name
            assert not [one for one in told if one in before], name

    within(site, look)


# -- a role that may not look ---------------------------------------------------------------------


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    """An AWS that answers every request with "access denied", in each protocol's own way."""

    async def refuse(request: web.Request) -> web.Response:
        if "X-Amz-Target" in request.headers or request.content_type == "application/json":
            kind = {"__type": "AccessDeniedException", "message": "no"}
            return web.json_response(kind, status=400)
        if request.method == "POST":  # query protocol
            body = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
            return web.Response(status=403, text=body, content_type="text/xml")
        headers = {"x-amzn-ErrorType": "AccessDeniedException"}
        body = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        return web.Response(status=403, text=body, content_type="application/xml", headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", refuse)
    server = TestServer(app, access_log=None)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


RIGHTS = (
    "sts:GetCallerIdentity", "dynamodb:DescribeTable", "dynamodb:DescribeContinuousBackups",
    "s3:GetBucketVersioning", "s3:GetEncryptionConfiguration", "s3:GetBucketPublicAccessBlock",
    "sqs:GetQueueAttributes", "states:DescribeStateMachine", "scheduler:GetScheduleGroup",
    "lambda:GetFunctionConfiguration",
)  # fmt: skip


async def test_what_our_role_may_not_look_at_is_told_with_the_permission(tmp_path: Path) -> None:
    async with refusing() as url:
        site = Site(
            tmp_path, endpoints=dict.fromkeys(SERVICES, url), secret_arn="",
            state_machine_arn="arn:aws:states:eu-west-1:000000000000:stateMachine:m",
            detect_arn="arn:aws:lambda:eu-west-1:000000000000:function:detect",
            more='[calls]\nnumber_key_file = "key"\n',
        )  # fmt: skip
        (tmp_path / "key").write_text("k" * 40)
        async with bootstrap_aws.open(site.load()) as runtime:
            found: list[Finding] = []
            for _, check in doctor_aws.checks(runtime):
                found += await asyncio.wait_for(check(), 60)
    refused = [one for one in found if "lacks" in one["text"]]
    assert {one["result"] for one in refused} == {"look"}
    assert {one["text"].rsplit(" ", 1)[1].rstrip(".") for one in refused} == set(RIGHTS)
    others = [one for one in found if one not in refused]
    assert [one["what"] for one in others] == ["secret"]


def test_objects_are_counted_only_when_asked(tmp_path: Path) -> None:
    site = whole(tmp_path)
    announced(site, stored=True)
    s3, bucket = site.client("s3"), site.bucket("lob-banking")
    for held in s3.list_objects_v2(Bucket=bucket)["Contents"]:
        s3.delete_object(Bucket=bucket, Key=held["Key"])
    for options, code in (((), 0), (("--objects",), 1)):
        answer = on(site, "doctor", "--json", *options)
        texts = [one["text"] for one in answer.json() if one["what"] == "conservation"]
        assert any("the buckets hold 0" in text for text in texts) == bool(options)
        assert answer.code == code
