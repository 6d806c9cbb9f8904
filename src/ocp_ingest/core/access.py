"""Who may see and do what: three roles, each scoped to lines of business.

role       sees            may                                                    hears, unmasks
viewer     its calls       nothing                                                no
operator   its calls       act on calls, run reconciliation, bulk, incidents      yes, with a reason
auditor    its calls       nothing                                                yes, with a reason

A call belongs to the line of business that is pinned, else to the one that the routing rules give
it now; one of which nothing is known ("") is seen by those who see everything.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ocp_ingest.core.errors import Denied

Role = Literal["viewer", "operator", "auditor"]
Right = Literal["see", "act", "hear", "unmask"]
ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "auditor")
EVERYTHING: Final = "*"

_RIGHTS: Final[dict[str, frozenset[str]]] = {
    "viewer": frozenset({"see"}),
    "operator": frozenset({"see", "act", "hear", "unmask"}),
    "auditor": frozenset({"see", "hear", "unmask"}),
}


class Person(msgspec.Struct, frozen=True):
    """Somebody who has logged in. `lobs` None: every line of business."""

    name: str
    role: str
    lobs: tuple[str, ...] | None

    def may(self, right: Right) -> bool:
        """Whether the role has the right."""
        return right in _RIGHTS.get(self.role, frozenset())

    def sees(self, lob: str) -> bool:
        """Whether calls of this line of business are theirs."""
        return self.lobs is None or (lob != "" and lob in self.lobs)

    def require(self, right: Right, lob: str | None = None) -> None:
        """Raises Denied without the right, or for another's line of business."""
        if not self.may(right):
            raise Denied(f"Your role, {self.role}, does not allow this.", authenticated=True)
        if lob is not None and not self.sees(lob):
            raise Denied("This call belongs to another line of business.", authenticated=True)


def scope_of(lobs: tuple[str, ...]) -> tuple[str, ...] | None:
    """A person's lines of business as the stores want them: None for all."""
    return None if EVERYTHING in lobs else tuple(sorted(set(lobs)))
