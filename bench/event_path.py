"""Where the time of one event goes, part by part, in one process and without HTTP; METHOD."""

import gc
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

import apsw

from bench import events, servers, threads
from bench.events import END, START
from bench.harness import Section
from ocp_ingest.adapters.embedded import call_rows
from ocp_ingest.adapters.embedded.call_store import EmbeddedCallStore
from ocp_ingest.adapters.embedded.database import Database
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import Deriving, derive
from ocp_ingest.core.call import Call, merge, new
from ocp_ingest.core.events import Event, canonical_data, content_hash
from ocp_ingest.core.limits import Limits
from ocp_ingest.core.vendor import Context, VendorMapping, parse
from ocp_ingest.entrypoints.api.batch import split

METHOD: Final = """
The CDRs of the section on events, two a call, taken by the functions that take them in `serve`,
one part after the other, on one processor: the lowest processor time of several rounds, per event.
*Writer* is the whole operation of the store in transactions of 64 events of as many calls, of which
the parts below it are measured alone; the rest of it is SQLite.

*Under load* is what the threads of a server take of the processor for each event while the client
of the section on events sends: *ours*; *storing nothing*, which is ours with a store that answers
at once; and the *limit* of that section. HTTP, event loop, writer and disk share one processor, so
each finds the caches full of what the others left. What is between *all threads* and *on the clock*
is waiting for the disk. *KiB written* are the WAL and the pages copied back from it.
"""

EVENTS: Final = 4_000
ROUNDS: Final = 5
RUNS: Final = 5  # of the load
BATCH: Final = 64  # as many as 64 connections can have waiting
ID_CHARS: Final = 40
BEGAN: Final = "1763805600000"  # in the CDRs' ids and times

T = TypeVar("T")


def run() -> Section:
    """Measures every part."""
    parts: dict[str, float] = {}
    decoded = _timed(parts, "decode the JSON", lambda: [_decoded(body) for body in bodies()])
    found = _timed(parts, "parse", lambda: [_parsed(body, raw) for body, raw in decoded])
    with tempfile.TemporaryDirectory() as folder, calm():
        parts["writer"], parts["… of it the commit"] = min(
            written(Path(folder) / str(number), found) for number in range(ROUNDS)
        )
        _of_the_writer(parts, found, Vault(Path(folder) / "data.key"))
    whole = sum(parts[name] for name in ("decode the JSON", "parse", "writer"))
    rows = [(name, f"{us:.1f}", f"{us / whole:.0%}") for name, us in parts.items()]
    loaded, least = under_load()
    return Section(
        title="Where the time of an event goes", method=METHOD, rows=(*rows, *loaded),
        columns=("part", "µs", "of the whole"),
        findings=(f"decode, parse and write: {whole:.0f} µs an event, so at most "
                  f"{1e6 / whole:,.0f} events/s of one processor, before any HTTP", least),
        libraries=("apsw", "msgspec", "cryptography", "granian"),
    )  # fmt: skip


def under_load() -> tuple[list[tuple[str, str, str]], str]:
    """Rows of what the threads of each took, medians of runs in turn; and what follows from it."""
    peers: dict[str, events.Serve] = {
        "ours": partial(servers.ours, program=("-m", "bench.peers.named")),
        "storing nothing": partial(servers.ours, program=("-m", "bench.peers.storeless")),
        "the limit": servers.empty,
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in peers}
    for _ in range(RUNS):
        for name, serve in peers.items():
            runs[name].append(_loaded(serve))
    taken = {
        name: {what: median(run.get(what, 0.0) for run in found) for what in found[0]}
        for name, found in runs.items()
    }
    rows = [
        (f"under load, {name}: {what}", f"{number:.1f}",
         "" if what in _NO_PART else f"{number / parts[_ALL]:.0%}")
        for name, parts in taken.items() for what, number in parts.items()
    ]  # fmt: skip
    least = taken["the limit"][_CLOCK] / taken["storing nothing"][_CLOCK]
    return rows, (
        f"all but the store is {least:.2f} of the limit; the store of an event takes "
        f"{taken['ours'][_CLOCK] - taken['storing nothing'][_CLOCK]:.0f} µs more"
    )


_ALL: Final = "all threads"
_CLOCK: Final = "on the clock"
_WRITTEN: Final = "KiB written"
_NO_PART: Final = (_CLOCK, _WRITTEN)
# Threads that took less are not shown.
_SHOWN_US_MIN: Final = 0.5


