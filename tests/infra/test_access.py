"""Who may write where, by evaluating every policy of the template against every bucket.

A session is what a role becomes. The law of the design: a mistake in routing can't put a recording
into another line of business's bucket, because no session can write to two of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any, Final

import pytest

from ocp_ingest.bootstrap_aws import SHELF_PREFIX
from tests.infra.iam import Policies, Request, allowed, policies
from tests.infra.template import ACCOUNT, REGION, Template

LOBS: Final = ("lob-sales", "lob-collections", "recordings-support", "lob-unassigned")
OWN: Final = ("landing", "quarantine", "state", "archive", "logs")
PREFIX: Final = f"arn:aws:s3:::ocp-ingest-{ACCOUNT}-"
KEY: Final = "2026/11/22/call/dialog.wav"
# Whatever makes, changes or removes an object. CopyObject is PutObject at its target, as are
# CreateMultipartUpload, UploadPartCopy and CompleteMultipartUpload (S3 API reference, permissions).
WRITES: Final = (
    "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:AbortMultipartUpload",
    "s3:PutObjectAcl", "s3:PutObjectTagging", "s3:PutObjectRetention", "s3:PutObjectLegalHold",
    "s3:RestoreObject", "s3:ReplicateObject", "s3:BypassGovernanceRetention",
)  # fmt: skip
OVER_TLS: Final = {"aws:SecureTransport": "true", "aws:SourceAccount": ACCOUNT}


def may(held: Policies, role: str, action: str, resource: str, **context: str) -> bool:
    """Whether a session of a role may do it, over TLS."""
    keys = {**OVER_TLS, "aws:PrincipalArn": role, **context}
    return allowed(held, Request(role, action, resource, keys))


def writable(held: Policies, role: str) -> set[str]:
    """Buckets of lines of business that a session of the role can change in any way."""
    return {
        bucket
        for bucket in LOBS
        if any(may(held, role, action, f"{PREFIX}{bucket}/{KEY}") for action in WRITES)
    }


def key_of(template: Template, bucket: str) -> str:
    _, made = template.named("AWS::S3::Bucket", "BucketName", f"-{bucket}")
    (rule,) = made["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    key: str = rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]
    return key


def copier_of(template: Template, bucket: str) -> str:
    """The role that the worker is told to use for a bucket."""
    roles = tomllib.loads(f"roles = {worker_variables(template)['OCP_INGEST_AWS__BUCKET_ROLES']}")
    arn: str = roles["roles"][bucket]
    return arn


def worker_variables(template: Template) -> dict[str, str]:
    for _, task in template.of_type("AWS::ECS::TaskDefinition"):
        (container,) = task["ContainerDefinitions"]
        if container["Name"] == "worker":
            return {v["Name"]: v["Value"] for v in container["Environment"]}
    raise AssertionError("there is no worker")


@pytest.fixture(scope="module")
def held(template: Template) -> Policies:
    return policies(template)


# -- one session, one line of business --------------------------------------------------------


def test_no_session_can_change_the_buckets_of_two_lines_of_business(held: Policies) -> None:
    found = {role: writable(held, role) for role in held.identity}
    assert all(len(buckets) <= 1 for buckets in found.values()), found


def test_each_line_of_business_has_exactly_one_writer_which_is_the_one_the_worker_is_told_of(
    template: Template, held: Policies
) -> None:
    for bucket in LOBS:
        writers = [role for role in held.identity if bucket in writable(held, role)]
        assert writers == [copier_of(template, bucket)]


def test_the_same_holds_with_every_option(everything: Template) -> None:
    held = policies(everything)
    assert all(len(writable(held, role)) <= 1 for role in held.identity)


def test_only_the_worker_becomes_a_copier(template: Template, held: Policies) -> None:
    copiers = {copier_of(template, bucket) for bucket in LOBS}
    assert len(copiers) == len(LOBS)
    for copier in copiers:
        who = [role for role in held.identity if may(held, role, "sts:AssumeRole", copier)]
        assert len(who) == 1
        assert "TaskRolesWorker" in who[0]


def hears(template: Template, held: Policies, bucket: str) -> set[str]:
    """Roles that can read what lies in a bucket, and decrypt it."""
    key = key_of(template, bucket)
    return {
        role for role in held.identity
        if may(held, role, "s3:GetObject", f"{PREFIX}{bucket}/{KEY}")
        and may(held, role, "kms:Decrypt", key, **via("s3"))
    }  # fmt: skip


def test_recordings_are_heard_through_the_api_alone_besides_their_copier(
    template: Template, held: Policies
) -> None:
    api = role_of(held, "TaskRolesIngest")
    for bucket in LOBS:
        assert hears(template, held, bucket) == {api, copier_of(template, bucket)}
    assert hears(template, held, "quarantine") == {api, role_of(held, "TaskRolesWorker")}


def test_the_api_changes_nothing_of_what_it_plays(held: Policies) -> None:
    api = role_of(held, "TaskRolesIngest")
    assert writable(held, api) == set()
    for bucket in (*LOBS, "quarantine"):
        for action in WRITES:
            assert not may(held, api, action, f"{PREFIX}{bucket}/{KEY}"), (bucket, action)


def test_where_no_console_is_served_the_api_hears_nothing(smallest: Template) -> None:
    held = policies(smallest)
    api = role_of(held, "TaskRolesIngest")
    for bucket in ("lob-unassigned", "quarantine"):
        assert api not in hears(smallest, held, bucket)


def test_the_worker_itself_can_touch_no_line_of_business(held: Policies) -> None:
    (worker,) = [role for role in held.identity if "TaskRolesWorker" in role]
    for bucket in LOBS:
        for action in (*WRITES, "s3:GetObject"):
            assert not may(held, worker, action, f"{PREFIX}{bucket}/{KEY}")


def test_an_administrator_is_refused_by_the_bucket_itself(held: Policies) -> None:
    """The rule is the bucket's: rights that somebody is given later do not get past it."""
    admin = f"arn:aws:iam::{ACCOUNT}:role/admin"
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    with_admin = held._replace(identity={**held.identity, admin: [everything]})
    assert writable(with_admin, admin) == set()
    assert may(with_admin, admin, "s3:GetObject", f"{PREFIX}lob-sales/{KEY}")


