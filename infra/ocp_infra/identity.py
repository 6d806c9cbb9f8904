"""Who may call the API: a Cognito user pool with one machine client per client of the platform.

There are no users in it: OCP and operators' tools fetch tokens with client id and secret (client
credentials) and present them to the API. The id that Cognito gives to a client is known at
deployment only, so the environment tells the API which id may do what.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_cognito as cognito
from constructs import Construct

from ocp_infra.names import Names
from ocp_infra.settings import ACCOUNT, Options, Platform

SCOPES: Final = {
    "ingest": "Send CDR events and recordings",
    "read": "Read calls, journals and incidents",
    "operate": "Retry, reopen and close",
}
_RESOURCE_SERVER: Final = "ocp-ingest"
# A stolen token is of use for an hour at most; OCP renews its own.
_TOKEN_MINUTES: Final = 60


class Identity(Construct):
    """User pool, scopes, clients, token endpoint."""

    def __init__(
        self, scope: Construct, names: Names, options: Options, platform: Platform
    ) -> None:
        super().__init__(scope, "Identity")
        self.pool = cognito.UserPool(
            self, "Pool", user_pool_name=names.prefix, self_sign_up_enabled=False,
            deletion_protection=options.termination_protection,
            removal_policy=RemovalPolicy.RETAIN,
            password_policy=cognito.PasswordPolicy(
                min_length=16, require_digits=True, require_lowercase=True,
                require_symbols=True, require_uppercase=True,
            ),
        )  # fmt: skip
        scopes = {
            name: cognito.ResourceServerScope(scope_name=name, scope_description=text)
            for name, text in SCOPES.items()
        }
        self._server = self.pool.add_resource_server(
            "Api", identifier=_RESOURCE_SERVER, scopes=list(scopes.values())
        )
        prefix = options.auth_domain.replace(ACCOUNT, Aws.ACCOUNT_ID)
        cognito.CfnUserPoolDomain(
            self, "Domain", user_pool_id=self.pool.user_pool_id, domain=prefix
        )
        self.token_url = f"https://{prefix}.auth.{Aws.REGION}.amazoncognito.com/oauth2/token"
        self.issuer = f"https://cognito-idp.{Aws.REGION}.{Aws.URL_SUFFIX}/{self.pool.user_pool_id}"
        self.jwks_url = f"{self.issuer}/.well-known/jwks.json"
        self.clients = {
            name: (self._client(name, [scopes[s] for s in allowed]), allowed, group)
            for name, (allowed, group) in platform.clients.items()
        }

    def _client(
        self, name: str, scopes: list[cognito.ResourceServerScope]
    ) -> cognito.UserPoolClient:
        return self.pool.add_client(
            f"Client-{name}",
            user_pool_client_name=name,
            generate_secret=True,
            auth_flows=cognito.AuthFlow(),
            o_auth=cognito.OAuthSettings(
                flows=cognito.OAuthFlows(client_credentials=True),
                scopes=[cognito.OAuthScope.resource_server(self._server, s) for s in scopes],
            ),
            access_token_validity=Duration.minutes(_TOKEN_MINUTES),
            prevent_user_existence_errors=True,
        )

    def environment(self) -> dict[str, str]:
        """Section [auth] as variables; the clients by the ids that Cognito gave them."""
        clients = [
            f'"{made.user_pool_client_id}" = {{ scopes = {_list(allowed)}, ocp_group = "{group}" }}'
            for made, allowed, group in self.clients.values()
        ]
        return {
            "OCP_INGEST_AUTH__ISSUER": self.issuer,
            "OCP_INGEST_AUTH__JWKS_URL": self.jwks_url,
            # Cognito's access tokens name the client, not an audience.
            "OCP_INGEST_AUTH__AUDIENCE_CLAIM": "client_id",
            "OCP_INGEST_AUTH__SCOPE_PREFIX": f"{_RESOURCE_SERVER}/",
            "OCP_INGEST_AUTH__CLIENTS": "{ " + ", ".join(clients) + " }",
        }


def _list(words: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
