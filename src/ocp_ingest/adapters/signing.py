"""The signing key in a file: Ed25519, PKCS #8 in PEM, mode 600, made at first start.

Custody   the file is the only secret of the evidence: who has it can sign anything in this
          deployment's name. Back it up apart from the data, on paper or in a safe.
Rotation  move the file away and restart: a new key is made, statements name it from then on, and
          the public keys of all that ever signed stay on the shelf (docs/how-to).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ocp_ingest.adapters.tokens.secrets import write_once
from ocp_ingest.core.errors import Invalid, Terminal

_OTHERS: Final = 0o077  # file mode bits of group and others


class FileSigner:
    """See ocp_ingest.evidence.ports.Signer."""

    def __init__(self, path: Path, *, make: bool = True) -> None:
        """Reads the key, or makes it. Raises Invalid for a file that holds none, Terminal for one
        that others may read.
        """
        if make:
            write_once(path, _fresh())
        try:
            text = path.read_bytes()
            mode = path.stat().st_mode
        except OSError as bad:
            raise Invalid(f"The signing key {path} can't be read: {bad.strerror}.") from None
        if mode & _OTHERS:
            raise Terminal(f"Others may read the signing key: run `chmod 600 {path.name}`.")
        self._key = _key_of(text, path)

    async def public_key(self) -> bytes:
        """The public key as DER."""
        return self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    async def sign(self, message: bytes) -> bytes:
        """64 bytes over the message."""
        return self._key.sign(message)


def _key_of(text: bytes, path: Path) -> Ed25519PrivateKey:
    with contextlib.suppress(ValueError, TypeError):  # their texts would be of no use
        key = load_pem_private_key(text, password=None)
        if isinstance(key, Ed25519PrivateKey):
            return key
    raise Invalid(f"{path} holds no Ed25519 key in PEM without a passphrase.")


def _fresh() -> bytes:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
