"""export: does what the brain of stage 2 decided, and reports what was seen.

One function per action that touches OCP; nothing here decides anything.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.export_job import (
    Action,
    Cancel,
    Create,
    ExportJob,
    FetchManifest,
    Files,
    ListExports,
    Nothing,
    Observation,
    PollAt,
    Unavailable,
)
from ocp_ingest.core.lifecycle import current
from ocp_ingest.core.recording import EXTENSIONS, parse_name
from ocp_ingest.ingest import intake
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.ports import FileList
from ocp_ingest.reconcile.together import together
from ocp_ingest.reconcile.world import Stage2

# The `kind` of an Unavailable that is no fault of OCP's.
OWN_STORE: Final = "our own store"


async def perform(world: World, stage2: Stage2, job: ExportJob, action: Action) -> Observation:
    """Carries out an action on OCP and says what came of it."""
    api, group = stage2.api, job.ocp_group
    match action:
        case Create():
            return await api.create(group, action.from_ms, action.to_ms, action.types)
        case ListExports():
            return await api.listing(group)
        case PollAt() if job.export_id is not None:
            return await api.status(group, job.export_id, action.n)
        case Cancel():
            return await api.cancel(group, action.export_id)
        case FetchManifest():
            return await _manifest(world, stage2, job, action.export_id)
        case _:
            return Nothing()


async def _manifest(world: World, stage2: Stage2, job: ExportJob, export_id: str) -> Observation:
    seen = await stage2.api.files(job.ocp_group, export_id)
    if not isinstance(seen, FileList):
        return seen
    ref = f"manifest:{job.job_key}"
    try:
        await stage2.book.put_note(ref, msgspec.json.encode(seen.files))
        wanted = await together(seen.files, lambda file: is_wanted(world, file.name))
    except Transient:
        return Unavailable(OWN_STORE, sent=False)
    return Files(total=len(seen.files), wanted=sum(wanted), ref=ref)


async def is_wanted(world: World, name: str) -> bool:
    """Whether a file of an export may bring something that we lack.

    CDRs and archives always may; a recording, unless its dialog's is here and not known to be bad.
    """
    if name.rpartition(".")[2].lower() not in EXTENSIONS - {"zip"}:
        return True
    try:
        call_id, dialog_id = await intake.whose(world, parse_name(name))
        call = await world.calls.load(call_id)
        return call is None or not _is_here(call, dialog_id)
    except Transient:
        raise
    except Exception:  # a strange name, a broken record: whoever takes it says what is wrong
        return True


def _is_here(call: Call, dialog_id: str) -> bool:
    recording = call.recordings.get(dialog_id)
    stored = recording is not None and recording.stored is not None
    return stored or current(call, dialog_id) is not None
