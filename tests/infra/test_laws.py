"""What holds for every resource of a kind, whatever else changes."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from infra.ocp_infra import reasons, settings
from ocp_ingest.adapters.aws.table import EXPIRES_ATTRIBUTE, TABLE
from ocp_ingest.core.access import ROLES
from ocp_ingest.core.limits import Limits
from ocp_ingest.core.settings import Settings
from ocp_ingest.entrypoints.console.page import url
from tests.infra.synthesis import PLATFORM, ROOT
from tests.infra.template import Template
from tools import build_lambda

# CloudFormation quotas: resources of a stack, bytes of a template given by its address.
RESOURCES_MAX: Final = 500
TEMPLATE_BYTES_MAX: Final = 1_048_576
# Lambda quota: all variables of a function.
VARIABLES_BYTES_MAX: Final = 4096

KEPT: Final = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::KMS::Key",
               "AWS::SecretsManager::Secret", "AWS::Cognito::UserPool")  # fmt: skip


# -- rights -------------------------------------------------------------------------------------


def documents(template: Template) -> list[tuple[str, dict[str, Any]]]:
    """Policy documents of identities, unresolved: as cdk-nag sees them."""
    found = []
    for name, made in template.resources.items():
        if made["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            found.append((name, made["Properties"]["PolicyDocument"]))
        for inline in made.get("Properties", {}).get("Policies", ()):
            if made["Type"] == "AWS::IAM::Role":
                found.append((name, inline["PolicyDocument"]))
    assert len(found) > 15
    return found


def test_a_wildcard_in_a_resource_has_a_written_reason(any_template: Template) -> None:
    for name, document in documents(any_template):
        for resource, actions in reasons.wildcards(document):
            assert reasons.why(resource, actions), f"{name}: {resource} for {actions}"


def test_a_wildcard_without_a_reason_is_seen(template: Template) -> None:
    document = {"Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "*"}]}
    ((resource, actions),) = reasons.wildcards(document)
    assert reasons.why(resource, actions) is None
    assert reasons.why("arn:<AWS::Partition>:s3:::*/*", ["s3:GetObject"]) is None
    assert reasons.why("*", ["ecr:GetAuthorizationToken", "s3:GetObject"]) is None


def test_no_reason_outlives_its_wildcard(template: Template, everything: Template) -> None:
    seen: set[str] = set()
    for each in (template, everything):
        for _, document in documents(each):
            for resource, actions in reasons.wildcards(document):
                seen.update((reasons.why(resource, actions) or "").split("; "))
    listed = {reason for _, reason in (*reasons.WILDCARDS, *reasons.UNNAMED)}
    assert seen >= {part for reason in listed for part in reason.split("; ")}


def test_no_action_is_a_family(any_template: Template) -> None:
    for name, document in documents(any_template):
        for statement in document["Statement"]:
            for action in reasons.many(statement["Action"]):
                assert "*" not in action, f"{name}: {action}"


def test_a_service_takes_on_a_role_for_this_account_only(any_template: Template) -> None:
    """Lambda alone sends no aws:SourceAccount: with it, no function could be made."""
    for name, role in any_template.of_type("AWS::IAM::Role"):
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            service = statement["Principal"].get("Service")
            if service == "lambda.amazonaws.com":
                assert "Condition" not in statement, name
            elif service:
                assert "aws:SourceAccount" in json.dumps(statement["Condition"]), name


# -- data ---------------------------------------------------------------------------------------


def test_the_table_is_the_one_that_the_adapters_ask_for(template: Template) -> None:
    made = template.one("AWS::DynamoDB::Table")

    def by_name(found: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
        return sorted(found, key=lambda one: str(one[key]))

    assert made["KeySchema"] == TABLE["KeySchema"]
    assert by_name(made["AttributeDefinitions"], "AttributeName") == by_name(
        TABLE["AttributeDefinitions"], "AttributeName"
    )
    assert by_name(made["GlobalSecondaryIndexes"], "IndexName") == by_name(
        TABLE["GlobalSecondaryIndexes"], "IndexName"
    )
    assert made["BillingMode"] == TABLE["BillingMode"]
    stream = TABLE["StreamSpecification"]["StreamViewType"]
    assert made["StreamSpecification"]["StreamViewType"] == stream == "NEW_AND_OLD_IMAGES"
    assert made["TimeToLiveSpecification"] == {
        "AttributeName": EXPIRES_ATTRIBUTE, "Enabled": True
    }  # fmt: skip


def test_the_table_can_be_restored_and_not_be_deleted(any_template: Template) -> None:
    made = any_template.one("AWS::DynamoDB::Table")
    assert made["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert made["DeletionProtectionEnabled"] is True
    assert made["SSESpecification"]["SSEType"] == "KMS"
    assert made["SSESpecification"]["KMSMasterKeyId"].startswith("arn:aws:kms:")


def test_what_can_not_be_made_anew_outlives_the_stack(any_template: Template) -> None:
    for name, made in any_template.resources.items():
        if made["Type"] in KEPT:
            assert made["DeletionPolicy"] == "Retain", name
            assert made["UpdateReplacePolicy"] == "Retain", name


def test_buckets_are_those_of_the_platforms_own_settings(template: Template) -> None:
    platform = settings.platform(PLATFORM)
    from ocp_ingest import config

    real: Settings = config.settings(config.load(PLATFORM, environ=_external()), b"k" * 32)
    assert platform.buckets == real.buckets()
    named = {b["BucketName"].removeprefix("ocp-ingest-111122223333-")
             for _, b in template.of_type("AWS::S3::Bucket")}  # fmt: skip
    assert named == {*settings.OWN_BUCKETS, *real.buckets().values()}


def _external() -> dict[str, str]:
    """Clients without secrets need an issuer."""
    return {"OCP_INGEST_AUTH__ISSUER": "https://issuer.example",
            "OCP_INGEST_AUTH__JWKS_URL": "https://issuer.example/jwks"}  # fmt: skip


def test_defaults_are_the_platforms_own() -> None:
    platform, limits = settings.from_tree({}), Limits()
    assert platform.step_tries_max == limits.step_tries_max
    assert platform.step_lease_ms == limits.step_lease_ms
    own = settings.platform(ROOT / "ocp-ingest.toml")
    assert own == platform


def test_no_bucket_is_public_plain_or_without_versions(any_template: Template) -> None:
    for name, bucket in any_template.of_type("AWS::S3::Bucket"):
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}, name
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        (owner,) = bucket["OwnershipControls"]["Rules"]
        assert owner == {"ObjectOwnership": "BucketOwnerEnforced"}
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        default = rule["ServerSideEncryptionByDefault"]
        if bucket["BucketName"].endswith("-logs"):  # S3 and ALB deliver to no other
            assert default == {"SSEAlgorithm": "AES256"}
            continue
        assert default["SSEAlgorithm"] == "aws:kms"
        assert default["KMSMasterKeyID"].startswith("arn:aws:kms:")
        assert rule["BucketKeyEnabled"] is True
        assert bucket["LoggingConfiguration"]["DestinationBucketName"].endswith("-logs")


def test_each_line_of_business_has_a_key_of_its_own(any_template: Template) -> None:
    keys = [
        bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0][
            "ServerSideEncryptionByDefault"]["KMSMasterKeyID"]
        for _, bucket in any_template.of_type("AWS::S3::Bucket")
        if not bucket["BucketName"].endswith(tuple(f"-{own}" for own in settings.OWN_BUCKETS))
    ]  # fmt: skip
    assert keys
    assert len(set(keys)) == len(keys)


def test_every_key_rotates_that_can(any_template: Template) -> None:
    """A key that signs does not: what it signed must stay verifiable (KMS rotates no such key)."""
    for name, key in any_template.of_type("AWS::KMS::Key"):
        signs = key.get("KeyUsage") == "SIGN_VERIFY"
        assert (key.get("EnableKeyRotation") is True) is not signs, name


def rules_of(template: Template, bucket: str) -> dict[str, dict[str, Any]]:
    _, made = template.named("AWS::S3::Bucket", "BucketName", f"-{bucket}")
    return {rule["Id"]: rule for rule in made["LifecycleConfiguration"]["Rules"]}


def test_landing_outlives_the_retention_of_ocp(template: Template) -> None:
    """A recording that waits for its CDRs must not vanish before OCP's own copy does."""
    assert rules_of(template, "landing")["expire"]["ExpirationInDays"] == 90
    longer = settings.from_tree({"stage2": {"retention_ms": 120 * 86_400_000}})
    assert longer.retention_days == 120


