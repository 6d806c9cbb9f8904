"""Static files: read once, served under a hash of their content, so that they may be kept a year.

A file is asked for as /console/static/<hash>/<name>. Under another hash (a page of the version
before, or a style sheet's own reference) the same file is given, but not to be kept.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).parent / "static"
# All of them are held in memory; the largest, htmx, has 51 KB.
_FILE_BYTES_MAX: Final = 1_000_000
_COMPRESSED_FROM_BYTES: Final = 1_000  # one packet holds more: nothing is won below
_TAG_CHARS: Final = 12  # 48 bits: never the same by chance for two versions of one file
# Litestar adds the charset to texts.
_TYPES: Final = {
    ".css": "text/css", ".js": "text/javascript",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon",
    ".txt": "text/plain", ".LICENSE": "text/plain",
}  # fmt: skip


class Asset(msgspec.Struct, frozen=True):
    """One file: its body, the same compressed where that helps, its type and tag."""

    body: bytes
    packed: bytes | None
    media_type: str
    tag: str


class Assets:
    """All static files, by their path below the folder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._held = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in _TYPES
        }

    def url(self, name: str) -> str:
        """Where a file is to be fetched. Raises LookupError when there is none: a bug."""
        if name not in self._held:
            raise LookupError(f"no static file {name!r}")
        return f"/console/static/{self._held[name].tag}/{name}"

    def find(self, name: str) -> Asset | None:
        """A file, by its path below the folder."""
        return self._held.get(name)


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    assert len(body) <= _FILE_BYTES_MAX, f"{path.name} is too large for a page"
    media_type = _TYPES[path.suffix]
    tag = hashlib.sha256(body).hexdigest()[:_TAG_CHARS]
    packs = len(body) >= _COMPRESSED_FROM_BYTES and path.suffix != ".png"
    return Asset(body, gzip.compress(body, 9, mtime=0) if packs else None, media_type, tag)
