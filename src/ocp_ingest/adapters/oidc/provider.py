"""Log-in at an OpenID Connect provider: authorization code with PKCE, state and nonce.

    begin      state, nonce and verifier are chance; the caller seals them into a cookie
    (people log in at the provider and come back with a code and the state)
    finish     state as sealed? -> code for tokens, proved by the verifier -> id token checked:
               RS256 by the provider's keys, issuer, audience, time, nonce -> groups to rights

A code works once: when the token endpoint's answer is lost, the person logs in again. Only what
the id token says counts, never what came in the address. OpenID Connect Core 1.0 sections 3.1.2,
3.1.3.7; RFC 7636 (PKCE); RFC 9700 (current practice).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from ocp_ingest.adapters.oidc.settings import Group, OidcSettings
from ocp_ingest.adapters.tokens.checker import check_time, signed_claims
from ocp_ingest.adapters.tokens.keys import UrlKeys
from ocp_ingest.adapters.tokens.secrets import read_secret
from ocp_ingest.core.access import Person, scope_of
from ocp_ingest.core.errors import Denied, Terminal, Transient

ANSWER_BYTES_MAX: Final = 256 * 1024  # tokens with hundreds of groups stay below a tenth
_CHANCE_BYTES: Final = 32  # RFC 7636 4.1: 43 characters, the shortest that is allowed
_KEYS_REFRESH_S_MIN: Final = 30.0
NAME_CHARS_MAX: Final = 200


class Begun(msgspec.Struct, frozen=True):
    """A log-in under way: what must come back, and where the person wanted to go."""

    state: str
    nonce: str
    verifier: str
    next_path: str


class Endpoints(msgspec.Struct, frozen=True):
    """Where the provider does what."""

    authorization: str
    token: str
    jwks: str
    logout: str = ""


class Provider:
    """One provider, and this console as its client."""

    def __init__(
        self, settings: OidcSettings, redirect_uri: str, now_s: Callable[[], float]
    ) -> None:
        """Raises Invalid when the client's secret can't be read."""
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._now_s = now_s
        self._secret = settings.client_secret
        if settings.client_secret_file:
            key = "console.oidc.client_secret_file"
            self._secret = read_secret(Path(settings.client_secret_file), key)
        self._found: Endpoints | None = None
        self._keys: UrlKeys | None = None
        self._finding = asyncio.Lock()

    async def begin(self, next_path: str) -> tuple[str, Begun]:
        """Where to send the person, and what to remember. Raises Transient, Terminal."""
        endpoints = await self._endpoints()
        begun = Begun(_chance(), _chance(), _chance(), next_path)
        challenge = base64.urlsafe_b64encode(sha256(begun.verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return _with_query(endpoints.authorization, query), begun

    async def finish(self, code: str, state: str, begun: Begun) -> Person:
        """Who came back, and what they may do.

        Raises Denied (with `say`, the key of what to tell them), Transient, Terminal.
        """
        if not hmac.compare_digest(state.encode(), begun.state.encode()):
            raise Denied("The log-in's state is not the one that it began with.", say="state")
        id_token = await self._exchange(code, begun.verifier)
        claims = await self._checked(id_token, begun.nonce)
        return self._person(claims)

    async def logout_url(self, back: str) -> str:
        """Where the provider's own session is ended, "" where it has no such place."""
        try:
            place = (await self._endpoints()).logout
        except (Transient, Terminal):
            return ""  # our session has ended whatever the provider does
        client = self._settings.client_id
        names = {"client_id": client, self._settings.logout_back_name: back}
        return _with_query(place, names) if place else ""

    # -- the way -----------------------------------------------------------------------------------

    async def _exchange(self, code: str, verifier: str) -> bytes:
        endpoints = await self._endpoints()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "client_id": self._settings.client_id,
            "code_verifier": verifier,
        }
        headers = {}
        if self._secret:
            # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
            pair = f"{quote(self._settings.client_id, '')}:{quote(self._secret, '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, said = await self._ask("POST", endpoints.token, data=form, headers=headers)
        if status in (401, 403) or said.get("error") in ("invalid_client", "unauthorized_client"):
            raise Terminal(
                "The provider refuses this console: compare `console.oidc.client_id` and its "
                "secret with what it has."
            )
        id_token = said.get("id_token")
        if status != 200 or not isinstance(id_token, str):
            raise Denied("The provider does not take the log-in's code.", say="refused")
        return id_token.encode()

    async def _checked(self, id_token: bytes, nonce: str) -> dict[str, Any]:
        endpoints, settings = await self._endpoints(), self._settings
        if self._keys is None:
            self._keys = UrlKeys(
                endpoints.jwks, refresh_s_min=_KEYS_REFRESH_S_MIN, now_s=self._now_s
            )
        try:
            claims = await signed_claims(id_token, self._keys)
            check_time(claims, self._now_s(), settings.leeway_s)
            self._check_parties(claims)
        except Denied as bad:
            raise Denied(bad.text, say="refused") from bad
        said = claims.get("nonce")
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
            raise Denied("The id token is of another log-in.", say="state")
        return claims

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        client = self._settings.client_id
        if claims.get("iss") != self._settings.issuer:
            raise Denied("The id token is from another issuer.")
        said = claims.get("aud")
        audiences = said if isinstance(said, list) else [said]
        if client not in audiences:
            raise Denied("The id token is for another audience.")
        party = claims.get("azp")
        if (len(audiences) > 1 or party is not None) and party != client:
            raise Denied("The id token was made for another client.")

    def _person(self, claims: Mapping[str, Any]) -> Person:
        name = self._name(claims)
        said = claims.get(self._settings.groups_claim)
        groups = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        mapped = [group for key, group in self._settings.groups.items() if key in groups]
        if not mapped:
            raise Denied("No group of this person may use the console.", say="no_group", name=name)
        return Person(name, mapped[0].role, scope_of(_lobs(mapped)))

    def _name(self, claims: Mapping[str, Any]) -> str:
        for claim in self._settings.name_claims:
            # An address that nobody proved could be somebody else's.
            if claim == "email" and claims.get("email_verified") in (False, "false"):
                continue
            value = claims.get(claim)
            if isinstance(value, str) and value.strip():
                return value.strip()[:NAME_CHARS_MAX]
        raise Denied("The id token names nobody.", say="refused")

    # -- the provider's places ---------------------------------------------------------------------

    async def _endpoints(self) -> Endpoints:
        async with self._finding:
            if self._found is None:
                self._found = await self._discover()
            return self._found

    async def _discover(self) -> Endpoints:
        wanted = self._settings
        if wanted.authorization_url and wanted.token_url and wanted.jwks_url:
            return Endpoints(
                wanted.authorization_url, wanted.token_url, wanted.jwks_url, wanted.logout_url
            )
        place = f"{wanted.issuer.rstrip('/')}/.well-known/openid-configuration"
        status, said = await self._ask("GET", place)
        if status != 200:
            raise Transient("The provider does not say where its log-in is.", retry_after_s=10.0)
        if said.get("issuer") != wanted.issuer:
            raise Terminal("`console.oidc.issuer` is not what the provider calls itself.")

        def found(ours: str, name: str) -> str:
            theirs = said.get(name, "")
            return ours or (theirs if isinstance(theirs, str) else "")

        endpoints = Endpoints(
            found(wanted.authorization_url, "authorization_endpoint"),
            found(wanted.token_url, "token_endpoint"),
            found(wanted.jwks_url, "jwks_uri"),
            found(wanted.logout_url, "end_session_endpoint"),
        )
        if not (endpoints.authorization and endpoints.token and endpoints.jwks):
            raise Terminal("The provider's discovery document names no log-in.")
        return endpoints

    async def _ask(self, method: str, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """One bounded request; no redirect is followed. Raises Transient."""
        timeout = aiohttp.ClientTimeout(total=self._settings.answer_s_max)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, url, allow_redirects=False, **more) as answer,
            ):
                body = await _bounded(answer)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as bad:
            raise Transient(
                f"The log-in's provider does not answer ({type(bad).__name__}).", retry_after_s=5.0
            ) from None
        if status >= 500 or status == 429:
            raise Transient("The log-in's provider is busy or broken.", retry_after_s=5.0)
        try:
            return status, msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.MsgspecError:
            return status, {}


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for block in answer.content.iter_any():
        body += block
        if len(body) > ANSWER_BYTES_MAX:
            raise OSError("the answer is too large")
    return bytes(body)


def _lobs(mapped: list[Group]) -> tuple[str, ...]:
    """The role is that of the first group in the configuration's order that the person is in; the
    lines of business are those of all their groups with this role, so that what one group may see
    never widens what another may do.
    """
    return tuple(lob for group in mapped if group.role == mapped[0].role for lob in group.lobs)


def _chance() -> str:
    return secrets.token_urlsafe(_CHANCE_BYTES)


def _with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
