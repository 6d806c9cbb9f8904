"""OCP's own words, made fit for our errors and logs: short, one line, without secrets or numbers.

Masked: tokens (JWT form and those we hold), and runs of nine digits or more that stand alone,
which may be phone numbers. Identifiers, which mix letters and digits, stay readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

# A sentence or two; a stack trace or a page of HTML helps nobody in an incident.
TEXT_CHARS_MAX: Final = 300
MASK: Final = "…"
_JWT: Final = re.compile(r"eyJ[\w-]{5,}\.[\w-]+(\.[\w-]*)?")
_NUMBER: Final = re.compile(r"(?<![\w.-])\+?\d{9,}(?![\w-])")
_NOT_PRINTED: Final = re.compile(r"[^\x20-\x7e\xa1-\uffff]+")
_MARKUP: Final = re.compile(r"^\s*<")
# Where Keycloak and the Export API keep their words, the better first.
_KEYS: Final = ("message", "error_description", "error")


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """The text, bounded and masked."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    text = _NOT_PRINTED.sub(" ", text[: 4 * TEXT_CHARS_MAX])
    text = _NUMBER.sub(MASK, _JWT.sub(MASK, " ".join(text.split())))
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + MASK


def message_of(body: bytes, message_key: str = "message", secrets: Iterable[str] = ()) -> str:
    """What an error's body says, or "" when it says nothing that a person could use."""
    text = body[: 64 * TEXT_CHARS_MAX].decode("utf-8", "replace")
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "" if _MARKUP.match(text) else clean(text, secrets)
    if isinstance(said, dict):
        said = next((said[k] for k in (message_key, *_KEYS) if isinstance(said.get(k), str)), "")
    return clean(said, secrets) if isinstance(said, str) else ""
