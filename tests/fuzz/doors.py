"""The door for recordings without sockets: bytes in, in any blocks, an answer out.

The real handler over a memory world, given ASGI messages by hand: that is what makes a fuzzer
fast, and what lets it cut a body anywhere.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.adapters.tokens.setup import authority
from ocp_ingest.entrypoints.api.app import create_app
from ocp_ingest.entrypoints.api.deps import Deps
from ocp_ingest.entrypoints.api.inbound import Inbound, Patience
from ocp_ingest.entrypoints.api.problems import Answer, problem
from ocp_ingest.entrypoints.api.recordings import take_recording
from tests.doors.kit import NOW_MS, WatchedStore, config_of, memory_world

NAME = f"dia~acc~{NOW_MS}~grp.wav"
# Small, so that a small input can be over them.
LIMITS = {"base64_bytes_max": 4_096, "recording_bytes_max": 1 << 20}
IDLE_S = 5.0


class Site:
    """One API over a memory that begins empty."""

    def __init__(self, deps: Deps, state: MemoryState, store: WatchedStore) -> None:
        self.deps = deps
        self.state = state
        self.store = store
        self.read = 0

    def landed(self) -> dict[str, bytes]:
        """What is in the landing store."""
        return {key: body for key, (body, _) in self.state.buckets.get("landing", {}).items()}

    def open_uploads(self) -> int:
        """Uploads that were neither committed nor aborted."""
        return sum(not upload._ended for upload in self.store.begun)


class Sites:
    """Makes sites that share what is dear: the configuration and the issuer's key."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        # No host is allowed to be fetched from: a fuzzer must not knock at anybody's door.
        self._config = config_of(Path(self._folder.name), limits=LIMITS)
        self._authority = authority(self._config.auth, Path(self._folder.name))
        assert self._authority.issuer is not None
        token = self._authority.issuer.issue("ocp", ("ingest",), 86_400).access_token
        self.headers = {b"authorization": f"Bearer {token}".encode()}
        world = memory_world(self._config, MemoryState(), Faults())
        # The router is dear to build and no part of what is fuzzed; of it we take the wiring only.
        self._wired = create_app(world, self._authority, self._config).deps

    def site(self) -> Site:
        """A new one."""
        state, faults = MemoryState(), Faults()
        world = memory_world(self._config, state, faults)
        assert isinstance(world.recordings, WatchedStore)
        return Site(replace(self._wired, world=world), state, world.recordings)

    async def deliver(
        self, site: Site, blocks: Sequence[bytes], headers: Mapping[bytes, bytes]
    ) -> Answer:
        """The answer to a body that comes in these blocks."""
        left = list(reversed(blocks))

        async def receive() -> Any:
            site.read += 1
            body = left.pop() if left else b""
            return {"type": "http.request", "body": body, "more_body": bool(left)}

        scope: Any = {
            "method": "POST", "query_string": b"",
            "headers": list({**self.headers, **headers}.items()),
        }  # fmt: skip
        request = Inbound(scope, receive, Patience(IDLE_S))
        try:
            return await take_recording(site.deps, request)
        except Exception as bad:
            # The door's own last resort; a 500 of it is what a fuzzer looks for.
            answer = problem(bad, "/v1/recordings")
            if answer.status == 500:
                raise
            return answer


def told(answer: Answer) -> dict[str, Any]:
    """The answer's JSON."""
    said: dict[str, Any] = msgspec.json.decode(answer.body)
    return said
