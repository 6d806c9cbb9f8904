"""The one DynamoDB table: its definition, and every key in it. Infrastructure builds it from here.

Items of a call, pk = call_key(call id)    sk         attributes
the record and its index columns           "call"     r, g, o, day_*; pend_* while work is open
opening: the call is known                 "o"        id_pk; u while no evidence of it came
one event of its journal                   "e#<id>"   d

Other items, pk                                  sk
"lookup#<kind>#<id>"      whose an id is         "l"
"groups#"                 OCP groups seen        OCP group
"days#"                   days with calls        "<yyyymmdd>#<line of business>"
"meta#policy"             what derived columns   "p"
"counter#"                durable counters       name
"evidence#"               rejected inputs        number, in order of arrival
"incident#open", "…closed"  incidents            key; "<opened at>#<number>"
"book#…", "g#…", "j#…", "n#…"   stage 2            (export_book)
"counts#…"                counts per day         (the archive function)
"desk#…", "bulk#…"        alerts, notes, bulk    (alert_book, desk_notes, bulk_book)

Index     partition                    order                          what is in it
pending   "<OCP group>#<shard>"        "<due at, 16 digits>#<call>"   calls with open work only
by_day    "<line of business>#<day>"   start of the call in ms        every record
by_id     shard by first character     key of the call                every opening

Rules
1. Keys of calls never hold a "#", all others do: no call id, whatever it is, meets another item.
2. Keys of calls sort as call ids do, so a walk over by_id is a walk over call ids.
3. Due times are often whole hours that thousands of calls share, so the order of `pending` ends
   with the call: a page of it always says where the next one starts.
4. No two items need to change together. What an index says is old by a moment: whoever acts on it
   reads the record first.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import TIME_MS_MAX

PK: Final = "pk"
SK: Final = "sk"
SK_RECORD: Final = "call"
SK_OPENING: Final = "o"
SK_EVENT: Final = "e#"  # and the event's id

RECORD: Final = "r"  # compressed; the condition of every write of the item
GROUP: Final = "g"  # OCP group; missing while unknown
OUTCOME: Final = "o"  # see call_index.outcome_code
UNEVIDENCED: Final = "u"  # of an opening: only messages of unknown type speak of the call
EVENT: Final = "d"

PENDING: Final = "pending"
PENDING_PK: Final = "pend_pk"
PENDING_SK: Final = "pend_at"
BY_DAY: Final = "by_day"
DAY_PK: Final = "day_pk"
DAY_SK: Final = "day_at"
BY_ID: Final = "by_id"
ID_PK: Final = "id_pk"

# Time-to-live of items that nobody needs any more. Items live on for days after it and correctness
# never depends on it.
EXPIRES_ATTRIBUTE: Final = "expires_at"


def _index(name: str, partition: str, order: str, projected: list[str]) -> dict[str, Any]:
    projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": projected}
    keys = [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": order, "KeyType": "RANGE"},
    ]
    return {"IndexName": name, "KeySchema": keys, "Projection": projection}


# CreateTable's parameters but for the name.
TABLE: Final[dict[str, Any]] = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": kind}
        for name, kind in (
            (PK, "S"), (SK, "S"), (PENDING_PK, "S"), (PENDING_SK, "S"), (DAY_PK, "S"),
            (DAY_SK, "N"), (ID_PK, "S"),
        )
    ],
    "KeySchema": [
        {"AttributeName": PK, "KeyType": "HASH"},
        {"AttributeName": SK, "KeyType": "RANGE"},
    ],
    "GlobalSecondaryIndexes": [
        _index(PENDING, PENDING_PK, PENDING_SK, [OUTCOME, DAY_PK, DAY_SK]),
        _index(BY_DAY, DAY_PK, DAY_SK, [OUTCOME, GROUP]),
        _index(BY_ID, ID_PK, PK, [UNEVIDENCED]),
    ],
    "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
}  # fmt: skip

# DynamoDB takes sort keys of up to 1,024 bytes, and partition keys are one of by_id; an order of
# `pending` has 17 before the call. (developer guide, "Constraints")
CALL_KEY_BYTES_MAX: Final = 1_000
_KEY_BYTES_MAX: Final = 1_024
# Of a longer key this much stays readable, and a hash stands for all of it.
_READABLE_BYTES: Final = 900

_DIGITS: Final = 16  # of a time in ms: enough until the year 318857
# Writes of one OCP group's open calls go to one partition, which takes 1,000 a second; a group of
# a million calls a month needs 3.
_SHARD: Final = "#0"

# Shards of by_id begin at these characters: OCP's call ids begin with a hexadecimal digit.
_ID_SHARDS: Final = ("", *"123456789abcdef", "g")


def call_key(call_id: str) -> str:
    """The partition key of a call (rules 1 and 2). Raises Invalid for ids that are too long."""
    # '"' is the character before '#'. Both become '"' and a mark, so order and ids are kept.
    key = call_id.replace('"', '"\x01').replace("#", '"\x02')
    if len(key.encode()) > CALL_KEY_BYTES_MAX:
        raise Invalid(f"A call's id must be at most {CALL_KEY_BYTES_MAX} bytes long.")
    return key


def call_id_of(key: str) -> str | None:
    """The call that a partition key is of, or None for other items."""
    if "#" in key:
        return None
    return key.replace('"\x02', "#").replace('"\x01', '"')


def bounded_key(prefix: str, text: str) -> str:
    """A key that begins with `prefix`; a text that is too long for one ends in a hash."""
    whole = (prefix + text).encode()
    if len(whole) <= _KEY_BYTES_MAX:
        return prefix + text
    # No text has this character, so no text has another's key.
    return f"{_readable(whole)}\x01{sha256(whole).hexdigest()}"


def key_prefix(prefix: str, text: str) -> str:
    """What the keys of all texts that begin with `text` begin with; others may too."""
    return _readable((prefix + text).encode())


def event_key(event_id: str) -> str:
    """The sort key of a journal item."""
    return bounded_key(SK_EVENT, event_id)


def event_prefix(event_id: str) -> str:
    """What the sort keys of all events begin with whose ids begin so; others' may too."""
    return key_prefix(SK_EVENT, event_id)


