"""Which calls a page is about, as its URL says it: one reader for the list, its CSV and bulk work.

parameter   value
from, to    a time: 2026-11-22 (a whole day), 2026-11-22T10:00 (both in the console's time zone),
            or RFC 3339 with its offset; from is included, to is not (of a day: its end)
lob         a line of business; "-": not known yet
group       an OCP group
stage       a key of core.lifecycle.STAGES
outcome     stored, absent, quarantined, lost: finished so; none: has open work
problem     a code of problem_codes.CODES
term        a counter of core.counting: exactly the calls that it counts

The stores know all of these but `term`: a call whose recording is stored counts as stored even
while something else of it is open, which no column says. So a term narrows the query as far as a
column can, and `keeps` drops the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import msgspec

from ocp_ingest.adapters.journal import Deriving, Row, derive, standing_of
from ocp_ingest.core.access import Person
from ocp_ingest.core.call import Call
from ocp_ingest.core.counting import TERMS, TIME_TERMS
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.lifecycle import OUTCOMES, STAGES
from ocp_ingest.core.limits import ID_CHARS_MAX, TIME_MS_MAX, TIME_MS_MIN
from ocp_ingest.entrypoints.console.problem_codes import CODES
from ocp_ingest.ports import CallQuery, CallStore

LOB_UNKNOWN: Final = "-"
OPEN: Final = "none"
# Counters that a person may ask for: all but those of the times to store.
COUNTED: Final = tuple(term for term in TERMS if term not in TIME_TERMS)
# A page of which `keeps` drops much is read on so often, then shown as it is with a way to go on.
READS_MAX: Final = 20
_NAMES: Final = ("from", "to", "lob", "group", "stage", "outcome", "problem", "term")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The parameters as they are written, checked; "" asks for everything."""

    since: str = ""
    until: str = ""
    lob: str = ""
    group: str = ""
    stage: str = ""
    outcome: str = ""
    problem: str = ""
    term: str = ""
    from_ms: int | None = None
    to_ms: int | None = None

    def params(self) -> dict[str, str]:
        """As a URL's parameters, those that ask for everything left out."""
        values = (
            self.since, self.until, self.lob, self.group, self.stage, self.outcome, self.problem,
            self.term,
        )  # fmt: skip
        return {name: value for name, value in zip(_NAMES, values, strict=True) if value}


def filter_of(params: Mapping[str, str], zone: tzinfo) -> Filter:
    """The filter of a URL. Raises Invalid, naming the parameter; others are not looked at."""
    said = {name: params.get(name, "").strip() for name in _NAMES}
    for name, text in said.items():
        if len(text) > ID_CHARS_MAX or not text.isprintable():
            raise _bad(name)
    _one_of("stage", said["stage"], STAGES)
    _one_of("outcome", said["outcome"], (*OUTCOMES, OPEN))
    _one_of("problem", said["problem"], CODES)
    _one_of("term", said["term"], COUNTED)
    return Filter(
        since=said["from"], until=said["to"], lob=said["lob"], group=said["group"],
        stage=said["stage"], outcome=said["outcome"], problem=said["problem"], term=said["term"],
        from_ms=moment("from", said["from"], zone), to_ms=moment("to", said["to"], zone, end=True),
    )  # fmt: skip


def moment(name: str, text: str, zone: tzinfo, *, end: bool = False) -> int | None:
    """Epoch ms of a time as above, None for ""; with `end` a day alone means its end."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))
        if len(text) <= len("yyyy-mm-dd") and end:
            at += timedelta(days=1)
        if at.tzinfo is None:
            at = at.replace(tzinfo=zone)
        at_ms = (at - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise _bad(name) from None
    return min(max(at_ms, TIME_MS_MIN), TIME_MS_MAX)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def utc(at_ms: int) -> datetime:
    """A time as a UTC datetime, exact."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def local(at_ms: int | None, zone: tzinfo) -> str:
    """A time as `<input type="datetime-local">` wants it; "" for None."""
    if at_ms is None:
        return ""
    at = utc(at_ms).astimezone(zone).replace(tzinfo=None)
    return at.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds")


def _one_of(name: str, value: str, allowed: Container[str]) -> None:
    if value and value not in allowed:
        raise _bad(name)


def _bad(name: str) -> Invalid:
    return Invalid(
        f"`{name}` is not written as this page writes it.", say=f"calls.bad.{name}", field=name
    )


# -- reading --------------------------------------------------------------------------------------


# What of a term the stores' columns can say.
_NARROWS: Final[dict[str, dict[str, str]]] = {
    "stored": {"stage": "stored"},
    "streamed": {"stage": "stored"},
    "recovered": {"stage": "stored"},
    "in_flight": {"outcome": OPEN},
    **{outcome: {"outcome": outcome} for outcome in OUTCOMES if outcome != "stored"},
}


def query_of(chosen: Filter, person: Person) -> CallQuery:
    """What the stores are asked for: the filter within the person's lines of business."""
    narrowed = _NARROWS.get(chosen.term, {})
    lob: str | None = "" if chosen.lob == LOB_UNKNOWN else chosen.lob or None
    return CallQuery(
        stage=chosen.stage or narrowed.get("stage"),
        outcome=chosen.outcome or narrowed.get("outcome"),
        lob=lob, lobs=person.lobs, ocp_group=chosen.group or None,
        problem=chosen.problem or None, from_ms=chosen.from_ms, to_ms=chosen.to_ms,
    )  # fmt: skip


class Found(msgspec.Struct, frozen=True):
    """A call of a page, with its columns as they are now."""

    call: Call
    row: Row


class Reader:
    """Reads pages of calls that a filter keeps."""

    def __init__(self, calls: CallStore, row_of: Callable[[Call], Row]) -> None:
        self._calls = calls
        self._row_of = row_of

    async def page(
        self, chosen: Filter, person: Person, cursor: str | None, limit: int
    ) -> tuple[list[Found], str | None]:
        """At most `limit` calls, and where the next page starts; None: that was the last.

        A page may be shorter, even empty, and have a next one: see READS_MAX. What is asked for
        is never more than what is still wanted, so the cursor is always that of the last call
        looked at. Raises Invalid for a strange cursor.
        """
        found: list[Found] = []
        query = query_of(chosen, person)
        for _ in range(READS_MAX):
            asked = msgspec.structs.replace(query, cursor=cursor, limit=limit - len(found))
            page = await self._calls.page(asked)
            for call in page.calls:
                row = self._row_of(call)
                # The index may lag behind (a changed routing): what is not theirs is not shown.
                if person.sees(row.lob) and keeps(chosen, call, row):
                    found.append(Found(call, row))
            cursor = page.cursor
            if cursor is None or len(found) >= limit:
                break
        return found, cursor


def keeps(chosen: Filter, call: Call, row: Row) -> bool:
    """Whether a call is one that the filter's term counts."""
    if not chosen.term:
        return True
    counted = standing_of(call, row)
    return counted is not None and chosen.term in counted.terms


def found_of(call: Call, deriving: Deriving) -> Found:
    """A call with the columns that the stores derive."""
    return Found(call, derive(call, deriving))


def reader(calls: CallStore, deriving: Deriving) -> Reader:
    """A reader whose rows are derived as the stores derive theirs."""
    return Reader(calls, lambda call: derive(call, deriving))
