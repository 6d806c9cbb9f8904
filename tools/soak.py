"""Kills the platform under load, again and again, and compares every byte; exits 1 on any loss.

python tools/soak.py --rounds 100 --seed 1 [--json] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from tests.soak.soak import Figures, Soak  # noqa: E402 - the path comes first


def main() -> int:
    """See the module's text."""
    asked = argparse.ArgumentParser(description="kill -9 under load, until nothing can be lost")
    asked.add_argument("--rounds", type=int, default=100)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--json", action="store_true", help="the figures as one line of JSON")
    asked.add_argument("--keep", type=Path, help="keep data and logs here")
    said = asked.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = said.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        figures = asyncio.run(Soak(folder, said.rounds, said.seed).run())
    print(json.dumps(vars(figures)) if said.json else _words(figures))
    return 0 if figures.clean else 1


def _words(figures: Figures) -> str:
    weather = ", ".join(f"{name} {count}" for name, count in sorted(figures.weather.items()))
    return "\n".join([
        f"{figures.rounds} rounds in {figures.seconds:g} s, seed {figures.seed}: {figures.kills} "
        f"kills ({weather}), {figures.cut_connections} connections cut",
        f"{figures.acknowledged} inputs acknowledged, {figures.under_way} under way when it was "
        f"killed; {figures.simulated_calls} calls of the "
        f"simulator, {figures.recovered_by_export} of them recovered by export",
        f"{figures.stored} recordings stored: {figures.lost} lost, {figures.doubled} doubled, "
        f"{figures.wrong_bytes} with wrong bytes",
        *figures.problems[:20],
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
