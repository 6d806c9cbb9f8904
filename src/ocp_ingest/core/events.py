"""What can happen to a call: journal events and their deterministic ids.

Rules
1. An event is immutable; its id is computed from what it says happened, never from when we heard
   of it, so the same fact heard twice is the same event and the journal keeps it once.
2. `(message_type, id)` identifies a dialog's start and end; other vendor messages add their time
   and a hash of the body, because OCP's `id` is the dialog's, shared by start, steps and end
   (ocp-facts 4.6).
3. A different body under the id of a start or end is a variant: a second event, so a correction
   by the vendor is neither lost nor decided by order of arrival.
4. Our own steps are events too. Their ids make a repeated step the same event: one recording
   (dialog and bytes) is received once, inspected once, validated once per epoch, routed once,
   stored once. The first one written stands.
5. `key_at_ms` orders the journal and is part of its key, so it never holds a time of receipt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

Source = Literal["stream", "export", "census", "system", "operator"]
SOURCES: Final[tuple[Source, ...]] = ("stream", "export", "census", "system", "operator")

# kind -> what it says; vendor messages first, then our own steps, then what people decide.
KINDS: Final[dict[str, str]] = {
    "dialog_start": "OCP announced a dialog (of the root dialog: CDR Start)",
    "dialog_end": "OCP closed a dialog (of the root dialog: CDR End)",
    "dialog_step": "OCP reported one step of a dialog",
    "ivr_end": "the automated part of the call ended",
    "other": "OCP sent a message of a type unknown to us; kept as it is",
    "received": "a recording became durable in the landing store",
    "landing_lost": "a recording in the landing store is gone, or its bytes have changed",
    "relanded": "the same recording came again and took the place of the lost one",
    "inspected": "the bytes of a recording were measured and checked",
    "validated": "a recording was held against its call and the rules of its line of business",
    "routed": "the line of business, bucket and key of a recording were pinned",
    "stored": "a recording was proved to be in the bucket of its line of business",
    "export_asked": "the call was put into an export job at OCP",
    "export_answered": "an export job that covered the call gave its answer",
    "closed": "the call was given an outcome without a stored recording",
    "given_up": "what was still missing besides the recording can no longer be had",
    "retried": "an operator asked for the next step to be tried now",
    "reopened": "an operator reopened the call",
    "released": "an operator released a recording from quarantine",
    "accessed": "somebody heard a recording, or saw what is masked or kept as evidence",
}

VENDOR_KINDS: Final = frozenset({"dialog_start", "dialog_end", "dialog_step", "ivr_end", "other"})


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact about one call.

    `at_ms` is when it happened (vendor time for vendor messages, ours for our steps), in epoch
    milliseconds UTC; `data` holds JSON values only; `raw` the vendor's bytes as they came.
    """

    call_id: str
    event_id: str
    kind: str
    at_ms: int
    key_at_ms: int = 0
    source: Source = "system"
    received_at_ms: int = 0
    data: dict[str, Any] = {}
    raw: bytes = b""
    body_hash: str = ""


_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical_hash(value: object) -> str:
    """SHA-256 (hex) of a JSON value's canonical form, so that key order and spaces don't matter."""
    return hashlib.sha256(_ENCODER.encode(value)).hexdigest()


def canonical_data(event: Event) -> bytes:
    """What an event says, as canonical JSON."""
    return _ENCODER.encode(event.data)


def canonical_bytes(event: Event, data: bytes | None = None) -> bytes:
    """All that an event says, without when and how we heard of it, as canonical JSON.

    [call id, event id, kind, time in ms, key time in ms, data, SHA-256 of the raw bytes or ""].
    `data` is `canonical_data` of the event, where it is at hand.
    """
    said = event.data if data is None else msgspec.Raw(data)
    head = [event.call_id, event.event_id, event.kind, event.at_ms, event.key_at_ms, said]
    raw = hashlib.sha256(event.raw).hexdigest() if event.raw else ""
    return _ENCODER.encode([*head, raw])


def content_hash(event: Event, data: bytes | None = None) -> str:
    """SHA-256 (hex) of an event's canonical bytes; `data` as there."""
    return hashlib.sha256(canonical_bytes(event, data)).hexdigest()


