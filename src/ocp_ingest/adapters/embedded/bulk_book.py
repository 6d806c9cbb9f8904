"""BulkBook on SQLite: a job, its list of calls, and counts that move with the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw
import msgspec

from ocp_ingest.adapters.embedded.database import Database, change, row, rows
from ocp_ingest.desk.ports import BULK_FAILED, BulkItem, BulkJob, BulkState

# Jobs that are kept; the oldest that do not run give way, with their items. What was done to a
# call is in its journal for ever.
JOBS_MAX: Final = 500

_JOB: Final = msgspec.msgpack.Decoder(BulkJob)
_NEWER: Final = "state, started_at_ms, ended_at_ms, done, failed"
_INSERT_JOB: Final = f"""
INSERT OR IGNORE INTO bulk_job (bulk_id, made_at_ms, {_NEWER}, job) VALUES (?, ?, ?, ?, ?, 0, 0, ?)
"""  # noqa: S608 - constants
_OLD: Final = """
SELECT bulk_id FROM bulk_job WHERE state != 'running'
ORDER BY made_at_ms DESC, bulk_id DESC LIMIT -1 OFFSET ?
"""
_RESULT: Final = """
UPDATE bulk_item SET result=?, text=?, at_ms=? WHERE bulk_id=? AND position=? AND result=''
"""
_ITEM: Final = "SELECT position, call_id, result, text, at_ms FROM bulk_item"
_WAITING: Final = "INDEXED BY bulk_item_waiting WHERE bulk_id=? AND result=''"
_FAILED: Final = f"INDEXED BY bulk_item_failed WHERE bulk_id=? AND result='{BULK_FAILED}'"


class EmbeddedBulkBook:
    """See ocp_ingest.desk.ports.BulkBook."""

    def __init__(self, database: Database, *, jobs_max: int = JOBS_MAX) -> None:
        self._database = database
        self._jobs_max = jobs_max

    async def create(self, job: BulkJob, call_ids: Sequence[str]) -> bool:
        """Keeps job and list together; the oldest jobs give way."""
        ids = list(call_ids)

        def operation(connection: apsw.Connection) -> bool:
            times = (job.state, job.started_at_ms, job.ended_at_ms)
            body = msgspec.msgpack.encode(job)
            if not change(connection, _INSERT_JOB, (job.bulk_id, job.made_at_ms, *times, body)):
                return False
            connection.executemany(
                "INSERT INTO bulk_item VALUES (?, ?, ?, '', '', 0)",
                ((job.bulk_id, position, call_id) for position, call_id in enumerate(ids)),
            )
            for (old,) in rows(connection, _OLD, (self._jobs_max,)):
                change(connection, "DELETE FROM bulk_item WHERE bulk_id=?", (old,))
                change(connection, "DELETE FROM bulk_job WHERE bulk_id=?", (old,))
            return True

        return await self._database.write(operation, weight=max(1, len(ids) // 10))

    async def job(self, bulk_id: str) -> BulkJob | None:
        """A job as it is now."""
        sql = f"SELECT {_NEWER}, job FROM bulk_job WHERE bulk_id=?"  # noqa: S608 - constants
        found = await self._database.read(lambda c: row(c, sql, (bulk_id,)))
        return None if found is None else _job(*found)

    async def jobs(self, *, limit: int = 50) -> list[BulkJob]:
        """The newest."""
        sql = f"SELECT {_NEWER}, job FROM bulk_job ORDER BY made_at_ms DESC, bulk_id DESC LIMIT ?"  # noqa: S608
        found = await self._database.read(lambda c: rows(c, sql, (limit,)))
        return [_job(*columns) for columns in found]

    async def change(
        self, bulk_id: str, from_state: BulkState, to_state: BulkState, *, at_ms: int
    ) -> bool:
        """Moves a job on; False when it was elsewhere."""
        time = "started_at_ms" if to_state == "running" else "ended_at_ms"
        sql = f"UPDATE bulk_job SET state=?, {time}=? WHERE bulk_id=? AND state=?"  # noqa: S608
        values = (to_state, at_ms, bulk_id, from_state)
        return await self._database.write(lambda c: change(c, sql, values) == 1)

    async def waiting(self, bulk_id: str, *, limit: int) -> list[BulkItem]:
        """Items without a result, by position."""
        return await self._items(_WAITING, (bulk_id, limit))

    async def results(self, bulk_id: str, items: Sequence[BulkItem]) -> None:
        """Keeps results; one that is there stands."""
        told = [item for item in items if item.result]

        def operation(connection: apsw.Connection) -> None:
            done = failed = 0
            for item in told:
                values = (item.result, item.text, item.at_ms, bulk_id, item.position)
                new = change(connection, _RESULT, values)
                done += new
                failed += new * (item.result == BULK_FAILED)
            if done:
                sql = "UPDATE bulk_job SET done=done+?, failed=failed+? WHERE bulk_id=?"
                change(connection, sql, (done, failed, bulk_id))

        await self._database.write(operation, weight=max(1, len(told)))

    async def items(
        self, bulk_id: str, *, after: int = -1, limit: int = 100, failed_only: bool = False
    ) -> list[BulkItem]:
        """Items after a position."""
        where = _FAILED if failed_only else "WHERE bulk_id=?"
        return await self._items(f"{where} AND position > ?", (bulk_id, after, limit))

    async def _items(self, where: str, values: tuple[Any, ...]) -> list[BulkItem]:
        sql = f"{_ITEM} {where} ORDER BY position LIMIT ?"
        found = await self._database.read(lambda c: rows(c, sql, values))
        return [BulkItem(*columns) for columns in found]


def _job(
    state: BulkState, started_at_ms: int, ended_at_ms: int, done: int, failed: int, body: bytes
) -> BulkJob:
    return msgspec.structs.replace(
        _JOB.decode(body), state=state, started_at_ms=started_at_ms, ended_at_ms=ended_at_ms,
        done=done, failed=failed,
    )  # fmt: skip