def test_no_key_of_a_line_of_business_encrypts_for_two_roles(
    template: Template, held: Policies
) -> None:
    for bucket in LOBS:
        users = [
            role for role in held.identity
            if may(held, role, "kms:GenerateDataKey", key_of(template, bucket), **via("s3"))
        ]  # fmt: skip
        assert users == [copier_of(template, bucket)]


def via(service: str) -> dict[str, str]:
    return {"kms:ViaService": f"{service}.{REGION}.amazonaws.com"}


# -- what has to be possible --------------------------------------------------------------------


@pytest.mark.parametrize("bucket", LOBS)
def test_a_copier_can_do_its_whole_work(template: Template, held: Policies, bucket: str) -> None:
    copier, there = copier_of(template, bucket), f"{PREFIX}{bucket}"
    for action in ("s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload",
                   "s3:ListMultipartUploadParts", "s3:DeleteObjectVersion"):  # fmt: skip
        assert may(held, copier, action, f"{there}/{KEY}"), action
    assert may(held, copier, "s3:ListBucket", there)
    assert may(held, copier, "s3:GetObject", f"{PREFIX}landing/{KEY}")
    for key in (key_of(template, bucket), key_of(template, "landing")):
        assert may(held, copier, "kms:Decrypt", key, **via("s3"))
    assert may(held, copier, "kms:GenerateDataKey", key_of(template, bucket), **via("s3"))


def test_a_key_is_of_no_use_but_through_the_service_that_holds_the_data(
    template: Template, held: Policies
) -> None:
    copier, key = copier_of(template, "lob-sales"), key_of(template, "lob-sales")
    assert not may(held, copier, "kms:Decrypt", key)
    assert not may(held, copier, "kms:Decrypt", key, **via("dynamodb"))


