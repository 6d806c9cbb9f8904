"""Fuzzes every reader of others' bytes for so many seconds; exits 1 on a finding.

    python tools/fuzz.py --seconds 60 [--target audio] [--seed 1] [--keep] [--json]
    python tools/fuzz.py --atheris --target audio --seconds 60

Without more than the lock file: seeded mutations over seeds and kept corpus (tests/fuzz/corpus),
guided by behaviour: an input that a reader answers with a new word is mutated further, and kept in
the corpus with --keep. With --atheris: guided by coverage, where atheris is installed (it is not in
the lock file: `pip install --target build/atheris atheris==3.0.0`, PYTHONPATH=build/atheris).

A finding is written to build/fuzz/<target>-<hash>; `python tools/fuzz.py --target T --repeat FILE`
repeats it. No input may take longer than INPUT_S_MAX, nor more memory than INPUT_BYTES_MAX: what
does is a finding. Seconds to fuzz are processor time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

if "--atheris" in sys.argv:
    import atheris  # type: ignore[import-untyped]  # an option: not in the lock file

    # Only what is instrumented while it is imported is seen by libFuzzer; all of it takes minutes.
    with atheris.instrument_imports(
        include=["ocp_ingest.core", "ocp_ingest.entrypoints.api", "ocp_ingest.adapters.ocp",
                 "multipart", "zipfile"],
    ):  # fmt: skip
        from tests.fuzz.targets import TARGETS
else:
    from tests.fuzz.targets import TARGETS

from ocp_ingest.telemetry import set_up_logs  # noqa: E402 - the path comes first
from tests.fuzz import mutate, seeds  # noqa: E402
from tools import ledger  # noqa: E402

CORPUS = ROOT / "tests" / "fuzz" / "corpus"
FINDINGS = ROOT / "build" / "fuzz"
LEDGER = ROOT / "docs" / "fuzz-runs.jsonl"
INPUT_S_MAX = 5.0  # of processor time; the slowest input takes 0.1 s
WAIT_TIMES = 20  # a machine under load lets us wait; a reader that waits for nothing is a hang too
FIRST_S_MAX = 60.0  # of the first one, with all that is built once
# What an input may make the process allocate: a hundred times what the largest one needs.
INPUT_BYTES_MAX = 256 << 20
KEPT_BYTES_MAX = 2_048  # of one kept input
KEPT_PER_TARGET_MAX = (
    40  # inputs kept of one target: the corpus stays small enough for a repository
)
FINDINGS_MAX = 10  # of one target; it is mended before more are looked for
MEMORY_MAX = 2_000  # inputs of one target that are mutated further


class Hang(Exception):
    """An input took longer than INPUT_S_MAX."""


@dataclass
class Fuzzed:
    """What became of one target."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    words: int = 0
    slowest_ms: float = 0.0
    findings: list[str] = field(default_factory=list)


def corpus(target: str) -> list[bytes]:
    """Seeds and kept inputs, in an order that does not depend on the disk."""
    return [*seeds.of(target), *(path.read_bytes() for path in kept(target))]


