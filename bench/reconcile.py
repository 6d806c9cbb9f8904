"""10,000 pending calls reconciled by the embedded platform, beside one export per call; METHOD."""

import asyncio
import gc
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import msgspec

from bench.harness import Child, Section, python
from bench.peers.per_call import Wanted, recover
from bench.servers import SERVER_CPU
from bench.vendor import GROUPS, T0, WEEK_HOURS, SharedTime, SkippingClock, groups, world
from ocp_ingest import bootstrap
from ocp_ingest import config as config_reader
from ocp_ingest.config_model import Config
from ocp_ingest.core.export_facts import (
    Busy,
    Cancelled,
    Created,
    Gone,
    Listed,
    Status,
)
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.core.vendor import Context
from ocp_ingest.ingest import intake, pipeline
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile import schedule
from ocp_ingest.reconcile.ports import (
    ExportApi,
    ExportFile,
    Failure,
    FetchedFile,
    FileList,
    no_progress,
)
from ocp_ingest.reconcile.sweep import Sweeper
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import set_up_logs

METHOD: Final = f"""
A week of calls in {GROUPS} OCP groups: both CDRs of each are here, no recording is (they are of two
to three seconds, so that audio is not the measure). The simulator has no delays: an export is ready
at once, and seen to be at the first poll, a minute after it was asked for.

- *ours*: the embedded platform as `ocp-ingest serve` runs it: detection, planner, export jobs,
  downloads, checks, SQLite and files, everything durable before it counts. It begins knowing
  nothing and ends when every call is stored.
- *per call*: the loop that suggests itself, for each call: export its hours, poll after a minute,
  list, download its file. Groups beside each other; stored by the same steps in the same store. It
  is linear, as its two sizes show, so 10,000 calls are ten times its 1,000.

*Wall time* is what a clock on the wall of a site would show: waits for a poll are skipped instead
of waited for, all else takes as long as it takes. *Busy* is that without the waits. *Processor* is
the platform's own time, user and system. OCP has the other processor.
"""

CALLS: Final = 10_000
PEER_CALLS: Final = (500, 1_000)
JOBS_RATIO_MIN: Final = 50
WALL_RATIO_MIN: Final = 10
# Both CDRs of so many calls in one request.
_LOT: Final = 500
_LOOK_S: Final = 0.02
# Far beyond what any of this takes.
_FOREVER_MS: Final = 10**15

Way = Literal["ours", "per call"]


class Asked(msgspec.Struct, frozen=True):
    """What the child is to do."""

    way: Way
    calls: int
    hours: int
    window_hours: int
    folder: str
    url: str


class Measured(msgspec.Struct, frozen=True):
    """One run."""

    calls: int
    jobs: int
    requests: int
    wall_s: float
    busy_s: float
    cpu_s: float
    peak_mib: float = 0.0

    @property
    def cpu_ms(self) -> float:
        """Per call."""
        return self.cpu_s / self.calls * 1e3


def run() -> Section:
    """Measures ours at full size and the peer at two smaller ones."""
    ours = measure("ours", CALLS)
    few, many = (measure("per call", calls) for calls in PEER_CALLS)
    whole = CALLS / many.calls
    rows = [
        _row("ours", ours), *(_row("per call", one) for one in (few, many)),
        ("per call, reckoned", f"{CALLS:,}", f"{many.jobs * whole:,.0f}",
         f"{many.requests * whole:,.0f}", f"{many.wall_s * whole / 60:,.1f}",
         f"{many.busy_s * whole:,.0f}", f"{many.cpu_ms:,.1f}", "–"),
    ]  # fmt: skip
    jobs, wall = many.jobs * whole / ours.jobs, many.wall_s * whole / ours.wall_s
    linear = (many.wall_s / many.calls) / (few.wall_s / few.calls)
    return Section(
        title="Reconciliation",
        method=METHOD,
        columns=("way", "calls", "export jobs", "requests to OCP", "wall min", "busy s",
                 "processor ms a call", "peak MiB"),
        rows=tuple(rows),
        findings=(
            f"{jobs:,.0f} times fewer jobs, target at least {JOBS_RATIO_MIN}: "
            f"{_met(jobs >= JOBS_RATIO_MIN)}",
            f"wall time {wall:,.0f} times shorter, target at least {WALL_RATIO_MIN}: "
            f"{_met(wall >= WALL_RATIO_MIN)}",
            f"without any wait for polls {many.busy_s * whole / ours.busy_s:.1f} times shorter, "
            f"with {many.cpu_ms / ours.cpu_ms:.1f} times less of the processor and "
            f"{many.requests * whole / ours.requests:.1f} times fewer requests to OCP",
            f"the peer's wall time per call at {many.calls:,} calls is {linear:.2f} of that at "
            f"{few.calls:,}",
        ),
        libraries=("apsw", "aiohttp", "msgspec"),
    )  # fmt: skip


