"""Whose tokens are taken; section `[auth]` of the configuration."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Scope = Literal["ingest", "read", "operate"]
SCOPES: Final[tuple[Scope, ...]] = ("ingest", "read", "operate")


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[auth.clients.<id>]`: an OAuth client; the secret is for the built-in issuer only."""

    secret: str = ""
    secret_file: str = ""
    scopes: tuple[Scope, ...] = ("ingest",)
    # OCP group of messages that do not say theirs (ocp-facts 10.2).
    ocp_group: str = ""

    def __repr__(self) -> str:
        """What it may do, and not its secret."""
        return f"Client(scopes={self.scopes!r}, ocp_group={self.ocp_group!r})"


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[auth]`: whose tokens are taken. Without an issuer, this process issues them itself."""

    issuer: str = ""
    audience: str = "ocp-ingest"
    # Where a token says whom it is for. Cognito's access tokens have no `aud`: with "client_id" the
    # token's client must be one of `clients`, and the token an access token, instead.
    audience_claim: Literal["aud", "client_id"] = "aud"
    jwks_url: str = ""
    jwks_file: str = ""
    # What an issuer puts before our scopes (Cognito: "<resource server>/").
    scope_prefix: str = ""
    # An issuer's clock may run ahead of ours by so much; the end of a token is exact.
    leeway_s: float = 10.0
    # A token's check is remembered so long: RS256 per event would be most of the work.
    cache_s: float = 60.0
    # Keys are fetched anew for an unknown key id, never more often than this.
    jwks_refresh_s_min: float = 30.0
    # Lifetime of tokens of the built-in issuer.
    token_ttl_s: int = 3600
    clients: dict[str, Client] = {}
