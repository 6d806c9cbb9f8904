"""The Export API over HTTP: logins, the whole flow, and each fault as a client meets it."""

import asyncio
import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from ocp_sim import config
from ocp_sim.server import make_app
from ocp_sim.simulator import Simulator
from tests.sim.kit import GROUPS, HOUR, T0, ManualClock, calm_settings, simulator

ROOT = f"/exports-api/v1/groups/{GROUPS[0]}/exports"
TOKEN_PATH = "/auth/realms/master/protocol/openid-connect/token"
LOGOUT_PATH = "/auth/realms/master/protocol/openid-connect/logout"
LOGIN = {
    "client_id": "ocp", "grant_type": "password", "username": "exporter", "password": "exporter",
}  # fmt: skip
PAT = {"X-OCP-PERSONAL-ACCESS-TOKEN": "sim-pat"}
BODY = {"from": "2025-10-09T09:10:00.000Z", "to": "2025-10-09T19:59:00.000Z", "types": ["audio"]}
AFTER = T0 + 13 * HOUR


class Ocp:
    """A simulator that is listening, and what a client of it does again and again."""

    def __init__(self, sim: Simulator, client: Any, clock: ManualClock) -> None:
        self.sim = sim
        self.client = client
        self.clock = clock

    async def login(self) -> dict[str, str]:
        async with self.client.post(TOKEN_PATH, data=LOGIN) as response:
            assert response.status == 200
            return {"Authorization": f"Bearer {(await response.json())['access_token']}"}

    async def ask(self, method: str, path: str, **given: Any) -> tuple[int, Any]:
        given.setdefault("headers", PAT)
        async with self.client.request(method, path, **given) as response:
            text = await response.read()
            kind = response.content_type
            return response.status, json.loads(text) if kind == "application/json" else text

    async def create(self, **body: Any) -> dict[str, Any]:
        status, job = await self.ask("POST", ROOT, json=BODY | body)
        assert status == 201, job
        return dict(job)

    async def completed(self, **body: Any) -> str:
        """The path of an export that is ready."""
        job = await self.create(**body)
        self.clock.ms += HOUR
        path = f"{ROOT}/{job['id']}"
        status, job = await self.ask("GET", path)
        assert (status, job["status"]) == (200, "COMPLETED")
        return path

    async def files(self, path: str, **params: Any) -> list[dict[str, Any]]:
        status, page = await self.ask("GET", f"{path}/files", params=params)
        assert status == 200
        return list(page["files"])


@asynccontextmanager
async def ocp(
    *script: config.Scripted, export: config.Export | None = None, **given: Any
) -> AsyncIterator[Ocp]:
    clock = ManualClock()
    faults = config.ExportFaults(script=script, slow_s=0.2)
    settings = calm_settings(export=export, export_faults=faults, **given)
    sim = simulator(settings, clock=clock)
    clock.ms = AFTER
    async with TestClient(TestServer(make_app(sim), access_log=None)) as client:
        yield Ocp(sim, client, clock)


def once(op: str, fault: str, **given: Any) -> config.Scripted:
    return config.Scripted(op=op, fault=fault, **given)


# ---- logins -----------------------------------------------------------------------------------


async def test_password_refresh_and_logout_as_oidc() -> None:
    async with ocp() as o:
        status, given = await o.ask("POST", TOKEN_PATH, data=LOGIN)
        assert status == 200
        assert {"access_token", "refresh_token", "expires_in"} <= given.keys()
        refresh = {"client_id": "ocp", "refresh_token": given["refresh_token"]}
        form = refresh | {"grant_type": "refresh_token"}
        status, renewed = await o.ask("POST", TOKEN_PATH, data=form)
        assert status == 200
        headers = {"Authorization": f"Bearer {renewed['access_token']}"}
        assert (await o.ask("GET", ROOT, headers=headers))[0] == 200
        out = {"client_id": "ocp", "refresh_token": renewed["refresh_token"]}
        assert (await o.ask("POST", LOGOUT_PATH, data=out))[0] == 204
        assert (await o.ask("GET", ROOT, headers=headers))[0] == 401


