"""What must hold after every step, checked at the change that could break it.

Law                                                              checked at each change of
an event that was journalled stays as it is                      the journal
a flag that was set stays set, and its time only gets earlier    a record
a record is the fold of its journal, or about to be              a record
a call is in one term of the conservation law: an outcome with   a record
  a reason, or open work with a time
stored means: in the bucket that it was routed to, those bytes   a record
nothing is overwritten; only the landing store loses objects     a bucket
an object's bytes are those that were proved                     a bucket
what lies in a bucket of a line of business was routed there     a bucket
one object for each recording                                    a bucket
one export at a time for each OCP group                          the export book
At the end, when faults have stopped: see `ending`.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from ocp_ingest.adapters.journal import derive
from ocp_ingest.core.call import Call, flags, fold
from ocp_ingest.core.events import Event
from ocp_ingest.core.export_job import ExportJob, State
from ocp_ingest.core.lifecycle import outcome
from ocp_ingest.core.settings import LANDING, QUARANTINE, Settings

_CALL: Final = msgspec.msgpack.Decoder(Call)
_EVENT: Final = msgspec.json.Decoder(Event)
_JOB: Final = msgspec.msgpack.Decoder(ExportJob)
Object = tuple[bytes, str]


class BrokenLawError(AssertionError):
    """An invariant does not hold; the text says which, of what."""


def law(holds: bool, text: str) -> None:
    """Raises BrokenLawError unless it holds."""
    if not holds:
        raise BrokenLawError(text)


class Laws:
    """The checks, over the state that they watch."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lob_buckets = set(settings.buckets().values())
        self.journal: dict[str, dict[str, bytes]] = {}
        self.records: dict[str, bytes] = {}
        self.buckets: dict[str, dict[str, Object]] = {}
        self.jobs: dict[str, bytes] = {}
        self.open_jobs: set[str] = set()
        self.checked = 0

    def event(self, call_id: str, event_id: str, before: bytes | None, after: bytes | None) -> None:
        """A change of the journal."""
        self.checked += 1
        law(before is None and after is not None, f"{call_id}: event {event_id} was changed")

    def record(self, call_id: str, before: bytes | None, after: bytes | None) -> None:
        """A change of a record."""
        self.checked += 1
        law(after is not None, f"{call_id}: its record was removed")
        assert after is not None
        if before == after:
            return
        call = _CALL.decode(after)
        if before is not None:
            self._only_added(_CALL.decode(before), call)
        self._one_term(call)
        self._stored(call)

    def object(self, bucket: str, key: str, before: Object | None, after: Object | None) -> None:
        """A change of a bucket."""
        self.checked += 1
        if after is None:
            law(bucket == LANDING, f"{bucket}/{key} was removed")
            return
        law(before is None, f"{bucket}/{key} was overwritten")
        proved = after[1] in ("", hashlib.sha256(after[0]).hexdigest())
        law(proved, f"{bucket}/{key} holds other bytes than were proved")
        if bucket in self._lob_buckets and not key.endswith(".json"):
            self._was_routed(bucket, key, after[1])
        law(
            bucket in self._lob_buckets or bucket in (LANDING, QUARANTINE),
            f"{bucket} is nobody's bucket",
        )

    def job(self, job_key: str, _before: bytes | None, after: bytes | None) -> None:
        """A change of an export job."""
        self.checked += 1
        assert after is not None
        mine = _JOB.decode(after)
        if not _holds_slot(mine):
            return
        for other_key in self.open_jobs:
            other = _JOB.decode(self.jobs[other_key])
            if other_key != job_key and other.ocp_group == mine.ocp_group and _holds_slot(other):
                raise BrokenLawError(f"{job_key} and {other_key} both export {mine.ocp_group}")

    # ------------------------------------------------------------------------------------------

    def _only_added(self, before: Call, after: Call) -> None:
        new = flags(after)
        for name, at_ms in flags(before).items():
            law(
                at_ms is None or new[name] is not None,
                f"{after.call_id}: flag {name} was unset",
            )
        for dialog_id, held in before.recordings.items():
            kept = (
                set(after.recordings[dialog_id].versions) if dialog_id in after.recordings else ()
            )
            law(set(held.versions) <= set(kept), f"{after.call_id}: a recording was forgotten")

    def _one_term(self, call: Call) -> None:
        row = derive(call, self._settings.policy)
        if row.pend_at is not None:
            law(row.pend_at > 0, f"{call.call_id}: its next action has no time")
            return
        ended = outcome(call, self._settings.policy)
        law(
            ended is not None or not call.evidenced,
            f"{call.call_id}: neither open nor ended",
        )
        law(ended is None or bool(ended.reason), f"{call.call_id}: an outcome without a reason")

    def _stored(self, call: Call) -> None:
        for dialog_id, recording in call.recordings.items():
            place = recording.stored
            if place is None:
                continue
            held = self.buckets.get(place.bucket, {}).get(place.key)
            law(held is not None, f"{call.call_id}/{dialog_id}: stored, and not in its bucket")
            assert held is not None
            law(
                hashlib.sha256(held[0]).hexdigest() == place.sha256,
                f"{call.call_id}/{dialog_id}: stored with other bytes",
            )

    def _was_routed(self, bucket: str, key: str, sha256: str) -> None:
        """The pin of a place is journalled before anything is copied there, and it is one place."""
        owners = [
            (event.data.get("bucket"), event.data.get("sha256"))
            for events in self.journal.values()
            for body in events.values()
            if key.encode() in body and (event := _EVENT.decode(body)).kind == "routed"
            and event.data.get("key") == key
        ]  # fmt: skip
        law(bool(owners), f"{bucket}/{key}: nothing was routed there")
        law(all(b == bucket for b, _ in owners), f"{bucket}/{key}: routed to another bucket")
        law(any(s == sha256 for _, s in owners), f"{bucket}/{key}: other bytes than were routed")


def _holds_slot(job: ExportJob) -> bool:
    return job.released_at is None and job.state not in (State.ENDED, State.PLANNED)


def is_folded(call_id: str, record: bytes, journal: dict[str, bytes]) -> bool:
    """Whether a record is the fold of its journal."""
    return fold(call_id, [_EVENT.decode(body) for body in journal.values()]) == _CALL.decode(record)
