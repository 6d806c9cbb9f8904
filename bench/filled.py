"""An embedded store full of calls, made within a minute and true to the real one.

Rules
1. The file is made by the store itself: its schema, indexes and marks. Rows go in by the store's
   own INSERT, in the order in which calls start, through a connection without fsync.
2. One finished call is built by the real code (golden CDRs → parser → events → fold). Its record
   is cut where ids, hashes and times stand, and filled anew for each call: same bytes otherwise.
3. Every open call is built by the real code, one by one. Its call has both CDRs and no recording,
   so it waits for an export. The same open calls are in every store, spread evenly over it.
4. The columns of each open call, and of a sample of the finished ones, are what `derive` makes of
   the record as read back; anything else ends the measurement.
5. Counters and problem rows are summed from the rows, as the writer would have kept them.

No journal is filled and no look-ups, which detection does not read.
"""

import contextlib
import functools
import hashlib
import io
import random
import re
import shutil
import struct
import wave
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from bench.harness import MIB, ROOT
from ocp_ingest.adapters.embedded import call_rows
from ocp_ingest.adapters.embedded.call_store import EmbeddedCallStore
from ocp_ingest.adapters.embedded.database import Database
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import Deriving, derive
from ocp_ingest.core import events
from ocp_ingest.core.audio import AudioParser
from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.counting import day_of
from ocp_ingest.core.events import Event, Source
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.core.vendor import Context, VendorMapping, parse

T0: Final = 1_790_000_000_000 // DAY_MS * DAY_MS
SPAN_MS: Final = 30 * DAY_MS  # a million calls are a month's
NOW: Final = T0 + SPAN_MS + DAY_MS  # all open calls are due, none is past OCP's retention
DERIVING: Final = Deriving()
BACKLOG_MAX: Final = 20_000
CHECKED: Final = 500  # finished calls read back and derived anew
MANY_BYTES: Final = 10 * 1024 * MIB  # a million calls, and as much again to be polite
FILL_CACHE_KIB: Final = 1024 * 1024  # holds all indexes: few pages are written twice

_START: Final = "dialog_start_root.json"
_END: Final = "dialog_end_normal.json"


def fill(folder: Path, *, finished: int, pending: int) -> None:
    """Makes a store in an empty folder; 1,000,000 calls take about 3 GB and a minute."""
    with filling(folder, DERIVING) as connection:
        connection.executemany(call_rows.PUT, _in_order(finished, pending))
        check(connection, DERIVING, finished + pending, pending)


@contextlib.contextmanager
def filling(folder: Path, deriving: Deriving) -> Iterator[apsw.Connection]:
    """A new store's file to put rows of calls into; at the end it is as the writer leaves one."""
    database, _ = open_store(folder, deriving)
    database.close()
    connection = apsw.Connection(str(_file(folder)))
    connection.pragma("journal_mode", "OFF")
    connection.pragma("synchronous", "OFF")
    connection.pragma("cache_size", -FILL_CACHE_KIB)
    with connection:
        yield connection
        _sum_up(connection)
    connection.pragma("journal_mode", "WAL")
    connection.close()


def open_store(folder: Path, deriving: Deriving = DERIVING) -> tuple[Database, EmbeddedCallStore]:
    """The store in a folder, as a server opens it."""
    database = Database(_file(folder), backlog_max=BACKLOG_MAX)
    return database, EmbeddedCallStore(database, Vault(folder / "vault.key"), deriving)


def roomy() -> str | None:
    """Memory where there is plenty, else the usual folder: filling 5 GB is what takes long."""
    memory = Path("/dev/shm")
    fits = memory.is_dir() and shutil.disk_usage(memory).free > MANY_BYTES
    return str(memory) if fits else None


def bytes_of(folder: Path) -> int:
    """Size of the database file."""
    return _file(folder).stat().st_size


def _file(folder: Path) -> Path:
    return folder / "ocp.sqlite3"


