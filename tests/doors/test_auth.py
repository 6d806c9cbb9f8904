"""Who may what: every route asks for its scope, and only a good token of ours opens it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from ocp_ingest.entrypoints.api.answers import Problem
from tests.doors.kit import NAME, SECRET, Doors, doors_of, encoded, event, wav

SCOPES = {
    "ingest": [("POST", "/v1/events"), ("POST", "/v1/recordings"), ("PUT", "/v1/recordings")],
    "read": [
        ("GET", "/v1/calls"), ("GET", "/v1/calls/x"), ("GET", "/v1/calls/x/events"),
        ("GET", "/v1/incidents"), ("GET", "/v1/conservation"),
    ],
    "operate": [("POST", "/v1/reconciliations")],
}  # fmt: skip
ROUTES = [(scope, method, path) for scope, routes in SCOPES.items() for method, path in routes]
OPEN = ["/healthz", "/readyz", "/metrics", "/schema/openapi.json", "/.well-known/jwks.json"]


@pytest.mark.parametrize(("scope", "method", "path"), ROUTES)
async def test_every_route_asks_for_a_token_with_its_scope(
    doors: Doors, scope: str, method: str, path: str
) -> None:
    bare = await doors.call(method, path, token=None)
    assert (bare.status, bare.problem().code) == (401, "denied")
    assert bare.headers["WWW-Authenticate"] == 'Bearer realm="ocp-ingest"'

    others = [s for s in SCOPES if s != scope]
    lacking = await doors.call(method, path, token=doors.token(*others))
    assert (lacking.status, lacking.problem().code) == (403, "scope")
    assert 'error="insufficient_scope"' in lacking.headers["WWW-Authenticate"]

    passed = await doors.call(method, path, token=doors.token(scope))
    assert passed.status not in (401, 403)


@pytest.mark.parametrize("path", OPEN)
async def test_what_says_nothing_of_calls_asks_for_no_token(doors: Doors, path: str) -> None:
    assert (await doors.call("GET", path, token=None)).status == 200


async def test_what_a_load_balancer_says_of_a_user_opens_nothing(doors: Doors) -> None:
    """ALB's headers (x-amzn-oidc-*) can be sent by anybody who gets past it."""
    said = {
        "x-amzn-oidc-identity": "ana", "x-amzn-oidc-accesstoken": doors.token("read"),
        "x-amzn-oidc-data": doors.token("read"),
    }  # fmt: skip
    assert (await doors.call("GET", "/v1/calls", token=None, headers=said)).status == 401


