"""The read API: a call in the fixed shape, its masked journal, pages, incidents, the law."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from ocp_ingest.core import events as ev
from ocp_ingest.core.incidents import Incident
from ocp_ingest.entrypoints.api import answers as a
from tests.doors.kit import CALL, NAME, NOW_MS, Doors, doors_of, encoded, event, wav

ODD_IDS = ["a.b", "a/b", "a%2Fb", "50%", "ñ ü", "a?b#c", "..", "a//b", "a b/", "events", "x/events"]


@pytest.mark.parametrize("call_id", ODD_IDS)
async def test_a_call_is_found_by_its_encoded_id_whatever_it_holds(
    doors: Doors, call_id: str
) -> None:
    assert (await doors.post("/v1/events", encoded(event(call=call_id)))).status == 200
    path = f"/v1/calls/{quote(call_id, safe='')}".replace("..", "%2E%2E")
    assert (await doors.get(path)).json()["call_id"] == call_id
    journal = (await doors.get(f"{path}/events")).json()
    assert (journal["call_id"], len(journal["events"])) == (call_id, 1)


async def test_a_call_is_shown_in_the_fixed_shape(doors: Doors) -> None:
    await doors.post("/v1/events", encoded([event(), event("dialog_end")]))
    await doors.post(f"/v1/recordings?name={quote(NAME)}", wav())
    reply = await doors.get(f"/v1/calls/{CALL}")
    msgspec.json.decode(reply.body, type=a.Call)
    body = reply.json()
    assert (body["stage"], body["outcome"], body["next"]["action"]) == (
        "file_received", None, "inspect",
    )  # fmt: skip
    assert body["flags"]["call_started"] == "2026-11-22T09:59:00.000Z"
    assert body["recordings"][0]["container"] == "wav"
    assert "600123456" not in reply.body.decode()


async def test_an_unknown_call_is_404(doors: Doors) -> None:
    for path in ("/v1/calls/none", "/v1/calls/none/events"):
        assert (await doors.get(path)).problem().code == "not_found"
    assert (await doors.get("/v1/nothing")).problem().status == 404


async def test_the_journal_shows_what_came_without_what_is_personal(doors: Doors) -> None:
    step = {
        **event("dialog_step"), "transcription": "my name is Ana", "step": 2,
        "nlu": {"semantic_interpretation": [{"utterance": "Ana", "intent": {"name": "greet"}}]},
    }  # fmt: skip
    await doors.post("/v1/events", encoded([event(), step, event("surprise", memo="+34600123456")]))
    reply = await doors.get(f"/v1/calls/{CALL}/events")
    text = reply.body.decode()
    for secret in ("600123456", "600 123 456", "900100200", "Ana", "C-1"):
        assert secret not in text.replace('"customer_id":[0,"C-1"]', "")
    page = msgspec.json.decode(reply.body, type=a.Journal)
    raws = {e.kind: e.raw for e in page.events}
    assert raws["dialog_start"]["origin_uri"] == "***"
    assert raws["dialog_start"]["incoming_attached_data"] == {"customer_id": "***", "note": "***"}
    assert raws["dialog_start"]["id"] == CALL
    assert raws["dialog_step"]["nlu"]["semantic_interpretation"][0]["intent"]["name"] == "greet"
    assert raws["other"]["memo"] == "***"


async def test_the_journal_comes_in_pages(doors: Doors) -> None:
    steps = [event("dialog_step", step=n, time=NOW_MS + n) for n in range(7)]
    await doors.post("/v1/events", encoded(steps))
    seen, cursor = [], ""
    while True:
        page = (await doors.get(f"/v1/calls/{CALL}/events?limit=3{cursor}")).json()
        seen += [e["raw"]["step"] for e in page["events"]]
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert seen == list(range(7))


async def test_calls_come_in_pages_newest_first_and_filtered(doors: Doors) -> None:
    calls = [event(call=f"c{n}", time=NOW_MS + n * 60_000) for n in range(5)]
    await doors.post("/v1/events", encoded(calls))
    seen, cursor = [], ""
    while True:
        reply = await doors.get(f"/v1/calls?limit=2{cursor}")
        page = msgspec.json.decode(reply.body, type=a.Calls)
        seen += [c.call_id for c in page.calls]
        if page.cursor is None:
            break
        cursor = f"&cursor={quote(page.cursor, safe='')}"
    assert seen == ["c4", "c3", "c2", "c1", "c0"]

    async def ids(query: str) -> list[str]:
        return [c["call_id"] for c in (await doors.get(f"/v1/calls?{query}")).json()["calls"]]

    assert await ids("stage=call_started&outcome=none") == seen
    assert await ids("outcome=stored") == []
    assert await ids("ocp_group=group-of-client&limit=1") == ["c4"]
    assert await ids("from=2026-11-22T10:02:00Z") == ["c4", "c3", "c2"]
    assert await ids("from=2026-11-22T11:02:00%2B01:00&to=2026-11-22T10:03:00Z") == ["c2"]
    assert await ids("to=2026-11-22") == []


@pytest.mark.parametrize(
    "query",
    ["stage=nope", "outcome=nope", "from=yesterday", "to=1", "limit=0", "limit=501", "limit=x",
     "cursor=garbage", "limit=-1", "from=99999-01-01"],
)  # fmt: skip
async def test_a_wrong_filter_is_a_problem_that_names_it(doors: Doors, query: str) -> None:
    reply = await doors.get(f"/v1/calls?{query}")
    problem = reply.problem()
    assert (reply.status, problem.code) == (400, "invalid")
    if not query.startswith("cursor"):
        assert query.split("=", maxsplit=1)[0] in (problem.field, *problem.detail.split("`"))


async def test_incidents_are_shown_open_ones_first_asked(doors: Doors) -> None:
    for key in ("a", "b"):
        await doors.world.incidents.open(
            Incident(key=key, kind="unassigned", text="t", opened_at_ms=NOW_MS, calls=1)
        )
    await doors.world.incidents.close("a", NOW_MS, "done")
    open_ones = msgspec.json.decode((await doors.get("/v1/incidents")).body, type=a.Incidents)
    assert [i.key for i in open_ones.incidents] == ["b"]
    every = msgspec.json.decode((await doors.get("/v1/incidents?all=true")).body, type=a.Incidents)
    assert {i.key: i.closed_how for i in every.incidents} == {"a": "done", "b": ""}


async def test_conservation_holds_and_says_so(doors: Doors) -> None:
    await doors.post("/v1/events", encoded([event(call=f"c{n}") for n in range(3)]))
    reply = await doors.get("/v1/conservation")
    law = msgspec.json.decode(reply.body, type=a.Conservation)
    assert (law.started, law.in_flight, law.holds) == (3, 3, True)


async def test_a_finished_call_says_why_and_where(tmp_path: Path) -> None:
    more = {"uri_of": lambda bucket, key: f"s3://{bucket}/{key}"}
    async with doors_of(tmp_path, more) as doors:
        await doors.post("/v1/events", encoded([event(), event("dialog_end")]))
        await doors.post(f"/v1/recordings?name={quote(NAME)}", wav())
        sha = (await doors.world.calls.load(CALL)).root.versions  # type: ignore[union-attr]
        [sha256] = sha
        place = {"lob": "sales", "bucket": "lob-sales", "key": "k.wav"}
        await doors.world.calls.append([
            ev.inspected(CALL, CALL, sha256, at_ms=NOW_MS, report={"problems": [
                {"code": "x", "severity": "warning", "text": "Odd."}], "duration_ms": 20_000}),
            ev.validated(CALL, CALL, sha256, epoch=0, at_ms=NOW_MS, valid=True, problems=[
                {"code": "y", "severity": "warning", "text": "Odder."}], rules="r"),
            ev.routed(CALL, CALL, sha256, at_ms=NOW_MS, rule="r", **place),
            ev.stored(CALL, CALL, sha256, at_ms=NOW_MS, size_bytes=1, **place),
        ])  # fmt: skip
        reply = await doors.get(f"/v1/calls/{CALL}")
        call = msgspec.json.decode(reply.body, type=a.Call)
        assert (call.stage, call.outcome, call.line_of_business) == ("stored", "stored", "sales")
        assert call.reason is not None
        assert call.next == a.Next(action=None, at=None)
        [recording] = call.recordings
        assert recording.uri == "s3://lob-sales/k.wav"
        assert [p.code for p in recording.problems] == ["x", "y"]
