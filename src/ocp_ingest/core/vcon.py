"""A call as an IETF vCon, unsigned form (draft-ietf-vcon-vcon-core-03, syntax 0.4.0). Pure.

vCon         what it holds here
parties      0: the customer, by the customer id, never a number; 1: who answered, by application
dialog       each recording, by reference: url, media type, SHA-512 (which the draft asks for) and
             SHA-256 (which the journal has)
attachments  the journal: every event's canonical bytes as text, so their SHA-256 is the event hash;
             then the chain and the proofs
analysis     what was measured of each recording, and every verdict

The draft asks for an HTTPS address of what is outside. A recording of the embedded runtime has none
and is named by a urn; in a pack, its file is beside.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.call import Call, Recording
from ocp_ingest.core.events import Event, canonical_bytes
from ocp_ingest.core.lifecycle import start_ms
from ocp_ingest.core.view import shown

SYNTAX: Final = "0.4.0"
_MEDIA: Final = {"mp3": "audio/x-mp3"}  # the draft's names; everything else kept is of RIFF's kind
_MS_IN_S: Final = 1000


class Audio(msgspec.Struct, frozen=True):
    """One recording's bytes: where they are and what they hash to ("" where nobody read them)."""

    url: str
    filename: str
    sha512: str = ""  # hex


def vcon(
    call: Call, events: Sequence[Event], audio: Mapping[str, Audio], proofs: Mapping[str, bytes],
    *, issuer: str, created_at_ms: int, names: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """The document. `audio` by SHA-256; `proofs`, name → text; `names` of the events' files."""
    dialogs = sorted(call.recordings) or [call.root_dialog_id]
    return {
        "vcon": SYNTAX,
        "uuid": uuid8(issuer, call.call_id, start_ms(call)),
        "created_at": rfc3339(created_at_ms),
        "subject": f"Call {call.call_id}",
        "parties": _parties(call, issuer),
        "dialog": [_dialog(call, dialog_id, audio) for dialog_id in dialogs],
        "analysis": [
            analysis
            for number, dialog_id in enumerate(dialogs)
            if (analysis := _analysis(call, dialog_id, number)) is not None
        ],
        "attachments": [
            *(_event(event, name) for event, name in zip(events, names, strict=True)),
            *(_proof(name, body, created_at_ms) for name, body in proofs.items()),
        ],
    }


def uuid8(issuer: str, call_id: str, at_ms: int) -> str:
    """A version 8 UUID (RFC 9562): the call's start, then a hash of whose call it is.

    The draft puts a hash of the host name alone into the last bits and chance into the others; here
    all are a hash of host name and call, so that the same call is the same vCon.
    """
    digest = hashlib.sha256(f"vcon {issuer} {call_id}".encode()).digest()
    number = (at_ms & ((1 << 48) - 1)) << 80 | int.from_bytes(digest[:10], "big")
    number = number & ~(0xF << 76) | 8 << 76  # version
    number = number & ~(0b11 << 62) | 0b10 << 62  # variant
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def content_hash(algorithm: str, digest: str) -> str:
    """A ContentHash of the draft (2.2): the algorithm, "-", and the digest in base64url."""
    text = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
    return f"{algorithm}-{text}"


def _parties(call: Call, issuer: str) -> list[dict[str, str]]:
    customer = {"type": "customer", "validation": "none"}
    if call.get("customer_id"):
        customer["uuid"] = str(call.get("customer_id"))
    answered = {"type": "contact centre", "org": issuer}
    if call.get("entry_app"):
        answered["name"] = str(call.get("entry_app"))
        answered["validation"] = "none"
    return [customer, answered]


def _dialog(call: Call, dialog_id: str, held: Mapping[str, Audio]) -> dict[str, Any]:
    recording = call.recordings.get(dialog_id, Recording())
    sha256, version = shown(call, dialog_id, recording)
    report = version.report or {}
    said: dict[str, Any] = {
        "type": "recording",
        "start": rfc3339(start_ms(call)),
        "parties": _channels(report.get("channels")),
        "application": "Omilia Cloud Platform",
    }
    if report.get("duration_ms"):
        said["duration"] = report["duration_ms"] / _MS_IN_S
    if version.name:
        said["filename"] = version.name
    audio = held.get(sha256)
    if audio is not None:
        hashes = [content_hash("sha512", audio.sha512)] if audio.sha512 else []
        said["mediatype"] = _MEDIA.get(str(report.get("container")), "audio/x-wav")
        said["url"] = audio.url
        said["content_hash"] = [*hashes, content_hash("sha256", sha256)]
    return said


def _channels(channels: object) -> list[Any]:
    """Which party is on which channel is not told by OCP: both may be on each."""
    if not isinstance(channels, int) or channels <= 1:
        return [0, 1]
    return [[0, 1] for _ in range(channels)]


def _analysis(call: Call, dialog_id: str, number: int) -> dict[str, Any] | None:
    recording = call.recordings.get(dialog_id)
    if recording is None:
        return None
    versions = {
        sha256: {
            "bytes": version.bytes,
            "source": version.source,
            "received_at": rfc3339(version.received_at_ms) if version.received_at_ms else None,
            "measured": version.report,
            "verdicts": [
                {"at": rfc3339(v.at_ms), "valid": v.valid, "rules": v.rules, "problems": v.problems}
                for _, v in sorted(version.verdicts.items())
            ],
        }
        for sha256, version in recording.versions.items()
    }
    place = recording.stored
    stored = None if place is None else {"at": rfc3339(place.at_ms), "sha256": place.sha256}
    return {
        "type": "report",
        "dialog": number,
        "vendor": "ocp-ingest",
        "schema": "recording-verdicts-1",
        "mediatype": "application/json",
        "encoding": "json",
        "body": {"dialog_id": dialog_id, "versions": versions, "stored": stored},
    }


def _event(event: Event, name: str) -> dict[str, Any]:
    return {
        "purpose": f"journal: {event.kind}",
        "start": rfc3339(event.at_ms),
        "party": 1,
        "dialog": 0,
        "mediatype": "application/json",
        "filename": name,
        "encoding": "none",
        "body": canonical_bytes(event).decode(),
    }


def _proof(name: str, body: bytes, at_ms: int) -> dict[str, Any]:
    return {
        "purpose": "proof",
        "start": rfc3339(at_ms),
        "party": 1,
        "dialog": 0,
        "mediatype": "text/plain",
        "filename": name,
        "encoding": "none",
        "body": body.decode("ascii"),
    }
