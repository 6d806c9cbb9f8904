"""The record of one call: a projection of its journal.

Rules
1. The record is a join of facts: `merge` is commutative, associative and idempotent, so any order
   of arrival and any duplicates give the same record, and a lost record is rebuilt by a fold.
2. A register (`regs`) is a field that one or several messages say; the lowest rank wins, where
   rank = (source priority, vendor time, hash of the message).
3. A flag is the earliest time of its fact. Facts are only ever added, so no flag is ever unset.
4. Bytes are never replaced: another body for the same dialog is another version beside the first.
5. Several dialogs may claim to be the root (CDRs without a `flow` object do). Claims are only
   ever added and the call's flags are those of any of them, so a later claim unsets no flag; the
   root is the claimant whose recording got furthest.
6. Nothing here says what to do next; that is derived from the record in core.lifecycle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ocp_ingest.core.events import VENDOR_KINDS, Event
from ocp_ingest.core.limits import NAME_CHARS_MAX

Reg = tuple[int, int, str, Any]  # priority, vendor time in ms, hash of the message, value

# The flags in the order in which a call meets them; see design section 2.
FLAGS: Final = (
    "call_started", "ivr_ended", "call_ended", "file_received", "post_processed", "stored",
)  # fmt: skip

# Priority from which a register was said by a dialog that nothing proves to be the root.
CLAIM_UNPROVEN: Final = 2
PROGRESS_VALID: Final = 2  # Recording.progress of one that was judged valid
_HASH_CHARS: Final = 12  # of the message hash in a rank: only breaks ties between equal times


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What validation said of a version of a recording, in one epoch."""

    at_ms: int
    valid: bool
    problems: tuple[dict[str, Any], ...] = ()
    rules: str = ""


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One body of a recording, by its SHA-256; every field is said once, by one event."""

    received_at_ms: int = 0  # 0: known only by a later event, its `received` is still to come
    bytes: int = 0
    landing_key: str = ""  # as first received; `at_hand` says where the bytes are now
    lost: tuple[str, ...] = ()  # landing keys whose bytes are gone or changed
    relanded: dict[str, int] = {}  # further landing keys of the same bytes, and since when
    name: str = ""
    name_parts: dict[str, Any] = {}
    source: str = ""
    container: str = ""
    inspected_at_ms: int = 0
    report: dict[str, Any] | None = None
    verdicts: dict[int, Verdict] = {}

    @property
    def at_hand(self) -> str:
        """The landing key under which the bytes still are, or ""; earliest first."""
        keys = {**self.relanded, self.landing_key: self.received_at_ms}
        left = [(at_ms, key) for key, at_ms in keys.items() if key and key not in self.lost]
        return min(left)[1] if left else ""


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a recording goes (routed) or is (stored)."""

    at_ms: int
    sha256: str
    lob: str
    bucket: str
    key: str
    rule: str = ""


class Recording(msgspec.Struct, frozen=True, omit_defaults=True):
    """The recording of one dialog: its versions by SHA-256, and its pinned place."""

    versions: dict[str, Version] = {}
    routed: Place | None = None
    stored: Place | None = None

    @property
    def progress(self) -> int:
        """How far it got: 0 nothing here, 1 received, PROGRESS_VALID, 3 routed, 4 stored."""
        if self.stored is not None:
            return 4
        if self.routed is not None:
            return 3
        versions = self.versions.values()
        if any(verdict.valid for v in versions for verdict in v.verdicts.values()):
            return PROGRESS_VALID
        return 1 if any(v.received_at_ms for v in versions) else 0


