"""A small OCP whose every answer can be spoilt, and a client that never really waits."""

import asyncio
import hashlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from ocp_ingest.adapters.ocp.client import OcpClient
from ocp_ingest.adapters.ocp.settings import OcpSettings
from ocp_ingest.core.limits import Limits
from ocp_ingest.reconcile.ports import ExportFile, FetchedFile

GROUP = "emea-retail"
T0 = 1_760_000_400_000  # 2025-10-09T09:00:00Z
HOUR = 3_600_000
NOW = T0 + 5 * HOUR
PASSWORD = "s3cret-pass"
PAT = "pat-0123456789"
EXPORT = {
    "id": "x1",
    "status": "IN_PROGRESS",
    "from": "2025-10-09T09:00:00.000Z",
    "to": "2025-10-09T10:00:00.000Z",
    "types": ["audio"],
    "createdAt": "2025-10-09T13:59:00.000Z",
    "expiresAt": "2025-10-10T13:59:00.000Z",
}


class Reply(NamedTuple):
    """One answer. `wait_s` before it; `drop`: the connection closes instead, the effect done."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    wait_s: float = 0
    drop: bool = False


def reply(status: int, document: object, **headers: str) -> Reply:
    """An answer in JSON; underscores in header names become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, msgspec.json.encode(document), named)


