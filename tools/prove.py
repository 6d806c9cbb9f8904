"""`make prove-the-proof`: breaks the platform one line at a time and sees the simulation notice.

Each patch (tests/proof/mutants/*.patch, or those of --folder) is applied alone to a copy of src/;
then seeds are run on the copy until a law breaks. A patch that survives all seeds fails the run:
either the proof is blind there, or the line does not matter.

At the end the seeds that were used are run on the sources as they are: what breaks without a
mutant has caught none.

A patch is a unified diff of one hunk. It is applied by its text, so lines may have moved; when the
text is gone, the patch is stale and the run fails too.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
MUTANTS: Final = ROOT / "tests" / "proof" / "mutants"
# Seeds until a mutant counts as a survivor. Most fall to the first few; what needs an outage of
# days, or one crash at one effect, comes up once in some twenty.
SEEDS_MAX: Final = 150
# Fewer calls than in a real run: a broken line shows in any of them, and seeds take half the time.
CALLS: Final = 60
# `--quick` takes so many, others every day, so that a pipeline has seen all of them in a few days.
QUICK: Final = 12
_RUN: Final = """
import json, sys
from ocp_proof.run import run
law, seeds = "", 0
while not law and seeds < int(sys.argv[1]):
    seeds += 1
    law = run(seeds, calls=int(sys.argv[2])).broken
print(json.dumps({"seeds": seeds, "law": law}))
"""


class Caught(NamedTuple):
    """What became of one mutant."""

    name: str
    seeds: int
    law: str
    seconds: float


class StalePatchError(Exception):
    """The text that a patch changes is not there, or not once."""


def main() -> int:
    """Exit code 0: every mutant was caught."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=MUTANTS)
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="part of a patch's name")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} of them, others every day")
    given = parser.parse_args()
    patches = sorted(p for p in given.folder.glob("*.patch") if given.only in p.name)
    if given.quick:
        patches = of_the_day(patches, datetime.datetime.now(datetime.UTC).toordinal())
    if not patches:
        print(f"no patch in {given.folder}")
        return 1
    began = time.monotonic()
    survivors = seeds = most = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        for caught in pool.map(lambda patch: prove(patch, given.seeds, given.calls), patches):
            survivors += not caught.law
            seeds, most = seeds + caught.seeds, max(most, caught.seeds)
            said = caught.law[:110] if caught.law else "SURVIVED"
            print(
                f"{caught.name:40} {caught.seeds:3} seeds {caught.seconds:4.0f} s  {said}",
                flush=True,
            )
    print(
        f"{len(patches) - survivors} of {len(patches)} mutants caught, by {seeds} seeds, "
        f"in {time.monotonic() - began:.0f} s"
    )
    sound = prove(None, most, given.calls)
    said = f"BROKEN: {sound.law[:200]}" if sound.law else "clean"
    print(f"without a mutant: {sound.seeds} seeds, {said}")
    return 1 if survivors or sound.law else 0


def of_the_day(patches: Sequence[Path], day: int) -> list[Path]:
    """QUICK of the patches; those of the next day follow them, and so on around."""
    start = day * QUICK
    return [patches[(start + n) % len(patches)] for n in range(min(QUICK, len(patches)))]


def prove(patch: Path | None, seeds: int, calls: int) -> Caught:
    """Applies one patch, or none, to a copy and runs seeds on it."""
    began = time.monotonic()
    name = patch.stem if patch is not None else ""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            if patch is not None:
                apply(patch.read_text("utf-8"), Path(folder))
        except StalePatchError as stale:
            print(f"{name}: {stale}", file=sys.stderr)
            return Caught(name, 0, "", time.monotonic() - began)
        run = Path(folder) / "run.py"
        run.write_text(_RUN)
        done = subprocess.run(
            [sys.executable, str(run), str(seeds), str(calls)],
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:  # it does not even run: that is caught by anything
        law = (done.stderr.strip().splitlines() or ["it does not run"])[-1]
        return Caught(name, 0, law, time.monotonic() - began)
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return Caught(name, said["seeds"], said["law"], time.monotonic() - began)


def apply(patch: str, root: Path) -> None:
    """Applies a one-hunk diff by its text. Raises StalePatchError when it does not fit once."""
    lines = patch.splitlines()
    target = next(line[6:] for line in lines if line.startswith("+++ b/"))
    start = next(n for n, line in enumerate(lines) if line.startswith("@@")) + 1
    body = [line for line in lines[start:] if not line.startswith("\\")]
    before = "".join(line[1:] + "\n" for line in body if line[:1] in " -" or not line)
    after = "".join(line[1:] + "\n" for line in body if line[:1] in " +" or not line)
    path = root / target
    text = path.read_text("utf-8")
    if text.count(before) != 1:
        raise StalePatchError(f"its text is in {target} {text.count(before)} times")
    path.write_text(text.replace(before, after), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
