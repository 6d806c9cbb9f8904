"""The audit archive: what the table's stream tells goes into objects that are created only.

Order of one batch   lines → one object; rejects → an object each; incidents; the counters; and
                     what the sealer has to link (seal_book).
Every step is safe to repeat, so a batch that failed anywhere is simply taken again as a whole.

At the key of a batch stands            then
nothing                                 it is written
the same lines                          the batch came again: done
more or fewer of the same lines         it was cut otherwise the first time: kept beside it
other lines                             kept beside it, and an incident: this must not be

Object Lock asks for a checksum with every PUT; SHA-256 is sent, so S3 proves what it stores.
(AmazonS3 user guide, object-lock.html)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal

import msgspec

from ocp_ingest.adapters.aws import codec
from ocp_ingest.adapters.aws import reading as reader
from ocp_ingest.adapters.aws.archive_rules import (
    UNPACKED_BYTES_MAX,
    Batch,
    Line,
    Reject,
    agree,
    anew_key,
    beside,
    body,
    journal_key,
    journal_line,
    packed,
    reject_body,
    reject_key,
    sort_out,
    unpacked,
)
from ocp_ingest.adapters.aws.day_counts import DayCounts
from ocp_ingest.adapters.aws.dynamo import Dynamo, each, s
from ocp_ingest.adapters.aws.objects import (
    WRITE_TRIES,
    Objects,
    Refused,
    base64_of,
    content_type,
    pause,
)
from ocp_ingest.adapters.aws.seal_hints import SealHints
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.aws.table import EVENT, PK, SK, SK_EVENT, call_id_of
from ocp_ingest.core.errors import Damaged, NotFound, Transient
from ocp_ingest.core.incidents import SAMPLE_CALLS_MAX, Incident
from ocp_ingest.core.proof import entry_of
from ocp_ingest.ports import Incidents
from ocp_ingest.telemetry import log

ARCHIVE: Final = "archive"  # the bucket as the pipeline knows it
# Of a day archived anew: lines of so many calls make one object of a few MB.
ANEW_CALLS: Final = 500
# Journals read at once for it: well below a process's connections.
_READS_AT_ONCE: Final = 16

_TIME_DIGITS: Final = 16
_SEQ_DIGITS: Final = 40  # a sequence number of a stream has 21 to 40 digits (API reference)

Put = Literal["written", "stood", "beside", "conflict"]


class Archived(msgspec.Struct, frozen=True):
    """What became of a batch."""

    kept: int
    rejected: int
    counted: int
    put: Put | None  # None: it held nothing for the archive


class Archive:
    """Writes to the archive bucket; `incidents` hears of what must not be."""

    def __init__(self, aws: Aws, incidents: Incidents, objects: Objects | None = None) -> None:
        self._objects = objects or Objects(aws)
        self._table = Dynamo(aws)
        self._counts = DayCounts(aws)
        self._seals = SealHints(aws)
        self._incidents = incidents

    async def take(self, event: Mapping[str, Any], now_ms: int) -> Archived:
        """Archives and counts one batch of the stream, as Lambda hands it over.

        Raises Transient, NoRights, Terminal when it has to come again as a whole.
        """
        records: Sequence[Mapping[str, Any]] = event.get("Records") or ()
        if not records:
            return Archived(0, 0, 0, None)
        lane = lane_of(event, records)
        batch = sort_out(records)
        put = await self._keep(lane, batch, now_ms)
        await self._keep_rejects(lane, batch.rejects, now_ms)
        await self._tell_changed(batch, now_ms)
        counted = await self._counts.count(lane, records, now_ms)
        await self._hint(batch)
        return Archived(len(batch.lines), len(batch.rejects), counted, put)

    async def again(self, day: str) -> dict[str, int]:
        """Archives the journals of a day's calls anew, from the table; fills any gap.

        `day` (yyyymmdd, UTC) is that of the calls' starts. Raises Invalid, Transient, Terminal.
        """
        calls = await self._counts.calls_of_day(day)
        events = 0
        for part, first in enumerate(range(0, len(calls), ANEW_CALLS)):
            lines = await self._journals(calls[first : first + ANEW_CALLS])
            text = body(lines)
            await self._put_once(anew_key(day, part, text), text)
            events += len(lines)
        return {"calls": len(calls), "events": events}

    async def _hint(self, batch: Batch) -> None:
        """Leaves new events to the sealer, in the stream's order, under keys that follow it."""
        fresh = [x for x in batch.lines if x.what == "journal" and x.change == "INSERT"]
        if fresh:
            name = f"{fresh[0].changed_at_ms:0{_TIME_DIGITS}}#{fresh[0].seq:>0{_SEQ_DIGITS}}"
            await self._seals.hint(name, [entry_of(x.event) for x in fresh if x.event is not None])

    async def _journals(self, partitions: Sequence[str]) -> list[Line]:
        found = await each(partitions, self._journal, at_once=_READS_AT_ONCE)
        return [line for lines in found for line in lines]

    async def _journal(self, pk: str) -> list[Line]:
        call_id = call_id_of(pk) or ""
        held = await self._table.items(
            f"{PK} = :pk AND begins_with({SK}, :event)", ConsistentRead=True,
            ExpressionAttributeValues={":pk": s(pk), ":event": s(SK_EVENT)},
        )  # fmt: skip
        return [
            journal_line(call_id, codec.decode_event(call_id, item[EVENT]["B"])) for item in held
        ]

    async def _keep(self, lane: str, batch: Batch, now_ms: int) -> Put | None:
        if not batch.lines:
            return None
        key = journal_key(lane, batch.lines)
        put = await self._put_once(key, body(batch.lines))
        if put == "conflict":
            log().error("archive.conflict", key=key)
            await self._tell(
                "conflict", now_ms, [x.call_id for x in batch.lines],
                "One place of the table's stream gave two different contents; both are archived.",
            )  # fmt: skip
        return put

    async def _put_once(self, key: str, text: bytes) -> Put:
        """Creates an object; where other lines stand, creates it beside them."""
        for number in range(1, WRITE_TRIES + 1):
            try:
                await self._create(key, packed(text))
                return "written"
            except Refused:
                break
            except Transient:
                if number == WRITE_TRIES:
                    raise
                await pause(number)
        held = await self._read(key)
        if held is not None and held.startswith(text):
            return "stood"
        recut = held is not None and agree(held, text)
        await self._create_or_stands(beside(key, text), packed(text))
        return "beside" if recut else "conflict"

    async def _create_or_stands(self, key: str, held: bytes) -> None:
        """Creates an object whose name says what is in it; one that stands there is the same."""
        for number in range(1, WRITE_TRIES + 1):
            try:
                await self._create(key, held)
                return
            except Refused:
                return
            except Transient:
                if number == WRITE_TRIES:
                    raise
            await pause(number)

    async def _create(self, key: str, held: bytes) -> None:
        await self._objects.ask(
            "put_object", ARCHIVE, Key=key, Body=held, IfNoneMatch="*",
            ChecksumSHA256=base64_of(hashlib.sha256(held).hexdigest()),
            ContentType=content_type(key),
        )  # fmt: skip

    async def _read(self, key: str) -> bytes | None:
        """The lines of an object, or None for one that holds none."""
        found = bytearray()
        try:
            async with aclosing(reader.read(self._objects, ARCHIVE, key)) as blocks:
                async for block in blocks:
                    found += block
                    if len(found) > UNPACKED_BYTES_MAX:
                        return None
            return unpacked(bytes(found))
        except (Damaged, NotFound):
            return None

    async def _keep_rejects(self, lane: str, rejects: Sequence[Reject], now_ms: int) -> None:
        for reject in rejects:
            await self._create_or_stands(reject_key(lane, reject), reject_body(reject))
            log().error("archive.rejected", seq=reject.seq, reason=reject.reason)
        if rejects:
            await self._tell(
                "rejected", now_ms, [],
                f"Changes of the table could not be read ({rejects[0].reason}); they are kept "
                "whole under rejected/ of the archive.",
            )  # fmt: skip

    async def _tell_changed(self, batch: Batch, now_ms: int) -> None:
        changed = batch.tampered
        for line in changed:
            log().error(
                "archive.journal_changed", call_id=line.call_id, event_id=line.event_id,
                change=line.change,
            )  # fmt: skip
        if changed:
            await self._tell(
                "journal_changed", now_ms, [line.call_id for line in changed],
                "Events of journals were changed or removed in the table, which this platform "
                "never does. The archive has them as they were.",
            )  # fmt: skip

    async def _tell(self, what: str, now_ms: int, calls: Sequence[str], text: str) -> None:
        sample = tuple(dict.fromkeys(call for call in calls if call))
        await self._incidents.open(
            Incident(
                key=f"archive_damaged:{what}", kind="archive_damaged", severity="critical",
                text=text, opened_at_ms=now_ms, last_at_ms=now_ms, calls=len(sample),
                sample=sample[:SAMPLE_CALLS_MAX],
            )
        )  # fmt: skip


def lane_of(event: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """The part of the stream that a batch is from: its shard.

    Lambda names the shard only where the event source mapping has a tumbling window (Lambda
    developer guide, services-ddb-windows.html); without one, a batch is a lane of its own.
    """
    first = records[0]
    stream = event.get("eventSourceARN") or first.get("eventSourceARN") or ""
    return f"{stream}/{event.get('shardId') or first.get('eventID', '')}"


def answer(event: Mapping[str, Any], *, failed: bool) -> dict[str, Any]:
    """What Lambda is answered: from which record on the batch has to come again, if at all.

    `state` must be in every answer where the mapping has a tumbling window.
    """
    failures = []
    if failed:
        first = event["Records"][0].get("dynamodb") or {}
        failures.append({"itemIdentifier": str(first.get("SequenceNumber", ""))})
    return {"state": event.get("state") or {}, "batchItemFailures": failures}
