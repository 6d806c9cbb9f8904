"""Ledgers of long runs: one line of JSON a run, in the repository; docs/promises.md reads them.

A line begins with date (UTC), commit (with a plus: and changes that were not committed) and the
command that repeats the run; the rest is the run's own figures.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]


def note(path: Path, command: str, figures: Mapping[str, Any]) -> None:
    """Adds one run."""
    head = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": _commit(), "command": command}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**head, **figures}, separators=(",", ":")) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All runs, oldest first; none where there is no ledger yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


def _commit() -> str:
    head = _git("rev-parse", "--short", "HEAD")
    return head + ("+" if _git("status", "--porcelain", "--", "src") else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