def _readable(whole: bytes) -> str:
    return whole[:_READABLE_BYTES].decode(errors="ignore")


def id_shard(call_id: str) -> str:
    """The partition of by_id that an opening is in."""
    return f"id#{bisect_right(_ID_SHARDS, call_id) - 1:02}"


def id_shards() -> list[str]:
    """All partitions of by_id, in the order of the ids that they hold."""
    return [f"id#{number:02}" for number in range(len(_ID_SHARDS))]


def pending_partition(ocp_group: str) -> str:
    """The partition of `pending` of an OCP group; "" is of calls whose group is unknown."""
    return ocp_group + _SHARD


def pending_order(at_ms: int, call_id: str) -> str:
    """The order of `pending`."""
    return f"{max(0, at_ms):0{_DIGITS}}#{call_key(call_id)}"


def pending_end(until_ms: int) -> str:
    """Orders up to `until_ms` are before this one."""
    return f"{max(0, min(until_ms, 10**_DIGITS - 1)):0{_DIGITS}}$"


def pending_at(order: str) -> int:
    """The due time in ms of an order of `pending`."""
    return int(order[:_DIGITS])


def day_of(at_ms: int) -> str:
    """The UTC day, yyyymmdd; times outside of what a call may have are put at the ends."""
    seconds = max(0, min(at_ms, TIME_MS_MAX)) // 1000
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d")


DAY_MIN: Final = day_of(0)
DAY_MAX: Final = day_of(TIME_MS_MAX)


def day_start_ms(day: str) -> int:
    """When a day of `day_of` began."""
    return int(datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).timestamp()) * 1000


def day_partition(lob: str, day: str) -> str:
    """The partition of by_day; the line of business is "" before it is known."""
    return f"{lob}#{day}"
