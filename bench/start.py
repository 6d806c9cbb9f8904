"""How long starting takes: the server until it is ready, the commands until they have said it."""

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from bench import servers
from bench.harness import (
    CHILD_STOP_S_MAX,
    ROOT,
    Cells,
    Pair,
    Section,
    alternate,
    children_on,
    python,
)

METHOD: Final = """
Wall-clock time from the exec, on one processor that the process has to itself. A command: until it
has ended. The server: until `GET /readyz` answers 200 (database open, loops running, listening),
asked for every {look_ms} ms from the other processor; *again* with the data of the run before,
*first* in an empty folder, where it makes database, keys and folders. The peer in the same run is
`python -c pass` of the same environment. Modules are compiled, as in the image and after any first
start; programs, libraries and modules are in the system's page cache.
"""

RUNS: Final = 7
HELP_MS_MAX: Final = 300
READY_MS_MAX: Final = 1000
READY_S_MAX: Final = 30.0
LOOK_S: Final = 0.002  # a five-hundredth of the target

# Where Python keeps what it compiles, whatever the environment says of that.
_COMPILED: Final = ROOT / "build" / "bench" / "compiled"
_MAIN: Final = python("-c", "from ocp_ingest.entrypoints.cli import main; main()")
_PASS: Final = python("-c", "pass")


class Row(NamedTuple):
    """What was started beside `python -c pass`; `ms_max` is its target, if it has one."""

    what: str
    pair: Pair
    ms_max: int | None = None


def run() -> Section:
    """Measures commands and server, each in turn with the peer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = ("--config", str(servers.config(folder, servers.free_port())))
        _server_until_ready(folder)  # makes the data of the runs that start again
        rows = [
            _command("`ocp-ingest --help`", "--help", ms_max=HELP_MS_MAX),
            _command("`ocp-ingest calls --help`", "calls", "--help", ms_max=HELP_MS_MAX),
            _command("`ocp-ingest token`", "token", *data),
            _command("`ocp-ingest calls list`", "calls", "list", *data),
            _row("`ocp-ingest serve`, again", lambda: _server_until_ready(folder), READY_MS_MAX),
            _row("`ocp-ingest serve`, first", _first_start, READY_MS_MAX),
        ]
    return Section(
        title="Start",
        method=METHOD.format(look_ms=int(LOOK_S * 1000)),
        columns=("what", "`python -c pass`, ms", "it, ms", "ratio"),
        rows=tuple(
            (r.what, r.pair.a.text(0), r.pair.b.text(0), r.pair.ratio.text(1)) for r in rows
        ),
        findings=tuple(_verdict(row, row.ms_max) for row in rows if row.ms_max is not None),
        libraries=("typer", "litestar", "granian"),
    )


def _verdict(row: Row, ms_max: int) -> str:
    median = row.pair.b.median
    met = "met" if median < ms_max else "MISSED"
    return f"{row.what}: {median:.0f} ms, target below {ms_max:,} ms: {met}"


def _row(what: str, work: Callable[[], float], ms_max: int | None = None) -> Row:
    pair = alternate(lambda: _until_ended(_PASS), work, runs=RUNS)
    return Row(what, pair, ms_max)


def _command(what: str, *words: str, ms_max: int | None = None) -> Row:
    return _row(what, lambda: _until_ended((*_MAIN, *words)), ms_max)


def _until_ended(command: Cells) -> float:
    """Milliseconds of a command. Raises CalledProcessError when it fails."""
    began_s = time.perf_counter()
    with _started(command) as process:
        process.communicate()
    took_ms = (time.perf_counter() - began_s) * 1000
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return took_ms


def _first_start() -> float:
    with tempfile.TemporaryDirectory() as folder:
        return _server_until_ready(Path(folder))


def _server_until_ready(folder: Path) -> float:
    """Milliseconds until the server is ready; it is ended, and waited for, after that."""
    port = servers.free_port()
    config = servers.config(folder, port)
    began_s = time.perf_counter()
    with _started((*_MAIN, "serve", "--config", str(config))) as process:
        try:
            _wait_until_ready(port, process)
            return (time.perf_counter() - began_s) * 1000
        finally:
            process.terminate()
            try:
                process.communicate(timeout=CHILD_STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + READY_S_MAX
    while time.monotonic() < until_s and process.poll() is None:
        if _is_ready(port):
            return
        time.sleep(LOOK_S)
    raise TimeoutError(f"The server is not ready; it ended with {process.poll()}.")


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_S_MAX)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _started(command: Cells) -> subprocess.Popen[bytes]:
    with children_on(servers.SERVER_CPU):
        return subprocess.Popen(
            command, cwd=ROOT, env=_environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=sys.stderr,
        )  # fmt: skip


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(_COMPILED)}
