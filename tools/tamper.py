"""Changes every byte of one call's journal, record and objects, one at a time; exits 1 on a miss.

python tools/tamper.py [--recipes 2000] [--note]

`verify` is asked for each of them. The recipe (openssl and sha256sum, processes each time) is
slower: it is asked for so many bytes of the call's pack, spread evenly over all of its files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from ocp_ingest.telemetry import set_up_logs  # noqa: E402 - the path comes first
from tests.evidence.every_byte import WHATS, Call, Place  # noqa: E402
from tools import ledger  # noqa: E402

LEDGER = ROOT / "docs" / "tamper-runs.jsonl"


def main() -> int:
    """See the module's text."""
    asked = argparse.ArgumentParser(description="changes every byte, and looks who notices")
    asked.add_argument("--recipes", type=int, default=2_000, help="bytes of the pack")
    asked.add_argument("--note", action="store_true", help=f"add a line to docs/{LEDGER.name}")
    said = asked.parse_args()
    set_up_logs("json", "error")
    began, figures, missed = time.monotonic(), dict[str, int](), list[Place]()
    with tempfile.TemporaryDirectory() as folder:
        call = Call(Path(folder) / "site")
        for what in WHATS:
            answers = {place: call.verify_finds(place) for place in call.places(what)}
            figures[what] = sum(found is not None for found in answers.values())
            missed += [place for place, found in answers.items() if found is False]
        places = call.pack_places()
        places = places[:: max(1, len(places) // max(1, said.recipes))]
        figures["pack"] = len(places)
        missed += [place for place in places if not call.recipe_finds(place)]
        call.close()
    for place in missed[:20]:
        print(f"MISSED: {place}")
    print(", ".join(f"{what}: {number:,} bytes" for what, number in figures.items()))
    print(f"{sum(figures.values()):,} changed bytes, {len(missed)} not found")
    if said.note:
        seconds = round(time.monotonic() - began)
        command = f"python tools/tamper.py --recipes {said.recipes}"
        ledger.note(LEDGER, command, {**figures, "missed": len(missed), "seconds": seconds})
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
