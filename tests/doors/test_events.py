"""POST /v1/events: every form is taken once, every bad input gets its words, nothing is lost."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from ocp_ingest.adapters.memory.faults import Kind
from tests.doors.kit import CALL, NOW_MS, Doors, doors_of, encoded, event

OTHER = "dead.beef"


async def test_one_object_is_durable_and_a_repeat_is_a_duplicate(doors: Doors) -> None:
    first = await doors.post("/v1/events", encoded(event()))
    again = await doors.post("/v1/events", encoded(event()))
    assert (first.status, first.json()) == (200, {"accepted": 1, "new": 1, "duplicates": 0})
    assert (again.status, again.json()) == (200, {"accepted": 1, "new": 0, "duplicates": 1})
    assert [e.raw for e in await doors.world.calls.journal(CALL)] == [encoded(event())]


START, END = encoded(event()), encoded(event("dialog_end"))


def _packed(body: bytes) -> bytes:
    """Gzip without the time: names of tests are the same in every process."""
    return gzip.compress(body, mtime=0)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[" + START + b",\n " + END + b"]", {}),
        (b"  [" + START + b"," + END + b"]\n", {"Content_Type": "application/json"}),
        (START + b"\n" + END, {}),
        (START + b"\r\n\r\n" + END + b"\n", {"Content_Type": "application/x-ndjson"}),
        (_packed(b"[" + START + b"," + END + b"]"), {"Content_Encoding": "gzip"}),
        (_packed(START + b"\n") + _packed(END), {"Content_Encoding": "gzip"}),
    ],
    ids=["array", "padded-array", "ndjson", "ndjson-crlf", "gzip", "gzip-members"],
)
async def test_every_form_of_a_batch_gives_the_same_journal(
    doors: Doors, body: bytes, headers: dict[str, str]
) -> None:
    reply = await doors.post("/v1/events", body, **headers)
    assert (reply.status, reply.json()["new"]) == (200, 2)
    assert {e.raw for e in await doors.world.calls.journal(CALL)} == {START, END}


async def test_a_pretty_printed_object_is_one_event_and_keeps_its_bytes(doors: Doors) -> None:
    import json

    body = json.dumps(event(), indent=2).encode()
    assert (await doors.post("/v1/events", body)).json()["accepted"] == 1
    assert [e.raw for e in await doors.world.calls.journal(CALL)] == [body]


async def test_the_ocp_group_is_the_messages_then_the_urls_then_the_clients(doors: Doors) -> None:
    async def group_of(call: str, query: str, **more: Any) -> str:
        await doors.post(f"/v1/events{query}", encoded(event(call=call, **more)))
        found = await doors.world.calls.load(call)
        assert found is not None
        return str(found.get("ocp_group"))

    said = {"flow": {"ocp_group_name": "said", "type": "Flow", "parent_step": 0}}
    assert await group_of("g1", "?ocp_group=url", **said) == "said"
    assert await group_of("g2", "?ocp_group=url%20x") == "url x"
    assert await group_of("g3", "") == "group-of-client"


BAD = {
    "not-json": (b"hello", 400),
    "html": (b"<html><body>502 Bad Gateway</body></html>", 400),
    "truncated": (START[:-5], 400),
    "empty": (b"", 400),
    "blank": (b" \r\n ", 400),
    "nan": (b'{"message_type":"dialog_start","id":"a","group":"a","time":NaN}', 400),
    "number": (b"42", 422),
    "not-utf8": (START.replace(b"omIVR", b"\xff\xfe"), 400),
    "utf16": (START.decode().encode("utf-16"), 400),
    "deep": (b'{"message_type":"dialog_start","x":' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
    "deepish": (encoded(event())[:-1] + b',"x":' + b"[" * 70 + b"]" * 70 + b"}", 400),
    "no-type": (encoded({**event(), "message_type": None}), 422),
    "no-id": (encoded({**event(), "id": ""}), 422),
    "undefined-id": (encoded({**event(), "id": "undefined"}), 422),
    "id-number": (encoded({**event(), "id": 5}), 422),
    "no-group": (encoded({k: v for k, v in event().items() if k != "group"}), 422),
    "long-id": (encoded({**event(), "id": "x" * 300}), 422),
    "time-text": (encoded({**event(), "time": "yesterday"}), 422),
    "time-seconds": (encoded({**event(), "time": NOW_MS // 1000}), 422),
    "duration": (encoded({**event("dialog_end"), "duration": -1}), 422),
    "surrogate": (START.replace(b"omIVR", b"\\ud800"), 400),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_gets_a_clear_4xx_and_is_kept(doors: Doors, name: str) -> None:
    body, status = BAD[name]
    reply = await doors.post("/v1/events", body)
    problem = reply.problem()
    assert (reply.status, problem.code) == (status, "invalid")
    assert "600123456" not in reply.body.decode()
    kept = await doors.world.evidence.kept()
    assert [(k.reason, k.body) for k in kept] == [(problem.detail, body.strip(b" \t\r\n") or body)]
    assert await doors.world.calls.call_ids() == []


async def test_a_bad_event_costs_its_neighbours_nothing(doors: Doors) -> None:
    batch = [event(), {**event(call=OTHER), "id": None}, event("dialog_end"), {"a": 1}]
    reply = await doors.post("/v1/events", encoded(batch))
    problem = reply.problem()
    assert (reply.status, problem.index, problem.field) == (422, 1, "id")
    assert (problem.accepted, problem.new, problem.refused) == (2, 2, 2)
    assert len(await doors.world.calls.journal(CALL)) == 2
    assert len(await doors.world.evidence.kept()) == 2


async def test_a_broken_line_of_ndjson_costs_its_neighbours_nothing(doors: Doors) -> None:
    reply = await doors.post("/v1/events", START + b'\n{"broken": \n' + END + b"\n7")
    problem = reply.problem()
    assert (reply.status, problem.index, problem.accepted, problem.refused) == (422, 1, 2, 2)
    assert len(await doors.world.calls.journal(CALL)) == 2


async def test_unknown_types_are_no_error(doors: Doors) -> None:
    reply = await doors.post("/v1/events", encoded(event("brand_new")))
    assert reply.status == 200
    assert [e.kind for e in await doors.world.calls.journal(CALL)] == ["other"]
    assert await doors.world.evidence.counted("unknown_type:") == {"unknown_type:brand_new": 1}


@pytest.mark.parametrize("form", ["one", "array", "ndjson"])
async def test_an_oversized_event_is_413_wherever_it_is(doors: Doors, form: str) -> None:
    large = encoded(event(call=OTHER, filler="x" * 300_000))
    body = {"one": large, "array": b"[" + START + b"," + large + b"]",
            "ndjson": START + b"\n" + large}[form]  # fmt: skip
    reply = await doors.post("/v1/events", body)
    assert (reply.status, reply.problem().code) == (413, "too_large")
    # The good neighbour was taken, the large one was not.
    assert await doors.world.calls.call_ids() == ([] if form == "one" else [CALL])


async def test_bounds_on_a_request_are_413(doors: Doors) -> None:
    many = b"[" + b",".join([b"{}"] * 1001) + b"]"
    dense = b"[" + b",".join([b"1"] * 1_000_000) + b"]"
    lines = b"{}\n" * 1001
    newlines = b"{}" + b"\n\n" * 3_000_000 + b"{}"
    large = b"[" + b" " * (9 * 1024 * 1024) + b"]"
    for body in (many, dense, lines, newlines, large):
        reply = await doors.post("/v1/events", body)
        assert (reply.status, reply.problem().code) == (413, "too_large")


async def test_an_oversized_body_without_a_length_is_413(doors: Doors) -> None:
    async def blocks() -> Any:
        for _ in range(160):
            yield b" " * 65_536

    reply = await doors.post("/v1/events", blocks())
    assert reply.status == 413


async def test_a_gzip_bomb_is_413(doors: Doors) -> None:
    bomb = gzip.compress(b" " * 200_000_000)
    reply = await doors.post("/v1/events", bomb, Content_Encoding="gzip")
    assert (reply.status, reply.problem().code) == (413, "too_large")


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"not gzip at all", "gzip", 400),
        (_packed(START)[:-9], "gzip", 400),
        (_packed(START) + b"trailing garbage", "gzip", 400),
        (b"\x1f\x8b" + b"\0" * 30, "gzip", 400),
        (_packed(b"") * 100, "gzip", 400),
        (START, "br", 415),
        (START, "gzip, gzip", 415),
    ],
)
async def test_broken_encodings_are_4xx(
    doors: Doors, body: bytes, encoding: str, status: int
) -> None:
    reply = await doors.post("/v1/events", body, Content_Encoding=encoding)
    assert reply.status == status
    assert reply.problem().code in ("invalid", "unsupported")


async def test_other_methods_are_405_and_named(doors: Doors) -> None:
    reply = await doors.call("GET", "/v1/events")
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
    assert reply.problem().code == "method_not_allowed"


async def test_a_busy_store_is_503_with_a_wait_and_nothing_is_half_done(doors: Doors) -> None:
    doors.faults.plan("CallStore.append.journal", Kind.THROTTLED, ms=3_000)
    reply = await doors.post("/v1/events", START)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "3")
    assert reply.problem().code == "try_again"
    assert (await doors.post("/v1/events", START)).json()["new"] == 1


async def test_an_unforeseen_error_is_500_without_internals(doors: Doors) -> None:
    async def bug(*_: Any) -> Any:
        raise KeyError("+34600123456 secret internals")

    object.__setattr__(doors.world.calls, "append", bug)
    reply = await doors.post("/v1/events", START)
    problem = reply.problem()
    assert (reply.status, problem.code) == (500, "internal")
    assert problem.reference
    assert b"secret" not in reply.body
    assert b"KeyError" not in reply.body


async def test_duplicate_keys_are_taken_and_the_bytes_are_kept(doors: Doors) -> None:
    body = START.replace(b'"channel":"omIVR"', b'"channel":"first","channel":"last"')
    assert (await doors.post("/v1/events", body)).status == 200
    found = await doors.world.calls.load(CALL)
    assert found is not None
    assert found.get("channel") == "last"
    assert [e.raw for e in await doors.world.calls.journal(CALL)] == [body]


async def test_bounds_are_settings(tmp_path: Path) -> None:
    limits = {"event_bytes_max": 64, "batch_bytes_max": 256, "batch_events_max": 2}
    async with doors_of(tmp_path, limits=limits) as doors:
        assert (await doors.post("/v1/events", START)).status == 413
        assert (await doors.post("/v1/events", b"[{},{},{}]")).status == 413
        assert (await doors.post("/v1/events", b"[{}]")).status == 422
