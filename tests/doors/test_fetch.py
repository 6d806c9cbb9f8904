"""Recordings delivered as a URL: fetched from allowed hosts at public addresses, only there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ocp_ingest.entrypoints.api.fetch import allowed_host, public
from tests.doors.kit import CALL, NAME, Doors, Reply, doors_of, encoded, wav

AUDIO = wav()
SHA = hashlib.sha256(AUDIO).hexdigest()
LOCAL = {"allowed_hosts": ["127.0.0.1"], "allow_private": True, "allow_http": True}


class Host:
    """A host of recordings: what it answers by path, and what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: dict[str, int] = {}
        self.redirects: dict[str, str] = {}
        self.release = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.asked.append(request.path)
        self.headers.append(dict(request.headers))
        if request.path in self.redirects:
            raise web.HTTPFound(self.redirects[request.path].replace("PORT", str(self.port)))
        if request.path in self.statuses:
            return web.Response(status=self.statuses[request.path], text="no")
        if request.path in ("/cut.wav", "/slow.wav"):
            return await self._partly(request)
        if request.path == "/gzip.wav":
            return web.Response(body=AUDIO, headers={"Content-Encoding": "gzip"})
        return web.Response(body=AUDIO)

    async def _partly(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(len(AUDIO))})
        await answer.prepare(request)
        await answer.write(AUDIO[:100])
        if request.path == "/slow.wav":
            await self.release.wait()
        assert request.transport is not None
        request.transport.abort()
        return answer


@asynccontextmanager
async def host() -> AsyncIterator[Host]:
    """Serves a host on a free loopback port."""
    served = Host()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    served.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield served
    finally:
        served.release.set()
        await runner.cleanup()


async def deliver(doors: Doors, url: str, **more: Any) -> Reply:
    """Delivers a recording as a URL."""
    body = encoded({"name": NAME, "url": url, **more})
    return await doors.post("/v1/recordings", body, Content_Type="application/json")


async def test_a_recording_is_fetched_without_our_tokens(tmp_path: Path) -> None:
    async with host() as there, doors_of(tmp_path, fetch=LOCAL) as doors:
        url = f"http://127.0.0.1:{there.port}/a.wav"
        reply = await deliver(doors, url, size=len(AUDIO), sha256=SHA)
        assert (reply.status, reply.json()["sha256"]) == (201, SHA)
        assert list(doors.landing().values()) == [AUDIO]
        assert "Authorization" not in there.headers[0]
        assert (await deliver(doors, url)).status == 200


async def test_the_name_may_be_that_of_the_url(tmp_path: Path) -> None:
    async with host() as there, doors_of(tmp_path, fetch=LOCAL) as doors:
        body = encoded({"url": f"http://127.0.0.1:{there.port}/x/{NAME.replace('~', '%7E')}?sig=1"})
        reply = await doors.post("/v1/recordings", body, Content_Type="application/json")
        assert (reply.status, reply.json()["call_id"]) == (201, CALL)


async def test_redirects_are_followed_inside_the_list_and_bounded(tmp_path: Path) -> None:
    async with host() as there, doors_of(tmp_path, fetch=LOCAL) as doors:
        base = f"http://127.0.0.1:{there.port}"
        there.redirects = {"/1": "/2", "/2": "http://127.0.0.1:PORT/a.wav", "/loop": "/loop"}
        assert (await deliver(doors, f"{base}/1")).status == 201
        loop = await deliver(doors, f"{base}/loop")
        assert (loop.status, loop.problem().code) == (400, "invalid")
        assert there.asked.count("/loop") == 4


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:PORT/a.wav",
        "https://evil.example/a.wav",
        "file:///etc/passwd",
        "http://user:secret@127.0.0.1:PORT/a.wav",
        "//evil.example/x",
    ],
)
async def test_a_redirect_off_the_list_is_refused(tmp_path: Path, target: str) -> None:
    async with host() as there, doors_of(tmp_path, fetch=LOCAL) as doors:
        there.redirects = {"/r": target}
        reply = await deliver(doors, f"http://127.0.0.1:{there.port}/r")
        assert (reply.status, reply.problem().code) == (400, "invalid")
        assert there.asked == ["/r"]
        assert doors.landing() == {}


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/a.wav",
        "https://127.0.0.1.evil.example/a.wav",
        "https://allowed.example.evil.example/a.wav",
        "http://allowed.example/a.wav",
        "ftp://allowed.example/a.wav",
        "file:///etc/passwd",
        "https://user:pw@allowed.example/a.wav",
        "https://localhost/a.wav",
        "https://private.example/a.wav",
        "https://[::1]/a.wav",
        "https://2130706433/a.wav",
        "/a.wav", "", "https://", "http://[", "https://allowed.example:99999/a",
    ],
)  # fmt: skip
async def test_a_forbidden_url_is_a_clear_400_and_nobody_is_asked(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"private.example": "10.1.2.3", "::1": "::1", "127.0.0.1": "127.0.0.1"}

    async def resolve(_: Any, name: str, port: Any, **__: Any) -> Any:
        if name not in names:
            raise AssertionError(f"{name} was looked up")
        return [(2, 1, 6, "", (names[name], port or 443))]

    allowed = ["allowed.example", "private.example", "::1", "localhost-not"]
    async with doors_of(tmp_path, fetch={"allowed_hosts": allowed}) as doors:
        loop = type(asyncio.get_running_loop())
        with monkeypatch.context() as patched:
            patched.setattr(loop, "getaddrinfo", resolve)
            reply = await deliver(doors, url)
        assert (reply.status, reply.problem().code) == (400, "invalid")
        assert doors.landing() == {}
        assert len(await doors.world.evidence.kept()) == 1


