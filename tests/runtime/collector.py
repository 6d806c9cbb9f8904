"""An OpenTelemetry collector's door: OTLP over HTTP, protobuf, gzip; keeps the spans it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Collector:
    """What came: spans, whole bodies, headers."""

    url: str = ""
    status: int = 200
    spans: list[Span] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp has unpacked it
        self.paths.append(request.path)
        self.headers.append({k.lower(): v for k, v in request.headers.items()})
        if self.status == 200:
            self.bodies.append(body)
            asked = ExportTraceServiceRequest.FromString(body)
            for resource in asked.resource_spans:
                said = {a.key: a.value.string_value for a in resource.resource.attributes}
                self.resources.append(said)
                for scope in resource.scope_spans:
                    self.spans += scope.spans
        return web.Response(status=self.status)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """A collector on a port of its own."""
    made = Collector()
    app = web.Application()
    app.router.add_post("/{tail:.*}", made.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


def attributes(span: Span) -> dict[str, object]:
    """A span's attributes as plain values."""
    return {
        a.key: getattr(a.value, a.value.WhichOneof("value") or "string_value")
        for a in span.attributes
    }
