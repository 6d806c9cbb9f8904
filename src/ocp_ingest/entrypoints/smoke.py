"""`ocp-ingest smoke`: one synthetic call, end to end, through the doors of a running platform.

    token ─► ready ─► dialog_start ─► recording ─► recording again ─► dialog_end ─► stored?

The call is a real one to the platform, for a test flag would close it without a recording: it is
counted, stored and kept like any other. It is told by its id, which begins with "smoke-", and by
its application, SMOKE_APP; a routing rule on `entry_app` gives it a line of business of its own.
Without one it is "unassigned", which opens that incident.

Standard library only: it runs wherever the command is installed, beside no runtime.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import wave
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

SMOKE_APP: Final = "ocp-ingest-smoke"
# Longer than `policy.recording_min_ms`, below which OCP would have no recording; still quick.
CALL_MS: Final = 5_000
_RATE_HZ: Final = 8_000
# Two tones in turn, at a third of full scale: no silence, no clipping, and known by ear.
_TONES_HZ: Final = (440, 660)
_AMPLITUDE: Final = 10_000
_TURN_MS: Final = 500
# One answer; a call's is a few KiB.
_ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
# One request: the longest is the upload of 80 KB.
_REQUEST_S_MAX: Final = 30.0
# Between two looks at the call; a step takes about a second.
_LOOK_S: Final = 0.5
_LOOK_S_MAX: Final = 5.0


class SmokeError(Exception):
    """A step failed; the text says which and why, without tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked, and as whom: a token, or client id and secret for `token_url`."""

    url: str
    token: str = ""
    token_url: str = ""
    client_id: str = ""
    client_secret: str = ""
    timeout_s: float = 120.0
    ocp_group: str = ""
    entry_app: str = SMOKE_APP
    attached: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """What was checked, in order: (what, milliseconds, words)."""

    call_id: str
    line_of_business: str = ""
    uri: str = ""
    failed: str = ""
    steps: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether every step did what it should."""
        return not self.failed

    def view(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "good": self.good, "call_id": self.call_id, "line_of_business": self.line_of_business,
            "uri": self.uri, "failed": self.failed or None,
            "steps": [{"what": w, "ms": ms, "text": text} for w, ms, text in self.steps],
        }  # fmt: skip


def run(
    options: Options, *, suffix: str, now_s: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep, said: Callable[[str], None] = lambda _: None,
) -> Report:  # fmt: skip
    """Sends the call and waits until it is stored; never raises. `suffix` makes its id unique."""
    start_s = now_s() - CALL_MS / 1000 - 1
    stamp = datetime.fromtimestamp(start_s, UTC).strftime("%Y%m%dT%H%M%S")
    call = _Call(f"smoke-{stamp}-{suffix}", int(start_s * 1000), options)
    report = Report(call.call_id)
    client = _Client(options.url, options.token)
    try:
        for what, step in _steps(call, client, options, report, sleep):
            began_s = time.monotonic()
            try:
                text = step()
            except SmokeError as failed:
                report.failed = f"{what}: {failed}"
                break
            ms = int((time.monotonic() - began_s) * 1000)
            report.steps.append((what, ms, text))
            said(f"ok    {what}: {text} ({ms} ms)")
    except Exception as bug:  # a report is owed in any case
        report.failed = f"{type(bug).__name__}"
    return report


def _steps(
    call: _Call, client: _Client, options: Options, report: Report, sleep: Callable[[float], None]
) -> Iterator[tuple[str, Callable[[], str]]]:
    if not options.token:
        yield "token", lambda: client.log_in(options)
    yield "ready", lambda: _ready(client)
    yield "dialog_start", lambda: _event(client, call.start())
    yield "recording", lambda: _recording(client, call, 201, "received")
    yield "recording again", lambda: _recording(client, call, 200, "already_received")
    yield "dialog_end", lambda: _event(client, call.end())
    yield "stored", lambda: _stored(client, call, options, report, sleep)


# -- the call -------------------------------------------------------------------------------------


class _Call:
    """A call of one dialog, with its CDRs and its recording."""

    def __init__(self, call_id: str, start_ms: int, options: Options) -> None:
        self.call_id = call_id
        self.audio = tone(CALL_MS)
        self.sha256 = hashlib.sha256(self.audio).hexdigest()
        self.name = f"{call_id}~smoke~{start_ms}~{call_id}.wav"
        self._common: dict[str, Any] = {
            "id": call_id, "group": call_id, "time": start_ms, "channel": "omIVR",
            "direction": "inbound", "test_flag": False, "app": {"name": options.entry_app},
            "incoming_attached_data": dict(options.attached),
        }  # fmt: skip
        if options.ocp_group:
            self._common["flow"] = {
                "type": "Flow", "parent_step": 0, "name": options.entry_app,
                "ocp_group_name": options.ocp_group,
            }  # fmt: skip

    def start(self) -> dict[str, Any]:
        """Its CDR Start."""
        return {**self._common, "message_type": "dialog_start"}

    def end(self) -> dict[str, Any]:
        """Its CDR End."""
        return {
            **self._common, "message_type": "dialog_end", "duration": CALL_MS,
            "end_type": "NEAR_HUP", "events": "globalResult:success",
        }  # fmt: skip


def tone(duration_ms: int) -> bytes:
    """A WAV, PCM16 mono 8 kHz, of two tones in turn."""
    frames = bytearray()
    for number in range(_RATE_HZ * duration_ms // 1000):
        at_s = number / _RATE_HZ
        hz = _TONES_HZ[int(at_s * 1000 / _TURN_MS) % len(_TONES_HZ)]
        frames += struct.pack("<h", int(_AMPLITUDE * math.sin(2 * math.pi * hz * at_s)))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE_HZ)
        file.writeframes(bytes(frames))
    return out.getvalue()