class Export(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one export job meant for this call."""

    from_ms: int
    to_ms: int
    asked_at_ms: int = 0
    answered_at_ms: int = 0
    job_id: str = ""
    task_id: str = ""
    found: dict[str, bool] = {}
    files: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, Any] = {}


class Closing(msgspec.Struct, frozen=True, omit_defaults=True):
    """An outcome without a stored recording; `epoch` is the number of reopenings before it."""

    at_ms: int
    outcome: str
    reason: str
    epoch: int = 0
    by: str = ""
    code: str = ""  # why, as a key of core.words.WHY; "" for an operator's word


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an operator (or, giving up, the system) did, and why."""

    kind: str
    at_ms: int
    by: str
    reason: str
    dialog_id: str = ""
    epoch: int = 0  # of a `given_up`


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record. `evidenced` is false while only messages of unknown type speak of the call."""

    call_id: str
    evidenced: bool = False
    regs: dict[str, Reg] = {}
    roots: tuple[str, ...] = ()  # dialogs that claim to be the root, besides the call's namesake
    recordings: dict[str, Recording] = {}
    exports: dict[str, Export] = {}
    closings: dict[str, Closing] = {}
    acts: dict[str, Act] = {}

    def get(self, field: str) -> Any:
        """The value of a register, or None."""
        reg = self.regs.get(field)
        return None if reg is None else reg[3]

    @property
    def root_dialog_id(self) -> str:
        """The dialog that is the whole call; its id equals the call's unless a CDR says else."""
        if not self.roots:
            return self.call_id
        claims = (str(self.get("root_dialog_id")), self.call_id, *self.roots)
        return max(claims, key=lambda d: self.recordings.get(d, _NO_RECORDING).progress)

    @property
    def duration_ms(self) -> int | None:
        """The call's length, or None while only a dialog of doubt, maybe a child, has told one."""
        reg = self.regs.get("duration_ms")
        return None if reg is None or reg[0] >= CLAIM_UNPROVEN else int(reg[3])

    @property
    def root(self) -> Recording:
        """The recording of the root dialog; empty when none came."""
        return self.recordings.get(self.root_dialog_id, _NO_RECORDING)

    @property
    def epoch(self) -> int:
        """How often an operator reopened the call; verdicts and closings belong to an epoch."""
        return sum(act.kind in ("reopened", "released") for act in self.acts.values())

    @property
    def epoch_at_ms(self) -> int:
        """When the current epoch began; 0 for the first."""
        acts = [a.at_ms for a in self.acts.values() if a.kind in ("reopened", "released")]
        return max(acts, default=0)

    def released(self, dialog_id: str) -> bool:
        """Whether an operator let the recording of a dialog out of quarantine."""
        return any(
            a.kind == "released" and a.dialog_id in ("", dialog_id) for a in self.acts.values()
        )


_NO_RECORDING: Final = Recording()


def new(call_id: str) -> Call:
    """A call of which nothing is known yet."""
    return Call(call_id=call_id)


def fold(call_id: str, events: Iterable[Event]) -> Call:
    """The record that a journal gives, in whatever order it is read."""
    call = new(call_id)
    for event in events:
        call = merge(call, event)
    return call


def merge(call: Call, event: Event) -> Call:
    """The record with one more fact; merging a fact again changes nothing."""
    assert event.call_id == call.call_id, "an event was merged into another call's record"
    if event.kind in VENDOR_KINDS:
        return _merge_vendor(call, event)
    if event.kind == "accessed":
        return call  # about a person, not about the call
    return _MERGES[event.kind](call, event)


def _merge_vendor(call: Call, event: Event) -> Call:
    if event.kind == "other":
        return call
    return _with_sets(call, event)


def _with_sets(call: Call, event: Event) -> Call:
    regs, roots, sets = dict(call.regs), call.roots, event.data.get("sets", {})
    # Our own events have no body; the end of their id holds the hash of the bytes.
    tie = event.body_hash[:_HASH_CHARS] or event.event_id[-_HASH_CHARS:]
    if "root_dialog_id" in sets:
        roots = tuple(sorted({*roots, sets["root_dialog_id"][1]} - {call.call_id}))
    for field, (priority, value) in sets.items():
        reg = (priority, event.at_ms, tie, value)
        held = regs.get(field)
        if held is None or reg[:3] < tuple(held[:3]):
            regs[field] = reg
    return msgspec.structs.replace(call, evidenced=True, regs=regs, roots=roots)


def _with_version(call: Call, event: Event, **changes: Any) -> Call:
    dialog, sha = event.data["dialog_id"], event.data["sha256"]
    recording = call.recordings.get(dialog, _NO_RECORDING)
    version = msgspec.structs.replace(recording.versions.get(sha, Version()), **changes)
    recording = msgspec.structs.replace(recording, versions={**recording.versions, sha: version})
    return msgspec.structs.replace(
        call, evidenced=True, recordings={**call.recordings, dialog: recording}
    )


def _merge_received(call: Call, event: Event) -> Call:
    data = event.data
    return _with_version(
        _with_sets(call, event),
        event,
        received_at_ms=event.at_ms,
        bytes=data["bytes"],
        landing_key=data["landing_key"],
        name=data["name"][:NAME_CHARS_MAX],
        name_parts=data["name_parts"],
        source=event.source,
        container=data["container"],
    )


def _merge_landing_lost(call: Call, event: Event) -> Call:
    held = _version(call, event)
    lost = tuple(sorted({*held.lost, event.data["landing_key"]}))
    return _with_version(call, event, lost=lost)


def _merge_relanded(call: Call, event: Event) -> Call:
    relanded = {**_version(call, event).relanded, event.data["landing_key"]: event.at_ms}
    return _with_version(call, event, relanded=relanded)


def _version(call: Call, event: Event) -> Version:
    recording = call.recordings.get(event.data["dialog_id"], _NO_RECORDING)
    return recording.versions.get(event.data["sha256"], Version())


def _merge_inspected(call: Call, event: Event) -> Call:
    return _with_version(call, event, inspected_at_ms=event.at_ms, report=event.data["report"])


def _merge_validated(call: Call, event: Event) -> Call:
    data = event.data
    version = _version(call, event)
    verdict = Verdict(event.at_ms, data["valid"], tuple(data["problems"]), data["rules"])
    verdicts = {**version.verdicts, data["epoch"]: verdict}
    return _with_version(call, event, verdicts=verdicts)


def _merge_place(call: Call, event: Event) -> Call:
    data = event.data
    place = Place(
        event.at_ms, data["sha256"], data["lob"], data["bucket"], data["key"],
        data.get("rule", ""),
    )  # fmt: skip
    recording = call.recordings.get(data["dialog_id"], _NO_RECORDING)
    recording = msgspec.structs.replace(recording, **{event.kind: place})
    recordings = {**call.recordings, data["dialog_id"]: recording}
    return msgspec.structs.replace(call, evidenced=True, recordings=recordings)


def _merge_export(call: Call, event: Event) -> Call:
    data = event.data
    window = {"from_ms": data["from_ms"], "to_ms": data["to_ms"]}
    held = call.exports.get(data["job_key"], Export(**window))
    if event.kind == "export_asked":
        export = msgspec.structs.replace(held, asked_at_ms=event.at_ms)
    else:
        export = msgspec.structs.replace(
            held,
            **window,  # the answered one stands: a job taken over may cover other hours than asked
            answered_at_ms=event.at_ms,
            job_id=data["job_id"],
            task_id=data["task_id"],
            found=data["found"],
            files=tuple(data["files"]),
            metadata=data["metadata"],
        )
    return msgspec.structs.replace(
        call, evidenced=True, exports={**call.exports, data["job_key"]: export}
    )


def _merge_closed(call: Call, event: Event) -> Call:
    data = event.data
    closing = Closing(
        event.at_ms, data["outcome"], data["reason"], data["epoch"], data.get("by", ""),
        data.get("code", ""),
    )  # fmt: skip
    return msgspec.structs.replace(call, closings={**call.closings, event.event_id: closing})


def _merge_act(call: Call, event: Event) -> Call:
    data = event.data
    act = Act(
        event.kind, event.at_ms, data["by"], data["reason"], data.get("dialog_id", ""),
        data.get("epoch", 0),
    )  # fmt: skip
    return msgspec.structs.replace(call, acts={**call.acts, event.event_id: act})


_MERGES: Final = {
    "received": _merge_received,
    "landing_lost": _merge_landing_lost,
    "relanded": _merge_relanded,
    "inspected": _merge_inspected,
    "validated": _merge_validated,
    "routed": _merge_place,
    "stored": _merge_place,
    "export_asked": _merge_export,
    "export_answered": _merge_export,
    "closed": _merge_closed,
    "given_up": _merge_act,
    "retried": _merge_act,
    "reopened": _merge_act,
    "released": _merge_act,
}


def flags(call: Call) -> dict[str, int | None]:
    """The six flags, each an epoch time in ms or None, in the order of FLAGS."""
    regs = call.regs
    held = {name: None if (reg := regs.get(name)) is None else reg[3] for name in _SAID}
    if not call.recordings:
        return held | _NOTHING_CAME
    roots = [call.recordings.get(d, _NO_RECORDING) for d in (call.call_id, *call.roots)]
    versions = [v for root in roots for v in root.versions.values()]
    received = [v.received_at_ms for v in versions if v.received_at_ms]
    valid = [d.at_ms for v in versions for d in v.verdicts.values() if d.valid]
    held["file_received"] = min(received, default=None)
    held["post_processed"] = min(valid, default=None)
    held["stored"] = min((r.stored.at_ms for r in roots if r.stored), default=None)
    return held


_SAID: Final = FLAGS[:3]  # by registers; the others by recordings
_NOTHING_CAME: Final[dict[str, int | None]] = dict.fromkeys(FLAGS[3:])
