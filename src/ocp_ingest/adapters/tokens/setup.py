"""From the `[auth]` section to a checker, and to the issuer where we are our own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ocp_ingest.adapters.tokens.checker import JwtChecker, TokenChecker
from ocp_ingest.adapters.tokens.issuer import ISSUER, Account, BuiltInIssuer, account
from ocp_ingest.adapters.tokens.keys import FileKeys, FixedKeys, KeySource, UrlKeys
from ocp_ingest.adapters.tokens.secrets import read_secret
from ocp_ingest.adapters.tokens.settings import Auth, Client


class Authority(msgspec.Struct, frozen=True):
    """Who checks tokens, and the built-in issuer unless somebody else issues them."""

    checker: TokenChecker
    issuer: BuiltInIssuer | None


def authority(auth: Auth, data_dir: Path, now_s: Callable[[], float] = time.time) -> Authority:
    """The authority that a configuration asks for. Raises Invalid for an unreadable secret."""
    issuer: BuiltInIssuer | None = None
    keys: KeySource
    refresh_s_min = auth.jwks_refresh_s_min
    if auth.jwks_url:
        keys = UrlKeys(auth.jwks_url, refresh_s_min=refresh_s_min, now_s=now_s)
    elif auth.jwks_file:
        keys = FileKeys(Path(auth.jwks_file), refresh_s_min=refresh_s_min, now_s=now_s)
    else:
        accounts = {name: _account(name, client) for name, client in auth.clients.items()}
        issuer = BuiltInIssuer(
            data_dir, accounts, audience=auth.audience, now_s=now_s, ttl_s=auth.token_ttl_s
        )
        keys = FixedKeys(issuer.keys())
    checker = JwtChecker(
        keys,
        issuer=auth.issuer or ISSUER,
        audience=auth.audience,
        now_s=now_s,
        leeway_s=auth.leeway_s,
        cache_s=auth.cache_s,
        scope_prefix=auth.scope_prefix if auth.issuer else "",
        clients=tuple(auth.clients) if auth.audience_claim == "client_id" else None,
    )
    return Authority(checker, issuer)


def _account(name: str, client: Client) -> Account:
    if client.secret_file:
        secret = read_secret(Path(client.secret_file), f"auth.clients.{name}.secret_file")
    else:
        secret = client.secret
    return account(secret, client.scopes)
