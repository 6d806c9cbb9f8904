"""Hearing a recording: a grant for one sitting, the bytes by ranges, and its waveform.

POST …/listen    right "hear", journalled; answers the player, whose address holds a grant
POST …/download  the same, and the file instead of a player
GET  …/audio     the bytes; asks for the grant, and looks at the person's rights again each time
GET  …/waveform  the picture; everybody who sees the call, as it tells who spoke and not what

A grant is sealed and bound to the session, the call and the bytes; it ends after GRANT_S. Of the
store only the range asked for is read, block by block, no faster than the player takes it: the
server waits for the socket, and who goes away or stalls for STALL_S_MAX ends the reading.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import msgspec
from litestar import HttpMethod, get, post, route
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ASGIApp, Receive, Scope, Send

from ocp_ingest.core.errors import (
    Denied,
    Invalid,
    NotFound,
    OcpIngestError,
    TooLarge,
    Transient,
)
from ocp_ingest.desk.access import accessed
from ocp_ingest.desk.waveform import Waveforms
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.finding import Asked, Held, asked_for, found
from ocp_ingest.entrypoints.console.page import AnyRequest, Visit, form_of, visit_of
from ocp_ingest.entrypoints.console.playing import disposition, media_type, unplayable
from ocp_ingest.entrypoints.console.ranges import Part, Unsatisfiable, part_of
from ocp_ingest.entrypoints.console.wave_svg import drawing
from ocp_ingest.telemetry import log

# One sitting; who hears longer asks again, and is journalled again.
GRANT_S: Final = 900
# Each holds a file or a connection to S3, and two blocks. A browser has one or two for a player.
STREAMS_AT_ONCE_MAX: Final = 64
RETRY_AFTER_S: Final = 5.0
# A paused player reads on when its buffer empties; browsers come back with a range when cut off.
STALL_S_MAX: Final = 120.0
_PURPOSE: Final = "audio"
_BASE: Final = "/calls/{call_id:str}/recordings/{dialog_id:str}/{sha256:str}"
_SHA_CHARS: Final = 16  # of the hash in a journalled reason: which of several versions it was


class Grant(msgspec.Struct, frozen=True):
    """What the address of a player allows, and until when (real epoch seconds)."""

    session_id: str
    call_id: str
    dialog_id: str
    sha256: str
    ends_s: int
    download: bool


class Streams:
    """Counts the readings under way."""

    def __init__(self, at_once_max: int = STREAMS_AT_ONCE_MAX) -> None:
        self._at_once_max = at_once_max
        self.open = 0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Raises Transient when there are too many."""
        if self.open >= self._at_once_max:
            raise Transient(
                "Too many recordings are being heard.", retry_after_s=RETRY_AFTER_S,
                say="call.audio.busy",
            )  # fmt: skip
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


def routes(console: Console) -> list[HTTPRouteHandler]:
    """All routes of the area."""
    streams, waveforms = Streams(), Waveforms(console.desk.world.recordings)

    @post(f"{_BASE}/listen")
    async def listen(
        request: AnyRequest, call_id: FromPath[str], dialog_id: FromPath[str],
        sha256: FromPath[str],
    ) -> Response[bytes]:  # fmt: skip
        visit = visit_of(request)
        asked = await asked_for(console, visit, call_id, dialog_id, sha256)
        address = await _granted(console, request, visit, asked, download=False)
        return _player(console, visit, asked, address)

    @post(f"{_BASE}/download")
    async def download(
        request: AnyRequest, call_id: FromPath[str], dialog_id: FromPath[str],
        sha256: FromPath[str],
    ) -> Response[bytes]:  # fmt: skip
        visit = visit_of(request)
        asked = await asked_for(console, visit, call_id, dialog_id, sha256)
        return console.go(await _granted(console, request, visit, asked, download=True))

    @route(f"{_BASE}/audio", http_method=[HttpMethod.GET, HttpMethod.HEAD])
    async def audio(
        request: AnyRequest, call_id: FromPath[str], dialog_id: FromPath[str],
        sha256: FromPath[str],
    ) -> ASGIApp:  # fmt: skip
        visit = visit_of(request)
        asked = await asked_for(console, visit, call_id, dialog_id, sha256)
        visit.person.require("hear")
        grant = _read_grant(console, visit, asked, request.query_params.get("grant", ""))
        held = await found(console, asked)
        part = part_of(
            held.bytes, _etag(asked), request.headers.get("range"), request.headers.get("if-range")
        )
        headers = _headers(asked, part, download=grant.download)
        return _answer(console, streams, held, part, headers, bodiless=request.method == "HEAD")

    @get(f"{_BASE}/waveform")
    async def waveform(
        request: AnyRequest, call_id: FromPath[str], dialog_id: FromPath[str],
        sha256: FromPath[str],
    ) -> Response[bytes]:  # fmt: skip
        visit = visit_of(request)
        asked = await asked_for(console, visit, call_id, dialog_id, sha256)
        return await _waveform(console, waveforms, visit, asked)

    return [listen, download, audio, waveform]


# -- grants ---------------------------------------------------------------------------------------


