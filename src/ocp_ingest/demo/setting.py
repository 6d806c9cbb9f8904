"""What a demo is run with: its directory, its clock, and the configuration of both processes."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

import msgspec

from ocp_ingest.demo.people import passwords

DEFAULT_DIR = Path("ocp-data/demo")
STATE_FILE = "demo.json"
CONFIG_FILE = "ocp-ingest.toml"
SIM_FILE = "ocp-sim.toml"
HOUR_MS = 3_600_000
# The day begins so long ago that it and its reconciliation end before now.
BACK_MS = 72 * HOUR_MS
# A loaded machine starts two processes in so many real seconds.
SLOW_START_S = 15.0


class DemoError(Exception):
    """The demo can't run; `usage`: because of how it was called."""

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.usage = usage


class DemoState(msgspec.Struct, frozen=True):
    """What must be the same when a demo is run again on its data: the same day, the same calls."""

    calls: int
    seed: int
    origin_ms: int
    client_secret: str
    reader_secret: str
    passwords: dict[str, str] = {}  # of the console's people


class Place(msgspec.Struct, frozen=True):
    """A demo's directory, what is remembered in it, and whether it was there before."""

    folder: Path
    state: DemoState
    again: bool


def prepare(folder: Path | None, calls: int, seed: int) -> Place:
    """Makes the directory, or takes up one of an earlier run with the same calls and seed."""
    fresh = folder is None
    path = (folder or DEFAULT_DIR).absolute()
    if fresh and path.exists():
        # Only what a demo made is ever removed.
        if not (path / STATE_FILE).exists() and any(path.iterdir()):
            raise DemoError(f"{path} is not a demo's directory; name one with --data-dir.",
                            usage=True)  # fmt: skip
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    held = path / STATE_FILE
    if held.exists():
        state = msgspec.json.decode(held.read_bytes(), type=DemoState)
        if (state.calls, state.seed) != (calls, seed):
            raise DemoError(
                f"{path} holds a demo of {state.calls} calls with seed {state.seed}; give the "
                "same --calls and --seed, or another --data-dir.",
                usage=True,
            )
        if not state.passwords:  # made before the console was
            state = _keep(held, msgspec.structs.replace(state, passwords=passwords()))
        return Place(path, state, True)
    state = DemoState(
        calls=calls,
        seed=seed,
        origin_ms=(int(time.time() * 1000) - BACK_MS) // HOUR_MS * HOUR_MS,
        client_secret=secrets.token_urlsafe(24),
        reader_secret=secrets.token_urlsafe(24),
        passwords=passwords(),
    )
    return Place(path, _keep(held, state), False)


def _keep(path: Path, state: DemoState) -> DemoState:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(msgspec.json.encode(state))
    return state


def write_config(
    place: Place, *, port: int, sim_port: int, speed: float, real_s: float,
    origin_ms: int | None = None,
) -> Path:  # fmt: skip
    """The platform's configuration: three lines of business, and the clock of the day.

    At `real_s`, in epoch seconds, domain time is `origin_ms`: the day's beginning unless told.
    """
    path = place.folder / CONFIG_FILE
    text = _CONFIG.format(
        port=port,
        folder=place.folder,
        client_secret=place.state.client_secret,
        reader_secret=place.state.reader_secret,
        sim=f"http://127.0.0.1:{sim_port}",
        origin_ms=place.state.origin_ms if origin_ms is None else origin_ms,
        speed=speed,
        real_s=real_s,
        back_s=SLOW_START_S * speed,
    )
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


_CONFIG = """\
# Written by `ocp-ingest demo`.
[server]
port = {port}

[data]
dir = "{folder}"
free_bytes_min = 268435456

[auth.clients.ocp-sim]
secret = "{client_secret}"
scopes = ["ingest"]

[auth.clients.demo]
secret = "{reader_secret}"
scopes = ["read", "operate"]

[clock]
origin_ms = {origin_ms}
scale = {speed}
real_origin_s = {real_s!r}

[fetch]
allowed_hosts = ["127.0.0.1"]
allow_private = true
allow_http = true

[ocp]
api_url = "{sim}"
username = "exporter"
password = "exporter"
groups = ["emea-retail", "latam-retail"]
allow_private = true
requests_per_s = 40.0
requests_burst = 40

[reconcile]
detect_every_s = 1800
# Both processes start within so much domain time, and the day begins before they do.
census_back_s = {back_s}

[policy]
# Two exports without a CDR are proof enough for a demonstration; the default is three.
cdr_misses_max = 2

[stage2]
# A small site: its few missing calls wait up to half a day for each other.
gather_ms = 43200000

[[routing]]
name = "banking"
lob = "banking"
when = {{ entry_app = "banking-*" }}

[[routing]]
name = "cards"
lob = "cards"
when = {{ entry_app = "cards-*" }}

[[routing]]
name = "insurance"
lob = "insurance"
when = {{ entry_app = "insurance-*" }}

[lob.banking.rules]
duration_ms_min = 1000

[lob.cards.rules]
duration_ms_min = 1000

[lob.insurance.rules]
duration_ms_min = 1000

[log]
format = "json"
level = "info"
"""