async def test_wrong_credentials_and_wrong_realm_are_told_apart() -> None:
    async with ocp() as o:
        status, body = await o.ask("POST", TOKEN_PATH, data=LOGIN | {"password": "x"})
        assert (status, body["error"]) == (401, "invalid_grant")
        other = TOKEN_PATH.replace("master", "nowhere")
        assert (await o.ask("POST", other, data=LOGIN))[0] == 404


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nope"},
                                     {"X-OCP-PERSONAL-ACCESS-TOKEN": "nope"}])  # fmt: skip
async def test_without_a_good_token_nothing_is_told(headers: dict[str, str]) -> None:
    async with ocp() as o:
        assert (await o.ask("GET", ROOT, headers=headers))[0] == 401


async def test_bearer_and_personal_token_see_their_groups_only() -> None:
    user = config.User(username="exporter", password="exporter", groups=(GROUPS[1],))
    pat = config.AccessToken(token="sim-pat", groups=(GROUPS[0],))
    async with ocp(auth=config.Auth(users=(user,), personal_tokens=(pat,))) as o:
        assert (await o.ask("GET", ROOT))[0] == 200
        assert (await o.ask("GET", ROOT.replace(*GROUPS)))[0] == 403
        bearer = await o.login()
        assert (await o.ask("GET", ROOT, headers=bearer))[0] == 403
        assert (await o.ask("GET", ROOT.replace(*GROUPS), headers=bearer))[0] == 200


# ---- the flow ---------------------------------------------------------------------------------


async def test_create_poll_list_and_download_give_every_recording_byte_for_byte() -> None:
    async with ocp() as o:
        job = await o.create()
        assert job["status"] == "PENDING"
        assert (job["from"], job["to"]) == (
            "2025-10-09T09:00:00.000Z", "2025-10-09T19:00:00.000Z"
        )  # fmt: skip
        path = f"{ROOT}/{job['id']}"
        assert (await o.ask("GET", f"{path}/files"))[0] == 409
        o.clock.ms += HOUR
        assert (await o.ask("GET", path))[1]["status"] == "COMPLETED"
        listed = await o.files(path)
        calls = [c for c in o.sim.world.calls if c.ocp_group == GROUPS[0]]
        assert {f["name"] for f in listed} == {c.recording.name for c in calls if c.recording}
        for file in listed:
            status, data = await o.ask("GET", f"{path}/files/{file['name']}")
            assert (status, len(data)) == (200, file["size"])
            assert data == o.sim.world.audio(file["name"])
            assert file.get("sha256") in (None, hashlib.sha256(data).hexdigest())
        assert {"sha256" in file for file in listed} == {True, False}


async def test_the_list_shows_the_exports_of_the_group() -> None:
    async with ocp() as o:
        job = await o.create()
        status, listed = await o.ask("GET", ROOT)
        assert (status, [one["id"] for one in listed["exports"]]) == (200, [job["id"]])


async def test_a_second_export_is_refused_and_a_cancelled_one_frees_the_slot() -> None:
    async with ocp() as o:
        job = await o.create()
        status, body = await o.ask("POST", ROOT, json=BODY)
        assert status == 409
        assert job["id"] in body["message"]
        assert (await o.ask("DELETE", f"{ROOT}/{job['id']}"))[0] == 204
        await o.create()


@pytest.mark.parametrize("body", [
    {}, {"from": "x"}, BODY | {"types": []}, BODY | {"types": "audio"}, BODY | {"to": BODY["from"]},
    BODY | {"to": "2025-10-20T00:00:00.000Z"},
])  # fmt: skip
async def test_a_bad_request_says_why(body: dict[str, Any]) -> None:
    async with ocp() as o:
        status, answer = await o.ask("POST", ROOT, json=body)
        assert status == 400
        assert answer["message"]


