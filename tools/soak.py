"""Ends the platform under load, again and again, and compares every byte; exits 1 on any loss.

python tools/soak.py --rounds 100 --seed 1 [--json] [--keep FOLDER] [--note]

A run that has not met every kind of weather has proved nothing about it, and exits 1 too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from tests.soak.soak import ROUNDS_MIN, Figures, Soak  # noqa: E402 - the path comes first
from tools import ledger  # noqa: E402

LEDGER = ROOT / "docs" / "soak-runs.jsonl"


def main() -> int:
    """See the module's text."""
    asked = argparse.ArgumentParser(description="kill -9 under load, until nothing can be lost")
    asked.add_argument("--rounds", type=int, default=100)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--json", action="store_true", help="the figures as one line of JSON")
    asked.add_argument("--keep", type=Path, help="keep data and logs here")
    asked.add_argument("--note", action="store_true", help=f"add a line to docs/{LEDGER.name}")
    said = asked.parse_args()
    if said.rounds < ROUNDS_MIN:
        asked.error(f"fewer than {ROUNDS_MIN} rounds can't meet every kind of weather")
    with tempfile.TemporaryDirectory() as made:
        folder = said.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(folder, said.rounds, said.seed, keep=said.keep is not None)
        figures = asyncio.run(soak.run())
    if said.note:
        ledger.note(LEDGER, f"make soak ROUNDS={said.rounds} ARGS='--seed {said.seed}'", {
            **vars(figures), "problems": len(figures.problems), "untested": figures.untested,
        })  # fmt: skip
    print(json.dumps(vars(figures)) if said.json else _words(figures))
    return 0 if figures.clean else 1


def _words(figures: Figures) -> str:
    return "\n".join([
        f"{figures.rounds} rounds in {figures.seconds:g} s, seed {figures.seed}: {figures.kills} "
        f"kills -9, after {figures.power_cuts} of them the power was cut too",
        f"weather: {_counts(figures.weather)}; full by {figures.full_by}",
        f"disk: {_counts(figures.disk)}",
        f"taken by power cuts: {_counts(figures.power_lost)}",
        f"connections: {_counts(figures.connections)}; {figures.cut_connections} of them cut",
        f"{figures.acknowledged} inputs acknowledged, {figures.under_way} under way when it was "
        f"killed; {figures.simulated_calls} calls of the "
        f"simulator, {figures.recovered_by_export} of them recovered by export",
        f"answers: {_counts(figures.answers)}",
        f"{figures.stored} recordings stored: {figures.lost} lost, {figures.doubled} doubled, "
        f"{figures.wrong_bytes} with wrong bytes",
        *(f"NOT TESTED: {name}" for name in figures.untested),
        *figures.problems[:20],
    ])  # fmt: skip


def _counts(of: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(of.items())) or "nothing"


if __name__ == "__main__":
    sys.exit(main())
