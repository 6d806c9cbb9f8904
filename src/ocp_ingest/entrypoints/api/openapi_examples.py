"""Examples of the OpenAPI document; a test holds each against its schema."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

_CALL: Final = "a1b2c3.1795342500000.0f1e2d3c4b5a69788796a5b4c3d2e1f0"
_SHA: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_NAME: Final = f"{_CALL}~acc-7~1795342500000~{_CALL}.wav"
_AT: Final = "2026-11-22T10:15:00.000Z"


def _problem(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    return {
        "type": f"/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": "/v1/events",
        "code": code,
        **more,
    }


_CALL_EXAMPLE: Final[dict[str, Any]] = {
    "call_id": _CALL,
    "ocp_group": "acme-es",
    "line_of_business": "sales",
    "stage": "stored",
    "outcome": "stored",
    "reason": f"The recording is in lob-sales at 2026/11/22/{_CALL}/{_CALL}.wav.",
    "flags": {
        "call_started": _AT, "ivr_ended": "2026-11-22T10:16:03.250Z",
        "call_ended": "2026-11-22T10:16:03.250Z", "file_received": "2026-11-22T10:16:09.101Z",
        "post_processed": "2026-11-22T10:16:09.840Z", "stored": "2026-11-22T10:16:09.912Z",
    },
    "call": {
        "started_at": _AT, "ivr_ended_at": "2026-11-22T10:16:03.250Z", "ivr_duration_ms": 63_250,
        "ended_at": "2026-11-22T10:16:03.250Z", "duration_ms": 63_250,
        "exit_status": "completed", "channel": "omIVR", "entry_app": "Reception",
        "destination": "900-100-200", "customer_id": "C-4711",
        "session_id": "6f0c2f0e-4a57-4a0e-9df5-3f1d0f6a7f11", "connection_id": None,
        "result_codes": {"globalResult": "success"},
    },
    "recordings": [{
        "dialog_id": _CALL, "name": _NAME, "bytes": 1_012_044, "sha256": _SHA,
        "source": "stream", "duration_ms": 63_250, "container": "wav", "codec": "pcm_s16le",
        "sample_rate_hz": 8_000, "channels": 1,
        "uri": f"lob-sales/2026/11/22/{_CALL}/{_CALL}.wav", "problems": [],
    }],
    "export": {
        "job_id": None, "task_id": None, "window": None, "attempts": 0, "metadata": None,
    },
    "next": {"action": None, "at": None},
}  # fmt: skip

EXAMPLES: Final[dict[str, Any]] = {
    "events": {"accepted": 1, "new": 1, "duplicates": 0},
    "recording": {
        "call_id": _CALL, "dialog_id": _CALL, "bytes": 1_012_044, "sha256": _SHA,
        "result": "received",
    },
    "recording_again": {
        "call_id": _CALL, "dialog_id": _CALL, "bytes": 1_012_044, "sha256": _SHA,
        "result": "already_received",
    },
    "call": _CALL_EXAMPLE,
    "calls": {"calls": [_CALL_EXAMPLE], "cursor": None},
    "journal": {
        "call_id": _CALL,
        "events": [{
            "event_id": f"dialog_start:{_CALL}", "kind": "dialog_start", "at": _AT,
            "received_at": "2026-11-22T10:15:01.004Z", "source": "stream",
            "data": {"dialog_id": _CALL, "root": True},
            "raw": {"message_type": "dialog_start", "origin_uri": "***"},
            "body_hash": _SHA,
        }],
        "cursor": None,
    },
    "incidents": {"incidents": [{
        "key": "unassigned", "kind": "unassigned", "severity": "warning",
        "text": "Calls match no routing rule.", "opened_at": _AT, "last_at": _AT,
        "closed_at": None, "closed_how": "", "calls": 1, "sample": [_CALL],
    }]},
    "conservation": {
        "started": 200, "stored": 188, "absent": 6, "quarantined": 3, "lost": 0, "in_flight": 3,
        "holds": True,
    },
    "reconciliation": {"due": 3},
    "health": {"status": "ok"},
    "ready": {"ready": True, "checks": {"store": True, "not_stopping": True, "disk": True}},
    "not_ready": {"ready": False, "checks": {"store": True, "not_stopping": True, "disk": False}},
    "token": {
        "access_token": "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "token_type": "Bearer",
        "expires_in": 3600, "scope": "ingest",
    },
    "problem_400": _problem(
        400, "invalid", "The body is not JSON: invalid character (byte 0)."),
    "problem_401": _problem(401, "denied", "The token is expired: get a new one."),
    "problem_403": _problem(403, "scope", "The token lacks the scope `ingest`."),
    "problem_404": _problem(404, "not_found", "There is no call of that id."),
    "problem_405": _problem(405, "method_not_allowed", "This resource takes POST."),
    "problem_409": _problem(
        409, "conflict", "Another recording of this dialog was received before.",
        call_id=_CALL, sha256=_SHA),
    "problem_413": _problem(413, "too_large", "An event may have 256 KiB."),
    "problem_415": _problem(415, "unsupported", "The Content-Encoding must be gzip or none."),
    "problem_422": _problem(
        422, "invalid", "Event 1: Field `id` is missing or empty. 1 of 3 events were refused.",
        index=1, field="id", accepted=2, new=2, refused=1),
    "problem_500": _problem(
        500, "internal", "This is our fault: try again.", reference="5b1e7f0a4c9d2e36"),
    "problem_503": _problem(503, "try_again", "256 uploads are under way."),
}  # fmt: skip

_EVENT: Final = {
    "message_type": "dialog_start", "id": _CALL, "group": _CALL, "time": 1_795_342_500_000,
    "channel": "omIVR", "flow": {"ocp_group_name": "acme-es", "type": "Flow", "parent_step": 0},
}  # fmt: skip
_BINARY: Final = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
_URL_DELIVERY: Final = {
    "name": _NAME,
    "url": "https://files.example.com/r/1.wav",
    "size": 1_012_044,
}

BODIES: Final[dict[str, Any]] = {
    "events": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [
                    {"type": "object"}, {"type": "array", "items": {"type": "object"}},
                ]},
                "examples": {"one": {"value": _EVENT}, "several": {"value": [_EVENT]}},
            },
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    },
    "recordings": {
        "required": True,
        "content": {
            "audio/wav": _BINARY,
            "audio/mpeg": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {"schema": {
                "type": "object",
                "properties": {
                    "metadata": {"type": "string", "contentMediaType": "application/json"},
                    "file": {"type": "string", "contentMediaType": "audio/wav"},
                },
                "required": ["file"],
            }},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"}, "content_type": {"type": "string"},
                        "data": {"type": "string", "contentEncoding": "base64"},
                        "url": {"type": "string", "format": "uri"},
                        "size": {"type": "integer"}, "sha256": {"type": "string"},
                    },
                },
                "examples": {
                    "base64": {"value": {"name": _NAME, "data": "UklGRg=="}},
                    "url": {"value": _URL_DELIVERY},
                },
            },
        },
    },
    "token": {
        "required": True,
        "content": {"application/x-www-form-urlencoded": {"schema": {
            "type": "object",
            "properties": {
                "grant_type": {"type": "string", "const": "client_credentials"},
                "client_id": {"type": "string"}, "client_secret": {"type": "string"},
                "scope": {"type": "string"},
            },
            "required": ["grant_type"],
        }}},
    },
}  # fmt: skip
