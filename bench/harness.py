"""What every measurement needs: how often, beside what, on which machine, and how to say it.

Rules
1. A number is the median of several runs, with the lowest and the highest beside it.
2. Peers are compared within one run, in alternating order (A B, B A, …), as the ratio of each
   pair: the machine's mood of the minute is in both halves and leaves the ratio.
3. What is measured runs in a child process of its own, pinned to a processor, so that neither
   what the parent built before nor the scheduler is in the number. Its memory is sampled from
   /proc by the parent, on another processor.
4. A child is ended by its own id, and always.
"""

import contextlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

import msgspec

ROOT: Final = Path(__file__).resolve().parent.parent
MIB: Final = 1024 * 1024
RSS_EVERY_S: Final = 0.05  # often enough for peaks of a tenth of a second, and costs nothing
CHILD_STOP_S_MAX: Final = 10.0  # then it is killed

Cells = tuple[str, ...]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement, ready to be printed.

    `method` says in markdown what is measured beside what; `findings` are sentences about the
    table; `libraries` are the distributions whose versions matter.
    """

    title: str
    method: str
    columns: Cells
    rows: tuple[Cells, ...]
    findings: Cells = ()
    libraries: Cells = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"every row of {self.title!r} needs {len(self.columns)} cells")

    def markdown(self) -> str:
        """Heading, method, table, findings."""
        table = [
            _row(self.columns),
            "|" + "---|" * len(self.columns),
            *map(_row, self.rows),
        ]
        findings = "\n".join(f"- {finding}" for finding in self.findings)
        parts = (f"## {self.title}", self.method.strip(), "\n".join(table), findings)
        return "\n\n".join(part for part in parts if part) + "\n"


def _row(cells: Cells) -> str:
    return "| " + " | ".join(cells) + " |"


# Measuring


class Spread(NamedTuple):
    """Several runs of the same thing."""

    median: float
    low: float
    high: float
    runs: int

    def text(self, digits: int = 1) -> str:
        """Median, and the range in brackets."""
        low, high = f"{self.low:,.{digits}f}", f"{self.high:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({low} – {high})"


class Pair(NamedTuple):
    """Two peers measured in turn; `ratio` is b / a, pair by pair."""

    a: Spread
    b: Spread
    ratio: Spread


def spread(values: Sequence[float]) -> Spread:
    """Median and range of at least one value."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def alternate(
    a: Callable[[], float], b: Callable[[], float], *, runs: int, warm_ups: int = 1
) -> Pair:
    """Rule 2. Each call does one run and gives its measure, so that setting up can stay outside."""
    for _ in range(warm_ups):
        a(), b()
    pairs: list[tuple[float, float]] = []
    for n in range(runs):
        if n % 2:
            second, first = b(), a()
        else:
            first, second = a(), b()
        pairs.append((first, second))
    firsts, seconds = zip(*pairs, strict=True)
    return Pair(spread(firsts), spread(seconds), spread([y / x for x, y in pairs]))


@contextlib.contextmanager
def stopwatch(clock: Callable[[], float] = time.perf_counter) -> Iterator[Callable[[], float]]:
    """Gives a function that says how many milliseconds have passed on a clock in seconds.

    `time.process_time` leaves out what others do on the machine, and all waiting.
    """
    began = clock()
    yield lambda: (clock() - began) * 1000


# Children


class Child:
    """A pinned process (rule 3), as a context manager; `peak_rss` in bytes."""

    def __init__(self, *command: str, cpu: int | None = None, tree: bool = False) -> None:
        """`cpu` defaults to the last one; `tree` counts the memory of its children too."""
        self.command = _pinning(last_cpu() if cpu is None else cpu, command)
        self.peak_rss = 0
        self._tree = tree
        self._ended = threading.Event()

    def __enter__(self) -> "Child":
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._sampler.join()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(CHILD_STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()

    def result(self) -> str:
        """All that it prints. Raises CalledProcessError when it fails."""
        printed, _ = self.process.communicate()
        if self.process.returncode:
            raise subprocess.CalledProcessError(self.process.returncode, self.command)
        return printed

    def _sample(self) -> None:
        while not self._ended.is_set() and self.process.poll() is None:
            self.peak_rss = max(self.peak_rss, rss_bytes(self.process.pid, tree=self._tree))
            self._ended.wait(RSS_EVERY_S)


def python(*arguments: str) -> Cells:
    """This interpreter with arguments, as a command for Child."""
    return (sys.executable, *arguments)


@contextlib.contextmanager
def children_on(cpu: int) -> Iterator[None]:
    """What is started inside runs on one processor from its exec on; we stay where we may be."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})  # inherited: nothing else has to start to pin it
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


def last_cpu() -> int:
    """The highest processor that we may use: interrupts and others prefer the first."""
    return max(os.sched_getaffinity(0))


def _pinning(cpu: int, command: Cells) -> list[str]:
    # Pins itself before it becomes the command: no moment on another processor, no taskset needed.
    pin = (
        f"import os, sys; os.sched_setaffinity(0, {{{cpu}}}); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", pin, *command]


def rss_bytes(pid: int, *, tree: bool = False) -> int:
    """Resident memory of a process, with `tree` also of all below it; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        below = _children(pid) if tree else []
    except (FileNotFoundError, ProcessLookupError):
        return 0
    own = pages * os.sysconf("SC_PAGESIZE")
    return own + sum(rss_bytes(child, tree=True) for child in below)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


# Where it was measured


def machine(libraries: Cells = ()) -> str:
    """Processor, kernel, Python and library versions, in one line."""
    cores = len(os.sched_getaffinity(0))
    versions = [f"{name} {importlib.metadata.version(name)}" for name in libraries]
    here = (
        f"{_cpu_model()}, {cores} cores",
        f"{_memory_gib():.0f} GiB",
        f"{platform.system()} {platform.release()}",
        f"{platform.python_implementation()} {platform.python_version()}",
        *versions,
    )
    return " · ".join(here)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") / (1024 * MIB)
