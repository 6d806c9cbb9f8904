"""Index columns of a record as attributes, and the directories of what partitions there are.

Column     from the Row              attribute
pending    ocp_group, pend_at        pend_pk, pend_at; neither when no work is open
by_day     lob, started_at           day_pk, day_at
both       stage, outcome            o, one of CODES, and "+" once the recording is stored
by_day     ocp_group                 g; missing while unknown

Rules
1. Columns are derived (adapters.journal.derive) and written with their record in one write, so a
   finished call can't come back by a late duplicate.
2. `o` says no stage but "stored": a write of an index costs, and a call goes through six stages.
   Who asks for another stage reads the records of calls that are not stored, which are few.
3. A partition is in its directory before the first record is in it, so that no listing misses
   it. Directories only grow; each process writes an entry once.
"""

from __future__ import annotations

from typing import Final

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.dynamo import ABSENT, Dynamo, Item, key, n, s, together
from ocp_ingest.adapters.journal import Row

# outcome -> its letter; "none" while work is open, "" while nothing is known of the call.
CODES: Final[dict[str, str]] = {
    "none": "n", "": "u", "stored": "s", "absent": "a", "quarantined": "q", "lost": "l",
}  # fmt: skip
STORED: Final = "+"
STAGE_STORED: Final = "stored"

_GROUPS: Final = "groups#"
_DAYS: Final = "days#"
# Entries that a process remembers as written; groups are tens, days a few hundred a year and line
# of business. Beyond it all are forgotten and written once more.
_REMEMBERED_MAX: Final = 10_000


def columns(call_id: str, row: Row) -> Item:
    """The index attributes of a record (rule 1)."""
    found = {
        table.DAY_PK: s(table.day_partition(row.lob, table.day_of(row.started_at))),
        table.DAY_SK: n(row.started_at),
        table.OUTCOME: s(outcome_code(row.stage, row.outcome)),
    }
    if row.ocp_group:
        found[table.GROUP] = s(row.ocp_group)
    if row.pend_at is not None:
        found[table.PENDING_PK] = s(table.pending_partition(row.ocp_group))
        found[table.PENDING_SK] = s(table.pending_order(row.pend_at, call_id))
    return found


def outcome_code(stage: str, outcome: str) -> str:
    """What `o` is for a stage and an outcome."""
    return CODES[outcome] + (STORED if stage == STAGE_STORED else "")


class Directory:
    """Which partitions the indexes have."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo
        self._written: set[tuple[str, str]] = set()

    async def note(self, row: Row) -> None:
        """Enters the partitions that a record's columns will be in."""
        entries = [(_DAYS, f"{table.day_of(row.started_at)}#{row.lob}")]
        if row.ocp_group and row.pend_at is not None:
            entries.append((_GROUPS, row.ocp_group))
        await together(*(self._note(e) for e in entries if e not in self._written))

    async def groups(self) -> list[str]:
        """OCP groups that ever had open work; "" stands for calls whose group is unknown."""
        found = await self._entries(_GROUPS, "", "\U0010ffff")
        return ["", *found]

    async def days(self, first: str, last: str) -> list[tuple[str, str]]:
        """(day, line of business) of all calls that began on these days, newest first."""
        found = await self._entries(_DAYS, f"{first}#", f"{last}$")
        parts = [entry.partition("#") for entry in reversed(found)]
        return [(day, lob) for day, _, lob in parts]

    async def _entries(self, directory: str, first: str, last: str) -> list[str]:
        found = await self._dynamo.items(
            f"{table.PK} = :pk AND {table.SK} BETWEEN :first AND :last",
            ConsistentRead=True,
            ExpressionAttributeValues={
                ":pk": s(directory), ":first": s(first or " "), ":last": s(last),
            },
        )  # fmt: skip
        return [item[table.SK]["S"] for item in found]

    async def _note(self, entry: tuple[str, str]) -> None:
        await self._dynamo.put(key(*entry), ABSENT)
        if len(self._written) >= _REMEMBERED_MAX:
            self._written.clear()
        self._written.add(entry)
