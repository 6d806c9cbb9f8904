"""An OpenID Connect provider over real HTTP: discovery, authorization, token, keys; faults told."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

KEY = RSAKey.generate_key(2048, {"kid": "k1"}, auto_kid=False)
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "k1"}, auto_kid=False)
CLIENT, SECRET = "console", "s3cret/+of the client"


@dataclass
class FakeProvider:
    """The provider: whom it lets in, and what it does wrong."""

    url: str = ""
    claims: dict[str, Any] = field(
        default_factory=lambda: {"sub": "u-1", "email": "ana@example.com", "groups": ["night"]}
    )
    signer: RSAKey = field(default_factory=lambda: KEY)
    alg: str = "RS256"
    token_status: int = 200
    token_body: bytes | None = None
    discovery: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def authorize(self, query: dict[str, str]) -> str:
        """A person logs in: the code that they take back."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        return code

    async def _discovery(self, _: web.Request) -> web.Response:
        self.asked.append("discovery")
        document = {
            "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/jwks",
            "end_session_endpoint": f"{self.url}/logout?x=1",
        }  # fmt: skip
        return web.json_response(document | self.discovery)

    async def _keys(self, _: web.Request) -> web.Response:
        self.asked.append("jwks")
        return web.json_response({"keys": [KEY.as_dict(private=False) | {"use": "sig"}]})

    async def _token(self, request: web.Request) -> web.Response:
        self.asked.append("token")
        form = await request.post()
        if self.token_body is not None or self.token_status != 200:
            return web.Response(status=self.token_status, body=self.token_body or b"{}")
        scheme, _, pair = request.headers["Authorization"].partition(" ")
        login, _, secret = base64.b64decode(pair).decode().partition(":")
        assert (scheme, unquote(login), unquote(secret)) == ("Basic", CLIENT, SECRET)
        begun = self.codes.pop(str(form["code"]), None)
        if begun is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        verifier = str(form["code_verifier"])
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        assert challenge.decode().rstrip("=") == begun["code_challenge"]
        assert form["redirect_uri"] == begun["redirect_uri"]
        assert len(verifier) >= 43
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300,
                  "nonce": begun["nonce"]} | self.claims  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        token = jwt.encode({"alg": self.alg, "kid": "k1"}, claims, self.signer,
                           algorithms=[self.alg])  # fmt: skip
        return web.json_response({"id_token": token, "access_token": "x", "token_type": "Bearer"})


@asynccontextmanager
async def provider(port: int = 0) -> AsyncIterator[FakeProvider]:
    """A provider that listens within the `async with`; on a free port unless told which."""
    fake = FakeProvider()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", fake._discovery)
    app.router.add_get("/jwks", fake._keys)
    app.router.add_post("/token", fake._token)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    assert runner.addresses
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()
