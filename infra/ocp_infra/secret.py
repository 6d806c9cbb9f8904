"""Secrets: one JSON object with everything that must not stand in a file, and the console's key.

Secrets Manager makes "number_key" itself (64 characters, seen by nobody); OCP's credentials are
added by hand: {"number_key": "…", "ocp.password": "…"}. The template holds no value. The key must
never change: customers' stand-in ids are made with it, so nothing here may make it anew.

The console's key seals the cookies of all tasks alike. Secrets Manager makes it, Fargate hands it
to the API's tasks when it starts them; made anew, everybody logs in once more.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import CfnDeletionPolicy, RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from ocp_infra.names import Names

_NUMBER_KEY_CHARS: Final = 64
_SESSION_KEY_CHARS: Final = 64


class Secret(Construct):
    """The secret; it outlives the stack."""

    def __init__(self, scope: Construct, names: Names, key: kms.IKey) -> None:
        super().__init__(scope, "Secret")
        made = secretsmanager.CfnSecret(
            self,
            "Secret",
            name=f"{names.prefix}/platform",
            description="ocp-ingest: number_key, and keys of ocp-ingest.toml that are secret",
            kms_key_id=key.key_arn,
            generate_secret_string=secretsmanager.CfnSecret.GenerateSecretStringProperty(
                secret_string_template="{}",  # noqa: S106  (empty: nothing is in the template)
                generate_string_key="number_key",
                password_length=_NUMBER_KEY_CHARS, exclude_punctuation=True,
            ),
        )  # fmt: skip
        made.cfn_options.deletion_policy = CfnDeletionPolicy.RETAIN
        made.cfn_options.update_replace_policy = CfnDeletionPolicy.RETAIN
        self.arn = made.ref


class SessionKey(Construct):
    """The console's key."""

    def __init__(self, scope: Construct, names: Names, key: kms.IKey) -> None:
        super().__init__(scope, "SessionKey")
        self.secret = secretsmanager.Secret(
            self, "Secret", secret_name=f"{names.prefix}/console", encryption_key=key,
            description="ocp-ingest: what the console's cookies are sealed with",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=_SESSION_KEY_CHARS, exclude_punctuation=True
            ),
            removal_policy=RemovalPolicy.RETAIN,
        )  # fmt: skip
