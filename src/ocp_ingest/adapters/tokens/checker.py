"""Checks bearer tokens: JWT, RS256 and nothing else, issuer, audience, time, scopes.

Rules
1. The algorithm is ours to choose, never the token's: "none", HS256 and all others are refused
   before any key is looked up.
2. `exp` is required and exact: a sender whose token ended gets a new one. `leeway_s` is for `nbf`
   and `iat` alone, where an issuer's clock that runs ahead would refuse the newest tokens.
3. Whom a token is for says its audience; or, where an issuer writes none (Cognito's access tokens
   have no `aud`), its client: one of those configured, in a token that is for access, no identity.
4. A good token is remembered by its hash for `cache_s` at most and never past its end; a bad one
   is never remembered, so made-up tokens can't push good ones out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError

from ocp_ingest.adapters.tokens.keys import KeySource
from ocp_ingest.core.errors import Denied

ALGORITHM: Final = "RS256"
TOKEN_CHARS_MAX: Final = 16 * 1024  # real ones have 1-4 KiB
REMEMBERED_MAX: Final = 4_096  # callers at once; each entry is about 300 bytes


class Caller(msgspec.Struct, frozen=True):
    """Who calls: the OAuth client (or user) and what it may do."""

    client_id: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Raises Denied (authenticated) when the caller lacks a scope."""
        if scope not in self.scopes:
            raise Denied(f"The token lacks the scope `{scope}`.", authenticated=True)


class TokenChecker(Protocol):
    """Says who a token's bearer is."""

    def remembered(self, token: bytes) -> Caller | None:
        """The caller of a token that was checked a moment ago."""

    async def check(self, token: bytes) -> Caller:
        """The caller. Raises Denied, or Transient while the issuer's keys can't be read."""


class JwtChecker:
    """The checker of both runtimes; where the keys are from is the only difference."""

    def __init__(
        self, keys: KeySource, *, issuer: str, audience: str, now_s: Callable[[], float],
        leeway_s: float = 10.0, cache_s: float = 60.0, scope_prefix: str = "",
        clients: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        """`clients`: the only ones whose tokens are taken, in place of the audience (rule 3)."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._now_s = now_s
        self._leeway_s = leeway_s
        self._cache_s = cache_s
        self._scope_prefix = scope_prefix
        self._clients = None if clients is None else frozenset(clients)
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    def remembered(self, token: bytes) -> Caller | None:
        """The caller of a token that was checked a moment ago."""
        held = self._known.get(hashlib.sha256(token).digest())
        return held[0] if held is not None and self._now_s() < held[1] else None

    async def check(self, token: bytes) -> Caller:
        """The caller. Raises Denied, or Transient while the issuer's keys can't be read."""
        known = self.remembered(token)
        if known is not None:
            return known
        claims = await signed_claims(token, self._keys)
        now_s = self._now_s()
        ends_s = check_time(claims, now_s, self._leeway_s)
        self._check_parties(claims)
        caller = Caller(_client(claims), self._scopes(claims))
        self._remember(token, caller, min(now_s + self._cache_s, ends_s))
        return caller

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        if claims.get("iss") != self._issuer:
            raise Denied("The token is from another issuer.")
        if self._clients is not None:
            self._check_client(claims, self._clients)
            return
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._audience not in audiences:
            raise Denied("The token is for another audience.")

    @staticmethod
    def _check_client(claims: Mapping[str, Any], clients: frozenset[str]) -> None:
        # Cognito's identity tokens are signed with the same key; they prove who, not what for.
        if claims.get("token_use", "access") != "access":
            raise Denied("The token is no access token (`token_use`).")
        client = claims.get("client_id")
        if not isinstance(client, str) or client not in clients:
            raise Denied("The token is for a client that is not configured here.")

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        found: list[str] = []
        for claim in ("scope", "scp"):
            value = claims.get(claim)
            if isinstance(value, str):
                found += value.split()
            elif isinstance(value, list):
                found += [v for v in value if isinstance(v, str)]
        prefix = self._scope_prefix
        return frozenset(s.removeprefix(prefix) for s in found if s.startswith(prefix))

    def _remember(self, token: bytes, caller: Caller, until_s: float) -> None:
        key = hashlib.sha256(token).digest()
        self._known[key] = (caller, until_s)
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)


async def signed_claims(token: bytes, keys: KeySource) -> dict[str, Any]:
    """What a token says, once its signature is good (rule 1). Raises Denied, Transient."""
    if len(token) > TOKEN_CHARS_MAX:
        raise Denied("The token is too long.")
    header = _header(token)
    if header.get("alg") != ALGORITHM:
        raise Denied(f"The token must be signed with {ALGORITHM}.")
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise Denied("The token's key id is no text.")
    key = await keys.find(kid)
    if key is None:
        raise Denied("The token is signed with a key that the issuer does not publish.")
    try:
        return dict(jwt.decode(token, key, algorithms=[ALGORITHM]).claims)
    except (JoseError, ValueError) as bad:
        raise Denied("The token's signature is not valid.") from bad


def check_time(claims: Mapping[str, Any], now_s: float, leeway_s: float) -> float:
    """The end of a token, in epoch seconds (rule 2). Raises Denied before or after its time."""
    ends_s = _number(claims, "exp")
    if ends_s is None:
        raise Denied("The token has no end (`exp`).")
    if now_s >= ends_s:
        raise Denied("The token is expired: get a new one.")
    for claim in ("nbf", "iat"):
        begins_s = _number(claims, claim)
        if begins_s is not None and now_s < begins_s - leeway_s:
            raise Denied("The token is not valid yet: compare the clocks.")
    return ends_s


def _header(token: bytes) -> dict[str, Any]:
    head = token.split(b".", 1)[0]
    try:
        raw = base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4))
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        raise Denied("The token is no JWT.") from None


def _number(claims: Mapping[str, Any], claim: str) -> float | None:
    value = claims.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Denied(f"The token's `{claim}` is no number.")
    return float(value)


def _client(claims: Mapping[str, Any]) -> str:
    for claim in ("client_id", "azp", "sub"):
        value = claims.get(claim)
        if isinstance(value, str) and value:
            return value
    raise Denied("The token names no client (`client_id`, `azp` or `sub`).")
