"""Where the time of one event goes, part by part, in one process and without HTTP; METHOD."""

import gc
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import apsw

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
the parts below it are measured alone; the rest of it is SQLite. HTTP, the event loop and the
hand-over to the writer's thread are not in it: see the limit in the section on events.
"""

EVENTS: Final = 4_000
ROUNDS: Final = 5
BATCH: Final = 64  # as many as 64 connections can have waiting
ID_CHARS: Final = 40

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
    return Section(
        title="Where the time of an event goes", method=METHOD, rows=tuple(rows),
        columns=("part", "µs", "of the whole"),
        findings=(f"decode, parse and write: {whole:.0f} µs an event, so at most "
                  f"{1e6 / whole:,.0f} events/s of one processor, before any HTTP",),
        libraries=("apsw", "msgspec", "cryptography"),
    )  # fmt: skip


def bodies() -> list[bytes]:
    """Bodies as senders send them, each call with an id of its own: a batch of starts, then their
    ends, for the two CDRs of a call come minutes apart.
    """
    texts = [path.read_text(encoding="utf-8") for path in (START, END)]
    made = []
    for first in range(0, EVENTS // 2, BATCH):
        size = min(BATCH, EVENTS // 2 - first)
        ids = [secrets.token_hex(ID_CHARS // 2) for _ in range(size)]
        made += [text.replace(_id_of(text), call_id).encode() for text in texts for call_id in ids]
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


def written(folder: Path, events: list[Event]) -> tuple[float, float]:
    """The writer's operation over an empty store: µs an event, and of it the commits."""
    folder.mkdir()
    database = Database(folder / "ocp.sqlite3", backlog_max=EVENTS)
    store = EmbeddedCallStore(database, Vault(folder / "data.key"), Deriving())
    connection = database._writer
    commits = 0.0
    began = time.process_time()
    for first in range(0, len(events), BATCH):
        connection.execute("BEGIN IMMEDIATE")
        store._append(connection, events[first : first + BATCH])
        store._tally.write(connection)
        commits += _commit(connection)
    took = time.process_time() - began
    database.close()
    return took / len(events) * 1e6, commits / len(events) * 1e6


def _commit(connection: apsw.Connection) -> float:
    began = time.process_time()
    connection.execute("COMMIT")
    return time.process_time() - began


def _of_the_writer(parts: dict[str, float], events: list[Event], vault: Vault) -> None:
    calls = _timed(parts, "… merge", lambda: _merged(events))
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
    data = _timed(parts, "… encode the event", lambda: [canonical_data(e) for e in events])
    _timed(
        parts, "… hash the event",
        lambda: [content_hash(e, said) for e, said in zip(events, data, strict=True)],
    )  # fmt: skip
    _timed(parts, "… encrypt", lambda: [vault.encrypt(event.raw, "name") for event in events])


_DERIVING: Final = Deriving()


def _merged(events: list[Event]) -> list[Call]:
    calls: dict[str, Call] = {}
    for event in events:
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
