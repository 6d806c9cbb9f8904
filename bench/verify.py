"""What it costs to seal the journals, to verify everything, and to certify a day; see METHOD."""

import asyncio
import dataclasses
import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import filled
from bench.filled import call_id, cdrs, recording_steps
from bench.harness import MIB, Child, Section, python
from ocp_ingest import bootstrap
from ocp_ingest import config as config_reader
from ocp_ingest.adapters.embedded.database import Database
from ocp_ingest.adapters.embedded.file_system import FileSystem
from ocp_ingest.adapters.embedded.recording_store import EmbeddedRecordingStore
from ocp_ingest.adapters.memory.clock import ManualClock
from ocp_ingest.config_model import Config
from ocp_ingest.core.calendar import day as day_of
from ocp_ingest.core.calendar import day_path
from ocp_ingest.core.events import Event
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.evidence import sealer, verify
from ocp_ingest.evidence.certificate import Certificate, certificate
from ocp_ingest.evidence.world import Evidence
from ocp_ingest.telemetry import set_up_logs

METHOD: Final = """
The evidence of an embedded store, among 10,000 calls of one day and among 100,000: each call has
its two CDRs, the five steps of its recording (seven events, raw CDRs encrypted), and two objects on
disk, audio and metadata. *Seal*: every event is linked into its call's chain, from the journal, as
after a long stop; then the day is closed with its tree and its signature. *Verify* is
`ocp-ingest verify`: every event against its link, every chain, record, column and counter, every
object read back and hashed, every leaf, in both directions. *Certificate* is `ocp-ingest report
completeness` with its files. Audio is 4 KiB a call, so that the evidence's own work is measured,
not the hashing of audio. Times are processor time of the measuring process (user and system, all
threads), one run each; the files are in the system's page cache.
"""

FEW: Final = 10_000
MANY: Final = 100_000
AUDIO: Final = bytes(range(256)) * 16
BATCH: Final = 500  # calls filled in one commit
T0: Final = filled.T0
TODAY: Final = day_of(T0)


class Measured(msgspec.Struct, frozen=True):
    """One store; seconds are processor time."""

    calls: int
    links: int
    seal_s: float
    close_s: float
    verify_s: float
    fast_s: float
    certificate_s: float
    findings: dict[str, int]


def run() -> Section:
    """Fills both stores, each in a child of its own, and measures."""
    found = [_measured(size) for size in (FEW, MANY)]
    (few, few_rss), (many, many_rss) = found
    if any(set(one.findings) != {"ok"} for one, _ in found):
        raise RuntimeError(f"a store that nobody touched is not good: {found}")
    rows = [_row(name, unit, value, few, many) for name, unit, value in VALUES]
    rows.append((
        "peak memory while verifying and certifying",
        *(f"{rss // MIB} MiB" for _, rss in found), f"{many_rss / few_rss:.2f}",
    ))  # fmt: skip
    return Section(
        title="Evidence: sealing, verifying, certifying",
        method=METHOD,
        columns=("what", f"{FEW:,} calls", f"{MANY:,} calls", "ratio"),
        rows=tuple(rows),
        libraries=("apsw", "cryptography", "msgspec"),
    )


Value = Callable[[Measured], float]
VALUES: Final[tuple[tuple[str, str, Value], ...]] = (
    ("seal, of one event", "µs", lambda m: m.seal_s / m.links * 1e6),
    ("close the day, of one call", "µs", lambda m: m.close_s / m.calls * 1e6),
    ("verify, of one call", "µs", lambda m: m.verify_s / m.calls * 1e6),
    ("verify --fast, of one call", "µs", lambda m: m.fast_s / m.calls * 1e6),
    ("certificate, of one call", "µs", lambda m: m.certificate_s / m.calls * 1e6),
    ("verify, calls a second of one processor", "", lambda m: m.calls / m.verify_s),
    ("seal, events a second of one processor", "", lambda m: m.links / m.seal_s),
)


def _row(name: str, unit: str, value: Value, few: Measured, many: Measured) -> tuple[str, ...]:
    cells = (f"{value(one):,.0f} {unit}".strip() for one in (few, many))
    return (name, *cells, f"{value(many) / value(few):.2f}")


def _measured(size: int) -> tuple[Measured, int]:
    """One store, and the peak memory of verifying it; filled and sealed in another process."""
    with tempfile.TemporaryDirectory(prefix="bench-verify-", dir=filled.roomy()) as folder:
        seconds: dict[str, Any] = {}
        for part in ("seal", "verify"):
            with Child(*python("-m", "bench.verify", part, folder, str(size))) as child:
                seconds |= msgspec.json.decode(child.result(), type=dict[str, Any])
        return msgspec.convert(seconds, Measured), child.peak_rss


# -- a store with everything ----------------------------------------------------------------------


class _Unsynced(Database):
    synchronous = "OFF"  # filling is not what is measured


class _Unsafe(FileSystem):
    def fsync(self, descriptor: int) -> None:
        pass

    def fsync_folder(self, path: Path) -> None:
        pass