async def test_one_private_address_among_public_ones_is_enough_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(*_: Any, **__: Any) -> Any:
        return [(2, 1, 6, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.1")]

    async with doors_of(tmp_path, fetch={"allowed_hosts": ["a.example"]}) as doors:
        with monkeypatch.context() as patched:
            patched.setattr(type(asyncio.get_running_loop()), "getaddrinfo", resolve)
            reply = await deliver(doors, "https://a.example/x.wav")
        assert reply.status == 400
        assert "private" in reply.problem().detail


async def test_without_an_allowed_host_every_url_is_refused(doors: Doors) -> None:
    reply = await deliver(doors, "https://example.com/a.wav")
    assert reply.status == 400
    assert "allowed_hosts" in reply.problem().detail


@pytest.mark.parametrize(
    ("status", "answer"), [(404, 400), (403, 400), (410, 400), (204, 400), (206, 400),
                           (429, 503), (408, 503), (500, 503), (503, 503)],
)  # fmt: skip
async def test_what_the_host_answers_decides_whether_to_try_again(
    tmp_path: Path, status: int, answer: int
) -> None:
    async with host() as there, doors_of(tmp_path, fetch=LOCAL) as doors:
        there.statuses = {"/a.wav": status}
        reply = await deliver(doors, f"http://127.0.0.1:{there.port}/a.wav")
        assert reply.status == answer
        assert ("Retry-After" in reply.headers) == (answer == 503)
        assert doors.landing() == {}


async def test_a_broken_transfer_is_retried_and_leaves_nothing(tmp_path: Path) -> None:
    async with host() as there, doors_of(tmp_path, fetch=LOCAL) as doors:
        for url in (f"http://127.0.0.1:{there.port}/cut.wav", "http://127.0.0.1:1/a.wav"):
            assert (await deliver(doors, url)).status == 503
        assert doors.landing() == {}


@pytest.mark.parametrize("limit", [{"fetch_s_max": 0.4}, {"upload_idle_s_max": 0.4}])
async def test_a_transfer_that_takes_too_long_is_broken_off(
    tmp_path: Path, limit: dict[str, float]
) -> None:
    async with host() as there, doors_of(tmp_path, fetch=LOCAL, limits=limit) as doors:
        reply = await deliver(doors, f"http://127.0.0.1:{there.port}/slow.wav")
        assert reply.status == 503
        assert doors.landing() == {}


@pytest.mark.parametrize("wrong", [{"size": 5}, {"sha256": "0" * 64}])
async def test_bytes_other_than_announced_are_refused(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    async with host() as there, doors_of(tmp_path, fetch=LOCAL) as doors:
        reply = await deliver(doors, f"http://127.0.0.1:{there.port}/a.wav", **wrong)
        assert (reply.status, reply.problem().code) == (400, "invalid")
        assert doors.landing() == {}
        assert await doors.world.calls.call_ids() == []


async def test_a_recording_over_the_bound_is_not_fetched(tmp_path: Path) -> None:
    limits = {"recording_bytes_max": 1000}
    async with host() as there, doors_of(tmp_path, fetch=LOCAL, limits=limits) as doors:
        reply = await deliver(doors, f"http://127.0.0.1:{there.port}/a.wav")
        assert (reply.status, reply.problem().code) == (413, "too_large")


async def test_what_has_no_usable_name_is_not_fetched(tmp_path: Path) -> None:
    async with host() as there, doors_of(tmp_path, fetch=LOCAL) as doors:
        body = encoded({"url": f"http://127.0.0.1:{there.port}/a.wav"})
        reply = await doors.post("/v1/recordings", body, Content_Type="application/json")
        assert reply.status == 400
        assert there.asked == []


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False), ("10.0.0.1", False), ("172.16.5.4", False), ("192.168.1.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("255.255.255.255", False), ("::1", False), ("::", False),
        ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True), ("64:ff9b::a00:1", False), ("2002:a00:1::", False),
        ("2001:0:a00:1::", False),
    ],
)  # fmt: skip
def test_only_addresses_of_the_internet_are_public(address: str, is_public: bool) -> None:
    assert public(address) is is_public


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("a.example", True), ("A.Example.", True), ("x.cdn.example", True), ("cdn.example", False),
        ("evil-a.example", False), ("a.example.evil", False), ("xcdn.example", False),
    ],
)  # fmt: skip
def test_a_host_is_on_the_list_by_its_whole_name(name: str, allowed: bool) -> None:
    assert allowed_host(name, ("a.example", "*.cdn.example")) is allowed
