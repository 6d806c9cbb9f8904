"""What must hold when faults have stopped and time has passed: nothing in flight, nothing lost.

The simulator's own ledger says how each call must end; the platform is not asked what it thinks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from ocp_ingest.adapters.memory.export_book import ExportBookState
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.core.call import Call
from ocp_ingest.core.events import Event
from ocp_ingest.core.export_job import ExportJob
from ocp_ingest.core.lifecycle import CallPolicy, outcome
from ocp_ingest.evidence.conservation import conservation
from ocp_proof.clock import SimClock
from ocp_proof.invariants import is_folded, law
from ocp_proof.process import Process
from ocp_proof.push import Acknowledged, Pusher
from ocp_proof.story import ORIGIN_MS
from ocp_sim.ledger import Entry, ledger

if TYPE_CHECKING:
    from ocp_proof.run import _Stage

_CALL: Final = msgspec.msgpack.Decoder(Call)
_EVENT: Final = msgspec.json.Decoder(Event)
_JOB: Final = msgspec.msgpack.Decoder(ExportJob)


def outcomes(state: MemoryState, policy: CallPolicy) -> dict[str, int]:
    """How the calls of a run ended, counted."""
    found: Counter[str] = Counter()
    for record in state.records.values():
        ended = outcome(_CALL.decode(record), policy)
        found[ended.outcome if ended is not None else "in_flight"] += 1
    return dict(found)


def asked_for(book: ExportBookState) -> list[str]:
    """Open export jobs that calls wait for; a census goes on for ever."""
    return [key for key in sorted(book.open) if _JOB.decode(book.jobs[key]).call_ids]


async def check(stage: _Stage, pusher: Pusher) -> None:
    """Raises BrokenLawError for the first law that does not hold at the end."""
    _acknowledged(stage.state, pusher.acknowledged)
    for call_id, record in stage.state.records.items():
        law(
            is_folded(call_id, record, stage.state.journal[call_id]),
            f"{call_id}: its record is not the fold of its journal",
        )
    law(not asked_for(stage.book), f"export jobs are open: {asked_for(stage.book)}")
    for entry in ledger(stage.ocp):
        _ended(stage, entry)
    open_calls = [c for c, row in stage.state.rows.items() if row.pend_at is not None]
    law(not open_calls, f"in flight at the end: {open_calls[:3]}")
    onlooker = Process(
        stage.site, SimClock(stage.loop, ORIGIN_MS), workers=0, per_call=False, faulty=False
    )
    said = await conservation(onlooker.world)
    law(said.holds, f"conservation: {said.differences}")


def _acknowledged(state: MemoryState, told: Acknowledged) -> None:
    for call_id, event_id in told.events:
        law(
            event_id in state.journal.get(call_id, {}),
            f"{call_id}: the acknowledged event {event_id} is not in the journal",
        )
    for call_id, dialog_id, sha256 in told.recordings:
        received = any(
            event.kind == "received" and event.data.get("sha256") == sha256
            and event.data.get("dialog_id") == dialog_id
            for event in map(_EVENT.decode, state.journal.get(call_id, {}).values())
        )  # fmt: skip
        law(received, f"{call_id}: an acknowledged recording is not in the journal")


def _ended(stage: _Stage, entry: Entry) -> None:
    record = stage.state.records.get(entry.call_id)
    law(record is not None, f"{entry.call_id}: nothing is known of it ({entry.faults})")
    assert record is not None
    call = _CALL.decode(record)
    ended = outcome(call, stage.settings.policy)
    law(ended is not None, f"{entry.call_id}: in flight at the end ({entry.faults})")
    assert ended is not None
    if entry.call_id in stage.touched:
        return
    law(
        ended.outcome == entry.expected,
        f"{entry.call_id}: {ended.outcome} ({ended.reason}), not {entry.expected} "
        f"({entry.reason}; {entry.faults})",
    )
    if entry.expected == "stored":
        place = call.root.stored
        law(place is not None and entry.recording is not None, f"{entry.call_id}: stored nowhere")
        assert place is not None
        assert entry.recording is not None
        law(place.sha256 == entry.recording.sha256, f"{entry.call_id}: stored with other bytes")
