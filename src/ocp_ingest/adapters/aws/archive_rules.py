"""What the audit archive keeps of the table's changes, and how it is read back. Pure.

Change of an item                        kept as
journal event ("e#…" of a call)          line "journal", the event decoded, its content hash
opening of a call ("o")                  line "opening", the item as DynamoDB has it
incident ("incident#open", "…closed")    line "incident", the same, and what it says
export job ("j#…")                       line "export_job", the same, and what it says
anything else                            not at all: derived from these, or of no evidence
anything that can't be understood        whole, in an object of its own under rejected/

Rules
1. An object is one batch of the stream: gzip'd NDJSON, one line per change, in the stream's order.
   The same batch gives the same lines; two objects are compared by their lines, not their bytes,
   which depend on the version of zlib.
2. A journal only grows: a changed or removed event is kept with both its forms, and told.
3. A journal read back is the events as they were first written; lines that are there twice (a
   batch that came again cut otherwise, a day archived anew) are known by the event's id.
4. Every line carries its event's content hash and is held against it when it is read.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from ocp_ingest.adapters.aws import codec
from ocp_ingest.adapters.aws.table import (
    EVENT,
    PK,
    SK,
    SK_EVENT,
    SK_OPENING,
    call_id_of,
    event_key,
)
from ocp_ingest.core.errors import Damaged
from ocp_ingest.core.events import Event, content_hash
from ocp_ingest.core.limits import MIB

Image = dict[str, Any]  # attribute -> DynamoDB's typed value, {"S": "…"}; binary values as bytes
Change = Literal["INSERT", "MODIFY", "REMOVE"]
What = Literal["journal", "opening", "incident", "export_job"]

_PARTITIONS: Final[dict[str, What]] = {
    "incident#open": "incident", "incident#closed": "incident", "j#": "export_job",
}  # fmt: skip
# Attributes in which incidents and export jobs hold themselves, as msgpack.
_BODIES: Final = ("i", "body")
# A batch is at most 6 MB as an event of Lambda; unfolded lines are several times that.
UNPACKED_BYTES_MAX: Final = 128 * MIB
_HASH_CHARS: Final = 12  # of names: enough to tell the shards of one stream apart
_MS_IN_S: Final = 1000
# Times from here on are no seconds but a broken record (the year 5138).
_SECONDS_MAX: Final = 100_000_000_000


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change. `changed_at_ms` is the stream's approximate time; `seq` is "" of lines that were
    archived anew from the table. `was` is what a changed or removed event said before.
    """

    seq: str
    change: Change
    what: What
    changed_at_ms: int
    call_id: str = ""
    event_id: str = ""
    kind: str = ""
    at_ms: int = 0
    content_hash: str = ""
    event: Event | None = None
    was: Event | None = None
    item: Image | None = None
    said: dict[str, Any] | None = None  # the item's body, decoded


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """A change that could not be understood, and why; `record` is all that the stream said."""

    reason: str
    seq: str
    changed_at_ms: int
    record: dict[str, Any]


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch of the stream holds for the archive."""

    lines: tuple[Line, ...]
    rejects: tuple[Reject, ...]

    @property
    def tampered(self) -> tuple[Line, ...]:
        """Changes that no part of this platform makes (rule 2)."""
        return tuple(x for x in self.lines if x.what == "journal" and x.change != "INSERT")


class _Odd(Exception):
    """A record is not as the stream's documentation says."""


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_LINES: Final = msgspec.json.Decoder(Line)


# -- from the stream -----------------------------------------------------------------------------


def sort_out(records: Iterable[Mapping[str, Any]]) -> Batch:
    """Lines and rejects of a batch, in its order; `records` as Lambda hands them over."""
    lines, rejects = [], []
    for record in records:
        try:
            line = _line(record)
        except (_Odd, codec.Unreadable, ValueError, TypeError, KeyError, AttributeError) as odd:
            rejects.append(_reject(record, odd))
            continue
        if line is not None:
            lines.append(line)
    return Batch(lines=tuple(lines), rejects=tuple(rejects))


def journal_line(call_id: str, event: Event) -> Line:
    """The line of an event that is read from the table, to archive it anew."""
    return _journal(call_id, event, None, seq="", change="INSERT", changed_at_ms=event.at_ms)


