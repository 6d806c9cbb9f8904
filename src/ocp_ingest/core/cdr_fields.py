"""Reading single fields of a CDR: missing values, paths, result codes, exit status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final

from ocp_ingest.core.limits import RECORD_KEYS_MAX, RECORD_VALUE_CHARS_MAX

# OCP writes these for a missing value (ocp-facts 4.13).
_MISSING: Final = frozenset({"", "undefined", "null", "none"})
_MISSING_CHARS_MAX: Final = max(map(len, _MISSING))


def clean(value: object) -> str | None:
    """The text of a value, or None where OCP means "missing"."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    # Lowering is asked of short texts only: this runs on every field of every message.
    return None if len(text) <= _MISSING_CHARS_MAX and text.lower() in _MISSING else text


def short(text: str) -> str:
    """A value as the record keeps it: bounded; the raw event has all of it."""
    return text[:RECORD_VALUE_CHARS_MAX]


def lookup_path(body: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or None."""
    if "." not in path:
        return body.get(path)
    value: Any = body
    for step in _steps(path):
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


@lru_cache(maxsize=64)  # paths are the program's and the configuration's, a dozen
def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def attached(data: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, str]:
    """Those attached-data values that configuration lets into the record."""
    found = {k: v for k in keys if (v := clean(data.get(k))) is not None}
    return {k: short(v) for k, v in list(found.items())[:RECORD_KEYS_MAX]}


def result_codes(events: object, kvps: object, patterns: tuple[str, ...]) -> dict[str, str]:
    """Result codes of a `dialog_end`, by key.

    `events` is ONE comma-separated string there ("auxiliary:…,globalResult:success,HUP:NEAR");
    `kvps` a list of {key, value, step} or a plain map. Only keys that match a pattern are taken.
    """
    pairs: list[tuple[str, object]] = []
    wanted = _any_of(patterns)
    if isinstance(events, str):
        for item in events.split(","):
            key, colon, text = item.strip().partition(":")
            if colon:
                pairs.append((key, text))
    if isinstance(kvps, dict):
        pairs.extend(kvps.items())
    elif isinstance(kvps, list):
        pairs.extend(
            (kv["key"], kv.get("value"))
            for kv in kvps
            if isinstance(kv, dict) and isinstance(kv.get("key"), str)
        )
    found: dict[str, str] = {}
    for key, value in pairs:
        said = clean(value) if isinstance(value, str | None) else str(value)
        if said is None or wanted.match(key) is None:
            continue
        if len(found) < RECORD_KEYS_MAX or short(key) in found:
            found[short(key)] = short(said)
    return found


@lru_cache(maxsize=8)  # one per configuration, and the one that takes everything
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for several shell patterns: tried once per key of every CDR."""
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")


def exit_status(end_type: str | None, codes: Mapping[str, str], success: tuple[str, ...]) -> str:
    """How the automated part ended: transferred, completed, abandoned, or the end type itself.

    TRANSFER wins over results; FAR_HUP (the caller hung up) is abandonment only without success.
    """
    if end_type == "TRANSFER":
        return "transferred"
    if any(v.lower() in success for k, v in codes.items() if k != "HUP"):
        return "completed"
    if end_type == "FAR_HUP":
        return "abandoned"
    if end_type in ("NEAR_HUP", "NORMAL"):
        return "completed"
    return short(end_type.lower()) if end_type else "unknown"


# What OCP writes where an entity is not sensitive; anything else pauses or mutes the recording.
_NOT_SENSITIVE: Final = frozenset(
    {"", "none", "undefined", "null", "low", "not_sensitive", "false"}
)


def sensitive_step(body: Mapping[str, Any]) -> bool:
    """Whether a `dialog_step` took sensitive data (`sensitivity_level` of an entity, or a flag)."""
    if body.get("sensitive") is True or lookup_path(body, "action.sensitive") is True:
        return True
    readings = lookup_path(body, "nlu.semantic_interpretation")
    for reading in readings if isinstance(readings, list) else ():
        entities = reading.get("entities") if isinstance(reading, dict) else None
        for entity in entities if isinstance(entities, list) else ():
            level = entity.get("sensitivity_level") if isinstance(entity, dict) else None
            if level is True or (
                isinstance(level, str) and level.strip().lower() not in _NOT_SENSITIVE
            ):
                return True
    return False
