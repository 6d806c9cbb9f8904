"""Post-processing's checks of an hour's recording, beside what only reads or decodes it; METHOD."""

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bench.harness import (
    ROOT,
    Child,
    Pair,
    Section,
    Spread,
    alternate,
    children_on,
    last_cpu,
    python,
)
from bench.servers import needed
from ocp_ingest.adapters.embedded.recording_store import EmbeddedRecordingStore
from ocp_ingest.core.audio import AudioParser
from ocp_ingest.core.limits import BLOCK_BYTES
from ocp_ingest.core.settings import LANDING

METHOD: Final = """
An hour of telephone speech (packaged clips of real voices, in turns, over line noise, 8 kHz) lies
in the landing store on the local disk, in the system's page cache. *Ours* is what the worker does
with it in the step `inspect`: every block read back through the recording store and its thread,
SHA-256, container, codec, every chunk or frame, text conversions, silence per channel, dead tails,
held values, holes; then the report as it is journalled. The peers are `cat file | sha256sum` (GNU
coreutils), which only reads and hashes, and for MP3 `ffmpeg -i file -f null -`, which decodes.
*SHA-256 alone* is the same file through OpenSSL in our own process: what is left over it are the
checks. Processor time (user and system, all threads and processes) on the same processor, medians
of runs in turn; for the programs their start is in it.
"""

RUNS: Final = 5
MINUTES: Final = 60
RATE_HZ: Final = 8_000
OF_HASH_MIN: Final = 0.5
OF_DECODER_MIN: Final = 10.0
# To be raised when the recordings below change.
_MADE: Final = 1


class Kind(NamedTuple):
    """A recording of the simulator, and what we are measured against."""

    what: str
    codec: str
    channels: int


KINDS: Final = (
    Kind("WAV, PCM16, 1 channel", "pcm16", 1),
    Kind("WAV, PCM16, 2 channels", "pcm16", 2),
    Kind("WAV, A-law, 1 channel", "alaw", 1),
    Kind("WAV, µ-law, 2 channels", "mulaw", 2),
    Kind("MP3, 1 channel", "mp3", 1),
    Kind("MP3, 2 channels", "mp3", 2),
)


def run() -> Section:
    """Measures each kind beside its peers."""
    rows: list[tuple[str, ...]] = []
    findings: list[str] = []
    for kind in KINDS:
        path = recording(kind)
        with _worker(path) as worker:
            _beside_hash(kind, path, worker, rows, findings)
            if kind.codec == "mp3":
                _beside_decoder(kind, path, worker, rows, findings)
    return Section(
        title="The checks of post-processing",
        method=METHOD,
        columns=("recording", "MB", "peer", "peer, MB/s", "ours, MB/s", "ours / peer"),
        rows=tuple(rows),
        findings=tuple(findings),
        libraries=("msgspec",),
    )


Run = Callable[[], float]


def _beside_hash(
    kind: Kind, path: Path, worker: "Worker", rows: list[tuple[str, ...]], findings: list[str]
) -> None:
    command = ("sh", "-c", f"cat '{path}' | sha256sum")
    pair = _in_turn(path, lambda: _program_s(*command), worker.checks_s)
    rows.append(_row(kind, path, "`cat \\| sha256sum`", pair))
    if kind.codec != "mp3":
        findings.append(_verdict(kind, pair, OF_HASH_MIN, "`cat | sha256sum`"))
    rows.append(_row(kind, path, "SHA-256 alone", _in_turn(path, worker.hash_s, worker.checks_s)))


def _beside_decoder(
    kind: Kind, path: Path, worker: "Worker", rows: list[tuple[str, ...]], findings: list[str]
) -> None:
    try:
        ffmpeg = needed("ffmpeg", "ffmpeg")
    except SystemExit as absent:
        findings.append(f"{kind.what}: not held against ffmpeg. {absent}")
        return
    command = (ffmpeg, "-v", "error", "-i", str(path), "-f", "null", "-")
    pair = _in_turn(path, lambda: _program_s(*command), worker.checks_s)
    rows.append(_row(kind, path, "`ffmpeg -f null`", pair))
    findings.append(_verdict(kind, pair, OF_DECODER_MIN, "ffmpeg"))


