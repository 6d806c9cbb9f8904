"""Who we are to OCP: a personal access token, or a user's login kept fresh (ocp-facts 1).

A login        is got by the password grant, renewed `token_early_s` before its end by its refresh
               token, else by the password grant again, and ended by a logout when we stop
A 401          makes the token that met it invalid, once; others may have renewed it already
One at a time  asks for a token; the others wait for what it gets, a failure included
Refused        is remembered for a minute: haste would lock the account at OCP
A code         of the second factor is used once: the next login waits for the next code

What the login endpoint refuses comes back as Refused(401) with a sentence for the operator, never
as its own 400 or 404, which would look like answers of the Export API. Nothing reached the Export
API then, so every Unavailable is `sent=False`. Tokens are in no repr, log or message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from yarl import URL

from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.adapters.ocp.http import Answer, Http
from ocp_ingest.adapters.ocp.rate import retry_after_s
from ocp_ingest.adapters.ocp.settings import OTP_PERIOD_S, OcpSettings, one_time_password
from ocp_ingest.adapters.ocp.urls import auth_url
from ocp_ingest.adapters.ocp.vendor_text import message_of
from ocp_ingest.adapters.tokens.secrets import read_secret
from ocp_ingest.core.export_job import RateLimited, Refused, Unavailable
from ocp_ingest.telemetry import log

# A refused login is not tried again sooner: identity providers lock accounts after some failures.
REFUSED_S: Final = 60.0
# An unreachable login endpoint: long enough for those who wait at the moment to share the failure.
UNREACHABLE_S: Final = 0.5
# Answers that tell a longer life than a day are not believed: a 401 would end it anyway.
TOKEN_S_MAX: Final = 86_400.0


class Login(Protocol):
    """Makes requests ours."""

    async def headers(self) -> dict[str, str]:
        """The headers of a request. Raises Failed when there is no login to be had."""

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """After a 401 to these headers: whether a second try makes sense. Raises Failed."""

    def secrets(self) -> tuple[str, ...]:
        """What must not be repeated in any text."""

    async def close(self) -> None:
        """Ends the login at OCP, if it can be; never raises Failed."""


class PersonalToken:
    """A personal access token in its own header (ocp-facts 1.13)."""

    def __init__(self, settings: OcpSettings) -> None:
        self._header = settings.personal_access_token_header
        self._token = _secret(settings, "personal_access_token")

    async def headers(self) -> dict[str, str]:
        """The token's header."""
        return {self._header: self._token}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """There is nothing to renew."""
        return False

    def secrets(self) -> tuple[str, ...]:
        """The token."""
        return (self._token,)

    async def close(self) -> None:
        """Nothing was opened."""


class _Held:
    """A token that OCP gave; no repr shows it."""

    __slots__ = ("access", "refresh", "renew_at_s")

    def __init__(self, access: str, refresh: str, renew_at_s: float) -> None:
        self.access = access
        self.refresh = refresh
        self.renew_at_s = renew_at_s


