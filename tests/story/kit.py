"""Real processes for stories: `ocp-ingest serve`, `ocp-sim serve`, commands; loopback only.

Everything started here is stopped with its `with` block, whatever happens in it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from ocp_ingest import bootstrap
from ocp_ingest import config as config_reader
from tests.doors.kit import wav_head

SECRET = "correct-horse-battery-staple"
COMMANDS = Path(sys.executable).parent
# A loaded machine starts a process in seconds; a minute means that it never will.
START_S_MAX = 60.0
STOP_S_MAX = 30.0

CONFIG = f"""\
[server]
port = {{port}}
stop_s_max = 3.0

[data]
dir = "{{data_dir}}"
free_bytes_min = 1

[auth.clients.ocp]
secret = "{SECRET}"
scopes = ["ingest"]

[auth.clients.operator]
secret = "{SECRET}"
scopes = ["ingest", "read", "operate"]

[[routing]]
lob = "banking"
when = {{{{ entry_app = "banking-*" }}}}

[[routing]]
lob = "cards"
when = {{{{ entry_app = "cards-*" }}}}

[[routing]]
lob = "insurance"
when = {{{{ entry_app = "insurance-*" }}}}

[lob.banking]
[lob.cards]
[lob.insurance]

[log]
format = "json"
level = "info"
"""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OCP_INGEST_", "OCP_SIM_"))}
    return kept | more


def command(*arguments: str, cwd: Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs `ocp-ingest …` as a user does, to its end."""
    return subprocess.run(
        [COMMANDS / "ocp-ingest", *arguments], cwd=cwd, env=environment(), timeout=timeout_s,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


class Process:
    """One process, started in a folder of its own, with its log in it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._log = folder / f"{name}.log"
        self._running: subprocess.Popen[str] | None = None

    def spawn(self, *arguments: str | Path, capture: bool = False, **env: str) -> None:
        """Starts it; it must not run."""
        assert self._running is None
        with self._log.open("a") as log:
            self._running = subprocess.Popen(
                [str(a) for a in arguments], cwd=self.folder, env=environment(**env), text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if capture else log, stderr=log,
            )  # fmt: skip

    @property
    def running(self) -> subprocess.Popen[str]:
        """The process; it must run or have run."""
        assert self._running is not None
        return self._running

    def log(self) -> str:
        """What it wrote on standard error so far."""
        return self._log.read_text()

    def kill(self) -> None:
        """SIGKILL: as a crash, nothing is flushed, nobody is told."""
        self.running.kill()
        self.running.wait()
        self._running = None

    def end(self) -> int:
        """SIGTERM, and its exit status."""
        self.running.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Its exit status once it has ended by itself."""
        status = self.running.wait(STOP_S_MAX)
        self._running = None
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._running is not None:
            if self._running.stdout is not None:
                self._running.stdout.close()
            self._running.kill()
            self._running.wait()


class Platform(Process):
    """`ocp-ingest serve` on a configuration written to disk; may be started again and again."""

    def __init__(self, folder: Path, more: str = "") -> None:
        super().__init__(folder, "platform")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = folder / "data"
        self.config = folder / "ocp-ingest.toml"
        self.config.write_text(CONFIG.format(port=self.port, data_dir=self.data_dir) + more)

    async def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.spawn(COMMANDS / "ocp-ingest", "serve", "--config", self.config)
        async with aiohttp.ClientSession() as session:
            until = time.monotonic() + START_S_MAX
            while not await _answers(session, f"{self.url}/readyz"):
                assert self.running.poll() is None, self.log()[-2000:]
                assert time.monotonic() < until, self.log()[-2000:]
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[bootstrap.Embedded]:
        """Its store, opened by this process too, as a command of the CLI would."""
        runtime = bootstrap.embedded(config_reader.load(self.config, environ={}))
        try:
            yield runtime
        finally:
            runtime.close()

    def stored(self) -> dict[str, bytes]:
        """Every object of the buckets of lines of business, by bucket and key."""
        root = self.data_dir / "recordings"
        return {
            str(path.relative_to(root)): path.read_bytes()
            for bucket in root.glob("lob-*") for path in sorted(bucket.rglob("*"))
            if path.is_file()
        }  # fmt: skip


class Sim(Process):
    """`ocp-sim serve` with settings written to disk; it pushes when told."""

    def __init__(self, folder: Path, settings: str) -> None:
        super().__init__(folder, "simulator")
        self.config = folder / "ocp-sim.toml"
        self.config.write_text(settings)
        self.url = ""

    def start(self, *options: str) -> None:
        """Starts it and waits until it listens."""
        self.spawn(
            COMMANDS / "ocp-sim", "serve", "--config", self.config, "--port", "0",
            "--no-autostart", *options, capture=True, OCP_SIM_CLIENT_SECRET=SECRET,
        )  # fmt: skip
        assert self.running.stdout is not None
        line = self.running.stdout.readline()
        assert line, self.log()[-2000:]
        self.url = json.loads(line)["url"]


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def until(settled: Callable[[], Any], seconds: float, why: str = "") -> Any:
    """Asks `settled` (an async function) until it says something true; fails when it never does."""
    deadline = time.monotonic() + seconds
    while not (said := await settled()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {why}"
        await asyncio.sleep(0.1)
    return said


# -- a sender ------------------------------------------------------------------------------------


class Sender:
    """An HTTP client with a token of the platform's own issuer."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self.session = session
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str) -> Any:
        """A GET that must be answered with 200, as JSON."""
        async with self.session.get(f"{self.url}{path}", headers=self._headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def call(self, call_id: str) -> Any:
        """A call as the read API shows it, or None."""
        url = f"{self.url}/v1/calls/{quote(call_id, safe='')}"
        async with self.session.get(url, headers=self._headers) as answer:
            return await answer.json() if answer.status == 200 else None

    async def send(
        self, path: str, body: Any, method: str = "POST", **headers: str
    ) -> tuple[int, Any]:
        """Status and JSON of a request; header names are written with underscores."""
        named = self._headers | {k.replace("_", "-"): v for k, v in headers.items()}
        async with self.session.request(
            method, f"{self.url}{path}", data=body, headers=named
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def events(self, *bodies: Mapping[str, Any]) -> None:
        """Pushes events one by one; each must be taken."""
        for body in bodies:
            status, said = await self.send("/v1/events", encoded(body))
            assert status == 200, said

    async def deliver(self, name: str, audio: bytes, form: str = "raw") -> tuple[int, Any]:
        """Pushes a recording in one of the forms of ocp-facts 10.2."""
        if form == "multipart":
            parts = aiohttp.FormData()
            parts.add_field("metadata", json.dumps({"name": name}), content_type="application/json")
            parts.add_field("file", audio, filename=name, content_type="audio/wav")
            return await self.send("/v1/recordings", parts)
        if form == "base64":
            document = {"name": name, "data": base64.b64encode(audio).decode()}
            kind = "application/json"
            return await self.send("/v1/recordings", json.dumps(document), Content_Type=kind)
        path = f"/v1/recordings?name={quote(name, safe='')}"
        return await self.send(path, audio, "PUT" if form == "put" else "POST")


@asynccontextmanager
async def sender(platform: Platform) -> AsyncIterator[Sender]:
    """A sender that has logged in; its token is good for the platform's later lives too."""
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        form = {
            "grant_type": "client_credentials", "client_id": "operator", "client_secret": SECRET,
        }  # fmt: skip
        async with session.post(f"{platform.url}/oauth2/token", data=form) as answer:
            token = (await answer.json())["access_token"]
        yield Sender(session, platform.url, token)


# -- inputs --------------------------------------------------------------------------------------


def encoded(body: Mapping[str, Any]) -> bytes:
    """As JSON."""
    return json.dumps(body).encode()


class Talk:
    """A call of so many milliseconds that ended ten minutes ago, as OCP would tell of it."""

    def __init__(self, rng: Random, duration_ms: int, app: str = "banking-voice") -> None:
        self.start_ms = int(time.time() * 1000) - 600_000 - duration_ms
        self.duration_ms = duration_ms
        digits = f"{rng.getrandbits(160):040x}"
        self.call_id = f"{digits}.{self.start_ms}.{rng.getrandbits(64):016X}"
        self.name = self.named("wav")
        self._app = app

    def named(self, extension: str) -> str:
        """The recording's name."""
        return f"{self.call_id}~4001~{self.start_ms}~{self.call_id}.{extension}"

    def start(self, **more: Any) -> dict[str, Any]:
        """CDR Start."""
        return {
            "message_type": "dialog_start", "id": self.call_id, "group": self.call_id,
            "time": self.start_ms, "channel": "omIVR", "direction": "inbound",
            "app": {"name": self._app, "version": 3},
            "flow": {"type": "Flow", "parent_step": 0, "account_id": "4001",
                     "ocp_group_name": "emea-retail"},
        } | more  # fmt: skip

    def end(self, **more: Any) -> dict[str, Any]:
        """CDR End; its `time` is the start."""
        return self.start() | {
            "message_type": "dialog_end", "duration": self.duration_ms, "end_type": "NEAR_HUP",
            "events": "globalResult:success,HUP:NEAR",
        } | more  # fmt: skip


def hiss(rng: Random, duration_ms: int) -> bytes:
    """A WAV (PCM16, mono, 8 kHz) of that length whose bytes no other has."""
    data = rng.randbytes(duration_ms * 16)
    return wav_head(len(data)) + data


def sha256(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()
