"""What must hold after every step, checked at the change that could break it.

Law                                                              checked at each change of
an event that was journalled stays as it is                      the journal
a record holds nothing that its journal does not                 a record
nothing is given up for lack of what has long been journalled    the journal
a flag that was set stays set, no recording is forgotten         a record
stored means: in the bucket that it was routed to, those bytes   a record
an open call has a next action with a time, not after OCP's      the index
  retention; one that ended has a reason
lost means that OCP can't give it any more; absent, that OCP     the index
  never had it: by OCP's own truth
nothing is overwritten; only the landing store loses objects     a bucket
an object's bytes are those that were proved                     a bucket
what lies in a bucket of a line of business was routed there,    a bucket
  or came in place of routed bytes that were lost before
what was acknowledged is in the journal; what was refused is     each answer to a push
  evidence
Of exports, leases and bounds: see `bounds`; of OCP's side: `vendor`. At the end: `ending`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import msgspec

from ocp_ingest.adapters.journal import Row
from ocp_ingest.core.call import Call, flags, merge, new
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import integral, outcome
from ocp_ingest.core.limits import EVENT_VARIANTS_MAX, HOUR_MS, RECORDING_VERSIONS_MAX
from ocp_ingest.core.settings import LANDING, QUARANTINE, Settings
from ocp_ingest.ports import Kept
from ocp_proof.law import BrokenLawError, law
from ocp_proof.readings import CALLS
from ocp_proof.truth import Truth

_EVENT: Final = msgspec.json.Decoder(Event)
# Events of one call: its CDRs, each with EVENT_VARIANTS_MAX bodies, and a week of tries, each
# asked and answered once. The most that any seed ever had is a third of it.
_EVENTS_MAX: Final = 240
# An event between journal and record is on its way for no longer: a zombie's pause, and a retry.
_UNDER_WAY_MS: Final = 2 * HOUR_MS
Object = tuple[bytes, str]

__all__ = ["BrokenLawError", "Laws", "law"]


class Laws:
    """The checks, over the state that they watch."""

    def __init__(
        self, settings: Settings, truth: Truth | None = None, now_ms: Callable[[], int] = lambda: 0
    ) -> None:
        """`truth` is what OCP has and had; `now_ms` the true time."""
        self._settings = settings
        self._truth = truth
        self._now_ms = now_ms
        self._lob_buckets = set(settings.buckets().values())
        self._folded: dict[str, Call] = {}
        self._variants: dict[str, int] = defaultdict(int)
        self._routed: dict[str, list[Event]] = defaultdict(list)
        self._acknowledged: set[tuple[str, str]] = set()
        self._received: dict[tuple[str, str, str], str] = {}
        # SHA-256 of bytes whose loss was journalled, or that somebody took.
        self.bytes_lost: set[str] = set()
        self.acknowledged_bytes: dict[str, str] = {}  # SHA-256 -> call
        self.journal: dict[str, dict[str, bytes]] = {}
        self.records: dict[str, bytes] = {}
        self.buckets: dict[str, dict[str, Object]] = {}
        self.rejected: list[Kept] = []
        self.changed_ms: dict[str, int] = {}  # when the record of a call changed last
        # Calls whose end is not what the ledger says: a person had a say, or bytes were taken.
        self.touched: set[str] = set()
        self.checked = 0

    # -- the journal and what was said of it --------------------------------------------------

    def event(self, call_id: str, event_id: str, before: bytes | None, after: bytes | None) -> None:
        """A change of the journal."""
        self.checked += 1
        law(before is None and after is not None, f"{call_id}: event {event_id} was changed")
        assert after is not None
        law(
            len(self.journal.get(call_id, ())) < _EVENTS_MAX,
            f"{call_id}: more than {_EVENTS_MAX} events",
        )
        event = _EVENT.decode(after)
        if event.kind == "given_up" or (event.kind == "closed" and event.source != "operator"):
            self._knows_all(CALLS(call_id, self.records[call_id]))
        held = self._folded.get(call_id) or new(call_id)
        self._folded[call_id] = merge(held, event)
        if event.kind == "routed":
            self._routed[event.data["key"]].append(event)
        if event.kind == "received":
            self._received[call_id, event.data["dialog_id"], event.data["sha256"]] = event_id
        if event.kind == "landing_lost":
            self.bytes_lost.add(event.data["sha256"])
        name, variant, _ = event_id.partition("~")
        if variant:
            self._variants[name] += 1
            law(
                self._variants[name] <= EVENT_VARIANTS_MAX,
                f"{call_id}: more than {EVENT_VARIANTS_MAX} variants of {name}",
            )

    def acknowledged(self, call_id: str, event_id: str) -> None:
        """An event was answered with 2xx, or its neighbour with a 4xx after it was taken."""
        self.checked += 1
        body = self.journal.get(call_id, {}).get(event_id)
        law(
            body is not None,
            f"{call_id}: the acknowledged event {event_id} is not in the journal",
        )
        assert body is not None
        self._acknowledged.add((call_id, event_id))
        law(call_id in self.records, f"{call_id}: the acknowledged event {event_id} has no record")
        call = CALLS(call_id, self.records[call_id])
        law(
            merge(call, _EVENT.decode(body)) == call,
            f"{call_id}: the acknowledged event {event_id} is not in the record",
        )

    def acknowledged_recording(self, call_id: str, dialog_id: str, sha256: str) -> None:
        """A recording was answered with 2xx: journalled, and its bytes are somewhere."""
        self.checked += 1
        event_id = self._received.get((call_id, dialog_id, sha256))
        law(event_id is not None, f"{call_id}: an acknowledged recording is not in the journal")
        assert event_id is not None
        self.acknowledged(call_id, event_id)
        self.acknowledged_bytes[sha256] = call_id
        law(
            self.has_bytes(sha256) or sha256 in self.bytes_lost,
            f"{call_id}: the bytes of an acknowledged recording are nowhere",
        )

    def refused(self, body: bytes) -> None:
        """A message was answered with 4xx."""
        self.checked += 1
        law(any(kept.body == body for kept in self.rejected), "a refused message is no evidence")

    def taken(self, sha256: str, may_come_again: Callable[[str, str], bool]) -> None:
        """Somebody took an object of the landing store: what OCP has, must come again."""
        self.bytes_lost.add(sha256)
        for call_id, _, received in self._received:
            if received == sha256 and not may_come_again(call_id, sha256):
                self.touched.add(call_id)

    def has_bytes(self, sha256: str) -> bool:
        """Whether some object has these bytes."""
        return any(
            held[1] == sha256 for bucket in self.buckets.values() for held in bucket.values()
        )

    # -- records and their index ---------------------------------------------------------------

    def record(self, call_id: str, before: bytes | None, after: bytes | None) -> None:
        """A change of a record."""
        self.checked += 1
        law(after is not None, f"{call_id}: its record was removed")
        assert after is not None
        if before == after:
            return
        self.changed_ms[call_id] = self._now_ms()
        held = CALLS(call_id, before) if before is not None else None
        call = CALLS(call_id, after)
        self._is_journalled(call)
        if held is not None:
            self._only_added(held, call)
        self._stored(call)

    def row(self, call_id: str, before: Row | None, after: Row | None) -> None:
        """A change of the index; comes right after its record's."""
        if after is None or after == before:
            return
        self.checked += 1
        if after.pend_at is not None:
            self._is_timely(call_id, after, after.pend_at)
            return
        call = CALLS(call_id, self.records[call_id])
        ended = outcome(call, self._settings.policy)
        law(
            (ended.outcome if ended is not None else "") == after.outcome,
            f"{call_id}: its index says {after.outcome!r}",
        )
        law(ended is not None or not call.evidenced, f"{call_id}: neither open nor ended")
        law(ended is None or bool(ended.reason), f"{call_id}: an outcome without a reason")
        self._is_true(call_id, after.outcome)

    def _knows_all(self, call: Call) -> None:
        """Nothing is given up for lack of what has long been in the journal."""
        if call == self._folded[call.call_id]:
            return
        old_ms = self._now_ms() - _UNDER_WAY_MS
        for body in self.journal[call.call_id].values():
            event = _EVENT.decode(body)
            known = max(event.at_ms, event.received_at_ms) > old_ms or merge(call, event) == call
            law(known, f"{call.call_id}: closed without {event.event_id}, which is journalled")

    def _is_timely(self, call_id: str, row: Row, at_ms: int) -> None:
        law(at_ms > 0, f"{call_id}: its next action has no time")
        policy = self._settings.policy.stage2
        latest_ms = max(row.started_at, self._now_ms()) + policy.retention_ms
        law(at_ms <= latest_ms, f"{call_id}: its next action is after OCP's retention")

    def _is_true(self, call_id: str, ended: str) -> None:
        if self._truth is None or call_id in self.touched:
            return
        if ended == "lost":
            law(
                not self._truth.can_give(call_id, self._now_ms()),
                f"{call_id}: called lost while OCP can still give it",
            )
        if ended == "absent":
            law(
                not self._truth.had(call_id), f"{call_id}: called absent, and OCP has its recording"
            )

    def _is_journalled(self, call: Call) -> None:
        whole = self._folded.get(call.call_id)
        law(whole is not None, f"{call.call_id}: a record without a journal")
        assert whole is not None
        if call == whole:
            return
        # It may be behind its journal, but with all of it merged it must be its fold.
        for body in self.journal[call.call_id].values():
            call = merge(call, _EVENT.decode(body))
        law(call == whole, f"{call.call_id}: its record says what its journal does not")

    def was_acknowledged(self, call_id: str) -> bool:
        """Whether anything of a call was answered with 2xx."""
        return any(known == call_id for known, _ in self._acknowledged)

    def is_caught_up(self, call_id: str, record: bytes) -> bool:
        """Whether a record is the fold of its journal.

        It may lack what its receiver journalled before it died, unanswered, and nobody repeated.
        """
        call = CALLS(call_id, record)
        return call == self._folded[call_id] or all(
            merge(call, _EVENT.decode(body)) == call
            for event_id, body in self.journal[call_id].items()
            if (call_id, event_id) in self._acknowledged
        )

    def _only_added(self, before: Call, after: Call) -> None:
        added = flags(after)
        for name, at_ms in flags(before).items():
            law(
                at_ms is None or added[name] is not None,
                f"{after.call_id}: flag {name} was unset",
            )
        for dialog_id, held in before.recordings.items():
            kept = (
                set(after.recordings[dialog_id].versions) if dialog_id in after.recordings else ()
            )
            law(set(held.versions) <= set(kept), f"{after.call_id}: a recording was forgotten")
            law(
                len(kept) <= RECORDING_VERSIONS_MAX + 2,  # two doors at once may each add the last
                f"{after.call_id}: {len(kept)} versions of a recording",
            )

    def _stored(self, call: Call) -> None:
        for dialog_id, recording in call.recordings.items():
            place = recording.stored
            if place is None:
                continue
            held = self.buckets.get(place.bucket, {}).get(place.key)
            law(held is not None, f"{call.call_id}/{dialog_id}: stored, and not in its bucket")
            assert held is not None
            # `object` has proved that these are the SHA-256 of the bytes.
            sha256 = held[1] or hashlib.sha256(held[0]).hexdigest()
            law(sha256 == place.sha256, f"{call.call_id}/{dialog_id}: stored with other bytes")

    # -- buckets -------------------------------------------------------------------------------

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

    def _was_routed(self, bucket: str, key: str, sha256: str) -> None:
        """The pin of a place is journalled before anything is copied there, and it is one place."""
        owners = self._routed.get(key, ())
        law(bool(owners), f"{bucket}/{key}: nothing was routed there")
        here = all(event.data["bucket"] == bucket for event in owners)
        law(here, f"{bucket}/{key}: routed to another bucket")
        law(
            any(e.data["sha256"] == sha256 or self._stands_in(e, sha256) for e in owners),
            f"{bucket}/{key}: other bytes than were routed",
        )

    def _stands_in(self, routed: Event, sha256: str) -> bool:
        """Whether bytes may lie where others were routed, which were lost before they lay there.

        They were judged valid too, and no error page stands in for a recording that was whole.
        """
        if routed.data["sha256"] not in self.bytes_lost:
            return False
        versions = self._folded[routed.call_id].recordings[routed.data["dialog_id"]].versions
        mine = versions.get(sha256)
        if mine is None or not any(verdict.valid for verdict in mine.verdicts.values()):
            return False
        return integral(mine) or not integral(versions[routed.data["sha256"]])
