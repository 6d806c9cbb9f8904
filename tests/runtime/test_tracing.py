"""One call is one trace, from its first event to the stored object, in every process alike."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ocp_ingest import tracing
from ocp_ingest.core.errors import Invalid, Transient
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.tracing import (
    QUEUE_SPANS_MAX,
    SPANS,
    STOP_S_MAX,
    root_span_id_of,
    trace_id_of,
    trace_into,
    tracing_to,
)
from tests.flow.reconcile_stage import Theatre
from tests.runtime.collector import Collector, attributes, collector
from tests.story.kit import Platform, Talk, hiss, sender, until

TO_THE_BUCKET = {
    "call", "event.intake", "recording.intake", "step.inspect", "step.validate", "step.route",
    "step.store",
}  # fmt: skip


@pytest.fixture
async def receiver() -> AsyncIterator[Collector]:
    async with collector() as made:
        yield made


@pytest.fixture
def off() -> Iterator[None]:
    """No test leaves its traces to the next."""
    yield
    trace_into(None)


def trace_of(span: Span) -> int:
    return int.from_bytes(span.trace_id, "big")


# -- a real process, a real collector -------------------------------------------------------------


async def test_one_streamed_call_is_one_trace_from_event_to_stored_object(
    receiver: Collector, tmp_path: Path
) -> None:
    headers = tmp_path / "headers"
    headers.write_text("Authorization: Bearer of-the-collector\n\nX-Scope: calls\n")
    telemetry = (
        f'\n[telemetry]\notlp_url = "{receiver.url}"\notlp_headers_file = "{headers}"\n'
        'service_name = "recordings-test"\n'
    )
    talk, other = Talk(Random(1), 6_000), Talk(Random(2), 6_000)
    with Platform(tmp_path, telemetry) as platform:
        await platform.start()
        async with sender(platform) as to:
            for call in (talk, other):
                numbers = {"ani": "+34600123456", "attachedData": {"pin": "s3cret-data"}}
                await to.events(call.start(**numbers), call.end(**numbers))
                await to.deliver(call.name, hiss(Random(3), 6_000))

            async def stored() -> bool:
                calls = [await to.call(one.call_id) for one in (talk, other)]
                return all(one["outcome"] == "stored" for one in calls)

            await until(stored, 20)
        # What waited is sent at the end; the collector answers from this very loop.
        assert await asyncio.to_thread(platform.end) == 0
    spans = [s for s in receiver.spans if trace_of(s) == trace_id_of(talk.call_id)]
    assert {span.name for span in spans} == TO_THE_BUCKET
    [root] = [span for span in spans if span.name == "call"]
    assert int.from_bytes(root.span_id, "big") == root_span_id_of(talk.call_id)
    assert root.parent_span_id == b""
    assert all(s.parent_span_id == root.span_id for s in spans if s is not root)
    assert len({span.span_id for span in spans}) == len(spans)
    assert len({trace_of(span) for span in receiver.spans}) == 2
    assert root.start_time_unix_nano == talk.start_ms * 1_000_000
    assert abs(root.end_time_unix_nano / 1e9 - time.time()) < 60
    assert attributes(root)["ocp_ingest.lob"] == "banking"
    assert attributes(root)["ocp_ingest.source"] == "stream"
    said = {
        str(attributes(s)["ocp_ingest.message_type"]) for s in spans if s.name == "event.intake"
    }
    assert said == {"dialog_start", "dialog_end"}
    _in_order(spans)
    assert {resource["service.name"] for resource in receiver.resources} == {"recordings-test"}
    assert receiver.headers[0]["authorization"] == "Bearer of-the-collector"
    assert set(receiver.paths) == {"/v1/traces"}
    for body in receiver.bodies:
        assert b"600123456" not in body
        assert b"s3cret-data" not in body
        assert b"4001~" not in body  # names of files


def _in_order(spans: list[Span]) -> None:
    begin = {span.name: span.start_time_unix_nano for span in spans if span.name != "event.intake"}
    steps = ["recording.intake", *(f"step.{s}" for s in ("inspect", "validate", "route", "store"))]
    assert sorted(steps, key=begin.__getitem__) == steps
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)


@pytest.mark.usefixtures("off")
async def test_a_collector_that_is_down_costs_spans_and_neither_memory_nor_the_stop() -> None:
    async with collector() as gone:
        url = gone.url
    made = tracing_to(url)
    assert made is not None
    trace_into(made)
    began_s = time.monotonic()
    for number in range(2 * QUEUE_SPANS_MAX):
        with tracing.span("step.store", f"c{number % 100}"):
            pass
    await asyncio.to_thread(made.close)
    assert time.monotonic() - began_s < STOP_S_MAX + 5


# -- recovered calls ------------------------------------------------------------------------------


@pytest.mark.usefixtures("off")
async def test_a_recovered_call_s_trace_tells_of_its_export() -> None:
    kept = InMemorySpanExporter()
    made = tracing_to("", exporter=lambda: kept)
    assert made is not None
    trace_into(made)
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    await theatre.sweep()
    assert await theatre.outcomes() == {"c": "stored"}
    await asyncio.to_thread(made.close)
    spans = kept.get_finished_spans()
    assert {span.context.trace_id for span in spans} == {trace_id_of("c")}
    names = {span.name for span in spans}
    assert names == (TO_THE_BUCKET - {"recording.intake"}) | {
        "export.asked", "export.downloaded", "export.answered",
    }  # fmt: skip
    [answered] = [span for span in spans if span.name == "export.answered"]
    assert dict(answered.attributes or {})["ocp_ingest.end"] == "done"
    assert names <= set(SPANS)


# -- one span -------------------------------------------------------------------------------------


@pytest.fixture
def kept() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    made = tracing_to("", exporter=lambda: exporter)
    assert made is not None
    trace_into(made)
    yield exporter
    trace_into(None)
    made.close()


def flush() -> None:
    made = tracing._Process.tracing
    assert made is not None
    made._provider.force_flush()


def test_what_is_raised_is_recorded_and_raised_on(kept: InMemorySpanExporter) -> None:
    with pytest.raises(Transient), tracing.span("step.store", "c"):
        raise Transient("The disk is full.")
    with pytest.raises(ValueError), tracing.span("step.store", "c"):
        raise ValueError("600123456")
    flush()
    ours, bug = kept.get_finished_spans()
    assert ours.status.status_code.value == Status.STATUS_CODE_ERROR
    assert dict(ours.events[0].attributes or {}) == {
        "exception.type": "Transient", "exception.message": "The disk is full.",
        "ocp_ingest.code": "try_again",
    }  # fmt: skip
    assert dict(bug.events[0].attributes or {}) == {"exception.type": "ValueError"}
    assert "600123456" not in bug.to_json()


def test_a_share_of_the_calls_is_traced_and_every_process_chooses_alike() -> None:
    calls = [f"call-{n}" for n in range(400)]

    def traced(share: float) -> set[str]:
        exporter = InMemorySpanExporter()
        made = tracing_to("", exporter=lambda: exporter, share=share)
        assert made is not None
        trace_into(made)
        for call_id in calls:
            with tracing.span("step.store", call_id):
                pass
            tracing.stored(call_id, 1, 2)
        trace_into(None)
        made.close()
        spans = exporter.get_finished_spans()
        names = [str((s.attributes or {})["ocp_ingest.call_id"]) for s in spans]
        assert all(names.count(name) == 2 for name in set(names))  # root and step, or neither
        return set(names)

    quarter, half = traced(0.25), traced(0.5)
    assert 60 < len(quarter) < 140
    assert quarter < half
    assert traced(0.5) == half
    assert traced(0.0) == set()
    assert traced(1.0) == set(calls)


def test_ids_are_those_of_the_call_and_of_no_other() -> None:
    ids = {trace_id_of(f"call-{n}") for n in range(1_000)}
    assert len(ids) == 1_000
    assert all(0 < one < 2**128 for one in ids)
    assert 0 < root_span_id_of("call-1") < 2**64
    assert trace_id_of("call-1") == trace_id_of("call-1")


# -- off ------------------------------------------------------------------------------------------


def test_without_an_address_there_are_no_traces() -> None:
    assert tracing_to("") is None
    assert tracing.span("step.store", "c") is tracing.span("step.inspect", "d", lob="x")
    assert tracing.clock_ns() == 0

    def calls() -> Iterator[tuple[str, dict[str, tracing.Attribute]]]:
        raise AssertionError("nobody looks at them")
        yield ("c", {})

    tracing.spans("event.intake", 0, calls())


def test_off_a_span_costs_nothing_that_could_be_measured_in_a_step() -> None:
    """A step writes to disk; a thousandth of a millisecond is below all of it."""
    began_s, number = time.perf_counter(), 20_000
    for _ in range(number):
        with tracing.span("step.store", "c"):
            pass
    assert (time.perf_counter() - began_s) / number < 20e-6


def test_the_sdk_is_not_imported_where_nothing_is_traced() -> None:
    """Functions on Lambda do not have it in their package."""
    code = (
        "import sys; import ocp_ingest.ingest.pipeline, ocp_ingest.reconcile.flow, "
        "ocp_ingest.bootstrap_aws, ocp_ingest.entrypoints.functions.detect; "
        "from ocp_ingest import tracing; tracing.span('step.store', 'c'); "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- setting up -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Authorization", ": x", "Authorization:", "ok: 1\nBearer x"])
def test_headers_that_are_none_stop_the_start_without_being_shown(
    text: str, tmp_path: Path
) -> None:
    file = tmp_path / "headers"
    file.write_text(text)
    with pytest.raises(Invalid, match="otlp_headers_file") as refused:
        tracing_to("http://127.0.0.1:1", headers_file=str(file))
    assert "Bearer" not in refused.value.text


def test_headers_that_can_t_be_read_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="otlp_headers_file"):
        tracing_to("http://127.0.0.1:1", headers_file=str(tmp_path / "gone"))
