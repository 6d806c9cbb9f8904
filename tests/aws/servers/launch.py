"""Starts and stops the servers that stand for AWS: own free ports, own folders, own process groups.

    with Server(...) as s:   start, wait until it answers, use s.url
    on leaving               SIGTERM to the whole group, SIGKILL after STOP_S_MAX
The log file stays where the folder is: pytest keeps the folders of its last runs.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.aws.servers.fetch import ROOT, Servers

# LocalStack on a loaded machine with two cores takes half of it.
START_S_MAX: Final = 90.0
STOP_S_MAX: Final = 10.0
# Any: no server of these looks at whose they are, except SeaweedFS, which is started with them.
ACCESS_KEY: Final = "test"
SECRET_KEY: Final = "test-secret-key"
REGION: Final = "eu-west-1"
ACCOUNT: Final = "000000000000"

# Services that tests use; LocalStack refuses the others, which shows that a test wants one more.
LOCALSTACK_SERVICES: Final = (
    "cloudformation", "cloudwatch", "events", "iam", "kms", "lambda", "logs", "s3", "scheduler",
    "secretsmanager", "sns", "sqs", "ssm", "stepfunctions", "sts",
)  # fmt: skip


class NotStarted(Exception):
    """A server did not get ready; the text ends with the end of its log."""


def free_port() -> int:
    """A port that nobody listens on now; below 50,000, so that port + 10,000 is one too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 50_000:
            return port
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port - 20_000))
            except OSError:
                continue
            return port - 20_000


