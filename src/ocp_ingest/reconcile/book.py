"""Port: what stage 2 remembers of groups and jobs, and who may write it.

A group's lease is the right to drive its jobs. Every write carries the lease's fence and is
refused once another owner has a newer one, so a runner that was paused longer than its lease
can't undo what its successor did. OCP's own 409 stays the real mutex of its export slot.

A job is open from its first write until it is settled. One that has ended is not settled yet:
its answer must first be on its calls, and a runner that dies in between leaves it to the next.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.export_job import ExportJob


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to drive the jobs of a group until then; `fence` rises with each new owner."""

    ocp_group: str
    owner: str
    fence: int
    until_ms: int


class ExportBook(Protocol):
    """Leases, group states, jobs, and the lists that belong to jobs."""

    async def lease(self, ocp_group: str, owner: str, *, now_ms: int, ttl_ms: int) -> Lease | None:
        """Takes or renews a group's lease; None while another owner's runs.

        The owner of a running lease keeps its fence; anybody else gets a higher one.
        """

    async def give_up(self, lease: Lease) -> None:
        """Lets others have the lease now; a no-op when it is not ours any more."""

    async def group(self, ocp_group: str) -> GroupState:
        """What is remembered of a group; a fresh state for an unknown one."""

    async def groups(self) -> list[GroupState]:
        """All groups of which a state was written, by name."""

    async def keep(
        self, lease: Lease, *, group: GroupState | None = None, job: ExportJob | None = None
    ) -> None:
        """Writes both together, durable when it returns.

        Raises Conflict when the lease's fence is not the group's any more: nothing is written.
        """

    async def settle(self, lease: Lease, job_key: str) -> None:
        """Takes an ended job out of the open ones for good; done twice, it changes nothing.

        Raises Conflict as `keep` does.
        """

    async def job(self, job_key: str) -> ExportJob | None:
        """A job by its key."""

    async def jobs(
        self, *, ocp_group: str | None = None, open_only: bool = False, limit: int = 100
    ) -> list[ExportJob]:
        """Jobs, newest first."""

    async def put_note(self, ref: str, body: bytes) -> None:
        """Keeps a list that is too long for its job (manifest, results); replaces an older one.

        It carries no fence: what two runners may write gets a reference of its own for each.
        """

    async def note(self, ref: str) -> bytes | None:
        """What was kept under this reference."""