def _in_turn(path: Path, peer_s: Run, ours_s: Run) -> Pair:
    megabytes = path.stat().st_size / 1e6
    return alternate(lambda: megabytes / peer_s(), lambda: megabytes / ours_s(), runs=RUNS)


def _row(kind: Kind, path: Path, peer: str, pair: Pair) -> tuple[str, ...]:
    def cell(spread: Spread) -> str:
        return spread.text(0)

    size = f"{path.stat().st_size / 1e6:.1f}"
    return (kind.what, size, peer, cell(pair.a), cell(pair.b), pair.ratio.text(2))


def _verdict(kind: Kind, pair: Pair, least: float, peer: str) -> str:
    met = "met" if pair.ratio.median >= least else "MISSED"
    ratio = pair.ratio.median
    return f"{kind.what}: {ratio:.2f} times {peer}, target at least {least:g}: {met}"


# -- the recordings -------------------------------------------------------------------------------


def recording(kind: Kind) -> Path:
    """An hour of a kind, made once by the simulator in a process of its own."""
    path = ROOT / "build" / "bench" / f"audio-{_MADE}" / f"{kind.codec}-{kind.channels}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        making = path.with_name(f"making-{path.name}")
        subprocess.run(
            python("-m", "bench.audio", "make", kind.codec, str(kind.channels), str(making)),
            cwd=ROOT, check=True,
        )  # fmt: skip
        making.rename(path)
    return path


def _make(codec: str, channels: str, path: str) -> None:
    from ocp_sim.audio import AudioSpec, load_voices, render

    spec = AudioSpec(codec, int(channels), RATE_HZ, MINUTES * 60_000, ())
    Path(path).write_bytes(render(spec, 1, load_voices(None)))


# -- the peers ------------------------------------------------------------------------------------


def _program_s(*command: str) -> float:
    """Processor seconds of a program and all that it starts. Raises CalledProcessError."""
    before, cpu = _children_s(), last_cpu()
    with children_on(cpu):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return _children_s() - before


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# -- ours, in the child ---------------------------------------------------------------------------


class Worker:
    """A process that does what it is told to, a line each, and says how long it took."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def checks_s(self) -> float:
        """Processor seconds of all checks."""
        return self._ask("checks")

    def hash_s(self) -> float:
        """Processor seconds of reading and SHA-256 alone."""
        return self._ask("hash")

    def _ask(self, what: str) -> float:
        asked, said = self._child.process.stdin, self._child.process.stdout
        assert asked is not None
        assert said is not None
        print(what, file=asked, flush=True)
        return float(said.readline())


@contextmanager
def _worker(path: Path) -> Iterator[Worker]:
    with Child(*python("-m", "bench.audio", "work", str(path))) as child:
        yield Worker(child)


def _work(path: str) -> None:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        store = EmbeddedRecordingStore(Path(folder))
        key = runner.run(_landed(store, Path(path)))
        for line in sys.stdin:
            work = {"checks": _checks, "hash": _hash}[line.strip()]
            began_s = time.process_time()
            runner.run(work(store, key))
            print(time.process_time() - began_s, flush=True)
        store.close()


async def _landed(store: EmbeddedRecordingStore, path: Path) -> str:
    upload = await store.begin()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            await upload.write(block)
    return (await upload.commit()).key


async def _checks(store: EmbeddedRecordingStore, key: str) -> None:
    parser = AudioParser()
    await store.scan(LANDING, key, parser.feed)
    report = parser.finish()
    msgspec.to_builtins(report)
    assert abs((report.duration_ms or 0) - MINUTES * 60_000) < 1000, "it is an hour long"
    assert not report.problems, report.problems


async def _hash(store: EmbeddedRecordingStore, key: str) -> None:
    await store.hash(LANDING, key)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        _make(*sys.argv[2:])
    else:
        _work(*sys.argv[2:])
