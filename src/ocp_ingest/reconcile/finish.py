"""finish: says on each call what its export job brought, and what that means for its next try.

What the job's end says of a call             `found`                         a try of the call?
the export was read: it holds the data        True                            yes
… it does not                                 False: a miss                   yes
… but a file that may hold them failed        silent                          yes
the data expired, the export got stuck        silent                          yes
OCP never made it, broke it, or cancelled it  silent                          no
the call's group is unknown, others come next True, or silent                 no
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from ocp_ingest import tracing
from ocp_ingest.core import events as ev
from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.export_job import End, ExportJob
from ocp_ingest.core.lifecycle import missing_cdrs
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.detect import speaks_for_all
from ocp_ingest.reconcile.results import FAILED, FileResult, load_results
from ocp_ingest.reconcile.together import together
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

# Only these ends saw everything that the export held; the others prove no absence.
_COMPLETE: Final = frozenset({End.DONE, End.PARTIAL})
# OCP had its reasons, and the group has its own pause for each: no call pays for them with a try.
_NO_TRY: Final = frozenset({
    End.FAILED, End.BISECTED, End.QUARANTINED, End.REFUSED, End.CANCELLED, End.SLOT_HELD,
    End.VENDOR_DOWN, End.NOT_CREATED,
})  # fmt: skip
# Calls whose events go into one append.
_BATCH: Final = 200
# Files of a call that its record names.
_FILES_MAX: Final = 20


async def ask(world: World, job: ExportJob) -> None:
    """Journals on each call that an export job covers it; before anything is asked of OCP."""
    window = (job.from_ms, job.to_ms)
    for batch in _batches(job.call_ids):
        began_ns = tracing.clock_ns()
        await world.calls.append(
            [
                ev.export_asked(
                    call_id, job.job_key, at_ms=job.planned_at, window=window, attempt=job.attempt
                )
                for call_id in batch
            ]
        )
        tracing.spans("export.asked", began_ns, ((c, {"job": job.job_key}) for c in batch))


async def answer(world: World, stage2: Stage2, job: ExportJob) -> int:
    """Journals the answer on each call of the job, and on each call that it served besides.

    Returns how many calls the export brought something for. Said twice it is the same: whoever
    takes over an ended job may say it again.
    """
    results = [said for held in (await load_results(stage2, job)).values() for said in held]
    failed = [said for said in results if said.result in FAILED]
    # A failed recording says whose it is; a failed archive or CDR file may have held anybody's.
    blind = any(not said.dialog_id for said in failed)
    of_call: dict[str, list[FileResult]] = {}
    for said in results:
        if said.call_id:
            of_call.setdefault(said.call_id, []).append(said)
    served = 0
    for batch in _batches(dict.fromkeys((*job.call_ids, *of_call))):
        events, began_ns = [], tracing.clock_ns()
        for call in await together(batch, lambda call_id: _load(world, call_id)):
            if call is None:
                continue
            call_id = call.call_id
            last = speaks_for_all(world, call, job.ocp_group, stage2.groups)
            files = of_call.get(call_id, [])
            found = _found(call, job, files, silent=blind or not last)
            served += any(found.values())
            events.append(_answered(world, call, job, found, files, spends=last))
        await world.calls.append(events)
        tracing.spans("export.answered", began_ns, ((e.call_id, _traced(job)) for e in events))
    log().info("export.answered", job_key=job.job_key, served=served, calls=len(job.call_ids))
    return served


def _traced(job: ExportJob) -> dict[str, tracing.Attribute]:
    return {"job": job.job_key, "end": job.end.value if job.end else "", "polls": job.polls}


async def _load(world: World, call_id: str) -> Call | None:
    """A call's record; None too where it can't be read, which must not cost the others."""
    try:
        return await world.calls.load(call_id)
    except OcpIngestError:
        raise
    except Exception:
        log().error("export.answer_lost", call_id=call_id, exc_info=True)
        return None


def _found(
    call: Call, job: ExportJob, files: Sequence[FileResult], *, silent: bool
) -> dict[str, bool]:
    """Per data type whether the export held it; left out where it can't be said."""
    found: dict[str, bool] = {}
    silent = silent or job.end not in _COMPLETE or call.call_id not in job.call_ids
    root = [f for f in files if f.dialog_id in ("", call.root_dialog_id)]
    if "audio" in job.types:
        if any(f.result not in FAILED for f in root):
            found["audio"] = True
        elif not silent and not root:
            found["audio"] = False
    lacking = missing_cdrs(call)
    read = bool(job.manifest_ref)  # else a CDR that is here came by another way
    for cdr in ("dialog_start", "dialog_end"):
        if cdr in job.types and read and (cdr not in lacking or not silent):
            found[cdr] = cdr not in lacking
    return found


def _answered(
    world: World, call: Call, job: ExportJob, found: dict[str, bool], files: Sequence[FileResult],
    *, spends: bool,
) -> ev.Event:  # fmt: skip
    had_its_say = job.end not in _NO_TRY
    metadata: dict[str, Any] = {
        "ocp_group": job.ocp_group,
        "status": job.status.value if job.status else None,
        "created_at": rfc3339(job.posted_at or None),
        "expires_at": rfc3339(job.expires_at or None),
        "file_count": job.file_count,
        "end": job.end.value if job.end else None,
        "why": job.end_why or None,
        "polls": job.polls,
        # What core.lifecycle counts for the back-off, and detect for groups asked in turn.
        "tries": list(job.types) if had_its_say and spends else [],
        "said": had_its_say,
    }
    return ev.export_answered(
        call.call_id,
        job.job_key,
        at_ms=job.finished_at or world.clock.now_ms(),
        job_id=job.export_id or "",
        task_id=job.task_id or job.job_key,
        window=(job.from_ms, job.to_ms),
        found=found,
        files=[
            {"name": f.name, "dialog_id": f.dialog_id, "sha256": f.sha256, "result": f.result}
            for f in files[:_FILES_MAX]
        ],
        metadata={k: v for k, v in metadata.items() if v is not None},
    )


def _batches(call_ids: Iterable[str]) -> Iterator[list[str]]:
    ids = list(call_ids)
    return (ids[i : i + _BATCH] for i in range(0, len(ids), _BATCH))
