"""What a tenant's answers say of the settings: pure comparison, for `doctor --probe-ocp`.

Every finding that a setting can adapt names it. Names of fields, words of states and kinds of
values are shown; values, which may be tokens, numbers or names of files, never are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from ocp_ingest.adapters.ocp.answers import Answers, text_of
from ocp_ingest.adapters.ocp.auth import TOKEN_S_MAX
from ocp_ingest.adapters.ocp.failed import Unreadable
from ocp_ingest.adapters.ocp.settings import OcpSettings
from ocp_ingest.adapters.ocp.vendor_text import clean
from ocp_ingest.core.export_job import Export
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.recording import parse_name

# Fields shown of one object: more would be no JSON of an API.
_FIELDS_SHOWN_MAX: Final = 40
# Seconds taken for milliseconds would be in January 1970: nothing of OCP is so old.
_SECONDS_BELOW: Final = 100_000_000_000
# A life of an export this much off the documented day is no rounding.
_LIFE_SLACK_MS: Final = HOUR_MS
# Fields without which nothing works, and those that only help; with what happens without them.
_EXPORT_NEEDED: Final = ("id", "status", "window_from", "window_to")
_EXPORT_USEFUL: Final = {
    "types": "an export made by others can't be adopted",
    "created_at": "an export made by others can't be adopted",
    "expires_at": "`stage2.export_life_ms` after its creation is taken for its end",
    "file_count": "the length of the file list can't be compared",
}
_FILE_USEFUL: Final = {
    "file_size": "a download that is cut short is noticed by its audio alone",
    "file_type": "kinds of files are told by their names",
    "file_sha256": "a damaged download is noticed by its audio alone",
}
_STATES: Final = ("pending", "running", "completed", "failed", "expired", "cancelled")
_TYPES: Final = ("type_audio", "type_dialog_start", "type_dialog_end", "type_dialog_step",
                 "type_all")  # fmt: skip


class Seen(NamedTuple):
    """One finding; "look" where the tenant differs and a person should decide."""

    result: Literal["ok", "look", "fail"]
    what: str
    text: str


def ok(what: str, text: str) -> Seen:
    """The tenant is as configured."""
    return Seen("ok", what, text)


def look(what: str, text: str) -> Seen:
    """The tenant differs; it works, or a person must decide."""
    return Seen("look", what, text)


def fail(what: str, text: str) -> Seen:
    """The tenant differs, and the client can't do with it."""
    return Seen("fail", what, text)


def fields_of(said: Mapping[str, Any]) -> str:
    """The names of an object's fields, for the text of a finding."""
    shown = [clean(str(name)) for name in sorted(said)[:_FIELDS_SHOWN_MAX]]
    return ", ".join(shown) or "none"


def token(body: bytes, settings: OcpSettings) -> list[Seen]:
    """The login's answer (ocp-facts 1.5, 1.10); only names and the lifetime are shown."""
    what = "ocp login"
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return [fail(what, "The answer is no JSON object: check `ocp.auth_url`.")]
    found = [ok(what, f"The answer has the fields {fields_of(said)}.")]
    life = said.get("expires_in")
    if isinstance(life, bool) or not isinstance(life, int | float) or life <= 0:
        found.append(look(what, "It does not tell the token's life (`expires_in`): "
                          f"`ocp.token_ttl_s`, {settings.token_ttl_s:g} s, is taken."))  # fmt: skip
    elif life > TOKEN_S_MAX:
        found.append(look(what, f"The token is said to live {life:g} s, which is not believed: "
                          f"`ocp.token_ttl_s`, {settings.token_ttl_s:g} s, is taken."))  # fmt: skip
    else:
        found.append(ok(what, f"A token lives {life:g} s."))
    if life_is_short(life, settings):
        found.append(look(what, "It lives hardly longer than `ocp.token_early_s`: every request "
                          "may need a new login."))  # fmt: skip
    if not said.get("refresh_token"):
        found.append(look(what, "There is no `refresh_token`: each renewal is a new login."))
    return found


def life_is_short(life: object, settings: OcpSettings) -> bool:
    """Whether a token's life is hardly more than the time it is renewed before its end."""
    return isinstance(life, int | float) and 0 < life < 2 * settings.token_early_s


