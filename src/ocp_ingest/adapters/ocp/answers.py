"""From OCP's JSON to our values, by the configured names; strict, and clear about what is wrong.

Times are epoch milliseconds here; OCP writes `2023-01-12T12:00:00.000Z` (ocp-facts 2.6), and
numbers are taken for epoch milliseconds whatever `ocp.time_format` says of what we send.

A creation     needs an id only: it happened, whatever else the answer lacks
A status       needs a state that is configured
A listing      leaves out entries that it cannot read: they can serve nobody, and whether the slot
               is held is told by OCP's 409, not by the listing
A file list    is read whole or not at all: a file left out would be a recording not found
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from ocp_ingest.adapters.ocp.failed import Unreadable
from ocp_ingest.adapters.ocp.settings import OcpSettings
from ocp_ingest.adapters.ocp.vendor_text import clean
from ocp_ingest.core.export_job import Export, VendorStatus
from ocp_ingest.core.limits import ID_CHARS_MAX, NAME_CHARS_MAX, TIME_MS_MAX, TIME_MS_MIN
from ocp_ingest.reconcile.ports import ExportFile

# More entries in one answer are a bug: a group with 2,000 calls an hour has 96,000 files in 48 h.
ENTRIES_MAX: Final = 100_000
COUNT_MAX: Final = 10_000_000  # of pages and files, as told; what is read has its own bounds
SIZE_BYTES_MAX: Final = 1 << 53  # beyond it JSON numbers are not exact
_SHA256_CHARS: Final = 64
_T = TypeVar("_T")
_D = TypeVar("_D")
_WORDS: Final = {
    VendorStatus.PENDING: "pending",
    VendorStatus.IN_PROGRESS: "running",
    VendorStatus.COMPLETED: "completed",
    VendorStatus.FAILED: "failed",
    VendorStatus.EXPIRED: "expired",
    VendorStatus.CANCELLED: "cancelled",
}


class Page(NamedTuple):
    """One page of a file list; `pages` as told, None where it is not."""

    files: tuple[ExportFile, ...]
    pages: int | None


class Asked(NamedTuple):
    """What a creation asked for, in place of what its answer does not repeat."""

    from_ms: int
    to_ms: int
    types: tuple[str, ...]
    now_ms: int


class Answers:
    """Reads and writes the Export API's JSON as one tenant spells it."""

    def __init__(self, settings: OcpSettings) -> None:
        names = settings.names
        self._fields = settings.fields
        self._as_ms = settings.time_format == "epoch_ms"
        self._states = {
            word.upper(): state
            for state, key in _WORDS.items()
            for word in getattr(names, key)
        }  # fmt: skip
        self._theirs = {
            "audio": names.type_audio,
            "dialog_start": names.type_dialog_start,
            "dialog_end": names.type_dialog_end,
            "dialog_step": names.type_dialog_step,
            "ALL": names.type_all,
        }
        self._ours = {theirs: ours for ours, theirs in self._theirs.items()}

    def request(self, from_ms: int, to_ms: int, types: Sequence[str]) -> bytes:
        """The body of a creation."""
        fields = self._fields
        return msgspec.json.encode(
            {
                fields.window_from: from_ms if self._as_ms else text_of(from_ms),
                fields.window_to: to_ms if self._as_ms else text_of(to_ms),
                fields.types: [self._theirs.get(kind, kind) for kind in types],
            }
        )

    def created(self, body: bytes, asked: Asked) -> Export:
        """The answer to a creation. Raises Unreadable."""
        said = _object(decoded(body), "the answer")
        fields = self._fields
        state = said.get(fields.status)
        return Export(
            export_id=self._id(said),
            status=self._states.get(str(state).upper(), VendorStatus.PENDING),
            from_ms=_or(asked.from_ms, lambda: self._time(said, fields.window_from)),
            to_ms=_or(asked.to_ms, lambda: self._time(said, fields.window_to)),
            types=_or((), lambda: self._types(said)) or asked.types,
            created_at=_or(None, lambda: self._time(said, fields.created_at)) or asked.now_ms,
            expires_at=_or(None, lambda: self._time(said, fields.expires_at)),
        )

    def export(self, body: bytes) -> Export:
        """The answer to a status request. Raises Unreadable."""
        return self._export(decoded(body))

    def listed(self, body: bytes) -> tuple[tuple[Export, ...], list[str], int]:
        """The exports of a listing, why entries were left out, and its pages. Raises Unreadable."""
        said = decoded(body)
        pages = 1
        if isinstance(said, dict):
            pages = _count(said, self._fields.total_pages) or 1
            said = _get(said, self._fields.exports)
        exports, left_out = [], []
        for entry in _list(said, self._fields.exports):
            try:
                exports.append(self._export(entry))
            except Unreadable as wrong:
                left_out.append(wrong.text)
        return tuple(exports), left_out, pages

    def page(self, body: bytes) -> Page:
        """One page of a file list. Raises Unreadable."""
        said = decoded(body)
        pages = None
        if isinstance(said, dict):
            pages = _count(said, self._fields.total_pages)
            said = _get(said, self._fields.files)
        return Page(tuple(map(self._file, _list(said, self._fields.files))), pages)

    def _export(self, entry: object) -> Export:
        said, fields = _object(entry, "an export"), self._fields
        return Export(
            export_id=self._id(said),
            status=self._state(said),
            from_ms=self._time(said, fields.window_from) or 0,
            to_ms=self._time(said, fields.window_to) or 0,
            types=self._types(said),
            created_at=self._time(said, fields.created_at) or 0,
            expires_at=self._time(said, fields.expires_at),
            file_count=_count(said, fields.file_count),
        )

    def _id(self, said: dict[str, Any]) -> str:
        ident = said.get(self._fields.id)
        if isinstance(ident, int) and not isinstance(ident, bool):
            ident = str(ident)
        if not isinstance(ident, str) or not 0 < len(ident) <= ID_CHARS_MAX:
            raise _wrong(self._fields.id, ident, "an id", "id")
        if not ident.isprintable():
            raise _wrong(self._fields.id, ident, "an id", "id")
        return ident

    def _state(self, said: dict[str, Any]) -> VendorStatus:
        word = said.get(self._fields.status)
        if not isinstance(word, str):
            raise _wrong(self._fields.status, word, "a word", "status")
        if (state := self._states.get(word.upper())) is None:
            raise Unreadable(f"The export's state {clean(word)!r} is unknown: add it to ocp.names.")
        return state

    def _types(self, said: dict[str, Any]) -> tuple[str, ...]:
        types = said.get(self._fields.types)
        if types is None:
            return ()
        types = [types] if isinstance(types, str) else types
        if not isinstance(types, list) or not all(isinstance(kind, str) for kind in types):
            raise _wrong(self._fields.types, types, "a list of words", "types")
        return tuple(self._ours.get(kind, kind) for kind in types)

    def _time(self, said: dict[str, Any], key: str) -> int | None:
        value = said.get(key)
        if value is None:
            return None
        at_ms = _ms_of(value)
        if at_ms is None or not TIME_MS_MIN <= at_ms < TIME_MS_MAX:
            raise Unreadable(f"The field `{key}` is {_shown(value)}, not a time.")
        return at_ms

    def _file(self, entry: object) -> ExportFile:
        said, fields = _object(entry, "a file"), self._fields
        name = said.get(fields.file_name)
        if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX:
            raise _wrong(fields.file_name, name, "a file name", "file_name")
        kind = said.get(fields.file_type)
        if not isinstance(kind, str | None):
            raise _wrong(fields.file_type, kind, "a word", "file_type")
        sha256 = said.get(fields.file_sha256)
        if sha256 is not None and not _is_sha256(sha256):
            raise _wrong(fields.file_sha256, sha256, "64 hex digits", "file_sha256")
        return ExportFile(
            name=name,
            type=self._ours.get(kind or "", kind or ""),
            size=_count(said, fields.file_size, most=SIZE_BYTES_MAX),
            sha256=sha256.lower() if sha256 is not None else None,
        )


