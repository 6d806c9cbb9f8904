"""POST|PUT /v1/recordings: every delivery form gives the same recording; nothing half is kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ocp_ingest.adapters.memory.faults import Kind
from tests.doors.kit import CALL, NAME, NOW_MS, Doors, doors_of, encoded, event, wav

AUDIO = wav()
SHA = hashlib.sha256(AUDIO).hexdigest()
BOUNDARY = "xyz"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
Sent = tuple[bytes, dict[str, str], str]


def part(name: str, body: bytes, filename: str | None = None) -> bytes:
    """One part of a form."""
    tail = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{tail}\r\n\r\n'
    return head.encode() + body + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


METADATA = part("metadata", encoded({"name": NAME}))
FILE = part("file", AUDIO)
JSON = {"Content-Type": "application/json"}
B64 = base64.b64encode(AUDIO).decode()
QUOTED = NAME.replace("~", "%7E")

EXTENDED = f"attachment; filename=x.wav; filename*=UTF-8''{QUOTED}"
FORMS: dict[str, Sent] = {
    "raw": (AUDIO, {"Content-Disposition": f'attachment; filename="{NAME}"'}, ""),
    "raw-token": (AUDIO, {"Content-Disposition": f"attachment; filename={NAME}"}, ""),
    "raw-extended": (AUDIO, {"Content-Disposition": EXTENDED}, ""),
    "raw-bare": (AUDIO, {"Content-Disposition": f'filename="{NAME}"'}, ""),
    "raw-query": (AUDIO, {"Content-Type": "audio/x-wav"}, f"?name={QUOTED}"),
    "raw-octets": (AUDIO, {"Content-Type": "application/octet-stream"}, f"?name={QUOTED}"),
    "raw-mp3-type": (AUDIO, {"Content-Type": "audio/mpeg"}, f"?name={QUOTED}"),
    "multipart": (form(METADATA, FILE), {"Content-Type": MULTIPART}, ""),
    "multipart-file-first": (form(FILE, METADATA), {"Content-Type": MULTIPART}, ""),
    "multipart-filename": (form(part("file", AUDIO, NAME)), {"Content-Type": MULTIPART}, ""),
    "multipart-other-part": (
        form(part("x", b"1"), part("recording", AUDIO, NAME)), {"Content-Type": MULTIPART}, "",
    ),
    "multipart-query": (form(FILE), {"Content-Type": MULTIPART}, f"?name={QUOTED}"),
    "multipart-ids": (
        form(part("metadata", encoded({"group": CALL, "dialog_id": CALL})), FILE),
        {"Content-Type": MULTIPART}, "",
    ),
    "base64": (encoded({"name": NAME, "content_type": "audio/wav", "data": B64}), JSON, ""),
    "base64-checked": (
        encoded({"name": NAME, "data": B64, "size": len(AUDIO), "sha256": SHA.upper()}), JSON, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("name", FORMS)
async def test_every_form_gives_the_same_recording_and_a_repeat_changes_nothing(
    doors: Doors, name: str, method: str
) -> None:
    body, headers, query = FORMS[name]
    first = await doors.call(method, f"/v1/recordings{query}", headers=headers, data=body)
    again = await doors.call(method, f"/v1/recordings{query}", headers=headers, data=body)
    expected = {"call_id": CALL, "dialog_id": CALL, "bytes": len(AUDIO), "sha256": SHA}
    assert (first.status, first.json()) == (201, {**expected, "result": "received"})
    assert (again.status, again.json()) == (200, {**expected, "result": "already_received"})
    assert list(doors.landing().values()) == [AUDIO]
    assert [e.kind for e in await doors.world.calls.journal(CALL)] == ["received"]


async def test_a_recording_of_a_known_child_dialog_goes_to_its_call(doors: Doors) -> None:
    child = event(id="child", flow={"type": "YesNo", "parent_step": 3})
    await doors.post("/v1/events", encoded(child))
    reply = await doors.post("/v1/recordings?name=x~acc~1~child.wav", AUDIO)
    assert (reply.json()["call_id"], reply.json()["dialog_id"]) == (CALL, "child")


async def test_chunked_bodies_of_unknown_length_are_taken(doors: Doors) -> None:
    async def blocks() -> Any:
        for start in range(0, len(AUDIO), 1000):
            yield AUDIO[start : start + 1000]

    reply = await doors.post(f"/v1/recordings?name={QUOTED}", blocks())
    assert (reply.status, reply.json()["sha256"]) == (201, SHA)


async def test_other_bytes_of_a_dialog_are_409_and_both_are_kept(doors: Doors) -> None:
    await doors.post(f"/v1/recordings?name={QUOTED}", AUDIO)
    doors.clock.advance(1)
    for _ in range(2):
        reply = await doors.post(f"/v1/recordings?name={QUOTED}", wav(fill=9))
        problem = reply.problem()
        assert (reply.status, problem.code, problem.call_id) == (409, "conflict", CALL)
        assert problem.sha256 == hashlib.sha256(wav(fill=9)).hexdigest()
    assert sorted(doors.landing().values()) == sorted([AUDIO, wav(fill=9)])
    [incident] = await doors.world.incidents.incidents()
    assert (incident.key, incident.calls) == ("recording_conflict", 1)


async def test_of_two_recordings_in_one_millisecond_the_later_is_told(doors: Doors) -> None:
    bodies = [AUDIO, wav(fill=9), wav(fill=11), wav(fill=12)]
    replies = [await doors.post(f"/v1/recordings?name={QUOTED}", body) for body in bodies]
    assert [r.status for r in replies] == [201, 409, 409, 409]
    assert len(doors.landing()) == 4


JUDGED_LATER = {
    "html": (b"<html><body>502 Bad Gateway</body></html>", "text/html"),
    "json": (b'{"error":"NoSuchKey"}', "application/json"),
    "broken-json": (b'{"error": NoSuch', "application/json"),
    "json-text": (b'"gone"', "application/json"),
    "problem": (b'{"status":404}', "application/problem+json"),
    "one-byte": (b"R", "audio/wav"),
    "half": (AUDIO[:500], "audio/wav"),
}


@pytest.mark.parametrize("name", JUDGED_LATER)
async def test_what_is_no_audio_is_taken_as_evidence_and_judged_later(
    doors: Doors, name: str
) -> None:
    body, content_type = JUDGED_LATER[name]
    reply = await doors.post(f"/v1/recordings?name={QUOTED}", body, Content_Type=content_type)
    assert reply.status == 201
    assert list(doors.landing().values()) == [body]


@pytest.mark.parametrize(
    "name",
    [
        f"../../etc/{CALL}~a~{NOW_MS}~{CALL}.wav",
        f"C:\\temp\\{CALL}~a~{NOW_MS}~{CALL}.WAV",
        f"{CALL}~a%2Fb~{NOW_MS}~{CALL}.wav",
        f"{CALL}~ñ ü~{NOW_MS}~{CALL}.wav",
    ],
)
async def test_odd_names_are_data_and_are_kept_as_they_came(doors: Doors, name: str) -> None:
    await doors.post(f"/v1/recordings?name={quote(name)}", AUDIO)
    [received] = await doors.world.calls.journal(CALL)
    assert received.data["name"] == name
    # Where the bytes land has nothing to do with it.
    assert not any(".." in key or "temp" in key or CALL in key for key in doors.landing())


async def test_percent_signs_in_a_plain_file_name_are_not_decoded(doors: Doors) -> None:
    name = f"{CALL}~50%25~{NOW_MS}~{CALL}.wav"
    await doors.post("/v1/recordings", AUDIO, Content_Disposition=f'attachment; filename="{name}"')
    [received] = await doors.world.calls.journal(CALL)
    assert received.data["name"] == name


BAD: dict[str, tuple[Sent, int]] = {
    "no-name": ((AUDIO, {}, ""), 400),
    "useless-name": ((AUDIO, {}, "?name=recording.wav"), 400),
    "undefined-name": ((AUDIO, {}, "?name=undefined~a~1~undefined.wav"), 400),
    "long-name": ((AUDIO, {}, "?name=" + "x" * 2000), 400),
    "empty": ((b"", {}, f"?name={QUOTED}"), 400),
    "gzip": ((AUDIO, {"Content-Encoding": "gzip"}, f"?name={QUOTED}"), 415),
    "form-without-file": ((form(METADATA), {"Content-Type": MULTIPART}, ""), 400),
    "form-empty-file": ((form(METADATA, part("file", b"")), {"Content-Type": MULTIPART}, ""), 400),
    "form-without-name": ((form(FILE), {"Content-Type": MULTIPART}, ""), 400),
    "form-name-last-useless": (
        (form(FILE, part("metadata", b'{"name":"x"}')), {"Content-Type": MULTIPART}, ""), 400),
    "form-two-files": ((form(METADATA, FILE, FILE), {"Content-Type": MULTIPART}, ""), 400),
    "form-two-metadata": ((form(METADATA, METADATA, FILE), {"Content-Type": MULTIPART}, ""), 400),
    "form-bad-metadata": (
        (form(part("metadata", b"{nope"), FILE), {"Content-Type": MULTIPART}, ""), 400),
    "form-metadata-list": (
        (form(FILE, part("metadata", b"[1]")), {"Content-Type": MULTIPART}, ""), 400),
    "form-name-number": (
        (form(part("metadata", b'{"name":5}'), FILE), {"Content-Type": MULTIPART}, ""), 400),
    "form-no-boundary": ((form(METADATA, FILE), {"Content-Type": "multipart/form-data"}, ""), 400),
    "form-cut": ((form(METADATA, FILE)[:-10], {"Content-Type": MULTIPART}, ""), 400),
    "form-garbage": ((b"garbage" * 100, {"Content-Type": MULTIPART}, ""), 400),
    "form-many-parts": (
        (form(*[part(f"p{n}", b"1") for n in range(20)]), {"Content-Type": MULTIPART}, ""), 413),
    "form-huge-metadata": (
        (form(part("metadata", b" " * 70_000), FILE), {"Content-Type": MULTIPART}, ""), 413),
    "form-huge-header": (
        (form(part("f" * 9000, b"1"), FILE), {"Content-Type": MULTIPART}, ""), 413),
    "base64-garbage": ((encoded({"name": NAME, "data": "!!not base64!!"}), JSON, ""), 400),
    "base64-cut": ((encoded({"name": NAME, "data": B64[:-1]}), JSON, ""), 400),
    "base64-empty": ((encoded({"name": NAME, "data": ""}), JSON, ""), 400),
    "base64-no-name": ((encoded({"data": B64}), JSON, ""), 400),
    "base64-size": ((encoded({"name": NAME, "data": B64, "size": 5}), JSON, ""), 400),
    "base64-sha": ((encoded({"name": NAME, "data": B64, "sha256": "0" * 64}), JSON, ""), 400),
    "base64-bad-sha": ((encoded({"name": NAME, "data": B64, "sha256": "zz"}), JSON, ""), 400),
    "base64-and-url": ((encoded({"name": NAME, "data": B64, "url": "https://x/"}), JSON, ""), 400),
    "neither": ((encoded({"name": NAME}), JSON, ""), 400),
    "json-garbage": ((b"{", JSON, ""), 400),
    "json-data-number": ((b'{"name":"x","data":5}', JSON, f"?name={QUOTED}"), 400),
    "json-deep": ((b"[" * 5000, JSON, ""), 400),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_bad_deliveries_get_a_clear_4xx_and_leave_nothing_but_evidence(
    doors: Doors, name: str
) -> None:
    (body, headers, query), status = BAD[name]
    reply = await doors.call("POST", f"/v1/recordings{query}", headers=headers, data=body)
    problem = reply.problem()
    assert (reply.status, problem.instance) == (status, "/v1/recordings")
    assert doors.landing() == {}
    assert await doors.world.calls.call_ids() == []
    assert [k.reason for k in await doors.world.evidence.kept()] == [problem.detail]
    assert doors.api.deps.uploads.under_way == 0


async def test_over_the_bound_is_413_whether_announced_or_not(tmp_path: Path) -> None:
    async def blocks() -> Any:
        for _ in range(40):
            yield b"x" * 1000

    limits = {"recording_bytes_max": 20_000, "base64_bytes_max": 1_000}
    async with doors_of(tmp_path, limits=limits) as doors:
        url = f"/v1/recordings?name={QUOTED}"
        large = b"x" * 40_000
        in_form = {"Content_Type": MULTIPART}
        replies = [
            await doors.post(url, large),
            await doors.post(url, blocks()),
            await doors.post(url, form(METADATA, part("file", large)), **in_form),
            await doors.post(url, form(part("file", large), METADATA), **in_form),
            await doors.post("/v1/recordings", encoded({"name": NAME, "data": "AAAA" * 400}),
                             Content_Type="application/json"),
            await doors.post("/v1/recordings", b" " * 200_000, Content_Type="application/json"),
        ]  # fmt: skip
        assert [r.status for r in replies] == [413] * len(replies)
        assert {r.problem().code for r in replies} == {"too_large"}
        assert doors.landing() == {}


async def test_a_nameless_recording_is_refused_before_its_body_is_read(doors: Doors) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    writer.write(head(doors, "/v1/recordings", 1_000_000))
    answer = await asyncio.wait_for(reader.read(200), 5)
    assert answer.startswith(b"HTTP/1.1 400")
    writer.close()


def head(doors: Doors, path: str, length: int, **more: str) -> bytes:
    """The head of a request, for senders that misbehave."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {doors.token()}",
             f"Content-Length: {length}", *(f"{k}: {v}" for k, v in more.items())]  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("path", [f"/v1/recordings?name={QUOTED}", "/v1/events"])