def what_is(pk: str, sk: str) -> What | None:
    """What an item is to the archive; None: it is not kept."""
    if call_id_of(pk) is not None:
        if sk.startswith(SK_EVENT):
            return "journal"
        return "opening" if sk == SK_OPENING else None
    return next((what for prefix, what in _PARTITIONS.items() if pk.startswith(prefix)), None)


def image(given: Mapping[str, Any] | None) -> Image | None:
    """An image with its binary values as bytes: Lambda's events carry them in base64."""
    return None if given is None else {name: _value(value) for name, value in given.items()}


def _value(value: Mapping[str, Any]) -> dict[str, Any]:
    ((kind, held),) = value.items()
    if kind == "B":
        held = _bytes(held)
    elif kind == "BS":
        held = [_bytes(one) for one in held]
    elif kind == "L":
        held = [_value(one) for one in held]
    elif kind == "M":
        held = {name: _value(one) for name, one in held.items()}
    return {kind: held}


def _bytes(held: str | bytes) -> bytes:
    return base64.b64decode(held, validate=True) if isinstance(held, str) else bytes(held)


def _line(record: Mapping[str, Any]) -> Line | None:
    change, said = record["eventName"], record["dynamodb"]
    if change not in ("INSERT", "MODIFY", "REMOVE"):
        raise _Odd(f"an unknown kind of change: {change!r}")
    pk, sk = (said["Keys"][name]["S"] for name in (PK, SK))
    what = what_is(pk, sk)
    if what is None:
        return None
    seq, changed_at_ms = _sequence(said), _changed_at_ms(said)
    new, old = image(said.get("NewImage")), image(said.get("OldImage"))
    held = old if change == "REMOVE" else new
    if held is None:
        raise _Odd("a change without its image: the stream must carry old and new images")
    head: dict[str, Any] = {"seq": seq, "change": change, "changed_at_ms": changed_at_ms}
    call_id = call_id_of(pk) or ""
    if what != "journal":
        return Line(what=what, call_id=call_id, item=held, said=_said(held), **head)
    was = None if change == "INSERT" or old is None else _event(call_id, sk, old)
    return _journal(call_id, _event(call_id, sk, held), was, **head)


def _journal(call_id: str, event: Event, was: Event | None, **head: Any) -> Line:
    return Line(
        what="journal", call_id=call_id, event_id=event.event_id, kind=event.kind,
        at_ms=event.at_ms, content_hash=content_hash(event), event=event,
        was=was if was != event else None, **head,
    )  # fmt: skip


def _said(held: Image) -> dict[str, Any] | None:
    """For people; the item is what counts."""
    body = next((held[name]["B"] for name in _BODIES if "B" in held.get(name, {})), None)
    try:
        return None if body is None else msgspec.msgpack.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _event(call_id: str, sk: str, held: Image) -> Event:
    event = codec.decode_event(call_id, held[EVENT]["B"])
    if event_key(event.event_id) != sk:
        raise _Odd("an event under the key of another")
    return event


def _sequence(said: Mapping[str, Any]) -> str:
    seq = str(said["SequenceNumber"])
    if not (seq.isascii() and seq.isdecimal()):
        raise _Odd("a sequence number that is no number")
    return seq


def _changed_at_ms(said: Mapping[str, Any]) -> int:
    """Seconds since 1970 as a number; a datetime where a client has read the stream itself."""
    when = said["ApproximateCreationDateTime"]
    seconds = when.timestamp() if isinstance(when, datetime) else float(when)
    if not 0 <= seconds < _SECONDS_MAX:
        raise _Odd("a time that is none")
    return int(seconds * _MS_IN_S)


def _reject(record: Mapping[str, Any], odd: Exception) -> Reject:
    """Never raises: whatever it is, it is kept."""
    said = record.get("dynamodb") if isinstance(record, Mapping) else None
    said = said if isinstance(said, Mapping) else {}
    try:
        changed_at_ms = _changed_at_ms(said)
    except (_Odd, ValueError, TypeError, KeyError, OverflowError):
        changed_at_ms = 0
    whole = dict(record) if isinstance(record, Mapping) else {"record": repr(record)}
    reason = str(odd) if isinstance(odd, _Odd | codec.Unreadable) else type(odd).__name__
    return Reject(
        reason=reason, seq=str(said.get("SequenceNumber", "")), changed_at_ms=changed_at_ms,
        record=whole,
    )  # fmt: skip