# (role, bucket, actions that it must have, actions that it must not have)
RIGHTS: Final = (
    ("TaskRolesIngest", "landing", ("s3:PutObject", "s3:GetObject", "s3:DeleteObject"),
     ("s3:DeleteObjectVersion", "s3:BypassGovernanceRetention")),
    ("TaskRolesIngest", "quarantine", ("s3:GetObject",), ("s3:PutObject", "s3:DeleteObject")),
    ("TaskRolesIngest", "archive", (), ("s3:PutObject", "s3:GetObject")),
    ("TaskRolesWorker", "landing", ("s3:PutObject", "s3:GetObject", "s3:DeleteObject"),
     ("s3:DeleteObjectVersion",)),
    ("TaskRolesWorker", "quarantine", ("s3:PutObject", "s3:GetObject"), ("s3:DeleteObject",)),
    ("TaskRolesWorker", "state", ("s3:PutObject", "s3:GetObject"), ("s3:DeleteObject",)),
    ("TaskRolesWorker", "archive", (), ("s3:PutObject", "s3:GetObject")),
    ("FunctionsRolearchive", "archive", ("s3:PutObject", "s3:GetObject"),
     ("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention")),
    ("FunctionsRoledetect", "state", ("s3:PutObject", "s3:GetObject"), ("s3:DeleteObject",)),
    ("FunctionsRoledetect", "landing", (), ("s3:GetObject", "s3:PutObject")),
    ("FunctionsRoledeadletters", "state", ("s3:GetObject",), ("s3:PutObject",)),
)  # fmt: skip


@pytest.mark.parametrize(("role", "bucket", "must", "must_not"), RIGHTS)
def test_a_role_has_what_it_needs_of_a_bucket_and_no_more(
    held: Policies, role: str, bucket: str, must: tuple[str, ...], must_not: tuple[str, ...]
) -> None:
    (arn,) = [one for one in held.identity if role in one]
    for action in must:
        assert may(held, arn, action, f"{PREFIX}{bucket}/{KEY}"), action
    for action in must_not:
        assert not may(held, arn, action, f"{PREFIX}{bucket}/{KEY}"), action


HERE: Final = f"{REGION}:{ACCOUNT}"
TABLE: Final = f"arn:aws:dynamodb:{HERE}:table/ocp-ingest"
MACHINE: Final = f"arn:aws:states:{HERE}:stateMachine:ocp-ingest-recover-window"
EXECUTION: Final = f"arn:aws:states:{HERE}:execution:ocp-ingest-recover-window:job-r2"
POLL: Final = f"arn:aws:scheduler:{HERE}:schedule/ocp-ingest-polls/x-1"
DETECT: Final = f"arn:aws:lambda:{HERE}:function:ocp-ingest-detect"
SECRET: Final = f"arn:aws:secretsmanager:{HERE}:secret:ocp-ingest/platform"


def queue(name: str) -> str:
    return f"arn:aws:sqs:{HERE}:ocp-ingest-{name}"


