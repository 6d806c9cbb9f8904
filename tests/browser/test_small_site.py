"""What needs a platform of its own: a recording of an hour, and an alert that arrives."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from bench.recordings import wav
from tests.browser.conftest import Demo, free_port
from tests.browser.kit import visitor

COMMAND = Path(sys.executable).parent / "ocp-ingest"
PASSWORD = "a-password-for-the-test"
HOUR_BYTES = 3_600 * 16_000 + 44
CALL = "9f" * 20 + ".1763805600000." + "ab" * 16
START_S = 1_763_805_600
HOOK_MORE = "allow_http = true\nallow_private = true"
CONFIG = """\
[server]
port = {port}

[data]
dir = "{data}"
free_bytes_min = 1

[auth.clients.ocp]
secret = "a-secret-of-the-test"
scopes = ["ingest", "read"]

[[routing]]
lob = "banking"
when = {{ entry_app = "*" }}

[lob.banking]

[fetch]
allow_private = true

[[alerts.channels]]
name = "on-duty"
kind = "webhook"
url = "http://127.0.0.1:{hook}/hook"
{hook_more}
"""


class Site(Demo):
    """A platform with one operator, looked at like a demo."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"

    def password(self, name: str) -> str:
        """The only one."""
        return PASSWORD

    def send(self, path: str, body: bytes | Path, media_type: str) -> None:
        """Delivers as OCP does."""
        token = _command(self.folder, "token").strip()
        data = body.open("rb") if isinstance(body, Path) else body
        request = urllib.request.Request(f"{self.url}{path}", data=data, method="POST", headers={
            "authorization": f"Bearer {token}", "content-type": media_type,
            "content-length": str(body.stat().st_size if isinstance(body, Path) else len(body)),
        })  # fmt: skip
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert answer.status in (200, 201)


class Hook(http.server.BaseHTTPRequestHandler):
    """Takes alerts."""

    taken: list[dict[str, Any]]

    def do_POST(self) -> None:
        """Keeps what came."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.taken.append(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def _command(folder: Path, *words: str) -> str:
    config = str(folder / "c.toml")
    return subprocess.run(
        [COMMAND, *words, "--config", config], capture_output=True, text=True, check=True,
        timeout=60,
    ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def hook() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A receiver of webhooks."""
    Hook.taken = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], Hook.taken
    server.shutdown()


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, hook: tuple[int, list[dict[str, Any]]]
) -> Iterator[Site]:
    """A platform that serves, and its one operator."""
    folder = tmp_path_factory.mktemp("site")
    port = free_port()
    text = CONFIG.format(port=port, data=folder / "data", hook=hook[0], hook_more=HOOK_MORE)
    (folder / "c.toml").write_text(text)
    (folder / "word").write_text(PASSWORD)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([COMMAND, "serve", "--config", str(folder / "c.toml")],
                                  stdout=log, stderr=log)  # fmt: skip
        try:
            _ready(port)
            _command(folder, "users", "add", "operator", "--role", "operator", "--lob", "*",
                     "--password-file", str(folder / "word"))  # fmt: skip
            yield Site(folder, port)
        finally:
            server.terminate()
            server.wait(30)


def _ready(port: int) -> None:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("The platform does not get ready.")


def _deliver(site: Site, folder: Path) -> None:
    common = {"id": CALL, "group": CALL, "time": START_S * 1000, "app": {"name": "banking-voice"}}
    for body in (
        {"message_type": "dialog_start", **common},
        {"message_type": "dialog_end", "duration": 3_600_000, "end_type": "NORMAL", **common},
    ):
        site.send("/v1/events?ocp_group=emea", json.dumps(body).encode(), "application/json")
    name = f"{CALL}~acme~{START_S * 1000}~{CALL}.wav"
    site.send(f"/v1/recordings?name={name}", wav(folder / "hour.wav", HOUR_BYTES), "audio/wav")


def test_a_recording_of_an_hour_plays_from_any_point_without_being_loaded(
    site: Site, chromium: Browser, tmp_path: Path
) -> None:
    _deliver(site, tmp_path)
    with visitor(chromium, site) as someone:
        someone.log_in("operator")
        page = someone.go(f"/calls/{CALL}")
        got: list[int] = []
        page.on("response", lambda r: got.append(r.status) if "/audio" in r.url else None)
        page.locator("form[action*='listen'] button").first.click()
        page.locator("audio").wait_for()
        someone.until("document.querySelector('audio').readyState >= 2")
        duration = page.evaluate("document.querySelector('audio').duration")
        assert abs(duration - 3600) < 1
        page.evaluate("document.querySelector('audio').currentTime = 1800")
        someone.until("document.querySelector('audio').currentTime > 1800.2")
        assert set(got) == {206}
        loaded = page.evaluate(
            """() => { const b = document.querySelector('audio').buffered; let s = 0;
                for (let i = 0; i < b.length; i++) s += b.end(i) - b.start(i); return s; }"""
        )
        assert loaded < 3600 * 0.9, "only pieces of it were loaded"
        page.locator("[data-wave] svg").first.wait_for(timeout=30_000)
        box = page.locator("[data-wave] svg").first.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
        someone.until("document.querySelector('audio').currentTime > 2690")
        page.keyboard.press("k")
        someone.picture("player")
        page.reload()
        assert "operator" in page.locator("section", has_text="Journal").last.inner_text()


def test_the_test_button_sends_an_alert_that_arrives(
    site: Site, hook: tuple[int, list[dict[str, Any]]], chromium: Browser
) -> None:
    with visitor(chromium, site) as someone:
        someone.log_in("operator")
        page = someone.go("/alerts")
        page.locator("form[action$='/alerts/test'] button").click()
        page.wait_for_load_state()
        until_s = time.monotonic() + 20
        while not hook[1] and time.monotonic() < until_s:
            page.wait_for_timeout(200)
        assert hook[1], someone.text()
        page.reload()
        assert "on-duty" in someone.text()
        assert someone.accessible() == []
        someone.picture("alerts")
