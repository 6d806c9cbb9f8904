"""Traces: one call is one trace, from its first event to the stored object, across all processes.

Nobody hands a trace's id on: it is made of the call's id (`trace_id_of`), so that the API, workers
and downloads of one call write into one trace without knowing of each other. Its root span, `call`,
has an id made the same way; it is written when the recording is stored, and spans the call from its
start to that moment.

span                 is
call                 the call: from its start to its stored object
event.intake         a vendor's event, until it is durable
recording.intake     a recording, until it is durable
step.inspect, step.validate, step.route, step.store
export.asked         the call was given to an export job
export.answered      what the export held of it
export.downloaded    a file of an export, taken in for the call

Off, which is the default, a span costs one look at a variable; OpenTelemetry's SDK is not even
imported (functions on Lambda do not have it in their package). On, spans are queued in bounded
memory and sent by a thread; a collector that is down costs spans, never calls. A share of the calls
is traced, chosen by the trace's id, so that every process chooses alike. Attributes are ids of
calls, names of ours and the vendor's words for types; never numbers of callers, names of files or
attached data. Errors are recorded by type and code; their texts only where they are ours.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ocp_ingest.core.errors import Invalid, OcpIngestError
from ocp_ingest.telemetry import log

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

# Span -> when it is written. The closed set of their names.
SPANS: Final[dict[str, str]] = {
    "call": "the call's root: from its start to its stored recording",
    "event.intake": "a vendor's event was taken; message type, whether it was new",
    "recording.intake": "a recording was taken; bytes, source, result",
    "step.inspect": "the bytes were measured",
    "step.validate": "the recording was held against its call and its rules",
    "step.route": "line of business, bucket and key were pinned",
    "step.store": "the copy in the bucket was made and proved",
    "export.asked": "the call was given to an export job",
    "export.answered": "what an export job held of the call was journalled",
    "export.downloaded": "a recording came with a file of an export",
}

Attribute = str | int | float | bool

# Spans waiting to be sent: some 1 KB each; a collector that is down for longer costs the rest.
QUEUE_SPANS_MAX: Final = 8_192
BATCH_SPANS_MAX: Final = 512
SEND_EVERY_MS: Final = 2_000
# One request to the collector, and the last ones at a stop.
SEND_S_MAX: Final = 10.0
STOP_S_MAX: Final = 5.0
_HEADERS_BYTES_MAX: Final = 8 * 1024
_PATH: Final = "/v1/traces"
_MS_NS: Final = 1_000_000


class Tracing:
    """One process's traces; made by `tracing_to`, ended by `close`."""

    def __init__(self, provider: TracerProvider, ids: _Ids) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("ocp_ingest")
        self._ids = ids

    def close(self) -> None:
        """Sends what waits and ends; blocks for at most STOP_S_MAX."""
        # The SDK waits for half a minute for a collector that is down, whatever it is told.
        ending = threading.Thread(target=self._provider.shutdown, name="tracing-end", daemon=True)
        ending.start()
        ending.join(STOP_S_MAX)

    def begin(self, name: str, call_id: str, start_ns: int | None) -> Span:
        """A span below the call's root."""
        from opentelemetry import context, trace

        root = trace.SpanContext(
            trace_id_of(call_id), root_span_id_of(call_id), is_remote=True,
            trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        )  # fmt: skip
        parent = trace.set_span_in_context(trace.NonRecordingSpan(root), context.Context())
        return self._tracer.start_span(
            name, parent, attributes={"ocp_ingest.call_id": call_id}, start_time=start_ns
        )

    def root(self, call_id: str, start_ms: int, end_ms: int, attributes: dict[str, Any]) -> None:
        """Writes the call's root span, whole."""
        from opentelemetry import context

        with self._ids.fixed(trace_id_of(call_id), root_span_id_of(call_id)):
            span = self._tracer.start_span(
                "call", context.Context(), start_time=start_ms * _MS_NS,
                attributes={"ocp_ingest.call_id": call_id, **attributes},
            )  # fmt: skip
        span.end(max(start_ms, end_ms) * _MS_NS)


class _Ids:
    """OpenTelemetry's ids: chance, or what is fixed for one span (its interface IdGenerator)."""

    def __init__(self, chance: Any) -> None:
        self._chance = chance
        self._fixed: tuple[int, int] | None = None

    @contextmanager
    def fixed(self, trace_id: int, span_id: int) -> Iterator[None]:
        """The ids of the span that is started inside, without a wait in between."""
        self._fixed = (trace_id, span_id)
        try:
            yield
        finally:
            self._fixed = None

    def generate_trace_id(self) -> int:
        """See opentelemetry.sdk.trace.id_generator."""
        return self._fixed[0] if self._fixed else int(self._chance.generate_trace_id())

    def generate_span_id(self) -> int:
        """See opentelemetry.sdk.trace.id_generator."""
        return self._fixed[1] if self._fixed else int(self._chance.generate_span_id())

    def is_trace_id_random(self) -> bool:
        """Hashes are as good as random for samplers of other systems."""
        return True


def trace_id_of(call_id: str) -> int:
    """The trace of a call: 128 bits of a hash of its id."""
    return int.from_bytes(_hash(call_id)[:16], "big")


def root_span_id_of(call_id: str) -> int:
    """The span that stands for the call as a whole."""
    return int.from_bytes(_hash(call_id)[16:24], "big")


