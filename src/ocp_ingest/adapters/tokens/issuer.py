"""The token issuer of the embedded runtime: client credentials in, RS256 tokens out.

For trying it out and for the simulator, which gets its token here as OCP would at a real issuer.
The key is made at the first start, in the data dir, readable by its owner only.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from ocp_ingest.adapters.tokens.checker import ALGORITHM
from ocp_ingest.adapters.tokens.keys import RSA_BITS_MIN
from ocp_ingest.adapters.tokens.secrets import write_once

KEY_FILE: Final = "token-issuer.pem"
ISSUER: Final = "ocp-ingest"
CLI_CLIENT: Final = "ocp-ingest-cli"
ALL_SCOPES: Final = ("ingest", "read", "operate")


class Grant(msgspec.Struct, frozen=True):
    """What a client gets: RFC 6749 section 5.1."""

    access_token: str
    expires_in: int
    scope: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105


class Refused(Exception):
    """A grant was refused; `error` is a code of RFC 6749 section 5.2."""

    def __init__(self, error: str, text: str) -> None:
        super().__init__(text)
        self.error = error
        self.text = text


class Account(msgspec.Struct, frozen=True):
    """A client as the issuer knows it: the hash of its secret and what it may ask for."""

    secret_sha256: bytes
    scopes: tuple[str, ...]


def account(secret: str, scopes: Iterable[str]) -> Account:
    """An account from a secret, which is not kept."""
    return Account(hashlib.sha256(secret.encode()).digest(), tuple(scopes))


class BuiltInIssuer:
    """Issues tokens for its accounts; `now_s` is real time in seconds."""

    def __init__(
        self, data_dir: Path, accounts: Mapping[str, Account], *, audience: str,
        now_s: Callable[[], float], ttl_s: int = 3600,
    ) -> None:  # fmt: skip
        self._key = _key(data_dir)
        self._accounts = dict(accounts)
        self._audience = audience
        self._now_s = now_s
        self._ttl_s = ttl_s
        # A client that is not there costs the same time as a wrong secret.
        self._nobody = account(secrets.token_hex(), ())

    def keys(self) -> dict[str, RSAKey]:
        """The public key by its id, for the checker in the same process."""
        return {self.kid: RSAKey.import_key(self._key.as_dict(private=False))}

    @property
    def kid(self) -> str:
        """The key's id: its RFC 7638 thumbprint."""
        return str(self._key.thumbprint())

    def jwks(self) -> dict[str, Any]:
        """The key set as `GET /.well-known/jwks.json` gives it; public parts only."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": ALGORITHM}]}

    def grant(self, client_id: str, secret: str, scope: str | None) -> Grant:
        """A token for a client that proves its secret. Raises Refused."""
        held = self._accounts.get(client_id, self._nobody)
        said = hashlib.sha256(secret.encode()).digest()
        if not hmac.compare_digest(said, held.secret_sha256) or held is self._nobody:
            raise Refused("invalid_client", "The client's id or secret is wrong.")
        wanted = tuple(scope.split()) if scope else held.scopes
        if not set(wanted) <= set(held.scopes):
            raise Refused("invalid_scope", f"This client may have: {' '.join(held.scopes)}.")
        return self.issue(client_id, wanted, self._ttl_s)

    def issue(self, client_id: str, scopes: Iterable[str], ttl_s: int) -> Grant:
        """A token without asking who wants it; for the CLI of whoever can read the key."""
        now = int(self._now_s())
        scope = " ".join(scopes)
        claims = {
            "iss": ISSUER, "aud": self._audience, "sub": client_id, "client_id": client_id,
            "scope": scope, "iat": now, "nbf": now, "exp": now + ttl_s,
            "jti": secrets.token_hex(8),
        }  # fmt: skip
        header = {"alg": ALGORITHM, "kid": self.kid}
        return Grant(jwt.encode(header, claims, self._key, algorithms=[ALGORITHM]), ttl_s, scope)


def issue_token(
    data_dir: Path, ttl_s: int, *, audience: str, now_s: Callable[[], float],
    scopes: Iterable[str] = ALL_SCOPES,
) -> str:  # fmt: skip
    """A token of the built-in issuer, for `ocp-ingest token`; makes the key if there is none."""
    issuer = BuiltInIssuer(data_dir, {}, audience=audience, now_s=now_s)
    return issuer.issue(CLI_CLIENT, scopes, ttl_s).access_token


def _key(data_dir: Path) -> RSAKey:
    path = data_dir / KEY_FILE
    pem = path.read_bytes() if path.exists() else write_once(path, _new_pem())
    return RSAKey.import_key(pem)


def _new_pem() -> bytes:
    return rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS_MIN).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