TAKE: Final = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")
ANSWER: Final = ("states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat")
READ: Final = ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query")
# TransactWriteItems asks for the right to each of its writes.
WRITE: Final = ("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem")
# What the adapters call, by whom, beyond S3: role, actions, resource.
CALLS: Final = (
    *((role, (*READ, *WRITE), TABLE) for role in (
        "TaskRolesIngest", "TaskRolesWorker", "Roledetect", "Roleexport", "Rolepuller",
        "Rolemetadata", "Rolefinish", "Roledeadletters", "Rolearchive", "Roleseal")),
    *((role, ("dynamodb:Query",), f"{TABLE}/index/pending") for role in (
        "TaskRolesIngest", "Roledetect", "Rolearchive")),
    *((role, ("secretsmanager:GetSecretValue",), SECRET) for role in (
        "TaskRolesIngest", "TaskRolesWorker", "Roledetect", "Roleexport", "Rolepuller",
        "Rolemetadata", "Rolefinish", "Roledeadletters")),
    *((role, ("sqs:SendMessage",), queue("work")) for role in (
        "TaskRolesIngest", "TaskRolesWorker", "Roledetect", "Roleexport", "Rolepuller",
        "Rolemetadata", "Rolefinish")),
    ("TaskRolesWorker", TAKE, queue("work")),
    ("TaskRolesWorker", TAKE, queue("download")),
    ("TaskRolesWorker", ("sqs:SendMessage",), queue("work-dead")),
    ("Roledeadletters", TAKE, queue("download-dead")),
    *((role, ANSWER, MACHINE) for role in ("TaskRolesWorker", "Rolepuller", "Roledeadletters")),
    ("Roledetect", ("states:StartExecution",), MACHINE),
    ("Roledetect", ("states:DescribeExecution",), EXECUTION),
    ("Rolepuller", ("scheduler:CreateSchedule", "scheduler:GetSchedule"), POLL),
    *((role, ("lambda:InvokeFunction",), DETECT) for role in (
        "TaskRolesIngest", "Roleexport", "Rolepuller", "Rolefinish", "StateMachineRole",
        "SweepRole")),
    ("PollRole", ("lambda:InvokeFunction",), f"arn:aws:lambda:{HERE}:function:ocp-ingest-puller"),
    ("RecountRole", ("lambda:InvokeFunction",),
     f"arn:aws:lambda:{HERE}:function:ocp-ingest-archive"),
    ("SealRole", ("lambda:InvokeFunction",),
     f"arn:aws:lambda:{HERE}:function:ocp-ingest-seal"),
    ("Rolearchive", ("sqs:SendMessage",), queue("archive-dead")),
    *((role, ("sqs:SendMessage",), queue("function-dead")) for role in (
        "Roledetect", "Rolepuller", "Rolearchive")),
    *((role, ("sqs:SendMessage",), queue("schedule-dead")) for role in (
        "PollRole", "SweepRole", "RecountRole")),
)  # fmt: skip
# (roles, action, which key, through which service); None: the service asks in its own name.
KEYS: Final = (
    (("TaskRolesIngest", "TaskRolesWorker", "Roledetect", "Roleexport", "Rolepuller",
      "Rolemetadata", "Rolefinish", "Roledeadletters", "Rolearchive"),
     "kms:Decrypt", "KeysData", "dynamodb"),
    (("TaskRolesIngest", "TaskRolesWorker", "Roledetect"), "kms:Decrypt", "KeysMessages",
     "secretsmanager"),
    (("TaskRolesIngest", "TaskRolesWorker", "Roledetect", "Roledeadletters", "StateMachineRole",
      "PollRole", "SweepRole"), "kms:GenerateDataKey", "KeysMessages", "sqs"),
    (("TaskRolesIngest", "TaskRolesWorker", "Roleexport"), "kms:GenerateDataKey", "KeysMedia",
     "s3"),
    (("Rolearchive", "Roleseal"), "kms:GenerateDataKey", "KeysArchive", "s3"),
    (("StateMachineRole", "Rolepuller"), "kms:GenerateDataKey", "KeysMessages", None),
    (("PollRole",), "kms:Decrypt", "KeysMessages", None),
)  # fmt: skip


def role_of(held: Policies, part: str) -> str:
    (arn,) = [one for one in held.identity if part in one]
    return arn


@pytest.mark.parametrize(("role", "actions", "resource"), CALLS)
def test_a_process_may_do_what_it_calls(
    held: Policies, role: str, actions: tuple[str, ...], resource: str
) -> None:
    for action in actions:
        assert may(held, role_of(held, role), action, resource), action


@pytest.mark.parametrize(("roles", "action", "key", "service"), KEYS)
def test_a_process_may_use_the_keys_of_what_it_calls(
    held: Policies, roles: tuple[str, ...], action: str, key: str, service: str | None
) -> None:
    (arn,) = [one for one in held.keys if key in one]
    for role in roles:
        context = via(service) if service else {}
        assert may(held, role_of(held, role), action, arn, **context), role


