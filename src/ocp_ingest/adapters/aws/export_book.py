"""ExportBook on DynamoDB: a lease is an item, and every fenced write checks it in its transaction.

pk               sk                        what
book#groups      <group>                   a group that has ever had a lease
g#<group>        lease                     owner ("" = free), fence, until_ms
                 state                     the group's state
                 open#<job key>            a job that is not settled; planned_at
                 job#<planned_at>#<key>    every job of the group, in order of planning
j#<job key>      job                       the job; `calls`: where the list of its calls is kept

Rules
1. The fence only rises. A fenced write is one transaction with a check of the lease's item, so
   no zombie comes between the check and the write.
2. A job's open marker and its place in the group's list are written with its first write and
   never with a later one, so a late write of an older state can't open a settled job again.
3. A group is registered before its first lease, so whatever was written for it can be found.
4. The calls of a job never change, while the job is written some forty times; a write costs by
   its size. So a list of more than a few calls is kept once, beside the job (docs/decisions/0021).
5. All reads are strongly consistent: they go to the table, never to an index, never by a Scan.
6. A transaction's token is new for every decision to write, and the same when the request is
   repeated. A token made of the content would let DynamoDB forget the third write of A, B, A:
   within ten minutes it answers a token that it knows without writing.
   (API reference, TransactWriteItems, ClientRequestToken)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from ocp_ingest.adapters.aws.dynamo import Item, b, each, key, n, s
from ocp_ingest.adapters.aws.items import CONDITION, Items
from ocp_ingest.adapters.aws.notes import Gone, Notes
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.core.errors import Conflict, Damaged, Transient
from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.export_job import ExportJob, State
from ocp_ingest.core.limits import KIB
from ocp_ingest.reconcile.book import Lease

# A transactional write costs two units per KiB of the item: a list longer than this costs more
# in forty writes of its job than one write and a read of its own each time.
CALLS_INLINE_BYTES_MAX: Final = 4 * KIB
# Rounds of a write that others' writes to the same items stopped, or whose guess was wrong.
_ROUNDS_MAX: Final = 6
# Longest wait before the second round; doubles. Such transactions last some 10 ms.
_PAUSE_S: Final = 0.05
# Items read at once: well below a process's connections, some ms for a screen of jobs.
_READS_AT_ONCE: Final = 16
_JOB: Final = msgspec.msgpack.Decoder(ExportJob)
_GROUP: Final = msgspec.msgpack.Decoder(GroupState)
_CALLS: Final = msgspec.msgpack.Decoder(tuple[str, ...])


class AwsExportBook:
    """See ocp_ingest.reconcile.book.ExportBook."""

    def __init__(self, aws: Aws) -> None:
        self._items = Items(aws)
        self._notes = Notes(aws)

    # ---------------------------------------------------------------------------------- leases

    async def lease(self, ocp_group: str, owner: str, *, now_ms: int, ttl_ms: int) -> Lease | None:
        """Takes or renews a group's lease; None while another owner's runs.

        A lost answer is safe: asked again, the same owner finds its own lease and its fence.
        """
        assert owner, "a lease without an owner could not be told from a free one"
        until_ms = now_ms + ttl_ms
        for _ in range(_ROUNDS_MAX):
            held, ours = await self._take(ocp_group, owner, now_ms, until_ms, first=False)
            if held is None:
                await self._items.put(key("book#groups", ocp_group))
                held, ours = await self._take(ocp_group, owner, now_ms, until_ms, first=True)
            if held is not None and not ours and held["owner"] == s(owner):
                held, ours = await self._renew(ocp_group, owner, now_ms, until_ms)
            if held is not None and ours:
                return _lease(ocp_group, held)
            if held is not None and held["owner"]["S"] and int(held["until_ms"]["N"]) > now_ms:
                return None
        raise Transient("Too many runners want the group's lease at once.", ocp_group=ocp_group)

    async def give_up(self, lease: Lease) -> None:
        """Lets others have the lease now, if it is still ours."""
        await self._items.update(
            _lease_key(lease.ocp_group),
            "SET #owner = :free, until_ms = :never",
            "#owner = :owner AND fence = :fence",
            {":free": s(""), ":never": n(0), ":owner": s(lease.owner),
             ":fence": n(lease.fence)},
        )  # fmt: skip

    async def _take(
        self, ocp_group: str, owner: str, now_ms: int, until_ms: int, *, first: bool
    ) -> tuple[Item | None, bool]:
        """The lease's item, and whether it was free and is the owner's; `first`: or was not there.

        Each invocation of a function takes a lease that is free (docs/decisions/0022), so this is
        tried before renewing.
        """
        free = "#owner = :free OR until_ms <= :now"
        return await self._items.update(
            _lease_key(ocp_group),
            "SET #owner = :owner, until_ms = :until, fence = if_not_exists(fence, :zero) + :one",
            f"attribute_not_exists(pk) OR {free}" if first else free,
            {":owner": s(owner), ":until": n(until_ms), ":zero": n(0), ":one": n(1),
             ":free": s(""), ":now": n(now_ms)},
        )  # fmt: skip

    async def _renew(
        self, ocp_group: str, owner: str, now_ms: int, until_ms: int
    ) -> tuple[Item | None, bool]:
        """The lease's item, and whether it is the owner's still and lasts longer now."""
        return await self._items.update(
            _lease_key(ocp_group),
            "SET until_ms = :until",
            "#owner = :owner AND until_ms > :now",
            {":until": n(until_ms), ":owner": s(owner), ":now": n(now_ms)},
        )

    # ---------------------------------------------------------------------------------- groups

    async def group(self, ocp_group: str) -> GroupState:
        """What is remembered of a group."""
        return await self._state(ocp_group) or GroupState(ocp_group=ocp_group)

    async def groups(self) -> list[GroupState]:
        """All groups of which a state was written."""
        found = await each(await self._group_names(), self._state, at_once=_READS_AT_ONCE)
        return [state for state in found if state is not None]

    async def _state(self, ocp_group: str) -> GroupState | None:
        item = await self._items.get(f"g#{ocp_group}", "state")
        return None if item is None else _GROUP.decode(item["body"]["B"])

    async def _group_names(self) -> list[str]:
        return [item["sk"]["S"] for item in await self._items.query("book#groups")]

    # ------------------------------------------------------------------------------------ jobs

    async def keep(
        self, lease: Lease, *, group: GroupState | None = None, job: ExportJob | None = None
    ) -> None:
        """Writes both or nothing. Raises Conflict, and Transient when others write all the time."""
        assert group is None or group.ocp_group == lease.ocp_group, "a lease is for its group"
        assert job is None or job.ocp_group == lease.ocp_group, "a lease is for its group"
        state = [] if group is None else [self._put_state(group)]
        if job is None:
            await self._fenced(lease, state)
            return
        packed = _packed_calls(job)
        # A guess that saves a refused write; the conditions don't rely on it.
        new, listed = job.state is State.PLANNED, not packed
        for _ in range(_ROUNDS_MAX):
            if new and not listed:
                await self._notes.put(_calls_ref(job, packed), packed)
                listed = True
            writes = self._put_job(job, packed, new=new, listed=listed)
            refused = await self._fenced(lease, [*writes, *state])
            if refused is None:
                return
            if not new and refused.get("Item"):
                # Not the list that the job was written with: it may not have been kept.
                await self._notes.put(_calls_ref(job, packed), packed)
                listed = True
            new = not refused.get("Item")
        raise Transient("The job is being written by others all the time.", job_key=job.job_key)

    async def settle(self, lease: Lease, job_key: str) -> None:
        """Takes a job out of the open ones. Raises Conflict."""
        marker = key(f"g#{lease.ocp_group}", f"open#{job_key}")
        await self._fenced(lease, [self._items.write_of("Delete", Key=marker)])

    async def job(self, job_key: str) -> ExportJob | None:
        """A job by its key. Raises Damaged when the list of its calls is gone."""
        item = await self._items.get(f"j#{job_key}", "job")
        if item is None:
            return None
        job = _JOB.decode(item["body"]["B"])
        return await self._with_calls(job, item["calls"]["S"]) if item["calls"]["S"] else job

    async def jobs(
        self, *, ocp_group: str | None = None, open_only: bool = False, limit: int = 100
    ) -> list[ExportJob]:
        """Jobs, newest first."""
        groups = [ocp_group] if ocp_group is not None else await self._group_names()
        look = self._open_keys if open_only else self._newest_keys
        found = await each(groups, lambda name: look(name, limit), at_once=_READS_AT_ONCE)
        newest = sorted((job for jobs in found for job in jobs), reverse=True)[:limit]
        jobs = await each((job_key for _, job_key in newest), self.job, at_once=_READS_AT_ONCE)
        return [job for job in jobs if job is not None]

    async def _open_keys(self, ocp_group: str, _limit: int) -> list[tuple[int, str]]:
        """(planned_at, job key) of all open jobs: their order is not that of their keys."""
        found = await self._items.query(f"g#{ocp_group}", "open#")
        return [
            (int(item["planned_at"]["N"]), item["sk"]["S"].removeprefix("open#")) for item in found
        ]

    async def _newest_keys(self, ocp_group: str, limit: int) -> list[tuple[int, str]]:
        found = await self._items.query(f"g#{ocp_group}", "job#", limit=limit, backwards=True)
        parts = (item["sk"]["S"].split("#", 2) for item in found)
        return [(int(planned_at), job_key) for _, planned_at, job_key in parts]

    async def _with_calls(self, job: ExportJob, ref: str) -> ExportJob:
        try:
            packed = await self._notes.get(ref)
        except Gone:
            packed = None
        if packed is not None:
            return msgspec.structs.replace(job, call_ids=_CALLS.decode(packed))
        if job.state is State.ENDED:  # long ago, or its list could not have expired
            return job
        raise Damaged("The list of an open job's calls is gone.", job_key=job.job_key)

    # ----------------------------------------------------------------------------------- notes

    async def put_note(self, ref: str, body: bytes) -> None:
        """Keeps a list; replaces an older one. Raises TooLarge."""
        await self._notes.put(ref, body)

    async def note(self, ref: str) -> bytes | None:
        """What was kept under this reference. Raises Damaged when S3 has lost it."""
        return await self._notes.get(ref)

    # --------------------------------------------------------------------- writes to be fenced

    def _put_state(self, group: GroupState) -> Item:
        item = key(f"g#{group.ocp_group}", "state")
        item["body"] = b(msgspec.msgpack.encode(group))
        return self._put(item)

    def _put(self, item: Item) -> Item:
        return self._items.write_of("Put", Item=item)

    def _put_job(self, job: ExportJob, packed: bytes, *, new: bool, listed: bool) -> list[Item]:
        """The job, first of all, and what its first write brings with it.

        Without `listed` the job must have the list of these calls already.
        """
        condition = "attribute_not_exists(pk)" if new else "attribute_exists(pk)"
        if not listed:
            condition += " AND calls = :calls"
        body = msgspec.structs.replace(job, call_ids=()) if packed else job
        update = self._items.write_of(
            "Update",
            Key=key(f"j#{job.job_key}", "job"),
            UpdateExpression="SET body = :body, calls = :calls",
            ConditionExpression=condition,
            ExpressionAttributeValues={
                ":body": b(msgspec.msgpack.encode(body)),
                ":calls": s(_calls_ref(job, packed) if packed else ""),
            },
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        writes = [update]
        if new:
            group = f"g#{job.ocp_group}"
            marker = key(group, f"open#{job.job_key}")
            marker["planned_at"] = n(job.planned_at)
            place = key(group, f"job#{job.planned_at:016d}#{job.job_key}")
            writes += [self._put(marker), self._put(place)]
        return writes

    async def _fenced(self, lease: Lease, writes: Sequence[Item]) -> Item | None:
        """Writes all if the lease's fence is the group's; else says why a write was refused.

        Raises Conflict for the fence, Transient when others' transactions come first each time.
        """
        check = self._items.write_of(
            "ConditionCheck",
            Key=_lease_key(lease.ocp_group),
            ConditionExpression="fence = :fence",
            ExpressionAttributeValues={":fence": n(lease.fence)},
        )
        for number in range(_ROUNDS_MAX):
            reasons = await self._items.transact([check, *writes])
            if reasons is None:
                return None
            if reasons[0].get("Code") == CONDITION:
                raise Conflict(
                    "Another runner has the group's lease; nothing was written.",
                    ocp_group=lease.ocp_group,
                    fence=lease.fence,
                )
            for reason in reasons[1:]:
                if reason.get("Code") == CONDITION:
                    return reason
            await _pause(number)
        raise Transient("Others are writing to the group.", ocp_group=lease.ocp_group)


def _lease_key(ocp_group: str) -> Item:
    return key(f"g#{ocp_group}", "lease")


def _lease(ocp_group: str, item: Item) -> Lease:
    return Lease(
        ocp_group=ocp_group,
        owner=item["owner"]["S"],
        fence=int(item["fence"]["N"]),
        until_ms=int(item["until_ms"]["N"]),
    )


def _packed_calls(job: ExportJob) -> bytes:
    """The job's calls if they are to be kept beside it, else nothing."""
    packed = msgspec.msgpack.encode(job.call_ids)
    return packed if len(packed) > CALLS_INLINE_BYTES_MAX else b""


def _calls_ref(job: ExportJob, packed: bytes) -> str:
    return f"calls:{job.job_key}:{blake2b(packed, digest_size=16).hexdigest()}"


async def _pause(number: int) -> None:
    # Full jitter: those that stopped each other do not come back together.
    await asyncio.sleep(random.random() * _PAUSE_S * 2 ** (number + 1))  # noqa: S311
