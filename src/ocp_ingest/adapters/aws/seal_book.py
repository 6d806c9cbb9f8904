"""SealBook on DynamoDB.

Item, pk                sk                    what it holds
call_key(call id)       "s#<page>"            up to PAGE_LINKS links; k: number of the last
"seal#waiting"          "<ms>#<seq>#<part>"   events to be sealed, as the stream told (seal_hints)
"seal#<day>#<shard>"    order_of(call id)     where the call's chain stood
"seal#state"            "marks", "note#…"     how far the days are; small values

Rules
1. The order in which the table took the events of a call is that of its stream: the function that
   archives the stream leaves the events of each batch as one or few items. A batch that came again
   leaves them again, under the same keys or others: an event is sealed once.
2. A page is written where it still has as many links as were read, in one transaction with the end
   of the chain for the day's leaf and the check that the day is open: a chain never forks, and no
   link is made on a day that is being closed.
3. A day's ends are in SHARDS partitions: a partition takes 1,000 writes a second. They expire once
   their day has long been on the shelf.
4. What the stream did not tell is found by `ocp-ingest verify`, and sealed by `ocp-ingest seal
   --all`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.dynamo import Dynamo, Item, b, each, key, n, s
from ocp_ingest.adapters.aws.items import CONDITION, Items
from ocp_ingest.adapters.aws.seal_audit import SealAudit
from ocp_ingest.adapters.aws.seal_hints import (
    WAITING,
    WAITING_ENTRIES,
    entries_of,
    packed,
    unpacked,
)
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core.calendar import parse_rfc3339
from ocp_ingest.core.errors import Damaged, Transient
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.core.proof import Entry, Link, Tip, extend, order_of, start
from ocp_ingest.evidence.ports import DayClosed, Fresh, Marks

# A link is some 400 bytes before it is compressed: a page stays below 100 KB.
PAGE_LINKS: Final = 200
SHARDS: Final = 16
# Waiting items removed, and calls sealed, at once.
_AT_ONCE: Final = 8
# Others that extend the same chain within some ms: another sealer, hardly ever.
_ROUNDS_MAX: Final = 8
_PAUSE_S: Final = 0.02
# Days that ends of chains outlive their day: a sealer that stood still for a month still closes it.
_KEPT_MS: Final = 60 * DAY_MS

_STATE: Final = "seal#state"
_MARKS: Final = "marks"
SK_LINKS: Final = "s#"

_LINKS: Final = msgspec.msgpack.Decoder(list[Link])


class AwsSealBook:
    """See ocp_ingest.evidence.ports.SealBook."""

    def __init__(self, aws: Aws, deriving: Deriving) -> None:
        """Makes no request. `deriving` is for `audit`."""
        self._items = Items(aws)
        self._dynamo = Dynamo(aws)
        self._audit = SealAudit(aws, deriving)
        self._aws = aws
        self._has_first = False

    # ------------------------------------------------------------------------------- sealing

    async def fresh(self, *, limit: int) -> Fresh:
        """The events of the oldest waiting items; at least one item, whatever the limit."""
        wanted = max(1, limit // WAITING_ENTRIES)
        held = await self._items.query(WAITING, limit=wanted)
        entries = [entry for item in held for entry in entries_of(item)]
        return Fresh(tuple(entries), tuple(item["sk"]["S"] for item in held) or None)

    async def seal(self, entries: Sequence[Entry], day: str) -> int:
        """Rule 2; the events of one call in order, calls beside each other."""
        by_call: dict[str, list[Entry]] = {}
        for entry in entries:
            by_call.setdefault(entry.call_id, []).append(entry)
        if by_call and day <= (await self.marks()).closing:
            raise DayClosed(f"The day {day} is closed.")
        made = sum(
            await each(by_call.values(), lambda one: self._extend(one, day), at_once=_AT_ONCE)
        )
        if made and not self._has_first:
            await self._move("SET day_first = :day", "attribute_not_exists(day_first)", day)
            self._has_first = True
        return made

    async def done(self, fresh: Fresh) -> None:
        """Removes the waiting items."""
        await each(fresh.mark or (), self._remove, at_once=_AT_ONCE)

    async def _remove(self, sk: str) -> None:
        await self._aws.call(
            "dynamodb", "delete_item", again=True, TableName=self._aws.settings.table,
            Key=key(WAITING, sk),
        )  # fmt: skip

    async def _extend(self, entries: list[Entry], day: str) -> int:
        call_id = entries[0].call_id
        for number in range(_ROUNDS_MAX):
            links = await self.chain(call_id)
            sealed = {link.entry.event_id for link in links}
            lacking = list({e.event_id: e for e in entries if e.event_id not in sealed}.values())
            if not lacking:
                return 0
            tip = Tip(call_id, links[-1].n, links[-1].link) if links else start(call_id)
            room = PAGE_LINKS - tip.n % PAGE_LINKS
            made = extend(tip, lacking[:room], day)
            page = links[tip.n - tip.n % PAGE_LINKS :] + made
            if await self._write_page(call_id, tip.n, page, day):
                if len(lacking) > room:
                    return len(made) + await self._extend(lacking[room:], day)
                return len(made)
            await asyncio.sleep(_PAUSE_S * 2**number)
        raise Transient("Others seal this call's journal all the time.", call_id=call_id)

    async def _write_page(self, call_id: str, before: int, page: list[Link], day: str) -> bool:
        """Whether it was written; raises DayClosed."""
        pk, last = table.call_key(call_id), page[-1]
        where = key(pk, f"{SK_LINKS}{(last.n - 1) // PAGE_LINKS:04}")
        grown: Item = {"ConditionExpression": "attribute_not_exists(pk)"}
        if before % PAGE_LINKS:
            grown = {
                "ConditionExpression": "k = :before",
                "ExpressionAttributeValues": {":before": n(before)},
            }
        end = key(_partition(day, call_id), order_of(call_id)) | {
            "d": b(msgspec.msgpack.encode(Tip(call_id, last.n, last.link))),
            table.EXPIRES_ATTRIBUTE: n((parse_rfc3339(day) + _KEPT_MS) // 1000),
        }
        refused = await self._items.transact([
            self._items.write_of(
                "Put", Item=where | {"d": b(packed(page)), "k": n(last.n)}, **grown
            ),
            self._items.write_of("Put", Item=end),
            self._items.write_of(
                "ConditionCheck", Key=key(_STATE, _MARKS),
                ConditionExpression="attribute_not_exists(day_closing) OR day_closing < :day",
                ExpressionAttributeValues={":day": s(day)},
            ),
        ])  # fmt: skip
        if refused is not None and refused[2].get("Code") == CONDITION:
            raise DayClosed(f"The day {day} is closed.")
        return refused is None

    # -------------------------------------------------------------------------------- reading

    async def chain(self, call_id: str) -> list[Link]:
        """All links of a call."""
        pages = await self._items.query(table.call_key(call_id), SK_LINKS)
        return [link for item in pages for link in _links(item)]

    async def sealed_on(self, day: str, *, after: str = "", limit: int) -> list[Tip]:
        """The ends of a day, its shards merged."""
        first = order_of(after) if after else ""
        shards = [f"seal#{day}#{shard:x}" for shard in range(SHARDS)]
        found = await each(shards, lambda pk: self._ends(pk, first, limit), at_once=_AT_ONCE)
        merged = sorted((item for held in found for item in held), key=lambda i: str(i["sk"]["S"]))
        return [msgspec.msgpack.decode(item["d"]["B"], type=Tip) for item in merged[:limit]]

    async def _ends(self, pk: str, after: str, limit: int) -> list[Item]:
        # An empty key is no value of a condition; a space is before every name.
        return await self._dynamo.items(
            "pk = :pk AND sk > :after", at_most=limit, ConsistentRead=True,
            ExpressionAttributeValues={":pk": s(pk), ":after": s(after or " ")},
        )  # fmt: skip

    async def call_ids(self, *, after: str = "", limit: int) -> list[str]:
        """Calls that have a journal: chains of no journal are found by the days' leaves."""
        return await self._audit.call_ids(after, limit)

    async def waiting(self, call_id: str) -> frozenset[str]:
        """Events of the call in the waiting items: usually there are none at all."""
        held = await self._items.query(WAITING)
        return frozenset(
            e.event_id for item in held for e in entries_of(item) if e.call_id == call_id
        )

    async def audit(self, call_id: str) -> list[str]:
        """See ocp_ingest.adapters.aws.seal_audit."""
        found = await self._audit.of(call_id)
        closed, ends = (await self.marks()).closed, dict[str, Tip]()
        for link in await self.chain(call_id):
            if link.day > closed:
                ends[link.day] = Tip(call_id, link.n, link.link)
        for day, tip in ends.items():
            item = await self._items.get(_partition(day, call_id), order_of(call_id))
            if item is None or msgspec.msgpack.decode(item["d"]["B"], type=Tip) != tip:
                found.append("The end of the call's chain on a day still open is not noted.")
        return found

    async def strays(self, *, limit: int) -> list[str]:
        """None are looked for: a record is listed by its opening, as its journal is."""
        return []

    # ----------------------------------------------------------------------------------- days

    async def marks(self) -> Marks:
        """How far the days are."""
        item = await self._items.get(_STATE, _MARKS) or {}
        names = ("day_first", "day_closing", "day_closed", "statement")
        return Marks(*(str(item.get(name, {}).get("S", "")) for name in names))

    async def begin_close(self, day: str) -> None:
        """Moves the mark on, never back."""
        condition = "attribute_not_exists(day_closing) OR day_closing < :day"
        await self._move("SET day_closing = :day", condition, day)

    async def closed(self, day: str, statement: str) -> None:
        """Moves the mark on, never back; the day's ends expire by themselves."""
        condition = "attribute_not_exists(day_closed) OR day_closed < :day"
        update = "SET day_closed = :day, statement = :statement"
        await self._move(update, condition, day, **{":statement": s(statement)})

    async def _move(self, update: str, condition: str, day: str, **values: Item) -> None:
        """Refused: the mark is there already, or further."""
        for number in range(_ROUNDS_MAX):
            refused = await self._items.transact([
                self._items.write_of(
                    "Update", Key=key(_STATE, _MARKS), UpdateExpression=update,
                    ConditionExpression=condition,
                    ExpressionAttributeValues={":day": s(day), **values},
                )
            ])  # fmt: skip
            if refused is None or refused[0].get("Code") == CONDITION:
                return
            await asyncio.sleep(_PAUSE_S * 2**number)
        raise Transient("Others move the marks of the days all the time.")

    async def note(self, name: str) -> str:
        """A value."""
        item = await self._items.get(_STATE, f"note#{name}")
        return "" if item is None else str(item["d"]["S"])

    async def put_note(self, name: str, value: str) -> None:
        """Keeps a value."""
        await self._items.put(key(_STATE, f"note#{name}") | {"d": s(value)})


def _partition(day: str, call_id: str) -> str:
    return f"seal#{day}#{sha256(call_id.encode()).digest()[0] % SHARDS:x}"


def _links(item: Item) -> list[Link]:
    try:
        return _LINKS.decode(unpacked(item))
    except msgspec.MsgspecError:
        raise Damaged("Links of a chain can't be read: restore the item from a backup.") from None
