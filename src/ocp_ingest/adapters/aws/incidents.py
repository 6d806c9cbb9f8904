"""Incidents on DynamoDB: the open one of each cause is an item of its own, closed ones a history.

pk                  sk                          what
"incident#open"     key of the cause            the open incident, number of its opening
"incident#closed"   "<opened at>#<number>"      a closed one
"incident#number"   "next"                      openings so far

Rules
1. An open incident is replaced on the condition that it is still the one that was read, and
   closed by one transaction that removes it and writes the closed one: it is never in both.
2. A lost answer is safe: opened again, it is found open; closed again, there is none to close.
3. Among incidents that opened at the same time the later opening is the newer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

import msgspec

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.dynamo import ABSENT, Dynamo, Item, b, key, n, s
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.incidents import Incident, joined

_OPEN: Final = "incident#open"
_CLOSED: Final = "incident#closed"
_NUMBER: Final = "incident#number"
_NEXT: Final = "next"
_DIGITS: Final = 16
_UNCHANGED: Final = "i = :held"

# Writers of one incident that meet: within a process they wait for each other, and a few
# processes work on calls of one cause.
WRITES_MAX: Final = 10
# Longest wait before the third write; doubles up to the bound.
_PAUSE_S: Final = 0.02
_PAUSE_S_MAX: Final = 0.5

_DECODER: Final = msgspec.msgpack.Decoder(Incident)


class AwsIncidents:
    """See ocp_ingest.ports.Incidents."""

    def __init__(self, aws: Aws, chance: Callable[[], float] = random.random) -> None:
        self._dynamo = Dynamo(aws)
        self._chance = chance
        self._writing = asyncio.Lock()

    async def open(self, incident: Incident) -> bool:
        """Opens it, or adds to the one that is open under its key."""
        where = (_OPEN, _sk(incident.key))
        async with self._writing:
            held = await self._dynamo.get(*where)
            for number in range(WRITES_MAX):
                await self._pause(number)
                is_new = not held
                if held:
                    more = joined(_incident(held), incident)
                    if more == _incident(held):
                        return False
                    item = held | _body(more)
                    held = await self._dynamo.put(item, _UNCHANGED, held=held["i"])
                else:
                    item = key(*where) | _body(incident) | {"k": n(await self._next())}
                    held = await self._dynamo.put(item, ABSENT)
                if held is None:
                    return is_new
        raise _crowded(incident.key)

    async def close(self, key: str, at_ms: int, how: str) -> bool:
        """Closes the open incident of a key."""
        async with self._writing:
            for number in range(WRITES_MAX):
                await self._pause(number)
                held = await self._dynamo.get(_OPEN, _sk(key))
                if held is None:
                    return False
                if await self._close(held, at_ms, how):
                    return True
        raise _crowded(key)

    async def incidents(self, *, open_only: bool = True, limit: int = 100) -> list[Incident]:
        """Incidents, newest first."""
        found = await self._dynamo.items(
            f"{table.PK} = :pk",
            ConsistentRead=True,
            ExpressionAttributeValues={":pk": s(_OPEN)},
        )
        if not open_only:
            found += await self._dynamo.items(
                f"{table.PK} = :pk",
                at_most=limit,
                ConsistentRead=True,
                ScanIndexForward=False,
                ExpressionAttributeValues={":pk": s(_CLOSED)},
            )
        entries = [(_incident(item), int(item["k"]["N"])) for item in found]
        entries.sort(key=lambda entry: (entry[0].opened_at_ms, entry[1]), reverse=True)
        return [incident for incident, _ in entries[:limit]]

    async def _close(self, held: Item, at_ms: int, how: str) -> bool:
        closed = msgspec.structs.replace(_incident(held), closed_at_ms=at_ms, closed_how=how)
        order = f"{closed.opened_at_ms:0{_DIGITS}}#{int(held['k']['N']):0{_DIGITS}}"
        return await self._dynamo.transact([
            self._dynamo.write_of(
                "Delete", Key={name: held[name] for name in (table.PK, table.SK)},
                ConditionExpression=_UNCHANGED, ExpressionAttributeValues={":held": held["i"]},
            ),
            self._dynamo.write_of(
                "Put", Item=key(_CLOSED, order) | _body(closed) | {"k": held["k"]},
                ConditionExpression=ABSENT,
            ),
        ])  # fmt: skip

    async def _next(self) -> int:
        taken = await self._dynamo.update(_NUMBER, _NEXT, "ADD k :one", one=n(1))
        return int(taken["k"]["N"])

    async def _pause(self, number: int) -> None:
        """Full jitter before the third and every further write."""
        if number > 1:
            await asyncio.sleep(self._chance() * min(_PAUSE_S * 2**number, _PAUSE_S_MAX))


def _sk(incident_key: str) -> str:
    return table.bounded_key("k", incident_key)


def _body(incident: Incident) -> Item:
    return {"i": b(msgspec.msgpack.encode(incident))}


def _incident(item: Item) -> Incident:
    return _DECODER.decode(bytes(item["i"]["B"]))


def _crowded(incident_key: str) -> Transient:
    return Transient("Others write this incident all the time.", key=incident_key)
