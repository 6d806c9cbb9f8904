"""The name that a sender gives a recording: in Content-Disposition (RFC 6266), or in the URL; pure.

Names are data: percent signs, slashes and dots are kept as they came, and only what RFC 8187
defines (`filename*=UTF-8''…`) is decoded. `filename*` wins over `filename`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from ocp_ingest.config_model import Delivery
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import NAME_CHARS_MAX
from ocp_ingest.core.recording import Name, name_with_metadata

_PARAMETER: Final = re.compile(r""";\s*([\w!#$%&+\-^`{}~.]+\*?)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)""")
_CHARSETS: Final = {"utf-8": "utf-8", "iso-8859-1": "latin-1", "us-ascii": "ascii"}


def file_name(disposition: str) -> str:
    """The file name of a Content-Disposition header; "" when it has none."""
    text = disposition if disposition.lstrip().startswith(";") else _after_type(disposition)
    found: dict[str, str] = {}
    for key, value in _PARAMETER.findall(text):
        found.setdefault(key.lower(), value.strip())
    extended = _decoded(found.get("filename*", ""))
    return extended if extended else _unquoted(found.get("filename", ""))


def _after_type(disposition: str) -> str:
    # Some senders leave the type ("attachment") out.
    head = disposition.split(";", 1)[0]
    return f";{disposition}" if "=" in head else disposition


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _decoded(value: str) -> str:
    """An RFC 8187 value; "" when it is none, or not in the charset that it names."""
    charset, quote, rest = _unquoted(value).partition("'")
    _, second, encoded = rest.partition("'")
    codec = _CHARSETS.get(charset.lower())
    if not quote or not second or codec is None:
        return ""
    try:
        return unquote_to_bytes(encoded).decode(codec)
    except UnicodeDecodeError:
        return ""


def name_of(text: str | None, metadata: Mapping[str, Any], delivery: Delivery) -> Name:
    """The name with what metadata adds, by the configured field names. Raises Invalid."""
    said = metadata.get(delivery.name)
    if said is not None and not isinstance(said, str):
        raise Invalid(f"Field `{delivery.name}` must be text.")
    chosen = said or text or ""
    if len(chosen) > NAME_CHARS_MAX:
        raise Invalid(f"The recording's name may have {NAME_CHARS_MAX} characters.")
    ours = {
        "group": metadata.get(delivery.group),
        "dialog_id": metadata.get(delivery.dialog_id),
        "account_id": metadata.get(delivery.account_id),
        "time": metadata.get(delivery.time),
    }
    return name_with_metadata(chosen, ours)
