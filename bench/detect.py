"""Detection among few and among many finished calls: it must cost what is open; see METHOD.

Two stores are filled (bench.filled), then a pinned child measures both in turn: `main`.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from bench.filled import NOW, bytes_of, fill, open_store, roomy
from bench.harness import MIB, Child, Pair, Section, alternate, python, stopwatch
from ocp_ingest.adapters.embedded.call_store import EmbeddedCallStore
from ocp_ingest.adapters.embedded.database import Database, rows
from ocp_ingest.adapters.embedded.evidence import EmbeddedEvidence, EmbeddedIncidents
from ocp_ingest.adapters.embedded.recording_store import EmbeddedRecordingStore
from ocp_ingest.adapters.embedded.timetable import EmbeddedTimetable
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.embedded.work_queue import EmbeddedWorkQueue
from ocp_ingest.adapters.memory.clock import ManualClock
from ocp_ingest.core.settings import Settings
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import Pending
from ocp_ingest.reconcile import detect
from ocp_ingest.telemetry import set_up_logs

METHOD: Final = """
1,000 calls wait for an export, spread evenly among finished calls of one month, in the embedded
store (SQLite): once among 1,000 finished calls and once among 1,000,000, with the store's own
tables, indexes and records. One *detection's reads* are the pages of the pending index and then
the record of every call in them. The peer is the same question without the pending index, as a
scan of the table (without the loads). Rows, steps and pages are SQLite's own counters
(`sqlite3_stmt_status`, `sqlite3_db_status`).

*Warm*: SQLite's page cache still has what the run before read. *Cold*: the cache is emptied before
each run, as after any write by others. The file itself is in memory in every case: a cold disk is
not measured. Times are processor time of the process, user and system, since nothing waits for a
disk: medians (lowest – highest). The ratio is that of runs made in turn.
"""

FEW: Final = 1_000
MANY: Final = 1_000_000
PENDING: Final = 1_000
RATIO_MAX: Final = 1.5  # of a detection's reads: what "costs what is open" means here
RUNS: Final = 31
SCANS: Final = 5  # of the peer, which takes seconds

_SCAN: Final = """
SELECT call_id, ocp_group, pend_at FROM call NOT INDEXED
WHERE pend_at IS NOT NULL AND pend_at <= ? ORDER BY pend_at, call_id
"""
_COUNTERS: Final = {
    "rows": "rows read by statements",
    "fullscan": "rows stepped over by full scans",
    "steps": "steps of SQLite's machine",
    "pages": "database pages looked at",
    "misses": "of them read from the file, cold",
}


class Measured(msgspec.Struct, frozen=True):
    """What the child found; counts and sizes are of the small store and of the large one."""

    times: dict[str, Pair]
    counts: tuple[dict[str, int], dict[str, int]]
    scanned: tuple[int, int]


def run() -> Section:
    """Fills the stores, measures, cleans up."""
    with tempfile.TemporaryDirectory(prefix="bench-detect-", dir=roomy()) as made:
        few, many = Path(made) / "few", Path(made) / "many"
        for folder, finished in ((few, FEW), (many, MANY)):
            folder.mkdir()
            fill(folder, finished=finished, pending=PENDING)
        with Child(*python("-m", "bench.detect", str(few), str(many))) as child:
            found = msgspec.json.decode(child.result(), type=Measured)
        sizes = (bytes_of(few), bytes_of(many))
    return _section(found, sizes, child.peak_rss)


def _section(found: Measured, sizes: tuple[int, int], peak_rss: int) -> Section:
    times = [
        (name, f"{p.a.text(2)} ms", f"{p.b.text(2)} ms", p.ratio.text(2))
        for name, p in found.times.items()
    ]
    counts = [
        _counted(words, *(held[key] for held in found.counts)) for key, words in _COUNTERS.items()
    ]
    scanned = _counted("rows stepped over by the peer's scan", *found.scanned)
    size = _counted("size of the database, MiB", *(size // MIB for size in sizes))
    return Section(
        title="Detection costs what is open",
        method=METHOD,
        columns=("what", f"among {FEW:,} finished", f"among {MANY:,} finished", "ratio"),
        rows=(*times, *counts, scanned, size),
        findings=(
            *_findings(found),
            f"peak memory of the measuring process: {peak_rss // MIB} MiB",
        ),
        libraries=("apsw", "msgspec"),
    )


def _counted(words: str, few: int, many: int) -> tuple[str, str, str, str]:
    return words, f"{few:,}", f"{many:,}", f"{many / few:,.2f}" if few else "–"


def _findings(found: Measured) -> list[str]:
    says = []
    for name in (READS, COLD):
        ratio = found.times[name].ratio.median
        verdict = "met" if ratio <= RATIO_MAX else "MISSED"
        says.append(f"{name}: ratio {ratio:.2f}, target at most {RATIO_MAX}: {verdict}")
    peer = found.times[SCAN].b.median / found.times[INDEX].b.median
    says.append(f"among {MANY:,} finished calls the scan takes {peer:,.0f} times the index read")
    return says


# In the child

INDEX: Final = "index read, warm"
LOADS: Final = "loads of the records, warm"
READS: Final = "detection's reads (both), warm"
COLD: Final = "detection's reads (both), cold"
WHOLE: Final = "whole `detect()`, cold"
SCAN: Final = "peer: scan without the index"


class Bench:
    """One of the two stores, open, with its ways to be measured."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self.database, self.calls = open_store(folder)
        self._run = runner.run
        self._world = _world(folder, self.database, self.calls)
        self._entries = self._run(self._index())

    def timed(self, work: Callable[[], Coroutine[Any, Any, Any]], *, cold: bool = False) -> float:
        """Milliseconds of processor time of one run."""
        if cold:
            self._chill()
        with stopwatch(time.process_time) as passed_ms:
            self._run(work())
            return passed_ms()

    def _chill(self) -> None:
        self.database.read_now(lambda c: rows(c, "PRAGMA shrink_memory"))

    async def index(self) -> None:
        """The pages of the pending index, as detection reads them."""
        await self._index()

    async def loads(self) -> None:
        """The record of every open call."""
        for entry in self._entries:
            assert await self.calls.load(entry.call_id) is not None

    async def reads(self) -> None:
        """Both: what one detection reads."""
        for entry in await self._index():
            assert await self.calls.load(entry.call_id) is not None

    async def whole(self) -> None:
        """The real thing; it changes nothing, since no call is stuck in our pipeline."""
        found = await detect.detect(self._world)
        assert sum(map(len, found.asks.values())) == found.looked_at == PENDING

    async def scan(self) -> None:
        """The peer."""
        assert len(await self.database.read(lambda c: rows(c, _SCAN, (NOW,)))) == PENDING

    async def _index(self) -> list[Pending]:
        return [entry async for entry in detect._due(self._world, NOW, None)]

    def counts(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> dict[str, int]:
        """SQLite's counters over one run, cold."""
        seen: Counter[str] = Counter()

        def note(event: dict[str, Any]) -> None:
            if event["code"] == apsw.SQLITE_TRACE_ROW:
                seen["rows"] += 1
                return
            seen["fullscan"] += event["stmt_status"]["SQLITE_STMTSTATUS_FULLSCAN_STEP"]
            seen["steps"] += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

        mask = apsw.SQLITE_TRACE_ROW | apsw.SQLITE_TRACE_PROFILE
        self._chill()
        self.database.read_now(_pages)
        self.database.read_now(lambda c: c.trace_v2(mask, note))
        self._run(work())
        self.database.read_now(lambda c: c.trace_v2(0, None))
        hits, seen["misses"] = self.database.read_now(_pages)
        seen["pages"] = hits + seen["misses"]
        return {name: seen[name] for name in _COUNTERS}


def _pages(connection: apsw.Connection) -> tuple[int, int]:
    """Pages found in the cache and read from the file, since the last call."""
    hits, _ = connection.status(apsw.SQLITE_DBSTATUS_CACHE_HIT, True)
    misses, _ = connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS, True)
    return hits, misses


