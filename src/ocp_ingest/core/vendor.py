"""OCP's messages → journal events. What counts as what is configuration (`VendorMapping`).

Rules (sources: ocp-facts section 4; all of it is the third-hand truth about a closed API)
1. `id` is the dialog's id, `group` the call's; the root dialog has `id == group`, or
   `flow.parent_step == 0` with `flow.type == "Flow"`, or no `flow` object at all.
2. Only the root dialog starts or ends the call; child dialogs are journalled on it.
3. In a `dialog_end`, `time` is the dialog's START; its end is `time + duration`.
4. The text "undefined" and the empty text are missing values.
5. Unknown fields and unknown message types are no error: OCP adds both.
6. What a message says is a set of registers `field -> [priority, value]`: where several messages
   say the same field, the lowest priority wins, in any order of arrival (core.call joins them).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from ocp_ingest.core.call import CLAIM_UNPROVEN
from ocp_ingest.core.cdr_fields import (
    attached,
    clean,
    exit_status,
    lookup_path,
    result_codes,
    sensitive_step,
    short,
)
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.events import VENDOR_KINDS, Event, Source, canonical_hash, vendor_event_id
from ocp_ingest.core.limits import DURATION_MS_MAX, ID_CHARS_MAX, TIME_MS_MAX, TIME_MS_MIN

_OLD_NAMES: Final = {
    "Dialog Start": "dialog_start",
    "Dialog End": "dialog_end",
    "Dialog Step": "dialog_step",
}


class VendorMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which vendor message means what; section `[vendor]` of the configuration.

    A selector is a message type, or `type:root` / `type:child`; the first that speaks wins.
    """

    call_started: tuple[str, ...] = ("dialog_start:root", "dialog_end:root")
    ivr_ended: tuple[str, ...] = ("ivr_end", "dialog_end:root")
    call_ended: tuple[str, ...] = ("dialog_end:root",)
    # Types whose `time` is the start of what they close.
    time_is_start: tuple[str, ...] = ("dialog_end",)
    # Older names that OCP has announced for removal (ocp-facts 2.9-2.11).
    aliases: dict[str, str] = msgspec.field(default_factory=lambda: dict(_OLD_NAMES))
    # Attached-data keys that name the customer, the first present wins.
    customer_keys: tuple[str, ...] = ("customer_id", "customerId")
    # Attached-data keys copied into the record, for routing and rules. Others stay in the journal.
    attached_keys: tuple[str, ...] = ("line_of_business", "lob", "customer_id", "customerId")
    # Keys of `kvps` and `events` that are result codes (shell patterns); others may be personal.
    # No pattern for codes at large: `pinCode` and `zipCode` are the customer's.
    result_keys: tuple[str, ...] = (
        "globalResult", "*Result", "*_result", "resultCode", "*ResultCode", "result_code",
        "*_result_code", "exitCode", "exit_code", "errorCode", "error_code", "HUP",
    )  # fmt: skip
    success_results: tuple[str, ...] = ("success", "completed", "ok")
    # Where the entry application's name is.
    app_paths: tuple[str, ...] = ("app.name", "flow.name")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a message from outside of it."""

    source: Source = "stream"
    received_at_ms: int = 0
    ocp_group_url: str | None = None
    ocp_group_client: str | None = None
    ocp_group_default: str | None = None
    number_key: bytes = b""  # HMAC key for caller numbers; numbers themselves are never kept


class Parsed(msgspec.Struct, frozen=True):
    """An event, or None when a message of unknown type names no call to keep it on."""

    event: Event | None
    message_type: str
    known: bool


class _Message(msgspec.Struct, frozen=True):
    """A message of a known type, its required fields checked."""

    kind: str
    dialog_id: str
    root: bool
    doubt: int  # of its being the root; see _doubt
    time_ms: int
    duration_ms: int | None
    body: Mapping[str, Any]


_KNOWN: Final = VENDOR_KINDS - {"other"}


def parse(body: object, raw: bytes, mapping: VendorMapping, context: Context) -> Parsed:
    """Turns one decoded vendor message into a journal event.

    Raises Invalid, naming the field, when a message of a known type lacks what it must have.
    """
    if not isinstance(body, dict):
        raise Invalid(f"An event must be a JSON object, this is {_json_type(body)}.")
    message_type = clean(body.get("message_type"))
    if message_type is None:
        raise Invalid("Field `message_type` is missing: say dialog_start, dialog_end, … in it.")
    message_type = mapping.aliases.get(message_type, message_type)[:ID_CHARS_MAX]
    if message_type not in _KNOWN:
        # It becomes part of an id and of a counter's name; the raw message keeps it as it came.
        message_type = "".join(c if c.isprintable() else "?" for c in message_type)
        return Parsed(_unknown(body, raw, message_type, context), message_type, False)
    ident = _required_id(body, "id")
    group = _required_id(body, "group")
    time_ms = _required_time(body)
    body_hash = canonical_hash(body)
    root = message_type == "ivr_end" or is_root(body, ident, group)
    doubt = _doubt(body, ident, group)
    message = _Message(message_type, ident, root, doubt, time_ms, _duration(body), body)
    sets = _sets(message, mapping, context)
    event = Event(
        call_id=group,
        event_id=vendor_event_id(message_type, message_type, ident, time_ms, body_hash),
        kind=message_type,
        at_ms=time_ms,
        key_at_ms=time_ms,
        source=context.source,
        received_at_ms=context.received_at_ms,
        data={"dialog_id": ident, "root": root, "sets": sets},
        raw=raw,
        body_hash=body_hash,
    )
    return Parsed(event, message_type, True)


def is_root(body: Mapping[str, Any], ident: str, group: str) -> bool:
    """Rule 1: whether a message is about the call's root dialog."""
    flow = body.get("flow")
    if ident == group or not isinstance(flow, dict):
        return True
    return flow.get("parent_step") in (0, "0") and flow.get("type") == "Flow"