def top_list(said: Any, key: str, setting: str, what: str) -> tuple[list[Any] | None, list[Seen]]:
    """The list that an answer holds, as the object's field or as the answer itself."""
    if isinstance(said, list):
        return said, [look(what, f"The answer is the list itself, without `{key}`: taken too.")]
    if not isinstance(said, dict):
        return None, [fail(what, "The answer is neither an object nor a list.")]
    if not isinstance(said.get(key), list):
        return None, [fail(what, f"The answer has no list `{key}` but the fields "
                           f"{fields_of(said)}: set `ocp.fields.{setting}`.")]  # fmt: skip
    return said[key], [ok(what, f"The list is in `{key}`.")]


def exports(entries: Sequence[Any], settings: OcpSettings) -> list[Seen]:
    """The exports of a listing: fields, words of states and types, times."""
    what = "ocp listing"
    objects = [entry for entry in entries if isinstance(entry, dict)]
    found = [ok(what, f"{len(entries)} exports are listed.")]
    if len(objects) < len(entries):
        found.append(fail(what, "Some entries are no objects: they are left out."))
    if not objects:
        return [*found, look(what, "There is no export to look at: run this again after one.")]
    found += _fields(objects, settings, _EXPORT_NEEDED, _EXPORT_USEFUL, what)
    found += _words(objects, settings)
    found += _type_words(objects, settings)
    found += _times(objects, settings)
    answers, encode = Answers(settings), msgspec.json.encode
    return found + _unreadable(objects, lambda entry: answers.export(encode(entry)), what)


def files(entries: Sequence[Any], settings: OcpSettings) -> list[Seen]:
    """The files of a list: fields, names."""
    what = "ocp files"
    objects = [entry for entry in entries if isinstance(entry, dict)]
    found = [ok(what, f"The first page has {len(entries)} files.")]
    if not objects:
        return found
    found += _fields(objects, settings, ("file_name",), _FILE_USEFUL, what)
    names = [str(o.get(settings.fields.file_name, "")) for o in objects]
    audio = [name for name in names if name.lower().endswith(".wav")]
    plain = [name for name in audio if _is_documented(name)]
    if audio and len(plain) < len(audio):
        found.append(look(what, f"{len(audio) - len(plain)} of {len(audio)} names of recordings "
                          "are not `group~account~time~dialog.wav`: their calls are told by "
                          "what parts there are."))  # fmt: skip
    elif audio:
        found.append(ok(what, "Names of recordings are `group~account~time~dialog.wav`."))
    answers, encode, key = Answers(settings), msgspec.json.encode, settings.fields.files
    return found + _unreadable(objects, lambda one: answers.page(encode({key: [one]})), what)


def _is_documented(name: str) -> bool:
    parts = parse_name(name)
    return None not in (parts.group_id, parts.account_id, parts.time_ms, parts.dialog_id)


def life(export: Export, life_ms: int) -> list[Seen]:
    """How long an export's data are kept, against the documented day."""
    what = "ocp exports' life"
    if export.expires_at is None or not export.created_at:
        return []
    told_ms = export.expires_at - export.created_at
    hours = told_ms / HOUR_MS
    if abs(told_ms - life_ms) > _LIFE_SLACK_MS:
        return [look(what, f"An export is kept {hours:g} h: set `stage2.export_life_ms`, now "
                     f"{life_ms / DAY_MS:g} days.")]  # fmt: skip
    return [ok(what, f"An export is kept {hours:g} h.")]


def unknown_export(status: int, body: bytes, settings: OcpSettings) -> list[Seen]:
    """The answer for an export that does not exist (ocp-facts 2.2)."""
    what = "ocp unknown export"
    if status not in (404, 410):
        return [fail(what, f"It is answered {status}; 404 or 410 would be understood as gone. No "
                     "setting adapts this.")]  # fmt: skip
    found = [ok(what, f"It is answered {status}.")]
    try:
        said = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return [*found, look(what, "The error is no JSON: its words are shown as they are.")]
    if isinstance(said, dict) and settings.fields.message not in said:
        found.append(look(what, f"The error has no `{settings.fields.message}` but the fields "
                          f"{fields_of(said)}: set `ocp.fields.message`."))  # fmt: skip
    return found


