"""Splits a body of events into messages, within bounds; pure.

Rules
1. A body is one JSON object, one array of objects, or one object a line (NDJSON), told by content;
   `Content-Type: application/x-ndjson` says so for a single line too.
2. What can't be decoded inside a batch is refused alone, with its place; its neighbours are taken.
   Only a body that can't be split at all is refused whole.
3. Of a key that an object has twice, the last value counts; the bytes are kept as they came.
4. Bounds hold before memory is spent: on the number of messages, their size, their depth.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from ocp_ingest.core.errors import Invalid, TooLarge
from ocp_ingest.core.limits import JSON_DEPTH_MAX, KIB, Limits
from ocp_ingest.ingest.intake import Refusal

# An element of an array costs about 72 bytes before it is looked at; so many are no burden.
_CHEAP_ELEMENTS: Final = 100_000
_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[][{},]', re.DOTALL)
_BLANK: Final = b" \t\r\n"


class Batch(msgspec.Struct):
    """The messages that could be decoded, with their bytes, and those that could not."""

    messages: list[tuple[object, bytes]]
    refused: list[Refusal]


def split(body: bytes, limits: Limits, *, ndjson: bool = False) -> Batch:
    """The messages of a body. Raises Invalid or TooLarge when it can't be taken as a whole."""
    body = body.strip(_BLANK)
    if not body:
        raise Invalid("The body is empty: send a JSON object, an array of them, or NDJSON.")
    if body.startswith(b"["):
        return _decode_all(_elements(body, limits), limits)
    if ndjson:
        return _decode_all(_lines(body, limits), limits)
    if b"\n" not in body:
        # Alone, a message is refused with its own words and no index.
        return Batch([(_decode(body, limits), body)], [])
    return _of_several_lines(body, limits)


def _of_several_lines(body: bytes, limits: Limits) -> Batch:
    """One message, pretty-printed, or NDJSON: the former unless its first line stands alone."""
    if len(body) <= limits.event_bytes_max:
        try:
            return Batch([(_decode(body, limits), body)], [])
        except Invalid:
            if not _is_value(body.split(b"\n", 1)[0]):
                raise
    elif _is_one(body):
        return Batch([(_decode(body, limits), body)], [])
    return _decode_all(_lines(body, limits), limits)


def _elements(body: bytes, limits: Limits) -> list[bytes]:
    if body.count(b",") > _CHEAP_ELEMENTS:
        _count_elements(body, limits)
    try:
        found = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as bad:
        raise Invalid(_words(bad)) from None
    _check_count(len(found), limits)
    return [bytes(raw) for raw in found]


def _count_elements(body: bytes, limits: Limits) -> None:
    """Counts the elements of an array without holding them. Raises TooLarge over the bound."""
    depth, commas = 0, 0
    for token in _TOKENS.finditer(body):
        mark = token.group()
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        elif mark == b"," and depth == 1:
            commas += 1
            _check_count(commas + 1, limits)


def _lines(body: bytes, limits: Limits) -> list[bytes]:
    _check_count(body.count(b"\n") + 1 - body.count(b"\n\n"), limits)
    lines = [line.strip(_BLANK) for line in body.split(b"\n")]
    found = [line for line in lines if line]
    _check_count(len(found), limits)
    return found


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.batch_events_max:
        raise TooLarge(f"A request may hold {limits.batch_events_max} events: send several.")


def _decode_all(raws: list[bytes], limits: Limits) -> Batch:
    batch = Batch([], [])
    for index, raw in enumerate(raws):
        try:
            batch.messages.append((_decode(raw, limits), raw))
        except Invalid as bad:
            batch.refused.append(Refusal(index, bad, raw))
    return batch


def _decode(raw: bytes, limits: Limits) -> Any:
    if len(raw) > limits.event_bytes_max:
        raise TooLarge(f"An event may have {limits.event_bytes_max // KIB} KiB.")
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as bad:
        raise Invalid(_words(bad)) from None
    if raw.count(b"{") + raw.count(b"[") > JSON_DEPTH_MAX and _depth(body) > JSON_DEPTH_MAX:
        raise Invalid(f"The JSON is nested deeper than {JSON_DEPTH_MAX} levels.")
    return body


def _depth(value: Any) -> int:
    """How deep a decoded value is nested; a level at a time, so that depth can't hurt us."""
    depth, level = 0, [value]
    while level:
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
        if depth > JSON_DEPTH_MAX + 1:
            break
    return depth - 1


def _is_one(body: bytes) -> bool:
    """Whether a body of several lines is one JSON value (pretty-printed), not NDJSON."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        # Broken either way: as lines, if its first line is a value of its own.
        return not _is_value(body.split(b"\n", 1)[0])
    return True


def _is_value(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _words(bad: Exception) -> str:
    if isinstance(bad, RecursionError):
        return f"The JSON is nested deeper than {JSON_DEPTH_MAX} levels."
    if isinstance(bad, UnicodeDecodeError):
        return "The body is not JSON: its text is not UTF-8."
    return f"The body is not JSON: {str(bad).removeprefix('JSON is malformed: ')}."