@pytest.mark.parametrize("role", ["Roleexport", "Rolefinish", "Rolemetadata", "TaskRolesIngest"])
def test_who_needs_no_execution_starts_none_and_answers_none(held: Policies, role: str) -> None:
    for action in ("states:StartExecution", *ANSWER):
        assert not may(held, role_of(held, role), action, MACHINE)


def test_nobody_but_its_function_adds_to_the_archive_and_nobody_removes_from_it(
    held: Policies,
) -> None:
    for role in held.identity:
        can = {a for a in WRITES if may(held, role, a, f"{PREFIX}archive/{KEY}")}
        assert can == ({"s3:PutObject", "s3:AbortMultipartUpload"}
                       if "FunctionsRolearchive" in role else set())  # fmt: skip


def test_nobody_but_its_function_makes_a_seal(template: Template, held: Policies) -> None:
    """Who writes what happened can't sign that it did, and the other way about."""
    signing, _ = template.named("AWS::KMS::Key", "Description", "Seals of the days")
    key = template.attribute(signing, "Arn")
    for role in held.identity:
        can = {a for a in WRITES if may(held, role, a, f"{PREFIX}archive/{SHELF_PREFIX}days/x")}
        signs = may(held, role, "kms:Sign", key)
        assert (can, signs) == (({"s3:PutObject"}, True) if "Roleseal" in role else (set(), False))
    sealer = role_of(held, "Roleseal")
    assert may(held, sealer, "kms:GetPublicKey", key)
    assert may(held, sealer, "s3:GetObject", f"{PREFIX}archive/{SHELF_PREFIX}days/x")
    assert not may(held, sealer, "s3:GetObject", f"{PREFIX}archive/{KEY}")


def test_the_api_alone_tells_people(template: Template, held: Policies) -> None:
    topics = {t["TopicName"]: template.attribute(n, "TopicArn")
              for n, t in template.of_type("AWS::SNS::Topic")}  # fmt: skip
    who = {name: {role for role in held.identity if may(held, role, "sns:Publish", arn)}
           for name, arn in topics.items()}  # fmt: skip
    api = role_of(held, "TaskRolesIngest")
    assert who == {"ocp-ingest-alerts": {api}, "ocp-ingest-alarms": set()}
    _, topic = template.named("AWS::SNS::Topic", "TopicName", "-alerts")
    assert may(held, api, "kms:GenerateDataKey", topic["KmsMasterKeyId"], **via("sns"))


def test_what_cookies_are_sealed_with_is_handed_to_the_api_alone(held: Policies) -> None:
    secret = f"arn:aws:secretsmanager:{HERE}:secret:ocp-ingest/console"
    readers = {r for r in held.identity if may(held, r, "secretsmanager:GetSecretValue", secret)}
    assert readers == {role_of(held, "ServicesExecutioningest")}


def test_nothing_is_done_without_tls(held: Policies) -> None:
    for role in held.identity:
        for bucket in (*LOBS, *OWN):
            for action in (*WRITES, "s3:GetObject"):
                plain = {"aws:PrincipalArn": role, "aws:SecureTransport": "false"}
                request = Request(role, action, f"{PREFIX}{bucket}/{KEY}", plain)
                assert not allowed(held, request)


def test_a_foreign_key_or_none_at_all_is_refused(template: Template, held: Policies) -> None:
    copier, there = copier_of(template, "lob-sales"), f"{PREFIX}lob-sales/{KEY}"
    header = "s3:x-amz-server-side-encryption"
    for context, fine in (
        ({f"{header}-aws-kms-key-id": key_of(template, "lob-sales")}, True),
        ({f"{header}-aws-kms-key-id": key_of(template, "lob-collections")}, False),
        ({header: "aws:kms"}, True),
        ({header: "AES256"}, False),
    ):
        assert may(held, copier, "s3:PutObject", there, **context) is fine, context


