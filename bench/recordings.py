"""Recording intake over HTTP beside nginx, which only writes; METHOD."""

import json
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import servers
from bench.harness import MIB, Child, Pair, Section, Spread, alternate, python

METHOD: Final = """
A client on one processor sends WAV files (from the page cache, by `sendfile`) to a server on the
other. *Ours* (`PUT /v1/recordings`) checks the token, hashes with SHA-256, walks the header, makes
bytes and folder durable (fsync), journals, merges the record and only then answers. *nginx* is
Debian's, one worker, WebDAV `PUT`: it does none of that, not even fsync. Both write to the same
file system. Medians of runs in turn; the ratio is that of each pair. Before each run, as much
memory as it will fill with files was in use a moment ago: a hypervisor may take back what a virtual
machine has not used for two seconds, and the first bytes written there then cost ten times the copy
(170 ms in place of 15 for 64 MiB, measured), for whichever server happens to meet it.
"""

RUNS: Final = 7
LARGE: Final = (64 * MIB, 8, 1)  # bytes, how many, at once
SMALL: Final = (1 * MIB, 1_000, 16)
LARGE_RATIO_MIN: Final = 1.2
SMALL_RATIO_MIN: Final = 0.5

Serve = Callable[[Path], AbstractContextManager[servers.Running]]


class Sent(NamedTuple):
    """One run of the client."""

    mib_per_s: float
    per_s: float
    peak_mib: float


def run() -> Section:
    """Measures large files one by one, and small ones at once."""
    rows: list[tuple[str, ...]] = []
    findings: list[str] = []
    for what, (size, count, at_once), least, of in (
        ("64 MiB, one by one", LARGE, LARGE_RATIO_MIN, "MiB/s"),
        ("1,000 of 1 MiB, 16 at once", SMALL, SMALL_RATIO_MIN, "requests/s"),
    ):
        peaks: dict[str, float] = {}
        pair = _pair(size, count, at_once, peaks)
        rows.append(_row(what, of, pair, peaks))
        met = "met" if pair.ratio.median >= least else "MISSED"
        findings.append(
            f"{what}: {pair.ratio.median:.2f} times nginx, target at least {least}: {met}"
        )
    return Section(
        title="Recordings, durable before the answer", method=METHOD, rows=tuple(rows),
        columns=("what", "unit", "nginx", "ours", "ours / nginx", "our peak MiB"),
        findings=tuple(findings), libraries=("granian", "litestar"),
    )  # fmt: skip


def _pair(size: int, count: int, at_once: int, peaks: dict[str, float]) -> Pair:
    with tempfile.TemporaryDirectory() as folder:
        file = wav(Path(folder) / "recording.wav", size)

        def measure(serve: Serve, name: str) -> float:
            sent = send(serve, file, count, at_once)
            peaks[name] = max(peaks.get(name, 0.0), sent.peak_mib)
            return sent.mib_per_s if at_once == 1 else sent.per_s

        return alternate(
            lambda: measure(servers.nginx, "nginx"), lambda: measure(servers.ours, "ours"),
            runs=RUNS,
        )  # fmt: skip


def send(serve: Serve, file: Path, count: int, at_once: int) -> Sent:
    """One run over a fresh server. Raises AssertionError for an answer that is no 201."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as server:
        touch(Path(folder), 2 * count * file.stat().st_size)  # as received, and as stored
        said = sent(server, file, count, at_once)
        assert set(said["statuses"]) == {"201"}, said["statuses"]
        rate = count / said["seconds"]
        return Sent(rate * file.stat().st_size / MIB, rate, server.child.peak_rss / MIB)


def sent(server: servers.Running, file: Path, count: int, at_once: int) -> dict[str, Any]:
    """What the client says of one run."""
    prefix = "/v1/recordings?name=" if server.token else "/"
    words = (str(server.port), prefix, server.token, str(file), str(count), str(at_once))
    with Child(*python("-m", "bench.sender", *words)) as client:
        return dict(json.loads(client.result()))


def touch(folder: Path, size: int) -> None:
    """Uses so many bytes of the system's page cache and gives them back; nothing is synced."""
    block = bytes(MIB)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(0, size, MIB):
            file.write(block)


def wav(path: Path, size: int) -> Path:
    """A PCM file of a size with a true header; noise, so that nothing is cheaper than speech."""
    import random
    import struct

    data = size - 44
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size - 8, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16,
        b"data", data,
    )  # fmt: skip
    block = random.Random(1).randbytes(MIB)
    with path.open("wb") as file:
        file.write(head)
        for first in range(0, data, MIB):
            file.write(block[: min(MIB, data - first)])
    return path


def _row(what: str, unit: str, pair: Pair, peaks: dict[str, float]) -> tuple[str, ...]:
    def cell(spread: Spread) -> str:
        return spread.text(0)

    return (what, unit, cell(pair.a), cell(pair.b), pair.ratio.text(2), f"{peaks['ours']:,.0f}")
