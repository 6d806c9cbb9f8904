"""The two processes of a demo: started, waited for, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from ocp_ingest.demo.setting import DemoError, Place

START_S_MAX = 60.0
STOP_S_MAX = 30.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


class Processes:
    """Platform and simulator; both end with the `with` block, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._platform: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Processes:
        # Told to stop from outside, the demo still stops what it started.
        signal.signal(signal.SIGTERM, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def platform(self, config: Path) -> subprocess.Popen[bytes]:
        """`ocp-ingest serve`; its log goes to a file beside the data."""
        self._platform = self._start(
            "ocp_ingest.entrypoints.cli", "platform.log", "serve", "--config", str(config)
        )
        return self._platform

    def stop_platform(self) -> None:
        """Ends the platform as an operator would; what is under way may end."""
        process = self._platform
        assert process is not None, "only a platform that was started is stopped"
        self._running.remove(process)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def simulator(
        self, place: Place, *, port: int, platform_url: str, speed: float, real_s: float,
        audio: Path | None,
    ) -> str:  # fmt: skip
        """`ocp-sim serve`, told to wait; returns its URL once it listens."""
        arguments = [
            "serve", "--port", str(port), "--calls", str(place.state.calls),
            "--seed", str(place.state.seed), "--target", platform_url,
            "--token-url", f"{platform_url}/oauth2/token", "--client-id", "ocp-sim",
            "--clock-origin-ms", str(place.state.origin_ms), "--clock-scale", str(speed),
            "--clock-real-origin", repr(real_s), "--no-autostart",
        ]  # fmt: skip
        if audio is not None:
            arguments += ["--audio", str(audio)]
        process = self._start(
            "ocp_sim.cli", "simulator.log", *arguments,
            secret=place.state.client_secret, capture=True,
        )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise DemoError(f"The simulator did not start; see {self._folder}/simulator.log.")
        return str(json.loads(line)["url"])

    def _start(
        self, module: str, log: str, *arguments: str, secret: str | None = None,
        capture: bool = False,
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        environment = dict(os.environ)
        if secret is not None:
            # Secrets go by the environment: a command line is seen by everybody.
            environment["OCP_SIM_CLIENT_SECRET"] = secret
        code = f"from {module} import main; main()"
        with (self._folder / log).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-c", code, *arguments],
                stdout=subprocess.PIPE if capture else output,
                stderr=output,
                env=environment,
            )
        self._running.append(process)
        return process

    def check(self) -> None:
        """Raises DemoError when one of them has ended by itself."""
        for process in self._running:
            if process.poll() is not None:
                raise DemoError(
                    f"A process of the demo ended with {process.returncode}; see the logs in "
                    f"{self._folder}."
                )


def wait_until_ready(ready: object, processes: Processes) -> None:
    """Calls `ready` until it answers True. Raises DemoError when it takes too long."""
    assert callable(ready)
    until = time.monotonic() + START_S_MAX
    while not ready():
        processes.check()
        if time.monotonic() > until:
            raise DemoError("The platform did not get ready in a minute; see its log.")
        time.sleep(0.05)
