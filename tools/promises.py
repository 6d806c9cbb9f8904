"""docs/promises.md: every guarantee, the tests that prove it, and what was last measured.

The sentences are here; the figures come from the ledgers of runs (docs/*.jsonl), so a new line in a
ledger makes the page stale until `make docs`. A promise without a test is refused by
tests/docs/test_promises.py.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tools import ledger

DOCS: Final = ledger.ROOT / "docs"
PAGE: Final = DOCS / "promises.md"
MUTANTS: Final = ledger.ROOT / "tests" / "proof" / "mutants"
_NEVER: Final = "not measured yet"
Runs = list[dict[str, Any]]


class Promise(NamedTuple):
    """`says` is one sentence; `proved_by` are files of tests; `figure` says what was measured."""

    says: str
    proved_by: tuple[str, ...]
    figure: Callable[[], str] | None = None


def runs(name: str) -> Runs:
    """The ledger docs/<name>-runs.jsonl, oldest first."""
    return ledger.read(DOCS / f"{name}-runs.jsonl")


# -- figures --------------------------------------------------------------------------------------


def _sum(found: Runs, name: str) -> int:
    return sum(int(run.get(name, 0)) for run in found)


def _simulated() -> str:
    if not (found := runs("proof")):
        return _NEVER
    broken = [(n, one["seed"]) for n, run in enumerate(found) for one in run["broken"]]
    mended = sum(any(_is_clean(run, seed) for run in found[n + 1 :]) for n, seed in broken)
    return (
        f"simulated: {_sum(found, 'seeds'):,} seeds, {_sum(found, 'calls'):,} calls, "
        f"{_sum(found, 'faults'):,} faults, {_sum(found, 'checks'):,} checks of the laws; "
        f"laws broken: {len(broken)}" + f", of which run clean since: {mended}" * bool(broken)
    )


def _each_seed() -> str:
    """How far the seeds go without a gap, and how each ended when it was last run."""
    last = {
        seed: (run["commit"], any(one["seed"] == seed for one in run["broken"]))
        for run in runs("proof")
        for seed in range(run["from"], run["from"] + run["seeds"])
    }
    until = next(seed for seed in itertools.count(1) if seed not in last) - 1
    if not until:
        return _NEVER
    first = [last[seed] for seed in range(1, until + 1)]
    by_commit = Counter(commit for commit, _ in first)
    return (
        f"Seeds 1 to {until:,}, 100 calls each, were all run; "
        f"{sum(broken for _, broken in first)} broke a law in its last run. `make simulate "
        f'SEEDS={until}` runs them again, `make simulate SEEDS=400 ARGS="--from 1201"` a part. '
        "The commits they last ran on: "
        + ", ".join(f"{commit} {number:,}" for commit, number in by_commit.most_common())
        + "."
    )


def _is_clean(run: dict[str, Any], seed: int) -> bool:
    return not run["broken"] and run["from"] <= seed < run["from"] + run["seeds"]


def _soaked() -> str:
    if not (found := runs("soak")):
        return _NEVER
    return (
        f"real processes: {_sum(found, 'rounds'):,} rounds, {_sum(found, 'kills'):,} kill -9 and "
        f"{_sum(found, 'power_cuts'):,} power cuts under load, "
        f"{_sum(found, 'acknowledged'):,} inputs acknowledged; {_sum(found, 'lost')} lost, "
        f"{_sum(found, 'doubled')} doubled, {_sum(found, 'wrong_bytes')} with wrong bytes"
    )


def _recovered() -> str:
    if not (found := runs("soak")):
        return _NEVER
    calls, recovered = _sum(found, "simulated_calls"), _sum(found, "recovered_by_export")
    return f"real processes: {recovered:,} of {calls:,} calls came by export, none was missing"


def _disks() -> str:
    disk: Counter[str] = Counter()
    for run in runs("soak"):
        disk.update(run["disk"])
    if not disk:
        return _NEVER
    failed = sum(number for kind, number in disk.items() if kind.startswith("failed"))
    refused = sum(number for kind, number in disk.items() if kind.startswith("refused"))
    return (
        f"real processes: {failed:,} syncs made to fail, {refused:,} writes on a full disk; "
        f"{_sum(runs('soak'), 'lost')} inputs lost"
    )


def _tampered() -> str:
    if not (found := runs("tamper")):
        return _NEVER
    last = found[-1]
    verified = sum(last[what] for what in ("journal", "record", "object"))
    return (
        f"{verified:,} bytes of one call changed one at a time for `verify`, {last['pack']:,} of "
        f"its pack for the recipe; {last['missed']} not found"
    )


def _fuzzed() -> str:
    found = [run for run in runs("fuzz") if "inputs" in run]
    if not found:
        return _NEVER
    inputs = sum(sum(run["inputs"].values()) for run in found)
    return (
        f"{inputs:,} inputs to {len(found[-1]['inputs'])} readers; {_sum(found, 'findings')} "
        f"findings, slowest input {max(run['slowest_ms'] for run in found):,.0f} ms"
    )


def _asked() -> str:
    found = [run for run in runs("fuzz") if "api_requests" in run]
    if not found:
        return _NEVER
    return f"{_sum(found, 'api_requests'):,} requests to {found[-1]['operations']} operations"


def _mutants() -> str:
    return f"{len(list(MUTANTS.glob('*.patch')))} mistakes kept as patches"


# -- the promises ---------------------------------------------------------------------------------

PROMISES: Final[tuple[Promise, ...]] = (
    Promise(
        "What was answered with 2xx is durable before the answer: no kill, crash or power cut "
        "takes it away.",
        ("tests/soak/test_soak.py", "tests/contracts/test_crash_durability.py",
         "tests/story/test_kill.py", "tests/flow/test_crash_points.py"),
        _soaked,
    ),
    Promise(
        "Every call that began is stored, absent, quarantined, lost or in flight, and each of "
        "these is counted from a source of its own.",
        ("tests/proof/test_simulation.py", "tests/flow/test_conservation.py",
         "tests/contracts/test_figures_machine.py"),
        _simulated,
    ),
    Promise(
        "A recording is stored once, with the bytes that OCP sent, and nothing is ever "
        "overwritten.",
        ("tests/contracts/test_recording_store.py", "tests/soak/test_soak.py",
         "tests/proof/test_simulation.py"),
        _soaked,
    ),
    Promise(
        "A recording that the stream lost is fetched by export as long as OCP has it.",
        ("tests/story/test_kill_exports.py", "tests/flow/test_reconcile_story.py",
         "tests/proof/test_simulation.py"),
        _recovered,
    ),
    Promise(
        "A call is given up as lost only when OCP's retention is over, and as absent only on "
        "positive evidence.",
        ("tests/core/test_lifecycle.py", "tests/core/test_eligibility.py",
         "tests/proof/test_simulation.py"),
        _simulated,
    ),
    Promise(
        "In whatever order, how often and how late messages come, the call's record is the same, "
        "and nothing that is finished comes back to life.",
        ("tests/core/test_call_fold.py", "tests/contracts/test_call_store_machine.py"),
        _simulated,
    ),
    Promise(
        "A recording of one line of business never gets into the bucket of another.",
        ("tests/core/test_routing.py", "tests/infra/test_access.py",
         "tests/proof/test_simulation.py"),
        _simulated,
    ),
    Promise(
        "One export runs per OCP group at a time, whatever dies on either side.",
        ("tests/core/test_export_group.py", "tests/flow/test_reconcile_runners.py",
         "tests/core/test_export_job_adversary.py"),
        _simulated,
    ),
    Promise(
        "A disk that is full or can't sync is told to the sender as 503 with Retry-After, and "
        "nothing that was not written is acknowledged.",
        ("tests/contracts/test_disk.py", "tests/soak/test_soak.py",
         "tests/doors/test_recordings.py"),
        _disks,
    ),
    Promise(
        "Whichever byte of a journal, a record or a stored object is changed, `ocp-ingest verify` "
        "finds it, and in an evidence pack the openssl recipe does.",
        ("tests/evidence/test_every_byte.py", "tests/evidence/test_tampering.py",
         "tests/evidence/test_pack.py"),
        _tampered,
    ),
    Promise(
        "A day's certificate and a call's evidence are checked by a third party with openssl and "
        "sha256sum alone.",
        ("tests/evidence/test_certificate.py", "tests/evidence/test_pack.py",
         "tests/evidence/test_signing.py"),
    ),
    Promise(
        "No input makes a reader crash, hang, or take more memory than its bound.",
        ("tests/fuzz/test_readers.py", "tests/core/audio", "tests/doors/test_memory.py"),
        _fuzzed,
    ),
    Promise(
        "The HTTP API answers what its OpenAPI document says, whatever it is sent, and never with "
        "a 5xx but 503.",
        ("tests/fuzz/test_openapi.py",),
        _asked,
    ),
    Promise(
        "Logs and errors carry no phone number, no token and no attached data.",
        ("tests/core/test_masking.py", "tests/doors/test_telemetry.py"),
    ),
    Promise(
        "The embedded runtime and the one on AWS keep the same contracts: one suite holds both, "
        "on servers that stand for AWS.",
        ("tests/contracts/test_call_store.py", "tests/contracts/test_recording_store.py",
         "tests/aws/test_contracts.py"),
    ),
    Promise(
        "The proof can fail: a mistake put into one line of the platform is noticed.",
        ("tests/proof/test_prove.py", "tests/proof/test_simulation.py"),
        _mutants,
    ),
)  # fmt: skip

NOT_PROMISED: Final[tuple[str, ...]] = (
    "**A real AWS account.** The runtime on AWS has run on servers that stand for AWS only. [Not "
    "proved](reference/aws-not-proved.md) lists what rests on AWS's documentation, and how to "
    "prove it.",
    "**A real OCP tenant.** OCP is a simulator, built from its documentation. [OCP's contract]"
    "(reference/ocp-contract.md) says what was adopted; `ocp-ingest doctor --probe-ocp` compares "
    "it with a tenant.",
    "**What OCP itself loses.** A recording that OCP never had, or deleted before it could be "
    "fetched, can't be stored: its call is counted as lost, with the reason.",
    "**Bytes that were wrong at OCP.** They are kept as they came, in quarantine, with the reasons "
    "in words; they are not mended.",
    "**A disk that lies.** What a disk says it has synced, and a machine that is lost with its "
    "disks: the embedded runtime has one copy. Back it up, or run it on AWS.",
    "**The holder of the signing key.** Evidence shows changes by everybody else. Keep the key "
    "where [its custody](how-to/prove-completeness.md) says.",
    "**All orders of events.** The simulation tries those that its seeds choose; the figures above "
    "say how many. A law that nobody wrote down is checked by nothing.",
)


def page() -> str:
    """docs/promises.md."""
    rows = [
        (f"{number}", promise.says, _links(promise.proved_by), _figure(promise))
        for number, promise in enumerate(PROMISES, 1)
    ]
    return "\n\n".join([
        "# Promises",
        "<!-- Generated by `make docs` from tools/promises.py and the ledgers; edit there. -->",
        "What the platform guarantees, the tests that prove it, and what the last long runs "
        "measured. Figures are sums over the runs below.",
        _table(("", "promise", "proved by", "measured"), rows),
        "## What is not promised",
        "\n".join(f"- {text}" for text in NOT_PROMISED),
        "## Runs",
        "One line for each run, as its command wrote it; a plus behind a commit: with changes that "
        "were not committed. Simulation: [what was run](proof-runs.md). How to run them: "
        "[simulation, soak, fuzzing](reference/simulation.md).",
        "### Simulation",
        _each_seed(),
        "### Soak",
        _table(
            ("date", "commit", "seed", "rounds", "kill -9", "power cuts", "failing syncs",
             "writes without room", "connections cut", "acknowledged", "lost", "doubled",
             "wrong bytes", "full disk by"),
            map(_soak_row, runs("soak")),
        ),
        "### Fuzzing",
        _table(("date", "commit", "command", "figures"), map(_fuzz_row, runs("fuzz"))),
        "### Tampering",
        _table(
            ("date", "commit", "journal", "record", "object", "pack", "not found"),
            [
                [run["date"], run["commit"], *(f"{run[of]:,}" for of in _TAMPER), run["missed"]]
                for run in runs("tamper")
            ],
        ),
    ]) + "\n"  # fmt: skip


_TAMPER: Final = ("journal", "record", "object", "pack")


def _figure(promise: Promise) -> str:
    return promise.figure() if promise.figure else "in every run of the tests"


def _links(paths: Iterable[str]) -> str:
    return ", ".join(f"[{Path(path).stem}](../{path})" for path in paths)


def _soak_row(run: dict[str, Any]) -> Sequence[object]:
    disk = run["disk"]
    failed = sum(number for kind, number in disk.items() if kind.startswith("failed"))
    refused = sum(number for kind, number in disk.items() if kind.startswith("refused"))
    return (
        run["date"], run["commit"], run["seed"], run["rounds"], run["kills"], run["power_cuts"],
        failed, refused, run["cut_connections"], run["acknowledged"], run["lost"], run["doubled"],
        run["wrong_bytes"], run["full_by"],
    )  # fmt: skip


def _fuzz_row(run: dict[str, Any]) -> Sequence[object]:
    if "inputs" in run:
        each = ", ".join(f"{of} {number:,}" for of, number in run["inputs"].items())
        said = f"{each}; {run['findings']} findings"
    else:
        said = f"{run['api_requests']:,} requests to {run['operations']} operations"
    return run["date"], run["commit"], f"`{run['command']}`", said


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])