class PasswordLogin:
    """The password grant with refresh and logout (ocp-facts 1.1-1.9)."""

    def __init__(
        self,
        settings: OcpSettings,
        http: Http,
        *,
        wall_s: Callable[[], float],
        steady_s: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._password = _secret(settings, "password")
        self._http = http
        self._wall_s = wall_s
        self._steady_s = steady_s
        self._sleep = sleep
        self._one_at_a_time = asyncio.Lock()
        self._held: _Held | None = None
        self._failure: tuple[float, Failed] | None = None
        self._code_period: int | None = None

    async def headers(self) -> dict[str, str]:
        """The bearer header, renewed when it is due."""
        return _bearer((await self._fresh(refused="")).access)

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Another token than the refused one."""
        _, _, token = refused.get("Authorization", "").partition(" ")
        await self._fresh(refused=token)
        return True

    def secrets(self) -> tuple[str, ...]:
        """Password and tokens."""
        held = (self._held.access, self._held.refresh) if self._held else ()
        return (self._password, *held)

    async def close(self) -> None:
        """Logs out."""
        held, self._held = self._held, None
        if held is not None and held.refresh:
            form = {"client_id": self._settings.client_id, "refresh_token": held.refresh}
            try:
                await self._http.send("POST", self._url("logout"), {}, form=form)
            except Failed as failed:
                log().info("ocp.logout.failed", reason=type(failed.seen).__name__)

    async def _fresh(self, refused: str) -> _Held:
        if (held := self._good(refused)) is not None:
            return held
        async with self._one_at_a_time:
            if (held := self._good(refused)) is not None:  # whoever came first has renewed it
                return held
            if self._failure is not None and self._steady_s() < self._failure[0]:
                raise Failed(self._failure[1].seen)
            try:
                self._held = await self._renewed()
            except Failed as failed:
                self._failure = (self._steady_s() + _memory_s(failed), failed)
                raise
            self._failure = None
            return self._held

    def _good(self, refused: str) -> _Held | None:
        held = self._held
        if held is None or held.access == refused or self._steady_s() >= held.renew_at_s:
            return None
        return held

    async def _renewed(self) -> _Held:
        held, self._held = self._held, None
        if held is not None and held.refresh:
            try:
                grant = {"grant_type": "refresh_token", "refresh_token": held.refresh}
                return await self._grant(grant)
            except Failed as failed:
                if isinstance(failed.seen, RateLimited):
                    self._held = held  # its refresh token was not used
                    raise
        return await self._grant(await self._password_form())

    async def _password_form(self) -> dict[str, str]:
        settings = self._settings
        form = {"grant_type": "password", "username": settings.username, "password": self._password}
        if settings.otp_secret:
            await self._await_unused_code()
        if (code := one_time_password(settings, self._wall_s())) is not None:
            form["otp"] = code
        return form

    async def _await_unused_code(self) -> None:
        if int(self._wall_s() // OTP_PERIOD_S) == self._code_period:
            await self._sleep(OTP_PERIOD_S - self._wall_s() % OTP_PERIOD_S)
        self._code_period = int(self._wall_s() // OTP_PERIOD_S)

    async def _grant(self, form: dict[str, str]) -> _Held:
        form["client_id"] = self._settings.client_id
        asked_at_s = self._steady_s()
        try:
            answer = await self._http.send("POST", self._url("token"), {}, form=form)
        except Failed as failed:
            if isinstance(failed.seen, Refused):
                raise Failed(Refused(401, f"Login: {failed.seen.message}")) from failed
            kind = getattr(failed.seen, "kind", "")
            raise Failed(Unavailable(f"login: {kind}", sent=False)) from failed
        if not 200 <= answer.status < 300:
            raise Failed(self._refusal(answer, form["grant_type"]))
        return self._read(answer, asked_at_s)

    def _refusal(self, answer: Answer, grant: str) -> Refused | RateLimited | Unavailable:
        status = answer.status
        if status == 429:
            told = retry_after_s(
                answer.headers.get("Retry-After"), answer.headers.get("Date"), self._wall_s()
            )
            return RateLimited(told)
        if status >= 500 or status == 408:
            return Unavailable(f"login: http {status}", sent=False)
        said = message_of(answer.body, secrets=self.secrets())
        if grant == "password":
            log().warning("ocp.login.refused", status=status)
        return Refused(401, f"{_advice(status, self._settings)} OCP's login said: {status} {said}")

    def _read(self, answer: Answer, asked_at_s: float) -> _Held:
        try:
            said: Any = msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            said = None
        access = said.get("access_token") if isinstance(said, dict) else None
        if not isinstance(access, str) or not access.isprintable() or not access.isascii():
            raise Failed(Unavailable("login: the answer has no usable access_token", sent=False))
        refresh = said.get("refresh_token")
        life_s = said.get("expires_in")
        known = isinstance(life_s, (int, float)) and 0 < life_s <= TOKEN_S_MAX
        life_s = float(life_s) if known else self._settings.token_ttl_s
        # Half of a short life, or a margin longer than it would renew with each request.
        early_s = min(self._settings.token_early_s, life_s / 2)
        usable = refresh if isinstance(refresh, str) else ""
        return _Held(access, usable, asked_at_s + life_s - early_s)

    def _url(self, which: str) -> URL:
        return auth_url(self._settings, which)


def login_of(
    settings: OcpSettings,
    http: Http,
    *,
    wall_s: Callable[[], float],
    steady_s: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> Login:
    """The login that the settings name. Raises Invalid when a secret's file can't be read."""
    if settings.username:
        return PasswordLogin(settings, http, wall_s=wall_s, steady_s=steady_s, sleep=sleep)
    return PersonalToken(settings)


def _secret(settings: OcpSettings, key: str) -> str:
    file: str = getattr(settings, f"{key}_file")
    text: str = getattr(settings, key)
    return read_secret(Path(file), f"ocp.{key}_file") if file else text


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _memory_s(failed: Failed) -> float:
    match failed.seen:
        case Refused():
            return REFUSED_S
        case RateLimited(retry_after_s=told):
            return min(told or UNREACHABLE_S, REFUSED_S)
        case _:
            return UNREACHABLE_S


def _advice(status: int, settings: OcpSettings) -> str:
    if status == 404:
        return f"There is no realm {settings.realm!r}: check `ocp.realm` and `ocp.auth_url`."
    if status in (400, 401, 403):
        return (
            "The login was refused: check `ocp.username`, `ocp.password`, its second factor "
            "(`ocp.otp_secret`) and `ocp.client_id`."
        )
    return "The login endpoint answers unexpectedly: check `ocp.auth_url` and `ocp.paths.token`."
