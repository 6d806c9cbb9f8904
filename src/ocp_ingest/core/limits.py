"""Every bound of the system in one place: its unit is in its name, its reason beside it.

`Limits` are what an operator may change in the configuration (section `[limits]`); the constants
below it are bounds of formats and protocols that nobody should need to change.
"""

from __future__ import annotations

from typing import Final

import msgspec

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
SECOND_MS: Final = 1000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds that a site may change, with the defaults of the design."""

    # One recording. RIFF sizes end at 4 GiB; a longer call comes as RF64 and would be days long.
    recording_bytes_max: int = 4 * GIB
    # A recording inside JSON as base64 is held in memory while it is decoded.
    base64_bytes_max: int = 32 * MIB
    # How many of those at once: 4 × 32 MiB stays well under a small task's memory.
    base64_at_once_max: int = 4
    # One vendor event. Real ones are 2-20 KiB; DynamoDB's item limit is 400 KiB.
    event_bytes_max: int = 256 * KIB
    # One request of events, after decompression.
    batch_bytes_max: int = 8 * MIB
    batch_events_max: int = 1_000
    # Silence on an upload's socket after which the sender is taken for dead.
    upload_idle_s_max: float = 60.0
    # Uploads under way; beyond it 503 + Retry-After, so that memory and file handles stay bounded.
    uploads_at_once_max: int = 256
    # Events waiting for the writer; beyond it 503 + Retry-After.
    writer_backlog_max: int = 20_000
    # What a busy sender is told to wait.
    retry_after_s: int = 2
    # A step (inspect, validate, route, store) is tried so often before it is parked for a person.
    step_tries_max: int = 8
    # Longest wait between two tries of a step; the waits before it grow with full jitter.
    step_backoff_ms_max: int = 15 * MINUTE_MS
    # A worker that takes longer than this on one recording is taken for dead (4 GiB at 20 MB/s).
    step_lease_ms: int = 10 * MINUTE_MS
    # Recordings post-processed at once in one process.
    workers: int = 2
    # Rejected inputs kept as evidence; the oldest give way, and the count of those is kept.
    evidence_items_max: int = 100_000
    # A URL delivery (JSON {name, url}): whole transfer, and redirects followed.
    fetch_s_max: float = 600.0
    fetch_redirects_max: int = 3
    # A page of calls or events in the read API.
    page_items_max: int = 500


# Identifiers are the vendor's and opaque; the longest seen is 87 characters.
ID_CHARS_MAX: Final = 256
# A file name: four identifiers and an extension; Content-Disposition is no place for a novel.
NAME_CHARS_MAX: Final = 1_024
# Vendor times outside of these are a unit mistake (seconds, µs), not a call. 2010 and 2100.
TIME_MS_MIN: Final = 1_262_304_000_000
TIME_MS_MAX: Final = 4_102_444_800_000
# A duration above this is a unit mistake too: 7 days.
DURATION_MS_MAX: Final = 7 * DAY_MS
# JSON nested deeper is an attack on the parser, not a CDR.
JSON_DEPTH_MAX: Final = 64
# Different bodies under one (message_type, id) that are kept; more is a broken sender.
EVENT_VARIANTS_MAX: Final = 8
# Different recordings of one dialog that are kept; more is a broken sender, and each would grow
# the call's record for good.
RECORDING_VERSIONS_MAX: Final = 16
# Attached keys, result codes: how many are copied into the record (the raw event keeps them all).
RECORD_KEYS_MAX: Final = 32
RECORD_VALUE_CHARS_MAX: Final = 256
# multipart: headers of one part, number of parts, the metadata part.
MULTIPART_PARTS_MAX: Final = 8
MULTIPART_HEADER_BYTES_MAX: Final = 8 * KIB
METADATA_BYTES_MAX: Final = 64 * KIB
# Streaming reads and writes of audio: the size at which hashing is at full speed.
BLOCK_BYTES: Final = 256 * KIB
# Stage 2. How long a group's lease lasts without renewal: a dead runner blocks its group no
# longer than this; renewed at a third of it.
GROUP_LEASE_MS: Final = 5 * MINUTE_MS
# Files of one export downloaded at once: fills a line, and leaves the vendor room for others.
DOWNLOADS_AT_ONCE: Final = 4
# Steps that one job may take without waiting; a loop in the table would otherwise spin.
JOB_STEPS_MAX: Final = 200
# Lines of one exported CDR file that go into one append.
EXPORT_LINES_AT_ONCE: Final = 200
# One CDR line of an export.
EXPORT_LINE_BYTES_MAX: Final = 256 * KIB