# -- the steps ------------------------------------------------------------------------------------


def _ready(client: _Client) -> str:
    status, said = client.ask("GET", "/readyz")
    if status in (401, 403, 404):
        return "readiness is not open to callers"
    if status != 200:
        failed = [name for name, good in _object(said).get("checks", {}).items() if not good]
        raise SmokeError(f"the platform is not ready ({status}): {', '.join(failed) or 'see it'}")
    return "the platform may be given work"


def _event(client: _Client, event: dict[str, Any]) -> str:
    status, said = client.ask("POST", "/v1/events", json.dumps(event).encode(), "application/json")
    _expect(status, said, 200)
    if _object(said).get("accepted") != 1:
        raise SmokeError("the answer does not say that one event was accepted")
    return "durable"


def _recording(client: _Client, call: _Call, wanted: int, result: str) -> str:
    path = f"/v1/recordings?{urllib.parse.urlencode({'name': call.name})}"
    status, said = client.ask("POST", path, call.audio, "audio/wav")
    _expect(status, said, wanted)
    answer = _object(said)
    if answer.get("sha256") != call.sha256 or answer.get("result") != result:
        raise SmokeError("the answer does not tell these bytes, or not what became of them")
    return f"{len(call.audio)} bytes, {result}"


def _stored(
    client: _Client, call: _Call, options: Options, report: Report, sleep: Callable[[float], None]
) -> str:
    until_s, pause_s = time.monotonic() + options.timeout_s, _LOOK_S
    while True:
        status, said = client.ask("GET", f"/v1/calls/{urllib.parse.quote(call.call_id, safe='')}")
        _expect(status, said, 200)
        view = _object(said)
        if view.get("stage") == "stored":
            return _proved(call, view, report)
        _stop_if_hopeless(view)
        if time.monotonic() + pause_s > until_s:
            raise SmokeError(
                f"not after {options.timeout_s:g} s; the call is {view.get('stage')}. What it "
                f"waits for: `ocp-ingest calls explain {call.call_id}`"
            )
        sleep(pause_s)
        pause_s = min(_LOOK_S_MAX, pause_s * 1.5)


def _proved(call: _Call, view: dict[str, Any], report: Report) -> str:
    [recording] = view["recordings"]
    if recording["sha256"] != call.sha256 or recording["bytes"] != len(call.audio):
        raise SmokeError("the recording that is stored has other bytes")
    report.line_of_business = view.get("line_of_business") or ""
    report.uri = recording.get("uri") or ""
    return f"as {report.uri}, line of business {report.line_of_business}"


def _stop_if_hopeless(view: dict[str, Any]) -> None:
    errors = [
        str(problem.get("text"))
        for recording in view.get("recordings", [])
        for problem in recording.get("problems", [])
        if problem.get("severity") == "error"
    ]
    if errors:
        raise SmokeError(f"the recording does not pass the rules: {' '.join(errors)}")
    if view.get("outcome") not in (None, "stored"):
        raise SmokeError(f"the call was closed as {view['outcome']}: {view.get('reason')}")


def _expect(status: int, said: Any, wanted: int) -> None:
    if status == wanted:
        return
    detail = _object(said).get("detail") or _object(said).get("error_description") or ""
    raise SmokeError(f"answered {status} where {wanted} is expected. {detail}".strip())


def _object(said: Any) -> dict[str, Any]:
    return said if isinstance(said, dict) else {}


# -- HTTP -----------------------------------------------------------------------------------------


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry our token to wherever it points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follows none: the 3xx is the answer."""


class _Client:
    def __init__(self, url: str, token: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("a URL begins with https:// or http://")
        self._url = url.rstrip("/")
        self._token = token
        self._opener = urllib.request.build_opener(_NoRedirects)

    def log_in(self, options: Options) -> str:
        """Client credentials → token (RFC 6749 4.4)."""
        pair = f"{_quoted(options.client_id)}:{_quoted(options.client_secret)}"
        status, said = self._send(
            "POST", options.token_url or f"{self._url}/oauth2/token",
            b"grant_type=client_credentials",
            {"content-type": "application/x-www-form-urlencoded",
             "authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"},
        )  # fmt: skip
        _expect(status, said, 200)
        token = _object(said).get("access_token")
        if not isinstance(token, str) or not token:
            raise SmokeError("the answer has no access_token")
        self._token = token
        return f"lives {_object(said).get('expires_in')} s"

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = ""
    ) -> tuple[int, Any]:
        """Status and JSON of an answer. Raises SmokeError when there is none."""
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        if kind:
            headers["content-type"] = kind
        return self._send(method, self._url + path, body, headers)

    def _send(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, Any]:
        request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310 - the scheme is checked
        try:
            with self._opener.open(request, timeout=_REQUEST_S_MAX) as answer:
                return int(answer.status), _decoded(answer.read(_ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, _decoded(refused.read(_ANSWER_BYTES_MAX))
        except (OSError, ValueError) as gone:
            _give_up(url, gone)


def _give_up(url: str, gone: Exception) -> NoReturn:
    host = urllib.parse.urlsplit(url).netloc
    why = getattr(gone, "reason", None) or type(gone).__name__
    raise SmokeError(f"{host} does not answer: {why}") from gone


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _quoted(text: str) -> str:
    """As RFC 6749 section 2.3.1 wants ids and secrets in Basic."""
    return urllib.parse.quote(text, safe="")
