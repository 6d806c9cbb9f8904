"""Takes what is personal out of vendor messages before people see them.

Rules
1. Masked whole: caller and dialled numbers, values of attached data, what a caller said or typed
   (transcriptions, utterances, values of entities), values of `kvps` that are no result code.
2. In every other text, what looks like a telephone number is masked where it stands.
3. Kept: identifiers, times, durations, types, names of applications, intents and actions. A field
   is known by its name, at any depth, so a new place of an old field is masked too.
4. The shape stays: keys, lists and numbers of elements are as they came. Numbers stay numbers
   unless their field is one of rule 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from ocp_ingest.core.limits import JSON_DEPTH_MAX

MASK: Final = "***"

# Fields whose every value is personal (rule 1); compared without case.
PERSONAL: Final = frozenset({
    "origin_uri", "destination_uri", "origin", "destination", "ani", "dnis", "caller", "callee",
    "phone", "phone_number", "msisdn", "from_number", "to_number", "email",
    "transcription", "original_utterance", "utterance", "user_input",
})  # fmt: skip
# Maps whose values are personal, whatever their keys are.
PERSONAL_MAPS: Final = frozenset({
    "incoming_attached_data", "outgoing_attached_data", "attached_data", "attached", "instances",
    "enrolled_user", "biokeys",
})  # fmt: skip
# Fields that hold identifiers: long digits in them are no telephone numbers.
IDENTIFIERS: Final = frozenset({
    "id", "group", "session_id", "connection_id", "dialog_id", "uuid", "account_id", "parent_id",
    "organization", "ocp_organization_id", "mrcp_session_id", "path_app_ids", "task_id",
    "work_flow_id", "message_type", "version", "call_id", "sha256", "landing_key", "key",
    "hashed_origin_uri", "job_id", "event_id", "root_dialog_id", "name_parts",
})  # fmt: skip

# Seven to fifteen digits (ITU E.164 ends at 15), with the separators that people write, alone or
# after tel:/sip:. Inside of a longer identifier (letters, "_", ".", "~" joined to it) it is none.
_NUMBER: Final = re.compile(r"(?<![\w.~])\+?\(?\d(?:[\s().\-/]{0,2}\d){6,14}(?![\w~]|\.\w)")


def mask_text(text: str) -> str:
    """The text without telephone numbers."""
    return _NUMBER.sub(MASK, text)


def mask(value: Any, result_keys: tuple[str, ...] = ()) -> Any:
    """A decoded vendor message without what is personal; `result_keys` are `kvps` to keep."""
    return _mask(value, "", result_keys, 0)


def _mask(value: Any, field: str, result_keys: tuple[str, ...], depth: int) -> Any:
    name = field.lower()
    if depth > JSON_DEPTH_MAX:
        return MASK
    if name in PERSONAL or name in PERSONAL_MAPS:
        return _hide(value, depth)
    if isinstance(value, Mapping):
        return _fields(value, result_keys, depth)
    if isinstance(value, list | tuple):
        return [_mask(item, field, result_keys, depth + 1) for item in value]
    return mask_text(value) if isinstance(value, str) and name not in IDENTIFIERS else value


def _fields(value: Mapping[str, Any], result_keys: tuple[str, ...], depth: int) -> dict[str, Any]:
    fields = {k: _mask(v, k, result_keys, depth + 1) for k, v in value.items()}
    if "key" in value and "value" in value and not _kept(value["key"], result_keys):
        fields["value"] = _hide(value["value"], depth)
    return fields


def _kept(key: object, result_keys: tuple[str, ...]) -> bool:
    return isinstance(key, str) and any(fnmatchcase(key, pattern) for pattern in result_keys)


def _hide(value: Any, depth: int) -> Any:
    """The same shape with every leaf masked; what is missing stays missing."""
    if depth > JSON_DEPTH_MAX:
        return MASK
    if isinstance(value, Mapping):
        return {k: _hide(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(item, depth + 1) for item in value]
    empty = value is None or isinstance(value, bool) or value in ("", "undefined")
    return value if empty else MASK


def mask_raw(raw: bytes, result_keys: tuple[str, ...] = ()) -> Any:
    """The vendor's bytes, decoded and masked; None when there are none or they are no JSON."""
    if not raw:
        return None
    try:
        return mask(msgspec.json.decode(raw), result_keys)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def mask_sets(sets: Mapping[str, Any]) -> dict[str, Any]:
    """Registers (`field -> [priority, value]`) of a journal event, masked by the same rules."""
    return {
        field: [said[0], _mask(said[1], field, ("*",), 0)]
        if isinstance(said, list | tuple) and len(said) == 2
        else MASK
        for field, said in sets.items()
    }