def _doubt(body: Mapping[str, Any], ident: str, group: str) -> int:
    """How sure the claim to be the root is: 0 the group has its id, 1 its flow says so, 2 neither.

    Added to the priority of what a claimant says, so that the surer claimant's word stands.
    """
    if ident == group:
        return 0
    return 1 if isinstance(body.get("flow"), dict) else CLAIM_UNPROVEN


def _unknown(
    body: Mapping[str, Any], raw: bytes, message_type: str, context: Context
) -> Event | None:
    ids = [_usable_id(body.get(field)) for field in ("group", "dialog_id", "id")]
    group = ids[0] or ids[1] or ids[2]
    if group is None:
        return None
    time_ms = _number(body.get("time"))
    at_ms = time_ms if time_ms is not None and TIME_MS_MIN <= time_ms < TIME_MS_MAX else 0
    body_hash = canonical_hash(body)
    return Event(
        call_id=group,
        event_id=vendor_event_id("other", message_type, ids[2] or group, at_ms, body_hash),
        kind="other",
        at_ms=at_ms,
        key_at_ms=at_ms,
        source=context.source,
        received_at_ms=context.received_at_ms,
        data={"message_type": message_type},
        raw=raw,
        body_hash=body_hash,
    )


def _sets(message: _Message, mapping: VendorMapping, context: Context) -> dict[str, list[Any]]:
    kind, body, time_ms, duration = message.kind, message.body, message.time_ms, message.duration_ms
    end_ms = time_ms + (duration or 0) if kind in mapping.time_is_start else time_ms
    # The earliest vendor time of all: the best hint of the start until a CDR of the root comes.
    sets: dict[str, list[Any]] = {"seen": [0, time_ms]}
    for flag, selectors, at_ms in (
        ("call_started", mapping.call_started, time_ms), ("ivr_ended", mapping.ivr_ended, end_ms),
        ("call_ended", mapping.call_ended, end_ms),
    ):  # fmt: skip
        priority = _selected(selectors, kind, message.root)
        if priority is not None:
            sets[flag] = [priority, at_ms]
    _set_group(sets, body, context)
    if kind == "ivr_end":
        _set_ivr_end(sets, body, duration, mapping)
    elif kind == "dialog_step":
        if sensitive_step(body):
            sets["sensitive"] = [0, True]
    elif message.root:
        _set_root(sets, message, mapping, context)
    return sets


@lru_cache(maxsize=128)  # three lists of a configuration, five kinds, root or not
def _selected(selectors: tuple[str, ...], kind: str, root: bool) -> int | None:
    for priority, selector in enumerate(selectors):
        wanted, _, which = selector.partition(":")
        if wanted == kind and which in ("", "root" if root else "child"):
            return priority
    return None


def _set_group(sets: dict[str, list[Any]], body: Mapping[str, Any], context: Context) -> None:
    group = said_group(clean(lookup_path(body, "flow.ocp_group_name")), context)
    if group is not None:
        sets["ocp_group"] = group


def said_group(in_message: str | None, context: Context) -> list[Any] | None:
    """The OCP group as [priority, name]: the message's, the URL's, the client's, the default."""
    candidates = (
        in_message, context.ocp_group_url, context.ocp_group_client, context.ocp_group_default,
    )  # fmt: skip
    return next(([rank, short(group)] for rank, group in enumerate(candidates) if group), None)


def _set_ivr_end(
    sets: dict[str, list[Any]], body: Mapping[str, Any], duration: int | None,
    mapping: VendorMapping,
) -> None:  # fmt: skip
    if duration is not None:
        sets["ivr_duration_ms"] = [0, duration]
    status = clean(body.get("exit_status"))
    if status is not None:
        sets["exit_status"] = [0, short(status)]
    codes = body.get("result_codes")
    if isinstance(codes, dict) and codes:
        sets["result_codes"] = [0, result_codes(None, codes, ("*",))]


_PLAIN: Final = {
    "channel": "channel",
    "destination": "destination_uri",
    "direction": "direction",
    "device_type": "device_type",
    "connection_id": "connection_id",
    "session_id": "session_id",
    "account_id": "flow.account_id",
}


