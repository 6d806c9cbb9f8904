"""Public keys: their names, their files, and whether a signature is theirs.

A key's id is the SHA-256 of its DER form, so `openssl pkey -pubin -outform DER | sha256sum` gives
it: whoever has the id from its owner knows that a key in a pack is the right one.
"""

from __future__ import annotations

import base64
import textwrap
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ocp_ingest.core.errors import Damaged
from ocp_ingest.core.proof import sha256
from ocp_ingest.evidence.ports import Signer
from ocp_ingest.evidence.world import Evidence

_BEGIN: Final = "-----BEGIN PUBLIC KEY-----"
_END: Final = "-----END PUBLIC KEY-----"
_LINE_CHARS: Final = 64  # RFC 7468 section 2


async def key_id(signer: Signer) -> str:
    """The id of the key that signs now."""
    return sha256(await signer.public_key())


async def keep_key(evidence: Evidence) -> str:
    """Puts the public key that signs now on the shelf; its id."""
    public = await evidence.signer.public_key()
    name = sha256(public)
    if await evidence.shelf.put(f"keys/{name}.pem", pem(public)) != pem(public):
        raise Damaged("The public key on the shelf is not the one of its name.")
    return name


def pem(public: bytes) -> bytes:
    """A DER public key as PEM."""
    lines = textwrap.wrap(base64.b64encode(public).decode(), _LINE_CHARS)
    return "\n".join([_BEGIN, *lines, _END, ""]).encode()


def der(text: bytes) -> bytes:
    """A PEM public key as DER. Raises Damaged for anything that is not exactly that."""
    try:
        begin, *lines, end, rest = text.decode("ascii").split("\n")
        public = base64.b64decode("".join(lines), validate=True)
    except ValueError:
        begin = ""
        end = rest = ""
        public = b""
    if (begin, end, rest) != (_BEGIN, _END, "") or pem(public) != text:
        raise Damaged("This is no public key as it was written.")
    return public


def check(message: bytes, signature: bytes, public_key: bytes, named: str) -> None:
    """Raises Damaged unless the signature over a message is by the key (PEM) of that id."""
    public = der(public_key)
    if sha256(public) != named:
        raise Damaged("The public key is not the one that the statement names.")
    try:
        key = load_der_public_key(public)
        if not isinstance(key, Ed25519PublicKey):
            raise Damaged("The public key is none of Ed25519.")
        key.verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Damaged("The signature is not that of the key over this statement.") from None
