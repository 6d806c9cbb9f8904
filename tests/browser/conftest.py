"""The console in a real Chromium, on the data of a demo; collected only when OCP_TEST_BROWSER=1.

`make test-browser` sees to the browser. One demo (platform and simulator, a bad day) is run and
kept serving for the whole session; tests that change a call take one of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

collect_ignore_glob: list[str] = []
if os.environ.get("OCP_TEST_BROWSER") != "1":
    collect_ignore_glob = ["test_*.py"]
else:
    from playwright.sync_api import Browser, sync_playwright

CALLS = 200
COMMAND = Path(sys.executable).parent / "ocp-ingest"
# Seconds: the demo's day on a machine that does other things too.
DEMO_S_MAX = 400.0
# Nothing but the pages under test: no look-ups, no updates, no first-run pages.
FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


class Demo:
    """A demo that has ended its day and still serves."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.state: dict[str, Any] = json.loads((folder / "demo.json").read_text())

    def password(self, name: str) -> str:
        """What a person of the demo logs in with."""
        return str(self.state["passwords"][name])

    def calls(self, *options: str) -> list[dict[str, Any]]:
        """Calls as the command line lists them."""
        command = [str(COMMAND), "calls", "list", "--json", *options]
        said = subprocess.run(
            [*command, "--config", str(self.folder / "ocp-ingest.toml"), "--limit", "1000"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return [json.loads(line) for line in said.stdout.splitlines()]

    def one(self, outcome: str) -> str:
        """A call of an outcome that no other test has asked for."""
        held = [call["call_id"] for call in self.calls("--outcome", outcome)]
        fresh = next(call_id for call_id in held if call_id not in self._given)
        self._given.add(fresh)
        return str(fresh)

    _given: ClassVar[set[str]] = set()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A day of calls, reconciled; the platform goes on serving.

    OCP_TEST_DEMO names the folder of one that is serving already, for whoever writes tests.
    """
    if (running := os.environ.get("OCP_TEST_DEMO")) is not None:
        port = tomllib.loads((Path(running) / "ocp-ingest.toml").read_text())["server"]["port"]
        yield Demo(Path(running), f"http://127.0.0.1:{port}")
        return
    folder = tmp_path_factory.mktemp("demo") / "data"
    port = free_port()
    with (folder.parent / "log").open("w+") as log:
        command = [
            str(COMMAND), "demo", "--keep-serving", "--calls",
            str(CALLS), "--port", str(port), "--data-dir", str(folder),
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(process, folder.parent / "log")
            yield Demo(folder, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(30)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    until_s = time.monotonic() + DEMO_S_MAX
    while time.monotonic() < until_s and process.poll() is None:
        if "Still serving" in log.read_text():
            return
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
