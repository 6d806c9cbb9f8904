"""download: the files of a completed export, through the one door of intake.

Every file gets a result, and results are data: they are kept beside the job, so a worker that
dies is followed by one that fetches only what has none. Recordings go the whole way (intake,
checks, store) before their result is said.

Result     the file is                                                    fetched again
stored     in its bucket
taken      here and sound, its call awaits CDRs; or CDRs, all taken
unusable   here, and judged bad
conflict   here beside another recording of its dialog; both are kept
skipped    not needed: its recording is here already, or it is no file of ours
failed     not here: `why` says what went wrong                            in the next round
gone       deleted at OCP before it could be fetched                       by the next export
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Final

import msgspec

from ocp_ingest.core.errors import Conflict, Denied, Invalid, OcpIngestError, Terminal, Transient
from ocp_ingest.core.events import Source
from ocp_ingest.core.export_job import ExportJob, Results
from ocp_ingest.core.lifecycle import current, usable
from ocp_ingest.core.limits import EXPORT_LINE_BYTES_MAX, EXPORT_LINES_AT_ONCE
from ocp_ingest.core.recording import EXTENSIONS, Name, parse_name
from ocp_ingest.core.vendor import Context
from ocp_ingest.ingest import intake
from ocp_ingest.ingest.pipeline import advance
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import watch
from ocp_ingest.reconcile.export import is_wanted
from ocp_ingest.reconcile.ports import Expired, ExportFile, FetchedFile
from ocp_ingest.reconcile.results import (
    FileResult,
    FileResults,
    Part,
    Said,
    count,
    in_part,
    is_open,
    keep_results,
    load_results,
    manifest_of,
    ref_of,
)
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

# Files between two writes of the results, at least, and as a part of all: the list is written
# whole, and an export may have 96,000 files. A crash costs these results, not the recordings,
# which are found to be here.
_KEEP_EVERY: Final = 64
_KEEP_PART: Final = 8


class Downloads:
    """One round of downloads of one job, or a part of it; `results` grows, keyed by listed file."""

    def __init__(
        self, world: World, stage2: Stage2, job: ExportJob, slots: asyncio.Semaphore,
        part: Part = "all",
    ) -> None:  # fmt: skip
        """`slots` bounds the files of the whole group that are fetched at once."""
        self._world = world
        self._stage2 = stage2
        self._job = job
        self._slots = slots
        self._source: Source = "census" if is_census(job) else "export"
        self._part = part
        self._listed: list[ExportFile] = []
        self._news = 0
        self.results: FileResults = {}

    async def run(self, until_ms: int) -> Results:
        """Fetches what has no result yet, in bounded parallel, before `until_ms`."""
        self._listed = in_part(await manifest_of(self._stage2, self._job), self._part)
        self.results = await load_results(self._stage2, self._job, self._part)
        todo = [file for file in self._listed if is_open(file, self.results)]

        async def one(file: ExportFile) -> None:
            async with self._slots:
                if self._world.clock.now_ms() < until_ms:
                    await self._file(file)

        tasks = [asyncio.create_task(one(file)) for file in todo]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._keep()
        return self.count()

    def count(self) -> Results:
        """How far this round, or this part of it, has come."""
        return count(self._listed, self.results, ref_of(self._job, self._job.round, self._part))

    async def keep(self) -> None:
        """Writes the results so far, if there are new ones."""
        if self._news:
            await self._keep()

    async def _keep(self) -> None:
        self._news = 0
        await keep_results(self._stage2, self._job, self._part, self.results)

    async def _file(self, file: ExportFile) -> None:
        said: list[FileResult] = []
        try:
            if await is_wanted(self._world, file.name):
                await self._fetch(file, said)
            else:
                said.append(await self._result(file, file.name, "skipped"))
        except Expired as gone:
            said.append(await self._result(file, file.name, "gone", gone.text))
        except OcpIngestError as failed:
            said.append(await self._result(file, file.name, "failed", failed.text))
            if isinstance(failed, Terminal | Denied):
                await watch.driving_fails(self._world, self._job.ocp_group, failed.text)
        except Exception as bug:  # one file that meets a bug must not cost the others
            log().error("download.crashed", job_key=self._job.job_key, exc_info=True)
            said.append(await self._result(file, file.name, "failed", type(bug).__name__))
        # An archive without anything inside is taken, too.
        self.results[file.name] = said or [FileResult(file.name, file.name, "taken")]
        log().info(
            "download.file_done", job_key=self._job.job_key, results=[r.result for r in said]
        )
        self._news += 1
        if self._news >= max(_KEEP_EVERY, len(self.results) // _KEEP_PART):
            await self._keep()

    async def _fetch(self, file: ExportFile, said: list[FileResult]) -> None:
        assert self._job.export_id is not None, "downloads follow a completed export"
        stream = self._stage2.api.fetch(self._job.ocp_group, self._job.export_id, file)
        async with aclosing(stream) as members:
            async for fetched in members:
                said.append(await self._take(file, fetched))

    async def _take(self, file: ExportFile, fetched: FetchedFile) -> FileResult:
        if fetched.kind == "cdr":
            return await self._cdrs(file, fetched)
        if fetched.kind == "other" or not await is_wanted(self._world, fetched.name):
            return await self._result(file, fetched.name, "skipped")
        name = parse_name(fetched.name)
        try:
            ids = await intake.whose(self._world, name)
        except Invalid as bad:  # for good, however often it is fetched
            await self._keep_evidence("export_file", bad.text, fetched.name.encode())
            return FileResult(file.name, fetched.name, "skipped", why=bad.text)
        try:
            return await self._recording(file, fetched, name, ids)
        except Invalid as bad:
            return await self._result(file, fetched.name, "failed", bad.text)

    async def _recording(
        self, file: ExportFile, fetched: FetchedFile, name: Name, ids: tuple[str, str]
    ) -> FileResult:
        digest = hashlib.sha256()

        async def chunks() -> AsyncIterator[bytes]:
            async for block in fetched.blocks:
                digest.update(block)
                yield block

        conflict = False
        try:
            taken = await intake.recording(
                self._world, name, chunks(),
                source="export", expected_bytes=fetched.size, expected_sha256=fetched.sha256,
                context=self._context(),
            )  # fmt: skip
            ids = taken.call_id, taken.dialog_id
        except Conflict:  # durable, and the incident is open
            conflict = True
        sha256 = digest.hexdigest()
        said = "conflict" if conflict else await self._verdict(*ids, sha256)
        call_id, dialog_id = ids
        why = "its call is not there" if said == "failed" else ""
        return FileResult(
            file.name, fetched.name, said, call_id=call_id, dialog_id=dialog_id, sha256=sha256,
            why=why,
        )  # fmt: skip

    async def _verdict(self, call_id: str, dialog_id: str, sha256: str) -> Said:
        """Takes the call as far as it goes: a result is only said of what is stored or judged."""
        call = await advance(self._world, call_id)
        recording = call.recordings.get(dialog_id) if call is not None else None
        if call is None or recording is None:
            return "failed"
        if recording.stored is not None:
            return "stored"
        version = recording.versions.get(sha256)
        if version is not None and usable(call, version, dialog_id) is False:
            return "unusable"
        # Here and sound, but its CDRs are still awaited: nothing more to download.
        return "taken" if current(call, dialog_id) is not None else "failed"

    async def _cdrs(self, file: ExportFile, fetched: FetchedFile) -> FileResult:
        new = lines = 0
        batch: list[tuple[object, bytes]] = []
        async for line in _lines(fetched.blocks):
            lines += 1
            try:
                batch.append((msgspec.json.decode(line), line))
            except (msgspec.DecodeError, RecursionError):
                await self._keep_evidence("export_line", "It is not JSON.", line)
            if len(batch) >= EXPORT_LINES_AT_ONCE:
                new += await self._events(batch)
                batch = []
        new += await self._events(batch)
        return FileResult(file.name, fetched.name, "taken", new=new, lines=lines)

    async def _events(self, batch: list[tuple[object, bytes]]) -> int:
        if not batch:
            return 0
        try:
            taken = await intake.events(self._world, batch, self._context())
        except Invalid as bad:  # kept as evidence there; the others of the batch were taken
            return int(bad.ids.get("new") or 0)
        return sum(one.new for one in taken)

    async def _result(self, file: ExportFile, name: str, result: Said, why: str = "") -> FileResult:
        """A result without bytes; of a recording it says whose it is, by its name."""
        call_id = dialog_id = ""
        if name.rpartition(".")[2].lower() in EXTENSIONS - {"zip"}:
            with suppress(Invalid, Transient):  # then nobody's, for all that we can say
                call_id, dialog_id = await intake.whose(self._world, parse_name(name))
        return FileResult(file.name, name, result, call_id=call_id, dialog_id=dialog_id, why=why)

    async def _keep_evidence(self, kind: str, why: str, body: bytes) -> None:
        await self._world.evidence.keep(kind, why, body, self._world.clock.now_ms())

    def _context(self) -> Context:
        settings = self._world.settings
        return Context(
            source=self._source,
            received_at_ms=self._world.clock.now_ms(),
            ocp_group_url=self._job.ocp_group,  # we asked this group, so it is theirs
            number_key=settings.number_key,
        )


def is_census(job: ExportJob) -> bool:
    """Whether a job counts the calls of its hours, for no call in particular."""
    return not job.call_ids


async def _lines(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines of an NDJSON stream; a line over the bound is cut there and fails as JSON."""
    rest = b""
    async for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            if line.strip():
                yield line.strip()
        if len(rest) > EXPORT_LINE_BYTES_MAX:
            yield rest
            rest = b""
    if rest.strip():
        yield rest.strip()
