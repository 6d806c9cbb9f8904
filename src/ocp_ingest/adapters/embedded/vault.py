"""Encryption at rest of what may hold personal data: raw vendor messages and rejected inputs.

AES-256-GCM with a random 96-bit nonce before the ciphertext; the name of the row is the
associated data, so a ciphertext moved to another row does not open. Keys are in one file of mode
0600; each row says which key it needs, so a new key can be made at any time while old rows stay
readable. A nonce is safe for 2^32 messages per key; rotate long before:
`ocp-ingest rotate-key`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ocp_ingest.adapters.embedded.database import sync_folders
from ocp_ingest.core.errors import Terminal, Transient

_NONCE_BYTES: Final = 12
_KEY_BITS: Final = 256
_NAME_BYTES: Final = 4
_OTHERS: Final = 0o077  # file mode bits of group and others


class _KeyFile(msgspec.Struct):
    current: str
    keys: dict[str, bytes]


def _fresh(number: int) -> _KeyFile:
    """A file with one new key, whose name no other file has: rows tell their own key from it."""
    name = f"k{number}.{os.urandom(_NAME_BYTES).hex()}"
    return _KeyFile(name, {name: AESGCM.generate_key(_KEY_BITS)})


class Vault:
    """Encrypts with the current key, decrypts with any that the file has."""

    def __init__(self, path: Path) -> None:
        """Reads the key file, or makes it. Raises Terminal when others may read it."""
        self._path = path
        if not path.exists():
            self._create()
        if path.stat().st_mode & _OTHERS:
            raise Terminal(f"Others may read the key file: run `chmod 600 {path.name}`.")
        self._file = self._read()
        self._ciphers: dict[str, AESGCM] = {}
        # Keys of which the database durably says that rows need them; see journal_rows.note_key.
        self.noted: set[str] = set()

    @property
    def key_id(self) -> str:
        """The key that new rows are encrypted with."""
        return self._file.current

    def require(self, key_id: str) -> None:
        """Raises Terminal when rows need a key that the file does not have."""
        if key_id not in self._file.keys:
            self._file = self._read()  # another process may have rotated
        if key_id not in self._file.keys:
            raise Terminal(f"Data key {key_id} is missing: put back {self._path.name}.")

    def encrypt(self, plain: bytes, name: str) -> bytes:
        """Nonce and ciphertext; `name` must be given again to decrypt."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher(self.key_id).encrypt(nonce, plain, name.encode())

    def decrypt(self, sealed: bytes, name: str, key_id: str) -> bytes:
        """The plain bytes. Raises Terminal when the key is missing or the row was altered."""
        self.require(key_id)
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher(key_id).decrypt(nonce, body, name.encode())
        except InvalidTag as error:
            raise Terminal("A stored message does not open: it was altered on disk.") from error

    def rotate(self) -> str:
        """Makes a new key the current one; rows of older keys stay readable.

        Raises Transient while another process makes one.
        """
        with self._alone():
            held = self._read()
            made = _fresh(len(held.keys) + 1)
            both = _KeyFile(made.current, held.keys | made.keys)
            self._write(both)
        self._file = both
        return both.current

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Of two processes that rotate at once, the second must know the first one's key."""
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Transient("Another process makes a key: try again.") from None
        finally:
            os.close(folder)

    def _read(self) -> _KeyFile:
        return msgspec.json.decode(self._path.read_bytes(), type=_KeyFile)

    def _cipher(self, key_id: str) -> AESGCM:
        held = self._ciphers.get(key_id)
        if held is None:
            held = self._ciphers[key_id] = AESGCM(self._file.keys[key_id])
        return held

    def _create(self) -> None:
        """Creates only: of two processes that start at once, both use the first one's key."""
        fresh = self._write_beside(_fresh(1))
        with contextlib.suppress(FileExistsError):
            os.link(fresh, self._path)
        fresh.unlink()
        sync_folders(self._path)

    def _write(self, content: _KeyFile) -> None:
        """Atomic and durable: a lost key would be lost data."""
        self._write_beside(content).replace(self._path)
        sync_folders(self._path)

    def _write_beside(self, content: _KeyFile) -> Path:
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(content))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return fresh
