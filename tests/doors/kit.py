"""The real API on the real server over a memory world, and a client for it."""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from ocp_ingest import config as config_reader
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.adapters.memory.call_store import MemoryCallStore
from ocp_ingest.adapters.memory.clock import ManualClock
from ocp_ingest.adapters.memory.evidence import MemoryEvidence, MemoryIncidents
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.recording_store import MemoryRecordingStore, MemoryUpload
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.adapters.memory.timetable import MemoryTimetable
from ocp_ingest.adapters.memory.work_queue import MemoryWorkQueue
from ocp_ingest.adapters.tokens.setup import Authority, authority
from ocp_ingest.config_model import Config
from ocp_ingest.entrypoints.api.answers import Problem
from ocp_ingest.entrypoints.api.app import Api, create_app
from ocp_ingest.entrypoints.api.server import serving
from ocp_ingest.ingest.world import World

NOW_MS = 1_795_341_600_000  # 2026-11-22T10:00:00Z
SECRET = "correct-horse-battery"
ISSUER_KEY: dict[str, bytes] = {}


def config_of(data_dir: Path, **sections: Any) -> Config:
    """A configuration with three clients; `sections` are joined over it."""
    tree: dict[str, Any] = {
        "server": {"port": 0, "stop_s_max": 5.0},
        "data": {"dir": str(data_dir), "free_bytes_min": 1},
        "auth": {
            "clients": {
                "ocp": {"secret": SECRET, "scopes": ["ingest"], "ocp_group": "group-of-client"},
                "viewer": {"secret": SECRET, "scopes": ["read"]},
                "operator": {"secret": SECRET, "scopes": ["read", "operate"]},
            }
        },
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section}
    return config_reader.parse(tree)


class WatchedStore(MemoryRecordingStore):
    """Remembers the uploads that were begun, so that one left open is found."""

    def __init__(self, state: MemoryState, faults: Faults) -> None:
        super().__init__(state, faults)
        self.begun: list[MemoryUpload] = []

    async def begin(self) -> MemoryUpload:
        """Starts an upload."""
        self.begun.append(await super().begin())
        return self.begun[-1]


def memory_world(config: Config, state: MemoryState, faults: Faults) -> World:
    """A world in memory whose domain clock stands at NOW_MS."""
    clock = ManualClock(NOW_MS)
    settings = config_reader.settings(config)
    return World(
        settings=settings,
        clock=clock,
        calls=MemoryCallStore(state, faults, Deriving.of(settings)),
        evidence=MemoryEvidence(state, faults),
        incidents=MemoryIncidents(state, faults),
        recordings=WatchedStore(state, faults),
        queue=MemoryWorkQueue(state, faults, clock),
        timetable=MemoryTimetable(state, faults),
        chance=lambda: 0.5,
    )


@dataclass
class Reply:
    """An answer, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)

    def problem(self) -> Problem:
        """The body as problem details; fails when it is none."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        found = msgspec.json.decode(self.body, type=Problem)
        assert found.status == self.status
        assert found.detail
        return found


@dataclass
class Doors:
    """A served API, its world, and a client."""

    port: int
    api: Api
    world: World
    state: MemoryState
    faults: Faults
    config: Config
    authority: Authority
    session: aiohttp.ClientSession

    def token(self, *scopes: str, client: str = "ocp", ttl_s: int = 600) -> str:
        """A token of the built-in issuer."""
        issuer = self.authority.issuer
        assert issuer is not None
        return issuer.issue(client, scopes or ("ingest", "read", "operate"), ttl_s).access_token

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = "",
        headers: Any = None,
        data: Any = None,
    ) -> Reply:
        """One request; with a token of every scope unless another, or None, is given."""
        sent = dict(headers or {})
        token = self.token() if token == "" else token
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.session.request(method, url, headers=sent, data=data) as answer:
            return Reply(answer.status, dict(answer.headers), await answer.read())

    async def post(self, path: str, data: Any, **headers: str) -> Reply:
        """A POST; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call("POST", path, headers=named, data=data)

    async def get(self, path: str) -> Reply:
        """A GET."""
        return await self.call("GET", path)

    @property
    def clock(self) -> ManualClock:
        """Domain time."""
        assert isinstance(self.world.clock, ManualClock)
        return self.world.clock

    def landing(self) -> dict[str, bytes]:
        """What is in the landing store."""
        return {k: body for k, (body, _) in self.state.buckets.get("landing", {}).items()}


@asynccontextmanager
async def doors_of(data_dir: Path, more: Any = None, **sections: Any) -> AsyncIterator[Doors]:
    """Serves an API with a configuration of one's own; `more` are arguments of create_app."""
    config = config_of(data_dir, **sections)
    data_dir.mkdir(parents=True, exist_ok=True)
    if "pem" in ISSUER_KEY:
        (data_dir / "token-issuer.pem").write_bytes(ISSUER_KEY["pem"])
    state, faults = MemoryState(), Faults()
    world = memory_world(config, state, faults)
    held = authority(config.auth, data_dir, time.time)
    if (data_dir / "token-issuer.pem").exists():
        ISSUER_KEY["pem"] = (data_dir / "token-issuer.pem").read_bytes()
    api = create_app(world, held, config, **(more or {}))
    async with serving(api, config.server) as port, aiohttp.ClientSession() as session:
        yield Doors(port, api, world, state, faults, config, held, session)
    assert isinstance(world.recordings, WatchedStore)
    assert all(upload._ended for upload in world.recordings.begun), "an upload was left open"


# -- inputs --------------------------------------------------------------------------------------

CALL = "c0ffee." + str(NOW_MS - 60_000) + ".beef"
NAME = f"{CALL}~acc~{NOW_MS - 60_000}~{CALL}.wav"


def event(kind: str = "dialog_start", call: str = CALL, **more: Any) -> dict[str, Any]:
    """A CDR of a root dialog."""
    body: dict[str, Any] = {
        "message_type": kind, "id": call, "group": call, "time": NOW_MS - 60_000,
        "origin_uri": "+34600123456", "destination_uri": "900100200", "channel": "omIVR",
        "direction": "inbound", "test_flag": False,
        "incoming_attached_data": {"customer_id": "C-1", "note": "Ana, +34 600 123 456"},
        "flow": {"type": "Flow", "parent_step": 0, "account_id": "acc", "name": "Reception"},
    }  # fmt: skip
    if kind == "dialog_end":
        body |= {"duration": 20_000, "end_type": "NEAR_HUP", "events": "globalResult:success"}
    return {**body, **more}


def encoded(value: Any) -> bytes:
    """As JSON."""
    return msgspec.json.encode(value)


def wav(seconds: float = 1.0, fill: int = 7) -> bytes:
    """A plain WAV, PCM16 mono 8 kHz."""
    data = bytes([fill, 0]) * int(8000 * seconds)
    return wav_head(len(data)) + data


def wav_head(data_bytes: int) -> bytes:
    """The header of such a WAV."""
    fmt = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16_000, 2, 16)
    size = struct.pack("<I", min(36 + data_bytes, 0xFFFFFFFF))
    return b"RIFF" + size + b"WAVEfmt " + fmt + b"data" + struct.pack("<I", data_bytes)
