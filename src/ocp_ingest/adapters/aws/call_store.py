"""CallStore on DynamoDB: journal items, then look-ups and record, each a write of its own.

Order of an append                        a crash after it leaves
1. the event's journal item               an event that no record shows
2. look-ups; opening of a new call        a call that is counted and has no record
3. the record with its index columns      nothing undone

Rules
1. Whatever a crash or a lost answer left is finished when the same append is done again, as the
   senders of events and the work queue do: every step finds out what is there.
2. The record is read, merged by core.call.merge, and replaced on the condition that it is still
   the one that was read; else the merge is made with what is there now. A merge that changes
   nothing writes nothing.
3. One append after the other merges into one call's record within a process, so only other
   processes can make that condition fail.
4. A call is opened before its record is made, so whatever has a record is counted as started.
5. Index columns come from policy and routing rules. `rederive` writes anew those of others.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final, Literal
from weakref import WeakValueDictionary

from ocp_ingest.adapters.aws.call_index import Directory
from ocp_ingest.adapters.aws.call_listings import CallListings
from ocp_ingest.adapters.aws.call_pages import CallPages
from ocp_ingest.adapters.aws.dynamo import Dynamo, each, together
from ocp_ingest.adapters.aws.journal_items import JournalItems
from ocp_ingest.adapters.aws.lookup_items import LookupItems, opens_a_call
from ocp_ingest.adapters.aws.open_work import OpenWork
from ocp_ingest.adapters.aws.openings import Openings
from ocp_ingest.adapters.aws.policy_walk import PolicyWalk
from ocp_ingest.adapters.aws.records import NOTHING, Held, Records
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.journal import Deriving, Standing, derive
from ocp_ingest.core.call import Call, fold, merge, new
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.events import Event
from ocp_ingest.ports import Appended, CallPage, CallQuery, Pending
from ocp_ingest.telemetry import log

# Calls of one append at once: a batch of a thousand events takes a second, and leaves
# connections to others.
CALLS_AT_ONCE: Final = 16
# Other processes that write the same record within some ms of us: hardly more than two ever.
WRITES_MAX: Final = 10
# Longest wait before the third write; doubles up to the bound.
_PAUSE_S: Final = 0.02
_PAUSE_S_MAX: Final = 0.5


class AwsCallStore:
    """See ocp_ingest.ports.CallStore."""

    def __init__(
        self, aws: Aws, deriving: Deriving, chance: Callable[[], float] = random.random,
        open_work: OpenWork | None = None,
    ) -> None:  # fmt: skip
        """Makes no request. `chance` spreads the waits of writers that meet.

        `open_work`: looks that are shared with others; without it nothing is remembered.
        """
        dynamo = Dynamo(aws)
        self._open_work = open_work or OpenWork(aws)
        self._deriving = deriving
        self._chance = chance
        self._journal = JournalItems(dynamo)
        self._lookups = LookupItems(dynamo)
        self._openings = Openings(dynamo)
        self._directory = Directory(dynamo)
        self._records = Records(dynamo)
        self._listings = CallListings(dynamo, self._directory)
        self._pages = CallPages(dynamo, self._records, self._directory, deriving)
        self._walk = PolicyWalk(dynamo, deriving)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def append(self, events: Sequence[Event]) -> list[Appended]:
        """Journal first, then merge; the events of one call in order, calls beside each other."""
        taken = list(events)
        calls: dict[str, list[int]] = {}
        for number, event in enumerate(taken):
            calls.setdefault(event.call_id, []).append(number)
        answers: dict[int, Appended] = {}

        async def one(numbers: list[int]) -> None:
            appended = await self._append([taken[number] for number in numbers])
            answers.update(zip(numbers, appended, strict=True))

        await each(calls.values(), one, at_once=CALLS_AT_ONCE)
        return [answers[number] for number in range(len(taken))]

    async def load(self, call_id: str) -> Call | None:
        """The record, or None."""
        return await self._readable(call_id, await self._records.read(call_id))

    async def journal(self, call_id: str) -> list[Event]:
        """All events of a call."""
        return await self._journal.read(call_id)

    async def call_of(
        self, kind: Literal["dialog", "session", "connection", "landing"], ident: str
    ) -> str | None:
        """The call that an id of another kind belongs to."""
        return await self._lookups.find(kind, ident)

    async def pending(
        self, *, until_ms: int, limit: int, ocp_group: str | None = None,
        after: Pending | None = None,
    ) -> list[Pending]:  # fmt: skip
        """Calls with due work, earliest first; what the index says may be a moment old."""
        return await self._listings.pending(until_ms, limit, ocp_group, after)

    async def pending_groups(self) -> dict[str, int]:
        """OCP groups with open work, and how many calls each has."""
        return dict((await self._open_work.look()).groups)

    async def page(self, query: CallQuery) -> CallPage:
        """A page of calls, newest start first; shorter when much had to be looked through for it.

        Raises Invalid for a strange cursor, Terminal for a record that can't be read.
        """
        return await self._pages.page(query)

    async def call_ids(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """Ids of all calls with a journal, in order."""
        return await self._listings.call_ids(after, limit)

    async def counts(self) -> dict[str, int]:
        """The terms of the conservation law, each counted anew from its own source.

        It reads every index entry (some 13,000 read units for a million calls): for audits and
        people, not for a gauge.
        """
        return await self._listings.counts()

    async def rebuild(self, call_id: str) -> bool:
        """Folds the journal anew into record, columns, opening and look-ups."""
        async with self._lock(call_id):
            for number in range(WRITES_MAX):
                await self._pause(number)
                # The record first: what it shows is in the journal that is read after it.
                held = await self._records.read(call_id)
                events = await self._journal.read(call_id)
                changed = await self._put_right(call_id, held, events)
                if changed is not None:
                    return changed
        raise _crowded(call_id)

    async def rederive(self, *, limit: int) -> int:
        """Derives the columns of up to `limit` calls anew if policy or rules have changed since.

        Returns how many calls were looked at; 0 when all columns are of these. To be called
        again until then, by one process at a time; others do no harm.
        """
        step = await self._walk.begin()
        if step is None:
            return 0
        ids = await self.call_ids(after=step.after, limit=limit)
        await each(ids, self._rederive, at_once=CALLS_AT_ONCE)
        await self._walk.end(step, ids[-1] if len(ids) == limit else None)
        return len(ids)

    # ------------------------------------------------------------------------------------------

    async def _append(self, events: list[Event]) -> list[Appended]:
        call_id = events[0].call_id
        standings = await self._journal.put(events)
        _, calls = await together(
            self._lookups.claim(call_id, standings), self._merge(call_id, standings)
        )
        return [
            Appended(standing.event, standing.new, call)
            for standing, call in zip(standings, calls, strict=True)
        ]

    async def _merge(self, call_id: str, standings: list[Standing]) -> list[Call]:
        """Rule 2; the record after each of the events."""
        is_first = any(s.new and opens_a_call(s.event) for s in standings)
        async with self._lock(call_id):
            held: Held | None = NOTHING if is_first else await self._records.read(call_id)
            for number in range(WRITES_MAX):
                await self._pause(number)
                assert held is not None
                before = await self._readable(call_id, held)
                calls = _merged(before or new(call_id), standings)
                if held.call == calls[-1]:
                    return calls
                held = await self._write(calls[-1], held)
                if held is None:
                    return calls
        raise _crowded(call_id)

    async def _write(self, call: Call, held: Held) -> Held | None:
        """Rule 4. None: written; else what is there instead."""
        row = derive(call, self._deriving)
        before = [self._directory.note(row)]
        if held.call is None or (call.evidenced and not held.call.evidenced):
            before.append(self._openings.open(call.call_id, evidenced=call.evidenced))
        await together(*before)
        return await self._records.replace(call, row, held)

    async def _rederive(self, call_id: str) -> None:
        async with self._lock(call_id):
            held: Held | None = await self._records.read(call_id)
            for number in range(WRITES_MAX):
                await self._pause(number)
                if held is None or held.call is None:
                    return
                if held.says(held.call, derive(held.call, self._deriving)):
                    return
                held = await self._write(held.call, held)
        raise _crowded(call_id)

    async def _readable(self, call_id: str, held: Held) -> Call | None:
        """The record; the journal gives it when the item can't be read."""
        if not held.damaged:
            return held.call
        log().error("record.unreadable", call_id=call_id)
        return fold(call_id, await self._journal.read(call_id))

    async def _put_right(self, call_id: str, held: Held, events: list[Event]) -> bool | None:
        """Whether something was not as it should be; None when others changed it meanwhile."""
        if not events:
            return await self._forget(call_id, held)
        call = fold(call_id, events)
        changed = await self._openings.put_right(call_id, evidenced=call.evidenced)
        if not held.says(call, derive(call, self._deriving)):
            if await self._write(call, held) is not None:
                return None
            changed = True
        claimed = await self._lookups.claim(call_id, [Standing(e, False) for e in events])
        return changed or claimed > 0

    async def _forget(self, call_id: str, held: Held) -> bool | None:
        if held.body is None:
            return False
        # The opening first: an event that comes now finds no record and opens the call again.
        await self._openings.remove(call_id)
        return True if await self._records.remove(call_id, held) else None

    def _lock(self, call_id: str) -> asyncio.Lock:
        lock = self._locks.get(call_id)
        if lock is None:
            lock = self._locks[call_id] = asyncio.Lock()
        return lock

    async def _pause(self, number: int) -> None:
        """Full jitter before the third and every further write."""
        if number > 1:
            await asyncio.sleep(self._chance() * min(_PAUSE_S * 2**number, _PAUSE_S_MAX))


def _crowded(call_id: str) -> Transient:
    return Transient("Others write this call's record all the time.", call_id=call_id)


def _merged(call: Call, standings: list[Standing]) -> list[Call]:
    calls = []
    for standing in standings:
        call = merge(call, standing.event)
        calls.append(call)
    return calls
