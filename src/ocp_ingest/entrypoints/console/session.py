"""Sessions: who is logged in, sealed in a cookie that only we can open.

A session ends
    session_idle_s after the last request that a person made (a page that updates itself is none)
    session_s after the log-in, whatever happens
    when its person is disabled, removed, or changes (password, role): `generation` has moved on
    at log-out: its id is remembered as ended until it would have ended by itself (ended.py)
A log-in always makes a new id, so that one planted before is worth nothing. People of the user
book have the role that the book gives now; people from OpenID Connect the one of their log-in.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from ocp_ingest.core.access import Person, scope_of
from ocp_ingest.desk.ports import LocalUser, UserBook
from ocp_ingest.entrypoints.console.ended import Ended
from ocp_ingest.entrypoints.console.sealing import Seal

PURPOSE: Final = "session"
# The cookie is made anew no more often: what is idle is known to the minute.
_RENEW_S: Final = 60
_ID_BYTES: Final = 16


class Session(msgspec.Struct, frozen=True):
    """What the cookie holds; times are real epoch seconds."""

    id: str
    name: str
    made_s: int
    seen_s: int
    generation: int = 0
    # Of people from outside; those of the user book are looked up.
    outside: bool = False
    role: str = ""
    lobs: tuple[str, ...] | None = ()


class Sessions:
    """Makes, reads and ends sessions."""

    def __init__(
        self, seal: Seal, users: UserBook | None, ended: Ended, *, idle_s: int, lasts_s: int,
        now_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self._seal = seal
        self._users = users
        self._ended = ended
        self._idle_s = idle_s
        self._lasts_s = lasts_s
        self._now_s = now_s

    def of_user(self, user: LocalUser) -> Session:
        """A new session of somebody of the user book."""
        return self._new(user.name, generation=user.generation)

    def of_person(self, person: Person) -> Session:
        """A new session of somebody whom a provider vouches for."""
        return self._new(person.name, outside=True, role=person.role, lobs=person.lobs)

    def _new(self, name: str, **more: object) -> Session:
        now = int(self._now_s())
        return msgspec.convert(
            {"id": secrets.token_urlsafe(_ID_BYTES), "name": name, "made_s": now, "seen_s": now,
             **more},
            Session,
        )  # fmt: skip

    def sealed(self, session: Session) -> str:
        """The session as its cookie's value."""
        return self._seal.seal(PURPOSE, session)

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie, unless its time is over."""
        session = self._seal.open(PURPOSE, cookie, Session)
        now = int(self._now_s())
        if session is None or now >= session.made_s + self._lasts_s:
            return None
        return session if now < session.seen_s + self._idle_s else None

    def renewed(self, session: Session) -> Session | None:
        """The session as seen now; None when its cookie is new enough."""
        now = int(self._now_s())
        if now - session.seen_s < min(_RENEW_S, max(1, self._idle_s // 4)):
            return None
        return msgspec.structs.replace(session, seen_s=now)

    async def person(self, session: Session) -> Person | None:
        """Whose session it is, with what they may do now; None when it has been ended."""
        if await self._ended.has(session.id):
            return None
        if session.outside:
            return Person(session.name, session.role, session.lobs)
        user = await self._users.user(session.name) if self._users is not None else None
        if user is None or not user.enabled or user.generation != session.generation:
            return None
        return Person(user.name, user.role, scope_of(user.lobs))

    async def end(self, session: Session) -> None:
        """Ends it for every process."""
        await self._ended.add(session.id, session.made_s + self._lasts_s)
