"""A promise is one sentence, and has a test that is there; its figures are the ledgers'."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tools import promises
from tools.promises import PROMISES, Promise

ROOT = Path(__file__).parents[2]
each_promise = pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.says[:40])


@each_promise
def test_a_promise_is_one_sentence(promise: Promise) -> None:
    assert re.fullmatch(r"[A-Z][^.]*(?:\.[a-z0-9][^.]*)*\.", promise.says), promise.says


@each_promise
def test_a_promise_is_proved_by_tests_that_are_there(promise: Promise) -> None:
    assert promise.proved_by
    for path in promise.proved_by:
        files = sorted((ROOT / path).rglob("test_*.py")) or [ROOT / path]
        texts = [file.read_text("utf-8") for file in files]
        # A state machine of Hypothesis is a test by its TestCase.
        assert any("def test_" in text or ".TestCase" in text for text in texts), path


@pytest.mark.parametrize("kind", ["soak", "fuzz", "tamper", "proof"])
def test_a_ledger_has_runs_and_each_says_how_to_repeat_it(kind: str) -> None:
    found = promises.runs(kind)
    assert found
    for run in found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", run["date"])
        assert run["commit"]
        assert run["command"]


def test_the_page_says_what_the_ledgers_say_and_a_loss_would_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = promises.runs("soak")[-1]
    (tmp_path / "soak-runs.jsonl").write_text(json.dumps(last | {"lost": 3, "rounds": 12_345}))
    monkeypatch.setattr(promises, "DOCS", tmp_path)
    page = promises.page()
    assert "12,345 rounds" in page
    assert "3 lost" in page
    assert page.count(promises._NEVER) >= 3, "what has no runs says so"
