"""Which line of business a call belongs to, and where its recording goes.

Rules are tried in order; the first whose every condition holds decides. A condition is a shell
pattern on a fact of the call. No rule: the line of business is "unassigned", never a default one,
and an incident says so.
"""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import quote

import msgspec

from ocp_ingest.core.calendar import day_path
from ocp_ingest.core.call import Call

UNASSIGNED: Final = "unassigned"

# File systems end a name at 255 bytes; room for the extension and for ".json".
_COMPONENT_CHARS_MAX: Final = 200

# Facts of a call that a rule may ask for; `attached.<key>` too.
FACTS: Final = (
    "ocp_group", "entry_app", "destination", "channel", "direction", "device_type", "account_id",
    "exit_status",
)  # fmt: skip


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`when`: fact → shell pattern (or several, any of them); `lob`: the line of business."""

    lob: str
    when: dict[str, str | tuple[str, ...]]
    name: str = ""


class Route(msgspec.Struct, frozen=True):
    """A decision: the line of business, and the rule that made it."""

    lob: str
    rule: str


def route(call: Call, rules: tuple[Rule, ...]) -> Route:
    """The line of business of a call by its facts."""
    for number, rule in enumerate(rules, 1):
        if all(_holds(call, fact, pattern) for fact, pattern in rule.when.items()):
            return Route(rule.lob, rule.name or f"rule {number}")
    return Route(UNASSIGNED, "no rule matched")


def fact(call: Call, name: str) -> str | None:
    """A fact as text, as rules see it."""
    if name.startswith("attached."):
        values = call.get("attached") or {}
        found = values.get(name.removeprefix("attached."))
    else:
        found = call.get(name)
    return None if found is None else str(found)


def facts_of(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """Names of all facts that rules ask for: calls that agree in these go to one place."""
    return tuple(sorted({name for rule in rules for name in rule.when}))


def _holds(call: Call, name: str, pattern: str | tuple[str, ...]) -> bool:
    value = fact(call, name)
    patterns = (pattern,) if isinstance(pattern, str) else pattern
    return value is not None and any(fnmatchcase(value, p) for p in patterns)


def object_key(call_id: str, dialog_id: str, start_ms: int, extension: str) -> str:
    """`yyyy/mm/dd/<call id>/<dialog id>.<ext>`, UTC date of the call's start.

    Ids are untrusted, so everything but letters, digits, "-", "_" and inner dots is
    percent-encoded: "." and ".." can't become path steps.
    """
    return f"{day_path(start_ms)}/{_safe(call_id)}/{_safe(dialog_id)}.{extension}"


def quarantine_key(call_id: str, dialog_id: str, sha256: str, received_at_ms: int) -> str:
    """Where the bytes of an unusable version are kept; its reasons are beside it, plus `.json`."""
    return object_key(call_id, f"{dialog_id}.{sha256}", received_at_ms, "bin")


def _safe(ident: str) -> str:
    text = quote(ident, safe="").replace("~", "%7E")
    if text.startswith("."):
        text = "%2E" + text[1:]
    if len(text) > _COMPONENT_CHARS_MAX:
        # Still deterministic and still one object per id; the whole id is in the metadata.
        # "!" is percent-encoded in ids, so no short id can spell a shortened one.
        text = f"{text[:100]}!{hashlib.sha256(ident.encode()).hexdigest()[:40]}"
    return text
