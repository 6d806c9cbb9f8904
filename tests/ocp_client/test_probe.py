"""The probe tells where a tenant differs and which setting adapts it, and changes nothing there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestServer

from ocp_ingest.adapters.ocp.probe import probe
from ocp_ingest.adapters.ocp.probe_answers import Seen
from ocp_ingest.core.limits import DAY_MS
from ocp_sim import config
from ocp_sim.server import make_app
from tests.ocp_client.kit import GROUP, PASSWORD, Reply, Vendor, reply, settings
from tests.ocp_client.kit import Seen as Request
from tests.sim.kit import HOUR, T0, ManualClock, calm_settings, simulator

DONE = {
    "id": "x1", "status": "COMPLETED", "from": "2025-10-09T09:00:00.000Z",
    "to": "2025-10-09T10:00:00.000Z", "types": ["audio"], "fileCount": 3,
    "createdAt": "2025-10-09T13:59:00.000Z", "expiresAt": "2025-10-10T13:59:00.000Z",
}  # fmt: skip
NAMES = [f"c{n}~acc~1760000400000~c{n}.wav" for n in range(3)]
FILES = [{"name": name, "type": "audio", "size": 8, "sha256": "ab" * 32} for name in NAMES]


def texts(found: list[Seen], result: str) -> str:
    """All findings of a kind, joined."""
    return "\n".join(f"{f.what}: {f.text}" for f in found if f.result == result)


def paged(files: list[dict[str, Any]]) -> Callable[[Request], Reply]:
    """A file list that understands pages."""

    def answer(seen: Request) -> Reply:
        page, size = int(seen.query["page"]), int(seen.query["size"])
        part = files[page * size : (page + 1) * size]
        return reply(200, {"files": part, "page": page, "totalPages": -(-len(files) // size)})

    return answer


def missing_or(known: Reply) -> Callable[[Request], Reply]:
    """The answer of the one export there is, and of any other."""
    return lambda seen: known if "/x1" in seen.path else reply(404, {"message": "no such export"})


def tenant() -> Vendor:
    """A tenant that is as ocp-facts 10.3 adopts it."""
    vendor = Vendor()
    vendor.always["list"] = reply(200, {"exports": [DONE]})
    vendor.always["status"] = missing_or(reply(200, DONE))
    vendor.always["files"] = paged(FILES)
    vendor.always["download"] = Reply(206, b"R", {"ETag": '"e"', "Content-Range": "bytes 0-0/8"})
    return vendor


@asynccontextmanager
async def probed(vendor: Vendor, **given: Any) -> AsyncIterator[list[Seen]]:
    """What a probe of it says; fails when it wrote anything at OCP."""
    await vendor.server.start_server()
    try:
        found = await probe(settings(vendor.url, **given), [GROUP], life_ms=DAY_MS)
        assert not vendor.asked("create")
        assert not vendor.asked("cancel")
        said = "\n".join(f.text for f in found)
        secrets = [PASSWORD, *vendor.tokens, *vendor.refresh_tokens, *NAMES, "x1"]
        assert not [secret for secret in secrets if secret in said], "a value was shown"
        yield found
    finally:
        await vendor.server.close()


async def test_a_tenant_as_adopted_has_nothing_to_look_at() -> None:
    async with probed(tenant()) as found:
        assert [f for f in found if f.result != "ok"] == []
        looked_at = {f.what for f in found}
        assert looked_at >= {
            "ocp login", "ocp listing", "ocp states", "ocp data types", "ocp times", "ocp status",
            "ocp exports' life", "ocp files", "ocp pages", "ocp download", "ocp unknown export",
        }  # fmt: skip


def renamed(entry: dict[str, Any], **names: str) -> dict[str, Any]:
    """An object under other names of fields."""
    return {names.get(key, key): value for key, value in entry.items()}


def listed(*exports: dict[str, Any], **top: Any) -> Callable[[Vendor], None]:
    """A tenant whose listing differs."""

    def change(vendor: Vendor) -> None:
        vendor.always["list"] = reply(200, top or {"exports": list(exports)})

    return change


def answers(op: str, answer: Any) -> Callable[[Vendor], None]:
    """A tenant that answers an operation otherwise."""

    def change(vendor: Vendor) -> None:
        vendor.always[op] = answer

    return change


def lives(expires_in: Any) -> Callable[[Vendor], None]:
    """A tenant whose tokens say another life."""

    def change(vendor: Vendor) -> None:
        vendor.expires_in = expires_in

    return change


def always_first(seen: Request) -> Reply:
    """A file list that does not understand page numbers."""
    return reply(200, {"files": FILES[: int(seen.query["size"])], "totalPages": 3})


def from_one(seen: Request) -> Reply:
    """A file list whose first page is number 1; 0 is taken for it."""
    page, size = max(0, int(seen.query["page"]) - 1), int(seen.query["size"])
    return reply(200, {"files": FILES[page * size : (page + 1) * size], "totalPages": 3})


def unsized(_: Request) -> Reply:
    """A file list that does not understand sizes."""
    return reply(200, {"files": FILES, "totalPages": 1})


AWAY = Reply(302, b"", {"Location": "https://bucket.example/secret-path?sig=1"})
DEVIATIONS: dict[str, tuple[Callable[[Vendor], None], str, str]] = {
    "list elsewhere": (listed(items=[DONE]), "fail", "`ocp.fields.exports`"),
    "bare list": (answers("list", reply(200, [DONE])), "look", "the list itself"),
    "another id field": (listed(renamed(DONE, id="exportId")), "fail", "`ocp.fields.id`"),
    "another to": (listed(renamed(DONE, to="until")), "fail", "`ocp.fields.window_to`"),
    "no expiry": (listed(renamed(DONE, expiresAt="until")), "look", "`ocp.fields.expires_at`"),
    "a strange state": (listed(DONE | {"status": "DONE"}), "fail", "'DONE' is not known"),
    "strange types": (listed(DONE | {"types": ["wcr"]}), "look", "'wcr' is none of `ocp.names."),
    "seconds": (listed(DONE | {"createdAt": 1_760_000_000}), "fail", "seconds, not milliseconds"),
    "numbers": (listed(DONE | {"createdAt": 1_760_000_000_000}), "look", "`ocp.time_format = "),
    "no zone": (listed(DONE | {"from": "2025-10-09T09:00:00"}), "look", "names no time zone"),
    "kept longer": (
        listed(DONE | {"expiresAt": "2025-10-16T13:59:00.000Z"}), "look",
        "kept 168 h: set `stage2.export_life_ms`",
    ),
    "no JSON": (answers("list", Reply(200, b"<html>")), "fail", "neither an object nor a list"),
    "errors in words": (answers("status", lambda s: reply(200, DONE) if "/x1" in s.path
                                else Reply(404, b"no")), "look", "The error is no JSON"),
    "no ranges": (answers("download", Reply(200, b"RIFF")), "look", "can't be resumed"),
    "another status": (answers("status", lambda s: reply(200, DONE | {"id": "x3"})
                               if "/x1" in s.path else reply(404, {"message": ""})), "fail",
                       "`ocp.paths.export`"),
    "nothing listed": (listed(exports=[]), "look", "no export to look at"),
    "not allowed": (answers("list", reply(403, {"message": "no"})), "fail", "whitelist"),
    "not there": (answers("list", reply(404, {"message": "no"})), "fail", "`ocp.paths`"),
    "files elsewhere": (answers("files", reply(200, {"content": FILES})), "fail",
                        "`ocp.fields.files`"),
    "file names elsewhere": (answers("files", paged([renamed(f, name="fileName") for f in FILES])),
                             "fail", "`ocp.fields.file_name`"),
    "strange names": (answers("files", paged([f | {"name": "a.wav"} for f in FILES])), "look",
                      "are not `group~account~time~dialog.wav`"),
    "no sizes": (answers("files", paged([renamed(f, size="length") for f in FILES])), "look",
                 "`ocp.fields.file_size`"),
    "pages not told": (answers("files", reply(200, {"files": FILES[:1]})), "look",
                       "`ocp.fields.total_pages`"),
    "pages repeat": (answers("files", always_first), "fail", "`ocp.fields.page_query`"),
    "pages from one": (answers("files", from_one), "fail", "set `ocp.page_first` to 1"),
    "sizes ignored": (answers("files", unsized), "look", "`ocp.fields.size_query`"),
    "redirected away": (answers("download", AWAY), "fail", "`ocp.redirect_hosts`"),
    "no file": (answers("download", Reply(500)), "fail", "`ocp.paths.file`"),
    "unknown is 400": (answers("status", lambda s: reply(200, DONE) if "/x1" in s.path
                               else reply(400, {"message": "?"})), "fail", "answered 400"),
    "errors elsewhere": (answers("status", lambda s: reply(200, DONE) if "/x1" in s.path
                                 else reply(404, {"detail": "?"})), "look", "`ocp.fields.message`"),
    "expired is 200": (
        listed(DONE, DONE | {"id": "x2", "status": "EXPIRED"}), "look",
        "Its files are answered 200",
    ),
    "life not told": (lives(None), "look", "`ocp.token_ttl_s`"),
    "life too short": (lives(20), "look", "`ocp.token_early_s`"),
    "no renewal": (
        answers("token", reply(200, {"access_token": "token-of-one"})), "look", "a new login",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEVIATIONS)
async def test_a_tenant_that_differs_is_told_with_the_setting(name: str) -> None:
    change, result, words = DEVIATIONS[name]
    vendor = tenant()
    change(vendor)
    if name == "no renewal":
        vendor.tokens.add("token-of-one")
    async with probed(vendor) as found:
        assert words in texts(found, result), found
    async with probed(tenant()) as usual:
        assert words not in texts(usual, result), "the tenant as adopted is told the same"


async def test_a_login_that_is_refused_ends_it_with_the_settings_to_look_at() -> None:
    async with probed(tenant(), password="wrong-password") as found:
        [only] = found
        assert only.result == "fail"
        assert "`ocp.username`" in only.text
        assert "wrong-password" not in only.text


async def test_nobody_there_is_a_finding() -> None:
    found = await probe(settings("http://127.0.0.1:9"), [GROUP], life_ms=DAY_MS)
    assert "`ocp.auth_url`" in texts(found, "fail")


async def test_without_a_group_only_the_login_is_looked_at() -> None:
    vendor = tenant()
    await vendor.server.start_server()
    try:
        found = await probe(settings(vendor.url), [], life_ms=DAY_MS)
        assert "`ocp.groups`" in texts(found, "look")
        assert not vendor.asked("list")
    finally:
        await vendor.server.close()


@pytest.mark.parametrize("personal", [False, True])
async def test_the_simulator_is_as_adopted(personal: bool) -> None:
    clock = ManualClock(T0)
    rules = config.Export(redirect_share=0, rate_burst=10_000)
    sim = simulator(calm_settings(export=rules), clock=clock)
    clock.ms = T0 + 20 * HOUR
    server = TestServer(make_app(sim), access_log=None)
    await server.start_server()
    url = str(server.make_url("")).rstrip("/")
    try:
        who: dict[str, Any] = {"personal_access_token": "sim-pat"} if personal else {
            "username": "exporter", "password": "exporter",
        }  # fmt: skip
        body = {"from": "2025-10-09T09:00:00.000Z", "to": "2025-10-09T19:00:00.000Z",
                "types": ["audio"]}  # fmt: skip
        await _create(url, body)
        clock.ms += HOUR
        found = await probe(settings(url, **who), [GROUP], life_ms=DAY_MS)
        assert texts(found, "fail") == ""
        assert "ocp pages: Pages are numbered from 0 and sized." in texts(found, "ok")
        assert "`group~account~time~dialog.wav`" in texts(found, "ok")
        assert "sim-pat" not in str(found)
    finally:
        await server.close()


async def _create(url: str, body: dict[str, Any]) -> None:
    headers = {"X-OCP-PERSONAL-ACCESS-TOKEN": "sim-pat", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        path = f"{url}/exports-api/v1/groups/{GROUP}/exports"
        async with session.post(path, data=msgspec.json.encode(body)) as answer:
            assert answer.status == 201, await answer.text()
