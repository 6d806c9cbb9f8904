"""Servers to be measured, each a pinned child: ours, an empty handler, nginx, what people write.

Every one listens on loopback, on the processor that it is given, and ends with its block. Clients
run on another processor. Data lie in a folder of the measurement, on the file system of TMPDIR.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench.harness import ROOT, Child, python

SERVER_CPU: Final = min(os.sched_getaffinity(0))
START_S_MAX: Final = 30.0

_CONFIG: Final = """\
[server]
port = {port}

[data]
dir = "{folder}"
free_bytes_min = 1

[auth.clients.bench]
secret = "a-secret-of-the-measurement"
scopes = ["ingest", "read", "operate"]

[[routing]]
lob = "banking"
when = {{ entry_app = "*" }}

[lob.banking]

[log]
format = "json"
level = "warning"
"""

_NGINX: Final = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 8g;
  sendfile on;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {folder}/files; dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""


class Running(NamedTuple):
    """A server that answers; `token` is "" where none is asked for."""

    port: int
    child: Child
    token: str = ""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def ours(
    folder: Path,
    *,
    log_level: str = "warning",
    source: Path | None = None,
    program: tuple[str, ...] = (),
) -> Iterator[Running]:
    """`ocp-ingest serve` over an embedded runtime below `folder`, of the tree at `source`.

    `program` is what Python runs in place of our CLI's `main`.
    """
    port = free_port()
    file = config(folder, port, log_level=log_level)
    elsewhere = f"import sys; sys.path.insert(0, {str(source)!r}); " if source else ""
    ours = ("-c", f"{elsewhere}from ocp_ingest.entrypoints.cli import main; main()")
    command = program or ours
    with Child(*python(*command, "serve", "--config", str(file)), cpu=SERVER_CPU) as child:
        wait_for(port, "/readyz")
        token = Child(*python(*command, "token", "--ttl", "36000", "--config", str(file)))
        with token:
            yield Running(port, child, token.result().strip())


def config(folder: Path, port: int, *, log_level: str = "warning") -> Path:
    """The configuration file of `ours`, with its data below `folder`."""
    path = folder / "ocp-ingest.toml"
    text = _CONFIG.format(port=port, folder=folder / "data")
    path.write_text(text.replace('level = "warning"', f'level = "{log_level}"'))
    return path


@contextlib.contextmanager
def empty(_: Path) -> Iterator[Running]:
    """The same server and framework; the handler reads the body and answers."""
    port = free_port()
    with Child(*python("-m", "bench.peers.empty", str(port)), cpu=SERVER_CPU) as child:
        wait_for(port, "/")
        yield Running(port, child)


@contextlib.contextmanager
def common(folder: Path) -> Iterator[Running]:
    """FastAPI on uvicorn, one SQLite transaction per event."""
    port = free_port()
    file = str(folder / "common.sqlite3")
    with Child(*python("-m", "bench.peers.common", str(port), file), cpu=SERVER_CPU) as child:
        wait_for(port, "/")
        yield Running(port, child)


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[Running]:
    """nginx with WebDAV PUT, one worker, as Debian builds it."""
    port = free_port()
    (folder / "files").mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    # Started by root, its worker would be somebody else, who may not write here.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(folder=folder, port=port, user=user))
    with Child(needed("nginx", "nginx-light"), "-c", str(config), cpu=SERVER_CPU) as child:
        wait_for(port, "/")
        yield Running(port, child)


def needed(program: str, package: str) -> str:
    """The path of a program; installs Debian's package when it may. Exits, saying how."""
    found = shutil.which(program)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", package)
        for command in (("apt-get", "update", "-qq"), install):
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        found = shutil.which(program)
    if found is None:
        raise SystemExit(f"{program} is missing: sudo apt-get install {package}")
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, path: str) -> None:
    """Until something answers there, with whatever status. Raises TimeoutError."""
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"Nothing listens on {port}; the measurement ran in {ROOT}.")
