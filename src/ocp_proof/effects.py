"""Which fault can strike which effect: the table that a whole run must have hit, pair by pair.

Fault         what it does at an effect
lost          the request never arrived
unanswered    done, but the answer was lost
slow          it takes long: a moment, a minute, or longer than any lease (a zombie when it wakes)
throttled     refused with a time to wait
duplicated    the request arrives twice; what is seen is the second answer
reordered     no answer; the request lingers, and takes effect after later ones did
crash_before  the process dies before the effect
crash_after   the process dies after it
corrupt       a byte of what travels is another
torn          only the first part of what travels arrives: a partial write, a cut connection
At OCP besides: refused (503), foreign (somebody else takes the slot first), and what becomes of
the export that is made: failed, stuck, dragging, expired, missing (files that its list lacks).

A pair that stays at zero over a run of PAIRS_SEEDS_MIN seeds fails the run. What can't happen is
not in the table; `CANNOT` and `ELSEWHERE` say why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

# kind -> weight among the faults of one effect.
Kinds = Mapping[str, float]

# A seed aims at a dozen of the five hundred pairs, and hits others by chance; by so many seeds the
# rarest effects (a step given back, a stuck export cancelled) were aimed at some ten times.
PAIRS_SEEDS_MIN: Final = 400

_READ: Final = {
    "lost": 3.0, "unanswered": 3.0, "slow": 3.0, "throttled": 2.0,
    "crash_before": 0.7, "crash_after": 0.7,
}  # fmt: skip
_TWICE: Final = {"duplicated": 2.0, "reordered": 1.0}
_BYTES: Final = {"corrupt": 3.0, "torn": 3.0, "lost": 2.0, "crash_before": 0.7}
_ASK: Final = _READ | {"refused": 2.0}
_FATES: Final = {
    "foreign": 2.0, "failed": 2.0, "stuck": 0.5, "dragging": 2.0, "expired": 1.0, "missing": 2.0,
}  # fmt: skip
_PUSH: Final = {
    "lost": 3.0, "unanswered": 3.0, "duplicated": 3.0, "reordered": 3.0, "torn": 2.0,
}  # fmt: skip

# Requests that change something: as wholes, "name()", they may arrive twice or late.
_CHANGES: Final = (
    "BulkBook.change", "BulkBook.create", "BulkBook.results", "CallStore.append",
    "CallStore.rebuild", "DeskNotes.put", "Evidence.count", "Evidence.keep",
    "ExportBook.give_up", "ExportBook.keep", "ExportBook.lease", "ExportBook.put_note",
    "ExportBook.settle", "Incidents.close", "Incidents.open", "RecordingStore.copy_once",
    "RecordingStore.delete", "RecordingStore.put_once", "Timetable.cancel", "Timetable.set",
    "WorkQueue.done", "WorkQueue.give_back", "WorkQueue.put",
)  # fmt: skip

# effect -> the faults that can strike it.
EFFECTS: Final[Mapping[str, Kinds]] = MappingProxyType({
    **{f"{request}()": _TWICE for request in _CHANGES},
    "BulkBook.change": _READ,
    "BulkBook.create": _READ,
    "BulkBook.job": _READ,
    "BulkBook.jobs": _READ,
    "BulkBook.results": _READ,
    "BulkBook.waiting": _READ,
    "CallStore.append.journal": _READ,
    "CallStore.append.record": _READ,
    "CallStore.call_ids": _READ,
    "CallStore.call_of": _READ,
    "CallStore.load": _READ,
    "CallStore.page": _READ,
    "CallStore.pending": _READ,
    "CallStore.pending_groups": _READ,
    "CallStore.rebuild": _READ,
    "DeskNotes.put": _READ,
    "Evidence.count": _READ,
    "Evidence.keep": _READ,
    "ExportBook.give_up": _READ,
    "ExportBook.group": _READ,
    "ExportBook.job": _READ,
    "ExportBook.jobs": _READ,
    "ExportBook.keep": _READ,
    "ExportBook.lease": _READ,
    "ExportBook.note": _READ,
    "ExportBook.put_note": _READ,
    "ExportBook.settle": _READ,
    "Incidents.close": _READ,
    "Incidents.incidents": _READ,
    "Incidents.open": _READ,
    "Ocp.cancel": _ASK | _TWICE,
    "Ocp.create": _ASK | _TWICE | _FATES,
    "Ocp.fetch": _ASK | {"corrupt": 3.0, "torn": 4.0},
    "Ocp.files": _ASK,
    "Ocp.listing": _ASK,
    "Ocp.status": _ASK,
    "Push.event": _PUSH,
    "Push.recording": _PUSH,
    "RecordingStore.begin": _READ,
    "RecordingStore.copy_once.bytes": _BYTES,
    "RecordingStore.copy_once.visible": _READ,
    "RecordingStore.delete": _READ,
    "RecordingStore.hash": _READ,
    "RecordingStore.head": _READ,
    "RecordingStore.list": _READ,
    "RecordingStore.put_once": _READ,
    "RecordingStore.read": _READ,
    "RecordingStore.read.bytes": _BYTES,
    "RecordingStore.upload.bytes": _BYTES,
    "RecordingStore.upload.visible": _READ,
    "RecordingStore.upload.write": _READ,
    "Timetable.cancel": _READ,
    "Timetable.due": _READ,
    "Timetable.next_at": _READ,
    "Timetable.set": _READ,
    "WorkQueue.done": _READ,
    "WorkQueue.give_back": _READ,
    "WorkQueue.put": _READ,
    "WorkQueue.take": _READ,
})  # fmt: skip

# Faults that an effect can't have though others of its family do, and why.
CANNOT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "reads, duplicated or reordered": "a read changes nothing: twice is once, late is lost",
        "begin, upload.write, upload.visible, duplicated or reordered": (
            "parts have numbers, each upload a name of its own: twice is once, late is unanswered"
        ),
        "WorkQueue.take, duplicated or reordered": (
            "a message given to nobody: as an answer that was lost"
        ),
        "bytes, unanswered, slow, throttled, crash_after": "faults of the effect they belong to",
        "Push, slow, throttled, crashes": "the platform's part of a push: faults of its effects",
        "Push, corrupt": (
            "TLS lets no changed byte through; what OCP sends wrong is in the calls of each world"
        ),
        "Ocp reads, duplicated or reordered": "as reads",
    }
)

# Effects of the memory adapters that the simulation never passes, and who proves them instead.
_PEOPLE: Final = "read by people and probes only; nothing depends on it"
_DESK: Final = "the desk's own books, no part of a recording's way; tests/contracts, tests/desk"
_AWS: Final = "a port of the AWS runner; tests/flow and tests/aws"
ELSEWHERE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AlertBook.*": _DESK,
        "BulkBook.items": _PEOPLE,
        "CallStore.counts": "asked at the end, by an onlooker without faults",
        "CallStore.journal": "read for evidence and by people; tests/contracts",
        "DeskNotes.get": _PEOPLE,
        "Detection.*": _AWS,
        "Evidence.counted": _PEOPLE,
        "Evidence.kept": _PEOPLE,
        "Executions.*": _AWS,
        "ExportBook.groups": _PEOPLE,
        "Figures.*": _DESK,
        "SealBook.*": "the seal reads the journal and changes nothing of it; tests/evidence",
        "Tasks.*": _AWS,
        "UserBook.*": _DESK,
        "WorkQueue.depth": _PEOPLE,
        "WorkQueue.extend": _AWS,
        "WorkQueue.parked": _PEOPLE,
    }
)


def pairs() -> Iterator[tuple[str, str]]:
    """Every pair of effect and fault that can happen, in an order that never changes."""
    for effect in sorted(EFFECTS):
        for kind in sorted(EFFECTS[effect]):
            yield effect, kind


ALL_PAIRS: Final = tuple(pairs())
ALL_KINDS: Final = tuple(sorted({kind for _, kind in ALL_PAIRS}))
