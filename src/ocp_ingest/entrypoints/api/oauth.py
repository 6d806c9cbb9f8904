"""The built-in issuer over HTTP: POST /oauth2/token (client credentials), the key set.

Only where no other issuer is configured. Errors carry RFC 6749's `error` and `error_description`
beside the members of a problem document.
"""

from __future__ import annotations

import base64
import binascii
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, unquote_plus

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from ocp_ingest.adapters.tokens.issuer import BuiltInIssuer, Refused
from ocp_ingest.entrypoints.api.inbound import Inbound
from ocp_ingest.entrypoints.api.problems import MEDIA_TYPE, TYPE_PREFIX, Answer, Header, NotAllowed
from ocp_ingest.entrypoints.api.reading import answer

FORM_BYTES_MAX: Final = 8 * 1024  # a grant request has a few hundred bytes
ROUTE: Final = "/oauth2/token"
_NO_STORE: Final[tuple[Header, ...]] = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))


async def take_grant(issuer: BuiltInIssuer, request: Inbound) -> Answer:
    """The answer to a request for a token."""
    if request.method != "POST":
        raise NotAllowed("POST")
    body = await request.whole(FORM_BYTES_MAX, "A request for a token")
    basic = request.header(b"authorization").lower().startswith("basic ")
    try:
        form = _form(body)
        if form.get("grant_type") != "client_credentials":
            raise Refused("unsupported_grant_type", "The grant type must be client_credentials.")
        client_id, secret = _credentials(request, form)
        grant = issuer.grant(client_id, secret, form.get("scope"))
    except Refused as refused:
        return _refusal(refused, basic=basic)
    return Answer(200, msgspec.json.encode(grant), _NO_STORE)


def _form(body: bytes) -> dict[str, str]:
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=16)
    except (UnicodeDecodeError, ValueError):
        raise Refused("invalid_request", "The body must be a URL-encoded form.") from None
    if any(len(values) > 1 for values in found.values()):
        raise Refused("invalid_request", "A parameter is there twice.")
    return {key: values[0] for key, values in found.items()}


def _credentials(request: Inbound, form: dict[str, str]) -> tuple[str, str]:
    """Client id and secret, from Basic authentication or the form (RFC 6749 section 2.3.1)."""
    value = request.header(b"authorization")
    if not value:
        if "client_id" not in form or "client_secret" not in form:
            raise Refused("invalid_client", "Send client_id and client_secret.")
        return form["client_id"], form["client_secret"]
    scheme, _, encoded = value.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        text = ""
    client_id, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise Refused("invalid_client", "The Authorization header must be Basic.")
    return unquote_plus(client_id), unquote_plus(secret)


def _refusal(refused: Refused, *, basic: bool) -> Answer:
    denied = refused.error == "invalid_client"
    status = 401 if denied else 400
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + ("denied" if denied else "invalid"),
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": refused.text,
        "instance": ROUTE,
        "code": "denied" if denied else "invalid",
        "error": refused.error,
        "error_description": refused.text,
    }
    scheme = b"Basic" if basic else b"Bearer"
    challenge = ((b"www-authenticate", scheme + b' realm="ocp-ingest"'),) if denied else ()
    headers = (*_NO_STORE, *challenge)
    return Answer(status, msgspec.json.encode(document), headers, MEDIA_TYPE.encode())


def key_set(issuer: BuiltInIssuer) -> HTTPRouteHandler:
    """The handler of the issuer's public keys."""

    @get("/.well-known/jwks.json")
    async def jwks() -> Response[bytes]:
        return answer(issuer.jwks())

    return jwks
