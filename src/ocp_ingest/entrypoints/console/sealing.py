"""What cookies hold is sealed by AES-256-GCM: nobody reads or changes it, or uses it elsewhere.

A value sealed for one purpose does not open for another, so that a log-in's state can never be
passed off as a session. The key is 256 bits of HKDF-SHA-256 over the configured secret; another
key, for tags (CSRF), is derived beside it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

T = TypeVar("T")

KEY_CHARS_MIN: Final = 32  # a shorter secret could be guessed
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # NIST SP 800-38D; by chance: safe for 2^32 cookies of one key
SEALED_CHARS_MAX: Final = 4_096  # what browsers keep of one cookie


class Seal:
    """Seals and opens small values under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._aes = AESGCM(_derived(secret, b"ocp-ingest console: sealing"))
        self._tag_key = _derived(secret, b"ocp-ingest console: tags")

    def seal(self, purpose: str, value: Any) -> str:
        """The value as text for a cookie."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._aes.encrypt(nonce, msgspec.json.encode(value), purpose.encode())
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, purpose: str, text: str, kind: type[T]) -> T | None:
        """What was sealed for this purpose; None for anything else."""
        if not text or len(text) > SEALED_CHARS_MAX:
            return None
        try:
            whole = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            plain = self._aes.decrypt(whole[:_NONCE_BYTES], whole[_NONCE_BYTES:], purpose.encode())
            return msgspec.json.decode(plain, type=kind)
        except (InvalidTag, ValueError, binascii.Error, msgspec.MsgspecError):
            return None

    def tag(self, purpose: str, text: str) -> str:
        """A text that only we can make of another: HMAC-SHA-256."""
        said = hmac.new(self._tag_key, f"{purpose}\0{text}".encode(), sha256).digest()
        return base64.urlsafe_b64encode(said).decode().rstrip("=")

    def is_tag(self, purpose: str, text: str, said: str) -> bool:
        """Whether `said` is that tag; in constant time."""
        return hmac.compare_digest(self.tag(purpose, text).encode(), said.encode())


def _derived(secret: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=info).derive(secret)
