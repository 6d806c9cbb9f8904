"""A call is shown in one shape, whatever is known of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ocp_ingest.core import events as ev
from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.masking import MASK
from ocp_ingest.core.vendor import Context, VendorMapping, parse
from ocp_ingest.core.view import call_view, event_view
from ocp_ingest.entrypoints.api import answers

T = 1_795_341_600_000
POLICY = CallPolicy()
A, B = "a" * 64, "b" * 64


def cdr(kind: str, **more: Any) -> Event:
    """A journal event of a CDR of the root dialog."""
    body = {"message_type": kind, "id": "c", "group": "c", "time": T, **more}
    event = parse(body, msgspec.json.encode(body), VendorMapping(), Context()).event
    assert event is not None
    return event


def received(sha: str, at_ms: int, **more: Any) -> Event:
    """A recording of the root dialog."""
    said: dict[str, Any] = {
        "source": "stream",
        "size_bytes": 9,
        "landing_key": sha,
        "name": "n.wav",
    }
    return ev.received("c", "c", sha, at_ms=at_ms, **{**said, **more})


def inspected(sha: str, *problems: tuple[str, str]) -> Event:
    """Its report."""
    found = [{"code": c, "severity": s, "text": f"About {c}."} for c, s in problems]
    report = {"duration_ms": 5, "container": "wav", "codec": "pcm_alaw", "sample_rate_hz": 8000,
              "channels": 1, "problems": found}  # fmt: skip
    return ev.inspected("c", "c", sha, at_ms=T, report=report)


def view(*events: Event) -> dict[str, Any]:
    """The view of the record of a journal; it always has the documented shape."""
    shown = call_view(fold("c", events), POLICY)
    msgspec.convert(shown, answers.Call)
    return shown


def test_a_call_of_which_nothing_is_known_has_the_whole_shape() -> None:
    shown = msgspec.convert(call_view(Call(call_id="c"), POLICY), answers.Call)
    assert (shown.stage, shown.outcome, shown.recordings) == ("unannounced", None, [])
    assert shown.export == answers.Export(
        job_id=None, task_id=None, window=None, attempts=0, metadata=None
    )
    assert shown.next == answers.Next(action=None, at=None)


def test_flags_are_utc_texts_or_null_in_their_order() -> None:
    flags = view(cdr("dialog_start"), cdr("dialog_end", duration=1500, end_type="NEAR_HUP"))[
        "flags"
    ]
    assert list(flags) == [
        "call_started", "ivr_ended", "call_ended", "file_received", "post_processed", "stored",
    ]  # fmt: skip
    assert flags["call_started"] == "2026-11-22T10:00:00.000Z"
    assert flags["call_ended"] == "2026-11-22T10:00:01.500Z"
    assert flags["stored"] is None


def test_a_call_in_flight_says_what_happens_next_and_no_outcome() -> None:
    shown = view(cdr("dialog_start"), cdr("dialog_end", duration=20_000))
    assert (shown["outcome"], shown["reason"]) == (None, None)
    assert shown["next"]["action"] == "ask_export"
    assert shown["next"]["at"] > "2026-11-22T10:00"


def test_a_closed_call_says_why_and_that_nothing_follows() -> None:
    shown = view(
        cdr("dialog_start", test_flag=True), cdr("dialog_end", duration=20_000, test_flag=True),
        ev.closed("c", "absent", epoch=0, at_ms=T, reason="It was a test call."),
    )  # fmt: skip
    assert (shown["outcome"], shown["reason"]) == ("absent", "It was a test call.")
    assert shown["next"] == {"action": None, "at": None}


@pytest.mark.parametrize(
    ("direction", "shown"), [("inbound", "900"), ("outbound", MASK), (None, "900")]
)
def test_the_number_that_an_outbound_call_dialled_is_masked(
    direction: str | None, shown: str
) -> None:
    more = {"direction": direction} if direction else {}
    assert view(cdr("dialog_start", destination_uri="900", **more))["call"]["destination"] == shown


def test_of_several_bodies_the_one_that_counts_is_shown() -> None:
    bad = (received(A, T + 1), inspected(A, ("empty", "error")))
    assert view(*bad)["recordings"][0]["sha256"] == A
    later = received(B, T + 2, source="export")
    shown = view(*bad, later)["recordings"][0]
    assert (shown["sha256"], shown["source"], shown["problems"]) == (B, "export", [])
    worse = inspected(B, ("empty", "error"))
    assert view(*bad, later, worse)["recordings"][0]["sha256"] == B  # none counts: the newest


def test_problems_of_report_and_verdict_are_shown_once_errors_first() -> None:
    verdict = ev.validated(
        "c", "c", A, epoch=0, at_ms=T, valid=False, rules="r",
        problems=[{"code": "z", "severity": "error", "text": "Z."},
                  {"code": "a", "severity": "warning", "text": "again"}],
    )  # fmt: skip
    shown = view(received(A, T), inspected(A, ("a", "warning")), verdict)["recordings"][0]
    assert [(p["code"], p["text"]) for p in shown["problems"]] == [("z", "Z."), ("a", "About a.")]


def test_the_address_is_that_of_the_stored_object_only() -> None:
    place = {"lob": "sales", "bucket": "lob-sales", "key": "2026/x.wav"}
    routed = ev.routed("c", "c", A, at_ms=T, rule="r", **place)
    stored = ev.stored("c", "c", A, at_ms=T, size_bytes=9, **place)
    assert view(received(A, T), routed)["recordings"][0]["uri"] is None
    shown = view(received(A, T), routed, stored)
    assert shown["recordings"][0]["uri"] == "lob-sales/2026/x.wav"
    assert shown["line_of_business"] == "sales"


def test_the_newest_export_is_shown_and_all_are_counted() -> None:
    hour = 3_600_000
    answered = ev.export_answered(
        "c", "job-2", at_ms=T + 3, job_id="ocp-2", task_id="t", window=(T, T + hour),
        found={"audio": False}, files=[], metadata={"k": "v"},
    )  # fmt: skip
    shown = view(
        cdr("dialog_start"),
        ev.export_asked("c", "job-1", at_ms=T + 1, window=(T - hour, T + hour), attempt=1),
        ev.export_asked("c", "job-2", at_ms=T + 2, window=(T, T + hour), attempt=2),
        answered,
    )["export"]
    assert shown == {
        "job_id": "ocp-2", "task_id": "t", "attempts": 2, "metadata": {"k": "v"},
        "window": ["2026-11-22T10:00:00.000Z", "2026-11-22T11:00:00.000Z"],
    }  # fmt: skip


def test_a_journal_event_shows_no_number_and_no_attached_value() -> None:
    event = cdr(
        "dialog_start", origin_uri="+34600123456", destination_uri="900100200",
        incoming_attached_data={"lob": "gold", "dni": "12345678Z"},
    )  # fmt: skip
    text = msgspec.json.encode(event_view(event)).decode()
    for secret in ("600123456", "900100200", "gold", "12345678Z"):
        assert secret not in text
    msgspec.convert(event_view(event), answers.JournalEvent)
    assert event_view(event)["raw"]["message_type"] == "dialog_start"