async def test_after_a_day_the_status_is_expired_and_data_is_gone() -> None:
    async with ocp() as o:
        path = await o.completed()
        (name, *_) = [file["name"] for file in await o.files(path)]
        o.clock.ms += 24 * HOUR
        assert (await o.ask("GET", path))[1]["status"] == "EXPIRED"
        assert (await o.ask("GET", f"{path}/files"))[0] == 410
        assert (await o.ask("GET", f"{path}/files/{name}"))[0] == 410


async def test_pages_of_the_listing_are_bounded_and_miss_nothing() -> None:
    async with ocp(export=config.Export(page_size_max=7, rate_burst=1000)) as o:
        path = await o.completed()
        names: list[str] = []
        _, first = await o.ask("GET", f"{path}/files", params={"size": "1000"})
        assert len(first["files"]) == 7
        for page in range(first["totalPages"]):
            names += [file["name"] for file in await o.files(path, page=page)]
        calls = [c for c in o.sim.world.calls if c.ocp_group == GROUPS[0]]
        assert sorted(names) == sorted(c.recording.name for c in calls if c.recording)
        assert await o.files(path, page=first["totalPages"]) == []
        assert (await o.ask("GET", f"{path}/files", params={"page": "-1"}))[0] == 400


async def test_cdrs_download_as_lines_of_json() -> None:
    async with ocp() as o:
        path = await o.completed(types=["dialog_start", "dialog_end"])
        listed = await o.files(path)
        assert [f["name"] for f in listed] == ["dialog_start_00000.json", "dialog_end_00000.json"]
        status, data = await o.ask("GET", f"{path}/files/dialog_start_00000.json")
        lines = [json.loads(line) for line in data.splitlines()]
        assert status == 200
        roots = {line["id"] for line in lines if line["id"] == line["group"]}
        assert roots == {c.call_id for c in o.sim.world.calls if c.ocp_group == GROUPS[0]}


async def test_a_zip_holds_the_recordings_under_their_names() -> None:
    rules = config.Export(audio_as="zip", redirect_share=0)
    async with ocp(export=rules) as o:
        path = await o.completed()
        (file,) = await o.files(path)
        status, data = await o.ask("GET", f"{path}/files/{file['name']}")
        assert (status, len(data), file["name"]) == (200, file["size"], "audio.zip")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            assert {n: archive.read(n) for n in archive.namelist()} == {
                c.recording.name: o.sim.world.audio(c.recording.name)
                for c in o.sim.world.calls
                if c.recording and c.ocp_group == GROUPS[0]
            }


async def test_a_download_resumes_by_range_while_the_etag_holds() -> None:
    async with ocp() as o:
        path = await o.completed()
        file = (await o.files(path))[0]
        url, whole = f"{path}/files/{file['name']}", o.sim.world.audio(file["name"])
        async with o.client.get(url, headers=PAT) as response:
            etag = response.headers["ETag"]
        for given, expected in (
            ({"Range": "bytes=100-"}, (206, whole[100:])),
            ({"Range": "bytes=100-", "If-Range": etag}, (206, whole[100:])),
            ({"Range": "bytes=100-", "If-Range": '"other"'}, (200, whole)),
            ({"Range": "bytes=10-19"}, (206, whole[10:20])),
            ({"Range": "bytes=-7"}, (206, whole[-7:])),
            ({"Range": "lines=1"}, (200, whole)),
        ):
            assert await o.ask("GET", url, headers=PAT | given) == expected
        beyond = {"Range": f"bytes={len(whole)}-"}
        assert (await o.ask("GET", url, headers=PAT | beyond))[0] == 416


async def test_a_redirect_leads_to_a_url_that_needs_no_token_and_expires() -> None:
    rules = config.Export(redirect_share=1, redirect_ttl_s=0.3)
    async with ocp(export=rules) as o:
        path = await o.completed()
        file = (await o.files(path))[0]
        url = f"{path}/files/{file['name']}"
        async with o.client.get(url, headers=PAT, allow_redirects=False) as response:
            assert response.status == 302
            location = response.headers["Location"]
        async with aiohttp.ClientSession() as plain:
            async with plain.get(location, headers={"Range": "bytes=5-"}) as response:
                assert response.status == 206
                assert await response.read() == o.sim.world.audio(file["name"])[5:]
            await asyncio.sleep(0.35)
            async with plain.get(location) as response:
                assert response.status == 403