def test_parts_of_dead_uploads_are_removed_everywhere(any_template: Template) -> None:
    for name, bucket in any_template.of_type("AWS::S3::Bucket"):
        aborts = [r["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
                  for r in bucket["LifecycleConfiguration"]["Rules"]
                  if "AbortIncompleteMultipartUpload" in r]  # fmt: skip
        assert aborts == [2], name


def test_recordings_never_expire_and_cool_after_a_month(template: Template) -> None:
    for bucket in ("lob-sales", "recordings-support", "lob-unassigned", "quarantine", "archive"):
        rules = rules_of(template, bucket)
        assert "expire" not in rules
        (move,) = rules["glacier"]["Transitions"]
        assert move == {"StorageClass": "GLACIER_IR", "TransitionInDays": 30}


def test_the_archive_is_locked_and_recordings_are_on_request(
    template: Template, everything: Template
) -> None:
    def lock(held: Template, bucket: str) -> Any:
        _, made = held.named("AWS::S3::Bucket", "BucketName", f"-{bucket}")
        locked = made.get("ObjectLockConfiguration")
        return locked and locked["Rule"]["DefaultRetention"]

    assert lock(template, "archive") == {"Mode": "GOVERNANCE", "Days": 365}
    assert lock(template, "lob-sales") is None
    assert lock(everything, "lob-sales") == {"Mode": "COMPLIANCE", "Days": 30}


def test_no_bucket_policy_asks_for_a_conditional_write(any_template: Template) -> None:
    """S3 would answer CopyObject 501 (aws-notes: conditional writes, enforced)."""
    for name, policy in any_template.of_type("AWS::S3::BucketPolicy"):
        assert "if-none-match" not in json.dumps(policy).lower(), name


# -- queues ---------------------------------------------------------------------------------------


def test_every_queue_has_a_dead_letter_queue_or_is_one(any_template: Template) -> None:
    for name, queue in any_template.of_type("AWS::SQS::Queue"):
        dead = queue["QueueName"].endswith("-dead")
        assert dead is not ("RedrivePolicy" in queue), name
        if dead:
            assert queue["MessageRetentionPeriod"] == 14 * 86_400


def test_every_queue_is_encrypted_and_speaks_tls_only(any_template: Template) -> None:
    guarded = set()
    for _, policy in any_template.of_type("AWS::SQS::QueuePolicy"):
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        guarded.update(policy["Queues"])
    for name, queue in any_template.of_type("AWS::SQS::Queue"):
        assert queue["KmsMasterKeyId"].startswith("arn:aws:kms:"), name
    assert len(guarded) == len(list(any_template.of_type("AWS::SQS::Queue")))


def test_a_message_is_tried_as_often_as_the_platform_says(template: Template) -> None:
    from ocp_ingest.entrypoints.worker import DOWNLOAD_TRIES_MAX

    for ending, tries in (("-work", Limits().step_tries_max), ("-download", DOWNLOAD_TRIES_MAX)):
        _, queue = template.named("AWS::SQS::Queue", "QueueName", ending)
        assert queue["RedrivePolicy"]["maxReceiveCount"] == tries


def test_a_function_is_given_a_sixth_of_its_queues_visibility(template: Template) -> None:
    _, queue = template.named("AWS::SQS::Queue", "QueueName", "-download-dead")
    _, function = template.named("AWS::Lambda::Function", "FunctionName", "-dead-letters")
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]


