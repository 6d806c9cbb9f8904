"""ExportBook on SQLite: lease and fence are read in the transaction that writes.

Rules
1. A group's row is its lease and its state. The fence only rises, also when nobody has the lease.
2. Every fenced write reads the group's fence first, inside the writer: nothing can come between.
3. A job keeps `open` from its first write until it is settled, so a late write of an older state
   can't open it again, and open jobs are read from their partial index alone.
"""

from __future__ import annotations

from typing import Any, Final

import apsw
import msgspec

from ocp_ingest.adapters.embedded.database import Database, change, row, rows, value
from ocp_ingest.core.errors import Conflict
from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.export_job import ExportJob
from ocp_ingest.reconcile.book import Lease

_JOB: Final = msgspec.msgpack.Decoder(ExportJob)
_GROUP: Final = msgspec.msgpack.Decoder(GroupState)

_HOLD: Final = """
INSERT INTO export_group (ocp_group, owner, fence, until_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (ocp_group) DO UPDATE SET
  owner=excluded.owner, fence=excluded.fence, until_ms=excluded.until_ms
"""
_PUT_JOB: Final = """
INSERT INTO export_job (job_key, ocp_group, planned_at, open, job) VALUES (?, ?, ?, 1, ?)
ON CONFLICT (job_key) DO UPDATE SET planned_at=excluded.planned_at, job=excluded.job
"""
_PUT_NOTE: Final = """
INSERT INTO export_note (ref, body) VALUES (?, ?) ON CONFLICT (ref) DO UPDATE SET body=excluded.body
"""


class EmbeddedExportBook:
    """See ocp_ingest.reconcile.book.ExportBook."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease(self, ocp_group: str, owner: str, *, now_ms: int, ttl_ms: int) -> Lease | None:
        """Takes or renews a group's lease; None while another owner's runs."""
        assert owner, "a lease without an owner could not be told from a free one"
        until_ms = now_ms + ttl_ms

        def operation(connection: apsw.Connection) -> Lease | None:
            sql = "SELECT owner, fence, until_ms FROM export_group WHERE ocp_group=?"
            holder, fence, ends_ms = row(connection, sql, (ocp_group,)) or ("", 0, 0)
            runs = holder != "" and ends_ms > now_ms
            if runs and holder != owner:
                return None
            if not runs:
                fence += 1
            change(connection, _HOLD, (ocp_group, owner, fence, until_ms))
            return Lease(ocp_group=ocp_group, owner=owner, fence=fence, until_ms=until_ms)

        return await self._database.write(operation)

    async def give_up(self, lease: Lease) -> None:
        """Lets others have the lease now, if it is still ours."""
        sql = (
            "UPDATE export_group SET owner='', until_ms=0 WHERE ocp_group=? AND owner=? AND fence=?"
        )
        held = (lease.ocp_group, lease.owner, lease.fence)
        await self._database.write(lambda c: change(c, sql, held))

    async def group(self, ocp_group: str) -> GroupState:
        """What is remembered of a group."""
        sql = "SELECT state FROM export_group WHERE ocp_group=?"
        state = self._database.read_now(lambda c: value(c, sql, (ocp_group,)))
        return GroupState(ocp_group=ocp_group) if state is None else _GROUP.decode(state)

    async def groups(self) -> list[GroupState]:
        """All groups of which a state was written."""
        sql = "SELECT state FROM export_group WHERE state IS NOT NULL ORDER BY ocp_group"
        found = await self._database.read(lambda c: rows(c, sql))
        return [_GROUP.decode(state) for (state,) in found]

    async def keep(
        self, lease: Lease, *, group: GroupState | None = None, job: ExportJob | None = None
    ) -> None:
        """Writes both or nothing. Raises Conflict."""
        assert group is None or group.ocp_group == lease.ocp_group, "a lease is for its group"
        assert job is None or job.ocp_group == lease.ocp_group, "a lease is for its group"

        def operation(connection: apsw.Connection) -> None:
            _check(connection, lease)
            if group is not None:
                sql = "UPDATE export_group SET state=? WHERE ocp_group=?"
                change(connection, sql, (msgspec.msgpack.encode(group), lease.ocp_group))
            if job is not None:
                body = msgspec.msgpack.encode(job)
                change(connection, _PUT_JOB, (job.job_key, job.ocp_group, job.planned_at, body))

        await self._database.write(operation)

    async def settle(self, lease: Lease, job_key: str) -> None:
        """Takes a job out of the open ones. Raises Conflict."""

        def operation(connection: apsw.Connection) -> None:
            _check(connection, lease)
            sql = "UPDATE export_job SET open=NULL WHERE job_key=? AND ocp_group=?"
            change(connection, sql, (job_key, lease.ocp_group))

        await self._database.write(operation)

    async def job(self, job_key: str) -> ExportJob | None:
        """A job by its key."""
        sql = "SELECT job FROM export_job WHERE job_key=?"
        body = self._database.read_now(lambda c: value(c, sql, (job_key,)))
        return None if body is None else _JOB.decode(body)

    async def jobs(
        self, *, ocp_group: str | None = None, open_only: bool = False, limit: int = 100
    ) -> list[ExportJob]:
        """Jobs, newest first."""
        wheres: list[str] = ["open = 1"] if open_only else []
        values: list[Any] = []
        if ocp_group is not None:
            wheres.append("ocp_group = ?")
            values.append(ocp_group)
        where = f"WHERE {' AND '.join(wheres)}" if wheres else ""
        sql = f"SELECT job FROM export_job {where} ORDER BY planned_at DESC, job_key DESC LIMIT ?"  # noqa: S608
        found = await self._database.read(lambda c: rows(c, sql, (*values, limit)))
        return [_JOB.decode(body) for (body,) in found]

    async def put_note(self, ref: str, body: bytes) -> None:
        """Keeps a list; replaces an older one."""
        await self._database.write(lambda c: change(c, _PUT_NOTE, (ref, body)))

    async def note(self, ref: str) -> bytes | None:
        """What was kept under this reference."""
        sql = "SELECT body FROM export_note WHERE ref=?"
        found: bytes | None = self._database.read_now(lambda c: value(c, sql, (ref,)))
        return found


def _check(connection: apsw.Connection, lease: Lease) -> None:
    sql = "SELECT fence FROM export_group WHERE ocp_group=?"
    if value(connection, sql, (lease.ocp_group,)) != lease.fence:
        raise Conflict(
            "Another runner has the group's lease; nothing was written.",
            ocp_group=lease.ocp_group,
            fence=lease.fence,
        )
