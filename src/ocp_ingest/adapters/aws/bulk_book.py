"""BulkBook on DynamoDB: a job, and its calls in lists of CALLS_A_LIST.

pk                      sk              what
"desk#bulk"             "<made at>#<id>"  id: every job, in the order they were made
"bulk#job#<id>"         "job"           the job, its state and counts; w, f: numbers of the lists in
                                        which calls wait, in which calls failed; list: its lists
"bulk#list#<list>"      number          calls and results of one part, in order

Rules
1. The lists are there before their job, under a name of their own: of two who create a job of one
   id the one whose job is written has it, and nobody ever reads the other's lists.
2. A list with its results, and the job's counts, change in one transaction, on the condition that
   the list is as it was read: a result stands, and is counted once.
3. Reads and writes go by what is waiting: a job of ten thousand calls is some hundred lists.
4. All of it expires after KEPT_DAYS. What was done to a call is in its journal for ever.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.desk_items import DeskItems, expiring
from ocp_ingest.adapters.aws.dynamo import ABSENT, Item, b, each, key, n, s
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.core.errors import Transient
from ocp_ingest.desk.ports import BULK_FAILED, BulkItem, BulkJob, BulkState

KEPT_DAYS: Final = 366
# With results of the longest text such a list is 60 KB of the 400 KB that an item may have.
CALLS_A_LIST: Final = 100
_WRITES_AT_ONCE: Final = 8
# Others who tell results of the same list: another runner of the same job, hardly ever two.
_ROUNDS_MAX: Final = 8
_PAUSE_S: Final = 0.02
_DIGITS: Final = 16

_JOBS: Final = "desk#bulk"
_JOB_SK: Final = "job"
_JOB: Final = msgspec.msgpack.Decoder(BulkJob)
_ITEMS: Final = msgspec.msgpack.Decoder(list[BulkItem])
_STATES: Final = {"#state": "state"}  # a reserved word

_Asked = Callable[[BulkItem], bool]


class AwsBulkBook:
    """See ocp_ingest.desk.ports.BulkBook."""

    def __init__(self, aws: Aws) -> None:
        self._items = DeskItems(aws)

    # ------------------------------------------------------------------------------------- jobs

    async def create(self, job: BulkJob, call_ids: Sequence[str]) -> bool:
        """Rule 1."""
        if await self._held(job.bulk_id) is not None:
            return False
        name = uuid.uuid4().hex
        lists = [
            [BulkItem(at, call_id) for at, call_id in enumerate(call_ids[i : i + CALLS_A_LIST], i)]
            for i in range(0, len(call_ids), CALLS_A_LIST)
        ]
        await each(
            enumerate(lists),
            lambda one: self._items.put(_list_item(name, *one)),
            at_once=_WRITES_AT_ONCE,
        )
        place = key(_JOBS, table.bounded_key(f"{max(0, job.made_at_ms):0{_DIGITS}}#", job.bulk_id))
        return await self._items.commit([
            self._items.write_of(
                "Put", Item=_job_item(job, name, len(lists)), ConditionExpression=ABSENT
            ),
            self._items.write_of("Put", Item=place | {"id": s(job.bulk_id)} | expiring(KEPT_DAYS)),
        ])  # fmt: skip

    async def job(self, bulk_id: str) -> BulkJob | None:
        """A job as it is now."""
        held = await self._held(bulk_id)
        return None if held is None else _job(held)

    async def jobs(self, *, limit: int = 50) -> list[BulkJob]:
        """The newest."""
        places = await self._items.query(_JOBS, limit=limit, backwards=True)
        ids = [place["id"]["S"] for place in places]
        held = await self._items.there([key(_pk(bulk_id), _JOB_SK) for bulk_id in ids])
        found = (held.get((_pk(bulk_id), _JOB_SK)) for bulk_id in ids)
        return [_job(item) for item in found if item is not None]

    async def change(
        self, bulk_id: str, from_state: BulkState, to_state: BulkState, *, at_ms: int
    ) -> bool:
        """Moves a job on; False when it was elsewhere."""
        time = "started_at_ms" if to_state == "running" else "ended_at_ms"
        return await self._items.commit([
            self._items.write_of(
                "Update", Key=key(_pk(bulk_id), _JOB_SK),
                UpdateExpression=f"SET #state = :to, {time} = :at",
                ConditionExpression="#state = :from", ExpressionAttributeNames=_STATES,
                ExpressionAttributeValues={
                    ":from": s(from_state), ":to": s(to_state), ":at": n(at_ms)
                },
            )
        ])  # fmt: skip

    # ------------------------------------------------------------------------------------ items

    async def waiting(self, bulk_id: str, *, limit: int) -> list[BulkItem]:
        """Items without a result, by position."""
        held = await self._held(bulk_id)
        if held is None:
            return []
        return await self._some(held, sorted(_numbers(held, "w")), lambda i: not i.result, limit)

    async def items(
        self, bulk_id: str, *, after: int = -1, limit: int = 100, failed_only: bool = False
    ) -> list[BulkItem]:
        """Items after a position."""
        held = await self._held(bulk_id)
        if held is None:
            return []
        first, count = (after + 1) // CALLS_A_LIST, int(held["lists"]["N"])
        lists = sorted(_numbers(held, "f")) if failed_only else range(first, count)

        def is_asked(item: BulkItem) -> bool:
            return item.position > after and (item.result == BULK_FAILED or not failed_only)

        return await self._some(held, [x for x in lists if x >= first], is_asked, limit)

    async def results(self, bulk_id: str, items: Sequence[BulkItem]) -> None:
        """Keeps results; one that is there stands."""
        held = await self._held(bulk_id)
        if held is None:
            return
        by_list: dict[int, list[BulkItem]] = {}
        for item in items:
            if item.result:
                by_list.setdefault(item.position // CALLS_A_LIST, []).append(item)
        for number, told in sorted(by_list.items()):
            await self._keep(held, number, told)

    async def _keep(self, job: Item, number: int, told: Sequence[BulkItem]) -> None:
        """Rule 2."""
        bulk_id = _job(job).bulk_id
        for round_number in range(_ROUNDS_MAX):
            held = await self._items.get(*_where(job, number))
            if held is None:
                return
            before = _ITEMS.decode(held["d"]["B"])
            after, new = _told(before, told)
            if not new:
                return
            if await self._items.commit([
                self._items.write_of(
                    "Put", Item=held | {"d": b(msgspec.msgpack.encode(after))},
                    ConditionExpression="d = :held",
                    ExpressionAttributeValues={":held": held["d"]},
                ),
                self._counted(bulk_id, number, after, new),
            ]):  # fmt: skip
                return
            await asyncio.sleep(_PAUSE_S * 2**round_number)
        raise Transient("Others tell results of the same calls all the time.", bulk_id=bulk_id)

    def _counted(
        self, bulk_id: str, number: int, after: Sequence[BulkItem], new: Sequence[BulkItem]
    ) -> Item:
        failed = sum(item.result == BULK_FAILED for item in new)
        adds, deletes = ["done :done"], ""
        values = {":done": n(len(new))}
        if failed:
            adds += ["failed :failed", "f :list"]
            values |= {":failed": n(failed)}
        if all(item.result for item in after):
            deletes = " DELETE w :list"
        if failed or deletes:
            values |= {":list": {"NS": [str(number)]}}
        return self._items.write_of(
            "Update", Key=key(_pk(bulk_id), _JOB_SK),
            UpdateExpression=f"ADD {', '.join(adds)}{deletes}",
            ExpressionAttributeValues=values,
        )  # fmt: skip

    async def _held(self, bulk_id: str) -> Item | None:
        return await self._items.get(_pk(bulk_id), _JOB_SK)

    async def _some(
        self, job: Item, lists: Iterable[int], is_asked: _Asked, limit: int
    ) -> list[BulkItem]:
        """The first items of some lists that are asked for."""
        found: list[BulkItem] = []
        for number in lists:
            if len(found) >= limit:
                break
            held = await self._items.get(*_where(job, number))
            if held is not None:
                found += [item for item in _ITEMS.decode(held["d"]["B"]) if is_asked(item)]
        return found[:limit]


def _told(
    before: Sequence[BulkItem], told: Iterable[BulkItem]
) -> tuple[list[BulkItem], list[BulkItem]]:
    """A list with results, and those of them that are new."""
    held = {item.position: item for item in before}
    new: list[BulkItem] = []
    for item in told:
        waits = held.get(item.position)
        if waits is not None and not waits.result:
            kept = msgspec.structs.replace(item, call_id=waits.call_id)
            held[item.position] = kept
            new.append(kept)
    return list(held.values()), new


def _pk(bulk_id: str) -> str:
    return table.bounded_key("bulk#job#", bulk_id)


def _where(job: Item, number: int) -> tuple[str, str]:
    return f"bulk#list#{job['list']['S']}", f"{number:08}"


def _list_item(name: str, number: int, items: Sequence[BulkItem]) -> Item:
    where = key(f"bulk#list#{name}", f"{number:08}")
    return where | {"d": b(msgspec.msgpack.encode(items))} | expiring(KEPT_DAYS)


def _job_item(job: BulkJob, name: str, lists: int) -> Item:
    item = key(_pk(job.bulk_id), _JOB_SK) | expiring(KEPT_DAYS) | {
        "d": b(msgspec.msgpack.encode(job)), "list": s(name), "lists": n(lists),
        "state": s(job.state), "started_at_ms": n(job.started_at_ms),
        "ended_at_ms": n(job.ended_at_ms), "done": n(0), "failed": n(0),
    }  # fmt: skip
    # A set of DynamoDB is never empty.
    return item | ({"w": {"NS": [str(number) for number in range(lists)]}} if lists else {})


def _job(item: Item) -> BulkJob:
    state: BulkState = msgspec.convert(item["state"]["S"], BulkState)
    return msgspec.structs.replace(
        _JOB.decode(item["d"]["B"]), state=state,
        started_at_ms=int(item["started_at_ms"]["N"]), ended_at_ms=int(item["ended_at_ms"]["N"]),
        done=int(item["done"]["N"]), failed=int(item["failed"]["N"]),
    )  # fmt: skip


def _numbers(item: Item, name: str) -> set[int]:
    return {int(number) for number in item.get(name, {"NS": []})["NS"]}
