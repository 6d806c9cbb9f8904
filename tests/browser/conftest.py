"""The console in a real Chromium, on the data of a demo; collected only when OCP_TEST_BROWSER=1.

`make test-browser` sees to the browser. One demo (platform and simulator, a bad day) is run and
kept serving for the whole session; tests that change a call take one of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

collect_ignore_glob: list[str] = []
if os.environ.get("OCP_TEST_BROWSER") != "1":
    collect_ignore_glob = ["test_*.py"]
else:
    from playwright.sync_api import Browser, sync_playwright

CALLS = 120
# Seconds: the demo's day on a machine that does other things too.
DEMO_S_MAX = 400.0
# Nothing but the pages under test: no look-ups, no updates, no first-run pages.
FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


class Demo:
    """A demo that has ended its day and still serves."""

    def __init__(self, folder: Path, url: str, summary: dict[str, Any]) -> None:
        self.folder = folder
        self.url = url
        self.summary = summary
        self.state: dict[str, Any] = json.loads((folder / "demo.json").read_text())

    def password(self, name: str) -> str:
        """What a person of the demo logs in with."""
        return str(self.state["people"][name])

    def ledger(self) -> dict[str, str]:
        """Call id → outcome, as the platform's own listing tells it."""
        command = [sys.executable, "-m", "ocp_ingest.entrypoints.cli", "calls", "list", "--json"]
        said = subprocess.run(
            [*command, "--config", str(self.folder / "ocp-ingest.toml"), "--limit", "1000"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return {call["call_id"]: call["outcome"] for call in json.loads(said.stdout)["calls"]}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A day of calls, reconciled; the platform goes on serving."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    log = (folder.parent / "log").open("w+")
    command = [Path(sys.executable).parent / "ocp-ingest", "demo", "--json", "--keep-serving"]
    process = subprocess.Popen(
        [*command, "--calls", str(CALLS), "--data-dir", str(folder)], stdout=log, stderr=log
    )
    try:
        yield _ended(folder, process, folder.parent / "log")
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _ended(folder: Path, process: subprocess.Popen[bytes], log: Path) -> Demo:
    until_s = time.monotonic() + DEMO_S_MAX
    while time.monotonic() < until_s and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("{") and '"in_flight"' in line and '"url"' in line:
                summary = json.loads(line)
                return Demo(folder, summary["url"], summary)
        time.sleep(0.5)
    raise AssertionError(f"The demo did not end its day:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser; each test opens contexts of its own."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    # Chromium's own sandbox does not start for root; the pages are ours.
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else list(FLAGS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()
