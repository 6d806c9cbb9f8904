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

Only the table `call` is filled: no journal and no look-ups, which detection does not read.
"""

import hashlib
import io
import random
import re
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from bench.harness import ROOT
from ocp_ingest.adapters.embedded import call_store
from ocp_ingest.adapters.embedded.call_store import EmbeddedCallStore
from ocp_ingest.adapters.embedded.database import Database
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import Row, derive
from ocp_ingest.core import events
from ocp_ingest.core.audio import AudioParser
from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.vendor import Context, VendorMapping, parse

T0: Final = 1_790_000_000_000 // DAY_MS * DAY_MS
SPAN_MS: Final = 30 * DAY_MS  # a million calls are a month's
NOW: Final = T0 + SPAN_MS + DAY_MS  # all open calls are due, none is past OCP's retention
POLICY: Final = CallPolicy()
BACKLOG_MAX: Final = 20_000
CHECKED: Final = 500  # finished calls read back and derived anew
FILL_CACHE_KIB: Final = 1024 * 1024  # holds all indexes: few pages are written twice

_START: Final = "dialog_start_root.json"
_END: Final = "dialog_end_normal.json"
_DECODER: Final = msgspec.msgpack.Decoder(Call)
_ENCODER: Final = msgspec.msgpack.Encoder()


def fill(folder: Path, *, finished: int, pending: int) -> None:
    """Makes a store in an empty folder; 1,000,000 calls take about 3 GB and a minute."""
    database, _ = open_store(folder)
    database.close()
    connection = apsw.Connection(str(_file(folder)))
    connection.pragma("journal_mode", "OFF")
    connection.pragma("synchronous", "OFF")
    connection.pragma("cache_size", -FILL_CACHE_KIB)
    with connection:
        connection.executemany(call_store._PUT, _in_order(finished, pending))
    _check(connection, finished, pending)
    connection.pragma("journal_mode", "WAL")
    connection.close()


def open_store(folder: Path) -> tuple[Database, EmbeddedCallStore]:
    """The store in a folder, as a server opens it."""
    database = Database(_file(folder), backlog_max=BACKLOG_MAX)
    return database, EmbeddedCallStore(database, Vault(folder / "vault.key"), POLICY)


def bytes_of(folder: Path) -> int:
    """Size of the database file."""
    return _file(folder).stat().st_size


def _file(folder: Path) -> Path:
    return folder / "ocp.sqlite3"


def _in_order(finished: int, pending: int) -> Iterator[tuple[Any, ...]]:
    mould = _Mould()
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


def _cdrs(name: str, at_ms: int) -> list[Event]:
    found = []
    for file in (_START, _END):
        body = msgspec.json.decode((ROOT / "events" / file).read_bytes())
        body |= {"id": call_id(name, at_ms), "group": call_id(name, at_ms), "time": at_ms}
        event = parse(
            body, msgspec.json.encode(body), VendorMapping(), Context(received_at_ms=at_ms)
        ).event
        assert event is not None, "golden CDRs are of known types"
        found.append(event)
    return found


def _open_row(n: int, at_ms: int) -> tuple[Any, ...]:
    ident = call_id(f"open{n}", at_ms)
    return _as_row(fold(ident, _cdrs(f"open{n}", at_ms)))


def _as_row(call: Call) -> tuple[Any, ...]:
    columns = msgspec.structs.astuple(derive(call, POLICY))
    return (call.call_id, *columns, _ENCODER.encode(call))


def _finished_call(at_ms: int) -> Call:
    ident, sha = call_id("mould", at_ms), hashlib.sha256(b"mould").hexdigest()
    file, lob, size = f"{ident}.wav", "claims", 320_044
    key = f"2026/09/21/{ident}.wav"
    steps = [
        events.received(
            ident, ident, sha, at_ms=at_ms + 30_000, source="stream", size_bytes=size,
            landing_key=f"{sha[:2]}/{sha}", name=file, container="wav",
        ),
        events.inspected(ident, ident, sha, at_ms=at_ms + 31_000, report=_report()),
        events.validated(
            ident, ident, sha, epoch=0, at_ms=at_ms + 32_000, valid=True, problems=[],
            rules="claims:1",
        ),
        events.routed(
            ident, ident, sha, at_ms=at_ms + 33_000, lob=lob, bucket="lob-claims", key=key,
            rule="claims",
        ),
        events.stored(
            ident, ident, sha, at_ms=at_ms + 34_000, lob=lob, bucket="lob-claims", key=key,
            size_bytes=size,
        ),
    ]  # fmt: skip
    return fold(ident, [*_cdrs("mould", at_ms), *steps])


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


class _Mould:
    """Rule 2: a record cut into pieces. An epoch time is a 64-bit integer in msgpack (0xcf)."""

    def __init__(self) -> None:
        call = _finished_call(T0)
        self._columns = derive(call, POLICY)
        assert self._columns.outcome == "stored", "the call of the mould is finished"
        sha = next(iter(call.root.versions))
        ids = b"|".join(re.escape(text.encode()) for text in (call.call_id, sha, sha[:2] + "/"))
        pieces = re.split(b"(" + ids + rb"|\xcf.{8})", _ENCODER.encode(call), flags=re.DOTALL)
        self._form = b"%b".join(fixed.replace(b"%", b"%%") for fixed in pieces[::2])
        self._slots = [_slot(slot, call.call_id, sha) for slot in pieces[1::2]]
        self._offsets = {slot for slot in self._slots if isinstance(slot, int)}

    def row(self, ident: str, at_ms: int) -> tuple[Any, ...]:
        """The row of a finished call that started at `at_ms`."""
        sha = hashlib.sha256(ident.encode()).hexdigest()
        filled: dict[int | str, bytes] = {
            slot: struct.pack(">BQ", 0xCF, at_ms + slot) for slot in self._offsets
        }
        filled |= {"id": ident.encode(), "sha": sha.encode(), "folder": f"{sha[:2]}/".encode()}
        record = self._form % tuple([filled[slot] for slot in self._slots])
        own = self._columns
        return (ident, own.ocp_group, own.lob, own.stage, own.outcome, at_ms, None, record)


def _slot(slot: bytes, ident: str, sha: str) -> int | str:
    """What stands there: "id", "sha", "folder", or how long after the start in milliseconds."""
    words = {ident: "id", sha: "sha", f"{sha[:2]}/": "folder"}
    if (text := slot.decode("latin-1")) in words:
        return words[text]
    offset_ms = int.from_bytes(slot[1:], "big") - T0
    assert abs(offset_ms) < HOUR_MS, "all times of the mould are of one call"
    return offset_ms


def _check(connection: apsw.Connection, finished: int, pending: int) -> None:
    """Rule 4."""
    sql = "SELECT call_id, ocp_group, lob, stage, outcome, started_at, pend_at, record FROM call "
    is_open = "WHERE pend_at IS NOT NULL"
    step = max(1, (finished + pending) // CHECKED)
    asked = (sql + is_open, f"{sql} WHERE rowid % {step} = 0 AND pend_at IS NULL")
    found: list[list[Any]] = [connection.execute(each).fetchall() for each in asked]
    total = connection.execute("SELECT count(*) FROM call").get
    if (total, len(found[0])) != (finished + pending, pending):
        raise RuntimeError(f"{total} rows and {len(found[0])} open ones are not what was asked for")
    for ident, *columns, record in (*found[0], *found[1]):
        call = _DECODER.decode(record)
        if call.call_id != ident or derive(call, POLICY) != Row(*columns):
            raise RuntimeError(f"the row of call {ident} is not what the store would write")
