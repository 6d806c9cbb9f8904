"""Customer-managed keys: one per kind of data, one per line of business.

data      the table                     messages  queues, alarms, polls, the secret
media     landing, quarantine, state    archive   what happened, for auditors
logs      log groups                    lob       recordings of one line of business each
seals     signs the days' statements; Ed25519, so it does not rotate: old seals stay verifiable

A line of business that is given up is made unreadable for good by deleting its key alone.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Aws, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from ocp_infra.names import Names
from ocp_infra.settings import Platform

# What adapters.aws.signing asks for.
SIGNING_SPEC: Final = "ECC_NIST_EDWARDS25519"


class Keys(Construct):
    """All keys of a deployment; they outlive the stack, or what they encrypted would be lost."""

    def __init__(self, scope: Construct, names: Names, platform: Platform) -> None:
        super().__init__(scope, "Keys")
        self._names = names
        self.data = self._key("Data", "data", "Table")
        self.media = self._key("Media", "media", "Buckets landing, quarantine and state")
        self.archive = self._key("Archive", "archive", "Bucket archive")
        self.messages = self._key("Messages", "messages", "Queues, topic, polls, secret")
        self.logs = self._key("Logs", "logs", "Log groups")
        self.lob = {
            lob: self._key(f"Lob-{lob}", f"lob-{lob}", f"Recordings of {lob}")
            for lob in platform.buckets
        }
        self.seals = self._signing_key()
        self._let_services_in()

    def _signing_key(self) -> kms.Key:
        """Evidence says which key signed; a new key is a new resource, never a rotation."""
        made = kms.Key(
            self, "Seals", alias=f"alias/{self._names.prefix}/seals",
            description=f"{self._names.prefix}: Seals of the days",
            key_spec=kms.KeySpec.ECC_NIST_P256, key_usage=kms.KeyUsage.SIGN_VERIFY,
            removal_policy=RemovalPolicy.RETAIN,
        )  # fmt: skip
        resource = made.node.default_child
        assert isinstance(resource, kms.CfnKey)
        # CDK's list of specs is older than this one (AWS::KMS::Key, KeySpec).
        resource.add_property_override("KeySpec", SIGNING_SPEC)
        return made

    def _key(self, ident: str, alias: str, what: str) -> kms.Key:
        return kms.Key(
            self,
            ident,
            alias=f"alias/{self._names.prefix}/{alias}",
            description=f"{self._names.prefix}: {what}",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.RETAIN,
        )

    def _let_services_in(self) -> None:
        """Services that use a key in their own name, for resources of this account only."""
        self.logs.add_to_resource_policy(iam.PolicyStatement(
            sid="LogGroups",
            principals=[iam.ServicePrincipal(f"logs.{Aws.REGION}.{Aws.URL_SUFFIX}")],
            actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*",
                     "kms:DescribeKey"],
            resources=["*"],
            conditions={"ArnLike": {
                "kms:EncryptionContext:aws:logs:arn": self._names.arn("logs", "log-group:*"),
            }},
        ))  # fmt: skip
        self.messages.add_to_resource_policy(iam.PolicyStatement(
            sid="AlarmsAndBudgets",
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com"),
                        iam.ServicePrincipal("budgets.amazonaws.com")],
            actions=["kms:Decrypt", "kms:GenerateDataKey*"],
            resources=["*"],
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        ))  # fmt: skip
