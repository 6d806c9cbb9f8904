"""What became of an export's files: kept beside the job, under a reference per part and round.

A round of downloads is done as a whole by the embedded runner, in two parts by a state machine:

part       files                                             fetched by
metadata   CDR files of a known size up to 32 MiB            a function: soon, and in little memory
audio      all others: recordings, archives, huge CDR files  a worker, for hours if need be

What two may write at once has two references; a part of a round belongs to one writer, so a
paused one can't overwrite what its successor wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from ocp_ingest.core.errors import Transient
from ocp_ingest.core.export_job import ExportJob, Results
from ocp_ingest.core.limits import MIB
from ocp_ingest.core.recording import EXTENSIONS
from ocp_ingest.reconcile.book import ExportBook
from ocp_ingest.reconcile.ports import ExportFile
from ocp_ingest.reconcile.world import Stage2

Said = Literal["stored", "unusable", "conflict", "taken", "skipped", "failed", "gone"]
Part = Literal["all", "metadata", "audio"]

# Results without the file.
FAILED: Final = frozenset({"failed", "gone"})
# The largest CDR file that a function reads. At 1 MB/s it takes half a minute of its fifteen, a
# batch of its lines fits into the smallest memory, and 32 MiB are 10,000 CDRs: a busy group's day.
METADATA_BYTES_MAX: Final = 32 * MIB
_CDR_EXTENSIONS: Final = frozenset({"json", "ndjson", "jsonl"})
_CDR_TYPES: Final = ("dialog_", "ivr_")


class FileResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one file of an export; `file` is the listed one it came in."""

    file: str
    name: str
    result: Said
    call_id: str = ""
    dialog_id: str = ""
    sha256: str = ""
    new: int = 0  # of a CDR file: events that were news to us
    lines: int = 0
    why: str = ""


FileResults = dict[str, list[FileResult]]  # by listed file


def part_of(file: ExportFile) -> Part:
    """Who fetches a listed file when a round is done in two parts."""
    if file.size is None or file.size > METADATA_BYTES_MAX:
        return "audio"
    extension = file.name.rpartition(".")[2].lower() if "." in file.name else ""
    if extension in _CDR_EXTENSIONS:
        return "metadata"
    named = extension in EXTENSIONS or extension == "zip"
    return "metadata" if not named and file.type.startswith(_CDR_TYPES) else "audio"


def in_part(listed: Iterable[ExportFile], part: Part) -> list[ExportFile]:
    """The files of a part."""
    return [file for file in listed if part == "all" or part_of(file) == part]


def is_open(file: ExportFile, results: Mapping[str, Sequence[FileResult]]) -> bool:
    """Whether a file is still to be fetched in a round."""
    held = results.get(file.name)
    return held is None or any(said.result == "failed" for said in held)


def count(
    listed: Sequence[ExportFile], results: Mapping[str, Sequence[FileResult]], ref: str
) -> Results:
    """How far the files of a list have come, kept at `ref`."""
    flat = [said.result for held in results.values() for said in held]
    # Out of time: nobody has tried these yet.
    untried = sum(file.name not in results for file in listed)
    failed, gone = flat.count("failed"), flat.count("gone")
    return Results(done=len(flat) - failed - gone, failed=failed + untried, gone=gone, ref=ref)


def ref_of(job: ExportJob, number: int, part: Part) -> str:
    """Where the results of a part of a round are kept."""
    ref = f"results:{job.job_key}:{number}"
    return ref if part == "all" else f"{ref}:{part}"


async def keep_results(stage2: Stage2, job: ExportJob, part: Part, results: FileResults) -> None:
    """Keeps the results so far of a part of the job's round."""
    await stage2.book.put_note(ref_of(job, job.round, part), msgspec.json.encode(results))


async def load_results(stage2: Stage2, job: ExportJob, part: Part = "all") -> FileResults:
    """Results of a job so far, of a part or of all: each part's of its last round that wrote any.

    Each round starts with the results of those before it, so the last one has them all.
    """
    return await held_results(stage2.book, job, part)


async def held_results(book: ExportBook, job: ExportJob, part: Part = "all") -> FileResults:
    """The same, for those who only read the book."""
    parts: tuple[Part, ...] = (part,)
    if part == "all" and job.execution_ref is not None:  # a state machine has it done in parts
        parts = ("metadata", "audio")
    results: FileResults = {}
    for one in parts:
        results |= await _last_round(book, job, one)
    return results


async def _last_round(book: ExportBook, job: ExportJob, part: Part) -> FileResults:
    for number in range(job.round, 0, -1):
        body = await book.note(ref_of(job, number, part))
        if body is not None:
            return msgspec.json.decode(body, type=FileResults)
    return {}


async def failing(stage2: Stage2, job: ExportJob) -> list[str]:
    """Why files of a job could not be fetched, one text for each."""
    results = (await load_results(stage2, job)).values()
    return [said.why for held in results for said in held if said.result in FAILED]


async def manifest_of(stage2: Stage2, job: ExportJob) -> list[ExportFile]:
    """The listed files of a job's export. Raises Transient when the list can't be read."""
    body = await stage2.book.note(job.manifest_ref) if job.manifest_ref else None
    if body is None:
        raise Transient("The export's file list is not there.", job_key=job.job_key)
    return msgspec.json.decode(body, type=list[ExportFile])
