"""POST|PUT /v1/recordings: one recording in, durable before the answer, in constant memory.

Form        told by                                          file
raw         anything else; the body is the audio             here
multipart   Content-Type: multipart/form-data                multipart_form.py
base64      Content-Type: application/json with `data`       json_form.py
url         Content-Type: application/json with `url`        json_form.py, fetch.py

201 it is new; 200 these bytes were here already; 409 other bytes of this dialog are here (both are
kept). What can be refused before the body is read, is: token, size, name.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ocp_ingest.core.errors import Conflict, Invalid
from ocp_ingest.core.vendor import Context
from ocp_ingest.entrypoints.api.auth import authenticate
from ocp_ingest.entrypoints.api.deps import Deps
from ocp_ingest.entrypoints.api.events import context_of
from ocp_ingest.entrypoints.api.inbound import Disconnected, Inbound
from ocp_ingest.entrypoints.api.json_form import take_json
from ocp_ingest.entrypoints.api.multipart_form import take_multipart
from ocp_ingest.entrypoints.api.names import file_name, name_of
from ocp_ingest.entrypoints.api.problems import Answer, NotAllowed, Unsupported
from ocp_ingest.ingest import intake
from ocp_ingest.ingest.intake import TakenRecording
from ocp_ingest.telemetry import log

_ENCODER: Final = msgspec.json.Encoder()


async def take_recording(deps: Deps, request: Inbound) -> Answer:
    """The answer to one delivered recording. Raises what intake raises, and Denied."""
    if request.method not in ("POST", "PUT"):
        raise NotAllowed("POST", "PUT")
    caller = await authenticate(deps, request.headers, "ingest")
    context = context_of(deps, request, caller)
    form = form_of(request)
    try:
        async with deps.uploads.one():
            if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
                raise Unsupported("Send the recording without Content-Encoding.")
            taken = await _take(deps, request, context, form)
    except Conflict:
        _count(deps, form, "conflict")
        raise
    except Invalid as bad:
        _count(deps, form, "refused")
        await _keep(deps, request, context, bad)
        raise
    _count(deps, form, taken.result)
    deps.metrics.add("ocp_ingest_recording_bytes_total", taken.bytes)
    log().info(
        "recording.taken", call_id=taken.call_id, dialog_id=taken.dialog_id,
        bytes=taken.bytes, form=form, result=taken.result,
    )  # fmt: skip
    return Answer(201 if taken.new else 200, _ENCODER.encode(_describe(taken)))


def form_of(request: Inbound) -> str:
    """The form of a delivery by its Content-Type: raw, multipart, json."""
    media_type = request.header(b"content-type").split(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return "multipart"
    if media_type == "application/json" or media_type.endswith("+json"):
        return "json"
    return "raw"


def said_name(deps: Deps, request: Inbound) -> str:
    """The name that the request's head gives; the header wins over the URL; "" for none."""
    header = file_name(request.header(b"content-disposition"))
    return header or request.query(deps.config.delivery.name_query) or ""


async def _take(deps: Deps, request: Inbound, context: Context, form: str) -> TakenRecording:
    said = said_name(deps, request)
    if form == "multipart":
        return await take_multipart(deps, request, context, said)
    if form == "json":
        return await take_json(deps, request, context, said)
    name = name_of(said, {}, deps.config.delivery)
    return await intake.recording(
        deps.world, name, request.blocks(),
        source="stream", expected_bytes=request.length(), context=context,
    )  # fmt: skip


async def _keep(deps: Deps, request: Inbound, context: Context, bad: Invalid) -> None:
    """Keeps what we know of a refused delivery; its bytes are the sender's to repeat."""
    if isinstance(bad, Disconnected):
        log().info("upload.broken_off", reason=bad.text)
        return
    head = {
        "name": said_name(deps, request),
        "content_type": request.header(b"content-type")[:200],
        "content_length": request.header(b"content-length")[:20],
    }
    await deps.world.evidence.keep(
        "recording", bad.text, _ENCODER.encode(head), context.received_at_ms
    )


def _count(deps: Deps, form: str, result: str) -> None:
    deps.metrics.add("ocp_ingest_recordings_total", 1, form, result)


def _describe(taken: TakenRecording) -> dict[str, object]:
    return {
        "call_id": taken.call_id,
        "dialog_id": taken.dialog_id,
        "bytes": taken.bytes,
        "sha256": taken.sha256,
        "result": taken.result,
    }
