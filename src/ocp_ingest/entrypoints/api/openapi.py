"""The OpenAPI 3.1 document: made of the answer types and the table of routes below; pure.

A test holds it against the routes that are really served, and real answers against its schemas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ocp_ingest.entrypoints.api import answers as a
from ocp_ingest.entrypoints.api.openapi_examples import BODIES, EXAMPLES
from ocp_ingest.entrypoints.api.problems import CODES, MEDIA_TYPE
from ocp_ingest.entrypoints.api.reading import OUTCOMES

_REF: Final = "#/components/schemas/{name}"
_TYPES: Final = (
    a.Problem, a.EventsTaken, a.RecordingTaken, a.Call, a.Calls, a.Journal, a.Incidents,
    a.Conservation, a.Health, a.Readiness, a.Token,
)  # fmt: skip

# status -> what it means, on every route that can give it
_PROBLEMS: Final[dict[int, str]] = {
    400: "The request can't be taken as it is; `detail` says what to change.",
    401: "The token is missing, bad or expired: get a new one.",
    403: "The token lacks the scope.",
    404: "There is no such thing.",
    405: "The resource does not take this method.",
    409: "Other bytes of this dialog were received before; both are kept. Do not repeat.",
    413: "Over a bound: bytes, events, decompressed bytes.",
    415: "The Content-Encoding is not taken.",
    422: "Single events were refused (`index` is the first); the others were taken.",
    500: "Our fault; `reference` is in our log. Repeat.",
    503: "Busy or not there: repeat after Retry-After.",
}
_READ: Final = (400, 401, 403, 405, 500, 503)
_TAKE: Final = (400, 401, 403, 405, 413, 415, 500, 503)


def document(*, with_issuer: bool) -> bytes:
    """The document as JSON bytes; the issuer's routes only where it is part of the runtime."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template=_REF)
    paths = {path: item for path, item in _paths().items() if with_issuer or path not in _ISSUER}
    body = {
        "openapi": "3.1.0",
        "info": {
            "title": "ocp-ingest",
            "version": "1",
            "description": "Takes call events and recordings from Omilia Cloud Platform to the "
            "bucket of their line of business. Errors are RFC 9457 problem details with one of "
            "the codes " + ", ".join(CODES) + ".",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": n} for n in ("ingest", "calls", "operations", "tokens")],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _security(with_issuer)},
    }
    return msgspec.json.encode(body)


def _security(with_issuer: bool) -> dict[str, Any]:
    bearer = {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "RS256, checked against the issuer's key set; scopes ingest, read, operate.",
    }  # fmt: skip
    if not with_issuer:
        return {"bearer": bearer}
    scopes = {"ingest": "send events and recordings", "read": "read calls",
              "operate": "ask for reconciliations"}  # fmt: skip
    flow = {"clientCredentials": {"tokenUrl": "/oauth2/token", "scopes": scopes}}
    return {"bearer": bearer, "client": {"type": "oauth2", "flows": flow}}


_ISSUER: Final = ("/oauth2/token", "/.well-known/jwks.json")


def _paths() -> dict[str, Any]:
    recordings = {
        "summary": "Deliver one recording: raw bytes, multipart, JSON with base64, JSON with a URL",
        "parameters": [
            _query("name", "File name, where Content-Disposition does not say it."),
            _query("ocp_group", "OCP group of the subscription, for messages that do not say it."),
        ],
        "requestBody": BODIES["recordings"],
    }
    taken = {
        201: ("New; durable.", a.RecordingTaken, "recording"),
        200: ("These bytes were here already.", a.RecordingTaken, "recording_again"),
    }
    call_id = {
        "name": "call_id", "in": "path", "required": True, "schema": {"type": "string"},
        "description": "The dialog group id, percent-encoded.",
    }  # fmt: skip
    return {
        "/v1/events": {
            "post": _operation(
                "takeEvents", "ingest", "ingest", {200: ("Durable.", a.EventsTaken, "events")},
                (*_TAKE, 422),
                summary="Send vendor messages: one object, an array, or NDJSON; gzip is taken",
                parameters=[_query("ocp_group", "OCP group of the subscription.")],
                requestBody=BODIES["events"],
            )
        },
        "/v1/recordings": {
            method: _operation(
                f"{method}Recording", "ingest", "ingest", taken, (*_TAKE, 409), **recordings
            )
            for method in ("post", "put")
        },
        "/v1/calls": {
            "get": _operation(
                "listCalls", "calls", "read", {200: ("A page.", a.Calls, "calls")}, _READ,
                summary="Calls, newest start first", parameters=_CALL_FILTERS,
            )
        },
        "/v1/calls/{call_id}": {
            "get": _operation(
                "getCall", "calls", "read", {200: ("The call.", a.Call, "call")}, (*_READ, 404),
                summary="One call with its flags, recordings, outcome and next action",
                parameters=[call_id],
            )
        },
        "/v1/calls/{call_id}/events": {
            "get": _operation(
                "getJournal", "calls", "read", {200: ("A page.", a.Journal, "journal")},
                (*_READ, 404), summary="The call's journal, masked",
                parameters=[call_id, *_PAGE],
            )
        },
        **_operation_paths(),
    }  # fmt: skip


def _operation_paths() -> dict[str, Any]:
    return {
        "/v1/incidents": {
            "get": _operation(
                "listIncidents", "operations", "read",
                {200: ("Incidents.", a.Incidents, "incidents")}, _READ,
                summary="Root causes that a person must know of",
                parameters=[_query("all", "Closed ones too.", {"type": "boolean"})],
            )
        },
        "/v1/conservation": {
            "get": _operation(
                "getConservation", "operations", "read",
                {200: ("The terms.", a.Conservation, "conservation")}, _READ,
                summary="Whether every call that started is accounted for",
            )
        },
        "/v1/reconciliations": {
            "post": _operation(
                "reconcile", "operations", "operate",
                {202: ("Begun.", None, "reconciliation")},
                (400, 401, 403, 405, 500, 503),
                summary="Look for missing recordings now",
                parameters=[_query("census", "Ask OCP for every call's start of the day before, "
                                   "too.", {"type": "boolean"})],
            )
        },
        "/healthz": {"get": _operation(
            "health", "operations", None, {200: ("Up.", a.Health, "health")}, (),
            summary="The process answers")},
        "/readyz": {"get": _operation(
            "ready", "operations", None,
            {200: ("Ready.", a.Readiness, "ready"), 503: ("Not ready.", a.Readiness, "not_ready")},
            (), summary="The process may be given work")},
        "/metrics": {"get": {
            "operationId": "metrics", "tags": ["operations"], "summary": "Prometheus metrics",
            "security": [],
            "responses": {"200": {"description": "Metrics.", "content": {"text/plain": {
                "schema": {"type": "string"}}}}}}},
        "/schema/openapi.json": {"get": {
            "operationId": "schema", "tags": ["operations"], "summary": "This document",
            "security": [],
            "responses": {"200": {"description": "OpenAPI.", "content": {"application/json": {
                "schema": {"type": "object"}}}}}}},
        "/oauth2/token": {"post": _operation(
            "token", "tokens", None, {200: ("A token.", a.Token, "token")}, (400, 401, 405, 413),
            summary="Client credentials → token (RFC 6749 4.4)", requestBody=BODIES["token"])},
        "/.well-known/jwks.json": {"get": {
            "operationId": "keys", "tags": ["tokens"], "summary": "The issuer's public keys",
            "security": [],
            "responses": {"200": {"description": "JWKS (RFC 7517).", "content": {
                "application/json": {"schema": {"type": "object"}}}}}}},
    }  # fmt: skip


def _query(name: str, text: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "name": name, "in": "query", "required": False, "description": text,
        "schema": schema or {"type": "string"},
    }  # fmt: skip


_PAGE: Final = [
    _query("cursor", "Where the page before ended."),
    _query("limit", "Items of a page.", {"type": "integer", "minimum": 1}),
]
_CALL_FILTERS: Final = [
    _query("stage", "The last flag that is set."),
    _query("outcome", "`none`: still in flight.", {"type": "string", "enum": list(OUTCOMES)}),
    _query("lob", "Line of business."),
    _query("ocp_group", "OCP group."),
    _query("from", "Started at or after; RFC 3339 or a date."),
    _query("to", "Started before; RFC 3339 or a date."),
    *_PAGE,
]

_Answers = Mapping[int, tuple[str, type[msgspec.Struct] | None, str]]


def _operation(
    ident: str, tag: str, scope: str | None, good: _Answers, problems: tuple[int, ...],
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    responses = {str(status): _good(*said) for status, said in good.items()}
    responses |= {str(status): _bad(status) for status in sorted(problems)}
    return {
        "operationId": ident,
        "tags": [tag],
        **more,
        "security": [{"bearer": [scope]}] if scope else [],
        "responses": responses,
    }


def _good(text: str, kind: type[msgspec.Struct] | None, example: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name=kind.__name__)} if kind else {"type": "object"}
    content = {"schema": schema, "example": EXAMPLES[example]}
    return {"description": text, "content": {"application/json": content}}


def _bad(status: int) -> dict[str, Any]:
    content = {
        "schema": {"$ref": _REF.format(name="Problem")},
        "example": EXAMPLES.get(f"problem_{status}", EXAMPLES["problem_400"]),
    }
    found: dict[str, Any] = {
        "description": _PROBLEMS[status],
        "content": {MEDIA_TYPE: content},
    }
    if status == 503:
        found["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "s"}}
    if status == 401:
        found["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return found