def _hash(call_id: str) -> bytes:
    return hashlib.sha256(f"ocp-ingest call {call_id}".encode()).digest()


# -- what steps and doors use ---------------------------------------------------------------------


class _Process:
    """Traces are a process's, not a task's: HTTP servers start their tasks where they like."""

    tracing: Tracing | None = None


def trace_into(tracing: Tracing | None) -> None:
    """Has this process write into these traces from now on; None: into none."""
    _Process.tracing = tracing


class Noted:
    """A span that is being written; `note` adds to it."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Noted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if error is not None and kind is not None:
            _fail(self._span, error)
        self._span.end()

    def note(self, **attributes: Attribute) -> None:
        """Says more of it; names are ours, below `ocp_ingest.`."""
        for name, value in attributes.items():
            self._span.set_attribute(f"ocp_ingest.{name}", value)


class _Off:
    """A span where nothing is traced."""

    def __enter__(self) -> _Off:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Nothing was begun."""

    def note(self, **attributes: Attribute) -> None:
        """Does nothing."""


_OFF: Final = _Off()


def span(name: str, call_id: str, **attributes: Attribute) -> Noted | _Off:
    """A span of a call, for a `with`; what is raised inside is recorded and raised on."""
    tracing = _Process.tracing
    if tracing is None:
        return _OFF
    assert name in SPANS, f"span {name} has no meaning"
    noted = Noted(tracing.begin(name, call_id, None))
    noted.note(**attributes)
    return noted


def clock_ns() -> int:
    """When something begins that only its end can name a call for; 0 where nothing is traced."""
    return time.time_ns() if _Process.tracing is not None else 0


def spans(
    name: str, began_ns: int, calls: Iterable[tuple[str, Mapping[str, Attribute]]]
) -> None:  # fmt: skip
    """A span for each of several calls, from `began_ns` (of `clock_ns`) until now.

    `calls` are not looked at where nothing is traced.
    """
    tracing = _Process.tracing
    if tracing is None or not began_ns:
        return
    assert name in SPANS, f"span {name} has no meaning"
    for call_id, attributes in calls:
        with Noted(tracing.begin(name, call_id, began_ns)) as noted:
            noted.note(**attributes)


def stored(call_id: str, start_ms: int, at_ms: int, **attributes: Attribute) -> None:
    """The call's root span: its recording is stored. Times in epoch ms."""
    tracing = _Process.tracing
    if tracing is not None:
        named = {f"ocp_ingest.{name}": value for name, value in attributes.items()}
        tracing.root(call_id, start_ms, at_ms, named)


def _fail(failed: Span, error: BaseException) -> None:
    """An exception by its type; its text only where it is one of ours, made for logs."""
    from opentelemetry.trace import Status, StatusCode

    ours = isinstance(error, OcpIngestError)
    named = {"exception.type": type(error).__name__}
    if isinstance(error, OcpIngestError):
        named |= {"exception.message": error.text, "ocp_ingest.code": error.code}
    failed.add_event("exception", named)
    failed.set_status(Status(StatusCode.ERROR, named["ocp_ingest.code"] if ours else None))


# -- setting up -----------------------------------------------------------------------------------


def tracing_to(
    url: str, *, headers_file: str = "", share: float = 1.0, service: str = "ocp-ingest",
    version: str = "", exporter: Callable[[], SpanExporter] | None = None,
) -> Tracing | None:  # fmt: skip
    """Traces sent to a collector by OTLP over HTTP; None without a URL.

    Raises Invalid for headers that can't be read. `exporter` makes another way out, for tests.
    """
    if not url and exporter is None:
        return None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    made = exporter() if exporter is not None else _otlp(url, headers_file)
    ids = _Ids(RandomIdGenerator())
    provider = TracerProvider(
        sampler=TraceIdRatioBased(share),
        resource=Resource.create({"service.name": service, "service.version": version}),
        id_generator=ids,  # type: ignore[arg-type]  # the SDK's interface, without importing it
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            made,
            max_queue_size=QUEUE_SPANS_MAX,
            schedule_delay_millis=SEND_EVERY_MS,
            max_export_batch_size=BATCH_SPANS_MAX,
        )
    )
    log().info("tracing.started", host=urlsplit(url).hostname or "", share=share)
    return Tracing(provider, ids)


def _otlp(url: str, headers_file: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    parts = urlsplit(url)
    endpoint = url if parts.path.strip("/") else url.rstrip("/") + _PATH
    return OTLPSpanExporter(
        endpoint=endpoint,
        headers=_headers(headers_file),
        timeout=SEND_S_MAX,
        compression=Compression.Gzip,
    )


def _headers(file: str) -> dict[str, str]:
    if not file:
        return {}
    key = "telemetry.otlp_headers_file"
    try:
        text = Path(file).read_bytes()[:_HEADERS_BYTES_MAX].decode("ascii")
    except (OSError, UnicodeDecodeError) as bad:
        raise Invalid(f"`{key}` can't be read: {type(bad).__name__}.") from None
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            name, colon, value = line.partition(":")
            if not colon or not name.strip() or not value.strip():
                raise Invalid(f"`{key}`: line {number} is not `name: value`.")
            found[name.strip().lower()] = value.strip()
    return found