# -- functions ------------------------------------------------------------------------------------


def test_each_function_has_a_handler_a_role_and_a_log_of_its_own(any_template: Template) -> None:
    functions = dict(any_template.of_type("AWS::Lambda::Function"))
    groups = {g["LogGroupName"]: g for _, g in any_template.of_type("AWS::Logs::LogGroup")}
    assert len({f["Role"] for f in functions.values()}) == len(functions) == 8
    for name, function in functions.items():
        package, _, attribute = function["Handler"].rpartition(".")
        assert attribute == "handler"
        assert (ROOT / "src" / (package.replace(".", "/") + ".py")).exists(), package
        assert function["LoggingConfig"]["LogGroup"] in groups, name
        assert function["Architectures"] == ["arm64"]
        assert function["Runtime"] == f"python{build_lambda.PYTHON_VERSION}"
        assert "VpcConfig" not in function
        variables = function["Environment"]["Variables"]
        used = sum(len(key) + len(str(value)) for key, value in variables.items())
        # Real names are at most as long as the stand-ins but for a few dozen characters each.
        assert used < VARIABLES_BYTES_MAX * 3 // 4, f"{name}: {used} bytes of variables"


def test_every_log_group_is_encrypted_and_has_an_end(any_template: Template) -> None:
    for name, held in any_template.of_type("AWS::Logs::LogGroup"):
        assert held["RetentionInDays"] == 90, name
        assert held["KmsKeyId"].startswith("arn:aws:kms:"), name


