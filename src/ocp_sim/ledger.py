"""How each call must end, told by what OCP has and what went wrong. Pure.

The first rule that fits decides:

| Has the call … | Must end | Without exports |
|---|---|---|
| test_call | absent: it is a test | absent |
| too_short | absent: shorter than OCP records | absent |
| expired | lost: gone at OCP too | in_flight |
| corrupt_at_ocp | quarantined: OCP's own copy is broken | in_flight |
| nothing | stored, found by the census | unknown |
| lost, corrupt_stream, error_body, wrong_call_id | stored, by an export | in_flight |
| missing_start, missing_end, endless | stored | in_flight |
| anything else | stored | stored |

`recording` tells the bytes that must be stored (or quarantined). `strays` are ids of calls that
never were, under which mislabelled recordings arrive: no started calls, yet not to be lost.
"""

from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

from ocp_sim.faults import NEEDS_EXPORT
from ocp_sim.model import Call
from ocp_sim.script import stray_call_id
from ocp_sim.world import World

Expected = Literal["stored", "absent", "quarantined", "lost"]
Via = Literal["stream", "export", "census"]
Without = Literal["stored", "absent", "in_flight", "unknown"]

SINGLE_RULES: Final[dict[str, tuple[Expected, str, Without]]] = {
    "test_call": ("absent", "test_flag: a test call, never recorded", "absent"),
    "too_short": ("absent", "too_short: shorter than what OCP records", "absent"),
    "expired": ("lost", "retention: deleted at OCP before it was fetched", "in_flight"),
    "corrupt_at_ocp": ("quarantined", "corrupt_at_ocp: OCP's own copy is invalid", "in_flight"),
    "nothing": ("stored", "nothing: no message ever came, OCP has the call", "unknown"),
}
WAITS_FOR_CDR: Final = frozenset({"missing_start", "missing_end", "endless"})


class StoredRecording(Struct, frozen=True, kw_only=True):
    """The bytes that OCP has of a call."""

    dialog_id: str
    name: str
    bytes: int
    sha256: str


class Entry(Struct, frozen=True, kw_only=True):
    """One line of the ledger."""

    call_id: str
    ocp_group: str
    app: str
    started_ms: int
    duration_ms: int
    announced: bool
    expected: Expected
    expected_without_export: Without
    reason: str
    via: Via
    recording: StoredRecording | None
    faults: tuple[str, ...]
    shapes: tuple[str, ...]
    stray_call_id: str | None


def ledger(world: World) -> Iterator[Entry]:
    """The lines of a world by start of call; renders audio to know its checksum."""
    return (entry(world, call) for call in world.calls)


def entry(world: World, call: Call) -> Entry:
    """The line of one call."""
    expected, reason, without = verdict(call)
    return Entry(
        call_id=call.call_id,
        ocp_group=call.ocp_group,
        app=call.app,
        started_ms=call.start_ms,
        duration_ms=call.duration_ms,
        announced="nothing" not in call.faults,
        expected=expected,
        expected_without_export=without,
        reason=reason,
        via=_via(call),
        recording=_recording(world, call) if expected in ("stored", "quarantined") else None,
        faults=tuple(sorted(call.faults)),
        shapes=tuple(sorted(call.shapes)),
        stray_call_id=stray_call_id(call),
    )


def verdict(call: Call) -> tuple[Expected, str, Without]:
    """Outcome, reason, and where the call stands before there are exports."""
    for fault, rule in SINGLE_RULES.items():
        if fault in call.faults:
            return rule
    if cause := call.faults & NEEDS_EXPORT:
        return "stored", f"{min(cause)}: the stream failed, an export has it", "in_flight"
    if cause := call.faults & WAITS_FOR_CDR:
        return "stored", f"{min(cause)}: a CDR never comes by the stream", "in_flight"
    return "stored", "streamed", "stored"


def _via(call: Call) -> Via:
    if "nothing" in call.faults:
        return "census"
    return "export" if call.faults & NEEDS_EXPORT else "stream"


def _recording(world: World, call: Call) -> StoredRecording | None:
    if call.recording is None:
        return None
    facts = world.sounds.facts(call.recording, "ocp")
    return StoredRecording(
        dialog_id=call.recording.dialog_id,
        name=call.recording.name,
        bytes=facts.size,
        sha256=facts.sha256,
    )
