"""Names of logs and metrics, and how they get out. A name is a literal with a meaning, said once.

Nothing logged or measured carries a phone number, a token or attached data: log lines name calls
by id and requests by route; labels come from the closed sets below, so their number is bounded.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any, Final, Literal, Protocol

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
    "reconcile.run_now": "somebody asked for a reconciliation at the console; who, census",
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
    # The desk
    "figures.open_cut": "a group has more open calls than one look reads; figures are too low",
    "figures.corrected": "a day was counted anew and counters were wrong; which day, how many",
    # The console's people
    "console.login": "somebody logged in at the console; person, role",
    "console.login_refused": "a log-in at the console was refused; why, never the name or password",
    "console.logout": "somebody logged out; person",
    "audio.stalled": "a player took nothing of a recording for so long that it was cut off",
    "audio.broken": "a recording could not be read on while it was heard; code, reason",
    "incident.closed": "a person closed an incident at the console; key, who",
    "rejected.unmasked": "a person saw a rejected input unmasked; who, which; why is in the notes",
    "console.exported": "a search was written as CSV; person, rows, whether it was cut",
    "console.not_served": "the console is left out; which setting it lacks",
    # Bulk work
    "bulk.started": "a bulk job was started; action, calls, who",
    "bulk.cancelled": "a bulk job was cancelled; who",
    "bulk.done": "every item of a bulk job has its result; how many calls, how many failed",
    "bulk.unavailable": "the store does not answer; bulk jobs wait",
    "bulk.crashed": "a round of bulk work met a bug; the next one goes on",
    "bulk.item_crashed": "an item of a bulk job met a bug and failed; the others go on",
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
    # Evidence
    "seal.made": "events were linked into their calls' chains; how many",
    "seal.day_closed": "a day's tree was built, signed and put on the shelf; its statement's hash",
    "seal.unavailable": "nothing could be sealed now; the next pass makes up for it; reason",
    "evidence.broken": "sealed events, stored objects or seals are not what they were; reason",
    "scrub.done": "stored objects were read back and hashed; objects, bytes, findings",
    "scrub.unavailable": "objects could not be read back now; the next round goes on; reason",
    # OCP's side
    # Alerts and checks
    "alert.sent": "a channel took a letter; channel, how many alerts it tells",
    "alert.failed": "a channel did not take a letter; it is tried again; code, reason",
    "alert.crashed": "a channel met a bug; its letter is tried again",
    "alert.given_up": "an alert was not taken however often it was tried; channel, reason",
    "alerts.left_out": "so many incidents are open that the last of them are not told",
    "alerts.unavailable": "figures or alerts could not be had just now; the next turn will",
    "alerts.crashed": "a turn of the alerts met a bug; the next one goes on",
    "law.checked": "the conservation law was checked from its own sources; who asked, the result",
    "law.not_checked": "the law could not be checked just now; it is tried again",
    "tracing.started": "spans are sent to a collector; its host, the share of calls",
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
        "gauge", "calls that began in the last 93 days, by their term of the conservation law",
        {"term": "started, stored, absent, quarantined, lost, in_flight"},
    ),
    "ocp_ingest_queue_depth": ("gauge", "messages that wait for a worker or are held by one", {}),
    "ocp_ingest_ready": ("gauge", "1 when the process may be given work", {}),
    # A recording's way, counted by the process that does it
    "ocp_ingest_step_seconds": (
        "histogram", "time that a step of a recording's way took, whether it could be done or not",
        {"step": "inspect, validate, route, store"},
    ),
    "ocp_ingest_steps_failed_total": (
        "counter", "steps that could not be done and are tried again",
        {"step": "inspect, validate, route, store"},
    ),
    "ocp_ingest_time_to_store_seconds": (
        "histogram", "time from a call's end to its recording in the bucket",
        {"source": "stream, export, operator"},
    ),
    "ocp_ingest_stored_bytes_total": (
        "counter", "bytes of recordings stored", {"lob": "lines of business, unassigned"},
    ),
    "ocp_ingest_export_jobs_total": (
        "counter", "export jobs that came to an end", {"end": "ends of an export job"},
    ),
    # Figures, as of the last look that the alerts took
    "ocp_ingest_open_calls": (
        "gauge", "calls in flight, by how long ago they began",
        {"age": "h1, h6, d1, d7, d30: at most that old and older than the one before; older"},
    ),
    "ocp_ingest_oldest_open_seconds": ("gauge", "age of the call in flight that began first", {}),
    "ocp_ingest_retention_left_seconds": (
        "gauge", "time until OCP deletes the recording of the call in flight that began first", {},
    ),
    "ocp_ingest_stuck_seconds": (
        "gauge", "age of the oldest call in a state, once it comes near the state's bound; else 0",
        {"state": "file_received, post_processed, due"},
    ),
    "ocp_ingest_completeness_ratio": (
        "gauge", "recordings stored of those due, over the period of [alerts]",
        {"lob": "lines of business, unknown"},
    ),
    "ocp_ingest_streamed_ratio": (
        "gauge", "recordings that the stream delivered of those that came, over its period",
        {"lob": "lines of business, unknown"},
    ),
    "ocp_ingest_incidents_open": (
        "gauge", "open incidents", {"severity": "warning, critical"},
    ),
    "ocp_ingest_law_holds": (
        "gauge", "1 when the conservation law held at its last check from its own sources", {},
    ),
    "ocp_ingest_law_checked_timestamp_seconds": (
        "gauge", "when that check was, in Unix time", {},
    ),
    "ocp_ingest_alerts_total": (
        "counter", "alerts handed to channels",
        {"channel": "names of [[alerts.channels]]", "result": "sent, failed, given_up"},
    ),
}  # fmt: skip

# Seconds: from a cached event (about 1 ms) to a recording of an hour over a slow line.
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600)
# Where that is not what is measured. To store: from a stream's seconds to a week of exports.
_OTHER_BUCKETS: Final[dict[str, tuple[float, ...]]] = {
    "ocp_ingest_time_to_store_seconds": (
        5, 15, 60, 300, 900, 3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, 86_400, 2 * 86_400,
        7 * 86_400,
    ),
}  # fmt: skip


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
        buckets = _OTHER_BUCKETS.get(name, _BUCKETS)
        return Histogram(name, meaning, tuple(labels), registry=self.registry, buckets=buckets)

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


class Measured(Protocol):
    """What may be measured from anywhere; see Metrics."""

    def add(self, name: str, amount: float = 1, *labels: str) -> None:
        """Adds to a counter or gauge."""

    def set(self, name: str, value: float, *labels: str) -> None:
        """Sets a gauge."""

    def observe(self, name: str, value_s: float, *labels: str) -> None:
        """Adds an observation to a histogram."""


class _Nobody:
    """Where nothing is measured: commands, functions."""

    def add(self, name: str, amount: float = 1, *labels: str) -> None:
        """Does nothing."""

    def set(self, name: str, value: float, *labels: str) -> None:
        """Does nothing."""

    def observe(self, name: str, value_s: float, *labels: str) -> None:
        """Does nothing."""


# Steps and loops know no process: what they measure goes to the metrics of the one that runs them.
# A task has those of whoever started it, so two apps in one process don't mix.
_MEASURED: Final[ContextVar[Measured]] = ContextVar("measured", default=_Nobody())  # noqa: B039 - it has no state


def measured() -> Measured:
    """Where this task's measurements go."""
    return _MEASURED.get()


def measure_into(metrics: Metrics) -> None:
    """Has this task, and what it starts from now on, measure into these metrics."""
    _MEASURED.set(metrics)


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
