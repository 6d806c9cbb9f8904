"""Events for the contract tests: CDRs through the real parser, our own steps as they are."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from ocp_ingest.core import events
from ocp_ingest.core.events import Event
from ocp_ingest.core.vendor import Context, VendorMapping, parse

T0: Final = 1_790_000_000_000
HOUR_MS: Final = 3_600_000
SHA: Final = hashlib.sha256(b"audio").hexdigest()
OTHER_SHA: Final = hashlib.sha256(b"other audio").hexdigest()

_MAPPING: Final = VendorMapping()


def cdr(kind: str, call: str = "c1", at_ms: int = T0, group: str = "g1", **more: Any) -> Event:
    """A vendor message of the root dialog; `more` are further fields of it."""
    body = {
        "message_type": kind, "id": call, "group": call, "time": at_ms,
        "flow": {"ocp_group_name": group, "parent_step": 0, "type": "Flow"}, **more,
    }  # fmt: skip
    event = parse(body, msgspec.json.encode(body), _MAPPING, Context(received_at_ms=1)).event
    assert event is not None
    return event


def start(call: str = "c1", at_ms: int = T0, **more: Any) -> Event:
    """CDR Start."""
    return cdr("dialog_start", call, at_ms, **more)


def end(call: str = "c1", at_ms: int = T0, **more: Any) -> Event:
    """CDR End; `at_ms` is the call's start, as OCP has it."""
    return cdr("dialog_end", call, at_ms, **{"duration": 60_000, **more})


def unknown(call: str = "c1", number: int = 0) -> Event:
    """A message of a type that we do not know."""
    return cdr("call_mood", call, mood=number)


def received(call: str = "c1", sha: str = SHA, at_ms: int = T0 + 90_000) -> Event:
    """A recording of the root dialog became durable."""
    return events.received(
        call, call, sha, at_ms=at_ms, source="stream", size_bytes=5, landing_key=f"la/{sha[:8]}",
        name=f"{call}.wav",
    )  # fmt: skip


def inspected(call: str = "c1", sha: str = SHA, *problems: str) -> Event:
    """It was measured; `problems` are codes of errors."""
    found = [{"code": code, "severity": "error", "text": code} for code in problems]
    report = {"duration_ms": 60_000, "problems": found}
    return events.inspected(call, call, sha, at_ms=T0 + 91_000, report=report)


def validated(call: str = "c1", sha: str = SHA, *, valid: bool = True, epoch: int = 0) -> Event:
    """It was held against its call."""
    return events.validated(
        call, call, sha, epoch=epoch, at_ms=T0 + 92_000, valid=valid, problems=[], rules="1"
    )


def routed(call: str = "c1", sha: str = SHA, lob: str = "sales") -> Event:
    """Its place was pinned."""
    return events.routed(
        call, call, sha, at_ms=T0 + 93_000, lob=lob, bucket=lob, key=f"k/{call}.wav", rule="r"
    )


def stored(call: str = "c1", sha: str = SHA, lob: str = "sales") -> Event:
    """It was proved to be there."""
    return events.stored(
        call, call, sha, at_ms=T0 + 94_000, lob=lob, bucket=lob, key=f"k/{call}.wav", size_bytes=5
    )


def life(call: str = "c1", at_ms: int = T0, **more: Any) -> list[Event]:
    """Every event of a call that ends stored."""
    return [
        start(call, at_ms, **more), end(call, at_ms, **more), received(call), inspected(call),
        validated(call), routed(call), stored(call),
    ]  # fmt: skip


def lost(call: str = "c1", epoch: int = 0) -> Event:
    """It was closed without a recording."""
    return events.closed(call, "lost", epoch=epoch, at_ms=T0 + 95_000, reason="Retention is over.")


def asked(call: str = "c1", job: str = "j1") -> Event:
    """It was put into an export job."""
    return events.export_asked(
        call, job, at_ms=T0 + 3 * HOUR_MS, window=(T0, T0 + HOUR_MS), attempt=1
    )


def answered(call: str = "c1", job: str = "j1", **found: bool) -> Event:
    """The export job answered."""
    return events.export_answered(
        call, job, at_ms=T0 + 4 * HOUR_MS, job_id="77", task_id="t", window=(T0, T0 + HOUR_MS),
        found=found or {"audio": False}, files=[], metadata={},
    )  # fmt: skip


def reopened(call: str = "c1", at_ms: int = T0 + 5 * HOUR_MS) -> Event:
    """An operator reopened it."""
    return events.operator("reopened", call, at_ms=at_ms, who="ana", reason="found a copy")


def pool(call: str) -> list[Event]:
    """Events of every kind about one call, among them variants, bad audio and reopening."""
    return [
        *life(call),
        start(call, channel="voice"), start(call, at_ms=T0 + 5), end(call, duration=1_000),
        end(call, group="undefined"), cdr("dialog_step", call, T0 + 7, step=1),
        cdr("ivr_end", call, T0 + 9, exit_status="done"), unknown(call), unknown(call, 2),
        cdr("dialog_start", call, T0 + 11, flow={"parent_step": 3, "type": "Flow"}, id=f"{call}-2"),
        received(call, OTHER_SHA, T0 + 80_000), inspected(call, OTHER_SHA, "truncated"),
        validated(call, OTHER_SHA, valid=False), validated(call, SHA, valid=False, epoch=1),
        lost(call), lost(call, 1), asked(call), answered(call), asked(call, "j2"),
        answered(call, "j2", audio=True, dialog_start=False), reopened(call),
        events.given_up(call, epoch=0, at_ms=T0 + 6 * HOUR_MS, reason="over"),
    ]  # fmt: skip