def test_an_asynchronous_call_that_fails_ends_in_a_queue(any_template: Template) -> None:
    configured = {
        c["FunctionName"]: c for _, c in any_template.of_type("AWS::Lambda::EventInvokeConfig")
    }
    asynchronous = {f"ocp-ingest-{name}" for name in ("detect", "puller", "archive", "seal")}
    assert configured.keys() == asynchronous
    for config in configured.values():
        target = config["DestinationConfig"]["OnFailure"]["Destination"]
        assert target.endswith("-function-dead")
        assert config["MaximumEventAgeInSeconds"] <= 3600


def test_the_stream_is_halved_until_the_bad_record_is_found(template: Template) -> None:
    _, mapping = template.named("AWS::Lambda::EventSourceMapping", "FunctionName", "-archive")
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["MaximumRecordAgeInSeconds"] < 24 * 3600  # what the stream remembers
    assert mapping["DestinationConfig"]["OnFailure"]["Destination"].endswith("-archive-dead")
    assert mapping["StartingPosition"] == "TRIM_HORIZON"


# -- the template itself ---------------------------------------------------------------------------


def test_no_secret_is_in_the_template(any_template: Template) -> None:
    for _, secret in any_template.of_type("AWS::SecretsManager::Secret"):
        assert "SecretString" not in secret
        assert secret["GenerateSecretString"].get("SecretStringTemplate", "{}") == "{}"
        assert secret["GenerateSecretString"]["PasswordLength"] >= 64
    text = json.dumps(any_template.body).lower()
    for word in ('"secretstring"', "begin private key", "akia"):
        assert word not in text


def test_clients_hold_the_scopes_of_the_configuration(template: Template) -> None:
    made = {c["ClientName"]: c for _, c in template.of_type("AWS::Cognito::UserPoolClient")}
    assert set(made) == {"operator", "ocp", "reporting", "console"}
    for name, scopes in (("ocp", ["ingest"]), ("reporting", ["read"]),
                         ("operator", ["ingest", "operate", "read"])):  # fmt: skip
        assert made[name]["AllowedOAuthFlows"] == ["client_credentials"]
        assert made[name]["GenerateSecret"] is True
        got = sorted(s.rpartition("/")[2] for s in made[name]["AllowedOAuthScopes"])
        assert got == scopes, name