async def _granted(
    console: Console, request: AnyRequest, visit: Visit, asked: Asked, *, download: bool
) -> str:
    """Journals the access, then gives the address of the bytes."""
    visit.person.require("hear")
    reason = (await form_of(request, "reason"))["reason"]
    if console.config.console.hear_reason and not reason:
        raise Invalid("Say why you want to hear it.", say="call.audio.reason")
    await found(console, asked)
    verb = "downloaded" if download else "heard"
    said = f"{reason or f'{verb} in the console'} (sha256 {asked.sha256[:_SHA_CHARS]})"
    await accessed(
        console.desk.world, asked.call.call_id, who=visit.person.name, what="audio", reason=said,
        dialog_id=asked.dialog_id,
    )  # fmt: skip
    grant = Grant(
        visit.session_id, asked.call.call_id, asked.dialog_id, asked.sha256,
        int(console.now_s()) + GRANT_S, download,
    )  # fmt: skip
    return asked.url("audio", grant=console.seal.seal(_PURPOSE, grant))


def _read_grant(console: Console, visit: Visit, asked: Asked, text: str) -> Grant:
    """The grant of an address. Raises Denied for none, another's, other bytes, or an old one."""
    grant = console.seal.open(_PURPOSE, text, Grant)
    here = (visit.session_id, asked.call.call_id, asked.dialog_id, asked.sha256)
    theirs = grant and (grant.session_id, grant.call_id, grant.dialog_id, grant.sha256)
    if grant is None or theirs != here or console.now_s() >= grant.ends_s:
        raise Denied("This address is of another sitting.", authenticated=True,
                     say="call.audio.grant")  # fmt: skip
    return grant


# -- the player -----------------------------------------------------------------------------------


def _player(console: Console, visit: Visit, asked: Asked, address: str) -> Response[bytes]:
    report = asked.version.report or {}
    values: dict[str, Any] = {
        "asked": asked, "address": address, "report": report, "minutes": GRANT_S // 60,
        "unplayable": unplayable(asked.version.report),
        "media_type": media_type(_container(asked)),
    }  # fmt: skip
    if visit.htmx:
        return console.part(visit, "call_player.html", **values)
    return console.page(visit, "call_listen.html", **values)


async def _waveform(
    console: Console, waveforms: Waveforms, visit: Visit, asked: Asked
) -> Response[bytes]:
    """The picture, or in words why there is none."""
    held = await found(console, asked)
    report, picture, why = asked.version.report or {}, None, ""
    estimated = False
    try:
        waveform = await waveforms.of(asked.sha256, held.place.bucket, held.place.key, held.bytes)
    except TooLarge:
        why = "too_large"
    else:
        why = "" if waveform is not None else "no_audio"
        if waveform is not None:
            picture = drawing(waveform, report.get("silent_runs", ()))
            estimated = waveform.estimated
    template = "call_wave.html" if visit.htmx else "call_wave_page.html"
    respond = console.part if visit.htmx else console.page
    return respond(
        visit, template, asked=asked, report=report, picture=picture, why=why, estimated=estimated
    )


# -- the bytes ------------------------------------------------------------------------------------


def _container(asked: Asked) -> str:
    return str((asked.version.report or {}).get("container") or asked.version.container)


def _etag(asked: Asked) -> str:
    return f'"{asked.sha256}"'


def _headers(asked: Asked, part: Part | Unsatisfiable, *, download: bool) -> dict[str, str]:
    headers = {"Accept-Ranges": "bytes", "ETag": _etag(asked)}
    if isinstance(part, Unsatisfiable):
        return {**headers, "Content-Range": part.content_range, "Content-Length": "0"}
    if not part.whole:
        headers["Content-Range"] = part.content_range
    container = _container(asked)
    return {
        **headers,
        "Content-Length": str(part.length),
        "Content-Type": media_type(container),
        "Content-Disposition": disposition(asked.dialog_id, container, download=download),
    }


def _answer(
    console: Console, streams: Streams, held: Held, part: Part | Unsatisfiable,
    headers: dict[str, str], *, bodiless: bool,
) -> ASGIApp:  # fmt: skip
    """The answer as an application of its own: it reads no faster than its socket takes it."""
    status = 416 if isinstance(part, Unsatisfiable) else 200 if part.whole else 206
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if bodiless or isinstance(part, Unsatisfiable) or not part.length:
            await send({"type": "http.response.start", "status": status, "headers": pairs})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        with streams.one():
            store, place = console.desk.world.recordings, held.place
            async with _closing(
                store.read(place.bucket, place.key, part.offset, part.length)
            ) as blocks:
                # Before the status is said: what is gone by now is a page, not a broken answer.
                first = await anext(blocks, b"")
                if not first:
                    raise NotFound("The bytes are not here any more.", say="call.audio.gone")
                await send({"type": "http.response.start", "status": status, "headers": pairs})
                await pour(first, blocks, receive, send)

    return answer


@contextlib.asynccontextmanager
async def _closing(blocks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    try:
        yield blocks
    finally:
        close = getattr(blocks, "aclose", None)
        if close is not None:
            await close()


async def pour(
    first: bytes, blocks: AsyncIterator[bytes], receive: Receive, send: Send,
    stall_s_max: float = STALL_S_MAX,
) -> None:  # fmt: skip
    """Sends block by block until the end, or until nobody takes them any more."""
    gone = asyncio.create_task(_gone(receive), name="audio-gone")
    block: bytes | None = first
    try:
        while block is not None and not gone.done():
            async with asyncio.timeout(stall_s_max):
                await send({"type": "http.response.body", "body": block, "more_body": True})
            block = await anext(blocks, None)
            await asyncio.sleep(0)  # a fast store and a closed socket would never let `gone` run
        if block is None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    except TimeoutError:
        log().info("audio.stalled")
    except OcpIngestError as broken:
        # The status is said already: the player sees a short answer and asks for the rest.
        log().warning("audio.broken", code=broken.code, reason=broken.text)
    finally:
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
