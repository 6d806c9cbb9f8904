"""Counters per line of business and day, fed by the table's stream, once per transition.

pk                        sk         attributes
counts#<lob>#<day>        counts     a number per term of core.counting; rev; recounted_at_ms, …_by
counts#cursor#<lane>      cursor     seq: the last sequence number of the lane that is counted

Rules
1. Counters and cursor change in one transaction, whose condition is the cursor as it was read: a
   batch that comes again, whole or cut otherwise, finds its records behind the cursor.
2. Sequence numbers rise within a shard and compare as decimal integers.
3. Where Lambda does not name the shard, a batch is a lane of its own: one that comes again is
   known, one that comes again *cut otherwise* may be counted twice until the recount.
4. A recount reads the day's records and overwrites, unless the counter changed meanwhile (`rev`).
   What is still in the stream then is counted again when it comes: days that are over for some
   time are quiet, so each is recounted several nights in a row.
5. A batch without a change that counts writes nothing: or the counters' own changes, which come by
   the same stream, would keep it going for ever.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final

from ocp_ingest.adapters.aws import codec
from ocp_ingest.adapters.aws.count_rules import Place, chunk, deltas, standing
from ocp_ingest.adapters.aws.dynamo import ABSENT, Dynamo, Item, key, n, s
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.aws.table import (
    BY_DAY,
    DAY_PK,
    EXPIRES_ATTRIBUTE,
    PK,
    SK,
    SK_RECORD,
    call_id_of,
    day_partition,
    day_start_ms,
)
from ocp_ingest.core.counting import TERMS
from ocp_ingest.core.errors import Invalid, Transient
from ocp_ingest.telemetry import log

PREFIX: Final = "counts#"
_SK: Final = "counts"
_CURSOR: Final = f"{PREFIX}cursor#"
_CURSOR_SK: Final = "cursor"

# A transaction takes 100 writes; one is the cursor.
# (docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html)
_COUNTERS_MAX: Final = 99
# Rounds of a transaction that another's stopped, or whose cursor or counter had moved.
_ROUNDS_MAX: Final = 6
# Before the second round; doubles. Such transactions last some 10 ms.
_PAUSE_S: Final = 0.05
# A shard lives for hours and its records for a day; a cursor of a week is of nobody's use.
_CURSOR_LIFE_S: Final = 8 * 86_400
# Records counted in one go: a few MB.
_RECORDS: Final = 1_000
_DAYS: Final = "days#"


class DayCounts:
    """The counters of one deployment."""

    def __init__(self, aws: Aws) -> None:
        self._table = Dynamo(aws)

    async def count(self, lane: str, records: Sequence[Mapping[str, Any]], now_ms: int) -> int:
        """Adds what a batch of the stream changes, once (rule 1); how many changes were new.

        Raises Transient when others' transactions were in the way too often; what was counted
        until then is behind the cursor.
        """
        left, unreadable = deltas(records)
        for call_id in unreadable:  # a counter is no reason to stop the stream
            log().error("counts.unreadable", call_id=call_id)
        where = _cursor_key(lane)
        counted = refused = 0
        while left:
            cursor = await self._table.get(where[PK]["S"], _CURSOR_SK)
            at = int(cursor["seq"]["S"]) if cursor else -1
            left = [delta for delta in left if delta.seq > at]
            if not left:
                break
            taken, by = chunk(left, _COUNTERS_MAX)
            writes = [self._moved(where, cursor, taken[-1].seq, now_ms)]
            writes += [self._added(place, terms) for place, terms in sorted(by.items())]
            if await self._table.transact(writes):
                counted += len(taken)
                left = left[len(taken) :]
                continue
            refused += 1
            if refused == _ROUNDS_MAX:
                raise Transient(f"Counters could not be written: {len(left)} changes are left.")
            await asyncio.sleep(_PAUSE_S * 2**refused)
        return counted

    async def recount(self, day: str, *, by: str, now_ms: int) -> dict[str, int]:
        """Counts a day's records and overwrites what differs (rule 4).

        `by` says who asked; answers how many counters there are and how many were changed. Raises
        Invalid for no day, Transient when a counter keeps changing.
        """
        lobs = await self._lobs_of(day)
        changed = 0
        for lob in lobs:
            changed += await self._recount((lob, day), by, now_ms)
        log().info("counts.recounted", day=day, counters=len(lobs), changed=changed)
        return {"counters": len(lobs), "changed": changed}

    async def calls_of_day(self, day: str) -> list[str]:
        """Partition keys of the calls that began on a day, each once. Raises Invalid."""
        found = [await self._calls_of((lob, day)) for lob in await self._lobs_of(day)]
        return sorted({pk for some in found for pk in some})

    async def read(self, places: Iterable[Place]) -> dict[Place, dict[str, int]]:
        """See `read_counts`."""
        found = {place: dict.fromkeys(TERMS, 0) for place in places}
        for item in await self._table.get_all([_counts_key(place) for place in found]):
            lob, _, day = item[PK]["S"].removeprefix(PREFIX).rpartition("#")
            found[lob, day] = _numbers(item)
        return found

    async def _recount(self, place: Place, by: str, now_ms: int) -> int:
        for number in range(1, _ROUNDS_MAX + 1):
            held = await self._table.get(_counts_key(place)[PK]["S"], _SK)
            was, now = _numbers(held), await self._counted(place)
            if was == now:
                return 0
            if await self._overwrite(place, held, now, by, now_ms):
                log().warning("counts.corrected", lob=place[0], day=place[1], was=was, now=now)
                return 1
            await asyncio.sleep(_PAUSE_S * 2**number)
        raise Transient(f"The counters of {place[1]} keep changing: recount them later.")

    async def _counted(self, place: Place) -> dict[str, int]:
        """What the records of a place count for, read from the records themselves."""
        total: Counter[str] = Counter()
        partitions = await self._calls_of(place)
        for first in range(0, len(partitions), _RECORDS):
            keys = [key(pk, SK_RECORD) for pk in partitions[first : first + _RECORDS]]
            for item in await self._table.get_all(keys):
                try:
                    stands = standing(item)
                except (codec.Unreadable, KeyError):
                    log().error("counts.unreadable", call_id=call_id_of(item[PK]["S"]))
                    continue
                if stands is not None and (stands.lob, stands.day) == place:
                    total.update(stands.terms)
        return {term: total[term] for term in TERMS}

    async def _lobs_of(self, day: str) -> list[str]:
        try:
            day_start_ms(day)
        except ValueError:
            raise Invalid("A day is written yyyymmdd.") from None
        held = await self._table.items(
            f"{PK} = :pk AND begins_with({SK}, :day)", ConsistentRead=True,
            ExpressionAttributeValues={":pk": s(_DAYS), ":day": s(f"{day}#")},
        )  # fmt: skip
        return sorted({item[SK]["S"].partition("#")[2] for item in held})

    async def _calls_of(self, place: Place) -> list[str]:
        """Partition keys of by_day; a moment old."""
        held = await self._table.items(
            f"{DAY_PK} = :day", IndexName=BY_DAY, ProjectionExpression=PK,
            ExpressionAttributeValues={":day": s(day_partition(*place))},
        )  # fmt: skip
        return [item[PK]["S"] for item in held]

    def _moved(self, where: Item, cursor: Item | None, seq: int, now_ms: int) -> Item:
        """The cursor's write: to `seq`, if it still stands where it was read."""
        expires = n(now_ms // 1000 + _CURSOR_LIFE_S)
        item = {**where, "seq": s(str(seq)), EXPIRES_ATTRIBUTE: expires}
        if cursor is None:
            return self._table.write_of("Put", Item=item, ConditionExpression=ABSENT)
        return self._table.write_of(
            "Put", Item=item, ConditionExpression="seq = :held",
            ExpressionAttributeValues={":held": cursor["seq"]},
        )  # fmt: skip

    def _added(self, place: Place, terms: Mapping[str, int]) -> Item:
        adds = ", ".join(f"#{number} :{number}" for number in range(len(terms)))
        values = {f":{number}": n(add) for number, add in enumerate(terms.values())}
        return self._table.write_of(
            "Update", Key=_counts_key(place), UpdateExpression=f"ADD {adds}, rev :one",
            ExpressionAttributeNames={f"#{number}": term for number, term in enumerate(terms)},
            ExpressionAttributeValues={":one": n(1), **values},
        )  # fmt: skip

    async def _overwrite(
        self, place: Place, held: Item | None, now: Mapping[str, int], by: str, now_ms: int
    ) -> bool:
        rev = held["rev"] if held is not None else n(0)
        item = {
            **_counts_key(place), **{term: n(number) for term, number in now.items()},
            "rev": n(int(rev["N"]) + 1), "recounted_at_ms": n(now_ms), "recounted_by": s(by),
        }  # fmt: skip
        if held is None:
            return await self._table.put(item, ABSENT) is None
        return await self._table.put(item, "rev = :rev", rev=rev) is None


async def read_counts(
    aws: Aws, lobs: Sequence[str], days: Sequence[str]
) -> dict[Place, dict[str, int]]:
    """The counters of every line of business on every day; all zero where nothing was counted.

    Seconds old while the stream runs. Raises Transient, NoRights.
    """
    return await DayCounts(aws).read(product(lobs, days))


def _numbers(item: Item | None) -> dict[str, int]:
    held = item or {}
    return {term: int(held.get(term, {}).get("N", "0")) for term in TERMS}


def _counts_key(place: Place) -> Item:
    return key(f"{PREFIX}{place[0]}#{place[1]}", _SK)


def _cursor_key(lane: str) -> Item:
    """A hash stands for the lane: names of shards and streams are long."""
    return key(f"{_CURSOR}{hashlib.sha256(lane.encode()).hexdigest()[:24]}", _CURSOR_SK)
