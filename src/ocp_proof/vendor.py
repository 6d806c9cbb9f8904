"""OCP's Export API as one process sees it: the simulator's pure platform, and its bad days.

Faults        at "Ocp.<operation>"; see `effects`
lost          the request never arrived
unanswered    done, but the answer was lost
slow          the request is under way for long; its sender may have lost its lease meanwhile
throttled     429 with Retry-After
refused       503
duplicated    a proxy sends it twice; what is seen is the second answer
reordered     no answer; it arrives when its sender has gone on
crash_*       the process dies before OCP hears of it, or before it hears the answer
foreign       somebody else's export takes the slot first
failed, stuck, dragging, expired, missing   what becomes of the export that is made
torn, corrupt a download ends early, or its bytes are others than announced
Outages (OCP silent for hours) come from the story, not from chance.

Laws checked here, for here is OCP's own truth: one export of ours at a time in each group, windows
that OCP accepts, a bounded number of downloads at once and of questions about one export.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
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
from ocp_ingest.core.limits import HOUR_MS
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
from ocp_proof.law import law
from ocp_sim import platform as sim
from ocp_sim.world import World

_BLOCK: Final = 32_768
_FATES: Final = {
    "failed": sim.Fate(failed=True),
    "stuck": sim.Fate(stuck=True),
    "dragging": sim.Fate(slow_factor=10),
    "expired": sim.Fate(kept_ms=60_000),
    "missing": sim.Fate(missing_share=0.5),
}
# What we promised OCP, in numbers of its own: a changed constant must not change the promise.
_HOURS_MAX: Final = 48
_FETCHED_AT_ONCE: Final = 4
_FOREIGN_MS: Final = 20 * 60_000
# Trouble on both sides, in which calls of another hour may become due.
_TROUBLE_MS: Final = 40 * 60_000
# Under way for a moment, a minute, or longer than a lease; and how long a request may linger.
_SLOW_MS: Final = (500, 60_000, 6 * 60_000)
_LINGER_MS: Final = (500, 5_000, 90_000)
# Questions about one export: two runners after one another may ask each as often as one may, and
# a job that watches a stuck export asks on until it gives up.
_POLLS_MAX: Final = 400


class Vendor:
    """OCP itself, the same for all processes; `clock` is its own."""

    def __init__(self, world: World, platform: sim.Platform, clock: Clock, chance: Chance) -> None:
        self.world = world
        self.platform = platform
        self.clock = clock
        self.chance = chance
        self.groups = tuple(platform.jobs)
        self.troubled = False
        self.down = False
        self.polls: Counter[str] = Counter()
        self._troubles: dict[str, None] = {}

    def create(
        self, group: str, from_ms: int, to_ms: int, types: Sequence[str], fate: sim.Fate
    ) -> sim.Job | sim.RefusedError:
        """An export, or why not; checks what we may ask for."""
        hours, odd = divmod(to_ms - from_ms, HOUR_MS)
        law(not odd and 1 <= hours <= _HOURS_MAX, f"{group}: an export of {to_ms - from_ms} ms")
        law(from_ms % HOUR_MS == 0, f"{group}: an export that begins within an hour")
        now_ms = self.clock.now_ms()
        try:
            made = self.platform.create(
                now_ms, group, (from_ms, to_ms), types, allowed=self.groups, fate=fate
            )
        except sim.RefusedError as refused:
            return refused
        ours = [
            job for job in self.platform.jobs[group].values()
            if job.created_by == "api" and job.status(now_ms) in sim.RUNNING
        ]  # fmt: skip
        law(len(ours) <= 1, f"{group}: {len(ours)} exports of ours at once")
        return made

    def failed(self, export_id: str) -> None:
        """We are told that an export failed; in a troubled seed the trouble is then ours too."""
        if self.troubled and export_id not in self._troubles:
            self._troubles[export_id] = None
            self.chance.out("ExportBook.job", _TROUBLE_MS)


class SimOcp:
    """See ocp_ingest.reconcile.ports.ExportApi; one for each process.

    `dies` is its death by a crash, `thaws` waits while it is frozen.
    """

    def __init__(
        self, vendor: Vendor, clock: Clock, dies: Callable[[str], None],
        thaws: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._thaws = thaws
        self._vendor = vendor
        self._clock = clock
        self._dies = dies
        self._fetching: Counter[str] = Counter()

    async def create(
        self, group: str, from_ms: int, to_ms: int, types: Sequence[str]
    ) -> Created | Busy | Failure:
        """Starts an export."""
        what, rng = await self._request("create")
        if (failed := _failure(what)) is not None:
            return failed
        vendor = self._vendor
        if what == "foreign":
            vendor.platform.hold_slot(self._now(), group, _FOREIGN_MS)

        def arrives() -> sim.Job | sim.RefusedError:
            return vendor.create(group, from_ms, to_ms, types, _FATES.get(what, sim.Fate()))

        if what == "reordered":
            return self._linger(rng, arrives)
        if what == "duplicated":
            arrives()
        made = arrives()
        self._answers(what, "create")
        if what == "unanswered":
            return Unavailable("answer lost")
        if isinstance(made, sim.RefusedError):
            return Busy() if made.status == 409 else Refused(made.status, made.message)
        return Created(self._seen(made))

    async def listing(self, group: str) -> Listed | Failure:
        """The group's exports."""
        what, _ = await self._request("listing")
        held = self._vendor.platform.exports(group, allowed=self._vendor.groups)
        self._answers(what, "listing")
        return _failure(what, after=True) or Listed(tuple(self._seen(job) for job in held))

    async def status(self, group: str, export_id: str, n: int) -> Status | Gone | Failure:
        """One export."""
        what, _ = await self._request("status")
        asked = self._vendor.polls[export_id] = self._vendor.polls[export_id] + 1
        law(asked <= _POLLS_MAX, f"{export_id}: asked for {asked} times")
        self._answers(what, "status")
        if (failed := _failure(what, n, after=True)) is not None:
            return failed
        job = self._vendor.platform.jobs[group].get(export_id)
        if job is None:
            return Gone(n)
        if job.status(self._now()) == VendorStatus.FAILED:
            self._vendor.failed(export_id)
        return Status(self._seen(job), n)

    async def files(self, group: str, export_id: str) -> FileList | Gone | Failure:
        """The file list."""
        what, _ = await self._request("files")
        self._answers(what, "files")
        if (failed := _failure(what, after=True)) is not None:
            return failed
        try:
            found = self._vendor.platform.files(self._now(), self._job(group, export_id))
        except sim.RefusedError as refused:
            gone = refused.status in (404, 410)
            return Gone() if gone else Refused(refused.status, refused.message)
        return FileList(tuple(self._listed(file) for file in found))

    async def cancel(self, group: str, export_id: str) -> Cancelled | Gone | Failure:
        """Stops an export."""
        what, rng = await self._request("cancel")
        if (failed := _failure(what)) is not None:
            return failed

        def arrives() -> sim.RefusedError | None:
            try:
                self._vendor.platform.cancel(self._now(), self._job(group, export_id))
            except sim.RefusedError as refused:
                return refused
            return None

        if what == "reordered":
            return self._linger(rng, arrives)
        if what == "duplicated":
            arrives()
        refused = arrives()
        self._answers(what, "cancel")
        if what == "unanswered":
            return Unavailable("answer lost")
        if refused is not None:
            gone = refused.status in (404, 410)
            return Gone() if gone else Refused(refused.status, refused.message)
        return Cancelled()

    async def fetch(
        self, group: str, export_id: str, file: ExportFile,
        progress: Callable[[int], None] = no_progress,
    ) -> AsyncGenerator[FetchedFile, None]:  # fmt: skip
        """One file, or each member of a ZIP."""
        what, rng = await self._request("fetch")
        self._answers(what, "fetch")
        if _failure(what, after=True) is not None:
            raise Transient("OCP does not answer.")
        try:
            found = self._vendor.platform.files(self._now(), self._job(group, export_id))
        except sim.RefusedError as refused:
            raise Expired("OCP has deleted the export.") from refused
        one = next((held for held in found if held.name == file.name), None)
        if one is None:
            raise NotFound("This export has no such file.")
        self._fetching[group] += 1
        law(
            self._fetching[group] <= _FETCHED_AT_ONCE,
            f"{group}: {self._fetching[group]} downloads at once",
        )
        try:
            for name, kind, body in self._contents(one):
                sha256 = file.sha256 if not one.is_zip else None
                blocks = self._blocks(body, what, rng, progress)
                yield FetchedFile(name, kind, len(body), sha256, blocks)
        finally:
            self._fetching[group] -= 1

    # ------------------------------------------------------------------------------------------

    async def _request(self, operation: str) -> tuple[str, Random]:
        await self._thaws()
        await asyncio.sleep(0.2)  # a request takes its time, in which others go on
        point = f"Ocp.{operation}"
        drawn = self._vendor.chance.draw(point)
        what, rng = drawn if drawn is not None else ("", _NO_CHANCE)
        if what == "crash_before":
            self._dies(point)
        if what == "slow":
            await self._clock.sleep_ms(rng.choice(_SLOW_MS))
        return ("lost" if self._vendor.down else what), rng

    def _answers(self, what: str, operation: str) -> None:
        if what == "crash_after":
            self._dies(f"Ocp.{operation}")

    def _linger(self, rng: Random, arrives: Callable[[], object]) -> Unavailable:
        """The request arrives later, whatever becomes of its sender."""
        loop = asyncio.get_running_loop()
        loop.call_later(rng.choice(_LINGER_MS) / 1000, arrives)
        return Unavailable("no answer")

    def _now(self) -> int:
        return self._vendor.clock.now_ms()

    def _job(self, group: str, export_id: str) -> sim.Job:
        return self._vendor.platform.get(group, export_id, allowed=self._vendor.groups)

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
        world = self._vendor.world
        size, sha256 = world.sounds.facts(world.recordings[file.recordings[0]], "ocp")
        return ExportFile(file.name, file.type, size, sha256 if file.with_sha256 else None)

    def _contents(self, file: sim.ExportFile) -> list[tuple[str, Kind, bytes]]:
        if file.type != "audio":
            return [(file.name, "cdr", b"".join(line + b"\n" for line in file.lines))]
        return [(name, "recording", self._vendor.world.audio(name)) for name in file.recordings]

    async def _blocks(
        self, body: bytes, what: str, rng: Random, progress: Callable[[int], None]
    ) -> AsyncIterator[bytes]:
        end = rng.randrange(len(body) + 1) if what in ("torn", "corrupt") else len(body)
        for at in range(0, end, _BLOCK):
            await asyncio.sleep(0.05)
            block = body[at : min(at + _BLOCK, end)]
            progress(at + len(block))
            yield block
        if what == "torn":
            raise Transient("The connection was cut.")
        if what == "corrupt":
            raise Mismatch("The bytes are not those that OCP announced.")


Kind = Literal["recording", "cdr", "other"]
_NO_CHANCE: Final = Random(0)  # noqa: S311 - never used


def _failure(what: str, n: int | None = None, *, after: bool = False) -> Failure | None:
    """The answer that a fault makes of a request; `after`: losing the answer costs nothing more."""
    if what == "lost" or (what == "unanswered" and after):
        return Unavailable("no answer", poll_n=n)
    if what == "throttled":
        return RateLimited(7.0, poll_n=n)
    if what == "refused":
        return Unavailable("503", poll_n=n)
    return None