def vendor_event_id(kind: str, message_type: str, ident: str, at_ms: int, body_hash: str) -> str:
    """The id of a vendor message: rule 2 above."""
    if kind in ("dialog_start", "dialog_end"):
        return f"{kind}:{ident}"
    # A type unknown to us must not be able to spell the id of another kind's event.
    name = f"other:{message_type}" if kind == "other" else message_type
    return f"{name}:{ident}:{at_ms}:{body_hash[:16]}"


def variant_of(event: Event) -> Event:
    """The same message as a variant: its body differs from the one that already has its id."""
    return msgspec.structs.replace(event, event_id=f"{event.event_id}~{event.body_hash[:16]}")


def _own(
    kind: str, call_id: str, ident: str, at_ms: int, data: Mapping[str, Any], **more: Any
) -> Event:
    said = {k: v for k, v in data.items() if v is not None}
    return Event(
        call_id=call_id,
        event_id=f"{kind}:{ident}",
        kind=kind,
        at_ms=at_ms,
        # As the journal gives it back (no tuples), so that the record of a live event equals the
        # one that a replay builds.
        data=msgspec.json.decode(_ENCODER.encode(said)),
        **more,
    )


def received(
    call_id: str,
    dialog_id: str,
    sha256: str,
    *,
    at_ms: int,
    source: Source,
    size_bytes: int,
    landing_key: str,
    name: str,
    name_parts: Mapping[str, Any] | None = None,
    container: str = "",
    crc64nvme: str | None = None,
    ocp_group: list[Any] | None = None,
) -> Event:
    """A recording is durable in the landing store under `landing_key`.

    `ocp_group`, [priority, name], is what its delivery said, for calls whose CDRs are missing.
    """
    data = {
        "dialog_id": dialog_id,
        "sha256": sha256,
        "bytes": size_bytes,
        "landing_key": landing_key,
        "name": name,
        "name_parts": dict(name_parts or {}),
        "container": container,
        "crc64nvme": crc64nvme,
        "sets": {"ocp_group": ocp_group} if ocp_group is not None else None,
    }
    return _own("received", call_id, f"{dialog_id}:{sha256}", at_ms, data, source=source)


def landing_lost(
    call_id: str, dialog_id: str, sha256: str, *, at_ms: int, landing_key: str, how: str
) -> Event:
    """The bytes under `landing_key` are gone or changed; `how` is a whole sentence."""
    data = {"dialog_id": dialog_id, "sha256": sha256, "landing_key": landing_key, "how": how}
    ident = f"{dialog_id}:{sha256}:{landing_key}"
    return _own("landing_lost", call_id, ident, at_ms, data)


def relanded(
    call_id: str, dialog_id: str, sha256: str, *, at_ms: int, landing_key: str, source: Source
) -> Event:
    """The same bytes are durable again, under `landing_key`."""
    data = {"dialog_id": dialog_id, "sha256": sha256, "landing_key": landing_key}
    ident = f"{dialog_id}:{sha256}:{landing_key}"
    return _own("relanded", call_id, ident, at_ms, data, source=source)


def inspected(
    call_id: str, dialog_id: str, sha256: str, *, at_ms: int, report: Mapping[str, Any]
) -> Event:
    """The bytes were measured: a pure function of them, so it is said once per recording."""
    data = {"dialog_id": dialog_id, "sha256": sha256, "report": dict(report)}
    return _own("inspected", call_id, f"{dialog_id}:{sha256}", at_ms, data)


def validated(
    call_id: str,
    dialog_id: str,
    sha256: str,
    *,
    epoch: int,
    at_ms: int,
    valid: bool,
    problems: list[dict[str, Any]],
    rules: str,
) -> Event:
    """The verdict over a recording; `rules` names the version of the rules that gave it."""
    data = {
        "dialog_id": dialog_id,
        "sha256": sha256,
        "epoch": epoch,
        "valid": valid,
        "problems": problems,
        "rules": rules,
    }
    return _own("validated", call_id, f"{dialog_id}:{sha256}:{epoch}", at_ms, data)


def routed(
    call_id: str, dialog_id: str, sha256: str, *, at_ms: int, lob: str, bucket: str, key: str,
    rule: str,
) -> Event:  # fmt: skip
    """Bucket and key are pinned before the copy; a changed configuration can't make two objects."""
    data = {
        "dialog_id": dialog_id, "sha256": sha256, "lob": lob, "bucket": bucket, "key": key,
        "rule": rule,
    }  # fmt: skip
    return _own("routed", call_id, dialog_id, at_ms, data)


