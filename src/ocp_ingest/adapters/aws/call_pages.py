"""Pages of calls by start, newest first: days backwards, each day's lines of business together.

Rules
1. Entries of one day come from as many partitions as it has lines of business, each in order of
   start. An entry is settled, so that it may be given, once every partition has been read to
   below its start: entries with one start are ordered by call id, which the index does not do.
2. What the index can't say (call_index, rule 2), and what changed since, the record says: an entry
   is on the page only if its record is as asked.
3. One page makes at most READS_MAX requests. When they are spent, the page ends where it is and
   its cursor goes on from there, even if nothing was found yet.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.call_index import CODES, STAGE_STORED, STORED, Directory
from ocp_ingest.adapters.aws.call_listings import READS_AT_ONCE, id_of
from ocp_ingest.adapters.aws.dynamo import Dynamo, Item, each, n, s
from ocp_ingest.adapters.aws.records import Held, Records
from ocp_ingest.adapters.journal import Deriving, Row, cursor_of, derive, parse_cursor
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Terminal
from ocp_ingest.ports import CallPage, CallQuery

# Requests for one page: half a second of them, and a hundred days without a hit.
READS_MAX: Final = 100
# Read beyond what a page needs, so that its last entries are settled without another request.
_BEYOND: Final = 8
# Records read at once for a page that asks for a stage.
_RECORDS_AT_ONCE: Final = 100

Entry = tuple[int, str]  # minus the start, call id: sorts as a page does
_FILTERS: Final = ("stage", "outcome", "lob", "ocp_group")


class CallPages:
    """Pages over the records of all calls."""

    def __init__(
        self, dynamo: Dynamo, records: Records, directory: Directory, deriving: Deriving
    ) -> None:
        self._dynamo = dynamo
        self._records = records
        self._directory = directory
        self._deriving = deriving

    async def page(self, query: CallQuery) -> CallPage:
        """A page and its cursor. Raises Invalid for a strange cursor."""
        walk = await self._walk(query)
        limit = max(1, query.limit)
        kept: list[tuple[Entry, Call]] = []
        reads = 0
        while reads < READS_MAX:
            entries, spent = await walk.more(limit + 1 - len(kept))
            if entries is None:
                return CallPage([call for _, call in kept], None)
            reads += spent + math.ceil(len(entries) / _RECORDS_AT_ONCE)
            kept += await self._as_asked(entries, query)
            if len(kept) > limit:
                (start, call_id), _ = kept[limit - 1]
                return CallPage([call for _, call in kept[:limit]], cursor_of(-start, call_id))
        start, call_id = walk.position
        return CallPage([call for _, call in kept], cursor_of(-start, call_id))

    async def _walk(self, query: CallQuery) -> _Walk:
        after = None
        if query.cursor is not None:
            started_at, call_id = parse_cursor(query.cursor)
            after = (-started_at, call_id)
        span = _span(query, after)
        condition = _Condition.of(query)
        days = await self._directory.days(table.day_of(span[0]), table.day_of(span[1]))
        if condition.never or span[0] > span[1]:
            days = []
        wanted = [
            (d, lob) for d, lob in days
            if query.lob in (None, lob) and (query.lobs is None or lob in query.lobs)
        ]  # fmt: skip
        return _Walk(self._dynamo, wanted, span, condition, after)

    async def _as_asked(self, entries: list[Entry], query: CallQuery) -> list[tuple[Entry, Call]]:
        """Rule 2."""
        held = await self._records.read_all([call_id for _, call_id in entries])
        found = []
        for entry in entries:
            call = _readable(held.get(entry[1]))
            if call is not None and _is_asked(derive(call, self._deriving), query):
                found.append((entry, call))
        return found


def _readable(held: Held | None) -> Call | None:
    if held is not None and held.damaged:
        raise Terminal("A record can't be read: run `ocp-ingest replay`.")
    return None if held is None else held.call


def _is_asked(row: Row, query: CallQuery) -> bool:
    if query.from_ms is not None and row.started_at < query.from_ms:
        return False
    if query.to_ms is not None and row.started_at >= query.to_ms:
        return False
    if query.lobs is not None and row.lob not in query.lobs:
        return False
    if query.problem is not None and query.problem not in row.problems:
        return False
    asked = ((name, getattr(query, name)) for name in _FILTERS)
    return all(value is None or getattr(row, name) == value for name, value in asked)


# What day_at may be: DynamoDB's numbers go far beyond, but no call's start does.
_EVER: Final = 1 << 60


def _span(query: CallQuery, after: Entry | None) -> tuple[int, int]:
    """The first and the last start that may be on the page."""
    first = -_EVER if query.from_ms is None else query.from_ms
    last = _EVER if query.to_ms is None else query.to_ms - 1
    return first, last if after is None else min(last, -after[0])


class _Condition(msgspec.Struct, frozen=True):
    """What the index is asked for besides the span: codes of stage and outcome, the group."""

    codes: tuple[str, ...] | None  # None: any
    ocp_group: str | None

    @classmethod
    def of(cls, query: CallQuery) -> _Condition:
        """The condition of a query."""
        if query.stage is None and query.outcome is None:
            return cls(None, query.ocp_group)
        letters = CODES if query.outcome is None else {query.outcome}
        stored = query.stage == STAGE_STORED
        ends = ("", STORED) if query.stage is None else ((STORED,) if stored else ("",))
        codes = [CODES[letter] + end for letter in letters if letter in CODES for end in ends]
        return cls(tuple(codes), query.ocp_group)

    @property
    def never(self) -> bool:
        """Whether no entry can be as asked."""
        return self.codes == ()

    def params(self) -> tuple[Item, Item]:
        """Parameters of a Query, and its values."""
        parts: list[str] = []
        values: Item = {}
        if self.codes is not None:
            names = {f":o{number}": s(code) for number, code in enumerate(self.codes)}
            parts.append(f"{table.OUTCOME} IN ({', '.join(names)})")
            values |= names
        if self.ocp_group == "":
            parts.append(f"attribute_not_exists({table.GROUP})")
        elif self.ocp_group is not None:
            parts.append(f"{table.GROUP} = :g")
            values[":g"] = s(self.ocp_group)
        return ({"FilterExpression": " AND ".join(parts)} if parts else {}), values


class _Walk:
    """Entries in order, some at a time; `position` is where the last ones ended."""

    def __init__(
        self, dynamo: Dynamo, days: list[tuple[str, str]], span: tuple[int, int],
        condition: _Condition, after: Entry | None,
    ) -> None:  # fmt: skip
        self._dynamo = dynamo
        self._lobs: dict[str, list[str]] = {}
        for day, lob in days:
            self._lobs.setdefault(day, []).append(lob)
        self._days = list(self._lobs)
        self._span = span
        self._condition = condition
        self._after = after
        self._day = ""
        self._partitions: list[_Partition] = []
        self._ready: list[Entry] = []
        self.position: Entry = after or (-_EVER, "")

    async def more(self, wanted: int) -> tuple[list[Entry] | None, int]:
        """The next entries, maybe none yet, and how many requests were made; None at the end."""
        spent = 0
        if not self._ready:
            if not self._partitions and not self._days:
                return None, 0
            spent = await self._read(wanted)
        given = self._ready[: min(wanted, _RECORDS_AT_ONCE)]
        self._ready = self._ready[len(given) :]
        if given:
            self.position = given[-1]
        return given, spent

    async def _read(self, wanted: int) -> int:
        if not self._partitions:
            self._day = self._days.pop(0)
            self._partitions = [self._partition(lob) for lob in self._lobs[self._day]]
        # Only those that hold the others up.
        edge = max(p.edge for p in self._partitions)
        behind = [p for p in self._partitions if p.edge == edge]
        await each(behind, lambda p: p.read(wanted), at_once=READS_AT_ONCE)
        edge = max(p.edge for p in self._partitions)
        settled = sorted(entry for p in self._partitions for entry in p.settle(edge))
        self._ready = [e for e in settled if self._after is None or e > self._after]
        if edge == -math.inf:
            self._partitions = []
        if not self._ready:
            # The cursor of a start without an id goes on with all calls that began then.
            start = table.day_start_ms(self._day) - 1 if edge == -math.inf else int(edge)
            self.position = max(self.position, (-start, ""))
        return len(behind)

    def _partition(self, lob: str) -> _Partition:
        name = table.day_partition(lob, self._day)
        return _Partition(self._dynamo, name, self._span, self._condition)


class _Partition:
    """Entries of one day and line of business; those that began after `edge` have been read."""

    def __init__(
        self, dynamo: Dynamo, name: str, span: tuple[int, int], condition: _Condition
    ) -> None:
        self._dynamo = dynamo
        self._params, values = condition.params()
        self._values = values | {":pk": s(name), ":first": n(span[0]), ":last": n(span[1])}
        self._after: Item | None = None
        self.entries: list[Entry] = []
        self.edge: float = math.inf

    async def read(self, wanted: int) -> None:
        """Reads on; with a filter whole pages, since most entries may be none that are asked."""
        limit: Item = {} if self._params else {"Limit": wanted + _BEYOND}
        items, self._after = await self._dynamo.page(
            f"{table.DAY_PK} = :pk AND {table.DAY_SK} BETWEEN :first AND :last",
            after=self._after,
            IndexName=table.BY_DAY,
            ScanIndexForward=False,
            ExpressionAttributeValues=self._values,
            **limit,
            **self._params,
        )
        self.entries += [(-int(item[table.DAY_SK]["N"]), id_of(item)) for item in items]
        self.edge = -math.inf
        if self._after is not None:
            self.edge = int(self._after[table.DAY_SK]["N"])

    def settle(self, edge: float) -> list[Entry]:
        """Takes the entries that began after `edge`."""
        found = [entry for entry in self.entries if -entry[0] > edge]
        self.entries = self.entries[len(found) :]
        return found
