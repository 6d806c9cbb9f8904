"""Names of logs and metrics, and how they get out. A name is a literal with a meaning, said once.

Nothing logged or measured carries a phone number, a token or attached data: log lines name calls
by id and requests by route; labels come from the closed sets below, so their number is bounded.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Log event -> when it is written.
LOGS: Final[dict[str, str]] = {
    # The process and its doors
    "server.started": "the API listens; host, port",
    "server.stopping": "no new work is taken; what is under way may end",
    "server.stopped": "the API is down; uploads that had to be broken off are counted",
    "request.failed": "a bug answered 500; its reference is in the problem that the caller got",
    "request.refused": "a door did not take a request; route, status, error",
    "token.refused": "a token was missing, bad, expired or lacked the scope; never the token",
    "recording.taken": "a recording is durable; call, dialog, bytes, form, result",
    "upload.broken_off": "a sender vanished inside an upload; nothing of it is kept",
    "fetch.failed": "a recording delivered as a URL could not be fetched; host, reason",
    "worker.failed": "a background loop ended by itself; the process is not ready any more",
    # A recording's way
    "recording.inspected": "the bytes were measured and checked",
    "recording.validated": "the recording was held against its call and its rules",
    "recording.routed": "line of business, bucket and key were pinned",
    "recording.stored": "the copy in the bucket was proved",
    "step.failed": "a step could not be done and is tried again; code, reason",
    "step.crashed": "a step met a bug; the call is tried again, then parked",
    "worker.queue_unavailable": "the work queue does not answer; the worker waits",
    "queue.unreadable": "a message on the queue is no JSON object; SQS parks it",
    "housekeeping.unavailable": "a round of housekeeping could not be done; the next one will",
    "landing.swept": "bytes in the landing store that nothing refers to were removed",
    # Reconciliation
    "reconcile.asked": "somebody asked for a reconciliation over the API; client",
    "reconcile.failed": "a round of reconciliation failed and is tried again; code, reason",
    "reconcile.crashed": "a round of reconciliation met a bug; the next one goes on",
    "reconcile.lease_lost": "another runner has taken the group over",
    "reconcile.lease_kept": "a group's lease could not be given back; it ends by itself",
    "reconcile.alarm_unknown": "the timetable held an alarm that nobody knows; it was removed",
    "record.unreadable": "a call's record is damaged and was read from its journal; run replay",
    "detect.crashed": "a call could not be looked at; the others were",
    "export.answer_lost": "a job's answer could not be written on one call; the others have it",
    "reconcile.unwatched": "incidents of a group could not be compared with its state just now",
    "detect.derived_anew": "the index followed a changed policy for so many calls",
    "detect.not_derived": "the index could not follow a changed policy just now",
    "detect.done": "open calls were looked at; how many were resumed, closed, asked for",
    "call.closed": "a call was given an outcome without a stored recording",
    "census.done": "a day's calls at OCP were compared with ours; how many were news",
    "export.planned": "a window was packed; hours, calls, types",
    "export.step": "an export job went a step on; what was seen, what is done",
    "export.answered": "a job's answer was written on its calls",
    "export.ended": "a job came to its end; which, why",
    "export.failed": "a job's step failed; it is tried again",
    "export.unavailable": "OCP or the store does not answer; the job waits",
    "export.spinning": "a job made too many steps without waiting; it rests for a minute",
    "download.file_done": "a file of an export was taken; results",
    "download.crashed": "a file of an export met a bug; the others go on",
    "download.unavailable": "downloads of a job can't go on now; they are taken up again",
    # The audit archive and the counters (AWS)
    "archive.taken": "a batch of the table's changes is archived and counted; how many of each",
    "archive.failed": "a batch of the table's changes comes again as a whole; code, reason",
    "archive.rejected": "a change that could not be read is kept whole under rejected/; reason",
    "archive.conflict": "one place in the stream gave two different contents; both are kept",
    "archive.journal_changed": "an event of a journal was changed or removed in the table",
    "archive.again": "a day's journals were archived anew from the table; calls, events",
    "counts.unreadable": "a record could not be read for its day's counters; run replay",
    "counts.recounted": "a day's counters were compared with its records; how many differed",
    "counts.corrected": "a counter differed from its records and was overwritten",
    # Reconciliation by short invocations (AWS)
    "flow.answered": "a step of an export job is done; how the state machine goes on",
    "execution.started": "the state machine drives a job from now on, or does already; its name",
    "export.abandoned": "an execution met what nobody foresaw; the job stays open, error",
    "detect.not_asked": "another look could not be asked for; the next one makes up for it",
    "detect.not_measured": "a look's metrics could not be had; code, reason",
    "puller.superseded": "a timer's token is dead: nobody waits for this poll any more",
    "download.branch_failed": "a branch of a round failed; what it fetched counts all the same",
    "download.failed": "a download could not go on now; its message comes again; code, reason",
    "download.message_crashed": "a message met a bug, or is none of ours; it comes again, or parks",
    "download.message_ended": "a worker is through with a message; how it ended",
    "download.message_unreadable": "a dead letter of the download queue is none of ours",
    "download.parked": "a download was tried too often; the state that waits for it fails",
    "download.superseded": "nobody waits for a download any more; its message was dropped",
    # OCP's side
    "ocp.login.refused": "OCP refused our login; status",
    "ocp.logout.failed": "our session at OCP could not be ended; it expires by itself",
    "ocp.limited": "OCP told us to slow down; status, its wait",
    "ocp.slot.busy": "another export of the group runs at OCP",
    "ocp.listing.left_out": "exports of a list could not be read and were left out",
    "ocp.download.resumed": "a download broke and goes on where it was",
}

# Metric -> (kind, meaning, labels with their closed sets). All names begin with "ocp_ingest_".
METRICS: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    "ocp_ingest_requests_total": (
        "counter", "requests answered",
        {"route": "the route's template", "status": "the answer's status code"},
    ),
    "ocp_ingest_request_seconds": (
        "histogram", "time from a request's head to the end of its answer",
        {"route": "the route's template"},
    ),
    "ocp_ingest_events_total": (
        "counter", "vendor messages", {"result": "new, duplicate, refused"},
    ),
    "ocp_ingest_recordings_total": (
        "counter", "recordings delivered to us",
        {"form": "raw, multipart, base64, url",
         "result": "received, already_received, superseding, conflict, refused"},
    ),
    "ocp_ingest_recording_bytes_total": ("counter", "bytes of recordings taken", {}),
    "ocp_ingest_uploads": ("gauge", "uploads under way", {}),
    "ocp_ingest_tokens_refused_total": (
        "counter", "requests with a missing or bad token (401) or without the scope (403)",
        {"status": "401, 403"},
    ),
    "ocp_ingest_calls": (
        "gauge", "calls, each term of the conservation law from its own source",
        {"term": "started, stored, absent, quarantined, lost, in_flight"},
    ),
    "ocp_ingest_queue_depth": ("gauge", "messages that wait for a worker or are held by one", {}),
    "ocp_ingest_ready": ("gauge", "1 when the process may be given work", {}),
}  # fmt: skip

# Seconds: from a cached event (about 1 ms) to a recording of an hour over a slow line.
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600)


class Metrics:
    """The metrics of one process; its own registry, so that two apps in one process don't mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._made: dict[str, Any] = {name: self._make(name) for name in METRICS}
        self._children: dict[tuple[str, ...], Any] = {}

    def _make(self, name: str) -> Counter | Gauge | Histogram:
        kind, meaning, labels = METRICS[name]
        if kind == "counter":
            return Counter(name, meaning, tuple(labels), registry=self.registry)
        if kind == "gauge":
            return Gauge(name, meaning, tuple(labels), registry=self.registry)
        return Histogram(name, meaning, tuple(labels), registry=self.registry, buckets=_BUCKETS)

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:
        key = (name, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._made[name].labels(*labels) if labels else self._made[name]
            self._children[key] = child
        return child

    def add(self, name: str, amount: float = 1, *labels: str) -> None:
        """Adds to a counter or gauge; labels in the order of METRICS."""
        self._child(name, labels).inc(amount)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Sets a gauge."""
        self._child(name, labels).set(value)

    def observe(self, name: str, value_s: float, *labels: str) -> None:
        """Adds an observation to a histogram."""
        self._child(name, labels).observe(value_s)

    def value(self, name: str, *labels: str) -> float:
        """The present value of a counter or gauge, for tests and reports."""
        found = self.registry.get_sample_value(
            name, dict(zip(METRICS[name][2], labels, strict=True))
        )
        return found or 0.0


def set_up_logs(form: Literal["auto", "console", "json"] = "auto", level: str = "info") -> None:
    """Sends structured logs to standard error; once per process, never at import."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries' own lines: warnings and worse; they are written for developers, not operators.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def log() -> Any:
    """The logger; `log().info("recording.taken", call_id=…)` with a name out of LOGS."""
    return structlog.get_logger()