def stored(
    call_id: str, dialog_id: str, sha256: str, *, at_ms: int, lob: str, bucket: str, key: str,
    size_bytes: int, metadata_sha256: str | None = None,
) -> Event:  # fmt: skip
    """The object and its metadata were read back and proved; `metadata_sha256` is the latter's."""
    data = {
        "dialog_id": dialog_id, "sha256": sha256, "lob": lob, "bucket": bucket, "key": key,
        "bytes": size_bytes, "metadata_sha256": metadata_sha256,
    }  # fmt: skip
    return _own("stored", call_id, dialog_id, at_ms, data)


def export_asked(
    call_id: str, job_key: str, *, at_ms: int, window: tuple[int, int], attempt: int
) -> Event:
    """The call is covered by an export job; `job_key` is ours, known before OCP's id is."""
    data = {"job_key": job_key, "from_ms": window[0], "to_ms": window[1], "attempt": attempt}
    return _own("export_asked", call_id, job_key, at_ms, data)


def export_answered(
    call_id: str,
    job_key: str,
    *,
    at_ms: int,
    job_id: str,
    task_id: str,
    window: tuple[int, int],
    found: Mapping[str, bool],
    files: list[dict[str, Any]],
    metadata: Mapping[str, Any],
) -> Event:
    """A finished job's answer for this call.

    `found`: per data type asked for ("audio", "dialog_start", "dialog_end") whether the export
    held it; `files`: {"name", "dialog_id", "sha256", "result"} of each file of this call.
    """
    data = {
        "job_key": job_key,
        "job_id": job_id,
        "task_id": task_id,
        "from_ms": window[0],
        "to_ms": window[1],
        "found": dict(found),
        "files": files,
        "metadata": dict(metadata),
    }
    return _own("export_answered", call_id, job_key, at_ms, data)


Closing = Literal["absent", "quarantined", "lost"]


def closed(
    call_id: str, outcome: Closing, *, epoch: int, at_ms: int, reason: str, code: str = "",
    by: str = "", source: Source = "system",
) -> Event:  # fmt: skip
    """The call needs no more work although nothing is stored; `reason` is a whole sentence.

    `code` is the key of that reason (core.words.WHY); it is part of the id, because a closing that
    new facts made void must not keep the call from being closed again for another reason.
    """
    data = {"outcome": outcome, "reason": reason, "code": code, "epoch": epoch, "by": by or None}
    ident = f"{outcome}:{epoch}:{code}" if code else f"{outcome}:{epoch}"
    return _own("closed", call_id, ident, at_ms, data, source=source)


def given_up(call_id: str, *, epoch: int, at_ms: int, reason: str) -> Event:
    """Missing CDRs are past OCP's retention; the call goes on with what it has."""
    data = {"by": "system", "reason": reason, "epoch": epoch}
    return _own("given_up", call_id, str(epoch), at_ms, data)


def operator(
    kind: Literal["retried", "reopened", "released"],
    call_id: str, *, at_ms: int, who: str, reason: str, dialog_id: str | None = None,
    order: str = "",
) -> Event:  # fmt: skip
    """An operator's act: who and why are part of what it says.

    `order` names the order that it belongs to, for example a bulk job: within one order it is the
    same act whenever it is done, without one each moment's is another.
    """
    data = {"by": who, "reason": reason, "dialog_id": dialog_id, "order": order or None}
    ident = canonical_hash([who, reason, order or at_ms, dialog_id])[:24]
    return _own(kind, call_id, ident, at_ms, data, source="operator")


Accessed = Literal["audio", "raw", "evidence"]

# One sitting with a recording is one access, however often the player asks for a piece of it:
# long enough for a hearing with pauses, short enough that a day's journal tells how often.
ACCESS_SLOT_MS: Final = 15 * 60_000


def accessed(
    call_id: str, *, at_ms: int, who: str, what: Accessed, reason: str,
    dialog_id: str | None = None,
) -> Event:  # fmt: skip
    """Somebody heard or saw what is protected. It says nothing about the call: no record changes.

    The same person for the same reason in the same slot of ACCESS_SLOT_MS is the same event.
    """
    data = {"by": who, "what": what, "reason": reason, "dialog_id": dialog_id}
    ident = canonical_hash([who, what, reason, dialog_id, at_ms // ACCESS_SLOT_MS])[:24]
    return _own("accessed", call_id, ident, at_ms, data, source="operator")
