"""Where the walk over all calls is that derives index columns anew for a changed policy.

One item: the mark of the policy and routing rules that all columns are of, and, while a walk is
under way, the mark that it is for and the last call that it has seen. A walk that dies goes on
where it was; two at once do the same work twice and no harm.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ocp_ingest.adapters.aws.dynamo import Dynamo, Item, key, s
from ocp_ingest.adapters.journal import Deriving

_PK: Final = "meta#policy"
_SK: Final = "p"
_DONE: Final = "of_policy"
_DOING: Final = "to_policy"
_AFTER: Final = "last_id"


class Step(msgspec.Struct, frozen=True):
    """Where to go on: after this call id."""

    after: str
    held: Item | None  # the item as it was read


class PolicyWalk:
    """The walk for one policy, and rules."""

    def __init__(self, dynamo: Dynamo, deriving: Deriving) -> None:
        self._dynamo = dynamo
        self._mark = deriving.mark

    async def begin(self) -> Step | None:
        """The next step, or None when all columns are of these."""
        held = await self._dynamo.get(_PK, _SK)
        if _text(held, _DONE) == self._mark:
            return None
        return Step(_text(held, _AFTER) if _text(held, _DOING) == self._mark else "", held)

    async def end(self, step: Step, last: str | None) -> None:
        """Keeps that the walk has come to `last`, or None: to its end.

        Nothing happens when somebody else has moved it since.
        """
        item = key(_PK, _SK)
        if last is None:
            item |= {_DONE: s(self._mark)}
        else:
            done = _text(step.held, _DONE)
            item |= {_DONE: s(done), _DOING: s(self._mark), _AFTER: s(last)}
        if step.held is None:
            await self._dynamo.put(item, "attribute_not_exists(pk)")
            return
        names = [name for name in (_DONE, _DOING, _AFTER) if name in step.held]
        unchanged = [f"{name} = :{name}" for name in names]
        gone = [f"attribute_not_exists({n})" for n in (_DOING, _AFTER) if n not in step.held]
        values = {name: step.held[name] for name in names}
        await self._dynamo.put(item, " AND ".join(unchanged + gone), **values)


def _text(item: Item | None, name: str) -> str:
    return str((item or {}).get(name, {"S": ""})["S"])
