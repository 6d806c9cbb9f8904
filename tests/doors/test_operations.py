"""Health, readiness, metrics, reconciliation, the OpenAPI document, and an orderly stop."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from ocp_ingest import telemetry
from ocp_ingest.adapters.memory.faults import Kind
from ocp_ingest.core.errors import Invalid
from ocp_ingest.entrypoints.api.server import serving
from tests.doors.kit import CALL, NAME, NOW_MS, Doors, doors_of, encoded, event, wav
from tests.doors.schemas import check


async def test_health_needs_nothing(doors: Doors) -> None:
    doors.faults.plan("CallStore.pending", Kind.LOST, times=99)
    reply = await doors.call("GET", "/healthz", token=None)
    assert (reply.status, reply.json()) == (200, {"status": "ok"})


async def test_readiness_names_what_is_not_ready(tmp_path: Path) -> None:
    workers = {"worker-0": True}
    async with doors_of(tmp_path, {"alive": lambda: workers}) as doors:
        good = await doors.call("GET", "/readyz", token=None)
        assert (good.status, good.json()["ready"]) == (200, True)
        workers["worker-0"] = False
        doors.faults.plan("CallStore.pending", Kind.LOST)
        bad = await doors.call("GET", "/readyz", token=None)
        assert bad.status == 503
        assert {k for k, fine in bad.json()["checks"].items() if not fine} == {
            "store", "worker:worker-0",
        }  # fmt: skip


async def test_a_disk_without_room_is_not_ready(tmp_path: Path) -> None:
    async with doors_of(tmp_path, data={"free_bytes_min": 1 << 60}) as doors:
        reply = await doors.call("GET", "/readyz", token=None)
        assert (reply.status, reply.json()["checks"]["disk"]) == (503, False)


async def test_metrics_have_the_documented_names_and_no_ids(doors: Doors) -> None:
    await doors.post("/v1/events", encoded([event(), {"bad": 1}]))
    await doors.post("/v1/events", encoded(event()))
    await doors.post(f"/v1/recordings?name={quote(NAME)}", wav())
    await doors.get(f"/v1/calls/{CALL}")
    await doors.get("/v1/nowhere/at/all")
    await doors.call("POST", "/v1/events", token="bad")
    text = (await doors.call("GET", "/metrics", token=None)).body.decode()
    names = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    documented = set(telemetry.METRICS)
    assert {n for n in names if not n.endswith("_created")} == documented
    for line in (
        'ocp_ingest_events_total{result="new"} 1.0',
        'ocp_ingest_events_total{result="duplicate"} 1.0',
        'ocp_ingest_events_total{result="refused"} 1.0',
        'ocp_ingest_recordings_total{form="raw",result="received"} 1.0',
        f"ocp_ingest_recording_bytes_total {float(len(wav()))}",
        "ocp_ingest_queue_depth 1.0",
        'ocp_ingest_requests_total{route="/v1/calls/{call_id}",status="200"} 1.0',
        'ocp_ingest_requests_total{route="unknown",status="404"} 1.0',
        'ocp_ingest_tokens_refused_total{status="401"} 1.0',
    ):
        assert line in text
    assert CALL not in text


async def test_who_asks_for_metrics_makes_nobody_read_calls(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may ask, without a token, and on AWS each read of an index is billed."""

    def read(*_: object, **__: object) -> None:
        raise AssertionError("a call was read")

    for name in ("counts", "page", "pending", "pending_groups", "call_ids", "load"):
        monkeypatch.setattr(type(doors.world.calls), name, read)
    assert (await doors.call("GET", "/metrics", token=None)).status == 200


async def test_a_reconciliation_is_begun_by_operators_where_there_is_one(tmp_path: Path) -> None:
    async def reconcile(census: bool) -> dict[str, Any]:
        return {"due": 3, "census": census}

    async with doors_of(tmp_path, {"reconcile": reconcile}) as doors:
        for query, census in (("", False), ("?census=true", True)):
            reply = await doors.post(f"/v1/reconciliations{query}", None)
            assert (reply.status, reply.json()) == (202, {"due": 3, "census": census})
        wrong = await doors.post("/v1/reconciliations?census=perhaps", None)
        assert (wrong.status, wrong.problem().field) == (400, "census")


async def test_without_reconciliation_it_is_503(doors: Doors) -> None:
    reply = await doors.post("/v1/reconciliations", None)
    assert (reply.status, reply.problem().code) == (503, "unavailable")


# -- OpenAPI -------------------------------------------------------------------------------------


async def document(doors: Doors) -> Any:
    return (await doors.call("GET", "/schema/openapi.json", token=None)).json()


async def test_the_document_names_every_route_and_only_those(doors: Doors) -> None:
    said = {(path, method) for path, item in (await document(doors))["paths"].items()
            for method in item}  # fmt: skip
    for path, method in said:
        reply = await doors.call(method, path.replace("{call_id}", "x"), token=None)
        assert reply.status != 405, (path, method)
        assert "resource" not in (reply.problem().detail if reply.status == 404 else "")
    served = {route.path.replace(":str", "") for route in doors.api.routes}
    assert served == {path for path, _ in said}


