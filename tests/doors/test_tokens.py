"""The checker and its keys: what is remembered, when keys are read again, what is kept secret."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from ocp_ingest.adapters.tokens import checker as checker_module
from ocp_ingest.adapters.tokens.checker import JwtChecker
from ocp_ingest.adapters.tokens.issuer import BuiltInIssuer, issue_token
from ocp_ingest.adapters.tokens.keys import FixedKeys, UrlKeys, parse_keys, pick
from ocp_ingest.adapters.tokens.secrets import write_once
from ocp_ingest.core.errors import Denied, Transient

KEYS = {kid: RSAKey.import_key(rsa.generate_private_key(65_537, 2048)) for kid in ("k1", "k2")}


class Time:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def token(kid: str, ends_s: float, **more: Any) -> bytes:
    """A good token."""
    claims = {"iss": "i", "aud": "a", "client_id": "c", "scope": "ingest", "exp": ends_s, **more}
    claims = {claim: value for claim, value in claims.items() if value is not None}
    return jwt.encode({"alg": "RS256", "kid": kid}, claims, KEYS[kid]).encode()


def public(*kids: str) -> dict[str, Any]:
    """A key set."""
    return {"keys": [{**KEYS[kid].as_dict(private=False), "kid": kid} for kid in kids]}


class Issuer:
    """Serves a key set, counts how often it is asked, fails on demand."""

    def __init__(self) -> None:
        self.kids: tuple[str, ...] = ("k1",)
        self.asked = 0
        self.status = 200
        self.url = ""

    async def answer(self, _: web.Request) -> web.Response:
        """The key set."""
        self.asked += 1
        return web.json_response(public(*self.kids), status=self.status)


@asynccontextmanager
async def issuer() -> AsyncIterator[Issuer]:
    """Serves on a free loopback port."""
    served = Issuer()
    app = web.Application()
    app.router.add_get("/keys", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    served.url = f"http://127.0.0.1:{port}/keys"
    try:
        yield served
    finally:
        await runner.cleanup()


def checker_of(keys: Any, now: Time, **more: Any) -> JwtChecker:
    """A checker of these keys."""
    return JwtChecker(keys, issuer="i", audience="a", now_s=now, **more)


async def test_keys_are_read_again_for_an_unknown_id_at_a_bounded_rate() -> None:
    now = Time()
    async with issuer() as there:
        check = checker_of(UrlKeys(there.url, refresh_s_min=30, now_s=now), now)
        await check.check(token("k1", now.now + 99))
        await check.check(token("k1", now.now + 98))
        assert there.asked == 1
        for _ in range(5):  # made-up ids don't make us hammer the issuer
            with pytest.raises(Denied):
                await check.check(token("k2", now.now + 99))
        assert there.asked == 1
        there.kids = ("k1", "k2")  # the issuer rotates
        now.now += 30
        assert (await check.check(token("k2", now.now + 99))).client_id == "c"
        assert there.asked == 2


async def test_while_the_issuer_is_down_known_keys_hold_and_others_may_try_again() -> None:
    now = Time()
    async with issuer() as there:
        check = checker_of(UrlKeys(there.url, refresh_s_min=30, now_s=now), now)
        await check.check(token("k1", now.now + 999))
        there.status, now.now = 500, now.now + 30
        with pytest.raises(Transient):
            await check.check(token("k2", now.now + 99))
        assert (await check.check(token("k1", now.now + 99))).client_id == "c"


async def test_a_checked_token_is_remembered_for_a_while_and_never_past_its_end() -> None:
    now = Time()
    check = checker_of(FixedKeys({"k1": KEYS["k1"]}), now, cache_s=60.0)
    long, short = token("k1", now.now + 3600), token("k1", now.now + 10)
    assert check.remembered(long) is None
    for each in (long, short):
        await check.check(each)
        assert check.remembered(each) is not None
    now.now += 10
    assert check.remembered(short) is None
    assert check.remembered(long) is not None
    now.now += 50
    assert check.remembered(long) is None


async def test_bad_tokens_are_never_remembered_and_good_ones_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checker_module, "REMEMBERED_MAX", 3)
    now = Time()
    check = checker_of(FixedKeys({"k1": KEYS["k1"]}), now)
    good = [token("k1", now.now + 99 + n) for n in range(5)]
    for each in good:
        await check.check(each)
        with pytest.raises(Denied):
            await check.check(each[:-4] + b"AAAA")
    assert [check.remembered(each) is not None for each in good] == [False, False, True, True, True]


@pytest.mark.parametrize("alg", ["none", "HS256", "RS384", "PS256", "", None, 5])
async def test_another_algorithm_is_refused_before_any_key_is_looked_up(alg: object) -> None:
    class NoKeys:
        async def find(self, kid: str | None) -> RSAKey | None:
            raise AssertionError("a key was looked up")

    head = base64.urlsafe_b64encode(msgspec.json.encode({"alg": alg, "kid": "k1"})).rstrip(b"=")
    with pytest.raises(Denied, match="RS256"):
        await checker_of(NoKeys(), Time()).check(head + b".e30.AAAA")


# Cognito's tokens (developer guide, "the access token"): no `aud`; the client, what the token is
# for, and scopes behind the resource server's name.
COGNITO = {"aud": None, "token_use": "access", "scope": "ocp-ingest/ingest ocp-ingest/read"}


def cognito(now: Time, **more: Any) -> bytes:
    """An access token as Cognito makes it."""
    return token("k1", now.now + 99, **COGNITO | {"client_id": "1h57kf5cpq17m0eml12EXAMPLE"} | more)


def cognito_checker(now: Time) -> JwtChecker:
    """A checker that takes the tokens of one client."""
    return checker_of(
        FixedKeys({"k1": KEYS["k1"]}), now, clients=["1h57kf5cpq17m0eml12EXAMPLE"],
        scope_prefix="ocp-ingest/",
    )  # fmt: skip


async def test_a_token_without_an_audience_is_taken_for_a_configured_client() -> None:
    now = Time()
    caller = await cognito_checker(now).check(cognito(now))
    assert caller.client_id == "1h57kf5cpq17m0eml12EXAMPLE"
    assert caller.scopes == {"ingest", "read"}
    # Issuers that do not say what a token is for are taken too; the client decides.
    assert await cognito_checker(now).check(cognito(now, token_use=None)) == caller


@pytest.mark.parametrize(
    "claims",
    [
        {"client_id": "another"},
        {"client_id": None},
        {"client_id": None, "azp": "1h57kf5cpq17m0eml12EXAMPLE"},
        {"client_id": None, "sub": "1h57kf5cpq17m0eml12EXAMPLE"},
        {"client_id": ["1h57kf5cpq17m0eml12EXAMPLE"]},
        {"token_use": "id"},
        {"token_use": ""},
        {"token_use": 1},
        {"iss": "another"},
        {"client_id": "another", "aud": "a"},
    ],
    ids=str,
)
async def test_no_other_clients_token_and_no_identity_is_taken(claims: dict[str, Any]) -> None:
    now = Time()
    with pytest.raises(Denied):
        await cognito_checker(now).check(cognito(now, **claims))


async def test_where_the_audience_decides_a_client_alone_opens_nothing() -> None:
    now = Time()
    with pytest.raises(Denied, match="audience"):
        await checker_of(FixedKeys({"k1": KEYS["k1"]}), now).check(cognito(now))


@pytest.mark.filterwarnings("ignore:Key size")
def test_only_usable_keys_of_a_set_are_taken() -> None:
    [good] = public("k1")["keys"]
    small = RSAKey.import_key(rsa.generate_private_key(65_537, 1024)).as_dict(private=False)
    keys = [
        good, {**small, "kid": "small"}, {"kty": "oct", "k": "AAAA", "kid": "oct"},
        {**good, "kid": "enc", "use": "enc"}, {**good, "kid": "ps", "alg": "PS256"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"}, {"kty": "RSA", "kid": "bare"},
        "text", None,
    ]  # fmt: skip
    assert set(parse_keys({"keys": keys})) == {"k1"}
    assert parse_keys({"keys": "x"}) == parse_keys({}) == {}


def test_a_token_without_a_key_id_fits_only_where_there_is_no_choice() -> None:
    assert pick({"k1": KEYS["k1"]}, None) is KEYS["k1"]
    assert pick(KEYS, None) is None


def test_the_issuers_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    made = BuiltInIssuer(tmp_path, {}, audience="a", now_s=time.time)
    again = BuiltInIssuer(tmp_path, {}, audience="a", now_s=time.time)
    assert made.kid == again.kid
    [path] = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in str(made.jwks()).encode()
    assert set(made.jwks()["keys"][0]).isdisjoint({"d", "p", "q", "dp", "dq", "qi"})


async def test_a_token_of_the_command_line_opens_every_door(tmp_path: Path) -> None:
    now = Time()
    text = issue_token(tmp_path, 60, audience="a", now_s=now)
    keys = FixedKeys(BuiltInIssuer(tmp_path, {}, audience="a", now_s=now).keys())
    check = JwtChecker(keys, issuer="ocp-ingest", audience="a", now_s=now)
    assert (await check.check(text.encode())).scopes == {"ingest", "read", "operate"}
    now.now += 60
    with pytest.raises(Denied, match="expired"):
        await check.check(text.encode())


def test_of_two_that_write_a_secret_at_once_one_stands(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret"
    assert write_once(path, b"first") == b"first"
    assert write_once(path, b"second") == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["secret"]
