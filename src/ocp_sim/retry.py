"""What the stream does after an answer. Pure.

| Answer | Then |
|---|---|
| 2xx | delivered |
| 401, 403 | token thrown away, tried again; a second 403 is final |
| 408, 425, 429, 5xx, no answer | tried again with growing pauses, not before Retry-After |
| any other | refused for good |
| anything, 24 h after the first try | given up: only an export has it now |

The window and the pauses are domain time, each with a floor in real time: HTTP does not get
faster with the clock. Retry-After is real time.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from ocp_sim.config import Push

TOKEN_STATUSES: Final = frozenset({401, 403})
TRY_AGAIN: Final = frozenset({408, 425, 429})
HOUR_MS: Final = 3_600_000


class Fate(StrEnum):
    """Where a push stands after a try."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    GIVEN_UP = "given_up"
    AGAIN = "again"


class Answer(NamedTuple):
    """What came back; status None: nothing did."""

    status: int | None
    retry_after_s: float | None = None


class Step(NamedTuple):
    """The fate, and for AGAIN the pause in domain ms."""

    fate: Fate
    pause_ms: float = 0


def next_step(
    answer: Answer,
    tries: int,
    tried_for_ms: int,
    push: Push,
    *,
    ms_per_real_s: float,
    jitter: float,
) -> Step:
    """Judge the answer to the tries-th try; `jitter` is 0..1, `ms_per_real_s` domain ms."""
    status = answer.status
    if status is not None and 200 <= status < 300:
        return Step(Fate.DELIVERED)
    if not _worth_trying(status, tries):
        return Step(Fate.REFUSED)
    pause_ms = 0.0
    if tries > 1 or status not in TOKEN_STATUSES:
        grown_s = min(push.retry_first_s * 2 ** min(tries - 1, 20), push.retry_cap_s)
        pause_ms = grown_s * 1000 * (0.5 + jitter / 2)
        pause_ms = max(pause_ms, push.retry_real_s_min * ms_per_real_s)
    if answer.retry_after_s is not None:
        pause_ms = max(pause_ms, answer.retry_after_s * ms_per_real_s)
    window_ms = max(push.retry_window_h * HOUR_MS, push.retry_window_real_s_min * ms_per_real_s)
    if tried_for_ms + pause_ms > window_ms:
        return Step(Fate.GIVEN_UP)
    return Step(Fate.AGAIN, pause_ms)


def _worth_trying(status: int | None, tries: int) -> bool:
    if status is None or status >= 500 or status in TRY_AGAIN or status == 401:
        return True
    return status == 403 and tries == 1
