"""Statements of bucket policies: what a bucket refuses, whoever asks and whatever they may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_iam as iam

# Everything that makes, changes or breaks off an object.
WRITES: Final = (
    "s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectTagging", "s3:PutObjectVersionTagging",
    "s3:PutObjectVersionAcl", "s3:PutObjectRetention", "s3:PutObjectLegalHold",
    "s3:AbortMultipartUpload", "s3:RestoreObject", "s3:ReplicateObject",
)  # fmt: skip
DELETES: Final = (
    "s3:DeleteObject", "s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging",
    "s3:BypassGovernanceRetention",
)  # fmt: skip
_KEY_HEADER: Final = "s3:x-amz-server-side-encryption-aws-kms-key-id"
_SSE_HEADER: Final = "s3:x-amz-server-side-encryption"


def deny(
    sid: str, actions: Sequence[str], resources: Sequence[str],
    conditions: dict[str, dict[str, object]] | None = None,
) -> iam.PolicyStatement:  # fmt: skip
    """A Deny for everybody, services of AWS included."""
    return iam.PolicyStatement(
        sid=sid, effect=iam.Effect.DENY, principals=[iam.AnyPrincipal()], actions=list(actions),
        resources=list(resources), conditions=conditions,
    )  # fmt: skip


def tls_only(arn: str) -> iam.PolicyStatement:
    return deny("TlsOnly", ["s3:*"], [arn, f"{arn}/*"], {"Bool": {"aws:SecureTransport": "false"}})


def only_writer(
    arn: str, *role_arns: str, below: str = "", sid: str = "OnlyWriter"
) -> iam.PolicyStatement:
    """A session's aws:PrincipalArn is its role's ARN; a service has none and is refused too."""
    return deny(
        sid, WRITES, [f"{arn}/{below}*"], {"ArnNotEquals": {"aws:PrincipalArn": list(role_arns)}}
    )


def no_deletion(
    arn: str, erasers: Sequence[str], undoers: Sequence[str]
) -> list[iam.PolicyStatement]:
    """Nobody deletes but `erasers`, roles for erasure on request.

    `undoers` may remove one version by its id: a copier takes back a copy whose checksum turned
    out to be wrong. Lifecycle rules are S3's own and go on.
    """
    return [
        deny("NoDeletion", DELETES, [f"{arn}/*"], _but(erasers)),
        deny("NoVersionDeletion", ["s3:DeleteObjectVersion"], [f"{arn}/*"],
             _but([*erasers, *undoers])),
    ]  # fmt: skip


def _but(roles: Sequence[str]) -> dict[str, dict[str, object]] | None:
    return {"ArnNotEquals": {"aws:PrincipalArn": list(roles)}} if roles else None


def only_key(arn: str, key_arn: str) -> list[iam.PolicyStatement]:
    """Whoever names an encryption names ours; without a name the bucket's default is ours."""
    put = ["s3:PutObject"]
    return [
        deny("OnlyOurKey", put, [f"{arn}/*"],
             {"StringNotEquals": {_KEY_HEADER: key_arn}, "Null": {_KEY_HEADER: "false"}}),
        deny("OnlyKms", put, [f"{arn}/*"],
             {"StringNotEquals": {_SSE_HEADER: "aws:kms"}, "Null": {_SSE_HEADER: "false"}}),
    ]  # fmt: skip


def log_delivery(service: str, resource: str, sources: str) -> iam.PolicyStatement:
    """A service of AWS may write logs here, on behalf of this account's resources only."""
    return iam.PolicyStatement(
        sid="Logs" + "".join(part.capitalize() for part in service.split(".")[:2]),
        principals=[iam.ServicePrincipal(service)],
        actions=["s3:PutObject"],
        resources=[resource],
        conditions={
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
            "ArnLike": {"aws:SourceArn": sources},
        },
    )