class Content:
    """What a file's URL serves; each entry of `cuts` breaks one answer off after so many bytes."""

    def __init__(
        self,
        data: bytes,
        *,
        etag: str | None = "",
        ranges: bool = True,
        cuts: tuple[int, ...] = (),
        chunked: bool = False,
        until_close: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.data = data
        self.etag = f'"{hashlib.md5(data).hexdigest()}"' if etag == "" else etag
        self.ranges = ranges
        self.cuts = deque(cuts)
        self.chunked = chunked
        self.until_close = until_close
        self.headers = headers or {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        begin, status = self._begin(request)
        headers = dict(self.headers) | ({"ETag": self.etag} if self.etag else {})
        if status == 416:
            size = f"bytes */{len(self.data)}"
            return web.Response(status=416, headers=headers | {"Content-Range": size})
        if status == 206:
            size = f"bytes {begin}-{len(self.data) - 1}/{len(self.data)}"
            headers["Content-Range"] = size
        response = web.StreamResponse(status=status, headers=headers)
        body = self.data[begin:]
        if self.chunked:
            response.enable_chunked_encoding()
        elif self.until_close:
            return await _until_close(request, body)
        else:
            response.content_length = len(body)
        await response.prepare(request)
        cut = self.cuts.popleft() if self.cuts else None
        if cut is None or cut >= len(body):
            await response.write(body)
            await response.write_eof()
            return response
        await response.write(body[:cut])
        await asyncio.sleep(0.02)  # lets the reader have what came before the cut
        drop(request)
        return response

    def _begin(self, request: web.Request) -> tuple[int, int]:
        asked = request.headers.get("Range", "")
        if not self.ranges or not asked or request.headers.get("If-Range") != self.etag:
            return 0, 200
        begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        return begin, 416 if begin >= len(self.data) else 206


async def _until_close(request: web.Request, body: bytes) -> web.StreamResponse:
    """An answer of old: no length, the connection's end is the body's."""
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
    await asyncio.sleep(0.02)
    request.transport.close()
    return web.Response()


def drop(request: web.Request) -> None:
    """Closes the connection with a reset."""
    if request.transport is not None:
        request.transport.abort()


class Seen(NamedTuple):
    """A request as it arrived."""

    op: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    form: dict[str, str]


Scripted = Reply | Content | Callable[[Seen], Reply]


class Vendor:
    """OCP: a login and one export. `script[op]` has the next answers, `always[op]` the others."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.script: dict[str, deque[Scripted]] = defaultdict(deque)
        self.always: dict[str, Scripted] = {}
        self.tokens: set[str] = set()
        self.refresh_tokens: set[str] = set()
        self.given = 0
        self.expires_in: Any = 300
        app = web.Application()
        root = "/exports-api/v1/groups/{group}/exports"
        login = "/auth/realms/{realm}/protocol/openid-connect"
        for method, path, op in (
            ("POST", f"{login}/token", "token"),
            ("POST", f"{login}/logout", "logout"),
            ("POST", root, "create"),
            ("GET", root, "list"),
            ("GET", f"{root}/{{export}}", "status"),
            ("DELETE", f"{root}/{{export}}", "cancel"),
            ("GET", f"{root}/{{export}}/files", "files"),
            ("GET", f"{root}/{{export}}/files/{{file}}", "download"),
            ("GET", "/signed/{tail:.*}", "signed"),
        ):
            app.router.add_route(method, path, self._handler(op))
        self.server = TestServer(app, access_log=None)

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self.server.make_url("")).rstrip("/")

    def asked(self, op: str) -> list[Seen]:
        """The requests of one operation."""
        return [one for one in self.seen if one.op == op]

    def _handler(self, op: str) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            seen = await _seen(op, request)
            self.seen.append(seen)
            answer = self.script[op].popleft() if self.script[op] else self.always.get(op)
            if answer is None:
                answer = self._usual(seen, request)
            if isinstance(answer, Content):
                return await answer.serve(request)
            if not isinstance(answer, Reply):
                answer = answer(seen)
            await asyncio.sleep(answer.wait_s)
            if answer.drop:
                drop(request)
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

        return handle

    def _usual(self, seen: Seen, request: web.Request) -> Reply:
        if seen.op == "token":
            return self._token(seen.form)
        if seen.op == "logout":
            self.refresh_tokens.discard(seen.form["refresh_token"])
            return Reply(204, b"")
        token = seen.headers.get("Authorization", "").removeprefix("Bearer ")
        personal = seen.headers.get("X-OCP-PERSONAL-ACCESS-TOKEN")
        if token not in self.tokens and personal != PAT:
            return reply(401, {"message": "token is unknown"})
        return {
            "create": reply(201, EXPORT | {"status": "PENDING"}),
            "list": reply(200, {"exports": [EXPORT]}),
            "status": reply(200, EXPORT),
            "cancel": Reply(204, b""),
            "files": reply(200, {"files": [], "page": 0, "totalPages": 0}),
        }.get(seen.op, Reply(404))

    def _token(self, form: dict[str, str]) -> Reply:
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.refresh_tokens:
                return reply(400, {"error": "invalid_grant", "error_description": "not active"})
            self.refresh_tokens.discard(form["refresh_token"])
        elif form.get("password") != PASSWORD:
            return reply(401, {"error": "invalid_grant", "error_description": "bad credentials"})
        self.given += 1
        access, refresh = f"access-{self.given}", f"refresh-{self.given}"
        self.tokens.add(access)
        self.refresh_tokens.add(refresh)
        said = {"access_token": access, "refresh_token": refresh, "expires_in": self.expires_in}
        return reply(200, said)


async def _seen(op: str, request: web.Request) -> Seen:
    body = await request.read()
    form = {k: str(v) for k, v in (await request.post()).items()}
    path = request.raw_path.partition("?")[0]
    return Seen(op, path, dict(request.query), dict(request.headers), body, form)


class Times:
    """Real seconds that pass only by sleeping, and a log of the sleeps."""

    def __init__(self) -> None:
        self.at_s = 1_000.0
        self.slept: list[float] = []

    def steady_s(self) -> float:
        return self.at_s

    def wall_s(self) -> float:
        return 1_760_000_000.0 + self.at_s

    async def sleep(self, for_s: float) -> None:
        self.slept.append(for_s)
        self.at_s += for_s
        await asyncio.sleep(0)


class Bench(NamedTuple):
    """All that a test needs."""

    vendor: Vendor
    client: OcpClient
    times: Times


def settings(url: str, **given: Any) -> OcpSettings:
    """Settings of a user that leads to the vendor; quick time-outs."""
    who = {} if "personal_access_token" in given else {"username": "exporter", "password": PASSWORD}
    usual = {
        "api_url": url,
        "requests_per_s": 1_000.0,
        "requests_burst": 1_000,
        "connect_s_max": 2.0,
        "answer_s_max": 2.0,
        "download_idle_s_max": 2.0,
    }
    return OcpSettings(**{**usual, **who, **given})


@asynccontextmanager
async def bench(
    limits: Limits | None = None, vendor: Vendor | None = None, **given: Any
) -> AsyncIterator[Bench]:
    """A vendor that runs and a client of it."""
    vendor, times = vendor or Vendor(), Times()
    await vendor.server.start_server()
    try:
        async with OcpClient(
            settings(vendor.url, **given),
            now_ms=lambda: NOW,
            limits=limits,
            chance=lambda: 0.5,
            sleep=times.sleep,
            wall_s=times.wall_s,
            steady_s=times.steady_s,
        ) as client:
            yield Bench(vendor, client, times)
    finally:
        await vendor.server.close()


async def content(found: FetchedFile) -> bytes:
    """All bytes of a stream."""
    return b"".join([block async for block in found.blocks])


async def fetch_all(client: OcpClient, file: ExportFile) -> list[tuple[FetchedFile, bytes]]:
    """Every file of a fetch with its bytes."""
    return [(one, await content(one)) async for one in client.fetch(GROUP, "x1", file)]


async def fetch_one(client: OcpClient, file: ExportFile | None = None) -> bytes:
    """The bytes of a plain file."""
    [(_, data)] = await fetch_all(client, file or ExportFile("a.wav", "audio"))
    return data


def pattern(size: int) -> bytes:
    """Bytes that differ everywhere, so that a wrong offset shows."""
    return b"".join(n.to_bytes(4, "big") for n in range(size // 4 + 1))[:size]
