"""The platform's side of exports: what it holds, and every rule of its Export API. Pure.

| Rule | Where |
|---|---|
| range 1 h to 48 h, whole hours, minutes dropped at BOTH ends | `whole_hours` (documented) |
| one running export per OCP group, whoever started it | `create` -> 409 |
| only groups on the caller's whitelist | `_allow` -> 403 (documented) |
| data gone 1 day after creation, status EXPIRED | `Job.status`, `files` -> 410 |
| nothing older than 60 days | `_visible` (documented) |
| selected by the start of the dialog (a setting) | `_select` |
| visible only some time after the call's end | `_visible` (the watermark) |
| a job takes alpha + beta * hours | `_ready_ms` |
| CDR types are NDJSON files named .json; audio one file each, or one ZIP | `_files` |

A job's content is fixed when it is created. All times are domain time in epoch ms.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import msgspec
from msgspec import Struct

from ocp_sim import config, ids
from ocp_sim.model import Call
from ocp_sim.world import World

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
CDR_TYPES: Final = ("dialog_start", "dialog_step", "dialog_end", "ivr_end")
TYPES: Final = ("audio", *CDR_TYPES)
RUNNING: Final = frozenset({"PENDING", "IN_PROGRESS"})


class RefusedError(Exception):
    """An answer that is not 2xx: status, message, and Retry-After in real seconds."""

    def __init__(self, status: int, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s


class Fate(Struct, frozen=True, kw_only=True):
    """How a job goes: by default, well."""

    failed: bool = False
    stuck: bool = False
    slow_factor: float = 1
    missing_share: float = 0  # of the audio files that the listing leaves out
    kept_ms: int | None = None  # None: the platform's rule


class ExportFile(Struct, frozen=True, kw_only=True):
    """One file of an export: CDR lines, one recording, or a ZIP of recordings."""

    name: str
    type: str
    recordings: tuple[str, ...] = ()
    lines: tuple[bytes, ...] = ()
    with_sha256: bool = True

    @property
    def is_zip(self) -> bool:
        """Whether the recordings come packed."""
        return self.name.endswith(".zip")


class Job(Struct, kw_only=True):
    """One export; only `cancelled_ms` ever changes."""

    id: str
    ocp_group: str
    from_ms: int
    to_ms: int
    types: tuple[str, ...]
    created_ms: int
    started_ms: int
    ready_ms: int | None  # None: never
    expires_ms: int
    failed: bool
    created_by: str
    files: tuple[ExportFile, ...]
    cancelled_ms: int | None = None

    def status(self, now_ms: int) -> str:
        """PENDING, IN_PROGRESS, COMPLETED, FAILED, EXPIRED or CANCELLED."""
        if self.cancelled_ms is not None:
            return "CANCELLED"
        if now_ms >= self.expires_ms:
            return "EXPIRED"
        if self.ready_ms is not None and now_ms >= self.ready_ms:
            return "FAILED" if self.failed else "COMPLETED"
        return "PENDING" if now_ms < self.started_ms else "IN_PROGRESS"

    def shown(self, now_ms: int) -> dict[str, Any]:
        """The JSON object that the API answers."""
        status = self.status(now_ms)
        shown: dict[str, Any] = {
            "id": self.id,
            "status": status,
            "group": self.ocp_group,
            "from": text_of(self.from_ms),
            "to": text_of(self.to_ms),
            "types": list(self.types),
            "createdAt": text_of(self.created_ms),
            "createdBy": self.created_by,
            "expiresAt": text_of(self.expires_ms),
        }
        if status == "COMPLETED":
            shown["fileCount"] = len(self.files)
        return shown


class Platform:
    """All OCP groups of a world, their data and their export jobs."""

    def __init__(self, world: World, rules: config.Export, rng: Random) -> None:
        self.rules = rules  # may be replaced while running
        self.jobs: dict[str, dict[str, Job]] = {g.name: {} for g in world.settings.groups}
        self.most_running: dict[str, int] = dict.fromkeys(self.jobs, 0)
        self._rng = rng
        self._calls: dict[str, list[Call]] = {name: [] for name in self.jobs}
        for call in world.calls:
            self._calls[call.ocp_group].append(call)
        self._longest_ms = max((call.duration_ms for call in world.calls), default=0)

    def create(
        self,
        now_ms: int,
        group: str,
        span_ms: tuple[int, int],
        types: Collection[str],
        *,
        allowed: Collection[str],
        fate: Fate = Fate(),  # noqa: B008 - frozen
    ) -> Job:
        """Start an export; raises `RefusedError` 400 (range, types), 403, 409 (slot taken)."""
        self._allow(group, allowed)
        from_ms, to_ms = self._range(now_ms, span_ms)
        wanted = _wanted(types)
        if busy := self.running(now_ms, group):
            raise RefusedError(409, f"An export of group {group} is already running: {busy.id}")
        span = (from_ms, to_ms)
        files = self._files(now_ms, group, span, wanted, fate)
        return self._add(
            now_ms, group, span, types=wanted, fate=fate, files=files, created_by="api"
        )

    def hold_slot(self, now_ms: int, group: str, for_ms: int) -> None:
        """Put somebody else's export into the group's slot, unless it is taken."""
        if self.running(now_ms, group):
            return
        span = (now_ms // HOUR_MS * HOUR_MS - 3 * HOUR_MS, now_ms // HOUR_MS * HOUR_MS)
        factor = for_ms / max(1, self._duration_ms(span))
        self._add(
            now_ms,
            group,
            span,
            types=("dialog_step",),
            fate=Fate(slow_factor=factor),
            files=(),
            created_by="console",
        )

    def exports(self, group: str, *, allowed: Collection[str]) -> tuple[Job, ...]:
        """Every export of the group, newest first; raises `RefusedError` 403."""
        self._allow(group, allowed)
        return tuple(reversed(self.jobs[group].values()))

    def get(self, group: str, job_id: str, *, allowed: Collection[str]) -> Job:
        """One export; raises `RefusedError` 403, 404."""
        self._allow(group, allowed)
        if job_id not in self.jobs[group]:
            raise RefusedError(404, "No such export")
        return self.jobs[group][job_id]

    def files(self, now_ms: int, job: Job) -> tuple[ExportFile, ...]:
        """The files of a completed export; raises `RefusedError` 409 (not ready), 410 (gone)."""
        status = job.status(now_ms)
        if status in ("EXPIRED", "CANCELLED"):
            raise RefusedError(410, f"The export is {status}: its data is deleted")
        if status != "COMPLETED":
            raise RefusedError(409, f"The export is {status}: no files yet")
        return job.files

    def cancel(self, now_ms: int, job: Job) -> None:
        """Stop a running export; again is no error; raises `RefusedError` 405, 409."""
        if not self.rules.cancel_supported:
            raise RefusedError(405, "Exports cannot be cancelled")
        status = job.status(now_ms)
        if status in RUNNING:
            job.cancelled_ms = now_ms
        elif status != "CANCELLED":
            raise RefusedError(409, f"The export is {status}")

    def running(self, now_ms: int, group: str) -> Job | None:
        """The export that holds the group's slot."""
        return next((j for j in self.jobs[group].values() if j.status(now_ms) in RUNNING), None)

    def _allow(self, group: str, allowed: Collection[str]) -> None:
        if group not in allowed or group not in self.jobs:
            raise RefusedError(403, f"Group {group} is not on the whitelist")

    def _range(self, now_ms: int, span_ms: tuple[int, int]) -> tuple[int, int]:
        from_ms, to_ms = whole_hours(span_ms)
        hours = (to_ms - from_ms) / HOUR_MS
        least, most = self.rules.range_h_min, self.rules.range_h_max
        if not least <= hours <= most:
            raise RefusedError(400, f"The range must be {least} to {most} whole hours: {hours:g}")
        if to_ms > now_ms and not self.rules.future_allowed:
            raise RefusedError(400, "The range ends in the future")
        return from_ms, to_ms

    def _add(
        self,
        now_ms: int,
        group: str,
        span: tuple[int, int],
        *,
        types: tuple[str, ...],
        fate: Fate,
        files: tuple[ExportFile, ...],
        created_by: str,
    ) -> Job:
        started_ms = now_ms + int(self.rules.pending_s * 1000)
        ready_ms = started_ms + int(self._duration_ms(span) * fate.slow_factor)
        kept_ms = int(self.rules.kept_h * HOUR_MS)
        if fate.kept_ms is not None:
            kept_ms = ready_ms - now_ms + fate.kept_ms
        job = Job(
            id=ids.uuid(self._rng),
            ocp_group=group,
            from_ms=span[0],
            to_ms=span[1],
            types=types,
            created_ms=now_ms,
            started_ms=started_ms,
            ready_ms=None if fate.stuck else ready_ms,
            expires_ms=now_ms + kept_ms,
            failed=fate.failed,
            created_by=created_by,
            files=() if fate.failed or fate.stuck else files,
        )
        self.jobs[group][job.id] = job
        running = sum(j.status(now_ms) in RUNNING for j in self.jobs[group].values())
        self.most_running[group] = max(self.most_running[group], running)
        return job

    def _duration_ms(self, span: tuple[int, int]) -> float:
        hours = (span[1] - span[0]) / HOUR_MS
        return (self.rules.job_fixed_s + self.rules.job_per_hour_s * hours) * 1000

    def _files(
        self, now_ms: int, group: str, span: tuple[int, int], types: tuple[str, ...], fate: Fate
    ) -> tuple[ExportFile, ...]:
        calls = [call for call in self._near(group, span) if self._visible(now_ms, call)]
        made: list[ExportFile] = []
        for cdr_type in types:
            if cdr_type != "audio":
                made += self._cdr_files(cdr_type, calls, span)
        if "audio" in types:
            made += self._audio_files(calls, span, fate)
        return tuple(made)

    def _near(self, group: str, span: tuple[int, int]) -> Iterator[Call]:
        """Calls of which some dialog can be in the span; they are held by start."""
        held = self._calls[group]
        first = bisect_left(held, span[0] - self._longest_ms, key=lambda call: call.start_ms)
        for call in held[first:]:
            if call.start_ms >= span[1]:
                return
            yield call

    def _visible(self, now_ms: int, call: Call) -> bool:
        late = "late_at_ocp" in call.faults
        delay_s = self.rules.late_watermark_s if late else self.rules.watermark_s
        old_ms = self.rules.retention_days * DAY_MS
        return call.end_ms + delay_s * 1000 <= now_ms < call.start_ms + old_ms

    def _cdr_files(
        self, cdr_type: str, calls: list[Call], span: tuple[int, int]
    ) -> Iterator[ExportFile]:
        lines = [
            msgspec.json.encode(cdr.body)
            for call in calls
            for cdr in call.cdrs
            if cdr.message_type == cdr_type
            and span[0] <= self._counts_at(cdr.time_ms, cdr.body.get("duration", 0)) < span[1]
        ]
        size = self.rules.lines_per_file
        for number, at in enumerate(range(0, len(lines), size)):
            name = f"{cdr_type}_{number:05d}.json"
            yield ExportFile(name=name, type=cdr_type, lines=tuple(lines[at : at + size]))

    def _counts_at(self, start_ms: int, duration_ms: int) -> int:
        return start_ms + (duration_ms if self.rules.range_by == "end" else 0)

    def _audio_files(
        self, calls: list[Call], span: tuple[int, int], fate: Fate
    ) -> Iterator[ExportFile]:
        names = [
            call.recording.name
            for call in calls
            if call.recording
            and "expired" not in call.faults
            and span[0] <= self._counts_at(call.start_ms, call.duration_ms) < span[1]
        ]
        if fate.missing_share and names:
            kept = len(names) - max(1, round(len(names) * fate.missing_share))
            names = sorted(self._rng.sample(names, kept), key=names.index)
        as_zip = self.rules.audio_as == "zip"
        if self.rules.audio_as == "mixed":
            as_zip = self._rng.random() < 0.5
        tells = self._tells_sha256
        if as_zip and names:
            packed = tuple(names)
            yield ExportFile(name="audio.zip", type="audio", recordings=packed, with_sha256=tells())
            return
        for name in names:
            yield ExportFile(name=name, type="audio", recordings=(name,), with_sha256=tells())

    def _tells_sha256(self) -> bool:
        return self._rng.random() < self.rules.with_sha256


def whole_hours(span_ms: tuple[int, int]) -> tuple[int, int]:
    """Minutes, seconds and ms dropped at both ends: 12:10-13:20 is 12:00-13:00."""
    return span_ms[0] // HOUR_MS * HOUR_MS, span_ms[1] // HOUR_MS * HOUR_MS


def _wanted(types: Collection[str]) -> tuple[str, ...]:
    """Types as asked, `ALL` being every CDR of dialogs; raises `RefusedError` 400."""
    asked = [one for name in types for one in (CDR_TYPES if name == "ALL" else (name,))]
    if not asked or any(name not in TYPES for name in asked):
        raise RefusedError(400, f"types must be some of {', '.join(TYPES)}, ALL")
    return tuple(dict.fromkeys(asked))


def text_of(ms: int) -> str:
    """ISO 8601 with ms and Z, as 2023-01-12T12:00:00.000Z."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms_of(text: str) -> int:
    """Epoch ms of such a text; raises `RefusedError` 400."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RefusedError(400, "A time must look like 2023-01-12T12:00:00.000Z") from None
    if moment.tzinfo is None:
        raise RefusedError(400, "A time must tell its zone")
    return round(moment.timestamp() * 1000)