# -- objects -------------------------------------------------------------------------------------


def journal_key(lane: str, lines: Sequence[Line]) -> str:
    """Where the lines of a batch go; `lane` names the part of the stream that it is from."""
    return f"journal/{_hour(lines[0].changed_at_ms)}/{_short(lane)}-{lines[0].seq}.ndjson.gz"


def anew_key(day: str, part: int, body: bytes) -> str:
    """Where lines go that are archived anew for a day (yyyymmdd); another body, another name."""
    date = f"{day[:4]}/{day[4:6]}/{day[6:]}"
    return f"journal/{date}/anew/{part:05}-{_digest(body)}.ndjson.gz"


def beside(key: str, body: bytes) -> str:
    """The name of other contents for a key that is taken; the same contents, the same name."""
    return key.replace(".ndjson.gz", f".{_digest(body)}.ndjson.gz")


def reject_key(lane: str, reject: Reject) -> str:
    """Where a reject goes."""
    name = reject.seq if reject.seq.isalnum() else _digest(reject_body(reject))
    return f"rejected/{_hour(reject.changed_at_ms)}/{_short(lane)}-{name}.json"


def reject_body(reject: Reject) -> bytes:
    """A reject as JSON; what JSON can't say is told in words."""
    return msgspec.json.encode(reject, enc_hook=repr)


def body(lines: Iterable[Line]) -> bytes:
    """Lines as NDJSON."""
    return b"".join(_ENCODER.encode(line) + b"\n" for line in lines)


def packed(text: bytes) -> bytes:
    """gzip'd, without a time in it."""
    return gzip.compress(text, mtime=0)


def unpacked(held: bytes) -> bytes:
    """What an object of the archive holds. Raises Damaged."""
    stream = zlib.decompressobj(wbits=31)  # gzip
    try:
        text = stream.decompress(held, UNPACKED_BYTES_MAX)
    except zlib.error as error:
        raise Damaged("An object of the archive is not what was written there.") from error
    if not stream.eof or stream.unused_data:
        raise Damaged("An object of the archive is cut off, or more than was written there.")
    return text


def agree(one: bytes, other: bytes) -> bool:
    """Whether two texts differ only in where their batch ended: one begins with the other."""
    return one.startswith(other) or other.startswith(one)


def _hour(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // _MS_IN_S, UTC).strftime("%Y/%m/%d/%H")


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_HASH_CHARS]


# -- reading back --------------------------------------------------------------------------------


def lines_of(text: bytes) -> list[Line]:
    """The lines of an object, each held against its hash. Raises Damaged."""
    return [_checked(line) for line in text.splitlines() if line]


def read_back(lines: Iterable[Line], call_id: str | None = None) -> dict[str, list[Event]]:
    """Journals by call, each event as it was first written; of one call, or of all (rule 3).

    Raises Damaged when the archive says two different things of the first writing of an event.
    """
    journals: dict[str, dict[str, Event]] = {}
    for line in lines:
        if line.what != "journal" or (call_id is not None and line.call_id != call_id):
            continue
        event = line.event if line.change == "INSERT" else line.was or line.event
        assert event is not None, "a journal line without its event was let through"
        held = journals.setdefault(line.call_id, {})
        known = held.setdefault(event.event_id, event)
        if line.change == "INSERT" and content_hash(known) != content_hash(event):
            raise Damaged(f"The archive holds two different events {event.event_id}.")
    return {call: list(events.values()) for call, events in journals.items()}


def _checked(text: bytes) -> Line:
    try:
        line = _LINES.decode(text)
    except msgspec.MsgspecError as error:
        raise Damaged("A line of the archive can't be read.") from error
    if line.what == "journal" and (
        line.event is None or content_hash(line.event) != line.content_hash
    ):
        raise Damaged(f"The archive's event {line.event_id} does not have its hash.")
    return line