def b64(data: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _forged(doors: Doors, alg: str, sign: Callable[[bytes], bytes], **claims: Any) -> str:
    issuer = doors.authority.issuer
    assert issuer is not None
    now = int(time.time())
    body = {
        "iss": "ocp-ingest", "aud": "ocp-ingest", "client_id": "x", "scope": "ingest read operate",
        "exp": now + 600, **claims,
    }  # fmt: skip
    head = b64(encoded({"alg": alg, "kid": issuer.kid, "typ": "JWT"}))
    signed = f"{head}.{b64(encoded({k: v for k, v in body.items() if v is not None}))}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def _own(doors: Doors, **claims: Any) -> str:
    """A token that is signed with our issuer's real key, with any claims."""
    issuer = doors.authority.issuer
    assert issuer is not None
    now = int(time.time())
    body = {
        "iss": "ocp-ingest", "aud": "ocp-ingest", "client_id": "x", "scope": "ingest",
        "exp": now + 600, **claims,
    }  # fmt: skip
    body = {k: v for k, v in body.items() if v is not None}
    return jwt.encode({"alg": "RS256", "kid": issuer.kid}, body, issuer._key)


def _public_pem(doors: Doors) -> bytes:
    issuer = doors.authority.issuer
    assert issuer is not None
    return bytes(next(iter(issuer.keys().values())).as_pem(private=False))


def _strange(doors: Doors) -> str:
    pair = RSAKey.import_key(rsa.generate_private_key(65_537, 2048))
    issuer = doors.authority.issuer
    assert issuer is not None
    claims = {"iss": "ocp-ingest", "aud": "ocp-ingest", "client_id": "x", "scope": "ingest",
              "exp": int(time.time()) + 600}  # fmt: skip
    return jwt.encode({"alg": "RS256", "kid": issuer.kid}, claims, pair)


def _tampered(doors: Doors) -> str:
    head, body, signature = doors.token("read").split(".")
    claims = msgspec.json.decode(base64.urlsafe_b64decode(body + "=="))
    return ".".join([head, b64(encoded({**claims, "scope": "ingest"})), signature])


NOW = int(time.time())
FORGERIES: dict[str, Callable[[Doors], str]] = {
    "garbage": lambda d: "garbage",
    "three-dots": lambda d: "a.b.c",
    "empty-parts": lambda d: "..",
    "none": lambda d: _forged(d, "none", lambda _: b""),
    "None": lambda d: _forged(d, "None", lambda _: b""),
    "hs256-with-public-key": lambda d: _forged(
        d, "HS256", lambda signed: hmac.digest(_public_pem(d), signed, hashlib.sha256)
    ),
    "rs256-without-signature": lambda d: _forged(d, "RS256", lambda _: b""),
    "other-key": _strange,
    "tampered": _tampered,
    "expired": lambda d: _own(d, exp=NOW - 1),
    "no-end": lambda d: _own(d, exp=None),
    "end-is-text": lambda d: _own(d, exp="tomorrow"),
    "not-yet": lambda d: _own(d, nbf=NOW + 600),
    "from-the-future": lambda d: _own(d, iat=NOW + 600),
    "other-audience": lambda d: _own(d, aud="somebody-else"),
    "other-audiences": lambda d: _own(d, aud=["a", "b"]),
    "no-audience": lambda d: _own(d, aud=None),
    "other-issuer": lambda d: _own(d, iss="https://evil.example"),
    "no-issuer": lambda d: _own(d, iss=None),
    "nobody": lambda d: _own(d, client_id=None),
    "huge": lambda d: "x" * 20_000,
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_bad_token_is_401_at_every_door(doors: Doors, name: str) -> None:
    token = FORGERIES[name](doors)
    for path in ("/v1/events", "/v1/recordings", "/v1/calls"):
        method = "GET" if path == "/v1/calls" else "POST"
        reply = await doors.call(method, path, token=token, data=b"{}" if method != "GET" else None)
        assert (reply.status, reply.problem().code) == (401, "denied")
        assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]
        assert token not in reply.body.decode()
    # Senders that are nobody fill no evidence.
    assert await doors.world.evidence.kept() == []


@pytest.mark.parametrize("header", ["Basic b2NwOng=", "Bearer", "Bearer ", "Token abc", ""])
async def test_other_authorization_headers_are_401(doors: Doors, header: str) -> None:
    reply = await doors.call("POST", "/v1/events", headers={"Authorization": header}, data=b"{}")
    assert reply.status == 401


GOOD: dict[str, dict[str, Any]] = {
    "scope-text": {"scope": "openid ingest email"},
    "scp-list": {"scope": None, "scp": ["ingest", "other"]},
    "scp-text": {"scope": None, "scp": "ingest"},
    "audiences": {"aud": ["other", "ocp-ingest"]},
    "azp": {"client_id": None, "azp": "x"},
    "sub": {"client_id": None, "sub": "x"},
    "small-skew": {"iat": NOW + 3, "nbf": NOW + 3},
    "float-end": {"exp": NOW + 600.5},
}


@pytest.mark.parametrize("name", GOOD)
async def test_the_usual_shapes_of_good_tokens_open_the_door(doors: Doors, name: str) -> None:
    token = _own(doors, **GOOD[name])
    reply = await doors.call("POST", "/v1/events", token=token, data=encoded(event()))
    assert reply.status == 200


async def test_a_remembered_token_still_ends_at_its_end(doors: Doors) -> None:
    token = _own(doors, exp=time.time() + 1.0)
    assert (await doors.call("POST", "/v1/events", token=token, data=b"[]")).status == 200
    import asyncio

    await asyncio.sleep(1.1)
    assert (await doors.call("POST", "/v1/events", token=token, data=b"[]")).status == 401


async def test_a_refused_large_upload_still_hears_why(doors: Doors) -> None:
    reply = await doors.call(
        "POST", f"/v1/recordings?name={NAME}", token="x.y.z", data=wav(300)
    )  # 4.8 MB
    assert reply.status == 401


# -- the built-in issuer -------------------------------------------------------------------------


CREDENTIALS = {"grant_type": "client_credentials"}


async def grant(doors: Doors, form: dict[str, str], **headers: str) -> tuple[int, Any, Any]:
    url = f"http://127.0.0.1:{doors.port}/oauth2/token"
    async with doors.session.post(url, data=form, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


@pytest.mark.parametrize("basic", [True, False])
async def test_a_client_gets_a_token_that_opens_its_doors(doors: Doors, basic: bool) -> None:
    if basic:
        proof = base64.b64encode(f"ocp:{SECRET}".encode()).decode()
        said = await grant(doors, CREDENTIALS, Authorization=f"Basic {proof}")
    else:
        form = {**CREDENTIALS, "client_id": "ocp", "client_secret": SECRET}
        said = await grant(doors, form)
    status, body, headers = said
    assert (status, body["token_type"], body["scope"]) == (200, "Bearer", "ingest")
    assert body["expires_in"] == 3600
    assert headers["Cache-Control"] == "no-store"
    token = body["access_token"]
    assert (await doors.call("POST", "/v1/events", token=token, data=b"[]")).status == 200
    assert (await doors.call("GET", "/v1/calls", token=token)).status == 403


REFUSED: dict[str, tuple[dict[str, str], int, str]] = {
    "wrong-secret": ({"client_id": "ocp", "client_secret": "x" * 20}, 401, "invalid_client"),
    "unknown-client": ({"client_id": "who", "client_secret": SECRET}, 401, "invalid_client"),
    "no-secret": ({"client_id": "ocp"}, 401, "invalid_client"),
    "empty-secret": ({"client_id": "ocp", "client_secret": ""}, 401, "invalid_client"),
    "more-scope": (
        {"client_id": "ocp", "client_secret": SECRET, "scope": "read"}, 400, "invalid_scope"),
    "password": ({"grant_type": "password", "username": "a"}, 400, "unsupported_grant_type"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_grant_says_why_in_both_languages(doors: Doors, name: str) -> None:
    form, status, error = REFUSED[name]
    found, body, headers = await grant(doors, {**CREDENTIALS, **form})
    assert (found, body["error"]) == (status, error)
    assert headers["Content-Type"] == "application/problem+json"
    assert msgspec.convert(body, Problem).status == status
    assert ("WWW-Authenticate" in headers) == (status == 401)


async def test_garbage_for_a_grant_is_a_problem(doors: Doors) -> None:
    for body in (b"\xff\xfe", b"{}", b"grant_type=a&grant_type=b", b"x" * 10_000):
        reply = await doors.call("POST", "/oauth2/token", token=None, data=body)
        assert reply.status in (400, 413)
        reply.problem()
    assert (await doors.call("GET", "/oauth2/token", token=None)).status == 405


async def test_the_key_set_is_public_and_nothing_else(doors: Doors) -> None:
    reply = await doors.call("GET", "/.well-known/jwks.json", token=None)
    [key] = reply.json()["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}


# -- an issuer of somebody else ------------------------------------------------------------------


async def test_an_external_issuer_replaces_ours(tmp_path: Path) -> None:
    pair = RSAKey.import_key(rsa.generate_private_key(65_537, 2048))
    public = {**pair.as_dict(private=False), "kid": "k1"}
    keys = tmp_path / "jwks.json"
    keys.write_bytes(encoded({"keys": [public, {"kty": "oct", "k": "AAAA", "kid": "weak"}]}))
    auth = {
        "issuer": "https://idp.example", "jwks_file": str(keys), "scope_prefix": "ocp/",
        "clients": {"partner": {"ocp_group": "group-of-partner"}},
    }  # fmt: skip
    async with doors_of(tmp_path / "data", auth=auth) as doors:
        claims = {"iss": "https://idp.example", "aud": "ocp-ingest", "client_id": "partner",
                  "scope": "ocp/ingest", "exp": int(time.time()) + 60}  # fmt: skip
        good = jwt.encode({"alg": "RS256", "kid": "k1"}, claims, pair)
        sent = encoded(event(flow={"type": "Flow", "parent_step": 0}))
        assert (await doors.call("POST", "/v1/events", token=good, data=sent)).status == 200
        found = await doors.world.calls.page(_query())
        assert found.calls[0].get("ocp_group") == "group-of-partner"
        plain = jwt.encode({"alg": "RS256", "kid": "k1"}, {**claims, "scope": "ingest"}, pair)
        assert (await doors.call("POST", "/v1/events", token=plain, data=sent)).status == 403
        for path in ("/oauth2/token", "/.well-known/jwks.json"):
            assert (await doors.call("GET", path, token=None)).status == 404


def _query() -> Any:
    from ocp_ingest.ports import CallQuery

    return CallQuery()


async def test_while_the_issuers_keys_cannot_be_read_senders_may_try_again(tmp_path: Path) -> None:
    auth = {"issuer": "https://idp.example", "jwks_file": str(tmp_path / "none"), "clients": {}}
    async with doors_of(tmp_path / "data", auth=auth) as doors:
        token = f"{b64(encoded({'alg': 'RS256', 'kid': 'k'}))}.e30.AAAA"
        reply = await doors.call("POST", "/v1/events", token=token, data=b"{}")
        assert (reply.status, reply.problem().code) == (503, "try_again")
        assert "Retry-After" in reply.headers
