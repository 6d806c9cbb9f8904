"""The same measurements on an older commit and on this tree, in turn: what a change was worth."""

import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

from bench import events, recordings, servers
from bench.harness import ROOT, Pair, Section, alternate

# The last commit before the work on speed that this table shows.
REF: Final = "738a907"
RUNS: Final = 5
METHOD: Final = f"""
`ocp-ingest serve` of commit `{REF}` (before) and of this tree (after), with the same libraries,
configuration, clients and pinning as in the sections above, in turn within one run. What changed in
between, in the order of its weight: the collector of cycles looks seldom (it took an eighth of the
processor at 700 containers a look); recordings are hashed and written as they came, without being
copied together, in blocks of up to 1 MiB; the disk begins to write while more comes; threads that
check and copy whole recordings rest while bytes of the next ones move; what 64 senders wait for is
appended by one operation, which reads, derives and writes a row once; two indexes that no page
needed are gone; counters are written once a commit; a row's untouched indexes are not written.
"""

Serve = Callable[[Path], AbstractContextManager[servers.Running]]


def run() -> Section:
    """Measures both. Exits when the older commit is not in this clone."""
    with tempfile.TemporaryDirectory() as folder:
        source = _checked_out(Path(folder) / "before")
        before = partial(servers.ours, source=source)
        rows = (
            _row("events/s, 64 connections", _events(before)),
            _row("recordings, 64 MiB one by one, MiB/s", _recordings(before, recordings.LARGE)),
            _row(
                "recordings, 1 MiB, 16 at once, requests/s", _recordings(before, recordings.SMALL)
            ),
        )
    return Section(
        title="What the work on speed was worth", method=METHOD, rows=rows,
        columns=("what", f"before ({REF})", "after", "after / before"),
    )  # fmt: skip


def _checked_out(folder: Path) -> Path:
    """The source folder of the older commit."""
    folder.mkdir()
    packed = subprocess.run(
        ("git", "-C", str(ROOT), "archive", REF, "src"), capture_output=True, check=False
    )
    if packed.returncode:
        raise SystemExit(f"Commit {REF} is not in this clone: git fetch --unshallow.")
    subprocess.run(("tar", "-x", "-C", str(folder)), input=packed.stdout, check=True)
    return folder / "src"


def _events(before: Serve) -> Pair:
    def measure(serve: Serve) -> float:
        with events.served(serve) as server:
            events.load(server, seconds=2)
            return events.load(server).per_s

    return alternate(lambda: measure(before), lambda: measure(servers.ours), runs=RUNS, warm_ups=0)


def _recordings(before: Serve, what: tuple[int, int, int]) -> Pair:
    size, count, at_once = what
    with tempfile.TemporaryDirectory() as folder:
        file = recordings.wav(Path(folder) / "recording.wav", size)

        def measure(serve: Serve) -> float:
            sent = recordings.send(serve, file, count, at_once)
            return sent.mib_per_s if at_once == 1 else sent.per_s

        return alternate(
            lambda: measure(before), lambda: measure(servers.ours), runs=RUNS, warm_ups=1
        )


def _row(what: str, pair: Pair) -> tuple[str, ...]:
    return (what, pair.a.text(0), pair.b.text(0), pair.ratio.text(2))
