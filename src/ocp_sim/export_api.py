"""The Export API over HTTP. Rules are the platform's, faults are the dice's.

Every request goes through the same gate, in this order: the connection may drop, token,
rate limit, fault of the day, rule. Errors are `{"message"}`.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Struct

from ocp_sim import ids
from ocp_sim.export_faults import JOB_FATES
from ocp_sim.platform import ExportFile, Job, RefusedError, ms_of
from ocp_sim.serving import Blob, Memory, drop, send
from ocp_sim.simulator import Simulator
from ocp_sim.tokens import LoginError

TICKETS_MAX: Final = 10_000  # short-lived URLs remembered
SERVER_ERRORS: Final = (500, 502, 503)
CONTENT_TYPES: Final = {
    "json": "application/x-ndjson",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "zip": "application/zip",
}


class CreateBody(Struct, frozen=True):
    """What an export is asked with."""

    from_: str = msgspec.field(name="from")
    to: str
    types: tuple[str, ...]


class Ticket(NamedTuple):
    """A short-lived URL: what it serves and until when (real seconds)."""

    job: Job
    file: ExportFile
    until_s: float


class Gate(NamedTuple):
    """What a request has when it is let in."""

    allowed: tuple[str, ...]
    fault: str | None


Handler = Callable[[web.Request, Gate], Awaitable[web.StreamResponse]]


class ExportApi:
    """Handlers of the Export API."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._tickets: dict[str, Ticket] = {}

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        root = f"{self._sim.settings.export.base_path}/groups/{{group}}/exports"
        return [
            web.post(root, self._gated("create", self.create)),
            web.get(root, self._gated("list", self.list)),
            web.get(f"{root}/{{job}}", self._gated("status", self.status)),
            web.delete(f"{root}/{{job}}", self._gated("cancel", self.cancel)),
            web.get(f"{root}/{{job}}/files", self._gated("files", self.files)),
            web.get(f"{root}/{{job}}/files/{{name}}", self._gated("download", self.download)),
            web.get("/signed/{ticket}", self.signed),
        ]

    async def create(self, request: web.Request, gate: Gate) -> web.StreamResponse:
        """201 with the job; 400, 403, 409."""
        group, now_ms = request.match_info["group"], self._sim.clock.now_ms()
        try:
            body = msgspec.json.decode(await request.read(), type=CreateBody)
        except msgspec.MsgspecError as wrong:
            raise RefusedError(400, f"Body: {wrong}") from None
        if gate.fault == "foreign" and group in gate.allowed:
            for_ms = int(self._sim.dice.faults.foreign_s * 1000)
            self._sim.platform.hold_slot(now_ms, group, for_ms)
        if gate.fault == "conflict":
            raise RefusedError(409, f"An export of group {group} is already running")
        job = self._sim.platform.create(
            now_ms,
            group,
            (ms_of(body.from_), ms_of(body.to)),
            body.types,
            allowed=gate.allowed,
            fate=self._sim.dice.fate(gate.fault if gate.fault in JOB_FATES else None),
        )
        if gate.fault == "answer_lost":
            drop(request)
        return web.json_response(job.shown(now_ms), status=201)

    async def list(self, request: web.Request, gate: Gate) -> web.StreamResponse:
        """Every export of the group, newest first."""
        now_ms = self._sim.clock.now_ms()
        jobs = self._sim.platform.exports(request.match_info["group"], allowed=gate.allowed)
        return web.json_response({"exports": [job.shown(now_ms) for job in jobs]})

    async def status(self, request: web.Request, gate: Gate) -> web.StreamResponse:
        """One export; 404."""
        return web.json_response(self._job(request, gate).shown(self._sim.clock.now_ms()))

    async def cancel(self, request: web.Request, gate: Gate) -> web.StreamResponse:
        """204; 409 once it has ended."""
        self._sim.platform.cancel(self._sim.clock.now_ms(), self._job(request, gate))
        return web.Response(status=204)

    async def files(self, request: web.Request, gate: Gate) -> web.StreamResponse:
        """One page of the file list; 409 before completion, 410 once the data is gone."""
        job = self._job(request, gate)
        found = self._sim.platform.files(self._sim.clock.now_ms(), job)
        page, size = self._page(request)
        shown = [await self._listed(job, file) for file in found[page * size :][:size]]
        pages = -(-len(found) // size)
        return web.json_response({"files": shown, "page": page, "totalPages": pages})

    async def download(self, request: web.Request, gate: Gate) -> web.StreamResponse:
        """The bytes, or 302 to a short-lived URL; 404, 409, 410, 416."""
        job = self._job(request, gate)
        found = self._sim.platform.files(self._sim.clock.now_ms(), job)
        name = request.match_info["name"]
        file = next((one for one in found if one.name == name), None)
        if file is None:
            raise RefusedError(404, "No such file in this export")
        wants = gate.fault in ("redirect", "redirect_expired")
        if wants or (gate.fault is None and self._redirects(job, name)):
            return self._redirect(request, job, file, expired=gate.fault == "redirect_expired")
        if gate.fault == "token_expired":
            self._sim.logins.revoke_access()
        return await self._send(request, job, file, gate.fault)

    async def signed(self, request: web.Request) -> web.StreamResponse:
        """What a short-lived URL serves, without a token; 403 once it has expired."""
        ticket = self._tickets.get(request.match_info["ticket"])
        if ticket is None or ticket.until_s <= self._sim.real_now_s():
            self._sim.answers["signed.403"] += 1
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        self._sim.answers["signed.200"] += 1
        return await self._send(request, ticket.job, ticket.file, None)

    def _gated(self, op: str, handler: Handler) -> Callable[[web.Request], Any]:
        async def gated(request: web.Request) -> web.StreamResponse:
            try:
                gate = await self._gate(op, request)
                response = await handler(request, gate)
            except RefusedError as refused:
                response = refused_response(refused)
            except web.HTTPRequestRangeNotSatisfiable:
                self._sim.answers[f"{op}.416"] += 1
                raise
            self._sim.answers[f"{op}.{response.status}"] += 1
            return response

        return gated

    async def _gate(self, op: str, request: web.Request) -> Gate:
        sim, faults = self._sim, self._sim.dice.faults
        try:
            allowed = sim.logins.groups(request.headers, sim.real_now_s())
        except LoginError as refused:
            raise RefusedError(refused.status, refused.description) from None
        if wait_s := sim.bucket.take(sim.real_now_s()):
            raise RefusedError(429, "Too many requests", wait_s)
        fault = sim.dice.draw(op, request.match_info["group"])
        match fault:
            case "rate_limited":
                raise RefusedError(429, "Too many requests", faults.retry_after_s)
            case "server_error":
                status = SERVER_ERRORS[sum(sim.dice.fired.values()) % len(SERVER_ERRORS)]
                raise RefusedError(status, "Something went wrong")
            case "unauthorized":
                sim.logins.revoke_access()
                raise RefusedError(401, "The token is unknown or has expired")
            case "dropped":
                drop(request)
                raise RefusedError(503, "Dropped")
            case "slow":
                await asyncio.sleep(faults.slow_s)
        return Gate(allowed, fault)

    def _job(self, request: web.Request, gate: Gate) -> Job:
        info = request.match_info
        return self._sim.platform.get(info["group"], info["job"], allowed=gate.allowed)

    def _page(self, request: web.Request) -> tuple[int, int]:
        most = self._sim.platform.rules.page_size_max
        try:
            page = int(request.query.get("page", "0"))
            size = int(request.query.get("size", str(most)))
        except ValueError:
            raise RefusedError(400, "page and size must be numbers") from None
        if page < 0 or size < 1:
            raise RefusedError(400, "page must be at least 0 and size at least 1")
        return page, min(size, most)

    async def _listed(self, job: Job, file: ExportFile) -> dict[str, Any]:
        if file.type == "audio" and not file.is_zip:  # its facts outlive its bytes in the cache
            recording = self._sim.world.recordings[file.recordings[0]]
            size, sha256 = await asyncio.to_thread(self._sim.world.sounds.facts, recording, "ocp")
        else:
            blob = await self._blob(job, file)
            size, sha256 = blob.size, blob.sha256
        shown: dict[str, Any] = {"name": file.name, "type": file.type, "size": size}
        return shown | ({"sha256": sha256} if file.with_sha256 else {})

    async def _blob(self, job: Job, file: ExportFile) -> Blob:
        audio = self._sim.world.audio
        if file.is_zip:
            return await self._sim.zips.get(job.id, ((n, audio(n)) for n in file.recordings))
        if file.type == "audio":
            return Memory(await asyncio.to_thread(audio, file.recordings[0]))
        return Memory(b"".join(line + b"\n" for line in file.lines))

    async def _send(
        self, request: web.Request, job: Job, file: ExportFile, fault: str | None
    ) -> web.StreamResponse:
        kind = CONTENT_TYPES[file.name.rsplit(".", 1)[1]]
        return await send(request, await self._blob(job, file), kind, fault)

    def _redirects(self, job: Job, name: str) -> bool:
        # By the file, not by the request: whoever resumes is redirected again.
        share = self._sim.platform.rules.redirect_share
        return ids.chance(job.id, name).random() < share

    def _redirect(
        self, request: web.Request, job: Job, file: ExportFile, *, expired: bool
    ) -> web.Response:
        life_s = 0 if expired else self._sim.platform.rules.redirect_ttl_s
        key = secrets.token_urlsafe(24)
        self._tickets[key] = Ticket(job, file, self._sim.real_now_s() + life_s)
        while len(self._tickets) > TICKETS_MAX:
            del self._tickets[next(iter(self._tickets))]
        base = self._sim.public_url or str(request.url.origin())
        return web.Response(status=302, headers={"Location": f"{base}/signed/{key}"})


def refused_response(refused: RefusedError) -> web.Response:
    """A refusal as the API words it."""
    headers = {}
    if refused.retry_after_s is not None:
        headers["Retry-After"] = str(refused.retry_after_s)
    return web.json_response({"message": refused.message}, status=refused.status, headers=headers)