def kept(target: str) -> list[Path]:
    """The kept inputs of a target."""
    return sorted((CORPUS / target).glob("*.bin"))


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Ends what takes more processor time, or waits WAIT_TIMES as long, in the main thread."""

    def ring(_: int, __: FrameType | None) -> None:
        raise Hang(f"an input took longer than {seconds:g} s")

    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, seconds),
        (signal.ITIMER_REAL, signal.SIGALRM, seconds * WAIT_TIMES),
    )
    before = [signal.signal(number, ring) for _, number, _ in timers]
    for timer, _, length_s in timers:
        signal.setitimer(timer, length_s)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for (_, number, _), held in zip(timers, before, strict=True):
            signal.signal(number, held)


@contextmanager
def memory(more_bytes: int) -> Iterator[None]:
    """Lets the process have so much more, then MemoryError; Linux only, elsewhere no bound."""
    status = Path("/proc/self/status")
    if not status.exists():
        yield
        return
    held = int(re.findall(r"VmData:\s+(\d+) kB", status.read_text())[0]) * 1024
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held + more_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def fuzz(
    target: str, seconds: float, seed: int, *, keep: bool = False,
    run: Callable[[bytes], str] | None = None, input_s_max: float = INPUT_S_MAX,
) -> Fuzzed:  # fmt: skip
    """Mutates inputs of a target until its time is over; the same seed makes the same inputs.

    `run` takes the place of the target's function.
    """
    with memory(INPUT_BYTES_MAX):
        return _fuzz(target, seconds, seed, keep, run, input_s_max)


def _fuzz(
    target: str, seconds: float, seed: int, keep: bool, run: Callable[[bytes], str] | None,
    input_s_max: float,
) -> Fuzzed:  # fmt: skip
    run, rng = run or TARGETS[target], Random(f"{target}:{seed}")
    pool, known, done = corpus(target), set[str](), Fuzzed(target)
    with alarm(FIRST_S_MAX):
        run(pool[0])  # what is built once is no input's time
    began = time.process_time()
    todo: Iterator[bytes] = iter(list(pool))
    while (elapsed := time.process_time() - began) < seconds or not done.inputs:
        if len(done.findings) >= FINDINGS_MAX:
            break
        data = next(todo, None)
        fresh = data is None
        if data is None:
            data = mutate.mutated(rng, pool, mutate.WORDS[target])
        word = _one(done, run, data, input_s_max)
        if word in known or word is None:
            continue
        known.add(word)
        if fresh and len(pool) < MEMORY_MAX:
            pool.append(data)
            if keep:
                _keep(target, data, run, word)
    done.seconds, done.words = round(elapsed, 2), len(known)
    return done


def _one(
    done: Fuzzed, run: Callable[[bytes], str], data: bytes, input_s_max: float
) -> str | None:  # fmt: skip
    done.inputs += 1
    began = time.process_time()
    try:
        with alarm(input_s_max):
            return run(data)
    except Exception:
        done.findings.append(_found(done.target, data, traceback.format_exc(limit=-6)))
        return None
    finally:
        done.slowest_ms = max(done.slowest_ms, round((time.process_time() - began) * 1000, 1))


def _found(target: str, data: bytes, trace: str) -> str:
    FINDINGS.mkdir(parents=True, exist_ok=True)
    path = FINDINGS / f"{target}-{hashlib.sha256(data).hexdigest()[:16]}.bin"
    path.write_bytes(data)
    print(f"{path}:\n{trace}", file=sys.stderr)
    return str(path.relative_to(ROOT))


def _keep(target: str, data: bytes, run: Callable[[bytes], str], word: str) -> None:
    shorter = _shortened(data, run, word)
    if len(shorter) <= KEPT_BYTES_MAX and len(kept(target)) < KEPT_PER_TARGET_MAX:
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        path = CORPUS / target / f"{hashlib.sha256(shorter).hexdigest()[:16]}.bin"
        path.write_bytes(shorter)


def _shortened(data: bytes, run: Callable[[bytes], str], word: str) -> bytes:
    """Drops pieces as long as the word stays the same."""
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data):
            less = data[:at] + data[at + size :]
            if run(less) == word:
                data = less
            else:
                at += size
        size //= 4
    return data


def with_atheris(target: str, seconds: float) -> None:
    """Hands over to libFuzzer, which ends the process itself: 0 without a finding."""
    folder = ROOT / "build" / "fuzz" / f"{target}-corpus"
    folder.mkdir(parents=True, exist_ok=True)
    for data in corpus(target):
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    run = TARGETS[target]

    def one(data: bytes) -> None:
        run(data)

    FINDINGS.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={int(seconds)}", f"-max_len={mutate.BYTES_MAX}", "-rss_limit_mb=1024",
        f"-timeout={int(INPUT_S_MAX)}", f"-artifact_prefix={FINDINGS}/{target}-", str(folder),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


def main() -> int:
    """See the module's text."""
    asked = argparse.ArgumentParser(description="fuzzes every reader of others' bytes")
    asked.add_argument("--seconds", type=float, default=60.0, help="in all, shared by the targets")
    asked.add_argument("--target", choices=TARGETS, action="append")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--keep", action="store_true", help="new behaviours go to the corpus")
    asked.add_argument("--json", action="store_true")
    asked.add_argument("--atheris", action="store_true", help="guided by coverage; one target")
    asked.add_argument("--note", action="store_true", help=f"add a line to docs/{LEDGER.name}")
    asked.add_argument("--repeat", type=Path, help="one file through one target")
    said = asked.parse_args()
    set_up_logs("json", "critical")
    targets = said.target or list(TARGETS)
    if said.repeat:
        print(TARGETS[targets[0]](said.repeat.read_bytes()))
        return 0
    if said.atheris:
        with_atheris(targets[0], said.seconds)
        return 0
    each = said.seconds / len(targets)
    done = [fuzz(target, each, said.seed, keep=said.keep) for target in targets]
    for one in done:
        if said.json:
            print(json.dumps(asdict(one)))
        else:
            print(
                f"{one.target:10} {one.inputs:8,} inputs  {one.words:5} behaviours  "
                f"slowest {one.slowest_ms:7.1f} ms  {len(one.findings)} findings"
            )
    if said.note:
        ledger.note(LEDGER, f"python tools/fuzz.py --seconds {said.seconds:g} --seed {said.seed}", {
            "inputs": {one.target: one.inputs for one in done},
            "findings": sum(len(one.findings) for one in done),
            "slowest_ms": max(one.slowest_ms for one in done),
        })  # fmt: skip
    return int(any(one.findings for one in done))


if __name__ == "__main__":
    sys.exit(main())