def _fields(
    objects: Sequence[Mapping[str, Any]], settings: OcpSettings, needed: Sequence[str],
    useful: Mapping[str, str], what: str,
) -> list[Seen]:  # fmt: skip
    found = []
    there = {name for entry in objects for name, value in entry.items() if value is not None}
    for setting in needed:
        if (name := getattr(settings.fields, setting)) not in there:
            found.append(fail(what, f"No entry has `{name}`; there are {fields_of(objects[0])}: "
                              f"set `ocp.fields.{setting}`."))  # fmt: skip
    for setting, without in useful.items():
        if (name := getattr(settings.fields, setting)) not in there:
            found.append(look(what, f"No entry has `{name}`; there are {fields_of(objects[0])}: "
                              f"set `ocp.fields.{setting}`, else {without}."))  # fmt: skip
    return found or [ok(what, "Every field is where it is expected.")]


def _words(objects: Sequence[Mapping[str, Any]], settings: OcpSettings) -> list[Seen]:
    known = {word.upper() for key in _STATES for word in getattr(settings.names, key)}
    said = {entry.get(settings.fields.status) for entry in objects}
    words = sorted({word for word in said if isinstance(word, str)})
    found = [
        fail("ocp states", f"The state {clean(word)!r} is not known: add it to one of "
             f"`ocp.names.{'`, `ocp.names.'.join(_STATES)}`.")
        for word in words if word.upper() not in known
    ]  # fmt: skip
    if words and not found:
        found.append(ok("ocp states", f"Known: {', '.join(map(clean, words))}."))
    return found


def _type_words(objects: Sequence[Mapping[str, Any]], settings: OcpSettings) -> list[Seen]:
    known = {getattr(settings.names, key) for key in _TYPES}
    said: set[str] = set()
    for entry in objects:
        types = entry.get(settings.fields.types)
        said |= {t for t in (types if isinstance(types, list) else [types]) if isinstance(t, str)}
    strange = sorted(said - known)
    found = [
        look("ocp data types", f"The type {clean(kind)!r} is none of `ocp.names.type_*`: such "
             "exports are not adopted; is it one of ours under another name?")
        for kind in strange
    ]  # fmt: skip
    if said and not strange:
        found.append(ok("ocp data types", f"Known: {', '.join(map(clean, sorted(said)))}."))
    return found


def _times(objects: Sequence[Mapping[str, Any]], settings: OcpSettings) -> list[Seen]:
    found, kinds = [], set()
    for setting in ("window_from", "window_to", "created_at", "expires_at"):
        name = getattr(settings.fields, setting)
        values = [entry[name] for entry in objects if entry.get(name) is not None]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        kinds |= {"epoch_ms"} if numbers else set()
        kinds |= {"rfc3339"} if any(isinstance(v, str) for v in values) else set()
        if any(0 < number < _SECONDS_BELOW for number in numbers):
            found.append(fail("ocp times", f"`{name}` is in seconds, not milliseconds. No setting "
                              "adapts this."))  # fmt: skip
        if any(isinstance(v, str) and "T" in v and not _has_zone(v) for v in values):
            found.append(look("ocp times", f"`{name}` names no time zone: UTC is taken."))
    if kinds - {settings.time_format}:
        other = min(kinds - {settings.time_format})
        text = (f"Times come as {other}, we send {settings.time_format}: if OCP refuses creations, "
                f'set `ocp.time_format = "{other}"`.')  # fmt: skip
        found.append(look("ocp times", text))
    return found or [ok("ocp times", f"Times are written like {text_of(0)}."
                        if kinds == {"rfc3339"} else "Times are epoch milliseconds.")]  # fmt: skip


def _has_zone(text: str) -> bool:
    time = text.partition("T")[2]
    return time.endswith(("Z", "z")) or "+" in time or "-" in time


def _unreadable(
    objects: Sequence[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], object], what: str
) -> list[Seen]:
    """What the client itself could not read, in its own words; each once."""
    said: dict[str, int] = {}
    for entry in objects:
        try:
            read(entry)
        except Unreadable as wrong:
            said[wrong.text] = said.get(wrong.text, 0) + 1
    return [fail(what, f"{count} of {len(objects)}: {text}") for text, count in said.items()]
