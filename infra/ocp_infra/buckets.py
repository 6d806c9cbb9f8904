"""Buckets: landing, quarantine, state, archive, logs, and one per line of business.

bucket       written by                     key       kept
landing      ingestion API, worker          media     OCP's retention + 30 days
quarantine   worker                         media     for ever; Glacier IR after a month
state        functions, worker              media     as landing; lists of jobs that ended
archive      functions `archive`, `seal`    archive   for ever, locked; seals below evidence/
lob-…        the copier of that line alone  its own   for ever; Glacier IR after a month
logs         S3 and the load balancer       SSE-S3    as long as log groups × 4

1. All: no public access, no ACLs, TLS only, versions kept, encrypted under one key per kind.
2. A line of business has a role, its copier, that alone may write to its bucket and use its key to
   encrypt; the bucket says so to everybody else (Deny), whatever their own rights are.
3. No policy asks for If-None-Match: S3 then answers CopyObject 501, header or not
   (docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html).
4. What lies in landing outlives OCP's own retention: a recording that waits for its CDRs, or for a
   person, must not vanish before OCP's copy does. The worker deletes what is stored elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aws_cdk import Aws, CfnDeletionPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from ocp_infra import bucket_rules, settings
from ocp_infra.keys import Keys
from ocp_infra.names import Names
from ocp_infra.settings import Options, Platform

# Where the archive bucket keeps the seals of the days; bootstrap_aws.SHELF_PREFIX.
SEALS: Final = "evidence/"
# Parts of an upload whose process died; workers resume or end theirs within minutes.
_PARTS_DAYS: Final = 2
# Longer than OCP keeps its own copy (rule 4).
LANDING_DAYS_MORE: Final = 30
# Versions that were replaced or deleted: time to notice a mistake.
_OLD_VERSIONS_DAYS: Final = 30
_LANDING_OLD_VERSIONS_DAYS: Final = 7  # the worker deletes every recording here once it is stored


class Buckets(Construct):
    """All buckets; they outlive the stack."""

    def __init__(
        self, scope: Construct, names: Names, options: Options, platform: Platform, keys: Keys
    ) -> None:
        super().__init__(scope, "Buckets")
        self._names, self._options = names, options
        glacier = options.glacier_after_days
        self._logs_bucket()
        landing_days = max(90, platform.retention_days + LANDING_DAYS_MORE)
        for logical, key, rules in (
            ("landing", keys.media, _rules(expire=landing_days, old=_LANDING_OLD_VERSIONS_DAYS)),
            ("quarantine", keys.media, _rules(glacier=glacier)),
            ("state", keys.media, _rules(expire=landing_days)),
        ):
            self._bucket(logical, key, rules)
            self._policy(logical, [])
        self._bucket("archive", keys.archive, _rules(glacier=glacier), options.archive_lock)
        self.lob: dict[str, str] = dict(platform.buckets)
        for lob, logical in self.lob.items():
            self._bucket(logical, keys.lob[lob], _rules(glacier=glacier), options.object_lock)

    def close_archive(self, writer: iam.Role, sealer: iam.Role) -> None:
        """Only these add to the archive, the seals of days `sealer` alone; nobody deletes."""
        arn = self._names.bucket_arn("archive")
        self._policy("archive", [
            bucket_rules.only_writer(arn, writer.role_arn, sealer.role_arn),
            bucket_rules.only_writer(arn, sealer.role_arn, below=SEALS, sid="OnlySealer"),
            *bucket_rules.no_deletion(arn, (), ()),
        ])  # fmt: skip

    def close_lob(self, lob: str, copier: iam.Role, key: kms.IKey) -> None:
        """Only `copier` adds to the bucket of `lob`, under its key alone."""
        logical = self.lob[lob]
        arn = self._names.bucket_arn(logical)
        self._policy(logical, [
            bucket_rules.only_writer(arn, copier.role_arn),
            *bucket_rules.no_deletion(arn, self._options.eraser_roles, [copier.role_arn]),
            *bucket_rules.only_key(arn, key.key_arn),
        ])  # fmt: skip

    def _bucket(
        self,
        logical: str,
        key: kms.IKey | None,
        rules: list[s3.CfnBucket.RuleProperty],
        lock: str = "",
    ) -> s3.CfnBucket:
        locked = settings.lock(lock)
        made = s3.CfnBucket(
            self,
            f"Bucket-{logical}",
            bucket_name=self._names.bucket(logical),
            bucket_encryption=_encryption(key),
            public_access_block_configuration=s3.CfnBucket.PublicAccessBlockConfigurationProperty(
                block_public_acls=True, block_public_policy=True, ignore_public_acls=True,
                restrict_public_buckets=True,
            ),
            ownership_controls=s3.CfnBucket.OwnershipControlsProperty(
                rules=[s3.CfnBucket.OwnershipControlsRuleProperty(
                    object_ownership="BucketOwnerEnforced"
                )]
            ),
            versioning_configuration=s3.CfnBucket.VersioningConfigurationProperty(status="Enabled"),
            lifecycle_configuration=s3.CfnBucket.LifecycleConfigurationProperty(rules=rules),
            logging_configuration=None if logical == "logs" else (
                s3.CfnBucket.LoggingConfigurationProperty(
                    destination_bucket_name=self._names.bucket("logs"),
                    log_file_prefix=f"s3/{logical}/",
                )
            ),
            object_lock_enabled=True if locked else None,
            object_lock_configuration=_lock(*locked) if locked else None,
        )  # fmt: skip
        for number, rule in enumerate(rules):
            if rule.object_size_greater_than is not None:
                # CloudFormation's type is a string, CDK's a number.
                where = f"LifecycleConfiguration.Rules.{number}.ObjectSizeGreaterThan"
                made.add_property_override(where, str(rule.object_size_greater_than))
        made.cfn_options.deletion_policy = CfnDeletionPolicy.RETAIN
        made.cfn_options.update_replace_policy = CfnDeletionPolicy.RETAIN
        if logical != "logs":
            made.node.add_dependency(self._logs_policy)
        return made

    def _policy(self, logical: str, more: Sequence[iam.PolicyStatement]) -> s3.CfnBucketPolicy:
        held = self.node.find_child(f"Bucket-{logical}")
        assert isinstance(held, s3.CfnBucket)
        statements = [bucket_rules.tls_only(held.attr_arn), *more]
        return s3.CfnBucketPolicy(
            self, f"Policy-{logical}", bucket=held.ref,
            policy_document=iam.PolicyDocument(statements=statements),
        )  # fmt: skip

    def _logs_bucket(self) -> None:
        """Access logs; S3 and the load balancer write here in their own name, with SSE-S3 only."""
        kept = 4 * self._options.log_days
        self._bucket("logs", None, _rules(expire=kept, old=_OLD_VERSIONS_DAYS))
        arn = self._names.bucket_arn("logs")
        sources = f"arn:{Aws.PARTITION}:s3:::{self._names.bucket_prefix}*"
        self._logs_policy = self._policy("logs", [
            bucket_rules.log_delivery("logging.s3.amazonaws.com", f"{arn}/s3/*", sources),
            bucket_rules.log_delivery(
                "logdelivery.elasticloadbalancing.amazonaws.com",
                f"{arn}/alb/AWSLogs/{Aws.ACCOUNT_ID}/*",
                self._names.arn("elasticloadbalancing", "loadbalancer/*"),
            ),
        ])  # fmt: skip
        self.logs_policy = self._logs_policy


def _encryption(key: kms.IKey | None) -> s3.CfnBucket.BucketEncryptionProperty:
    default = s3.CfnBucket.ServerSideEncryptionByDefaultProperty(
        sse_algorithm="aws:kms" if key else "AES256",
        kms_master_key_id=key.key_arn if key else None,
    )
    # A bucket key spares a request to KMS, and its price, for every object.
    return s3.CfnBucket.BucketEncryptionProperty(server_side_encryption_configuration=[
        s3.CfnBucket.ServerSideEncryptionRuleProperty(
            server_side_encryption_by_default=default, bucket_key_enabled=True if key else None
        )
    ])  # fmt: skip


def _lock(mode: str, days: int) -> s3.CfnBucket.ObjectLockConfigurationProperty:
    return s3.CfnBucket.ObjectLockConfigurationProperty(
        object_lock_enabled="Enabled",
        rule=s3.CfnBucket.ObjectLockRuleProperty(
            default_retention=s3.CfnBucket.DefaultRetentionProperty(mode=mode, days=days)
        ),
    )


def _rules(
    *, expire: int = 0, glacier: int = 0, old: int = _OLD_VERSIONS_DAYS
) -> list[s3.CfnBucket.RuleProperty]:
    """Lifecycle, in days; 0: never."""
    rules = [
        s3.CfnBucket.RuleProperty(
            id="parts", status="Enabled",
            abort_incomplete_multipart_upload=s3.CfnBucket.AbortIncompleteMultipartUploadProperty(
                days_after_initiation=_PARTS_DAYS
            ),
        ),
        s3.CfnBucket.RuleProperty(
            id="old-versions", status="Enabled",
            noncurrent_version_expiration=s3.CfnBucket.NoncurrentVersionExpirationProperty(
                noncurrent_days=old
            ),
        ),
    ]  # fmt: skip
    if expire:
        rules.append(s3.CfnBucket.RuleProperty(
            id="expire", status="Enabled", expiration_in_days=expire
        ))  # fmt: skip
    if glacier:
        rules.append(s3.CfnBucket.RuleProperty(
            id="glacier", status="Enabled",
            # Smaller objects (the metadata beside a recording) would cost more there than here.
            object_size_greater_than=128 * 1024,
            transitions=[s3.CfnBucket.TransitionProperty(
                storage_class="GLACIER_IR", transition_in_days=glacier
            )],
        ))  # fmt: skip
    return rules
