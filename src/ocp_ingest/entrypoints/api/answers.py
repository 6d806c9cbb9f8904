"""The shapes of answers, as types: the OpenAPI document is made of them, tests hold to them.

What the doors really send is made in core.view and in the doors; these types never convert it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

When = Annotated[str, Meta(description="RFC 3339, UTC", examples=["2026-11-22T10:15:00.000Z"])]
Stage = Literal[
    "unannounced", "call_started", "ivr_ended", "call_ended", "file_received", "post_processed",
    "stored",
]  # fmt: skip
OutcomeName = Literal["stored", "absent", "quarantined", "lost"]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class Problem(msgspec.Struct, kw_only=True):
    """RFC 9457 problem details; `code` is for machines, `detail` tells a person what to do."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: Literal[
        "invalid", "too_large", "unsupported", "denied", "scope", "not_found",
        "method_not_allowed", "conflict", "try_again", "unavailable", "internal",
    ]  # fmt: skip
    index: int | msgspec.UnsetType = msgspec.UNSET
    field: str | msgspec.UnsetType = msgspec.UNSET
    accepted: int | msgspec.UnsetType = msgspec.UNSET
    new: int | msgspec.UnsetType = msgspec.UNSET
    refused: int | msgspec.UnsetType = msgspec.UNSET
    call_id: str | msgspec.UnsetType = msgspec.UNSET
    sha256: str | msgspec.UnsetType = msgspec.UNSET
    reference: str | msgspec.UnsetType = msgspec.UNSET


class EventsTaken(_Strict):
    """All events of the request are durable."""

    accepted: int
    new: int
    duplicates: int


class RecordingTaken(_Strict):
    """The recording is durable; whether it is valid is judged afterwards."""

    call_id: str
    dialog_id: str
    bytes: int
    sha256: str
    result: Literal["received", "already_received", "superseding"]


class Flags(_Strict):
    """When each state of the call was reached; null: not yet."""

    call_started: When | None
    ivr_ended: When | None
    call_ended: When | None
    file_received: When | None
    post_processed: When | None
    stored: When | None


class CallFacts(_Strict):
    """What the CDRs say of the call."""

    started_at: When | None
    ivr_ended_at: When | None
    ivr_duration_ms: int | None
    ended_at: When | None
    duration_ms: int | None
    exit_status: str | None
    channel: str | None
    entry_app: str | None
    destination: str | None
    customer_id: str | None
    session_id: str | None
    connection_id: str | None
    result_codes: dict[str, str]


class RecordingProblem(_Strict):
    """What is wrong with a recording, in words."""

    code: str
    severity: Literal["error", "warning"]
    text: str


class Recording(_Strict):
    """The recording of one dialog: the version that counts."""

    dialog_id: str
    name: str | None
    bytes: int
    sha256: str | None
    source: str | None
    duration_ms: int | None
    container: str | None
    codec: str | None
    sample_rate_hz: int | None
    channels: int | None
    uri: str | None
    problems: list[RecordingProblem]


class Export(_Strict):
    """The newest export job that covered the call, and how many there were."""

    job_id: str | None
    task_id: str | None
    window: tuple[When, When] | None
    attempts: int
    metadata: dict[str, Any] | None


class Next(_Strict):
    """What happens next and from when; null for a finished call."""

    action: str | None
    at: When | None


class Call(_Strict):
    """One call, with its flags, recordings, outcome and next action."""

    call_id: str
    ocp_group: str | None
    line_of_business: str | None
    stage: Stage
    outcome: OutcomeName | None
    reason: str | None
    flags: Flags
    call: CallFacts
    recordings: list[Recording]
    export: Export
    next: Next


class Calls(_Strict):
    """A page of calls, newest start first; `cursor` gives the next page, null: this is the last."""

    calls: list[Call]
    cursor: str | None


class JournalEvent(_Strict):
    """One event of a call's journal; numbers, attached data and what callers said are masked."""

    event_id: str
    kind: str
    at: When | None
    received_at: When | None
    source: str
    data: dict[str, Any]
    raw: Any
    body_hash: str | None


class Journal(_Strict):
    """A page of a call's journal, by time of what the events say."""

    call_id: str
    events: list[JournalEvent]
    cursor: str | None


class Incident(_Strict):
    """A root cause that a person must know of."""

    key: str
    kind: str
    severity: Literal["warning", "critical"]
    text: str
    opened_at: When
    last_at: When | None
    closed_at: When | None
    closed_how: str
    calls: int
    sample: list[str]


class Incidents(_Strict):
    """Incidents, newest first."""

    incidents: list[Incident]


class Conservation(_Strict):
    """started = stored + absent + quarantined + lost + in_flight, each from its own source."""

    started: int
    stored: int
    absent: int
    quarantined: int
    lost: int
    in_flight: int
    holds: bool


class Health(_Strict):
    """The process answers."""

    status: Literal["ok"]


class Readiness(_Strict):
    """Whether the process may be given work, and the checks that say so."""

    ready: bool
    checks: dict[str, bool]


class Token(_Strict):
    """RFC 6749 section 5.1."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str