async def test_a_body_shorter_than_announced_is_400_and_leaves_nothing(
    doors: Doors, path: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    writer.write(head(doors, path, len(AUDIO)) + AUDIO[:-1])
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(2000), 5)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in answer
    writer.close()
    assert doors.landing() == {}
    assert await doors.world.calls.call_ids() == []


@pytest.mark.parametrize("multipart", [False, True])
async def test_a_sender_that_vanishes_leaves_nothing_and_frees_its_place(
    doors: Doors, multipart: bool
) -> None:
    sent = form(FILE, METADATA) if multipart else AUDIO
    more = {"Content-Type": MULTIPART} if multipart else {}
    _, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    writer.write(head(doors, f"/v1/recordings?name={QUOTED}", len(sent), **more) + sent[:9000])
    await writer.drain()
    await until(lambda: doors.api.deps.uploads.under_way == 1)
    writer.transport.abort()
    await until(lambda: doors.api.deps.uploads.under_way == 0)
    assert doors.landing() == {}
    assert await doors.world.calls.call_ids() == []


@pytest.mark.parametrize("path", [f"/v1/recordings?name={QUOTED}", "/v1/events"])
@pytest.mark.parametrize("politely", [True, False])
async def test_a_chunked_body_without_its_end_is_no_body(
    doors: Doors, path: str, politely: bool
) -> None:
    whole = encoded(event()) if path == "/v1/events" else AUDIO
    headers = head(doors, path, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    writer.write(headers + f"{len(whole):x}\r\n".encode() + whole + b"\r\n")
    await writer.drain()
    await asyncio.sleep(0.1)
    if politely:
        writer.write_eof()
        assert (await asyncio.wait_for(reader.read(100), 5)).startswith(b"HTTP/1.1 400")
    writer.transport.abort()
    await until(lambda: doors.api.deps.uploads.under_way == 0)
    await asyncio.sleep(0.05)
    assert doors.landing() == {}
    assert await doors.world.calls.call_ids() == []


async def until(true: Any) -> None:
    """Waits for a condition, a few seconds at most."""
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_silent_sender_is_told_to_try_again_and_leaves_nothing(tmp_path: Path) -> None:
    async with doors_of(tmp_path, limits={"upload_idle_s_max": 0.3}) as doors:
        reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
        writer.write(head(doors, f"/v1/recordings?name={QUOTED}", len(AUDIO)))
        for start in range(0, 3000, 1000):  # slow is fine, silent is not
            writer.write(AUDIO[start : start + 1000])
            await asyncio.sleep(0.2)
        answer = await asyncio.wait_for(reader.read(2000), 5)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: " in answer.lower()
        writer.close()
        assert doors.landing() == {}
        assert doors.api.deps.uploads.under_way == 0


async def test_beyond_the_bound_on_uploads_senders_are_told_to_come_again(tmp_path: Path) -> None:
    async with doors_of(tmp_path, limits={"uploads_at_once_max": 2}) as doors:
        release = asyncio.Event()

        async def slow() -> Any:
            yield AUDIO[:100]
            await release.wait()
            yield AUDIO[100:]

        names = [f"call{n}~a~{NOW_MS}~call{n}.wav" for n in range(3)]
        under_way = [
            asyncio.create_task(doors.post(f"/v1/recordings?name={n}", slow())) for n in names[:2]
        ]
        await until(lambda: doors.api.deps.uploads.under_way == 2)
        assert doors.api.deps.metrics.value("ocp_ingest_uploads") == 2
        busy = await doors.post(f"/v1/recordings?name={names[2]}", AUDIO)
        assert (busy.status, busy.problem().code) == (503, "try_again")
        assert int(busy.headers["Retry-After"]) >= 1
        # Events are not held up by recordings.
        assert (await doors.post("/v1/events", encoded(event()))).status == 200
        release.set()
        assert [(await task).status for task in under_way] == [201, 201]
        assert (await doors.post(f"/v1/recordings?name={names[2]}", AUDIO)).status == 201


@pytest.mark.parametrize("point", ["RecordingStore.upload.visible", "CallStore.append.journal"])
async def test_a_failing_store_is_503_and_a_repeat_heals(doors: Doors, point: str) -> None:
    doors.faults.plan(point, Kind.LOST)
    first = await doors.post(f"/v1/recordings?name={QUOTED}", AUDIO)
    assert (first.status, first.problem().code) == (503, "try_again")
    assert "Retry-After" in first.headers
    again = await doors.post(f"/v1/recordings?name={QUOTED}", AUDIO)
    assert (again.status, again.json()["result"]) == (201, "received")


async def test_field_names_are_settings(tmp_path: Path) -> None:
    names = {"name": "nombre", "data": "contenido", "file_part": "audio", "metadata_part": "datos"}
    async with doors_of(tmp_path, delivery={**names, "name_query": "n"}) as doors:
        body = encoded({"nombre": NAME, "contenido": B64})
        assert (
            await doors.post("/v1/recordings", body, Content_Type="application/json")
        ).status == 201
        parts = form(part("audio", AUDIO), part("datos", encoded({"nombre": NAME})))
        assert (await doors.post("/v1/recordings", parts, Content_Type=MULTIPART)).status == 200
        assert (await doors.post(f"/v1/recordings?n={QUOTED}", AUDIO)).status == 200
        assert (await doors.post(f"/v1/recordings?name={QUOTED}", AUDIO)).status == 400
