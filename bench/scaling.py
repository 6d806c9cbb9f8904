"""How cost grows: with the work, and not with what was done before; METHOD."""

import asyncio
import contextlib
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import msgspec

from bench import console, events, reconcile, recordings, servers
from bench.detect import open_world
from bench.filled import DERIVING, fill
from bench.harness import MIB, ROOT, Child, Section, python
from ocp_ingest.adapters.embedded import schema
from ocp_ingest.reconcile.detect import detect
from ocp_ingest.telemetry import set_up_logs

METHOD: Final = """
One thing is varied at a time; servers, clients and pinning as in the sections of their own.

- *Events a second against calls in the store*: 64 connections send CDRs of new calls to a server
  whose store holds so many calls already (95 % stored, 1 % in flight, see the console's section).
- *… against connections*: the same, into an empty store.
- *Recordings against their size*: one connection, one after the other, durable before the answer.
- *Detection against pending calls*: processor time of one whole `detect()` over so many calls that
  wait for an export, among 1,000 finished ones. (Against finished calls: its own section.)
- *An export against its hours*: 600 pending calls of two days, reconciled with windows of at most
  so many hours; wall time as in the section on reconciliation.

The last column is the cost of one unit of work, as a ratio to the first row of its curve.
"""

STORES: Final = (1_000, 10_000, 100_000, 1_000_000)
STORE_RUNS: Final = 3
SECONDS: Final = 3
CONNECTIONS: Final = (1, 8, 64, 256)
# Bytes of a recording and how many are sent: half a GiB, or a few seconds' worth.
SIZES: Final = (
    (64 * 1024, 400), (MIB, 200), (16 * MIB, 24), (64 * MIB, 8), (256 * MIB, 2),
)  # fmt: skip
PENDING: Final = (100, 1_000, 10_000, 100_000)
FINISHED: Final = 1_000
WINDOW_HOURS: Final = (1, 6, 24, 48)
WINDOW_CALLS: Final = 600
# History may cost at most this much more at a thousand times as many calls.
HISTORY_MAX: Final = 1.5


class Point(NamedTuple):
    """One row: `cost` is of one unit of work, whatever its unit."""

    at: str
    measured: str
    cost: float


def run() -> Section:
    """All curves, one after the other."""
    curves = {
        "events/s against calls in the store": (stores := _stores()),
        "events/s against connections": _connections(),
        "recordings against their size": _sizes(),
        "detection against pending calls": (pending := _pending()),
        "an export against its hours": (windows := _windows()),
    }
    rows = [
        (name, point.at, point.measured, f"{point.cost / points[0].cost:,.2f}")
        for name, points in curves.items() for point in points
    ]  # fmt: skip
    history = stores[-1].cost / stores[0].cost
    met = "met" if history <= HISTORY_MAX else "MISSED"
    return Section(
        title="Scaling", method=METHOD + _chart(stores), rows=tuple(rows),
        columns=("curve", "at", "measured", "cost of one / the first's"),
        findings=(
            f"an event costs {history:.2f} times as much in a store of {STORES[-1]:,} calls as in "
            f"one of {STORES[0]:,}, target at most {HISTORY_MAX}: {met}",
            f"a pending call costs detection {pending[-1].cost / pending[1].cost:.2f} times as "
            f"much among {PENDING[-1]:,} as among {PENDING[1]:,}: it grows with the work",
            f"windows of up to {WINDOW_HOURS[-1]} h recover a call in "
            f"{windows[-1].cost / windows[0].cost:.2f} of the time that windows of one hour take",
        ),
        libraries=("granian", "apsw"),
    )  # fmt: skip


def _chart(points: list[Point]) -> str:
    """Events a second against calls in the store, as mermaid draws it."""
    rates = [round(1 / point.cost) for point in points]
    names = ", ".join(f'"{point.at}"' for point in points)
    return (
        '\n```mermaid\nxychart-beta\n    title "Events a second against calls in the store"\n'
        f"    x-axis [{names}]\n"
        f'    y-axis "events/s" 0 --> {max(rates) * 5 // 4}\n    bar {rates}\n```\n'
    )


# -- events ---------------------------------------------------------------------------------------


