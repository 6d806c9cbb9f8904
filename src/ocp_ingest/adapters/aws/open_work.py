"""All open work at one look: how much each OCP group has, and when its calls began.

The index `pending` holds open calls only, and says of each when it began and under which line of
business it counts: a look costs by what is open, never by what there is. An ordinary day has a few
thousand open calls, which are one request per group.

Rules
1. A look is remembered for LOOK_S, and so much longer as it had more pages: reading a large backlog
   costs no more an hour than a small one.
2. Calls whose recording is stored are open work of their group and no open calls (`Figures`).
"""

from __future__ import annotations

from array import array
from typing import Final

import msgspec

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.call_index import STORED, Directory
from ocp_ingest.adapters.aws.call_listings import READS_AT_ONCE, id_of
from ocp_ingest.adapters.aws.dynamo import Dynamo, Item, each, s
from ocp_ingest.adapters.aws.remembered import Remembered
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.desk.ports import OpenCall
from ocp_ingest.telemetry import log

# Of 1 MB each, some 5,000 calls: half a million open calls of one group are half a month of a
# large centre, and 30 s of reading.
PAGES_MAX: Final = 100


class Look(msgspec.Struct, frozen=True):
    """What is open. `starts`: when open calls began, rising, by line of business.

    `oldest` has the first of each line of business; `extra`: pages beyond the first of each group.
    """

    groups: dict[str, int]
    starts: dict[str, array[int]]
    oldest: dict[str, OpenCall]
    extra: int


class OpenWork:
    """Looks at the index `pending`."""

    def __init__(self, aws: Aws, *, remember_s: float = 0.0) -> None:
        """Makes no request; `remember_s` 0: every question reads what is there."""
        self._dynamo = Dynamo(aws)
        self._directory = Directory(self._dynamo)
        self._looks = Remembered(self._read, remember_s, weight=lambda look: 1.0 + look.extra)

    async def look(self) -> Look:
        """All that is open, a moment old."""
        return await self._looks.get(None)

    async def _read(self, _: None) -> Look:
        names = await self._directory.groups()
        read = _Read()
        counts = await each(names, lambda name: self._group(name, read), at_once=READS_AT_ONCE)
        groups = {name: count for name, count in zip(names, counts, strict=True) if count}
        starts = {lob: array("q", sorted(held)) for lob, held in read.starts.items()}
        return Look(groups, starts, read.oldest, read.pages - len(names))

    async def _group(self, group: str, read: _Read) -> int:
        count, after = 0, None
        for _ in range(PAGES_MAX):
            items, after = await self._dynamo.page(
                f"{table.PENDING_PK} = :pk", after=after, IndexName=table.PENDING,
                ProjectionExpression=", ".join(_WANTED),
                ExpressionAttributeValues={":pk": s(table.pending_partition(group))},
            )  # fmt: skip
            read.pages += 1
            count += len(items)
            for item in items:
                read.take(item)
            if after is None:
                return count
        log().warning("figures.open_cut", ocp_group=group, calls=count)
        return count


_WANTED: Final = (table.PK, table.OUTCOME, table.DAY_PK, table.DAY_SK)


class _Read:
    """What was read so far."""

    def __init__(self) -> None:
        self.pages = 0
        self.starts: dict[str, array[int]] = {}
        self.oldest: dict[str, OpenCall] = {}

    def take(self, item: Item) -> None:
        """Adds an entry of the index."""
        if STORED in item[table.OUTCOME]["S"]:
            return
        lob = item[table.DAY_PK]["S"].rpartition("#")[0]
        found = OpenCall(id_of(item), int(item[table.DAY_SK]["N"]))
        self.starts.setdefault(lob, array("q")).append(found.started_at)
        held = self.oldest.get(lob)
        if held is None or (found.started_at, found.call_id) < (held.started_at, held.call_id):
            self.oldest[lob] = found
