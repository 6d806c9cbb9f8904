"""Laws of every answer: each status, each kind of nonsense is one observation; none escapes."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.ocp.answers import Answers, Asked, text_of
from ocp_ingest.adapters.ocp.client import OcpClient
from ocp_ingest.adapters.ocp.failed import Unreadable
from ocp_ingest.adapters.ocp.settings import OcpFields, OcpNames, OcpPaths
from ocp_ingest.core.export_job import (
    Busy,
    Cancelled,
    Created,
    Export,
    Gone,
    Listed,
    RateLimited,
    Refused,
    Status,
    Unavailable,
    VendorStatus,
)
from ocp_ingest.reconcile.ports import ExportApi, ExportFile, FileList
from tests.ocp_client.kit import EXPORT, GROUP, HOUR, NOW, T0, Bench, Reply, bench, reply, settings

GETS = ("list", "status", "files")
OPS = ("create", "list", "status", "files", "cancel")
X1 = Export(
    export_id="x1",
    status=VendorStatus.IN_PROGRESS,
    from_ms=T0,
    to_ms=T0 + HOUR,
    types=("audio",),
    created_at=NOW - 60_000,
    expires_at=NOW - 60_000 + 24 * HOUR,
)


async def ask(at: Bench, op: str) -> object:
    match op:
        case "create":
            return await at.client.create(GROUP, T0, T0 + HOUR, ("audio", "dialog_end"))
        case "list":
            return await at.client.listing(GROUP)
        case "status":
            return await at.client.status(GROUP, "x1", 7)
        case "files":
            return await at.client.files(GROUP, "x1")
    return await at.client.cancel(GROUP, "x1")


def as_port(client: OcpClient) -> ExportApi:
    """The type checker holds the client to the port."""
    return client


async def test_a_good_day() -> None:
    async with bench() as at:
        assert as_port(at.client) is at.client
        created = await ask(at, "create")
        assert created == Created(msgspec.structs.replace(X1, status=VendorStatus.PENDING))
        assert await ask(at, "list") == Listed((X1,))
        assert await ask(at, "status") == Status(X1, 7)
        assert await ask(at, "cancel") == Cancelled()
        assert await ask(at, "files") == FileList(())
        [sent] = at.vendor.asked("create")
    assert msgspec.json.decode(sent.body) == {
        "from": "2025-10-09T09:00:00.000Z",
        "to": "2025-10-09T10:00:00.000Z",
        "types": ["audio", "dialog_end"],
    }
    assert sent.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    "status", [300, 302, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 418, 422, 429,
               500, 501, 502, 503, 504, 599]
)  # fmt: skip
async def test_every_status_has_its_observation(op: str, status: int) -> None:
    async with bench() as at:
        at.vendor.always[op] = reply(status, {"message": "because"}, Location="/x")
        seen = await ask(at, op)
        if status == 409 and op == "create":
            assert seen == Busy()
        elif status in (404, 410) and op in ("status", "files", "cancel"):
            assert isinstance(seen, Gone)
        elif status == 429:
            assert isinstance(seen, RateLimited)
        elif status == 408 or (status >= 500 and status != 501):
            assert isinstance(seen, Unavailable)
            assert seen.sent
        else:
            assert isinstance(seen, Refused)
            assert seen.status == status
            assert "because" in seen.message or status < 400
        if op == "status":
            assert getattr(seen, "poll_n", None) == 7


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Welcome</html>", b"{", b"null", b"7", b'"x"', b"[7]", b'{"exports":7}',
     b'{"files":{}}', b'{"files":[7]}', b'{"id":[]}', b"\xff\xfe", b"[" * 100_000,
     b'{"id":"x","status":7}', b'{"files":[{"name":""}],"totalPages":"many"}',
     b'{"exports":[],"totalPages":99999}', b'{"files":[{"name":"a","size":-1}]}',
     b'{"files":[{"name":"a","size":"1"}]}', b'{"files":[{"name":"a","sha256":"00"}]}',
     b'{"files":[{"name":"a","type":1}]}', b'{"files":[],"totalPages":-1}',
     b'{"id":"x","status":"COMPLETED","from":"yesterday"}',
     b'{"id":"x","status":"COMPLETED","types":{"a":1}}',
     b'{"id":"x","status":"DONE"}', b'{"id":"a\\u0000b","status":"COMPLETED"}'],
)  # fmt: skip
async def test_nonsense_is_told_and_never_raised(op: str, body: bytes) -> None:
    async with bench() as at:
        at.vendor.always[op] = Reply(200, body)
        seen = await ask(at, op)
        assert isinstance(seen, Unavailable | Listed | Cancelled | Created | FileList)
        if isinstance(seen, Unavailable):
            assert seen.sent
            assert len(seen.kind) > 10
        if isinstance(seen, Created):
            assert seen.export.export_id == "x"
        if isinstance(seen, FileList | Listed):
            assert seen in (FileList(()), Listed(()))


async def test_a_creation_that_can_be_told_from_its_id_alone_is_a_creation() -> None:
    async with bench() as at:
        at.vendor.always["create"] = reply(201, {"id": 77, "from": "?", "createdAt": []})
        seen = await ask(at, "create")
    assert isinstance(seen, Created)
    export = seen.export
    assert (export.export_id, export.from_ms, export.to_ms) == ("77", T0, T0 + HOUR)
    assert (export.created_at, export.types) == (NOW, ("audio", "dialog_end"))


async def test_one_strange_entry_does_not_hide_the_other_exports() -> None:
    async with bench() as at:
        strange = [EXPORT | {"status": "SLEEPING"}, {"status": "FAILED"}, 7, EXPORT]
        at.vendor.always["list"] = reply(200, {"exports": strange})
        assert await ask(at, "list") == Listed((X1,))


async def test_a_listing_in_pages_is_read_to_its_end() -> None:
    async with bench() as at:
        for n in range(3):
            page = {"exports": [EXPORT | {"id": f"x{n}"}], "totalPages": 3}
            at.vendor.script["list"].append(reply(200, page))
        seen = await ask(at, "list")
        assert isinstance(seen, Listed)
        assert [one.export_id for one in seen.exports] == ["x0", "x1", "x2"]
        assert [one.query.get("page") for one in at.vendor.asked("list")] == [None, "1", "2"]


class TestRepeating:
    """A GET is repeated a little, everything else never."""

    @pytest.mark.parametrize("op", GETS)
    @pytest.mark.parametrize(
        "failure", [Reply(503), Reply(drop=True), Reply(429, b"", {"Retry-After": "2"})]
    )
    async def test_a_get_survives_two_failures(self, op: str, failure: Reply) -> None:
        async with bench() as at:
            at.vendor.script[op].extend([failure, failure])
            assert isinstance(await ask(at, op), Listed | Status | FileList)
            # aiohttp itself repeats a GET whose kept-alive connection turns out to be dead
            assert 3 <= len(at.vendor.asked(op)) <= 5

    @pytest.mark.parametrize("op", GETS)
    async def test_and_tells_of_the_third(self, op: str) -> None:
        async with bench() as at:
            at.vendor.always[op] = Reply(503)
            assert isinstance(await ask(at, op), Unavailable)
            assert len(at.vendor.asked(op)) == 3
            assert all(0 <= slept <= 2 for slept in at.times.slept)

    @pytest.mark.parametrize("op", ["create", "cancel"])
    @pytest.mark.parametrize("status", [400, 409, 429, 500, 503])
    async def test_a_creation_and_a_cancel_are_sent_once(self, op: str, status: int) -> None:
        async with bench() as at:
            at.vendor.always[op] = Reply(status)
            await ask(at, op)
            assert len(at.vendor.asked(op)) == 1

    async def test_a_creation_whose_answer_is_lost_is_in_doubt_and_not_repeated(self) -> None:
        async with bench(answer_s_max=0.3) as at:
            for lost in (Reply(201, drop=True), Reply(201, wait_s=0.6), Reply(201, b"<html>")):
                await ask(at, "list")  # a connection that is kept alive
                before = len(at.vendor.asked("create"))
                at.vendor.script["create"].append(lost)
                seen = await ask(at, "create")
                assert isinstance(seen, Unavailable)
                assert seen.sent
                assert len(at.vendor.asked("create")) == before + 1

    async def test_a_vendor_that_is_not_there_was_surely_not_reached(self) -> None:
        async with bench(personal_access_token="x") as at:
            await at.vendor.server.close()
            for op in OPS:
                seen = await ask(at, op)
                assert isinstance(seen, Unavailable)
                assert not seen.sent


class TestSpelling:
    """A tenant that names everything otherwise."""

    async def test_hosts_paths_fields_states_types_and_times_are_settings(self) -> None:
        fields = OcpFields(id="exportId", status="state", window_from="start", exports="items",
                           created_at="made", files="parts", file_name="file", total_pages="last",
                           page_query="p", size_query="n")  # fmt: skip
        names = OcpNames(completed=("DONE", "Ready"), type_audio="WCR")
        paths = OcpPaths(exports="/exports-api/v1/groups/{group}/exports")
        async with bench(
            fields=fields, names=names, paths=paths, time_format="epoch_ms", page_first=1
        ) as at:
            said = {"exportId": "x1", "state": "ready", "start": T0, "to": T0 + HOUR,
                    "types": ["WCR"], "made": "2025-10-09T13:59:00+00:00"}  # fmt: skip
            at.vendor.always["create"] = reply(201, said)
            at.vendor.always["list"] = reply(200, {"items": [said]})
            at.vendor.always["files"] = reply(200, {"parts": [{"file": "a.wav", "type": "WCR"}]})
            created = await ask(at, "create")
            assert isinstance(created, Created)
            done = msgspec.structs.replace(X1, status=VendorStatus.COMPLETED, expires_at=None)
            assert created.export == done
            assert await ask(at, "list") == Listed((done,))
            assert await ask(at, "files") == FileList((ExportFile("a.wav", "audio"),))
            [sent] = at.vendor.asked("create")
            pages = [one.query for one in at.vendor.asked("files")]
        assert msgspec.json.decode(sent.body) == {
            "start": T0,
            "to": T0 + HOUR,
            "types": ["WCR", "dialog_end"],
        }
        assert pages[0] == {"p": "1", "n": "100"}

    async def test_names_are_data_in_urls(self) -> None:
        async with bench() as at:
            await at.client.listing("a/../b?c#d é")
            assert at.vendor.seen[-1].path.endswith("/groups/a%2F..%2Fb%3Fc%23d%20%C3%A9/exports")
            for name in ("..", ".", ""):
                before = len(at.vendor.seen)
                assert isinstance(await at.client.status(GROUP, name, 1), Refused)
                assert isinstance(await at.client.create(name, T0, T0 + HOUR, ()), Refused)
                assert len(at.vendor.seen) == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*EXPORT, "files", "exports", "name", "size", "sha256", "totalPages"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_json_comes_it_is_read_or_unreadable(document: object) -> None:
    answers, body = Answers(settings("http://x")), msgspec.json.encode(document)
    for read in (
        lambda: answers.export(body),
        lambda: answers.listed(body),
        lambda: answers.page(body),
        lambda: answers.created(body, Asked(T0, T0 + HOUR, ("audio",), NOW)),
    ):
        with contextlib.suppress(Unreadable):
            read()


@given(st.integers(1_262_304_000_000, 4_102_444_799_999))
def test_times_survive_the_way_to_ocp_and_back(at_ms: int) -> None:
    body = msgspec.json.encode(EXPORT | {"createdAt": text_of(at_ms)})
    assert Answers(settings("http://x")).export(body).created_at == at_ms
