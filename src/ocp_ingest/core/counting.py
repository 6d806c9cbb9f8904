"""What a call counts for, so that figures over millions of calls are sums of a few counters. Pure.

term              a call counts for it when
started           something but our own or people's words speaks of it (it is evidenced)
stored            its recording is stored, whatever else of it is still open
in_flight         … it is not, and work is open
absent, quarantined, lost   … it is not, no work is open, and that is its outcome
streamed, recovered         it is stored, from the stream or from an export
ivr_ended, call_ended, file_received, post_processed   it has that flag
t00 … t47         it is stored, and that took at most TIME_EDGES_MS of the number

Rules
1. started = stored + in_flight + absent + quarantined + lost, and stored = streamed + recovered:
   a call is in exactly one term of each sum.
2. A call counts under the line of business that Row.lob gives (pinned, else what the routing rules
   give now, "" while none does) and the UTC day of its start; it moves when either changes.
3. The order of TERMS is kept in files: terms are only ever added, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec

from ocp_ingest.core.call import Call, flags
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import DAY_MS, SECOND_MS, TIME_MS_MAX

# Days that one question may be about: a quarter. A longer report asks for parts of it.
DAYS_MAX: Final = 93
# Edges that one question about ages may have: a page shows a dozen bars.
EDGES_MAX: Final = 16

# √2 per bucket: two make a factor of two, so a percentile is told within 41 %. From 1 s (nobody
# acts on less) to 137 days (OCP keeps a recording for 60); what took longer is in the last one.
TIME_BUCKETS: Final = 48
TIME_EDGES_MS: Final = tuple(round(SECOND_MS * 2 ** (n / 2)) for n in range(TIME_BUCKETS))
TIME_TERMS: Final = tuple(f"t{n:02}" for n in range(TIME_BUCKETS))

_FLAGS: Final = ("ivr_ended", "call_ended", "file_received", "post_processed")
_ENDS: Final = frozenset({"absent", "quarantined", "lost"})
TERMS: Final = (
    "started", "in_flight", "stored", "absent", "quarantined", "lost", "streamed", "recovered",
    *_FLAGS, *TIME_TERMS,
)  # fmt: skip


class Standing(msgspec.Struct, frozen=True):
    """What one call counts for, and where."""

    lob: str
    day: str
    terms: frozenset[str]


def standing(call: Call, lob: str, started_at: int, pending: bool, outcome: str) -> Standing | None:
    """What a call counts for; None for one that does not count as started.

    `lob`, `started_at` (epoch ms), `outcome` are the columns of its Row, `pending` whether its
    `pend_at` is not None.
    """
    if not call.evidenced:
        return None
    held = flags(call)
    terms = ["started", *(flag for flag in _FLAGS if held[flag] is not None)]
    if call.root.stored is not None:
        terms += _stored_terms(call, held)
    elif pending:
        terms.append("in_flight")
    elif outcome in _ENDS:
        terms.append(outcome)
    return Standing(lob, day_of(started_at), frozenset(terms))


def _stored_terms(call: Call, held: Mapping[str, int | None]) -> list[str]:
    place = call.root.stored
    assert place is not None
    version = call.root.versions.get(place.sha256)
    streamed = version is not None and version.source == "stream"
    terms = ["stored", "streamed" if streamed else "recovered"]
    since_ms = held["call_ended"] if held["call_ended"] is not None else held["call_started"]
    if since_ms is not None:
        terms.append(time_term(place.at_ms - since_ms))
    return terms


def time_term(took_ms: int) -> str:
    """The bucket of a time to store; what was stored before the call's end is in the first."""
    found = next((n for n, edge in enumerate(TIME_EDGES_MS) if took_ms <= edge), TIME_BUCKETS - 1)
    return TIME_TERMS[found]


def add(totals: dict[str, int], terms: Mapping[str, int] | Iterable[str]) -> None:
    """Adds counters, or one call's terms, to totals; a counter that comes to 0 is dropped."""
    more = terms if isinstance(terms, Mapping) else dict.fromkeys(terms, 1)
    for term, number in more.items():
        total = totals.get(term, 0) + number
        if total:
            totals[term] = total
        else:
            totals.pop(term, None)


def percentile(terms: Mapping[str, int], share: float) -> int | None:
    """A time in ms within which at least that share (0 to 1) of the stored calls were stored.

    It is the upper bound of a bucket, at most 1.42 times what it stands for. None when no time is
    counted.
    """
    assert 0 <= share <= 1, "a share is a number between 0 and 1"
    counts = [max(0, terms.get(term, 0)) for term in TIME_TERMS]
    wanted = share * sum(counts)
    reached = 0
    for edge, count in zip(TIME_EDGES_MS, counts, strict=True):
        reached += count
        if count and reached >= wanted:
            return edge
    return None


# -- days -----------------------------------------------------------------------------------------


def day_of(at_ms: int) -> str:
    """The UTC day, yyyymmdd; times outside of what a call may have are put at the ends."""
    return _day(max(0, min(at_ms, TIME_MS_MAX)) // DAY_MS)


@lru_cache(maxsize=256)  # calls of a few days come at any time, each of them several times
def _day(number: int) -> str:
    return (_EPOCH + timedelta(days=number)).strftime("%Y%m%d")


def day_span(day: str) -> tuple[int, int]:
    """The starts that `day_of` puts on a day: [from, to) in epoch ms. Raises Invalid for no day."""
    from_ms = _start_ms(day)
    first = -_EVER if day == _DAY_MIN else from_ms
    return first, (_EVER if day == _DAY_MAX else from_ms + DAY_MS)


def check_days(first: str, last: str) -> None:
    """Raises Invalid unless `first` to `last` are 1 to DAYS_MAX days."""
    days = (_start_ms(last) - _start_ms(first)) // DAY_MS + 1
    if not 1 <= days <= DAYS_MAX:
        raise Invalid(f"A period has 1 to {DAYS_MAX} days, and its end is not before its start.")


def check_edges(edges_ms: Iterable[int]) -> tuple[int, ...]:
    """The edges. Raises Invalid for more than EDGES_MAX, or when they do not rise."""
    edges = tuple(edges_ms)
    if len(edges) > EDGES_MAX or list(edges) != sorted(set(edges)):
        raise Invalid(f"At most {EDGES_MAX} edges, each later than the one before.")
    return edges


def _start_ms(day: str) -> int:
    try:
        begins = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        begins = _EPOCH - timedelta(days=1)
    at_ms = (begins - _EPOCH) // timedelta(milliseconds=1)
    if at_ms < 0 or day_of(at_ms) != day:
        raise Invalid("A day is written yyyymmdd.")
    return at_ms


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EVER: Final = (1 << 63) - 1  # what an integer of SQLite takes; far beyond any call's start
_DAY_MIN: Final = day_of(0)
_DAY_MAX: Final = day_of(TIME_MS_MAX)