def decoded(body: bytes) -> Any:
    """JSON. Raises Unreadable."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Unreadable("The answer is not JSON: check `ocp.api_url` and `ocp.paths`.") from None


def text_of(at_ms: int) -> str:
    """A time as OCP writes it."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def _ms_of(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        at = datetime.fromisoformat(value)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        since = at - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _or(default: _D, read: Callable[[], _T | None]) -> _T | _D:
    """What was read, or the default where it is missing or can't be read."""
    try:
        found = read()
    except Unreadable:
        return default
    return default if found is None else found


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"The answer has {_shown(value)} where {what} should be.")
    return value


def _get(said: dict[str, Any], key: str) -> object:
    if key not in said:
        raise Unreadable(f"The answer has no `{key}`: check `ocp.fields`.")
    return said[key]


def _list(value: object, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unreadable(f"The field `{key}` is {_shown(value)}, not a list.")
    if len(value) > ENTRIES_MAX:
        raise Unreadable(f"The field `{key}` has {len(value)} entries, over {ENTRIES_MAX}.")
    return value


def _count(said: dict[str, Any], key: str, most: int = COUNT_MAX) -> int | None:
    value = said.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise Unreadable(f"The field `{key}` is {_shown(value)}, not a number from 0 to {most}.")
    return value


def _is_sha256(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) == _SHA256_CHARS
        and all(digit in "0123456789abcdefABCDEF" for digit in value)
    )


def _wrong(field: str, value: object, wanted: str, setting: str) -> Unreadable:
    return Unreadable(
        f"The field `{field}` is {_shown(value)}, not {wanted}: check `ocp.fields.{setting}`."
    )


def _shown(value: object) -> str:
    """The kind of a value; the value itself may be anything, and belongs in no log."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "missing" if value is None else kinds.get(type(value), "a number")