def test_people_log_in_by_a_code_with_a_second_factor_and_get_no_scope_of_the_api(
    template: Template,
) -> None:
    client = {c["ClientName"]: c for _, c in template.of_type("AWS::Cognito::UserPoolClient")}[
        "console"
    ]
    assert client["AllowedOAuthFlows"] == ["code"]
    assert client["GenerateSecret"] is False  # PKCE, which the console always uses, proves it
    assert set(client["AllowedOAuthScopes"]) == {"openid", "email", "profile"}
    where = "https://calls.example.com"
    assert client["CallbackURLs"] == [where + url("/login/provider")]
    assert client["LogoutURLs"] == [where + url("/login")]
    pool = template.one("AWS::Cognito::UserPool")
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True
    assert (pool["MfaConfiguration"], pool["EnabledMfas"]) == ("ON", ["SOFTWARE_TOKEN_MFA"])
    groups = {g["GroupName"] for _, g in template.of_type("AWS::Cognito::UserPoolGroup")}
    assert groups == {"duty", "sales-leads"}


def test_a_platform_with_a_provider_of_its_own_has_no_people_in_the_pool() -> None:
    tree = {"console": {"public_url": "https://a.example/", "oidc": {"issuer": "https://idp"}}}
    held = settings.from_tree(tree)
    assert (held.console_url, held.console_elsewhere) == ("https://a.example", True)
    assert settings.from_tree({}).console_groups == {
        role: (role, ("*",)) for role in ("operator", "auditor", "viewer")
    }
    assert set(settings.ROLES) == set(ROLES)


@pytest.mark.parametrize("given", ["http://calls.example.com", "calls", "https://a.example/x"])
def test_an_address_that_no_browser_would_keep_a_session_for_is_refused(given: str) -> None:
    with pytest.raises(settings.Refused, match="public_url"):
        settings.from_tree({"console": {"public_url": given}})


def test_networks_of_people_fit_one_rule_of_a_load_balancer() -> None:
    with pytest.raises(settings.Refused, match="console_cidrs"):
        settings.options({"console_cidrs": "10.0.0.0/8,10.1.0.0/16,10.2.0.0/16,10.3.0.0/16"})


def test_topics_are_those_of_the_configuration_or_our_own() -> None:
    assert settings.from_tree({}).alert_topics is None
    channels = [{"kind": "smtp", "name": "mail"}, {"kind": "sns", "topic_arn": "arn:x"}]
    held = settings.from_tree({"alerts": {"channels": channels}})
    assert held.alert_topics == ("arn:x",)


def test_everything_that_can_be_tagged_names_the_application(template: Template) -> None:
    for kind in ("AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::Lambda::Function",
                 "AWS::ECS::Service", "AWS::KMS::Key", "AWS::SQS::Queue"):  # fmt: skip
        for name, made in template.of_type(kind):
            tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
            assert tags.get("Application") == "ocp-ingest", name


def test_a_stack_holds_as_many_lines_of_business_as_are_allowed(
    smallest: Template, everything: Template, template: Template
) -> None:
    one, four = len(smallest.resources), len(template.resources)
    # What the repository's own configuration lacks: `reporting`; the console's client, two groups
    # of people, rule, and key of its cookies.
    more = 1 + 5
    each = (four - more - one) / 3
    assert each == int(each)
    most = len(everything.resources) + (settings.LOBS_MAX + 1 - 4) * each
    assert most <= RESOURCES_MAX, most
    whole = len(json.dumps(everything.body)) + len(json.dumps(template.body)) * each / four * 37
    assert whole < TEMPLATE_BYTES_MAX
