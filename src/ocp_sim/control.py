"""`/_sim/*`: what tests and the demo ask of the simulator, and nothing that OCP has.

| Request | Answer |
|---|---|
| GET /_sim/status | clock, progress of the push, exports so far, faults that fired |
| GET /_sim/ledger?page=&size= | {"calls", "page", "totalPages", "total"} |
| GET /_sim/ledger?format=ndjson | one entry a line |
| GET /_sim/audio/{name}?source=ocp or stream | the bytes of a recording |
| POST /_sim/start {target?, token_url?, client_id?, client_secret?, scope?} | 202, 409 when begun |
| POST /_sim/faults {export_faults?, export?, paused?, muted_groups?} | 200 with the status |
| POST /_sim/exports/foreign {group, seconds} | somebody else's export takes the slot |
| POST /_sim/clock {scale} | domain time goes on at another pace; {now_ms, real_s, scale} |
| GET /media/{source}/{name} | what a URL delivery points to |
"""

import asyncio
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct
from msgspec.structs import asdict, replace

from ocp_sim import config
from ocp_sim.clock import ScaledClock
from ocp_sim.ledger import entry
from ocp_sim.model import Source
from ocp_sim.platform import RefusedError
from ocp_sim.serving import Memory, send
from ocp_sim.simulator import Simulator

PAGE_SIZE_MAX: Final = 1000
T = TypeVar("T")


class Start(Struct, frozen=True, forbid_unknown_fields=True):
    """Overrides of the push settings."""

    target: str | None = None
    token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    scope: str | None = None


class Change(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change while running; `export` names only the rules that change."""

    export_faults: config.ExportFaults | None = None
    export: dict[str, Any] | None = None
    paused: bool | None = None
    muted_groups: tuple[str, ...] | None = None


class Foreign(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody else's export, `seconds` of domain time long."""

    group: str
    seconds: float = 600


class Pace(Struct, frozen=True, forbid_unknown_fields=True):
    """Domain seconds per real second."""

    scale: float


class Control:
    """Handlers of the control endpoints."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get("/_sim/status", self.status),
            web.get("/_sim/ledger", self.ledger),
            web.get("/_sim/audio/{name}", self.audio),
            web.post("/_sim/start", self.start),
            web.post("/_sim/faults", self.faults),
            web.post("/_sim/exports/foreign", self.foreign),
            web.post("/_sim/clock", self.clock),
            web.get("/media/{source}/{name}", self.media),
        ]

    async def status(self, _: web.Request) -> web.StreamResponse:
        """Where everything stands."""
        return web.json_response(self._sim.shown())

    async def ledger(self, request: web.Request) -> web.StreamResponse:
        """How each call must end."""
        if request.query.get("format") == "ndjson":
            return await self._ledger_lines(request)
        try:
            page = max(0, int(request.query.get("page", "0")))
            size = min(PAGE_SIZE_MAX, max(1, int(request.query.get("size", "100"))))
        except ValueError:
            raise RefusedError(400, "page and size must be numbers") from None
        calls = self._sim.world.calls
        shown = [await self._line(n) for n in range(len(calls))[page * size :][:size]]
        body = {
            "calls": [msgspec.Raw(line) for line in shown],
            "page": page,
            "totalPages": -(-len(calls) // size),
            "total": len(calls),
        }
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    async def audio(self, request: web.Request) -> web.StreamResponse:
        """The bytes of a recording; 404."""
        source: Source = "stream" if request.query.get("source") == "stream" else "ocp"
        return await self._audio(request, request.match_info["name"], source)

    async def media(self, request: web.Request) -> web.StreamResponse:
        """The bytes that a URL delivery stands for; 404."""
        source: Source = "stream" if request.match_info["source"] == "stream" else "ocp"
        return await self._audio(request, request.match_info["name"], source)

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Begin to push; 400 without a target, 409 when begun."""
        asked = asdict(await _body(request, Start))
        given = {key: value for key, value in asked.items() if value is not None}
        try:
            self._sim.pusher.start(replace(self._sim.settings.push, **given))
        except ValueError as wrong:
            raise RefusedError(400, str(wrong)) from None
        except RuntimeError as wrong:
            raise RefusedError(409, str(wrong)) from None
        return web.json_response(self._sim.shown(), status=202)

    async def faults(self, request: web.Request) -> web.StreamResponse:
        """Other faults, rules or switches from now on; 400 names what is wrong."""
        change = await _body(request, Change)
        try:
            if change.export is not None:
                rules = asdict(self._sim.platform.rules) | change.export
                self._sim.change_rules(msgspec.convert(rules, config.Export))
            if change.export_faults is not None:
                self._sim.change_export_faults(change.export_faults)
        except ValueError as wrong:  # msgspec's own errors are ValueErrors too
            raise RefusedError(400, str(wrong)) from None
        if change.muted_groups is not None:
            self._sim.pusher.muted_groups = frozenset(change.muted_groups)
        if change.paused is not None:
            self._sim.pusher.pause(change.paused)
        return web.json_response(self._sim.shown())

    async def foreign(self, request: web.Request) -> web.StreamResponse:
        """Take a group's slot; 404 for an unknown group."""
        asked = await _body(request, Foreign)
        if asked.group not in self._sim.platform.jobs:
            raise RefusedError(404, "No such group")
        now_ms = self._sim.clock.now_ms()
        self._sim.platform.hold_slot(now_ms, asked.group, int(asked.seconds * 1000))
        return web.json_response(self._sim.shown())

    async def clock(self, request: web.Request) -> web.StreamResponse:
        """Another pace; 400 for one that is not above 0, 409 where time is not scaled."""
        asked = await _body(request, Pace)
        clock = self._sim.clock
        if not isinstance(clock, ScaledClock):
            raise RefusedError(409, "This clock keeps its pace")
        try:
            now_ms, real_s = clock.rescale(asked.scale)
        except ValueError as wrong:
            raise RefusedError(400, str(wrong)) from None
        return web.json_response({"now_ms": now_ms, "real_s": real_s, "scale": asked.scale})

    async def _ledger_lines(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for index in range(len(self._sim.world.calls)):
            await response.write(await self._line(index) + b"\n")
        await response.write_eof()
        return response

    async def _line(self, index: int) -> bytes:
        world = self._sim.world
        return msgspec.json.encode(await asyncio.to_thread(entry, world, world.calls[index]))

    async def _audio(self, request: web.Request, name: str, source: Source) -> web.StreamResponse:
        recording = self._sim.world.recordings.get(name)
        if recording is None:
            raise RefusedError(404, "No such recording")
        data = await asyncio.to_thread(self._sim.world.audio, name, source)
        return await send(request, Memory(data), recording.content_type)


async def _body(request: web.Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)
    except msgspec.MsgspecError as wrong:
        raise RefusedError(400, f"Body: {wrong}") from None
