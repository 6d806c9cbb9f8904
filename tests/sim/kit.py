"""What the simulator's tests share: quick audio, a clock moved by hand, a receiver with faults."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import aiohttp
import msgspec
import multipart  # type: ignore[import-untyped]
from aiohttp import web
from aiohttp.test_utils import TestServer

from ocp_sim import config
from ocp_sim.clock import ScaledClock
from ocp_sim.model import Sound
from ocp_sim.simulator import Simulator
from ocp_sim.world import World, build_world

T0 = 1_760_000_400_000  # 2025-10-09T09:00:00Z, a whole hour
HOUR = 3_600_000
GROUPS = ("emea-retail", "latam-retail")


class FakeRenderer:
    """One byte per millisecond, different for each description and seed."""

    corruptions = ("zero_bytes", "truncate", "garbage")

    def __init__(self) -> None:
        self.rendered = 0

    def render(self, sound: Sound, seed: int) -> bytes:
        self.rendered += 1
        text = f"{sound!r}/{seed};".encode()
        return (text * (sound.duration_ms // len(text) + 1))[: sound.duration_ms]

    def corrupt(self, data: bytes, how: str, seed: int) -> bytes:
        return f"<{how} {seed}>".encode() + data[: len(data) // 2]

    def trim(self, sound: Sound, share: float) -> Sound:
        return sound._replace(duration_ms=int(sound.duration_ms * (1 - share)), mutes=())


class ManualClock:
    """Domain time that moves when told."""

    def __init__(self, now_ms: int = T0) -> None:
        self.origin_ms = now_ms
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def wait_s(self, until_ms: int) -> float:
        return max(0, until_ms - self.ms) / 1000

    def real_s(self, span_ms: float) -> float:
        return span_ms / 1000


def faults(**shares: float) -> config.StreamFaults:
    """Nothing goes wrong but this."""
    return msgspec.structs.replace(config.CALM, **shares)


def small_world(
    calls: int = 60,
    seed: int = 1,
    hours: float = 10,
    duration_s: tuple[float, float] = (5, 40),
    **shares: float,
) -> World:
    """Calls from T0 on, with those faults alone."""
    settings = config.World(hours=hours, duration_s=duration_s, faults=faults(**shares))
    return build_world(seed, calls, settings, start_ms=T0, renderer=FakeRenderer)


def simulator(
    settings: config.Settings | None = None, *, clock: ManualClock | ScaledClock | None = None
) -> Simulator:
    """A simulator with quick audio, calm unless told otherwise."""
    return Simulator(settings or calm_settings(), clock or ManualClock(), renderer=FakeRenderer)


def calm_settings(
    *,
    export: config.Export | None = None,
    export_faults: config.ExportFaults = config.CALM_EXPORTS,
    shares: config.StreamFaults = config.CALM,
    push: config.Push | None = None,
    auth: config.Auth | None = None,
    calls: int = 60,
    hours: float = 10,
) -> config.Settings:
    """Settings in which nothing goes wrong unless given."""
    return config.Settings(
        calls=calls,
        port=0,
        world=config.World(hours=hours, faults=shares),
        export=export or config.Export(redirect_share=0, rate_burst=10_000),
        export_faults=export_faults,
        push=push or config.Push(),
        auth=auth or config.Auth(),
    )


class Receiver:
    """Takes what the stream pushes; `fault(tries)` may answer instead, with a status or a drop."""

    def __init__(self, fault: Callable[[int], tuple[int, dict[str, str]] | None] | None = None):
        self.fault = fault or (lambda _: None)
        self.events: list[dict[str, Any]] = []
        self.recordings: list[tuple[str, str, str]] = []  # name, SHA-256, OCP group
        self.requests: list[web.Request] = []
        self.headers: list[dict[str, str]] = []
        self.tokens: set[str] = set()
        self.token_life_s = 300
        self.tries = 0
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/oauth2/token", self._token)
        app.router.add_post("/v1/events", self._guarded(lambda: self._take_events))
        app.router.add_route("*", "/v1/recordings", self._guarded(lambda: self._take_recording))
        self.server = TestServer(app, access_log=None)

    @property
    def url(self) -> str:
        return str(self.server.make_url("")).rstrip("/")

    def push(self, **given: Any) -> config.Push:
        """Push settings that lead here."""
        return config.Push(
            target=self.url,
            token_url=f"{self.url}/oauth2/token",
            client_secret="s3cret",
            **given,
        )

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if (form["grant_type"], form["client_secret"]) != ("client_credentials", "s3cret"):
            return web.json_response({"error": "invalid_client"}, status=401)
        token = f"token-number-{len(self.tokens)}"
        self.tokens.add(token)
        return web.json_response({"access_token": token, "expires_in": self.token_life_s})

    def _guarded(
        self, take: Callable[[], Callable[[web.Request, bytes], Any]]
    ) -> Callable[[web.Request], Any]:
        async def guarded(request: web.Request) -> web.Response:
            self.tries += 1
            self.headers.append(dict(request.headers))
            if request.headers["Authorization"].removeprefix("Bearer ") not in self.tokens:
                return web.Response(status=401)
            try:
                body = await request.read()
            except (ConnectionError, web.HTTPException):
                return web.Response(status=400)
            if (spoilt := self.fault(self.tries)) is not None:
                status, headers = spoilt
                if status == 0:
                    assert request.transport is not None
                    request.transport.abort()
                return web.Response(status=status or 500, headers=headers)
            await take()(request, body)
            return web.Response(status=202)

        return guarded

    async def _take_events(self, request: web.Request, body: bytes) -> None:
        kind = request.headers["Content-Type"]
        if kind == "application/x-ndjson":
            self.events += [json.loads(line) for line in body.splitlines()]
        else:
            document = json.loads(body)
            self.events += document if isinstance(document, list) else [document]

    async def _take_recording(self, request: web.Request, body: bytes) -> None:
        name, data = await delivered(request, body)
        group = request.query["ocp_group"]
        self.recordings.append((name, hashlib.sha256(data).hexdigest(), group))


async def delivered(request: web.Request, body: bytes) -> tuple[str, bytes]:
    """Name and bytes of a recording in whichever form it came."""
    kind = request.headers["Content-Type"]
    if kind == "application/json":
        document = json.loads(body)
        if "data" in document:
            return document["name"], base64.b64decode(document["data"])
        async with aiohttp.ClientSession() as session, session.get(document["url"]) as response:
            data = await response.read()
        assert len(data) == document["size"]
        assert hashlib.sha256(data).hexdigest() == document["sha256"]
        return document["name"], data
    if kind.startswith("multipart/"):
        environ = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": kind, "wsgi.input": BytesIO(body)}
        forms, files = multipart.parse_form_data(environ, strict=True)
        name = files["file"].filename
        assert json.loads(forms["metadata"])["name"] == name
        return name, files["file"].raw
    if "name" in request.query:
        return request.query["name"], body
    return request.headers["Content-Disposition"].split('"')[1], body


async def until(settled: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something to become true; fails when it does not."""
    async with asyncio.timeout(seconds):
        while not settled():
            await asyncio.sleep(0.01)
