"""Secrets in files: read with care, made once, never readable by others."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from ocp_ingest.core.errors import Invalid

_OWNER_ONLY: Final = 0o600
SECRET_FILE_BYTES_MAX: Final = 64 * 1024  # keys and passwords are small; anything else is a mistake


def read_secret(path: Path, key: str) -> str:
    """The text of a secret's file without its line end. Raises Invalid, naming the setting."""
    try:
        text = path.read_bytes()[:SECRET_FILE_BYTES_MAX].decode()
    except (OSError, UnicodeDecodeError) as bad:
        raise Invalid(f"`{key}` names {path}, which can't be read: {bad}.") from None
    text = text.strip("\r\n")
    if not text:
        raise Invalid(f"`{key}` names {path}, which is empty.")
    return text


def read_or_make(path: Path, size_bytes: int) -> bytes:
    """The bytes of a file that is filled with chance the first time; mode 0600, synced."""
    # As hex text, so that the file can be copied by hand.
    return write_once(path, secrets.token_hex(size_bytes).encode())


def write_once(path: Path, body: bytes) -> bytes:
    """Writes a file that must never change, unless it is there; returns what is in it.

    Complete or not there at all, whatever happens: written beside, synced, then linked.
    """
    if path.exists():
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            return path.read_bytes()
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return body
