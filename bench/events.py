"""Event intake: durable before its answer, beside the server's limit and the common way; METHOD."""

import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench import servers
from bench.harness import ROOT, Section, last_cpu, spread

METHOD: Final = """
64 connections send real CDRs (1.4 KB each; every call has ids of its own, in no order, and begins a
millisecond after the one before; its `dialog_end` comes two thousand requests after its
`dialog_start`) as fast as they are answered.
*Ours* checks the token, parses, journals, merges into the call's record and answers after the
fsync. The *limit* is the same server and framework with a handler that reads the body and answers.
The *common way* is FastAPI on uvicorn with one SQLite transaction per event (WAL,
`synchronous=FULL`, as durable as ours). Each server has one processor, the client (wrk, one
thread) the other. Medians of runs in turn.
"""

CONNECTIONS: Final = 64
SECONDS: Final = 8
RUNS: Final = 5
OF_LIMIT_MIN: Final = 0.6
OF_COMMON_MIN: Final = 10.0
SCRIPT: Final = ROOT / "bench" / "events.lua"
START: Final = ROOT / "events" / "dialog_start_root.json"
END: Final = ROOT / "events" / "dialog_end_normal.json"

Serve = Callable[[Path], AbstractContextManager[servers.Running]]
PEERS: Final[dict[str, Serve]] = {
    "ours": servers.ours, "the limit": servers.empty, "the common way": servers.common,
}  # fmt: skip


class Load(NamedTuple):
    """One run of the client."""

    per_s: float
    p50_ms: float
    p99_ms: float
    failed: int


def run() -> Section:
    """Measures all three in turn."""
    runs: dict[str, list[Load]] = {name: [] for name in PEERS}
    peaks: dict[str, int] = {}
    for number in range(RUNS):
        order = list(PEERS) if number % 2 == 0 else list(reversed(PEERS))
        for name in order:
            with served(PEERS[name]) as server:
                load(server, seconds=2)
                runs[name].append(load(server))
                peaks[name] = max(peaks.get(name, 0), server.child.peak_rss)
    rows = [_row(name, loads, runs["ours"], peaks[name]) for name, loads in runs.items()]
    limit, common = (_ratio(runs["ours"], runs[name]) for name in ("the limit", "the common way"))
    most = _ratio(runs["the limit"], runs["the common way"])
    findings = (
        f"ours is {limit:.2f} of the limit, target at least {OF_LIMIT_MIN}: "
        f"{'met' if limit >= OF_LIMIT_MIN else 'MISSED'}",
        f"ours is {common:.1f} times the common way, target at least {OF_COMMON_MIN:.0f}: "
        f"{'met' if common >= OF_COMMON_MIN else 'MISSED'}",
        f"the limit, which keeps nothing, is {most:.1f} times the common way: an fsync is quick on "
        "this disk, and nothing written for this server can be more",
        f"answers other than 200: {sum(one.failed for many in runs.values() for one in many)}",
    )
    return Section(
        title="Events, durable before the answer", method=METHOD, rows=tuple(rows),
        columns=("server", "events/s", "median ms", "99 % ms", "ours / it", "peak MiB"),
        findings=findings, libraries=("granian", "litestar", "apsw", "fastapi", "uvicorn"),
    )  # fmt: skip


def served(serve: Serve) -> AbstractContextManager[servers.Running]:
    """A server over an empty folder of its own."""
    import contextlib

    @contextlib.contextmanager
    def inside() -> Iterator[servers.Running]:
        with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as server:
            yield server

    return inside()


def load(
    server: servers.Running, *, seconds: int = SECONDS, connections: int = CONNECTIONS
) -> Load:
    """One run of wrk, on the other processor."""
    wrk = servers.needed("wrk", "wrk")
    command = (
        "taskset", "-c", str(last_cpu()), wrk, "-t", "1", "-c", str(connections), "-d",
        f"{seconds}s", "-s", str(SCRIPT), server.url, "--", secrets.token_hex(4), server.token,
        str(START), str(END),
    )  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    [line] = [line for line in said.splitlines() if line.startswith("RESULT ")]
    requests, duration_us, p50_us, p99_us, failed = map(int, line.split()[1:])
    return Load(requests / (duration_us / 1e6), p50_us / 1000, p99_us / 1000, failed)


def _ratio(ours: list[Load], theirs: list[Load]) -> float:
    return median(a.per_s / b.per_s for a, b in zip(ours, theirs, strict=True))


def _row(name: str, loads: list[Load], ours: list[Load], peak: int) -> tuple[str, ...]:
    return (
        name,
        spread([one.per_s for one in loads]).text(0),
        spread([one.p50_ms for one in loads]).text(1),
        spread([one.p99_ms for one in loads]).text(1),
        f"{_ratio(ours, loads):.2f}",
        f"{peak / 1024 / 1024:,.0f}",
    )
