"""The journal as items: one for each event, written once and never changed.

Rules
1. A write is conditional on absence; a refusal brings the event that stands, and the shared rule
   (adapters.journal.settle) says what that means.
2. Events with one id are written one after the other, in the order given: the first stands.
3. An item says its whole event: key and content need no other item to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ocp_ingest.adapters.aws import codec, table
from ocp_ingest.adapters.aws.counters import add_count
from ocp_ingest.adapters.aws.dynamo import ABSENT, Dynamo, Item, b, each, key, s
from ocp_ingest.adapters.journal import (
    VARIANTS_REFUSED,
    Standing,
    journal_order,
    settle,
    variant_range,
)
from ocp_ingest.core.errors import Terminal, TooLarge, Transient
from ocp_ingest.core.events import VENDOR_KINDS, Event

# DynamoDB takes 400 KB with keys and names, which are below 5 KB here. An event of 256 KiB, the
# largest that is taken, is over this only if its text can't be compressed at all.
EVENT_ITEM_BYTES_MAX: Final = 390_000
# Journal items of one call written at once; an append of one call rarely has more than five.
_AT_ONCE: Final = 8
# A write of a variant may lose to the same variant sent at the same time, hardly twice.
_ROUNDS_MAX: Final = 3


class JournalItems:
    """The journals of all calls."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    async def put(self, events: Sequence[Event]) -> list[Standing]:
        """Writes events of one call; says under which id each stands. Raises TooLarge."""
        chains: dict[str, list[int]] = {}
        for number, event in enumerate(events):
            chains.setdefault(event.event_id, []).append(number)
        settled: dict[int, Standing] = {}

        async def chain(numbers: list[int]) -> None:
            for number in numbers:
                settled[number] = await self._put(events[number])

        await each(chains.values(), chain, at_once=_AT_ONCE)
        return [settled[number] for number in range(len(events))]

    async def read(self, call_id: str) -> list[Event]:
        """All events of a call, by time of what they say. Raises Terminal for a damaged one."""
        found = await self._query(call_id, table.SK_EVENT)
        return sorted(found, key=journal_order)

    async def _put(self, event: Event) -> Standing:
        held_item = await self._dynamo.put(item_of(event), ABSENT)
        if held_item is None:
            return Standing(event, True)
        held = event_of(event.call_id, held_item)
        for _ in range(_ROUNDS_MAX):
            settled = await self._settle(event, held)
            if settled.refused:
                await add_count(self._dynamo, VARIANTS_REFUSED, 1)
            if not settled.new:
                return settled
            if await self._dynamo.put(item_of(settled.event), ABSENT) is None:
                return settled
        raise Transient("Others write variants of one event at the same time.")

    async def _settle(self, event: Event, held: Event) -> Standing:
        found: dict[str, Event] = {}
        if event.kind in VENDOR_KINDS and held.body_hash != event.body_hash:
            found = await self._variants(event)
        known = {**found, event.event_id: held}
        return settle(event, known.get, lambda _: len(found))

    async def _variants(self, event: Event) -> dict[str, Event]:
        first, end = variant_range(event.event_id)
        # A sort key that ends in a hash begins with what is readable of the id.
        found = await self._query(event.call_id, table.event_prefix(first))
        return {v.event_id: v for v in found if first <= v.event_id < end}

    async def _query(self, call_id: str, prefix: str) -> list[Event]:
        found = await self._dynamo.items(
            f"{table.PK} = :pk AND begins_with({table.SK}, :prefix)",
            ConsistentRead=True,
            ExpressionAttributeValues={":pk": s(table.call_key(call_id)), ":prefix": s(prefix)},
        )
        return [event_of(call_id, item) for item in found]


def item_of(event: Event) -> Item:
    """The item of an event. Raises TooLarge when no item can hold it."""
    body = codec.encode_event(event)
    if len(body) > EVENT_ITEM_BYTES_MAX:
        raise TooLarge(
            f"An event must be at most {EVENT_ITEM_BYTES_MAX} bytes when compressed; this one is "
            f"{len(body)}."
        )
    where = key(table.call_key(event.call_id), table.event_key(event.event_id))
    return where | {table.EVENT: b(body)}


def event_of(call_id: str, item: Item) -> Event:
    """The event of an item. Raises Terminal when it can't be read."""
    try:
        return codec.decode_event(call_id, bytes(item[table.EVENT]["B"]))
    except (codec.Unreadable, KeyError) as error:
        raise Terminal(
            "An event of a journal can't be read: restore the table's item from a backup.",
            call_id=call_id,
        ) from error