def test_services_deliver_logs_for_this_account_only(held: Policies) -> None:
    for service, folder, source in (
        ("logging.s3.amazonaws.com", "s3/landing", f"{PREFIX}landing"),
        ("logdelivery.elasticloadbalancing.amazonaws.com", f"alb/AWSLogs/{ACCOUNT}",
         f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/x/1"),
    ):  # fmt: skip
        there = f"{PREFIX}logs/{folder}/log"
        ours = {**OVER_TLS, "service": service, "aws:SourceArn": source}
        assert allowed(held, Request("", "s3:PutObject", there, ours))
        foreign = {**ours, "aws:SourceAccount": "999999999999"}
        assert not allowed(held, Request("", "s3:PutObject", there, foreign))
        elsewhere = Request("", "s3:PutObject", f"{PREFIX}landing/{KEY}", ours)
        assert not allowed(held, elsewhere)


def test_an_eraser_may_delete_and_nobody_else_gains_by_it(everything: Template) -> None:
    held, eraser = policies(everything), f"arn:aws:iam::{ACCOUNT}:role/eraser"
    rights = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    held = held._replace(identity={**held.identity, eraser: [rights]})
    there = f"{PREFIX}lob-sales/{KEY}"
    assert may(held, eraser, "s3:DeleteObjectVersion", there)
    assert not may(held, eraser, "s3:PutObject", there)


# -- the evaluator sees what it should ------------------------------------------------------------


def grant_across(template: Template) -> None:
    """A careless right: the copier of sales may write to every bucket."""
    copier = copier_of(template, "lob-sales").rpartition("/")[2]
    for made in template.resources.values():
        if made["Type"] == "AWS::IAM::Policy" and made["Properties"]["Roles"] == [{"Ref": copier}]:
            made["Properties"]["PolicyDocument"]["Statement"].append(
                {"Effect": "Allow", "Action": "s3:Put*", "Resource": "arn:aws:s3:::*"}
            )
            return
    raise AssertionError("no policy of the copier")


def open_bucket(template: Template) -> None:
    """A careless bucket: collections does not say any more who may write."""
    for made in template.resources.values():
        if made["Type"] == "AWS::S3::BucketPolicy":
            document = made["Properties"]["PolicyDocument"]
            bucket = template.resolve(made["Properties"]["Bucket"])
            if bucket.endswith("lob-collections"):
                keep = [s for s in document["Statement"] if s.get("Sid") != "OnlyWriter"]
                assert len(keep) == len(document["Statement"]) - 1
                document["Statement"] = keep
                return
    raise AssertionError("no policy of the bucket")


@pytest.mark.parametrize(
    ("mistakes", "reach"),
    [
        ((grant_across,), {"lob-sales"}),  # the bucket refuses
        ((open_bucket,), {"lob-sales"}),  # the role has no right
        ((grant_across, open_bucket), {"lob-sales", "lob-collections"}),
    ],
)
def test_one_mistake_is_not_enough_and_two_are_seen(
    template: Template, mistakes: tuple[Callable[[Template], None], ...], reach: set[str]
) -> None:
    changed = template.copy()
    for mistake in mistakes:
        mistake(changed)
    assert writable(policies(changed), copier_of(changed, "lob-sales")) == reach


def test_a_copier_that_anybody_may_become_is_seen(template: Template) -> None:
    changed = template.copy()
    copier = copier_of(changed, "lob-sales")
    trust: Any = changed.resources[copier.rpartition("/")[2]]["Properties"]
    trust["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] = {"AWS": "*"}
    held = policies(changed)
    who = [role for role in held.identity if may(held, role, "sts:AssumeRole", copier)]
    assert len(who) == len(held.identity)


def test_a_condition_that_the_evaluator_does_not_know_is_no_silent_yes(held: Policies) -> None:
    odd = {"Effect": "Allow", "Action": "*", "Resource": "*",
           "Condition": {"NumericLessThan": {"s3:max-keys": "10"}}}  # fmt: skip
    with pytest.raises(NotImplementedError, match="NumericLessThan"):
        may(held._replace(identity={"arn:x": [odd]}), "arn:x", "s3:PutObject", f"{PREFIX}landing/x")
