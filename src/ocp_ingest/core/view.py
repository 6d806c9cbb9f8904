"""A call as the read API, the console and the CLI show it: one shape, made in one place.

Shape (fixed; design section 7): every key is always there, null where nothing is known yet.
`flags` and all `…_at` are RFC 3339 UTC. `line_of_business` is the pinned one, null before that.
`reason` says why a finished call needs no more work; `next` is null-valued for those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.call import Call, Export, Recording, Version, flags
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import CallPolicy, current, next_work, outcome, stage
from ocp_ingest.core.masking import MASK, mask, mask_raw, mask_sets

UriOf = Callable[[str, str], str]  # bucket, key → where people find the object

# Fields of a report that the view of a recording shows as they are.
_MEASURED: Final = ("duration_ms", "container", "codec", "sample_rate_hz", "channels")


def plain_uri(bucket: str, key: str) -> str:
    """`<bucket>/<key>`, where the runtime has no better address."""
    return f"{bucket}/{key}"


def call_view(call: Call, policy: CallPolicy, uri_of: UriOf = plain_uri) -> dict[str, Any]:
    """The call as JSON values, in the shape of design section 7."""
    done = outcome(call, policy)
    work = None if done is not None else next_work(call, policy)
    return {
        "call_id": call.call_id,
        "ocp_group": call.get("ocp_group"),
        "line_of_business": _lob(call),
        "stage": stage(call),
        "outcome": done.outcome if done else None,
        "reason": done.reason if done else None,
        "flags": {name: rfc3339(at_ms) for name, at_ms in flags(call).items()},
        "call": _facts(call),
        "recordings": [_recording(call, d, r, uri_of) for d, r in sorted(call.recordings.items())],
        "export": _export(call),
        "next": {
            "action": work.action if work else None,
            "at": rfc3339(work.at_ms) if work else None,
        },
    }


def _lob(call: Call) -> str | None:
    place = call.root.stored or call.root.routed
    return place.lob if place else None


def _facts(call: Call) -> dict[str, Any]:
    destination = call.get("destination")
    return {
        "started_at": rfc3339(call.get("call_started")),
        "ivr_ended_at": rfc3339(call.get("ivr_ended")),
        "ivr_duration_ms": call.get("ivr_duration_ms"),
        "ended_at": rfc3339(call.get("call_ended")),
        "duration_ms": call.get("duration_ms"),
        "exit_status": call.get("exit_status"),
        "channel": call.get("channel"),
        "entry_app": call.get("entry_app"),
        # Inbound it is a service number; outbound it is the customer's own.
        "destination": MASK if destination and _is_outbound(call) else destination,
        "customer_id": call.get("customer_id"),
        "session_id": call.get("session_id"),
        "connection_id": call.get("connection_id"),
        "result_codes": dict(call.get("result_codes") or {}),
    }


def _is_outbound(call: Call) -> bool:
    return str(call.get("direction") or "").lower().startswith("out")


def _recording(call: Call, dialog_id: str, recording: Recording, uri_of: UriOf) -> dict[str, Any]:
    sha, version = shown(call, dialog_id, recording)
    report = version.report or {}
    place = recording.stored
    here = place if place is not None and place.sha256 == sha else None
    return {
        "dialog_id": dialog_id,
        "name": version.name or None,
        "bytes": version.bytes,
        "sha256": sha or None,
        "source": version.source or None,
        # Before it is inspected, only the container is known, from the door.
        **{field: report.get(field) for field in _MEASURED},
        "container": report.get("container") or version.container or None,
        "uri": uri_of(here.bucket, here.key) if here else None,
        "problems": problems(version),
    }


def shown(call: Call, dialog_id: str, recording: Recording) -> tuple[str, Version]:
    """The version that people see: the one that counts, else the newest that came."""
    held = current(call, dialog_id)
    if held is not None:
        return held
    came = [(v.received_at_ms, sha) for sha, v in recording.versions.items()]
    sha = max(came, default=(0, ""))[1]
    return sha, recording.versions.get(sha, Version())


def problems(version: Version) -> list[dict[str, Any]]:
    """What inspection and the newest verdict found, in words; each code once, errors first."""
    found = list((version.report or {}).get("problems", ()))
    if version.verdicts:
        found += version.verdicts[max(version.verdicts)].problems
    by_code: dict[str, dict[str, Any]] = {}
    for problem in found:
        by_code.setdefault(str(problem.get("code")), _problem(problem))
    return sorted(by_code.values(), key=lambda p: (p["severity"] != "error", p["code"]))


def _problem(problem: Mapping[str, Any]) -> dict[str, Any]:
    return {key: problem.get(key) for key in ("code", "severity", "text")}


def _export(call: Call) -> dict[str, Any]:
    newest = max(call.exports.values(), key=_export_order, default=None)
    return {
        "job_id": (newest.job_id or None) if newest else None,
        "task_id": (newest.task_id or None) if newest else None,
        "window": [rfc3339(newest.from_ms), rfc3339(newest.to_ms)] if newest else None,
        "attempts": len(call.exports),
        "metadata": dict(newest.metadata) if newest and newest.answered_at_ms else None,
    }


def _export_order(export: Export) -> tuple[int, int]:
    return max(export.asked_at_ms, export.answered_at_ms), export.from_ms


def event_view(event: Event, result_keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A journal event as people see it: numbers and attached data masked, the raw bytes decoded."""
    data = {k: v for k, v in event.data.items() if k != "sets"}
    shown_data = mask(data, result_keys)
    if "sets" in event.data:
        shown_data["sets"] = mask_sets(event.data["sets"])
    return {
        "event_id": event.event_id,
        "kind": event.kind,
        "at": rfc3339(event.at_ms),
        "received_at": rfc3339(event.received_at_ms) if event.received_at_ms else None,
        "source": event.source,
        "data": shown_data,
        "raw": mask_raw(event.raw, result_keys),
        "body_hash": event.body_hash or None,
    }
