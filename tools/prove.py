"""`make prove-the-proof`: breaks the platform one line at a time and sees the simulation notice.

Each patch (tests/proof/mutants/*.patch, or those of --folder) is applied alone to a copy of src/;
then seeds are run on the copy until a law breaks. A patch that survives all seeds fails the run:
either the proof is blind there, or the line does not matter.

A patch is a unified diff of one hunk. It is applied by its text, so lines may have moved; when the
text is gone, the patch is stale and the run fails too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
MUTANTS: Final = ROOT / "tests" / "proof" / "mutants"
# Seeds until a mutant counts as a survivor. Most fall to the first; a race may need some.
SEEDS_MAX: Final = 60
_RUN: Final = """
import json, sys
from ocp_proof.many import run_many
if __name__ == "__main__":
    total = run_many(1, int(sys.argv[1]), calls=int(sys.argv[2]), jobs=int(sys.argv[3]))
    law = total.broken[0].broken if total.broken else ""
    print(json.dumps({"seeds": total.seeds, "law": law}))
"""


class Caught(NamedTuple):
    """What became of one mutant."""

    name: str
    seeds: int
    law: str
    seconds: float


def main() -> int:
    """Exit code 0: every mutant was caught."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=MUTANTS)
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX)
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="part of a patch's name")
    given = parser.parse_args()
    patches = sorted(p for p in given.folder.glob("*.patch") if given.only in p.name)
    if not patches:
        print(f"no patch in {given.folder}")
        return 1
    survivors = 0
    for patch in patches:
        caught = prove(patch, given.seeds, given.calls, given.jobs)
        survivors += not caught.law
        said = caught.law[:110] if caught.law else "SURVIVED"
        print(
            f"{caught.name:38} {caught.seeds:3} seeds {caught.seconds:4.0f} s  {said}", flush=True
        )
    print(f"{len(patches) - survivors} of {len(patches)} mutants caught")
    return 1 if survivors else 0


def prove(patch: Path, seeds: int, calls: int, jobs: int) -> Caught:
    """Applies one patch to a copy and runs seeds on it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        apply(patch.read_text("utf-8"), Path(folder))
        run = Path(folder) / "run.py"
        run.write_text(_RUN)
        done = subprocess.run(
            [sys.executable, str(run), str(seeds), str(calls), str(jobs)],
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:  # it does not even run: that is caught by anything
        law = (done.stderr.strip().splitlines() or ["it does not run"])[-1]
        return Caught(patch.stem, 0, law, time.monotonic() - began)
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return Caught(patch.stem, said["seeds"], said["law"], time.monotonic() - began)


def apply(patch: str, root: Path) -> None:
    """Applies a one-hunk diff by its text. Raises SystemExit when it does not fit exactly once."""
    lines = patch.splitlines()
    target = next(line[6:] for line in lines if line.startswith("+++ b/"))
    start = next(n for n, line in enumerate(lines) if line.startswith("@@")) + 1
    body = [line for line in lines[start:] if not line.startswith("\\")]
    before = "".join(line[1:] + "\n" for line in body if line[:1] in " -" or not line)
    after = "".join(line[1:] + "\n" for line in body if line[:1] in " +" or not line)
    path = root / target
    text = path.read_text("utf-8")
    if text.count(before) != 1:
        raise SystemExit(f"stale patch for {target}: its text is there {text.count(before)} times")
    path.write_text(text.replace(before, after), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
