"""Copiers: one role per line of business, the only one that may write to its bucket.

The worker takes a copier's identity for an hour at a time and has no right to any of these buckets
of its own: a mistake in routing is refused by S3, in the caller's policy and in the bucket's.
"""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from constructs import Construct

from ocp_infra import grants
from ocp_infra.buckets import Buckets
from ocp_infra.keys import Keys
from ocp_infra.names import Names


class Copiers(Construct):
    """Roles by the bucket's name as the pipeline knows it."""

    def __init__(
        self, scope: Construct, names: Names, keys: Keys, buckets: Buckets, worker: iam.Role
    ) -> None:
        super().__init__(scope, "Copiers")
        self.by_bucket: dict[str, iam.Role] = {}
        for lob, logical in buckets.lob.items():
            role = iam.Role(
                self, f"Copier-{logical}", assumed_by=iam.ArnPrincipal(worker.role_arn),
                description=f"Stores recordings of the line of business {lob}",
            )  # fmt: skip
            arn, landing = names.bucket_arn(logical), names.bucket_arn("landing")
            for statement in (
                *grants.bucket_write("Recordings", arn),
                *grants.bucket_read("Recordings", arn),
                # Takes back its own copy, by version, when the checksum turns out to be wrong.
                grants.allow("TakeBack", ["s3:DeleteObjectVersion"], [f"{arn}/*"]),
                grants.key("UseRecordingsKey", keys.lob[lob].key_arn, grants.WRITE_KEY, "s3"),
                grants.allow("ReadLanding", ["s3:GetObject"], [f"{landing}/*"]),
                grants.key("UseMediaKey", keys.media.key_arn, grants.READ_KEY, "s3"),
            ):
                role.add_to_policy(statement)
            buckets.close_lob(lob, role, keys.lob[lob])
            self.by_bucket[logical] = role
        worker.add_to_policy(grants.allow(
            "BecomeCopier", ["sts:AssumeRole"], [r.role_arn for r in self.by_bucket.values()]
        ))  # fmt: skip

    def arns(self) -> dict[str, str]:
        """Bucket -> ARN of the role."""
        return {bucket: role.role_arn for bucket, role in self.by_bucket.items()}