def environment(**more: str) -> dict[str, str]:
    """The environment for processes that talk to the stand-ins, without settings of the user's."""
    ours = ("OCP_INGEST_", "OCP_SIM_", "AWS_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return kept | {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    } | more  # fmt: skip


class Server:
    """One process (and its children) with a log file; ready when `ready` is answered."""

    def __init__(
        self, name: str, command: Sequence[str | Path], *, folder: Path, url: str, ready: str = "/",
        env: Mapping[str, str] | None = None, cwd: Path | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.url = url
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._command = [str(part) for part in command]
        self._ready = f"{url}{ready}"
        self._env = dict(env or environment())
        self._cwd = cwd or folder
        self._running: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Self:
        """Starts it and returns when it answers. Raises NotStarted."""
        assert self._running is None, f"{self.name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self._command, cwd=self._cwd, env=self._env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.stop()
                raise
        return self

    def wait_ready(self, seconds: float = START_S_MAX) -> None:
        """Returns when it answers anything that is no 5xx. Raises NotStarted."""
        until = time.monotonic() + seconds
        while not answers(self._ready):
            if not self.alive():
                raise NotStarted(f"{self.name} ended by itself.\n{self.tail()}")
            if time.monotonic() > until:
                raise NotStarted(f"{self.name} did not get ready.\n{self.tail()}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._running is not None, f"{self.name} does not run"
        return self._running.pid

    def alive(self) -> bool:
        """Whether it runs."""
        return self._running is not None and self._running.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal to the process alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the whole group, as when a machine is lost."""
        self._signal_group(signal.SIGKILL)
        self._wait(STOP_S_MAX)

    def stop(self, seconds: float = STOP_S_MAX) -> int | None:
        """SIGTERM, then SIGKILL to the whole group; its exit status."""
        if self._running is None:
            return None
        self._signal_group(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._running.wait(seconds)
        status = self._running.poll()
        # Children may have outlived it: LocalStack's Java does.
        self._signal_group(signal.SIGKILL)
        self._wait(STOP_S_MAX)
        return status

    def leave(self) -> None:
        """Kills it, if it runs: nothing is asked of it any more."""
        if self._running is not None:
            self.kill()

    def tail(self, characters: int = 3000) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return self.log.read_text("utf-8", "replace")[-characters:]

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def _wait(self, seconds: float) -> None:
        assert self._running is not None
        self._running.wait(seconds)
        self._running = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()


def answers(url: str) -> bool:
    """Whether a GET is answered at all, and not with 5xx."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as refused:
        return refused.code < 500
    except (OSError, http.client.HTTPException):
        return False


def localstack(servers: Servers, folder: Path, function_host: str = "") -> Server:
    """LocalStack; `function_host`: where invocations go unless a function says otherwise."""
    assert servers.localstack is not None, servers.why
    port = free_port()
    env = environment(
        SKIP_SSL_CERT_DOWNLOAD="1",
        DISABLE_EVENTS="1",
        DISABLE_CORS_CHECKS="1",
        SERVICES=",".join(LOCALSTACK_SERVICES),
        GATEWAY_LISTEN=f"127.0.0.1:{port}",
        # Addresses of queues without a name that somebody would have to resolve.
        LOCALSTACK_HOST=f"127.0.0.1:{port}",
        SQS_ENDPOINT_STRATEGY="path",
        LOCALSTACK_VOLUME_DIR=str(folder / "volume"),
        FILESYSTEM_ROOT=str(folder / "root"),
        FUNCTION_HOST=function_host,
        PYTHONDONTWRITEBYTECODE="1",
        # Many executions wait in threads at once; the default is for a developer's few.
        GATEWAY_WORKER_COUNT="200",
        # Forwarding needs no containers to keep warm.
        LAMBDA_KEEPALIVE_MS="600000",
    )
    launcher = Path(__file__).with_name("localstack_launcher.py")
    url = f"http://127.0.0.1:{port}"
    return Server(
        "localstack", [servers.localstack, "-I", launcher], folder=folder, url=url,
        ready="/_localstack/health", env=env,
    )  # fmt: skip


def dynamodb(servers: Servers, folder: Path, *, on_disk: bool = False) -> Server:
    """DynamoDB Local, in memory unless its state has to survive a restart."""
    port = free_port()
    keep: list[str | Path] = ["-dbPath", folder] if on_disk else ["-inMemory"]
    command: list[str | Path] = [
        servers.java, "-Xmx512m", f"-Djava.library.path={servers.dynamodb}/DynamoDBLocal_lib",
        "-jar", servers.dynamodb / "DynamoDBLocal.jar", "-port", str(port), "-sharedDb",
        "-disableTelemetry", *keep,
    ]  # fmt: skip
    return Server("dynamodb", command, folder=folder, url=f"http://127.0.0.1:{port}",
                  cwd=servers.dynamodb)  # fmt: skip


def seaweedfs(servers: Servers, folder: Path) -> Server:
    """SeaweedFS: S3 that checks signatures and survives a kill with open multipart uploads."""
    port = free_port()
    ports = {
        "-s3.port": port, "-s3.port.grpc": free_port(), "-s3.port.iceberg": free_port(),
        "-master.port": free_port(), "-master.port.grpc": free_port(),
        "-volume.port": free_port(), "-volume.port.grpc": free_port(),
        "-filer.port": free_port(), "-filer.port.grpc": free_port(),
        "-admin.port": free_port(), "-admin.port.grpc": free_port(),
    }  # fmt: skip
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        servers.weed, "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-admin.ui=false", "-webdav=false", "-master.telemetry=false",
        # Each bucket takes volumes of its own, and tests make hundreds of buckets.
        "-volume.max=20000", "-master.volumeSizeLimitMB=32",
        *(f"{name}={value}" for name, value in ports.items()),
    ]  # fmt: skip
    env = environment(WEED_S3_SSE_KEY="0" * 64, TMPDIR=str(folder))
    return Server("seaweedfs", command, folder=folder, url=f"http://127.0.0.1:{port}", env=env)


def python(name: str, module: str, folder: Path, *arguments: str, port: int, env: dict[str, str],
           ready: str = "/") -> Server:  # fmt: skip
    """A process of ours: `python -m module` from the checkout's root, in this environment."""
    command = [sys.executable, "-m", module, *arguments]
    return Server(name, command, folder=folder, url=f"http://127.0.0.1:{port}", env=env,
                  cwd=ROOT, ready=ready)  # fmt: skip
