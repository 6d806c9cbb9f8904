"""A recording as multipart/form-data, its parts in either order, streamed.

The part `metadata` (JSON) names the recording; the part `file` is its bytes. When the file comes
first, its bytes go into an upload that nobody sees until the name is known; without a usable name
in the end it is forgotten.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from ocp_ingest.core.errors import Invalid, TooLarge
from ocp_ingest.core.limits import (
    METADATA_BYTES_MAX,
    MIB,
    MULTIPART_HEADER_BYTES_MAX,
    MULTIPART_PARTS_MAX,
)
from ocp_ingest.core.recording import Name
from ocp_ingest.core.vendor import Context
from ocp_ingest.entrypoints.api.deps import Deps
from ocp_ingest.entrypoints.api.inbound import Inbound
from ocp_ingest.entrypoints.api.names import name_of
from ocp_ingest.ingest import intake
from ocp_ingest.ingest.intake import Arrival, TakenRecording

FORM_BYTES_MAX: Final = MIB  # of a form beside the recording: metadata, headers, boundaries


async def take_multipart(
    deps: Deps, request: Inbound, context: Context, said: str
) -> TakenRecording:
    """Takes a multipart delivery. Raises Invalid for a broken form, and what intake raises."""
    boundary = parse_options_header(request.header(b"content-type"))[1].get("boundary", "")
    form = _Form(deps, said)
    try:
        # Some boundary characters are not allowed; the parser says so at once.
        parser = PushMultipartParser(
            boundary,
            max_header_size=MULTIPART_HEADER_BYTES_MAX,
            max_segment_count=MULTIPART_PARTS_MAX,
        )
        size, bytes_max = 0, deps.config.limits.recording_bytes_max + FORM_BYTES_MAX
        async for block in request.blocks():
            # The file has its own bound; this one is for what is around it and in other parts.
            size += len(block)
            if size > bytes_max:
                raise TooLarge(f"A form may have {bytes_max // MIB} MiB in all.")
            for event in parser.parse(block):
                await form.take(event)
        parser.close()
        return await form.finish(context)
    except ParserLimitReached as bad:
        raise TooLarge(f"The multipart body is over a bound: {bad}.") from None
    except MultipartError as bad:
        raise Invalid(f"The multipart body is broken: {_words(bad)}.") from None
    finally:
        await form.abort()


def _words(bad: MultipartError) -> str:
    """What the parser says; where it carries a decoding error, that one would quote the body."""
    first = bad.args[0] if bad.args else ""
    return first if len(bad.args) == 1 and isinstance(first, str) else "a header is no UTF-8"


class _Form:
    """The parts as they come; `finish` or `abort` ends it, and `abort` after `finish` is fine."""

    def __init__(self, deps: Deps, said: str) -> None:
        self._deps = deps
        self._said = said
        self._metadata = bytearray()
        self._part = ""  # the one that bytes belong to: "metadata", "file", or "" to skip
        self._seen: set[str] = set()
        self._file_name = ""
        self._arrival: Arrival | None = None

    async def take(self, event: MultipartSegment | bytes | None) -> None:
        """The parser's next event: a part begins, some of its bytes, or it ends."""
        if isinstance(event, MultipartSegment):
            await self._begin(event)
        elif event is None:
            self._part = ""
        elif self._part == "file" and self._arrival is not None:
            await self._arrival.feed(event)
        elif self._part == "metadata":
            self._metadata += event
            if len(self._metadata) > METADATA_BYTES_MAX:
                raise TooLarge(f"The metadata may have {METADATA_BYTES_MAX} bytes.")

    async def _begin(self, segment: MultipartSegment) -> None:
        delivery = self._deps.config.delivery
        if segment.name == delivery.metadata_part:
            self._part = "metadata"
        elif segment.name == delivery.file_part or segment.filename is not None:
            self._part = "file"
        else:
            self._part = ""
            return
        if self._part in self._seen:
            raise Invalid(f"The form has two parts `{self._part}`: send one recording at a time.")
        self._seen.add(self._part)
        if self._part == "file":
            self._file_name = segment.filename or ""
            if "metadata" in self._seen:
                # Before the first byte: a recording without a usable name is not worth it.
                await intake.whose(self._deps.world, self._name())
            self._arrival = await Arrival.begin(self._deps.world)

    def _name(self) -> Name:
        delivery = self._deps.config.delivery
        metadata: dict[str, Any] = {}
        if self._metadata.strip():
            try:
                metadata = msgspec.json.decode(bytes(self._metadata), type=dict[str, Any])
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
                part = delivery.metadata_part
                raise Invalid(f"The part `{part}` must be a JSON object.") from None
        return name_of(self._file_name or self._said, metadata, delivery)

    async def finish(self, context: Context) -> TakenRecording:
        """Files the recording. Raises Invalid without a file or a usable name."""
        if self._arrival is None:
            part = self._deps.config.delivery.file_part
            raise Invalid(f"The form has no part `{part}`: the recording's bytes belong in it.")
        return await self._arrival.finish(self._name(), "stream", context)

    async def abort(self) -> None:
        """Forgets what came, unless it is durable already."""
        if self._arrival is not None:
            await self._arrival.abort()
