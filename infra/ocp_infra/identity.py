"""Who may call the API, and who may open the console: one Cognito user pool.

machines   one client per client of the platform: OCP and operators' tools fetch tokens with client
           id and secret (client credentials) and present them to the API
people     where the console is served and has no provider of its own: one client, by authorization
           code and PKCE, at Cognito's own pages; users, made by hand, with a second factor; groups

The ids that Cognito gives to clients are known at deployment only, so the environment tells the
processes which id may do what. Tokens of people open no API: they have none of its scopes.
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
# The console reads the id token once, at log-in; Cognito allows no shorter life.
_LOG_IN_MINUTES: Final = 5
CONSOLE_CLIENT: Final = "console"
# What the console's own routes are; a test compares them.
CALLBACK_PATH: Final = "/console/login/provider"
LOGGED_OUT_PATH: Final = "/console/login"


class Identity(Construct):
    """User pool, scopes, clients, token endpoint."""

    def __init__(
        self, scope: Construct, names: Names, options: Options, platform: Platform
    ) -> None:
        super().__init__(scope, "Identity")
        self._platform = platform
        self._has_people = bool(platform.console_url) and not platform.console_elsewhere
        self.pool = cognito.UserPool(
            self, "Pool", user_pool_name=names.prefix, self_sign_up_enabled=False,
            # Can't be changed later, so it is the same with people and without.
            sign_in_aliases=cognito.SignInAliases(username=True, email=True),
            auto_verify=cognito.AutoVerifiedAttrs(email=True),
            account_recovery=cognito.AccountRecovery.EMAIL_ONLY,
            mfa=cognito.Mfa.REQUIRED,
            mfa_second_factor=cognito.MfaSecondFactor(sms=False, otp=True),
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
        self._pages = f"https://{prefix}.auth.{Aws.REGION}.amazoncognito.com"
        self.token_url = f"{self._pages}/oauth2/token"
        self.issuer = f"https://cognito-idp.{Aws.REGION}.{Aws.URL_SUFFIX}/{self.pool.user_pool_id}"
        self.jwks_url = f"{self.issuer}/.well-known/jwks.json"
        self.clients = {
            name: (self._client(name, [scopes[s] for s in allowed]), allowed, group)
            for name, (allowed, group) in platform.clients.items()
        }
        self.people = self._people_client() if self._has_people else None

    def _people_client(self) -> cognito.UserPoolClient:
        """A public client: PKCE proves that who began a log-in ends it; there is no secret."""
        for number, (group, (role, lobs)) in enumerate(self._platform.console_groups.items()):
            cognito.CfnUserPoolGroup(
                self, f"Group-{number}", user_pool_id=self.pool.user_pool_id, group_name=group,
                description=f"Console: {role} of {', '.join(lobs)}".replace(" of *", " of all"),
            )  # fmt: skip
        url = self._platform.console_url
        return self.pool.add_client(
            "Client-people",
            user_pool_client_name=CONSOLE_CLIENT,
            generate_secret=False,
            auth_flows=cognito.AuthFlow(),
            o_auth=cognito.OAuthSettings(
                flows=cognito.OAuthFlows(authorization_code_grant=True),
                scopes=[cognito.OAuthScope.OPENID, cognito.OAuthScope.EMAIL,
                        cognito.OAuthScope.PROFILE],
                callback_urls=[url + CALLBACK_PATH], logout_urls=[url + LOGGED_OUT_PATH],
            ),
            supported_identity_providers=[cognito.UserPoolClientIdentityProvider.COGNITO],
            id_token_validity=Duration.minutes(_LOG_IN_MINUTES),
            access_token_validity=Duration.minutes(_LOG_IN_MINUTES),
            prevent_user_existence_errors=True,
        )  # fmt: skip

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

    def console_environment(self) -> dict[str, str]:
        """Section [console] as variables, for who serves it: the load balancer, and the pool."""
        if not self._platform.console_url:
            return {"OCP_INGEST_CONSOLE__ENABLED": "false"}
        found = {"OCP_INGEST_CONSOLE__PROXIES": "1"}  # the load balancer
        if self.people is None:
            return found
        groups = [
            f'"{name}" = {{ role = "{role}", lobs = {_list(lobs)} }}'
            for name, (role, lobs) in self._platform.console_groups.items()
        ]
        section = "OCP_INGEST_CONSOLE__OIDC__"
        return {
            **found,
            f"{section}ISSUER": self.issuer,
            f"{section}CLIENT_ID": self.people.user_pool_client_id,
            f"{section}GROUPS_CLAIM": "cognito:groups",
            f"{section}NAME_CLAIMS": _list(("email", "cognito:username", "sub")),
            f"{section}LOGOUT_URL": f"{self._pages}/logout",
            f"{section}LOGOUT_BACK_NAME": "logout_uri",
            f"{section}GROUPS": "{ " + ", ".join(groups) + " }",
        }


def _list(words: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
