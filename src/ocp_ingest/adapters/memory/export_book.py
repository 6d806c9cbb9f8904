"""ExportBook in memory; the rules are those of the embedded one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.reading import Reading
from ocp_ingest.core.errors import Conflict
from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.export_job import ExportJob
from ocp_ingest.reconcile.book import Lease

JOBS: Final = Reading(msgspec.msgpack.Decoder(ExportJob).decode)
_GROUP: Final = msgspec.msgpack.Decoder(GroupState)


@dataclass(slots=True)
class ExportBookState:
    """What survives a crash; all of it encoded, so nobody can change it from outside."""

    leases: dict[str, Lease] = field(default_factory=dict)
    groups: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, bytes] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    notes: dict[str, bytes] = field(default_factory=dict)


class MemoryExportBook:
    """See ocp_ingest.reconcile.book.ExportBook."""

    def __init__(self, state: ExportBookState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def lease(self, ocp_group: str, owner: str, *, now_ms: int, ttl_ms: int) -> Lease | None:
        """Takes or renews a group's lease; None while another owner's runs."""
        assert owner, "a lease without an owner could not be told from a free one"
        async with self._faults.at("ExportBook.lease"):
            held = self._state.leases.get(ocp_group)
            runs = held is not None and held.owner != "" and held.until_ms > now_ms
            if held is not None and runs and held.owner != owner:
                return None
            fence = (held.fence if held is not None else 0) + (not runs)
            until_ms = now_ms + ttl_ms
            lease = Lease(ocp_group=ocp_group, owner=owner, fence=fence, until_ms=until_ms)
            self._state.leases[ocp_group] = lease
            return lease

    async def give_up(self, lease: Lease) -> None:
        """Lets others have the lease now, if it is still ours."""
        async with self._faults.at("ExportBook.give_up"):
            held = self._state.leases.get(lease.ocp_group)
            if held is not None and (held.owner, held.fence) == (lease.owner, lease.fence):
                free = msgspec.structs.replace(held, owner="", until_ms=0)
                self._state.leases[lease.ocp_group] = free

    async def group(self, ocp_group: str) -> GroupState:
        """What is remembered of a group."""
        async with self._faults.at("ExportBook.group"):
            state = self._state.groups.get(ocp_group)
        return GroupState(ocp_group=ocp_group) if state is None else _GROUP.decode(state)

    async def groups(self) -> list[GroupState]:
        """All groups of which a state was written."""
        async with self._faults.at("ExportBook.groups"):
            return [_GROUP.decode(state) for _, state in sorted(self._state.groups.items())]

    async def keep(
        self, lease: Lease, *, group: GroupState | None = None, job: ExportJob | None = None
    ) -> None:
        """Writes both or nothing. Raises Conflict."""
        assert group is None or group.ocp_group == lease.ocp_group, "a lease is for its group"
        assert job is None or job.ocp_group == lease.ocp_group, "a lease is for its group"
        async with self._faults.at("ExportBook.keep"):
            self._check(lease)
            if group is not None:
                self._state.groups[group.ocp_group] = msgspec.msgpack.encode(group)
            if job is not None:
                if job.job_key not in self._state.jobs:
                    self._state.open.add(job.job_key)
                self._state.jobs[job.job_key] = msgspec.msgpack.encode(job)

    async def settle(self, lease: Lease, job_key: str) -> None:
        """Takes a job out of the open ones. Raises Conflict."""
        async with self._faults.at("ExportBook.settle"):
            self._check(lease)
            body = self._state.jobs.get(job_key)
            if body is not None and JOBS(job_key, body).ocp_group == lease.ocp_group:
                self._state.open.discard(job_key)

    async def job(self, job_key: str) -> ExportJob | None:
        """A job by its key."""
        async with self._faults.at("ExportBook.job"):
            body = self._state.jobs.get(job_key)
        return None if body is None else JOBS(job_key, body)

    async def jobs(
        self, *, ocp_group: str | None = None, open_only: bool = False, limit: int = 100
    ) -> list[ExportJob]:
        """Jobs, newest first."""
        async with self._faults.at("ExportBook.jobs"):
            state = self._state
            keys = [key for key in state.jobs if not open_only or key in state.open]
            found = [JOBS(key, state.jobs[key]) for key in keys]
        found = [job for job in found if ocp_group in (None, job.ocp_group)]
        return sorted(found, key=lambda job: (job.planned_at, job.job_key), reverse=True)[:limit]

    async def put_note(self, ref: str, body: bytes) -> None:
        """Keeps a list; replaces an older one."""
        async with self._faults.at("ExportBook.put_note"):
            self._state.notes[ref] = bytes(body)

    async def note(self, ref: str) -> bytes | None:
        """What was kept under this reference."""
        async with self._faults.at("ExportBook.note"):
            return self._state.notes.get(ref)

    def _check(self, lease: Lease) -> None:
        held = self._state.leases.get(lease.ocp_group)
        if held is None or held.fence != lease.fence:
            raise Conflict(
                "Another runner has the group's lease; nothing was written.",
                ocp_group=lease.ocp_group,
                fence=lease.fence,
            )