def _in_order(finished: int, pending: int) -> Iterator[tuple[Any, ...]]:
    mould = Mould(finished_call(), DERIVING)
    assert mould.columns.outcome == "stored", "the call of the mould is finished"
    calls = [(n * SPAN_MS // finished, 0, n) for n in range(finished)]
    calls += [(n * SPAN_MS // pending, 1, n) for n in range(pending)]
    for offset_ms, is_open, n in sorted(calls):
        at_ms = T0 + offset_ms
        yield _open_row(n, at_ms) if is_open else mould.row(call_id(f"done{n}", at_ms), at_ms)


def call_id(name: str, at_ms: int) -> str:
    """An id in OCP's form: two hashes around the time of the start."""
    digest = hashlib.blake2b(name.encode(), digest_size=36).hexdigest()
    return f"{digest[:40]}.{at_ms:013}.{digest[40:]}"


# Calls by the real code


def cdrs(ident: str, at_ms: int, **flow: Any) -> list[Event]:
    """CDR Start and End of a call; `flow` are fields of their `flow` object."""
    found = []
    for file in (_START, _END):
        body = msgspec.json.decode((ROOT / "events" / file).read_bytes())
        body |= {"id": ident, "group": ident, "time": at_ms, "flow": {**body["flow"], **flow}}
        event = parse(
            body, msgspec.json.encode(body), VendorMapping(), Context(received_at_ms=at_ms)
        ).event
        assert event is not None, "golden CDRs are of known types"
        found.append(event)
    return found


def _open_row(n: int, at_ms: int) -> tuple[Any, ...]:
    ident = call_id(f"open{n}", at_ms)
    return as_row(fold(ident, cdrs(ident, at_ms)), DERIVING)


def as_row(call: Call, deriving: Deriving) -> tuple[Any, ...]:
    """The row of a call, as the store writes it."""
    derived = derive(call, deriving)
    return call_rows.values(call, derived, call_rows.counted_of(call, derived))


def finished_call(lob: str = "claims", after_ms: int = 30_000, **flow: Any) -> Call:
    """A stored call that began at T0; its recording came `after_ms` after that."""
    ident = call_id("mould", T0)
    steps = recording_steps(ident, lob, after_ms)
    return fold(ident, [*cdrs(ident, T0, **flow), *steps])


def recording_steps(
    ident: str, lob: str, after_ms: int, source: Source = "stream", *,
    sha: str = "", began_ms: int = T0, key: str = "",
) -> list[Event]:  # fmt: skip
    """The way of a recording that came `after_ms` after its call began; "": those of the mould."""
    sha, at_ms, size = sha or hashlib.sha256(b"mould").hexdigest(), began_ms + after_ms, 320_044
    key, bucket = key or f"2026/09/21/{ident}.wav", f"lob-{lob}"
    return [
        events.received(
            ident, ident, sha, at_ms=at_ms, source=source, size_bytes=size,
            landing_key=f"{sha[:2]}/{sha}", name=f"{ident}.wav", container="wav",
        ),
        events.inspected(ident, ident, sha, at_ms=at_ms + 1_000, report=_report()),
        events.validated(
            ident, ident, sha, epoch=0, at_ms=at_ms + 2_000, valid=True, problems=[],
            rules=f"{lob}:1",
        ),
        events.routed(
            ident, ident, sha, at_ms=at_ms + 3_000, lob=lob, bucket=bucket, key=key, rule=lob
        ),
        events.stored(
            ident, ident, sha, at_ms=at_ms + 4_000, lob=lob, bucket=bucket, key=key,
            size_bytes=size,
        ),
    ]  # fmt: skip


@functools.cache
def _report() -> dict[str, Any]:
    """What inspection says of 20 s of noise with pauses in it, 16 bits at 8 kHz."""
    file, noise = io.BytesIO(), random.Random(1)
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        for second in range(20):
            sound.writeframes(bytes(16_000) if second % 4 == 3 else noise.randbytes(16_000))
    parser = AudioParser()
    parser.feed(file.getvalue())
    report: dict[str, Any] = msgspec.to_builtins(parser.finish(expected_bytes=len(file.getvalue())))
    return report


# Calls by the mould


class Mould:
    """Rule 2: a record cut into pieces. An epoch time is a 64-bit integer in msgpack (0xcf)."""

    def __init__(self, call: Call, deriving: Deriving) -> None:
        """`call` began at T0 and needs no more work."""
        self.columns = derive(call, deriving)
        assert self.columns.pend_at is None, "the call of a mould is finished"
        words = {call.call_id: "id"}
        for sha in call.root.versions:
            words |= {sha: "sha", f"{sha[:2]}/": "folder"}
        ids = b"|".join(re.escape(word.encode()) for word in words)
        body = call_rows.ENCODER.encode(call)
        pieces = re.split(b"(" + ids + rb"|\xcf.{8})", body, flags=re.DOTALL)
        self._form = b"%b".join(fixed.replace(b"%", b"%%") for fixed in pieces[::2])
        self._slots = [_slot(slot, words) for slot in pieces[1::2]]
        self._offsets = {slot for slot in self._slots if isinstance(slot, int)}
        self._counted = call_rows.counted_of(call, self.columns)

    def row(self, ident: str, at_ms: int) -> tuple[Any, ...]:
        """The row of such a call that started at `at_ms`."""
        sha = hashlib.sha256(ident.encode()).hexdigest()
        filled: dict[int | str, bytes] = {
            slot: struct.pack(">BQ", 0xCF, at_ms + slot) for slot in self._offsets
        }
        filled |= {"id": ident.encode(), "sha": sha.encode(), "folder": f"{sha[:2]}/".encode()}
        record = self._form % tuple([filled[slot] for slot in self._slots])
        own = self.columns
        return (
            ident, own.ocp_group, own.lob, own.stage, own.outcome, at_ms, None,
            "\n".join(own.problems), self._counted, record,
        )  # fmt: skip


def _slot(slot: bytes, words: dict[str, str]) -> int | str:
    """What stands there: "id", "sha", "folder", or how long after the start in milliseconds."""
    if (text := slot.decode("latin-1")) in words:
        return words[text]
    offset_ms = int.from_bytes(slot[1:], "big") - T0
    assert abs(offset_ms) < 90 * DAY_MS, "all times of the mould are of one call"
    return offset_ms


# What the writer keeps beside the rows


def _sum_up(connection: apsw.Connection) -> None:
    """Rule 5."""
    sums: Counter[tuple[str, str, str]] = Counter()
    sql = f"SELECT started_at / {DAY_MS}, lob, counted, count(*) FROM call GROUP BY 1, 2, 3"
    for day, lob, counted, number in connection.execute(sql):
        for term in call_rows.terms_of(counted):
            sums[day_of(day * DAY_MS), lob, term] += number
    connection.executemany(call_rows.ADD_COUNT, ((*key, number) for key, number in sums.items()))
    sql = "SELECT problems, outcome, stage, lob, ocp_group, started_at, call_id FROM call"
    found: list[tuple[Any, ...]] = connection.execute(f"{sql} WHERE problems != ''").fetchall()
    codes = ((code, *place) for text, *place in found for code in text.split("\n"))
    connection.executemany(call_rows.PUT_PROBLEM, sorted(codes))


def check(connection: apsw.Connection, deriving: Deriving, calls: int, pending: int) -> None:
    """Rule 4."""
    is_open = "WHERE pend_at IS NOT NULL"
    step = max(1, calls // CHECKED)
    asked = (is_open, f"WHERE rowid % {step} = 0 AND pend_at IS NULL")
    found: list[list[tuple[Any, ...]]] = [
        connection.execute(f"SELECT call_id FROM call {where}").fetchall() for where in asked
    ]
    total = connection.execute("SELECT count(*) FROM call").get
    if (total, len(found[0])) != (calls, pending):
        raise RuntimeError(f"{total} rows and {len(found[0])} open ones are not what was asked for")
    for (ident,) in (*found[0], *found[1]):
        held = call_rows.held(connection, ident)
        call = None if held is None else call_rows.readable(held)
        if held is None or call is None or call.call_id != ident:
            raise RuntimeError(f"the record of call {ident} can't be read")
        derived = derive(call, deriving)
        if derived != held.row or held.counted != call_rows.counted_of(call, derived):
            raise RuntimeError(f"the row of call {ident} is not what the store would write")