def _met(holds: bool) -> str:
    return "met" if holds else "MISSED"


def _row(name: str, run: Measured) -> tuple[str, ...]:
    return (
        name, f"{run.calls:,}", f"{run.jobs:,}", f"{run.requests:,}", f"{run.wall_s / 60:,.1f}",
        f"{run.busy_s:,.0f}", f"{run.cpu_ms:,.1f}", f"{run.peak_mib:,.0f}",
    )  # fmt: skip


def measure(way: Way, calls: int, *, hours: int = WEEK_HOURS, window_hours: int = 48) -> Measured:
    """One run, in processes of its own: calls of so many hours, windows of at most so many."""
    with tempfile.TemporaryDirectory(prefix="bench-reconcile-") as folder:
        clock = Path(folder) / "clock"
        SharedTime(clock)
        serve = ("-m", "bench.vendor", str(calls), str(hours), str(clock))
        with Child(*python(*serve), cpu=SERVER_CPU) as vendor:
            assert vendor.process.stdout is not None
            url = vendor.process.stdout.readline().strip()
            asked = Asked(way, calls, hours, window_hours, folder, url)
            words = ("-m", "bench.reconcile", msgspec.json.encode(asked).decode())
            with Child(*python(*words)) as child:
                found = msgspec.json.decode(child.result(), type=Measured)
    return msgspec.structs.replace(found, peak_mib=child.peak_rss / 2**20)


# -- in the child ---------------------------------------------------------------------------------


class Watched:
    """The Export API: counts, and tells the clock when something is asked."""

    def __init__(self, api: ExportApi, clock: SkippingClock) -> None:
        self._api = api
        self._clock = clock
        self.asked: Counter[str] = Counter()

    async def create(
        self, group: str, from_ms: int, to_ms: int, types: Sequence[str]
    ) -> Created | Busy | Failure:
        """See ExportApi."""
        self.asked["create"] += 1
        with self._clock.asking():
            return await self._api.create(group, from_ms, to_ms, types)

    async def listing(self, group: str) -> Listed | Failure:
        """See ExportApi."""
        self.asked["listing"] += 1
        with self._clock.asking():
            return await self._api.listing(group)

    async def status(self, group: str, export_id: str, n: int) -> Status | Gone | Failure:
        """See ExportApi."""
        self.asked["status"] += 1
        with self._clock.asking():
            return await self._api.status(group, export_id, n)

    async def files(self, group: str, export_id: str) -> FileList | Gone | Failure:
        """See ExportApi."""
        self.asked["files"] += 1
        with self._clock.asking():
            return await self._api.files(group, export_id)

    async def cancel(self, group: str, export_id: str) -> Cancelled | Gone | Failure:
        """See ExportApi."""
        self.asked["cancel"] += 1
        with self._clock.asking():
            return await self._api.cancel(group, export_id)

    async def fetch(
        self, group: str, export_id: str, file: ExportFile,
        progress: Callable[[int], None] = no_progress,
    ) -> AsyncGenerator[FetchedFile, None]:  # fmt: skip
        """See ExportApi."""
        self.asked["fetch"] += 1
        with self._clock.asking():
            async with aclosing(self._api.fetch(group, export_id, file, progress)) as members:
                async for member in members:
                    yield member


