"""Resident memory of the server: one huge upload, and two hundred at once; METHOD."""

import json
import re
import socket
import sqlite3
import struct
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final, NamedTuple

from bench import servers
from bench.harness import MIB, RSS_EVERY_S, Child, Section, Spread, python, rss_bytes, spread
from bench.sender import ANSWER_S_MAX, Work, answer, head

METHOD: Final = """
Resident memory (`/proc/…/statm`, every {every_ms} ms) of `ocp-ingest serve`, embedded runtime,
against the same process {idle_s} s after its start, before its first recording. *2 GiB*: one WAV,
sent by `sendfile` from a sparse file as fast as it is taken; then the worker reads it back for its
checks. *200 at once*: 200 connections, each with a recording of its own of {size} MiB, sent in
turns of {turn} KiB so that all are under way until the last turn; the server's own gauge says how
many were. The sender holds one block of what it sends.
"""

RUNS: Final = 3
HUGE_BYTES: Final = 2 * 1024 * MIB
HUGE_GROWTH_MIB_MAX: Final = 64
MANY: Final = 200
MANY_BYTES: Final = 4 * MIB
MANY_GROWTH_MIB_MAX: Final = 256
TURN_BYTES: Final = 64 * 1024
IDLE_S: Final = 1.0  # after start-up's own garbage is gone
CHECKED_S_MAX: Final = 120.0
_AROUND_S: Final = 2 * RSS_EVERY_S  # one more sample at least


class Grown(NamedTuple):
    """Bytes when idle, and more than that at the peaks of what followed."""

    idle: int
    taking: int
    checking: int
    at_once: int


def run() -> Section:
    """Measures a fresh server for each run."""
    huge = [_measured("huge") for _ in range(RUNS)]
    many = [_measured("many") for _ in range(RUNS)]
    rows = (
        _row("idle", [one.idle for one in (*huge, *many)], "–"),
        _row("one of 2 GiB: while it comes in", [one.taking for one in huge], "grown by"),
        _row("…: while the worker checks it", [one.checking for one in huge], "grown by"),
        _row(f"{MANY} of {MANY_BYTES // MIB} MiB: while they come in", [m.taking for m in many],
             "grown by"),
        _row("…: while the worker checks them", [one.checking for one in many], "grown by"),
    )  # fmt: skip
    peak = max(one.idle + max(one.taking, one.checking) for one in (*huge, *many))
    return Section(
        title="Memory",
        method=METHOD.format(
            every_ms=int(RSS_EVERY_S * 1000),
            idle_s=IDLE_S,
            size=MANY_BYTES // MIB,
            turn=TURN_BYTES // 1024,
        ),
        columns=("what", "", "MiB"),
        rows=rows,
        findings=(
            _verdict("2 GiB", huge, HUGE_GROWTH_MIB_MAX),
            _verdict(f"{MANY} at once", many, MANY_GROWTH_MIB_MAX),
            f"highest of all: {peak / MIB:.0f} MiB",
            f"uploads under way at half of each recording, as the server counts them: "
            f"{min(one.at_once for one in many)}",
        ),
        libraries=("granian", "litestar"),
    )


def _verdict(what: str, runs: list[Grown], limit_mib: int) -> str:
    grown = _mib([max(one.taking, one.checking) for one in runs]).median
    met = "met" if grown < limit_mib else "MISSED"
    return f"{what}: {grown:.0f} MiB above idle, target below {limit_mib} MiB: {met}"


def _row(what: str, values: list[int], how: str) -> tuple[str, ...]:
    return (what, how, _mib(values).text(0))


def _mib(values: list[int]) -> Spread:
    return spread([value / MIB for value in values])


def _measured(what: str) -> Grown:
    """One run over a fresh server. Raises AssertionError for a refused recording."""
    with tempfile.TemporaryDirectory() as name, servers.ours(Path(name)) as server:
        folder = Path(name)
        time.sleep(IDLE_S)
        child, idle = server.child, rss_bytes(server.child.process.pid)
        child.peak_rss = 0
        words = (what, str(server.port), server.token, str(folder / "huge.wav"))
        with Child(*python("-m", "bench.memory", *words)) as client:
            said = json.loads(client.result())
        taking, child.peak_rss = child.peak_rss, 0
        _wait_until_checked(folder, said["recordings"])
        return Grown(idle, taking - idle, child.peak_rss - idle, said["at_once"])


def _wait_until_checked(folder: Path, recordings: int) -> None:
    """Until the worker has journalled its report of each. Raises TimeoutError."""
    database = sqlite3.connect(f"file:{folder / 'data' / 'ocp.sqlite3'}?mode=ro", uri=True)
    until_s = time.monotonic() + CHECKED_S_MAX
    try:
        while time.monotonic() < until_s:
            found = database.execute("SELECT count(*) FROM journal WHERE kind = 'inspected'")
            if found.fetchone() == (recordings,):
                time.sleep(_AROUND_S)
                return
            time.sleep(RSS_EVERY_S)
    finally:
        database.close()
    raise TimeoutError(f"The recordings were not checked within {CHECKED_S_MAX:.0f} s.")


# -- in the child ---------------------------------------------------------------------------------


def main(what: str, port: str, token: str, path: str) -> None:
    """Sends, and prints how many recordings, and how many of them were under way at once."""
    if what == "huge":
        _send_huge(int(port), token, Path(path))
        said = {"recordings": 1, "at_once": 1}
    else:
        said = {"recordings": MANY, "at_once": _send_many(int(port), token)}
    print(json.dumps(said))


def _send_huge(port: int, token: str, path: Path) -> None:
    with path.open("wb") as file:
        file.write(_wav_header(HUGE_BYTES))
        file.truncate(HUGE_BYTES)
    with _connected(port) as peer, path.open("rb") as file:
        peer.sendall(_head(token, HUGE_BYTES))
        peer.sendfile(file)
        _taken(peer)


def _send_many(port: int, token: str) -> int:
    block = bytes(range(256)) * (TURN_BYTES // 256)
    first = _wav_header(MANY_BYTES)
    peers = [_connected(port) for _ in range(MANY)]
    at_once = 0
    try:
        for peer in peers:
            peer.sendall(_head(token, MANY_BYTES) + first)
        turns = range(0, MANY_BYTES - len(first), TURN_BYTES)
        for sent in turns:
            if sent == turns[len(turns) // 2]:
                at_once = _under_way(port)
            for peer in peers:
                peer.sendall(block[: MANY_BYTES - len(first) - sent])
        for peer in peers:
            _taken(peer)
    finally:
        for peer in peers:
            peer.close()
    return at_once


def _connected(port: int) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port))
    peer.settimeout(ANSWER_S_MAX)
    return peer


def _head(token: str, size: int) -> bytes:
    return head(Work(0, "/v1/recordings?name=", token, Path(), 0), size)


def _taken(peer: socket.socket) -> None:
    status = answer(peer)
    assert status == 201, f"a recording was answered with {status}"


def _under_way(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as said:
        found = re.search(r"^ocp_ingest_uploads (\d+)", said.read().decode(), re.MULTILINE)
    assert found is not None, "the server has no gauge of uploads"
    return int(found[1])


def _wav_header(size: int) -> bytes:
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size - 8, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16,
        b"data", size - 44,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
