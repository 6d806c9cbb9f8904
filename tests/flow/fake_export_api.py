"""OCP's Export API in memory: its rules enforced, its faults parameters; for flow tests.

Rules it keeps (ocp-facts 10.3): both ends of a range are floored to the hour; 1 to 48 hours; one
running export per group, a second one gets Busy; data is gone `life_ms` after the creation.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from ocp_ingest.core.export_job import (
    Busy,
    Cancelled,
    Created,
    Export,
    Gone,
    Listed,
    Refused,
    Status,
    Unavailable,
    VendorStatus,
)
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, SECOND_MS
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

_BLOCK = 16_384


@dataclass
class OcpCall:
    """A call as OCP has it."""

    call_id: str
    group: str
    start_ms: int
    audio: bytes | None
    cdrs: dict[str, dict[str, Any]] = field(default_factory=dict)  # message type -> message

    @property
    def file_name(self) -> str:
        return f"{self.call_id}~4001~{self.start_ms}~{self.call_id}.wav"


@dataclass
class _Export:
    export_id: str
    group: str
    from_ms: int
    to_ms: int
    types: tuple[str, ...]
    created_at: int
    ready_at: int
    foreign: bool
    cancelled: bool = False
    fetches: int = 0
    # What it holds is decided when it is made, as at OCP.
    files: dict[str, list[tuple[str, str, bytes]]] = field(default_factory=dict)


Scripted = tuple[Any, bool]  # what is answered or raised, and whether the effect happens


class FakeOcp:
    """See ocp_ingest.reconcile.ports.ExportApi."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.calls: dict[str, OcpCall] = {}
        self.exports: dict[str, _Export] = {}
        # Faults
        self.takes_ms = 90 * SECOND_MS
        self.life_ms = DAY_MS
        self.stuck: set[str] = set()  # groups whose exports never complete
        self.cancel_works = True
        self.lists = True
        self.down = False
        self.poison_hours: set[int] = set()  # exports that touch these FAIL
        self.fails_first = False  # the first export of all FAILs
        self.delivery: Literal["wav", "zip"] = "wav"
        self.lacks: Counter[str] = Counter()  # call -> exports that will not hold its audio
        self.lacks_cdr: Counter[str] = Counter()  # message type -> exports without that file
        self.instead: dict[str, deque[bytes]] = defaultdict(deque)  # call -> bytes per fetch
        self.cuts: Counter[str] = Counter()  # file -> fetches that are cut in the middle
        self.gone_after: int | None = None  # fetches of one export, then its data is deleted
        self.extra: list[tuple[str, str, bytes]] = []  # kind, name, body: in every export
        self.held: asyncio.Event | None = None  # fetches wait for it
        self.held_inside: asyncio.Event | None = None  # so do the last bytes of each file
        self._script: dict[str, deque[Scripted]] = defaultdict(deque)
        # What was seen
        self.asked: Counter[str] = Counter()  # operation -> times
        self.fetched: Counter[str] = Counter()  # file -> times
        self.most_at_once: Counter[str] = Counter()  # group -> exports that ran at one time
        self.on_ask: Callable[[str], None] = lambda _operation: None

    def answer(self, operation: str, *said: Any, effect: bool = False) -> None:
        """The next answers of an operation; with `effect` it is done and only its answer is lost.

        An exception is raised instead; None lets the operation through.
        """
        self._script[operation] += [(one, effect) for one in said]

    def start_foreign(
        self, group: str, from_ms: int, to_ms: int, *, takes_ms: int, types: Sequence[str]
    ) -> str:
        """Somebody else's export takes the group's slot."""
        return self._start(group, from_ms, to_ms, types, takes_ms, foreign=True).export_id

    @property
    def ours(self) -> list[_Export]:
        """The exports that we made, in order."""
        return [export for export in self.exports.values() if not export.foreign]

    # -- the port -----------------------------------------------------------------------------

    async def create(
        self, group: str, from_ms: int, to_ms: int, types: Sequence[str]
    ) -> Created | Busy | Failure:
        said, effect = await self._scripted("create")
        if said is not None and not effect:
            return said  # type: ignore[no-any-return]
        made = self._create(group, from_ms, to_ms, types)
        return made if said is None else said

    async def listing(self, group: str) -> Listed | Failure:
        said, _ = await self._scripted("listing")
        if said is not None:
            return said  # type: ignore[no-any-return]
        if not self.lists:
            return Refused(405, "no such operation")
        return Listed(tuple(self._seen(e) for e in self.exports.values() if e.group == group))

    async def status(self, group: str, export_id: str, n: int) -> Status | Gone | Failure:
        said, _ = await self._scripted("status")
        if said is not None:
            return msgspec.structs.replace(said, poll_n=n)  # type: ignore[no-any-return]
        export = self.exports.get(export_id)
        if export is None or export.group != group:
            return Gone(n)
        return Status(self._seen(export), n)

    async def files(self, group: str, export_id: str) -> FileList | Gone | Failure:
        said, _ = await self._scripted("files")
        if said is not None:
            return said  # type: ignore[no-any-return]
        export = self.exports[export_id]
        if self._is_over(export):
            return Gone()
        return FileList(tuple(self._listed(export)))

    async def cancel(self, group: str, export_id: str) -> Cancelled | Gone | Failure:
        said, _ = await self._scripted("cancel")
        if said is not None:
            return said  # type: ignore[no-any-return]
        if not self.cancel_works:
            return Refused(405, "no such operation")
        self.exports[export_id].cancelled = True
        return Cancelled()

    async def fetch(
        self,
        group: str,
        export_id: str,
        file: ExportFile,
        progress: Callable[[int], None] = no_progress,
    ) -> AsyncGenerator[FetchedFile, None]:
        said, _ = await self._scripted("fetch")
        assert said is None, "a fetch raises, it does not answer"
        export = self.exports[export_id]
        assert export.group == group
        if self._is_over(export) or export.fetches == self.gone_after:
            raise Expired("OCP has deleted the export.")
        export.fetches += 1
        self.fetched[file.name] += 1
        if self.held is not None:
            await self.held.wait()
        cut = self.cuts[file.name] > 0
        self.cuts[file.name] -= cut
        for kind, name, body in export.files[file.name]:
            sent = self._bytes_of(name, body)
            sha256 = file.sha256 if name == file.name else None
            yield FetchedFile(name, kind, len(sent), sha256, self._blocks(sent, cut))  # type: ignore[arg-type]

    # -----------------------------------------------------------------------------------------

    async def _scripted(self, operation: str) -> Scripted:
        await asyncio.sleep(0)  # a request takes a turn of the loop
        self.asked[operation] += 1
        self.on_ask(operation)
        if self.down:
            return Unavailable("connection refused", sent=False), False
        if not self._script[operation]:
            return None, False
        said, effect = self._script[operation].popleft()
        if isinstance(said, BaseException):
            raise said
        return said, effect

    def _create(
        self, group: str, from_ms: int, to_ms: int, types: Sequence[str]
    ) -> Created | Busy | Refused:
        from_ms, to_ms = from_ms // HOUR_MS * HOUR_MS, to_ms // HOUR_MS * HOUR_MS
        if not HOUR_MS <= to_ms - from_ms <= 48 * HOUR_MS:
            return Refused(400, "the range must be 1 to 48 hours")
        if self._running(group):
            return Busy()
        return Created(self._seen(self._start(group, from_ms, to_ms, types, self.takes_ms)))

    def _start(
        self, group: str, from_ms: int, to_ms: int, types: Sequence[str], takes_ms: int,
        *, foreign: bool = False,
    ) -> _Export:  # fmt: skip
        now_ms = self.clock.now_ms()
        ready_at = now_ms + (100 * DAY_MS if group in self.stuck and not foreign else takes_ms)
        export = _Export(
            f"x{len(self.exports) + 1}", group, from_ms, to_ms, tuple(types), now_ms, ready_at,
            foreign,
        )  # fmt: skip
        self._fill(export)
        self.exports[export.export_id] = export
        self.most_at_once[group] = max(self.most_at_once[group], len(self._running(group)))
        return export

    def _fill(self, export: _Export) -> None:
        inside = [
            call for call in self.calls.values()
            if call.group == export.group and export.from_ms <= call.start_ms < export.to_ms
        ]  # fmt: skip
        recordings = []
        for call in inside if "audio" in export.types else ():
            if self.lacks[call.call_id] > 0:
                self.lacks[call.call_id] -= 1
            elif call.audio is not None:
                recordings.append(("recording", call.file_name, call.audio))
        if self.delivery == "zip" and recordings:
            export.files["recordings.zip"] = recordings
        else:
            export.files |= {one[1]: [one] for one in recordings}
        for kind in export.types:
            lines = [msgspec.json.encode(call.cdrs[kind]) for call in inside if kind in call.cdrs]
            if self.lacks_cdr[kind] > 0:
                self.lacks_cdr[kind] -= 1
            elif lines:
                name = f"{kind}.ndjson"
                export.files[name] = [("cdr", name, b"\n".join(lines) + b"\n")]
        export.files |= {one[1]: [one] for one in self.extra}

    def _running(self, group: str) -> list[_Export]:
        return [
            e for e in self.exports.values()
            if e.group == group and self._status(e) is VendorStatus.IN_PROGRESS
        ]  # fmt: skip

    def _is_over(self, export: _Export) -> bool:
        return self.clock.now_ms() >= export.created_at + self.life_ms

    def _status(self, export: _Export) -> VendorStatus:
        if export.cancelled:
            return VendorStatus.CANCELLED
        if self._is_over(export):
            return VendorStatus.EXPIRED
        if self.clock.now_ms() < export.ready_at:
            return VendorStatus.IN_PROGRESS
        if self.fails_first and export.export_id == "x1":
            return VendorStatus.FAILED
        if any(export.from_ms <= hour < export.to_ms for hour in self.poison_hours):
            return VendorStatus.FAILED
        return VendorStatus.COMPLETED

    def _seen(self, export: _Export) -> Export:
        return Export(
            export_id=export.export_id,
            status=self._status(export),
            from_ms=export.from_ms,
            to_ms=export.to_ms,
            types=export.types,
            created_at=export.created_at,
            expires_at=export.created_at + self.life_ms,
            file_count=len(export.files),
        )

    def _listed(self, export: _Export) -> list[ExportFile]:
        listed = []
        for name, held in export.files.items():
            [*_, (kind, inner, body)] = held
            plain = len(held) == 1 and inner == name
            digest = hashlib.sha256(body).hexdigest() if plain and kind == "cdr" else None
            listed.append(ExportFile(name, "", len(body) if plain else None, digest))
        return listed

    def _bytes_of(self, name: str, body: bytes) -> bytes:
        dialog = name.rpartition("~")[2].removesuffix(".wav")
        queued = self.instead.get(dialog)
        return queued.popleft() if queued else body

    async def _blocks(self, body: bytes, cut: bool) -> AsyncIterator[bytes]:
        for at in range(0, len(body), _BLOCK):
            await asyncio.sleep(0)
            last = at + _BLOCK >= len(body)
            if last and self.held_inside is not None:
                await self.held_inside.wait()
            if last and cut:
                raise Mismatch("The connection was cut and the rest is not to be had.")
            yield body[at : at + _BLOCK]
