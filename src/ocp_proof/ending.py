"""What must hold when faults have stopped and time has passed: nothing in flight, nothing lost.

The simulator's own ledger says how each call must end; the platform is not asked what it thinks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ocp_ingest.adapters.memory.export_book import ExportBookState
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.core.lifecycle import CallPolicy, outcome
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.evidence.conservation import conservation
from ocp_proof.invariants import Laws
from ocp_proof.law import law
from ocp_proof.process import Process
from ocp_proof.readings import CALLS, JOBS, unchanged
from ocp_proof.story import ORIGIN_MS, RETENTION_MS
from ocp_sim.ledger import Entry, ledger

if TYPE_CHECKING:
    from ocp_proof.run import _Stage

# By then a call that lacks something was asked for, had OCP answered: watermark, faults, census.
_ASKED_BY_MS: Final = 48 * HOUR_MS


def outcomes(state: MemoryState, policy: CallPolicy, unheard: int = 0) -> dict[str, int]:
    """How the calls of a run ended, counted."""
    found: Counter[str] = Counter()
    for call_id, record in state.records.items():
        ended = outcome(CALLS(call_id, record), policy)
        found[ended.outcome if ended is not None else "in_flight"] += 1
    if unheard:  # see `check`: no sender was ever told that they were taken
        found["in_flight"] -= unheard
        found["unheard"] = unheard
    return {name: times for name, times in found.items() if times}


def asked_for(book: ExportBookState) -> list[str]:
    """Open export jobs that calls wait for; a census goes on for ever."""
    return [key for key in sorted(book.open) if JOBS(key, book.jobs[key]).call_ids]


async def _bulk_done(stage: _Stage, onlooker: Process) -> None:
    """A bulk job that was started is done, and each of its calls has a result."""
    for job in await onlooker.desk.bulk.jobs():
        law(job.state != "running" or not stage.site.bulk.is_set(), f"{job.bulk_id} runs on")
        law(job.state != "done" or job.done == job.total, f"{job.bulk_id}: {job.done} results")


async def check(stage: _Stage) -> None:
    """Raises BrokenLawError for the first law that does not hold at the end."""
    unchanged()
    _bytes_kept(stage.laws)
    _incidents(stage.state)
    tries_max = stage.settings.limits.step_tries_max
    parked = [m for m in stage.state.messages.values() if m.state == "parked"]
    too_soon = [m.key for m in parked if m.tries < tries_max]
    law(not too_soon, f"parked before the last try: {too_soon}")
    for call_id, record in stage.state.records.items():
        law(
            stage.laws.is_caught_up(call_id, record),
            f"{call_id}: its record is not the fold of its journal",
        )
    law(not asked_for(stage.book), f"export jobs are open: {asked_for(stage.book)}")
    for entry in ledger(stage.ocp):
        _ended(stage, entry)
    open_calls = [c for c, row in stage.state.rows.items() if row.pend_at is not None]
    law(not open_calls, f"in flight at the end: {open_calls[:3]}")
    onlooker = Process(stage.site, stage.clock, faulty=False)
    for call_id in sorted(stage.state.journal.keys() - stage.state.records.keys()):
        # Its first message was journalled by a process that died then, and nobody repeated it.
        law(not stage.laws.was_acknowledged(call_id), f"{call_id}: it has no record")
        await onlooker.world.calls.rebuild(call_id)
        stage.unheard += 1
    await _bulk_done(stage, onlooker)
    said = await conservation(onlooker.world)
    law(said.holds, f"conservation: {said.differences}")


def _bytes_kept(laws: Laws) -> None:
    for sha256, call_id in laws.acknowledged_bytes.items():
        law(
            laws.has_bytes(sha256) or sha256 in laws.bytes_lost,
            f"{call_id}: the bytes of an acknowledged recording are nowhere, and nobody says so",
        )


def _incidents(state: MemoryState) -> None:
    opened = Counter(held.key for held in state.incidents if held.closed_at_ms is None)
    twice = [key for key, times in opened.items() if times > 1]
    law(not twice, f"incidents that are open twice: {twice}")


def _in_the_dark(stage: _Stage, entry: Entry, ended: str) -> bool:
    """Whether OCP was silent from before it could be asked for a call until it had deleted it."""
    if not stage.story.dark or ended not in ("", "lost", "quarantined"):
        return False
    from_ms, until_ms = (ORIGIN_MS + at_ms for at_ms in stage.story.outages_ms[-1])
    asked_ms = entry.started_ms + entry.duration_ms + _ASKED_BY_MS
    return from_ms < asked_ms and entry.started_ms + RETENTION_MS < until_ms


def _ended(stage: _Stage, entry: Entry) -> None:
    record = stage.state.records.get(entry.call_id)
    if record is None and _in_the_dark(stage, entry, ""):
        return  # nothing ever came of it, and no census could tell
    law(record is not None, f"{entry.call_id}: nothing is known of it ({entry.faults})")
    assert record is not None
    call = CALLS(entry.call_id, record)
    ended = outcome(call, stage.settings.policy)
    law(ended is not None, f"{entry.call_id}: in flight at the end ({entry.faults})")
    assert ended is not None
    if entry.call_id in stage.laws.touched or _in_the_dark(stage, entry, ended.outcome):
        return
    expected = stage.truth.expected(entry)
    if ended.outcome == entry.expected and _in_the_dark(stage, entry, "lost"):
        expected = ended.outcome  # which line of business it is of, only a lost CDR could tell
    law(
        ended.outcome == expected,
        f"{entry.call_id}: {ended.outcome} ({ended.reason}), not {expected} "
        f"({entry.reason}; {entry.faults})",
    )
    if expected == "stored":
        place = call.root.stored
        law(place is not None and entry.recording is not None, f"{entry.call_id}: stored nowhere")
        assert place is not None
        assert entry.recording is not None
        law(place.sha256 == entry.recording.sha256, f"{entry.call_id}: stored with other bytes")
