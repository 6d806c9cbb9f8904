"""How often one process queues a call whose step is overdue.

Detection meets an overdue call at every look. Its message may have been lost with whoever should
have put it, or wait behind many others, or be in the hands of a slow worker; which of them, no
queue says. To put one more at each look would bury a queue that is late already, so:

1. the first look puts it;
2. after that it is put after a step's lease (whoever held it had his time), then after twice that,
   and so on, up to a bound;
3. a call with another step due begins anew; what is forgotten (a restart, too many calls) is put
   once more, which does no harm.
"""

from __future__ import annotations

from typing import Final

# Longest pause, in leases: a call that nobody serves is tried some times a day, not every minute.
_LEASES_MAX: Final = 8
# Calls remembered, 150 bytes each: as many as one detection looks at.
_CALLS_MAX: Final = 100_000


class Again:
    """What a process has queued, and until when it leaves it alone; times in epoch ms."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, int, int]] = {}  # call id -> due at, put at, pause

    def may(self, call_id: str, due_at_ms: int, now_ms: int) -> bool:
        """Whether a call with a step due since then is to be put into the queue now."""
        held = self._held.get(call_id)
        if held is None or held[0] != due_at_ms:
            return True
        _, put_at_ms, pause_ms = held
        # A clock that was set back must not silence a call for longer than the pause.
        return not put_at_ms <= now_ms < put_at_ms + pause_ms

    def put(self, call_id: str, due_at_ms: int, now_ms: int, lease_ms: int) -> None:
        """It is in the queue; to be told only after the queue has said so."""
        held = self._held.pop(call_id, None)
        pause_ms = lease_ms
        if held is not None and held[0] == due_at_ms:
            pause_ms = min(2 * held[2], _LEASES_MAX * lease_ms)
        elif len(self._held) >= _CALLS_MAX:
            del self._held[next(iter(self._held))]
        self._held[call_id] = due_at_ms, now_ms, pause_ms