async def test_every_example_fits_its_schema(doors: Doors) -> None:
    doc = await document(doors)
    checked = 0
    for item in doc["paths"].values():
        for operation in item.values():
            for answer in operation["responses"].values():
                for content in answer.get("content", {}).values():
                    if "example" in content:
                        check(content["example"], content["schema"], doc)
                        checked += 1
    assert checked > 50


async def test_real_answers_fit_the_document(tmp_path: Path) -> None:
    async def reconcile(census: bool) -> dict[str, Any]:
        return {"due": 0}

    async with doors_of(tmp_path, {"reconcile": reconcile}) as doors:
        doc = await document(doors)
        name = quote(NAME)
        requests: list[tuple[str, str, str, Any]] = [
            ("POST", "/v1/events", "/v1/events", encoded([event(), event("dialog_end")])),
            ("POST", "/v1/events", "/v1/events", b"{"),
            ("POST", "/v1/events", "/v1/events", encoded([event(), {}])),
            ("POST", "/v1/events", "/v1/events", b"[" + b" " * 9_000_000 + b"]"),
            ("POST", "/v1/recordings", f"/v1/recordings?name={name}", wav()),
            ("PUT", "/v1/recordings", f"/v1/recordings?name={name}", wav()),
            ("PUT", "/v1/recordings", f"/v1/recordings?name={name}", wav(fill=9)),
            ("POST", "/v1/recordings", "/v1/recordings", wav()),
            ("GET", "/v1/calls", "/v1/calls", None),
            ("GET", "/v1/calls", "/v1/calls?limit=0", None),
            ("GET", "/v1/calls/{call_id}", f"/v1/calls/{CALL}", None),
            ("GET", "/v1/calls/{call_id}", "/v1/calls/none", None),
            ("GET", "/v1/calls/{call_id}/events", f"/v1/calls/{CALL}/events", None),
            ("GET", "/v1/incidents", "/v1/incidents", None),
            ("GET", "/v1/conservation", "/v1/conservation", None),
            ("POST", "/v1/reconciliations", "/v1/reconciliations", None),
            ("GET", "/healthz", "/healthz", None),
            ("GET", "/readyz", "/readyz", None),
            ("POST", "/oauth2/token", "/oauth2/token", b"grant_type=x"),
        ]
        for method, path, url, data in requests:
            for token in ("", None):
                reply = await doors.call(method, url, token=token, data=data)
                assert reply.status != 500, (method, url, reply)
                answers = doc["paths"][path][method.lower()]["responses"]
                assert str(reply.status) in answers, (method, url, reply)
                [(kind, content)] = answers[str(reply.status)]["content"].items()
                assert reply.headers["Content-Type"] == kind
                check(reply.json(), content["schema"], doc)


# -- stop ----------------------------------------------------------------------------------------


async def test_what_is_under_way_at_a_stop_ends_and_is_answered(tmp_path: Path) -> None:
    async with doors_of(tmp_path) as doors:

        async def slow() -> Any:
            yield wav()[:100]
            await asyncio.sleep(0.5)
            yield wav()[100:]

        url = f"/v1/recordings?name={quote(NAME)}"
        answered = asyncio.create_task(doors.post(url, slow()))
        while doors.api.deps.uploads.under_way == 0:
            await asyncio.sleep(0.01)
        stop = asyncio.create_task(doors.api.deps.uploads.close(5))
        await asyncio.sleep(0)
        late = await doors.post(f"/v1/recordings?name=x~a~{NOW_MS}~x.wav", wav())
        assert late.status == 503
        assert await stop == 0
        assert (await answered).status == 201


async def test_an_upload_that_does_not_end_is_broken_off_and_told_so(tmp_path: Path) -> None:
    async with doors_of(tmp_path) as doors:
        never = asyncio.Event()

        async def endless() -> Any:
            yield wav()[:100]
            await never.wait()

        task = asyncio.create_task(doors.post(f"/v1/recordings?name={quote(NAME)}", endless()))
        while doors.api.deps.uploads.under_way == 0:
            await asyncio.sleep(0.01)
        assert await doors.api.deps.uploads.close(0.1) == 1
        reply = await asyncio.wait_for(task, 5)
        assert (reply.status, reply.problem().code) == (503, "try_again")
        assert doors.landing() == {}
        never.set()


async def test_a_stopped_server_lets_requests_under_way_end_first(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session, doors_of(tmp_path) as doors:
        doors.session = session

        async def slow() -> Any:
            yield b"[" + encoded(event()) + b","
            await asyncio.sleep(0.5)
            yield encoded(event("dialog_end")) + b"]"

        task = asyncio.create_task(doors.post("/v1/events", slow()))
        await asyncio.sleep(0.2)
        # Leaving the block stops the server while the request is under way.
    reply = await asyncio.wait_for(task, 5)
    assert (reply.status, reply.json()["new"]) == (200, 2)
    assert len(await doors.world.calls.journal(CALL)) == 2


async def test_a_port_that_is_taken_is_refused_by_name(doors: Doors) -> None:
    taken = type(doors.config.server)(port=doors.port)
    with pytest.raises(Invalid, match=r"server\.port"):
        async with serving(doors.api, taken):
            pass