def config_of(folder: Path) -> Config:
    """The configuration of a filled store; its clock stands a day behind the calls."""
    return config_reader.parse({
        "data": {"dir": str(folder), "free_bytes_min": 1},
        "clock": {"origin_ms": T0 + 2 * DAY_MS, "scale": 1.0, "real_origin_s": time.time()},
        "routing": [{"lob": "one", "when": {"ocp_group": "one-*"}}],
        "lob": {"one": {}},
        "evidence": {"issuer": "bench.example"},
    })  # fmt: skip


async def fill(folder: Path, size: int) -> None:
    """Puts the calls in, by the store's own ways, without fsync."""
    bootstrap.embedded(config_of(folder)).close()  # makes keys and tables
    runtime = bootstrap.embedded(config_of(folder))
    calls = runtime.world.calls
    database = _Unsynced(folder / bootstrap.DATABASE_FILE, backlog_max=20_000)
    objects = EmbeddedRecordingStore(folder / "recordings", files=_Unsafe())
    calls._database = database  # type: ignore[attr-defined]  # the embedded store's
    for first in range(0, size, BATCH):
        made = [_call(n, size) for n in range(first, min(size, first + BATCH))]
        await calls.append([event for events, _ in made for event in events])
        await asyncio.gather(*(
            objects.put_once("lob-one", key, body) for _, held in made for key, body in held.items()
        ))  # fmt: skip
    objects.close()
    database.close()
    runtime.close()


def _call(n: int, size: int) -> tuple[list[Event], dict[str, bytes]]:
    """A stored call: its journal, and its objects by key."""
    at_ms = T0 + n * (20 * HOUR_MS) // size
    ident = call_id(f"verify{n}", at_ms)
    audio = n.to_bytes(8, "big") + AUDIO
    metadata = msgspec.json.encode({"call_id": ident, "n": n})
    key = f"{day_path(at_ms)}/{ident}/{ident}.wav"
    steps = list(_steps(ident, audio, metadata, key, at_ms))
    return [*cdrs(ident, at_ms, ocp_group_name="one-eu"), *steps], {
        key: audio, f"{key}.json": metadata,
    }  # fmt: skip


def _steps(ident: str, audio: bytes, metadata: bytes, key: str, at_ms: int) -> Iterator[Event]:
    """The steps of `filled`, of these bytes."""
    sha = hashlib.sha256(audio).hexdigest()
    for step in recording_steps(ident, "one", MINUTE_MS, sha=sha, began_ms=at_ms, key=key):
        if step.kind == "stored":
            beside = hashlib.sha256(metadata).hexdigest()
            data = {**step.data, "bytes": len(audio), "metadata_sha256": beside}
            yield msgspec.structs.replace(step, data=data)
        else:
            yield step


# -- in the children ------------------------------------------------------------------------------


def _evidence(runtime: bootstrap.Embedded, *, days_on: int) -> Evidence:
    clock = ManualClock(T0 + 12 * HOUR_MS + days_on * DAY_MS)
    return dataclasses.replace(runtime.evidence, real=clock)


async def seal_all(folder: Path, size: int) -> dict[str, Any]:
    """Fills, links everything, closes the day."""
    await fill(folder, size)
    runtime = bootstrap.embedded(config_of(folder))
    began_s = time.process_time()
    links = await sealer.seal(_evidence(runtime, days_on=0))
    sealed_s = time.process_time()
    assert await sealer.close_days(_evidence(runtime, days_on=1)) == [TODAY]
    closed_s = time.process_time()
    runtime.close()
    return {
        "calls": size, "links": links, "seal_s": sealed_s - began_s, "close_s": closed_s - sealed_s,
    }  # fmt: skip


async def verify_all(folder: Path) -> dict[str, Any]:
    """Verifies everything, by bytes and by noted hash, and certifies the day."""
    runtime = bootstrap.embedded(config_of(folder))
    evidence = _evidence(runtime, days_on=1)
    found: Counter[str] = Counter()
    began_s = time.process_time()
    async for finding in verify.everything(evidence):
        found[finding.kind] += 1
    verified_s = time.process_time()
    async for finding in verify.everything(evidence, fast=True):
        found[finding.kind] += 1
    fast_s = time.process_time()
    made: list[Certificate] = []
    async for file in certificate(evidence, TODAY, None, made):
        async for _ in file.body:
            continue
    certified_s = time.process_time()
    runtime.close()
    assert made[0].figures["total"]["law_holds"], made[0].figures
    return {
        "verify_s": verified_s - began_s, "fast_s": fast_s - verified_s,
        "certificate_s": certified_s - fast_s, "findings": dict(found),
    }  # fmt: skip


def main(part: str, folder: str, size: str) -> None:
    """What a child does."""
    set_up_logs("json", "error")
    work = seal_all(Path(folder), int(size)) if part == "seal" else verify_all(Path(folder))
    sys.stdout.write(msgspec.json.encode(asyncio.run(work)).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
