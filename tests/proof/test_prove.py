"""Laws of the mutation check: patches fit by their text, and none is forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocp_proof.cli import markdown
from tools import prove

ROOT = Path(__file__).parent.parent.parent
PATCHES = sorted(prove.MUTANTS.glob("*.patch"))
PATCH = """--- a/src/a.py
+++ b/src/a.py
@@ -7,2 +7,2 @@
 def f():
-    return 1
+    return 2
"""


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: str(patch.stem))
def test_a_mutant_fits_the_sources_as_they_are(patch: Path, tmp_path: Path) -> None:
    text = patch.read_text("utf-8")
    target = next(line[6:] for line in text.splitlines() if line.startswith("+++ b/"))
    (tmp_path / target).parent.mkdir(parents=True)
    before = (ROOT / target).read_text("utf-8")
    (tmp_path / target).write_text(before, "utf-8")
    prove.apply(text, tmp_path)
    assert (tmp_path / target).read_text("utf-8") != before


def test_a_patch_is_found_by_its_text_wherever_that_is(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    held = tmp_path / "src" / "a.py"
    held.write_text("# a line more\n\ndef f():\n    return 1\n\n", "utf-8")
    prove.apply(PATCH, tmp_path)
    assert held.read_text("utf-8") == "# a line more\n\ndef f():\n    return 2\n\n"


@pytest.mark.parametrize("text", ["", "def f():\n    return 1\n\n" * 2])
def test_a_patch_that_fits_nowhere_or_twice_is_stale(text: str, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text(text, "utf-8")
    with pytest.raises(prove.StalePatchError):
        prove.apply(PATCH, tmp_path)


def test_a_few_days_of_daily_runs_see_every_mutant() -> None:
    days = -(-len(PATCHES) // prove.DAILY)
    seen = {patch for day in range(days) for patch in prove.of_the_day(PATCHES, 739_000 + day)}
    assert seen == set(PATCHES)
    assert len(PATCHES) >= 20


def test_a_quick_run_takes_mutants_that_are_there() -> None:
    assert {patch.stem for patch in PATCHES} >= prove.QUICK


def test_the_ledger_keeps_one_line_for_each_mutant_the_newest(tmp_path: Path) -> None:
    ledger = tmp_path / "mutants.jsonl"
    for name, seeds in (("b", 3), ("a", 1), ("b", 2)):
        prove.keep(ledger, prove.Caught(name, seeds, "a law", 1.0), calls=60)
    held = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()]
    assert [(line["mutant"], line["seeds"]) for line in held] == [("a", 1), ("b", 2)]


def test_the_page_shows_the_table_as_it_is() -> None:
    page = (ROOT / "docs" / "reference" / "simulation.md").read_text("utf-8")
    assert "\n".join(markdown()) in page, "take it from `ocp-proof effects`"
