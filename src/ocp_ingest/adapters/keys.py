"""Names of buckets and keys that any RecordingStore takes.

Keys are built by core.routing from encoded parts; this is the second line of defence, for all of
them alike: no empty, "." or ".." part, none that begins with a dot (those are the stores' own),
no control character, no backslash, and the lengths that disks (255 bytes a part) and S3 (1,024
bytes a key) allow.
"""

from __future__ import annotations

import re
from typing import Final

from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.settings import LANDING

KEY_BYTES_MAX: Final = 1_024
PART_BYTES_MAX: Final = 255

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BAD: Final = re.compile(r"[\x00-\x1f\x7f\\]")


def check(bucket: str, key: str) -> None:
    """Raises Invalid for a name that no store takes."""
    check_bucket(bucket)
    parts = key.split("/")
    if any(not part or part.startswith(".") for part in parts) or _BAD.search(key):
        raise Invalid("An object's key must be a plain relative path.")
    if not key.isprintable() or len(key.encode()) > KEY_BYTES_MAX:
        raise Invalid(f"An object's key must be at most {KEY_BYTES_MAX} printable bytes.")
    if any(len(part.encode()) > PART_BYTES_MAX for part in parts):
        raise Invalid(f"A part of an object's key must be at most {PART_BYTES_MAX} bytes.")


def check_bucket(bucket: str) -> None:
    """Raises Invalid for a name that no store takes."""
    if not _BUCKET.fullmatch(bucket):
        raise Invalid("A bucket's name must be letters, digits, '.', '-', '_', and begin with one.")


def check_deletable(bucket: str) -> None:
    """Raises Invalid for any bucket but the landing store: nothing else is ever removed."""
    if bucket != LANDING:
        raise Invalid("Only objects of the landing store may be removed.")
