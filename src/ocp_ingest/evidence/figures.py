"""What became of the calls that began on a day, walked call by call: no counter is believed.

The terms are those of core.counting, so a certificate and the console speak of the same; times to
store are exact here. Calls of which nothing but people's words, or ours, is known count nowhere.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from ocp_ingest.core.calendar import parse_rfc3339, rfc3339
from ocp_ingest.core.call import Call, flags
from ocp_ingest.core.counting import TIME_TERMS, standing
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.explain import explain
from ocp_ingest.core.lifecycle import next_work, outcome, start_ms
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.core.routing import UNASSIGNED, route
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import CallQuery

_PAGE: Final = 500
SHARES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}


class Surveyed(msgspec.Struct, frozen=True):
    """One call of the day: its terms, and why it is not stored ("" for one that is)."""

    call: Call
    lob: str
    terms: frozenset[str]
    stored_in_ms: int | None
    state: str  # an outcome, or "in_flight"
    reason: str


class Sums:
    """Counts by line of business; bounded by their number, and 8 bytes a stored call."""

    def __init__(self) -> None:
        self._terms: dict[str, dict[str, int]] = {}
        self._times: dict[str, array[int]] = {}

    def add(self, one: Surveyed) -> None:
        """Counts a call."""
        terms = self._terms.setdefault(one.lob, {})
        for term in one.terms.difference(TIME_TERMS):
            terms[term] = terms.get(term, 0) + 1
        if one.stored_in_ms is not None:
            self._times.setdefault(one.lob, array("q")).append(one.stored_in_ms)

    def lines(self) -> list[dict[str, Any]]:
        """One object per line of business, by name; "" where it is not known."""
        return [self._line(lob, terms) for lob, terms in sorted(self._terms.items())]

    def total(self) -> dict[str, Any]:
        """All of them together."""
        terms: dict[str, int] = {}
        times = array("q")
        for lob, counted in self._terms.items():
            times.extend(self._times.get(lob, ()))
            for term, number in counted.items():
                terms[term] = terms.get(term, 0) + number
        return {**_law(terms), "time_to_store_ms": _percentiles(times)}

    def _line(self, lob: str, terms: dict[str, int]) -> dict[str, Any]:
        times = _percentiles(self._times.get(lob, array("q")))
        return {"line_of_business": lob, **_law(terms), "time_to_store_ms": times}


_PARTS: Final = ("stored", "absent", "quarantined", "lost", "in_flight")


def _law(terms: dict[str, int]) -> dict[str, Any]:
    named = ("started", *_PARTS, "streamed", "recovered")
    said: dict[str, Any] = {term: terms.get(term, 0) for term in named}
    said["law_holds"] = said["started"] == sum(said[part] for part in _PARTS)
    return said


def _percentiles(times: array[int]) -> dict[str, int]:
    if not times:
        return {}
    ordered = sorted(times)
    last = len(ordered) - 1
    return {name: ordered[min(last, int(share * len(ordered)))] for name, share in SHARES.items()}


async def calls_of(world: World, day: str, lob: str | None = None) -> AsyncIterator[Surveyed]:
    """All calls that began on a day (yyyy-mm-dd, UTC), newest first. Raises Invalid for no day."""
    from_ms = day_start(day)
    cursor: str | None = None
    while True:  # ends with the day's calls
        query = CallQuery(
            from_ms=from_ms, to_ms=from_ms + DAY_MS, lob=lob, cursor=cursor, limit=_PAGE
        )
        page = await world.calls.page(query)
        for call in page.calls:
            if (one := survey(world, call)) is not None:
                yield one
        cursor = page.cursor
        if cursor is None:
            return


def day_start(day: str) -> int:
    """When a day began, epoch ms. Raises Invalid for anything but yyyy-mm-dd."""
    try:
        if len(day) != len("yyyy-mm-dd"):
            raise ValueError(day)
        return parse_rfc3339(day)
    except ValueError:
        raise Invalid("A day is written yyyy-mm-dd.") from None


def survey(world: World, call: Call) -> Surveyed | None:
    """What a call counts for; None for one that does not count as started."""
    policy = world.settings.policy
    work = next_work(call, policy)
    ended = None if work else outcome(call, policy)
    lob = lob_of(world, call)
    state = ended.outcome if ended else "in_flight"
    counted = standing(call, lob, start_ms(call), work is not None, ended.outcome if ended else "")
    if counted is None:
        return None
    place = call.root.stored
    if place is None:
        reason = explain(call, policy, world.clock.now_ms()).verdict
        return Surveyed(call, lob, counted.terms, None, state, reason)
    held = flags(call)
    since = held["call_ended"] if held["call_ended"] is not None else held["call_started"]
    took = None if since is None else max(0, place.at_ms - since)
    return Surveyed(call, lob, counted.terms, took, "stored", "")


def lob_of(world: World, call: Call) -> str:
    """The pinned line of business, else what the routing rules give now, "" for none."""
    place = call.root.routed or call.root.stored
    if place is not None:
        return place.lob
    found = route(call, world.settings.routing).lob
    return "" if found == UNASSIGNED else found


def exception_line(one: Surveyed) -> bytes:
    """A call that is not stored, as one line of JSON."""
    said = {
        "call_id": one.call.call_id,
        "line_of_business": one.lob,
        "state": one.state,
        "started_at": rfc3339(start_ms(one.call)),
        "reason": one.reason,
    }
    return msgspec.json.encode(said) + b"\n"
