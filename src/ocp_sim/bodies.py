"""A push of the stream as an HTTP request, in each form that OCP might use. Pure.

| Events | Body |
|---|---|
| object | one JSON object |
| array | a JSON array |
| ndjson | one JSON object per line |
| *_gzip | the same with Content-Encoding: gzip |

| Recordings | Name in | Bytes |
|---|---|---|
| raw, raw_put | Content-Disposition | the body |
| raw_query | ?name= | the body, as application/octet-stream |
| multipart | part `metadata` (JSON) | part `file` |
| base64 | JSON `name` | JSON `data` |
| url | JSON `name` | to be fetched from JSON `url` |
"""

import base64
import gzip
from typing import Any, NamedTuple

import msgspec

from ocp_sim import config
from ocp_sim.model import Delivery, Recording
from ocp_sim.sounds import Facts


class Request(NamedTuple):
    """What goes over the wire, but for the token."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes


def events_request(one: Delivery, push: config.Push) -> Request:
    """The push of some events of one type."""
    if one.form.startswith("object"):
        body, kind = msgspec.json.encode(one.events[0]), "application/json"
    elif one.form.startswith("array"):
        body, kind = msgspec.json.encode(one.events), "application/json"
    else:
        body = b"".join(msgspec.json.encode(event) + b"\n" for event in one.events)
        kind = "application/x-ndjson"
    headers = {"Content-Type": kind}
    if one.form.endswith("gzip"):
        body, headers["Content-Encoding"] = gzip.compress(body, mtime=0), "gzip"
    return Request("POST", push.events_path, _params(one), headers, body)


def recording_request(
    one: Delivery, push: config.Push, recording: Recording, data: bytes, media: tuple[str, Facts]
) -> Request:
    """The push of a recording; `media` is where and what a receiver may fetch instead."""
    assert one.name is not None
    params, path = _params(one), push.recordings_path
    if one.form.startswith("raw"):
        return _raw(one, path, recording.content_type, data)
    if one.form == "multipart":
        return _multipart(one, path, recording, data)
    document: dict[str, Any] = {"name": one.name, "content_type": recording.content_type}
    if one.form == "url":
        url, facts = media
        document |= {"url": url, "size": facts.size, "sha256": facts.sha256}
    else:
        document["data"] = base64.b64encode(data).decode()
    headers = {"Content-Type": "application/json"}
    return Request("POST", path, params, headers, msgspec.json.encode(document))


def _params(one: Delivery) -> dict[str, str]:
    return {"ocp_group": one.ocp_group}


def _raw(one: Delivery, path: str, content_type: str, data: bytes) -> Request:
    assert one.name is not None
    params, headers = _params(one), {"Content-Type": content_type}
    if one.form == "raw_query":
        params["name"] = one.name
        headers["Content-Type"] = "application/octet-stream"
    else:
        headers["Content-Disposition"] = f'attachment; filename="{one.name}"'
    return Request("PUT" if one.form == "raw_put" else "POST", path, params, headers, data)


def _multipart(one: Delivery, path: str, recording: Recording, data: bytes) -> Request:
    assert one.name is not None
    group, account, time, dialog = one.name.rsplit(".", 1)[0].split("~")
    metadata = {
        "name": one.name,
        "dialog_id": dialog,
        "group": group,
        "account_id": account,
        "time": int(time),
    }
    boundary = f"----ocp-{recording.seed:08x}"
    body = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="metadata"\r\n'
        "Content-Type: application/json\r\n\r\n"
        f"{msgspec.json.encode(metadata).decode()}\r\n"
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{one.name}"\r\n'
        f"Content-Type: {recording.content_type}\r\n\r\n"
    ).encode() + data
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return Request("POST", path, _params(one), headers, body + f"\r\n--{boundary}--\r\n".encode())