def _stores() -> list[Point]:
    rates: dict[int, list[float]] = {calls: [] for calls in STORES}
    with tempfile.TemporaryDirectory(prefix="bench-scaling-") as folder:
        # Copies: the stores that were filled are used again.
        for calls in STORES:
            data = Path(folder) / str(calls) / "data"
            shutil.copytree(console.filled_desk(calls), data)
        for number in range(STORE_RUNS):
            for calls in STORES if number % 2 == 0 else reversed(STORES):
                with _serving(Path(folder) / str(calls)) as server:
                    events.load(server, seconds=1)
                    rates[calls].append(events.load(server, seconds=SECONDS).per_s)
    return [
        Point(f"{calls:,} calls", f"{median(found):,.0f} events/s", 1 / median(found))
        for calls, found in rates.items()
    ]


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[servers.Running]:
    """`ocp-ingest serve` over a filled store, with the rules that its columns were derived with."""
    port = servers.free_port()
    routing = "".join(
        f'[[routing]]\nlob = "{lob}"\nwhen = {{ ocp_group = "{lob}-*" }}\n[lob.{lob}]\n'
        for lob in console.LOBS
    )
    file = folder / "ocp-ingest.toml"
    file.write_text(
        f'[server]\nport = {port}\n[data]\ndir = "{folder / "data"}"\nfree_bytes_min = 1\n'
        f"[clock]\norigin_ms = {console.NOW}\nscale = 1.0\nreal_origin_s = {time.time()}\n"
        '[auth.clients.bench]\nsecret = "a-secret-of-the-measurement"\n'
        'scopes = ["ingest", "read"]\n[log]\nformat = "json"\nlevel = "warning"\n' + routing
    )
    command = ("-c", "from ocp_ingest.entrypoints.cli import main; main()")
    with Child(*python(*command, "serve", "--config", str(file)), cpu=servers.SERVER_CPU) as child:
        servers.wait_for(port, "/readyz")
        with Child(*python(*command, "token", "--config", str(file))) as token:
            _settle(child.process.pid)
            yield servers.Running(port, child, token.result().strip())


# A server that has just started looks at its open calls; then it rests.
_REST_S: Final = 0.25
_LOOKS_MAX: Final = 120


def _settle(pid: int) -> None:
    """Until the process uses less than a tenth of its processor."""
    used = _used_s(pid)
    for _ in range(_LOOKS_MAX):
        time.sleep(_REST_S)
        before, used = used, _used_s(pid)
        if used - before < _REST_S / 10:
            return


def _used_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])  # utime, stime
    return ticks / 100  # USER_HZ of Linux


def _connections() -> list[Point]:
    with events.served(servers.ours) as server:
        events.load(server, seconds=1)
        loads = [events.load(server, seconds=SECONDS, connections=n) for n in CONNECTIONS]
    return [
        Point(f"{n}", f"{load.per_s:,.0f} events/s, 99 % in {load.p99_ms:,.1f} ms", 1 / load.per_s)
        for n, load in zip(CONNECTIONS, loads, strict=True)
    ]


# -- recordings -----------------------------------------------------------------------------------


def _sizes() -> list[Point]:
    points = []
    with tempfile.TemporaryDirectory(prefix="bench-scaling-") as folder:
        for size, count in SIZES:
            file = recordings.wav(Path(folder) / "recording.wav", size)
            sent = recordings.send(servers.ours, file, count, 1)
            name = f"{size // MIB} MiB" if size >= MIB else f"{size // 1024} KiB"
            measured = f"{sent.mib_per_s:,.0f} MiB/s, {sent.per_s:,.1f} a second"
            points.append(Point(name, measured, 1 / sent.mib_per_s))
    return points


# -- detection ------------------------------------------------------------------------------------


def _pending() -> list[Point]:
    points = []
    for calls in PENDING:
        with Child(*python("-m", "bench.scaling", str(_filled(calls)), str(calls))) as child:
            took_s = float(child.result())
        each_us = took_s / calls * 1e6
        points.append(
            Point(f"{calls:,}", f"{took_s * 1e3:,.0f} ms, {each_us:,.0f} µs each", took_s / calls)
        )
    return points


def _filled(calls: int) -> Path:
    """A store with so many pending calls, made once; 100,000 take a minute and 0.5 GB."""
    made_of = [calls, FINISHED, DERIVING.mark, *schema.MIGRATIONS]
    name = hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()[:10]
    folder = ROOT / "build" / "bench" / f"pending-{calls}-{name}"
    if not folder.exists():
        for older in folder.parent.glob(f"pending-{calls}-*"):
            shutil.rmtree(older)
        making = folder.with_name(f"making-{folder.name}")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        fill(making, finished=FINISHED, pending=calls)
        making.rename(folder)
    return folder


async def _detect(folder: Path, calls: int) -> float:
    """Seconds of processor time of the last of some detections; the first ones warm up."""
    database, world = open_world(folder)
    took_s = 0.0
    for _ in range(3 if calls <= 1_000 else 2):
        began_s = time.process_time()
        found = await detect(world)
        took_s = time.process_time() - began_s
        assert found.looked_at == calls, found.looked_at
    database.close()
    return took_s


# -- exports --------------------------------------------------------------------------------------


def _windows() -> list[Point]:
    points = []
    for hours in WINDOW_HOURS:
        run = reconcile.measure("ours", WINDOW_CALLS, hours=WINDOW_HOURS[-1], window_hours=hours)
        each_s = run.wall_s / run.calls
        measured = f"{run.jobs:,} exports, {run.wall_s / 60:,.1f} min, {each_s:,.2f} s a call"
        points.append(Point(f"up to {hours} h", measured, each_s))
    return points


def main(folder: str, calls: str) -> None:
    """Measures detection over a filled store and prints seconds."""
    set_up_logs(level="warning")
    print(asyncio.run(_detect(Path(folder), int(calls))))


if __name__ == "__main__":
    main(*sys.argv[1:])