async def test_too_many_requests_are_told_when_to_come_back() -> None:
    async with ocp(export=config.Export(rate_per_s=0.5, rate_burst=3)) as o:
        statuses = [(await o.ask("GET", ROOT))[0] for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        async with o.client.get(ROOT, headers=PAT) as response:
            assert 1 <= int(response.headers["Retry-After"]) <= 2


# ---- faults -----------------------------------------------------------------------------------


async def test_a_rate_limit_fault_is_429_with_retry_after() -> None:
    async with ocp(once("create", "rate_limited")) as o:
        async with o.client.post(ROOT, json=BODY, headers=PAT) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "1")
        await o.create()


@pytest.mark.parametrize("op", ["create", "list", "status", "files", "download", "cancel"])
async def test_a_server_error_is_5xx_on_any_operation_and_changes_nothing(op: str) -> None:
    async with ocp(once(op, "server_error", skip=1 if op == "status" else 0)) as o:
        act = await act_of(o, op)
        status, body = await act()
        assert status in (500, 502, 503)
        assert body["message"]
        assert (await act())[0] < 300


async def act_of(o: Ocp, op: str) -> Callable[[], Awaitable[tuple[int, Any]]]:
    """The operation as a thing to do, with what it needs already there."""
    if op in ("create", "list"):
        return lambda: o.ask("POST" if op == "create" else "GET", ROOT, json=BODY)
    if op == "cancel":
        job = await o.create()
        return lambda: o.ask("DELETE", f"{ROOT}/{job['id']}")
    path = await o.completed()
    if op == "download":
        path = f"{path}/files/{(await o.files(path))[0]['name']}"
    return lambda: o.ask("GET", f"{path}/files" if op == "files" else path)


async def test_an_unauthorized_fault_revokes_tokens_until_the_next_login() -> None:
    async with ocp(once("list", "unauthorized")) as o:
        old = await o.login()
        assert (await o.ask("GET", ROOT, headers=old))[0] == 401
        assert (await o.ask("GET", ROOT, headers=old))[0] == 401
        assert (await o.ask("GET", ROOT, headers=await o.login()))[0] == 200


async def test_a_dropped_request_did_nothing() -> None:
    async with ocp(once("create", "dropped")) as o:
        with pytest.raises(aiohttp.ClientError):
            await o.create()
        assert (await o.ask("GET", ROOT))[1] == {"exports": []}


async def test_a_slow_answer_comes_late_and_right() -> None:
    async with ocp(once("list", "slow")) as o:
        began = asyncio.get_running_loop().time()
        assert (await o.ask("GET", ROOT))[0] == 200
        assert asyncio.get_running_loop().time() - began >= 0.2


async def test_a_lost_answer_leaves_a_job_that_the_list_shows() -> None:
    async with ocp(once("create", "answer_lost")) as o:
        with pytest.raises(aiohttp.ClientError):
            await o.create()
        _, listed = await o.ask("GET", ROOT)
        assert [job["from"] for job in listed["exports"]] == ["2025-10-09T09:00:00.000Z"]
        assert (await o.ask("POST", ROOT, json=BODY))[0] == 409


async def test_a_conflict_may_come_although_nothing_runs() -> None:
    async with ocp(once("create", "conflict")) as o:
        assert (await o.ask("POST", ROOT, json=BODY))[0] == 409
        assert (await o.ask("GET", ROOT))[1] == {"exports": []}
        await o.create()


async def test_a_foreign_export_takes_the_slot_for_its_time() -> None:
    async with ocp(once("create", "foreign")) as o:
        assert (await o.ask("POST", ROOT, json=BODY))[0] == 409
        _, listed = await o.ask("GET", ROOT)
        assert [job["createdBy"] for job in listed["exports"]] == ["console"]
        o.clock.ms += 650_000
        await o.create()