def _set_root(
    sets: dict[str, list[Any]], message: _Message, mapping: VendorMapping, context: Context
) -> None:
    body = message.body
    # CDR Start is the richer message; CDR End fills what it lacks.
    rank = 2 * message.doubt + (0 if message.kind == "dialog_start" else 1)
    sets["root_dialog_id"] = [rank, message.dialog_id]
    for field, path in _PLAIN.items():
        value = clean(lookup_path(body, path))
        if value is not None:
            sets[field] = [rank, short(value)]
    for path in mapping.app_paths:
        app = clean(lookup_path(body, path))
        if app is not None:
            sets["entry_app"] = [rank, short(app)]
            break
    if isinstance(body.get("test_flag"), bool):
        # A test call is one if any of its messages says so.
        sets["test_flag"] = [0 if body["test_flag"] else 1, body["test_flag"]]
    _set_customer(sets, body, rank, mapping, context)
    if message.kind == "dialog_end":
        _set_end(sets, message, mapping)


def _set_customer(
    sets: dict[str, list[Any]], body: Mapping[str, Any], rank: int, mapping: VendorMapping,
    context: Context,
) -> None:  # fmt: skip
    data = body.get("incoming_attached_data")
    data = data if isinstance(data, dict) else {}
    outbound = str(body.get("direction")).lower().startswith("out")
    # Of a call that we make, the customer is the one who is called.
    number = clean(body.get("destination_uri" if outbound else "origin_uri"))
    hashed = None if outbound else clean(body.get("hashed_origin_uri"))
    if number is not None:
        # The number itself is kept nowhere, not even where a flow took it for the customer's id.
        data = {k: v for k, v in data.items() if clean(v) != number}
        hashed = None if hashed == number else hashed
    kept = attached(data, mapping.attached_keys)
    if kept:
        sets["attached"] = [rank, kept]
    named = next((v for k in mapping.customer_keys if (v := clean(data.get(k)))), None)
    if named is not None:
        sets["customer_id"] = [rank, short(named)]
    elif hashed is not None:
        sets["customer_id"] = [10 + rank, short(hashed)]
    elif number is not None and context.number_key:
        digest = hmac.new(context.number_key, number.encode(), "sha256").hexdigest()
        sets["customer_id"] = [20 + rank, f"hmac:{digest[:32]}"]


def _set_end(sets: dict[str, list[Any]], message: _Message, mapping: VendorMapping) -> None:
    body, duration, doubt = message.body, message.duration_ms, message.doubt
    codes = result_codes(body.get("events"), body.get("kvps"), mapping.result_keys)
    end_type = clean(body.get("end_type"))
    if duration is not None:
        sets["duration_ms"] = [doubt, duration]
        sets["ivr_duration_ms"] = [1 + doubt, duration]
    if end_type is not None:
        sets["end_type"] = [doubt, short(end_type)]
    if codes:
        sets["result_codes"] = [1 + doubt, codes]
    sets["exit_status"] = [1 + doubt, exit_status(end_type, codes, mapping.success_results)]


def _required_id(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    said = clean(value)
    if said is None:
        if value is not None and not isinstance(value, str):
            raise Invalid(f"Field `{field}` must be text, this is {_json_type(value)}.")
        raise Invalid(f"Field `{field}` is missing or empty: OCP's identifier belongs in it.")
    text = _as_id(said)
    if text is None:
        raise Invalid(f"Field `{field}` must be at most {ID_CHARS_MAX} printable characters.")
    return text


def _usable_id(value: object) -> str | None:
    text = clean(value)
    return None if text is None else _as_id(text)


def _as_id(text: str) -> str | None:
    return text if len(text) <= ID_CHARS_MAX and text.isprintable() else None


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _required_time(body: Mapping[str, Any]) -> int:
    value = _number(body.get("time"))
    if value is None:
        raise Invalid(
            f"Field `time` must be epoch milliseconds as an integer, this is "
            f"{_json_type(body.get('time'))}."
        )
    if not TIME_MS_MIN <= value < TIME_MS_MAX:
        raise Invalid("Field `time` must be epoch MILLIseconds between the years 2010 and 2100.")
    return value


def _duration(body: Mapping[str, Any]) -> int | None:
    value = body.get("duration")
    if value is None or (clean(value) is None and isinstance(value, str)):
        return None
    number = _number(value)
    if number is None or not 0 <= number <= DURATION_MS_MAX:
        raise Invalid("Field `duration` must be milliseconds, from 0 to seven days.")
    return number


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "true/false",
             int: "a number", float: "a number", type(None): "nothing"}  # fmt: skip
    return names.get(type(value), type(value).__name__)


def lookups(event: Event) -> list[tuple[str, str]]:
    """The ids under which a call can be found by this event: ("dialog"|"session"|…, id).

    "landing" tells whose bytes an object of the landing store are, so that orphans can be swept.
    """
    found = []
    if event.kind in ("received", "relanded"):
        found.append(("landing", str(event.data["landing_key"])))
    dialog = event.data.get("dialog_id")
    if dialog and event.kind in _KNOWN and event.kind != "ivr_end":
        found.append(("dialog", str(dialog)))
    sets = event.data.get("sets", {})
    for field, kind in (("session_id", "session"), ("connection_id", "connection")):
        if field in sets:
            found.append((kind, str(sets[field][1])))
    return found
