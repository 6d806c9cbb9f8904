"""Where people log in, and what they may do; section `[console.oidc]` of the configuration."""

from __future__ import annotations

from typing import Literal

import msgspec


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[console.oidc.groups.<group>]`: what the members of a provider's group may do."""

    role: Literal["viewer", "operator", "auditor"]
    # Lines of business they see; "*" is all.
    lobs: tuple[str, ...] = ()


class OidcSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[console.oidc]`: log-in at a provider, by authorization code with PKCE. No issuer: none."""

    issuer: str = ""
    # "" = as the issuer's /.well-known/openid-configuration says.
    authorization_url: str = ""
    token_url: str = ""
    jwks_url: str = ""
    # Where a log-out ends the provider's session too; "" = as discovered, or nowhere.
    logout_url: str = ""
    # What the provider calls the address that it sends people back to ("post_logout_redirect_uri"
    # by the standard; Cognito: "logout_uri").
    logout_back_name: str = "post_logout_redirect_uri"
    client_id: str = ""
    # "" = a public client, which PKCE alone protects.
    client_secret: str = ""
    client_secret_file: str = ""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    # Claims of the id token. Cognito's groups are in "cognito:groups".
    name_claims: tuple[str, ...] = ("email", "preferred_username", "sub")
    groups_claim: str = "groups"
    # The provider's clock may run ahead of ours by so much; the end of a token is exact.
    leeway_s: float = 10.0
    # Longest wait for one answer of the provider.
    answer_s_max: float = 10.0
    groups: dict[str, Group] = {}

    def __repr__(self) -> str:
        """Whose it is, and not its secret."""
        return f"OidcSettings(issuer={self.issuer!r}, client_id={self.client_id!r})"


def configured(settings: OidcSettings) -> bool:
    """Whether people can log in at a provider."""
    return bool(settings.issuer)


def lacking(settings: OidcSettings) -> list[str]:
    """What is half-set, in sentences that name the key."""
    where = "console.oidc"
    if not settings.issuer:
        keys = ("client_id", "authorization_url", "token_url", "jwks_url")
        half = [key for key in keys if getattr(settings, key)]
        return [f"`{where}.{half[0]}` is set without `{where}.issuer`."] if half else []
    found = []
    if not settings.client_id:
        found.append(f"`{where}.client_id` is missing: as whom does the console ask the provider?")
    if not settings.groups:
        found.append(f"`{where}.groups` is empty: nobody could use the console.")
    if settings.client_secret and settings.client_secret_file:
        found.append(
            f"`{where}.client_secret` and `{where}.client_secret_file` exclude each other: keep "
            "one."
        )
    if "openid" not in settings.scopes:
        found.append(f'`{where}.scopes` needs "openid": without it there is no id token.')
    if not settings.name_claims:
        found.append(f"`{where}.name_claims` is empty: nobody would have a name.")
    for group, rights in settings.groups.items():
        if not rights.lobs:
            found.append(f'`{where}.groups.{group}.lobs` is empty: name lines of business, or "*".')
    return found
