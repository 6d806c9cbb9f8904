"""Sessions that were ended by log-out before their time, for every process of a runtime.

A cookie can be copied, so taking it from the browser ends nothing. Ids of ended sessions are kept
in the desk's notes, spread over BUCKETS of them, each until its session would have ended by
itself. A process looks a bucket up at most every LOOK_S, so a log-out at one process counts at the
others within that; at its own at once. Two log-outs into one bucket at the same moment can
overwrite each other: what was written is read back and written again, a bounded number of times.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from ocp_ingest.core.errors import Transient
from ocp_ingest.desk.ports import DeskNotes

BUCKETS: Final = 64
# A few people click a few times a second; one small read each five seconds is nothing.
LOOK_S: Final = 5.0
# 64 KiB a note and 60 bytes an entry; 64,000 log-outs within the life of a session.
ENTRIES_MAX: Final = 1_000
_WRITES_MAX: Final = 4
_OWN_MAX: Final = 10_000


class Ended:
    """Ids of ended sessions."""

    def __init__(self, notes: DeskNotes, now_s: Callable[[], float]) -> None:
        self._notes = notes
        self._now_s = now_s
        self._seen: dict[str, tuple[float, dict[str, int]]] = {}  # bucket -> read at, its entries
        # Ended here: certain even when the notes could not be written.
        self._own: OrderedDict[str, None] = OrderedDict()

    async def has(self, session_id: str) -> bool:
        """Whether the session was ended. Raises Transient when that can't be known."""
        name, key = _bucket(session_id), _key(session_id)
        if key in self._own:
            return True
        held = self._seen.get(name)
        if held is None or self._now_s() - held[0] >= LOOK_S:
            held = (self._now_s(), await self._read(name))
            self._seen[name] = held
        return key in held[1]

    async def add(self, session_id: str, until_s: int) -> None:
        """Ends a session. Raises Transient when other processes could not be told."""
        name, key = _bucket(session_id), _key(session_id)
        self._own[key] = None
        while len(self._own) > _OWN_MAX:
            self._own.popitem(last=False)
        for _ in range(_WRITES_MAX):
            held = await self._read(name)
            if key in held:
                self._seen[name] = (self._now_s(), held)
                return
            left = {k: until for k, until in held.items() if until > self._now_s()}
            newest = sorted(left.items(), key=lambda entry: entry[1])[-(ENTRIES_MAX - 1) :]
            await self._notes.put(name, {**dict(newest), key: until_s})
        raise Transient("The log-out could not be kept: log out again.")

    async def _read(self, name: str) -> dict[str, int]:
        return {k: int(v) for k, v in (await self._notes.get(name) or {}).items()}


def _key(session_id: str) -> str:
    # A hash: who reads the notes must not learn an id.
    return sha256(f"ended:{session_id}".encode()).hexdigest()[:24]


def _bucket(session_id: str) -> str:
    return f"console.ended.{int(_key(session_id)[:8], 16) % BUCKETS}"
