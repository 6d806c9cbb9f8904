"""Names of recordings and which call they belong to.

A WCR name is `{groupId}~{accountId}~{dialogTimestamp}~{dialogId}.wav` (ocp-facts 5.4). Names are
untrusted: they are parsed strictly, kept as data, and never become a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from ocp_ingest.core.cdr_fields import clean
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import ID_CHARS_MAX, NAME_CHARS_MAX, TIME_MS_MAX, TIME_MS_MIN

SEPARATOR: Final = "~"
# Endings that are no part of an id. Only the first two are taken, but a recording in another
# format must be filed under its own dialog to be refused by its true name.
EXTENSIONS: Final = frozenset({
    "wav", "mp3", "wave", "ogg", "oga", "opus", "flac", "m4a", "mp4", "aac", "amr", "au", "aif",
    "aiff", "gsm", "raw", "pcm", "ulaw", "alaw", "wma", "webm", "bin", "zip",
})  # fmt: skip


class Name(msgspec.Struct, frozen=True):
    """What a sender said of a recording: file name, its parts, and where they contradict."""

    text: str = ""
    group_id: str | None = None
    account_id: str | None = None
    time_ms: int | None = None
    dialog_id: str | None = None
    contradictions: tuple[str, ...] = ()

    def parts(self) -> dict[str, Any]:
        """The parts that are known, as JSON values, for the journal."""
        found = {
            "group_id": self.group_id,
            "account_id": self.account_id,
            "time_ms": self.time_ms,
            "dialog_id": self.dialog_id,
            "contradictions": list(self.contradictions) or None,
        }
        return {k: v for k, v in found.items() if v is not None}


def _ident(value: object) -> str | None:
    text = clean(value)
    if text is None or len(text) > ID_CHARS_MAX or not text.isprintable():
        return None
    return text


def _time(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if TIME_MS_MIN <= value < TIME_MS_MAX else None


def parse_name(text: str) -> Name:
    """Splits a vendor file name into its parts; parts that make no sense stay None."""
    # A sender may prefix a folder, with either slash; only what follows the last one is the name.
    base = text.replace("\\", "/").rsplit("/", 1)[-1]
    text = text[:NAME_CHARS_MAX]
    stem, dot, extension = base.rpartition(".")
    if not dot or extension.lower() not in EXTENSIONS:
        stem = base
    parts = stem.split(SEPARATOR)
    if len(parts) != 4 or len(base) > NAME_CHARS_MAX:
        return Name(text=text)
    group, account, time, dialog = parts
    return Name(
        text=text,
        group_id=_ident(group),
        account_id=_ident(account),
        time_ms=_time(time),
        dialog_id=_ident(dialog),
    )


def name_with_metadata(text: str, metadata: Mapping[str, object]) -> Name:
    """The name with what the sender's metadata adds; metadata wins, contradictions are kept."""
    name = parse_name(text)
    said = {
        "group_id": _ident(metadata.get("group")),
        "account_id": _ident(metadata.get("account_id")),
        "time_ms": _time(metadata.get("time")),
        "dialog_id": _ident(metadata.get("dialog_id")),
    }
    merged: dict[str, Any] = {}
    contradictions = []
    for field, value in said.items():
        from_name = getattr(name, field)
        if value is not None and from_name is not None and value != from_name:
            contradictions.append(field)
        merged[field] = value if value is not None else from_name
    return Name(text=name.text, contradictions=tuple(contradictions), **merged)


def correlate(
    name: Name, call_of_dialog: str | None, group_is: Literal["call", "tenant"] = "call"
) -> tuple[str, str]:
    """The call id and dialog id of a recording: by its dialog first, then by its group.

    `call_of_dialog` is the call that a CDR of that dialog already named, if any. `group_is` says
    what `groupId` means at this tenant, which no public page states (ocp-facts 5.5); for the root
    dialog the call's id and the dialog's are equal either way.

    Raises Invalid when neither name nor metadata holds a usable id.
    """
    group = name.group_id if group_is == "call" else None
    dialog = name.dialog_id or group
    call = call_of_dialog or group or dialog
    if call is None or dialog is None:
        raise Invalid(
            "The recording has no usable name: send a file name of the form "
            "{groupId}~{accountId}~{dialogTimestamp}~{dialogId}.wav in Content-Disposition or "
            "?name=, or `group` or `dialog_id` in the metadata."
        )
    return call, dialog