@pytest.mark.parametrize(("fault", "after_h", "status"), [
    ("failed", 1, "FAILED"), ("stuck", 23, "IN_PROGRESS"), ("stuck", 24, "EXPIRED"),
    ("slow_job", 0.5, "IN_PROGRESS"), ("slow_job", 1, "COMPLETED"), ("expire_early", 1, "EXPIRED"),
])  # fmt: skip
async def test_a_job_may_go_wrong(fault: str, after_h: float, status: str) -> None:
    async with ocp(once("create", fault)) as o:
        job = await o.create()
        o.clock.ms += int(after_h * HOUR)
        assert (await o.ask("GET", f"{ROOT}/{job['id']}"))[1]["status"] == status


async def test_a_listing_may_lack_files_and_the_next_export_has_them() -> None:
    async with ocp(once("create", "files_missing")) as o:
        short = {file["name"] for file in await o.files(await o.completed())}
        whole = {file["name"] for file in await o.files(await o.completed())}
        assert short < whole


@pytest.mark.parametrize("fault", ["cut", "short_body", "token_expired"])
async def test_a_download_that_dies_half_way_can_be_resumed(fault: str) -> None:
    async with ocp(once("download", fault)) as o:
        path = await o.completed()
        file = (await o.files(path))[0]
        url, whole = f"{path}/files/{file['name']}", o.sim.world.audio(file["name"])
        headers = await o.login()
        got = b""
        async with o.client.get(url, headers=headers) as response:
            assert response.content_length == len(whole)
            try:
                while chunk := await response.content.readany():
                    got += chunk
            except aiohttp.ClientError:
                pass
            else:
                pytest.fail("the body came whole")
        assert got == whole[: len(whole) // 2]
        rest = {"Range": f"bytes={len(got)}-"}
        status, body = await o.ask("GET", url, headers=headers | rest)
        if fault == "token_expired":
            assert status == 401
            status, body = await o.ask("GET", url, headers=await o.login() | rest)
        assert (status, got + body) == (206, whole)


async def test_a_truncated_download_looks_whole_and_only_the_listing_tells() -> None:
    async with ocp(once("download", "truncated")) as o:
        path = await o.completed()
        file = (await o.files(path))[0]
        status, data = await o.ask("GET", f"{path}/files/{file['name']}")
        assert status == 200
        assert data == o.sim.world.audio(file["name"])[: file["size"] // 2]


async def test_wrong_bytes_have_the_right_length() -> None:
    async with ocp(once("download", "wrong_bytes")) as o:
        path = await o.completed()
        file = (await o.files(path))[0]
        status, data = await o.ask("GET", f"{path}/files/{file['name']}")
        assert (status, len(data)) == (200, file["size"])
        assert data != o.sim.world.audio(file["name"])


async def test_a_redirect_may_have_expired_already() -> None:
    async with ocp(once("download", "redirect_expired"), once("download", "redirect")) as o:
        path = await o.completed()
        file = (await o.files(path))[0]
        url = f"{path}/files/{file['name']}"
        assert (await o.ask("GET", url))[0] == 403
        assert await o.ask("GET", url) == (200, o.sim.world.audio(file["name"]))


async def test_the_login_itself_may_fail_for_a_while() -> None:
    async with ocp(once("token", "server_error"), once("token", "rate_limited", skip=1)) as o:
        statuses = [(await o.ask("POST", TOKEN_PATH, data=LOGIN))[0] for _ in range(3)]
        assert statuses == [503, 429, 200]


async def test_a_broken_recording_is_exported_as_it_is_and_a_good_one_good() -> None:
    """What the stream spoilt is whole in exports; what OCP itself spoilt is not."""
    shares = config.StreamFaults(corrupt_at_ocp=0.1, corrupt_stream=0.1)
    async with ocp(shares=shares) as o:
        path = await o.completed()
        got = {f["name"]: (await o.ask("GET", f"{path}/files/{f['name']}"))[1]
               for f in await o.files(path)}  # fmt: skip
        calls = {c.recording.name: c for c in o.sim.world.calls if c.recording}
        assert {n for n, data in got.items() if data.startswith(b"<")} == {
            n for n in got if "corrupt_at_ocp" in calls[n].faults
        }
