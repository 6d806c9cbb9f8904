"""Whose call an id of another kind is (core.vendor.lookups), one item for each id.

Rules
1. The earlier message about an id wins, then the smaller call id: the write's condition.
2. A claim of an event that is known to be the first of its kind is written at once; any other is
   read first, since most messages of a call claim again what its CDR Start claimed, and a refused
   write costs ten times a read. An old read is no harm: claims only ever get stronger.
3. Claims of an event that was there already are made again: its first writer may have died
   between journal and look-up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.dynamo import ABSENT, Dynamo, Item, each, key, n, s
from ocp_ingest.adapters.journal import Standing
from ocp_ingest.core.events import Event
from ocp_ingest.core.vendor import lookups

Name = tuple[str, str]

_SK: Final = "l"
_AT_ONCE: Final = 8
_STRONGER: Final = f"{ABSENT} OR a > :a OR (a = :a AND c > :c)"


class LookupItems:
    """The look-ups of all calls."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    async def find(self, kind: str, ident: str) -> str | None:
        """The call that an id belongs to, or None."""
        held = await self._dynamo.get(_pk((kind, ident)), _SK)
        return None if held is None else str(held["c"]["S"])

    async def claim(self, call_id: str, standings: Iterable[Standing]) -> int:
        """Makes the claims of events of one call; returns how many were news."""
        claims: dict[Name, int] = {}
        fresh: set[Name] = set()
        for standing in standings:
            names = lookups(standing.event)
            for name in names:
                claims[name] = min(standing.event.at_ms, claims.get(name, standing.event.at_ms))
            if standing.new and _is_first(standing.event):
                fresh.update(names)

        async def one(name: Name) -> bool:
            return await self._claim(name, claims[name], call_id, at_once=name in fresh)

        return sum(await each(claims, one, at_once=_AT_ONCE))

    async def _claim(self, name: Name, at_ms: int, call_id: str, *, at_once: bool) -> bool:
        if not at_once:
            held = await self._dynamo.get(_pk(name), _SK, consistent=False)
            if held is not None and _rank(held) <= (at_ms, call_id):
                return False
        item = key(_pk(name), _SK) | {"a": n(at_ms), "c": s(call_id)}
        return await self._dynamo.put(item, _STRONGER, a=n(at_ms), c=s(call_id)) is None


def opens_a_call(event: Event) -> bool:
    """Whether an event is most often the first of its call: the root dialog's CDR Start."""
    return event.kind == "dialog_start" and event.data.get("dialog_id") == event.call_id


def _is_first(event: Event) -> bool:
    return event.kind == "received" or opens_a_call(event)


def _rank(item: Item) -> tuple[int, str]:
    return int(item["a"]["N"]), item["c"]["S"]


def _pk(name: Name) -> str:
    return table.bounded_key("lookup#", "#".join(name))
