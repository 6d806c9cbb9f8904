"""From the last byte of a recording to `stored`, on a system that does nothing else; METHOD."""

import json
import random
import secrets
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import servers
from bench.harness import MIB, ROOT, Child, Section, python
from bench.recordings import wav
from bench.sender import ANSWER_S_MAX, answer

METHOD: Final = """
Calls one after the other: CDR Start, IVR end and CDR End are sent and answered, then nothing
happens for a while, then the recording comes (`PUT`, 1 MiB of PCM16, 65 s). The clock starts when
the last byte of it has been handed to the sender's kernel; so the receiver still has to read what
is in the socket, to hash it, to make it durable (fsync) and to journal it. It stops when the call's
record, as any reader sees it, is in the stage `stored`: the recording was checked, copied to the
bucket of its line of business, the copy hashed and durable, its metadata beside it, each step
journalled durably. The client looks with a reading connection to the database every {look_us} µs,
from the other processor, and only after it has the answer. *Of it, after the answer* is the part
that the worker takes.
"""

RECORDINGS: Final = 300
WARM_UPS: Final = 20  # connections, caches and code that a system in use has warm
BYTES: Final = 1 * MIB
MEDIAN_MS_MAX: Final = 50
P99_MS_MAX: Final = 250
LOOK_S: Final = 0.0003  # a thousandth of the target, and 5 % of the client's processor
# Idle before a recording; at random, so that no timer of the server beats in step with it.
IDLE_S: Final = (0.02, 0.08)
STORED_S_MAX: Final = 30.0

Cdr = dict[str, Any]


class Times(msgspec.Struct, frozen=True):
    """Milliseconds from the last byte: to the answer, and to `stored`."""

    answered: float
    stored: float


def run() -> Section:
    """Measures one server with one sender."""
    with tempfile.TemporaryDirectory() as folder, servers.ours(Path(folder)) as server:
        file = wav(Path(folder) / "recording.wav", BYTES)
        database = Path(folder) / "data" / "ocp.sqlite3"
        words = (str(server.port), server.token, str(file), str(database))
        with Child(*python("-m", "bench.latency", *words)) as client:
            times = msgspec.json.decode(client.result(), type=list[Times])
    stored = [one.stored for one in times]
    median, p99 = _percentile(stored, 50), _percentile(stored, 99)
    return Section(
        title="From the last byte to `stored`",
        method=METHOD.format(look_us=int(LOOK_S * 1e6)),
        columns=("what", "median ms", "90 % ms", "99 % ms", "lowest – highest"),
        rows=(
            _row("last byte to `stored`", stored),
            _row("of it, until the answer", [one.answered for one in times]),
            _row("of it, after the answer", [one.stored - one.answered for one in times]),
        ),
        findings=(
            _verdict("median", median, MEDIAN_MS_MAX),
            _verdict("99 %", p99, P99_MS_MAX),
            f"{len(times)} recordings of {BYTES // MIB} MiB, each of a call of its own",
        ),
        libraries=("granian", "litestar", "apsw"),
    )


def _verdict(what: str, ms: float, limit_ms: int) -> str:
    met = "met" if ms < limit_ms else "MISSED"
    return f"{what}: {ms:.1f} ms, target below {limit_ms} ms: {met}"


def _row(what: str, values: Sequence[float]) -> tuple[str, ...]:
    cells = [f"{_percentile(values, percent):.1f}" for percent in (50, 90, 99)]
    return (what, *cells, f"{min(values):.1f} – {max(values):.1f}")


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


# -- in the child ---------------------------------------------------------------------------------


def main(port: str, token: str, file: str, database: str) -> None:
    """Sends calls one after the other and prints their Times as JSON."""
    with Client(int(port), token, Path(file), Path(database)) as client:
        times = [client.call() for _ in range(WARM_UPS + RECORDINGS)][WARM_UPS:]
    print(msgspec.json.encode(times).decode())


class Client:
    """One connection to the server, kept open, and one to its database."""

    def __init__(self, port: int, token: str, file: Path, database: Path) -> None:
        self._head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        self._file = file.open("rb")
        self._size = file.stat().st_size
        self._peer = socket.create_connection(("127.0.0.1", port))
        self._peer.settimeout(ANSWER_S_MAX)
        self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._store = sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)
        self._chance = random.Random(1)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._peer.close()
        self._file.close()

    def call(self) -> Times:
        """One call from its CDRs to `stored`. Raises AssertionError for a refusal."""
        call_id = f"{secrets.token_hex(20)}.{time.time_ns() // 10**6}.{secrets.token_hex(16)}"
        for event in _cdrs(call_id):
            self._send_event(event)
        time.sleep(self._chance.uniform(*IDLE_S))
        began_s = self._send_recording(call_id)
        status = answer(self._peer)
        answered_s = time.perf_counter()
        assert status == 201, f"a recording was answered with {status}"
        self._wait_until_stored(call_id)
        stored_s = time.perf_counter()
        return Times((answered_s - began_s) * 1000, (stored_s - began_s) * 1000)

    def _send_event(self, event: Cdr) -> None:
        body = json.dumps(event).encode()
        head = f"POST /v1/events HTTP/1.1\r\n{self._head}Content-Type: application/json\r\n"
        self._peer.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status = answer(self._peer)
        assert status == 200, f"an event was answered with {status}"

    def _send_recording(self, call_id: str) -> float:
        name = f"{call_id}~acme01~{time.time_ns() // 10**6}~{call_id}.wav"
        head = f"PUT /v1/recordings?name={name} HTTP/1.1\r\n{self._head}Content-Type: audio/wav\r\n"
        self._peer.sendall(f"{head}Content-Length: {self._size}\r\n\r\n".encode())
        self._file.seek(0)
        self._peer.sendfile(self._file)
        return time.perf_counter()

    def _wait_until_stored(self, call_id: str) -> None:
        for _ in _looks():
            found = self._store.execute("SELECT stage FROM call WHERE call_id = ?", (call_id,))
            if found.fetchone() == ("stored",):
                return
        said = self._store.execute("SELECT stage, problems FROM call WHERE call_id = ?", (call_id,))
        raise AssertionError(f"not stored after {STORED_S_MAX:.0f} s: {said.fetchone()}")


def _looks() -> Iterator[None]:
    until_s = time.monotonic() + STORED_S_MAX
    while time.monotonic() < until_s:
        yield
        time.sleep(LOOK_S)


def _cdrs(call_id: str) -> Iterator[Cdr]:
    """CDR Start, IVR end, CDR End of a call that has just ended and is as long as its recording."""
    duration_ms = BYTES // 16  # PCM16 at 8 kHz: 16 bytes a millisecond
    start_ms = time.time_ns() // 10**6 - duration_ms
    ids = {
        "id": call_id, "group": call_id, "time": start_ms,
        "session_id": f"session-{call_id}", "connection_id": f"connection-{call_id}",
    }  # fmt: skip
    for name, more in (
        ("dialog_start_root", {}),
        ("ivr_end", {"time": start_ms + duration_ms // 2, "duration": duration_ms // 2}),
        ("dialog_end_normal", {"duration": duration_ms}),
    ):
        event: Cdr = json.loads((ROOT / "events" / f"{name}.json").read_text(encoding="utf-8"))
        yield {**event, **{k: v for k, v in ids.items() if k in event}, **more}


if __name__ == "__main__":
    main(*sys.argv[1:])