def _loaded(serve: events.Serve) -> dict[str, float]:
    """Microseconds of clock and processor, by role, and what was written, for each event."""
    with events.served(serve) as server:
        pid = server.child.process.pid
        events.load(server, seconds=2)
        before, written_before = threads.times(pid), _written(pid)
        per_s = events.load(server).per_s
        number = per_s * events.SECONDS
        cpu = threads.spent(before, threads.times(pid))
        written_kib = (_written(pid) - written_before) / 1024
    by_role = {role: ms * 1000 / number for role, ms in sorted(cpu.items())}
    shown = {role: us for role, us in by_role.items() if us >= _SHOWN_US_MIN}
    whole = {_CLOCK: 1e6 / per_s, _ALL: sum(by_role.values())}
    return whole | shown | {_WRITTEN: written_kib / number}


def _written(pid: int) -> int:
    """Bytes that a process has had written to the disk so far (proc(5), /proc/PID/io)."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def bodies() -> list[bytes]:
    """Bodies as senders send them, each call with an id and a start of its own: a batch of starts,
    then their ends, for the two CDRs of a call come minutes apart.
    """
    texts = [path.read_text(encoding="utf-8") for path in (START, END)]
    made = []
    for first in range(0, EVENTS // 2, BATCH):
        size = min(BATCH, EVENTS // 2 - first)
        ids = [secrets.token_hex(ID_CHARS // 2) for _ in range(size)]
        made += [
            text.replace(_id_of(text), call_id).replace(BEGAN, str(int(BEGAN) + first + n)).encode()
            for text in texts for n, call_id in enumerate(ids)
        ]  # fmt: skip
    return made


def _id_of(text: str) -> str:
    return text.split('"id": "', 1)[1].split('"', 1)[0]


def _decoded(body: bytes) -> tuple[object, bytes]:
    [message] = split(body, Limits()).messages
    return message


def _parsed(body: object, raw: bytes) -> Event:
    event = parse(body, raw, VendorMapping(), _CONTEXT).event
    assert event is not None, "a CDR names its call"
    return event


_CONTEXT: Final = Context(received_at_ms=1_763_805_600_000, number_key=bytes(32))


def written(folder: Path, found: list[Event]) -> tuple[float, float]:
    """The writer's operation over an empty store: µs an event, and of it the commits."""
    folder.mkdir()
    database = Database(folder / "ocp.sqlite3", backlog_max=EVENTS)
    store = EmbeddedCallStore(database, Vault(folder / "data.key"), Deriving())
    connection = database._writer
    commits = 0.0
    began = time.process_time()
    for first in range(0, len(found), BATCH):
        connection.execute("BEGIN IMMEDIATE")
        store._append(connection, found[first : first + BATCH])
        store._tally.write(connection)
        commits += _commit(connection)
    took = time.process_time() - began
    database.close()
    return took / len(found) * 1e6, commits / len(found) * 1e6


def _commit(connection: apsw.Connection) -> float:
    began = time.process_time()
    connection.execute("COMMIT")
    return time.process_time() - began


def _of_the_writer(parts: dict[str, float], found: list[Event], vault: Vault) -> None:
    calls = _timed(parts, "… merge", lambda: _merged(found))
    both = [call for call in calls for _ in range(2)]
    rows = _timed(parts, "… derive the columns", lambda: [derive(c, _DERIVING) for c in both])
    _timed(
        parts, "… count",
        lambda: [call_rows.counted_of(c, row) for c, row in zip(both, rows, strict=True)],
    )  # fmt: skip
    records = _timed(
        parts, "… encode the record", lambda: [call_rows.ENCODER.encode(call) for call in both]
    )
    decode = call_rows.DECODER.decode
    # Only the second event of a call finds a record.
    _timed(parts, "… decode the record", lambda: [decode(record) for record in records[::2]])
    data = _timed(parts, "… encode the event", lambda: [canonical_data(e) for e in found])
    _timed(
        parts, "… hash the event",
        lambda: [content_hash(e, said) for e, said in zip(found, data, strict=True)],
    )  # fmt: skip
    _timed(parts, "… encrypt", lambda: [vault.encrypt(event.raw, "name") for event in found])


_DERIVING: Final = Deriving()


def _merged(found: list[Event]) -> list[Call]:
    calls: dict[str, Call] = {}
    for event in found:
        calls[event.call_id] = merge(calls.get(event.call_id) or new(event.call_id), event)
    return list(calls.values())


def _timed(parts: dict[str, float], name: str, work: Callable[[], T]) -> T:
    best = float("inf")
    with calm():
        for _ in range(ROUNDS):
            began = time.process_time()
            done = work()
            best = min(best, time.process_time() - began)
    parts[name] = best / EVENTS * 1e6
    return done


@contextmanager
def calm() -> Iterator[None]:
    """Without the collector of cycles: what it costs depends on what else a process holds."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
