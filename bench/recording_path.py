"""Where the time of a recording goes, and what any server on one processor could reach; METHOD."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench import recordings, servers, threads
from bench.harness import MIB, Child, Section, python, spread
from bench.peers.floor import STEPS
from bench.recordings import Serve

METHOD: Final = """
The 64 MiB of the section on recordings, one by one, same client, same pinning. *A loop* is the
least that a server can do: a socket, a buffer of 1 MiB, no HTTP but the head, one thread; each row
does what the row above does and one thing more. *The HTTP server* is ours (Granian) with a handler
that reads the body and answers. Below *ours* is the processor time of its threads; the checks are
those of recordings that came before, which rest while bytes of the next one move. All in turn;
medians per recording.
"""

RUNS: Final = 7
SIZE: Final = recordings.LARGE[0]
COUNT: Final = recordings.LARGE[1]
WARM_UP: Final = 2


class Spent(NamedTuple):
    """Milliseconds for one recording: on the clock, of the processor, after the last byte."""

    wall_ms: float
    cpu_ms: Mapping[str, float]
    last_ms: float


def run() -> Section:
    """Measures every server RUNS times, in turn."""
    peers: dict[str, Serve] = {
        **{
            ("a loop: " if n == 1 else "… and ") + step: partial(_floor, steps=n)
            for n, step in enumerate(STEPS, 1)
        },
        "the HTTP server, empty handler": servers.empty,
        "nginx": servers.nginx,
        "ours": _ours,
    }
    spent: dict[str, list[Spent]] = {name: [] for name in peers}
    with tempfile.TemporaryDirectory() as folder:
        file = recordings.wav(Path(folder) / "recording.wav", SIZE)
        for n in range(RUNS):
            for name in list(peers)[:: -1 if n % 2 else 1]:
                spent[name].append(_measured(peers[name], file))
    return Section(
        title="Where the time of a recording goes", method=METHOD, rows=_rows(spent),
        columns=("what", "ms", "MiB/s", "processor ms"),
        findings=_findings(spent), libraries=("granian",),
    )  # fmt: skip


def _rows(spent: Mapping[str, list[Spent]]) -> tuple[tuple[str, ...], ...]:
    rows = [
        (
            name,
            spread([one.wall_ms for one in runs]).text(0),
            f"{_rate(runs):,.0f}",
            f"{median(sum(one.cpu_ms.values()) for one in runs):.0f}",
        )
        for name, runs in spent.items()
    ]
    ours = spent["ours"]
    for role in (threads.LOOP, *(role for _, role in threads.ROLES[::-1])):
        took = median(one.cpu_ms.get(role, 0.0) for one in ours)
        rows.append((f"… of it {role}", "", "", f"{took:.0f}"))
    rows.append((
        "… from the last byte sent to the answer",
        spread([one.last_ms for one in ours]).text(0), "", "",
    ))  # fmt: skip
    return tuple(rows)


def _findings(spent: Mapping[str, list[Spent]]) -> tuple[str, ...]:
    names = list(spent)
    floor, nginx = spent[names[len(STEPS) - 1]], spent["nginx"]
    of_nginx = median(n.wall_ms / f.wall_ms for n, f in zip(nginx, floor, strict=True))
    ours = median(f.wall_ms / o.wall_ms for f, o in zip(floor, spent["ours"], strict=True))
    hashing = _cpu(spent[names[2]]) - _cpu(spent[names[1]])
    return (
        f"the loop that receives, writes, hashes and syncs is {of_nginx:.2f} times nginx: a server "
        "with one processor that does the same can't be much faster",
        f"ours, with HTTP, token, header walk, journal and record, is {ours:.2f} of that loop",
        f"SHA-256 takes {hashing:.0f} ms of the processor for each recording",
    )


def _rate(runs: list[Spent]) -> float:
    return SIZE / MIB / median(one.wall_ms for one in runs) * 1000


def _cpu(runs: list[Spent]) -> float:
    return median(sum(one.cpu_ms.values()) for one in runs)


def _measured(serve: Serve, file: Path) -> Spent:
    with tempfile.TemporaryDirectory() as name, serve(Path(name)) as server:
        recordings.sent(server, file, WARM_UP, 1)
        recordings.touch(Path(name), 2 * COUNT * SIZE)
        before = threads.times(server.child.process.pid)
        said = recordings.sent(server, file, COUNT, 1)
        cpu_ms = threads.spent(before, threads.times(server.child.process.pid))
    cpu_ms = {role: ms / COUNT for role, ms in cpu_ms.items()}
    return Spent(said["seconds"] * 1000 / COUNT, cpu_ms, median(said["last_ms"]))


@contextlib.contextmanager
def _floor(folder: Path, *, steps: int) -> Iterator[servers.Running]:
    port = servers.free_port()
    command = python("-m", "bench.peers.floor", str(port), str(folder), str(steps))
    with Child(*command, cpu=servers.SERVER_CPU) as child:
        servers.wait_for(port, "/")
        yield servers.Running(port, child)


def _ours(folder: Path) -> AbstractContextManager[servers.Running]:
    return servers.ours(folder, program=("-m", "bench.peers.named"))