def config_of(asked: Asked) -> Config:
    """As a site has it, but for the limit of OCP's requests, which a simulator without delays has
    none of, and for the census, which is other work.
    """
    return config_reader.parse({
        "data": {"dir": str(Path(asked.folder) / "data"), "free_bytes_min": 1},
        "ocp": {
            "api_url": asked.url, "username": "bench", "password": "bench",
            "groups": list(groups()), "allow_private": True,
            "requests_per_s": 1e6, "requests_burst": 1_000_000,
        },
        "reconcile": {"census": False},
        "stage2": {"window_hours_max": asked.window_hours},
        "routing": [{"lob": "banking", "when": {"entry_app": "banking-*"}}],
        "lob": {"banking": {"rules": {"duration_ms_min": 500}}},
        "log": {"level": "warning"},
    })  # fmt: skip


async def reconcile(asked: Asked) -> Measured:
    """Fills the store, then measures."""
    shared = SharedTime(Path(asked.folder) / "clock")
    runtime = bootstrap.embedded(config_of(asked))
    clock = SkippingClock(shared)
    ours = replace(runtime.world, clock=clock)
    try:
        async with bootstrap.exports(replace(runtime, world=ours)) as opened:
            assert opened is not None
            wanted = await _fill(ours, asked)
            # Past OCP's watermark: the last call can be exported, too.
            shared.begin(T0 + asked.hours * HOUR_MS + 4 * HOUR_MS)
            api = Watched(opened.api, clock)
            gc.collect()
            stage2 = replace(opened, api=api)
            return await _measured(asked.way, ours, stage2, api, clock, wanted)
    finally:
        runtime.close()


async def _measured(
    way: Way, ours: World, stage2: Stage2, api: Watched, clock: SkippingClock,
    wanted: list[Wanted],
) -> Measured:  # fmt: skip
    over = False
    began_s, used_s, began_ms = time.perf_counter(), time.process_time(), clock.now_ms()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(clock.run(is_over=lambda: over))
        async with _workers(ours):
            if way == "ours":
                async with _platform(ours, stage2):
                    await _all_stored(ours)
            else:
                await recover(ours, api, wanted)
                await _all_stored(ours)
            wall_s = (clock.now_ms() - began_ms) / 1000
            cpu_s, real_s = time.process_time() - used_s, time.perf_counter() - began_s
        over = True
    counts = await ours.calls.counts()
    if counts["stored"] != len(wanted):
        raise RuntimeError(f"not all are stored: {counts}")
    return Measured(
        len(wanted), api.asked["create"], api.asked.total(), wall_s, real_s - clock.idle_s, cpu_s
    )


async def _fill(ours: World, asked: Asked) -> list[Wanted]:
    """Both CDRs of every call; what the simulator has, too."""
    made = world(asked.calls, asked.hours).calls
    for first in range(0, len(made), _LOT // 2):
        bodies = [dict(cdr.body) for call in made[first : first + _LOT // 2] for cdr in call.cdrs]
        messages: list[tuple[object, bytes]] = [(b, msgspec.json.encode(b)) for b in bodies]
        await intake.events(ours, messages, Context(received_at_ms=made[first].start_ms))
    return [Wanted(c.call_id, c.ocp_group, c.start_ms, c.end_ms) for c in made]


async def _all_stored(ours: World) -> None:
    while await ours.calls.pending(until_ms=_FOREVER_MS, limit=1):
        await asyncio.sleep(_LOOK_S)


@asynccontextmanager
async def _workers(ours: World) -> AsyncIterator[None]:
    """Those of the pipeline, as many as a server has."""
    stop = asyncio.Event()
    number = Config().limits.workers
    workers = [asyncio.create_task(pipeline.work(ours, stop)) for _ in range(number)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*workers)


@asynccontextmanager
async def _platform(ours: World, stage2: Stage2) -> AsyncIterator[None]:
    """Stage 2, as a server runs it."""
    stop, sweeper = asyncio.Event(), Sweeper(ours, stage2)
    running = asyncio.create_task(schedule.run(ours, sweeper, stage2, stop))
    try:
        yield
    finally:
        stop.set()
        await running
        await sweeper.stop()


def main(asked: str) -> None:
    """Prints a Measured as JSON."""
    import uvloop

    set_up_logs(level="warning")
    found = uvloop.run(reconcile(msgspec.json.decode(asked, type=Asked)))
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main(sys.argv[1])
