"""WorkQueue on SQLite.

State     meaning                                   leaves it by
waiting   may be taken from `at_ms` on              take → held
held      somebody's until `at_ms`                  done → gone; give_back → waiting or parked;
                                                    lease over → taken again, or parked
parked    was tried too often; waits for a person   —

Rules
1. A put merges only into a message that waits: one that is held may have been read before the
   put, even when its lease is over, so it can't stand for it.
2. A receipt names the message and the try; it is good while that try holds the message.
3. Leases and delays are real time, so the clock given here is the system's, never a scaled one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import apsw
import msgspec

from ocp_ingest.adapters.embedded.database import Database, change, row, rows, value
from ocp_ingest.ports import Clock, Message

# How long an idle `take` sleeps at most before it looks again: another process may have put.
LOOK_AGAIN_S: Final = 1.0

_DUE: Final = """
SELECT id, tries FROM message WHERE state != 'parked' AND at_ms <= ? ORDER BY at_ms, id LIMIT ?
"""
_HOLD: Final = """
UPDATE message SET state='held', at_ms=?, tries=tries+1 WHERE id=? RETURNING id, body, tries
"""
_HELD: Final = "WHERE id=? AND tries=? AND state='held'"


class EmbeddedWorkQueue:
    """See ocp_ingest.ports.WorkQueue. `tries_max`: tries of a message before it is parked."""

    def __init__(self, database: Database, clock: Clock, *, tries_max: int) -> None:
        self._database = database
        self._clock = clock
        self._tries_max = tries_max
        self._bell = asyncio.Event()

    async def put(self, key: str, body: dict[str, Any], *, delay_ms: int = 0) -> None:
        """Adds a message, or brings the one that waits under its key forward."""
        at_ms = self._clock.now_ms() + delay_ms
        encoded = msgspec.json.encode(body)

        def operation(connection: apsw.Connection) -> None:
            merge = (
                "UPDATE message SET at_ms=min(at_ms, ?) WHERE id="
                "(SELECT id FROM message WHERE key=? AND state='waiting' AND body=? LIMIT 1)"
            )
            add = "INSERT INTO message (key, body, state, at_ms, tries) VALUES (?,?,'waiting',?,0)"
            if not change(connection, merge, (at_ms, key, encoded)):
                change(connection, add, (key, encoded, at_ms))

        await self._database.write(operation)
        self._ring()

    async def take(self, *, limit: int, lease_ms: int, wait_s: float) -> list[Message]:
        """Messages that nobody else holds; waits for the first one."""
        assert lease_ms > 0, "a lease that is over at once would give a message to everybody"
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        while True:
            bell = self._bell
            taken = await self._take_now(limit, lease_ms)
            left_s = until_s - loop.time()
            if taken or left_s <= 0:
                return taken
            pause_s = min(left_s, LOOK_AGAIN_S, self._until_next_s())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), pause_s)

    async def extend(self, message: Message, lease_ms: int) -> bool:
        """Keeps a message longer, unless somebody else has it by now."""
        at_ms = self._clock.now_ms() + lease_ms
        return await self._change(f"UPDATE message SET at_ms=? {_HELD}", (at_ms,), message)  # noqa: S608

    async def done(self, message: Message) -> None:
        """Ends it, unless somebody else has it by now."""
        await self._change(f"DELETE FROM message {_HELD}", (), message)  # noqa: S608

    async def give_back(self, message: Message, *, delay_ms: int) -> None:
        """Lets others have it after a while, or parks it after the last try."""
        state = "parked" if message.tries >= self._tries_max else "waiting"
        at_ms = self._clock.now_ms() + delay_ms
        sql = f"UPDATE message SET state=?, at_ms=? {_HELD}"  # noqa: S608
        await self._change(sql, (state, at_ms), message)
        self._ring()

    async def parked(self, *, limit: int = 100) -> list[Message]:
        """Messages that were tried too often, oldest first."""
        sql = "SELECT id, body, tries FROM message WHERE state='parked' ORDER BY id LIMIT ?"
        found = await self._database.read(lambda c: rows(c, sql, (limit,)))
        return [_message(*columns) for columns in found]

    async def depth(self) -> int:
        """How many messages wait or are held."""
        sql = "SELECT count(*) FROM message WHERE state != 'parked'"
        return int(self._database.read_now(lambda c: value(c, sql)))

    # -----------------------------------------------------------------------------------------

    async def _take_now(self, limit: int, lease_ms: int) -> list[Message]:
        now_ms = self._clock.now_ms()
        # A look first: most polls find nothing, and a write would wait for its turn.
        if not self._database.read_now(lambda c: rows(c, _DUE, (now_ms, 1))):
            return []
        return await self._database.write(lambda c: self._hold(c, now_ms, limit, lease_ms))

    def _hold(
        self, connection: apsw.Connection, now_ms: int, limit: int, lease_ms: int
    ) -> list[Message]:
        taken: list[Message] = []
        while due := rows(connection, _DUE, (now_ms, limit - len(taken))):
            for ident, tries in due:
                if tries >= self._tries_max:
                    # Its last holder died with it, or it would not be due again.
                    change(connection, "UPDATE message SET state='parked' WHERE id=?", (ident,))
                    continue
                held = row(connection, _HOLD, (now_ms + lease_ms, ident))
                assert held is not None, "a message vanished inside a transaction"
                taken.append(_message(*held))
        return taken

    def _ring(self) -> None:
        """Wakes all who wait; each saw its bell before it looked, so no ring is missed."""
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    async def _change(self, sql: str, values: tuple[Any, ...], message: Message) -> bool:
        ident, _, tries = message.receipt.partition(":")
        held = (*values, int(ident), int(tries))
        return await self._database.write(lambda c: change(c, sql, held) == 1)

    def _until_next_s(self) -> float:
        sql = "SELECT min(at_ms) FROM message WHERE state != 'parked'"
        next_ms: int | None = self._database.read_now(lambda c: value(c, sql))
        if next_ms is None:
            return LOOK_AGAIN_S
        return max(0.0, (next_ms - self._clock.now_ms()) / 1000)


def _message(ident: int, body: bytes, tries: int) -> Message:
    return Message(msgspec.json.decode(body), f"{ident}:{tries}", tries)
