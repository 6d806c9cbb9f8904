"""The demo as people run it: a bad day ends as the ledger says, again and again, and it can fail.

One test, told in order: each run takes up what the one before it left. The day is driven faster
than by default (four domain hours a second), which changes nothing but how long it takes.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.story.kit import command

CALLS = 60
SPEED = 14_400
# Design section 7: what the last line of `--json` has at least.
KEYS = {
    "calls", "stored", "absent", "quarantined", "lost", "in_flight", "streamed", "recovered",
    "export_jobs", "duplicates_refused", "mismatches", "unexpected",
}  # fmt: skip


def _demo(data_dir: Path, *more: str, seed: int = 7) -> tuple[int, dict[str, Any], str]:
    """Exit status, the last line of standard output as JSON, and what went to standard error."""
    done = command(
        "demo", "--calls", str(CALLS), "--seed", str(seed), "--speed", str(SPEED), "--json",
        "--data-dir", str(data_dir), *more, cwd=data_dir.parent,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr


def _buckets(data_dir: Path) -> dict[str, bytes]:
    """Names and bytes of everything in the buckets of lines of business, and in quarantine."""
    root = data_dir / "recordings"
    found = [p for bucket in root.iterdir() if bucket.name != "landing" for p in bucket.rglob("*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_bad_day_ends_by_the_ledger_twice_and_a_contradiction_is_told(tmp_path: Path) -> None:
    data_dir = tmp_path / "day"
    first = _the_first_run(data_dir)
    before = _buckets(data_dir)
    _another_day_is_refused(data_dir)
    assert _buckets(data_dir) == before

    status, again, errors = _demo(data_dir)
    assert status == 0, (again, errors)
    assert _buckets(data_dir) == before
    for term in ("calls", "stored", "absent", "quarantined", "streamed", "recovered"):
        assert again[term] == first[term]
    assert again["duplicates_refused"] > first["duplicates_refused"]

    _a_contradicted_ledger_fails(data_dir, before)


def _the_first_run(data_dir: Path) -> dict[str, Any]:
    status, said, errors = _demo(data_dir)
    assert status == 0, (said, errors)
    assert said.keys() >= KEYS
    assert said["calls"] == CALLS
    assert said["mismatches"] == said["unexpected"] == said["in_flight"] == 0
    outcomes = [said[term] for term in ("stored", "absent", "quarantined", "lost")]
    assert sum(outcomes) == CALLS
    assert said["streamed"] + said["recovered"] == said["stored"]
    # The bad day really was one.
    for term in ("absent", "quarantined", "recovered", "export_jobs", "duplicates_refused"):
        assert said[term] > 0, term
    assert said["unannounced_found"] > 0
    objects = _buckets(data_dir)
    audio = [n for n in objects if not n.endswith(".json") and not n.startswith("quarantine")]
    assert len(audio) == said["stored"]
    _secrets_are_the_owners(data_dir)
    return said


def _secrets_are_the_owners(data_dir: Path) -> None:
    for pattern in ("*.key", "*.pem", "*.toml", "demo.json"):
        for path in data_dir.glob(pattern):
            assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path.name


def _another_day_is_refused(data_dir: Path) -> None:
    status, _, errors = _demo(data_dir, seed=8)
    assert status == 2
    assert "another --data-dir" in errors


def _a_contradicted_ledger_fails(data_dir: Path, before: dict[str, bytes]) -> None:
    name = min(n for n in before if n.startswith("lob-") and n.endswith(".wav"))
    path = data_dir / "recordings" / name
    body = bytearray(before[name])
    body[-1] ^= 1
    path.write_bytes(bytes(body))
    status, said, _ = _demo(data_dir)
    assert status == 1
    assert said["mismatches"] == 1
    call_id = path.parts[-2]
    assert any(call_id in problem for problem in said["problems"])
