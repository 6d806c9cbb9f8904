"""One call's life as events, for laws that are to be broken."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from ocp_ingest.core import events as ev
from ocp_ingest.core.events import Event
from ocp_ingest.core.export_job import ExportJob, State
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.core.vendor import Context, VendorMapping, parse
from tests.flow.stage import CALL_ID, NAME, START_MS, dialog_end, dialog_start, tone

BODY: Final = tone()
SHA256: Final = hashlib.sha256(BODY).hexdigest()
BUCKET: Final = "lob-banking"
KEY: Final = f"2026/09/21/{CALL_ID}/{CALL_ID}.wav"

_HOUR_MS: Final = START_MS // HOUR_MS * HOUR_MS

__all__ = ["BODY", "BUCKET", "CALL_ID", "KEY", "SHA256", "cdrs", "job", "journal", "whole_life"]


def cdrs() -> list[Event]:
    """CDR Start and CDR End."""
    found = []
    for body in (dialog_start(), dialog_end()):
        parsed = parse(body, msgspec.json.encode(body), VendorMapping(), Context())
        assert parsed.event is not None
        found.append(parsed.event)
    return found


def whole_life() -> list[Event]:
    """From the first CDR to the bucket."""
    at_ms = START_MS + 60_000
    return [
        *cdrs(),
        ev.received(
            CALL_ID, CALL_ID, SHA256, at_ms=at_ms, source="stream", size_bytes=len(BODY),
            landing_key="aa/bb", name=NAME, name_parts={}, container="wav",
        ),
        ev.inspected(CALL_ID, CALL_ID, SHA256, at_ms=at_ms, report={"problems": []}),
        ev.validated(
            CALL_ID, CALL_ID, SHA256, epoch=0, at_ms=at_ms, valid=True, problems=[], rules="r",
        ),
        ev.routed(CALL_ID, CALL_ID, SHA256, at_ms=at_ms, lob="banking", bucket=BUCKET, key=KEY,
                  rule="r"),
        ev.stored(CALL_ID, CALL_ID, SHA256, at_ms=at_ms, lob="banking", bucket=BUCKET, key=KEY,
                  size_bytes=len(BODY)),
    ]  # fmt: skip


def journal(events: Sequence[Event]) -> dict[str, bytes]:
    """Events as the memory adapter keeps them."""
    return {event.event_id: msgspec.json.encode(event) for event in events}


def job(key: str, group: str = "emea-retail") -> bytes:
    """A job that has its group's slot."""
    made = ExportJob(
        job_key=key, ocp_group=group, from_ms=_HOUR_MS, to_ms=_HOUR_MS + HOUR_MS, attempt=1,
        planned_at=START_MS, ready_from=START_MS, alpha_s=1.0, beta_s=1.0, state=State.RUNNING,
    )  # fmt: skip
    return msgspec.msgpack.encode(made)
