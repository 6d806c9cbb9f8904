"""OCP's Export API for one process, in one call: the simulator's pure platform, and its bad days.

Faults      at "Ocp.<operation>"
lost        the request never arrived (Unavailable, sent unknown)
unanswered  done, but the answer was lost
limited     429 with Retry-After
refused     503
foreign     somebody else's export takes the slot first
failed, stuck, slow, expired, missing   what becomes of the export that is made
cut, wrong  a download ends early, or its bytes are others than announced
Outages (OCP silent for hours) come from the story, not from chance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from random import Random
from typing import Final, Literal

from ocp_ingest.core.errors import NotFound, Transient
from ocp_ingest.core.export_job import (
    Busy,
    Cancelled,
    Created,
    Export,
    Gone,
    Listed,
    RateLimited,
    Refused,
    Status,
    Unavailable,
    VendorStatus,
)
from ocp_ingest.ports import Clock
from ocp_ingest.reconcile.ports import (
    Expired,
    ExportFile,
    Failure,
    FetchedFile,
    FileList,
    Mismatch,
    no_progress,
)
from ocp_proof.chance import Chance
from ocp_sim import platform as sim
from ocp_sim.world import World

_BLOCK: Final = 32_768
_ANY: Final = (("lost", 3.0), ("unanswered", 3.0), ("limited", 2.0), ("refused", 2.0))
_CREATE: Final = (
    *_ANY, ("foreign", 2.0), ("failed", 2.0), ("stuck", 0.5), ("slow", 2.0), ("expired", 1.0),
    ("missing", 2.0),
)  # fmt: skip
_FETCH: Final = (*_ANY, ("cut", 4.0), ("wrong", 3.0))
_FATES: Final = {
    "failed": sim.Fate(failed=True),
    "stuck": sim.Fate(stuck=True),
    "slow": sim.Fate(slow_factor=10),
    "expired": sim.Fate(kept_ms=60_000),
    "missing": sim.Fate(missing_share=0.5),
}
_FOREIGN_MS: Final = 20 * 60_000


class SimOcp:
    """See ocp_ingest.reconcile.ports.ExportApi; `clock` is OCP's own."""

    def __init__(self, world: World, platform: sim.Platform, clock: Clock, chance: Chance) -> None:
        self.world = world
        self.platform = platform
        self.down = False
        self._clock = clock
        self._chance = chance
        self._groups = tuple(platform.jobs)

    async def create(
        self, group: str, from_ms: int, to_ms: int, types: Sequence[str]
    ) -> Created | Busy | Failure:
        """Starts an export."""
        what, _ = await self._request("create", _CREATE)
        if (failed := _failure(what)) is not None:
            return failed
        if what == "foreign":
            self.platform.hold_slot(self._now(), group, _FOREIGN_MS)
        fate = _FATES.get(what, sim.Fate())
        try:
            made = self.platform.create(
                self._now(), group, (from_ms, to_ms), types, allowed=self._groups, fate=fate
            )
        except sim.RefusedError as refused:
            return Busy() if refused.status == 409 else Refused(refused.status, refused.message)
        return Unavailable("answer lost") if what == "unanswered" else Created(self._seen(made))

    async def listing(self, group: str) -> Listed | Failure:
        """The group's exports."""
        what, _ = await self._request("listing", _ANY)
        held = self.platform.exports(group, allowed=self._groups)
        return _failure(what, after=True) or Listed(tuple(self._seen(job) for job in held))

    async def status(self, group: str, export_id: str, n: int) -> Status | Gone | Failure:
        """One export."""
        what, _ = await self._request("status", _ANY)
        if (failed := _failure(what, n, after=True)) is not None:
            return failed
        job = self.platform.jobs[group].get(export_id)
        return Gone(n) if job is None else Status(self._seen(job), n)

    async def files(self, group: str, export_id: str) -> FileList | Gone | Failure:
        """The file list."""
        what, _ = await self._request("files", _ANY)
        if (failed := _failure(what, after=True)) is not None:
            return failed
        try:
            found = self.platform.files(self._now(), self._job(group, export_id))
        except sim.RefusedError as refused:
            gone = refused.status in (404, 410)
            return Gone() if gone else Refused(refused.status, refused.message)
        return FileList(tuple(self._listed(file) for file in found))

    async def cancel(self, group: str, export_id: str) -> Cancelled | Gone | Failure:
        """Stops an export."""
        what, _ = await self._request("cancel", _ANY)
        if (failed := _failure(what)) is not None:
            return failed
        try:
            self.platform.cancel(self._now(), self._job(group, export_id))
        except sim.RefusedError as refused:
            gone = refused.status in (404, 410)
            return Gone() if gone else Refused(refused.status, refused.message)
        return _failure(what, after=True) or Cancelled()

    async def fetch(
        self, group: str, export_id: str, file: ExportFile,
        progress: Callable[[int], None] = no_progress,
    ) -> AsyncGenerator[FetchedFile, None]:  # fmt: skip
        """One file, or each member of a ZIP."""
        what, rng = await self._request("fetch", _FETCH)
        if _failure(what, after=True) is not None:
            raise Transient("OCP does not answer.")
        try:
            found = self.platform.files(self._now(), self._job(group, export_id))
        except sim.RefusedError as refused:
            raise Expired("OCP has deleted the export.") from refused
        one = next((held for held in found if held.name == file.name), None)
        if one is None:
            raise NotFound("This export has no such file.")
        for name, kind, body in self._contents(one):
            sha256 = file.sha256 if not one.is_zip else None
            blocks = self._blocks(body, what, rng, progress)
            yield FetchedFile(name, kind, len(body), sha256, blocks)

    # ------------------------------------------------------------------------------------------

    async def _request(
        self, operation: str, kinds: Sequence[tuple[str, float]]
    ) -> tuple[str, Random]:
        await asyncio.sleep(0.2)  # a request takes its time, in which others go on
        drawn = self._chance.draw(f"Ocp.{operation}", kinds)
        if self.down:
            return "lost", Random(0)  # noqa: S311 - unused
        return drawn if drawn is not None else ("", Random(0))  # noqa: S311 - unused

    def _now(self) -> int:
        return self._clock.now_ms()

    def _job(self, group: str, export_id: str) -> sim.Job:
        return self.platform.get(group, export_id, allowed=self._groups)

    def _seen(self, job: sim.Job) -> Export:
        return Export(
            export_id=job.id,
            status=VendorStatus(job.status(self._now())),
            from_ms=job.from_ms,
            to_ms=job.to_ms,
            types=job.types,
            created_at=job.created_ms,
            expires_at=job.expires_ms,
            file_count=len(job.files),
        )

    def _listed(self, file: sim.ExportFile) -> ExportFile:
        if file.type != "audio" or file.is_zip:
            return ExportFile(file.name, file.type)
        size, sha256 = self.world.sounds.facts(self.world.recordings[file.recordings[0]], "ocp")
        return ExportFile(file.name, file.type, size, sha256 if file.with_sha256 else None)

    def _contents(self, file: sim.ExportFile) -> list[tuple[str, Kind, bytes]]:
        if file.type != "audio":
            return [(file.name, "cdr", b"".join(line + b"\n" for line in file.lines))]
        return [(name, "recording", self.world.audio(name)) for name in file.recordings]

    async def _blocks(
        self, body: bytes, what: str, rng: Random, progress: Callable[[int], None]
    ) -> AsyncIterator[bytes]:
        end = rng.randrange(len(body) + 1) if what in ("cut", "wrong") else len(body)
        for at in range(0, end, _BLOCK):
            await asyncio.sleep(0.05)
            block = body[at : min(at + _BLOCK, end)]
            progress(at + len(block))
            yield block
        if what == "cut":
            raise Transient("The connection was cut.")
        if what == "wrong":
            raise Mismatch("The bytes are not those that OCP announced.")


Kind = Literal["recording", "cdr", "other"]


def _failure(what: str, n: int | None = None, *, after: bool = False) -> Failure | None:
    """The answer that a fault makes of a request; `after`: losing the answer costs nothing more."""
    if what == "lost" or (what == "unanswered" and after):
        return Unavailable("no answer", poll_n=n)
    if what == "limited":
        return RateLimited(7.0, poll_n=n)
    if what == "refused":
        return Unavailable("503", poll_n=n)
    return None
