"""Figures on DynamoDB: counters that the table's stream keeps, and a look at what is open now.

question       asks                                             costs
days           the directory of days, their counters by key     one read unit per day and line
                                                                of business that had calls
open_ages,     the index `pending` (open_work)                  by what is open
oldest_open
recount        the day's records (day_counts)                   by the day's calls

Counters are seconds behind the calls while the stream runs. Answers are remembered for a moment,
so that any number of people may look at a page that is live.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from ocp_ingest.adapters.aws.call_index import Directory
from ocp_ingest.adapters.aws.day_counts import DayCounts
from ocp_ingest.adapters.aws.dynamo import Dynamo
from ocp_ingest.adapters.aws.open_work import Look, OpenWork
from ocp_ingest.adapters.aws.remembered import Remembered
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.core.counting import check_days, check_edges
from ocp_ingest.desk.ports import DayFigures, OpenCall


class AwsFigures:
    """See ocp_ingest.desk.ports.Figures."""

    def __init__(self, aws: Aws, open_work: OpenWork, *, remember_s: float = 0.0) -> None:
        """Makes no request; `remember_s` as OpenWork has it."""
        self._counts = DayCounts(aws)
        self._directory = Directory(Dynamo(aws))
        self._open_work = open_work
        self._days = Remembered(self._read, remember_s)

    async def days(self, first: str, last: str) -> list[DayFigures]:
        """All counters of some days. Raises Invalid."""
        check_days(first, last)
        return await self._days.get((first, last))

    async def open_ages(self, edges_ms: Sequence[int], lobs: Sequence[str] | None) -> list[int]:
        """Open calls by when they began. Raises Invalid."""
        edges = check_edges(edges_ms)
        look = await self._open_work.look()
        counts = [0] * (len(edges) + 1)
        for starts in (look.starts[lob] for lob in _asked(look, lobs)):
            places = [0, *(bisect_left(starts, edge) for edge in edges), len(starts)]
            for number in range(len(counts)):
                counts[number] += places[number + 1] - places[number]
        return counts

    async def oldest_open(self, lobs: Sequence[str] | None) -> OpenCall | None:
        """The open call that began first; of several the one whose id is the smallest."""
        look = await self._open_work.look()
        oldest = (look.oldest[lob] for lob in _asked(look, lobs))
        return min(oldest, key=lambda call: (call.started_at, call.call_id), default=None)

    async def recount(self, day: str, *, by: str, now_ms: int) -> int:
        """Counts a day anew; how many counters had to be corrected. Raises Invalid for no day."""
        return (await self._counts.recount(day, by=by, now_ms=now_ms))["changed"]

    async def _read(self, span: tuple[str, str]) -> list[DayFigures]:
        places = [(lob, day) for day, lob in await self._directory.days(*span)]
        counted = await self._counts.read(places)
        found = [
            DayFigures(lob, day, {term: n for term, n in terms.items() if n > 0})
            for (lob, day), terms in counted.items()
        ]
        return sorted((f for f in found if f.terms), key=lambda figure: (figure.day, figure.lob))


def _asked(look: Look, lobs: Iterable[str] | None) -> set[str]:
    return set(look.starts) if lobs is None else set(look.starts) & set(lobs)
