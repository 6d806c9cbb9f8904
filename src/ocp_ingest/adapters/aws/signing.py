"""The signing key in AWS KMS: key spec ECC_NIST_EDWARDS25519, key usage SIGN_VERIFY.

KMS signs a raw message of up to 4,096 bytes with `ED25519_SHA_512` and MessageType RAW, which that
algorithm asks for, and never gives the private key away. (AWS KMS API reference, Sign; developer
guide, "Key spec reference") Its signatures are those of RFC 8032, so openssl verifies them.
`GetPublicKey` gives DER SubjectPublicKeyInfo. (API reference, GetPublicKey)
"""

from __future__ import annotations

from typing import Any

from ocp_ingest.adapters.aws.session import Answered, Aws
from ocp_ingest.core.errors import Terminal
from ocp_ingest.core.statement import STATEMENT_BYTES_MAX


class KmsSigner:
    """See ocp_ingest.evidence.ports.Signer."""

    def __init__(self, aws: Aws, key: str) -> None:
        """`key`: the key's id, ARN, or alias ("alias/…")."""
        self._aws = aws
        self._key = key
        self._public: bytes | None = None

    async def public_key(self) -> bytes:
        """The public key as DER; asked once, since an alias that moves takes a restart."""
        if self._public is None:
            said = await self._ask("get_public_key")
            if said.get("KeySpec") != "ECC_NIST_EDWARDS25519":
                raise Terminal("The key of `evidence.kms_key` is none of ECC_NIST_EDWARDS25519.")
            self._key = str(said["KeyId"])  # its ARN: the alias may move between two requests
            self._public = bytes(said["PublicKey"])
        return self._public

    async def sign(self, message: bytes) -> bytes:
        """64 bytes over the message. Raises Transient, NoRights, Terminal."""
        assert len(message) <= STATEMENT_BYTES_MAX, "KMS signs no longer raw messages"
        await self.public_key()
        said = await self._ask(
            "sign", Message=message, MessageType="RAW", SigningAlgorithm="ED25519_SHA_512"
        )
        return bytes(said["Signature"])

    async def _ask(self, operation: str, **params: Any) -> dict[str, Any]:
        try:
            return await self._aws.call("kms", operation, again=True, KeyId=self._key, **params)
        except Answered as no:
            raise Terminal(
                f"KMS refuses the signing key ({no.code}): see `evidence.kms_key`."
            ) from no