def open_world(folder: Path) -> tuple[Database, World]:
    """A filled store, and a world around it in which all its open calls are due."""
    database, calls = open_store(folder)
    return database, _world(folder, database, calls)


def _world(folder: Path, database: Database, calls: EmbeddedCallStore) -> World:
    clock = ManualClock(NOW)
    return World(
        settings=Settings(),
        clock=clock,
        calls=calls,
        evidence=EmbeddedEvidence(database, Vault(folder / "vault.key"), items_max=1),
        incidents=EmbeddedIncidents(database),
        recordings=EmbeddedRecordingStore(folder / "recordings"),
        queue=EmbeddedWorkQueue(database, clock, tries_max=1),
        timetable=EmbeddedTimetable(database),
        chance=lambda: 0.5,
    )


def main(few_folder: str, many_folder: str) -> None:
    """Measures two filled stores and prints a Measured as JSON."""
    set_up_logs(level="warning")
    with asyncio.Runner() as runner:
        few, many = Bench(Path(few_folder), runner), Bench(Path(many_folder), runner)
        counts = (few.counts(few.reads), many.counts(many.reads))
        scanned = (few.counts(few.scan)["fullscan"], many.counts(many.scan)["fullscan"])
        times = {
            INDEX: _pair(few, many, Bench.index),
            LOADS: _pair(few, many, Bench.loads),
            READS: _pair(few, many, Bench.reads),
            COLD: _pair(few, many, Bench.reads, cold=True),
            WHOLE: _pair(few, many, Bench.whole, cold=True),
            SCAN: _pair(few, many, Bench.scan, runs=SCANS),
        }
        few.database.close()
        many.database.close()
    print(msgspec.json.encode(Measured(times, counts, scanned)).decode())


def _pair(
    few: Bench, many: Bench, work: Callable[[Bench], Coroutine[Any, Any, None]], *,
    runs: int = RUNS, cold: bool = False,
) -> Pair:  # fmt: skip
    return alternate(
        lambda: few.timed(lambda: work(few), cold=cold),
        lambda: many.timed(lambda: work(many), cold=cold),
        runs=runs,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
