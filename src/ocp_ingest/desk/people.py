"""The people of the embedded runtime: added, changed, disabled; each change ends their sessions.

A name is kept in small letters, so that one person is not two. Nobody is ever removed: the journal
names people, and a name that was free again could become somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

from ocp_ingest.core.access import EVERYTHING, ROLES
from ocp_ingest.core.errors import Conflict, Invalid, NotFound
from ocp_ingest.core.routing import UNASSIGNED
from ocp_ingest.desk.ports import LocalUser, UserBook

NAME_CHARS_MAX: Final = 64
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


def plain_name(text: str) -> str:
    """A name as the book has it."""
    return text.strip().lower()


def is_name(text: str) -> bool:
    """Whether somebody can be called so; also of what was typed at the log-in."""
    return _NAME.fullmatch(text) is not None


async def add(users: UserBook, user: LocalUser, known_lobs: Collection[str]) -> LocalUser:
    """Adds somebody. Raises Invalid for a name, role or line of business, Conflict if there."""
    name = plain_name(user.name)
    if not is_name(name):
        raise Invalid(
            f"A name is 1 to {NAME_CHARS_MAX} of a-z, 0-9, . _ @ + -, beginning with a letter or "
            "digit."
        )
    if await users.user(name) is not None:
        raise Conflict(f"There is somebody called {name} already: change them instead.")
    added = msgspec.structs.replace(user, name=name, lobs=_checked(user.lobs, known_lobs))
    _check_role(added.role)
    await users.put(added)
    return added


async def change(
    users: UserBook, name: str, *, now_ms: int, known_lobs: Collection[str] = (),
    role: str | None = None, lobs: tuple[str, ...] | None = None, password: str | None = None,
    enabled: bool | None = None,
) -> LocalUser:  # fmt: skip
    """Changes what is given, and ends the person's sessions. Raises NotFound, Invalid."""
    held = await users.user(plain_name(name))
    if held is None:
        raise NotFound(f"There is nobody called {plain_name(name)}.")
    if role is not None:
        _check_role(role)
    changed = msgspec.structs.replace(
        held,
        role=held.role if role is None else role,
        lobs=held.lobs if lobs is None else _checked(lobs, known_lobs),
        password=held.password if password is None else password,
        enabled=held.enabled if enabled is None else enabled,
        generation=held.generation + 1,
        changed_at_ms=now_ms,
    )
    await users.put(changed)
    return changed


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise Invalid(f"A role is one of {', '.join(ROLES)}.")


def _checked(lobs: tuple[str, ...], known: Collection[str]) -> tuple[str, ...]:
    if not lobs:
        raise Invalid('Name at least one line of business, or "*" for all.')
    for lob in lobs:
        if lob not in known and lob not in (EVERYTHING, UNASSIGNED):
            raise Invalid(
                f"There is no line of business {lob}: the configuration has "
                f"{', '.join(sorted(known)) or 'none'}."
            )
    return (EVERYTHING,) if EVERYTHING in lobs else tuple(sorted(set(lobs)))
