"""How export jobs are shown: a look for each state, told by colour, pattern, sign and words.

look         states and ends                                        badge  sign
waiting      planned, creating, doubtful, busy                      info   …
exporting    running, cancelling                                    info   ▸
downloading  ready, downloading                                     info   ↓
blocked      blocked                                                bad    ‖
done         done                                                   ok     ✓
again        ends whose calls are asked for again by themselves     warn   ↻
refused      ends that wait for a person                            bad    ✕
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ocp_ingest.core.call import Call
from ocp_ingest.core.export_facts import End, ExportJob, State
from ocp_ingest.core.lifecycle import outcome, stage, start_ms
from ocp_ingest.core.masking import mask_text
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.page import Visit
from ocp_ingest.reconcile.download import is_census
from ocp_ingest.reconcile.results import FAILED, FileResult, FileResults
from ocp_ingest.reconcile.together import together


class Look(msgspec.Struct, frozen=True):
    """How a state is drawn; `name` is also the pattern's and the legend's."""

    name: str
    badge: str
    sign: str


_LOOKS: Final = {
    look.name: look
    for look in (
        Look("waiting", "info", "…"),
        Look("exporting", "info", "▸"),
        Look("downloading", "info", "↓"),
        Look("blocked", "bad", "‖"),
        Look("done", "ok", "✓"),
        Look("again", "warn", "↻"),
        Look("refused", "bad", "✕"),
    )
}
LOOKS: Final[tuple[Look, ...]] = tuple(_LOOKS.values())
_OF_STATE: Final[Mapping[State, str]] = {
    State.PLANNED: "waiting", State.CREATING: "waiting", State.DOUBTFUL: "waiting",
    State.BUSY: "waiting", State.RUNNING: "exporting", State.CANCELLING: "exporting",
    State.BLOCKED: "blocked", State.READY: "downloading", State.DOWNLOADING: "downloading",
}  # fmt: skip
_REFUSED: Final = frozenset({End.REFUSED, End.QUARANTINED})


def look_of(job: ExportJob) -> Look:
    """How a job is drawn."""
    if job.end is None:
        return _LOOKS[_OF_STATE.get(job.state, "waiting")]
    if job.end is End.DONE:
        return _LOOKS["done"]
    return _LOOKS["refused" if job.end in _REFUSED else "again"]


class JobRow(msgspec.Struct, frozen=True):
    """A job as lists and drawings show it; `word` is the key of its state's or end's name."""

    job: ExportJob
    look: Look
    word: str
    census: bool
    took_ms: int | None


def row_of(job: ExportJob) -> JobRow:
    """The row of a job."""
    word = f"end.{job.end.value}" if job.end is not None else f"state.{job.state.value}"
    return JobRow(job, look_of(job), word, is_census(job), took_ms(job))


def took_ms(job: ExportJob) -> int | None:
    """From the plan to the end, None while it is open."""
    return None if job.finished_at is None else max(0, job.finished_at - job.planned_at)


def why_of(job: ExportJob) -> str:
    """The recorded reason of its end; OCP's words may quote what was asked for."""
    return mask_text(job.end_why)


# -- calls, named as far as they are the visitor's ------------------------------------------------


class CallRow(msgspec.Struct, frozen=True):
    """A call as lists beside other things show it."""

    call_id: str
    started_at: int
    stage: str
    outcome: str


class Named(msgspec.Struct, frozen=True):
    """Calls that the visitor may see, and how many there are besides."""

    calls: list[CallRow]
    others: int


async def named(console: Console, visit: Visit, call_ids: Sequence[str], limit: int) -> Named:
    """The visitor's of the first `limit` calls; all others are only counted."""
    calls = await together(call_ids[:limit], console.desk.world.calls.load)
    rows = [
        row_of_call(console, call)
        for call in calls
        if call is not None and visit.person.sees(console.lob_of(call))
    ]
    return Named(rows, len(call_ids) - len(rows))


async def theirs(console: Console, visit: Visit, call_ids: Sequence[str]) -> list[str]:
    """Those of the ids that the visitor may be told; no call is read for who sees everything."""
    if visit.person.lobs is None:
        return list(call_ids)
    return [row.call_id for row in (await named(console, visit, call_ids, len(call_ids))).calls]


def row_of_call(console: Console, call: Call) -> CallRow:
    """The row of a call."""
    done = outcome(call, console.desk.world.settings.policy)
    return CallRow(call.call_id, start_ms(call), stage(call), done.outcome if done else "none")


# -- files ----------------------------------------------------------------------------------------


class Files(msgspec.Struct, frozen=True):
    """Results of files that the visitor may see, those that tell most first; `counts` has all."""

    shown: list[FileResult]
    counts: dict[str, int]
    others: int


async def files_of(console: Console, visit: Visit, results: FileResults, limit: int) -> Files:
    """The results of a job's files; a file of another's call is only counted."""
    flat = [said for held in results.values() for said in held]
    counts: dict[str, int] = {}
    for said in flat:
        counts[said.result] = counts.get(said.result, 0) + 1
    first = sorted(flat, key=lambda said: (_weight(said), said.name))[:limit]
    if visit.person.lobs is None:
        return Files(first, counts, len(flat) - len(first))
    # A file that names no call of theirs may hold others', or be named after one.
    ids = sorted({said.call_id for said in first if said.call_id})
    known = set(await theirs(console, visit, ids))
    shown = [said for said in first if said.call_id in known]
    return Files(shown, counts, len(flat) - len(shown))


def _weight(said: FileResult) -> int:
    """What failed is looked for first, what nobody needed last."""
    if said.result in FAILED:
        return 0
    return 2 if said.result == "skipped" else 1
