"""Logins of the simulated OCP: an OIDC token endpoint's state, and who may see which group.

| Grant | Needs | Gives |
|---|---|---|
| password | client_id, username, password, otp where the user has one | access and refresh token |
| refresh_token | client_id, a refresh token not yet used, out or expired | both anew |
| logout | client_id, refresh token | nothing; tokens of that login are over |

A personal access token needs no login. Times are real seconds: tokens never run by the clock's
scale. No I/O: now and new secrets are arguments.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from ocp_sim import config

TOTP_STEP_S: Final = 30
TOTP_DRIFT_STEPS: Final = 1


class LoginError(Exception):
    """A refused login: HTTP status, OAuth error code, description."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.description = description


class _Token(Struct, frozen=True):
    user: config.User
    login: str
    until_s: float


class Logins:
    """Every token given out and still good."""

    def __init__(self, settings: config.Auth, new_secret: Callable[[], str]) -> None:
        self._settings = settings
        self._new_secret = new_secret
        self._access: dict[str, _Token] = {}
        self._refresh: dict[str, _Token] = {}

    def token(self, form: Mapping[str, str], now_s: float) -> dict[str, Any]:
        """The answer of the token endpoint; raises `LoginError`."""
        self._check_client(form)
        grant = form.get("grant_type")
        if grant == "password":
            return self._give(self._user(form, now_s), self._new_secret(), now_s)
        if grant == "refresh_token":
            old = self._refresh.pop(form.get("refresh_token", ""), None)
            if old is None or old.until_s <= now_s:
                raise LoginError(400, "invalid_grant", "Token is not active")
            return self._give(old.user, old.login, now_s)
        raise LoginError(400, "unsupported_grant_type", "Unsupported grant_type")

    def logout(self, form: Mapping[str, str]) -> None:
        """End the login of a refresh token; raises `LoginError`."""
        self._check_client(form)
        held = self._refresh.get(form.get("refresh_token", ""))
        if held is None:
            raise LoginError(400, "invalid_grant", "Invalid refresh token")
        for tokens in (self._access, self._refresh):
            for text in [t for t, one in tokens.items() if one.login == held.login]:
                del tokens[text]

    def groups(self, headers: Mapping[str, str], now_s: float) -> tuple[str, ...]:
        """The groups that the caller may see; raises `LoginError` 401."""
        kind, _, text = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and text:
            held = self._access.get(text)
            if held is not None and held.until_s > now_s:
                return held.user.groups
            raise LoginError(401, "invalid_token", "The token is unknown or has expired")
        personal = headers.get("X-OCP-PERSONAL-ACCESS-TOKEN", "")
        for one in self._settings.personal_tokens:
            if self._settings.personal_tokens_accepted and hmac.compare_digest(
                one.token.encode(), personal.encode()
            ):
                return one.groups
        raise LoginError(401, "invalid_token", "No token")

    def revoke_access(self) -> None:
        """Every access token is over, as if expired; refresh tokens go on."""
        self._access.clear()

    def _check_client(self, form: Mapping[str, str]) -> None:
        if form.get("client_id") != self._settings.client_id:
            raise LoginError(400, "invalid_client", "Invalid client or client credentials")

    def _user(self, form: Mapping[str, str], now_s: float) -> config.User:
        for user in self._settings.users:
            if user.username == form.get("username") and user.password == form.get("password"):
                if _otp_fits(user, form.get("otp", ""), now_s):
                    return user
                break
        raise LoginError(401, "invalid_grant", "Invalid user credentials")

    def _give(self, user: config.User, login: str, now_s: float) -> dict[str, Any]:
        for tokens in (self._access, self._refresh):
            for text in [t for t, one in tokens.items() if one.until_s <= now_s]:
                del tokens[text]
        access, refresh = self._new_secret(), self._new_secret()
        self._access[access] = _Token(user, login, now_s + self._settings.access_ttl_s)
        self._refresh[refresh] = _Token(user, login, now_s + self._settings.refresh_ttl_s)
        return {
            "access_token": access,
            "expires_in": int(self._settings.access_ttl_s),
            "refresh_token": refresh,
            "refresh_expires_in": int(self._settings.refresh_ttl_s),
            "token_type": "Bearer",
        }


def totp(secret: str, at_s: float) -> str:
    """The six digits of RFC 6238 for a base32 secret."""
    key = base64.b32decode(secret.upper() + "=" * (-len(secret) % 8))
    counter = int(at_s // TOTP_STEP_S).to_bytes(8, "big")
    digest = hmac.new(key, counter, hashlib.sha1).digest()
    offset = digest[-1] & 0x0F
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 10**6:06d}"


def _otp_fits(user: config.User, code: str, now_s: float) -> bool:
    if user.totp_secret:
        drifts = range(-TOTP_DRIFT_STEPS, TOTP_DRIFT_STEPS + 1)
        return code in {totp(user.totp_secret, now_s + drift * TOTP_STEP_S) for drift in drifts}
    return not user.otp or user.otp == code
