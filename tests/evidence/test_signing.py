"""Signing keys: a file that only its owner may read, or one of KMS that never leaves it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ocp_ingest.adapters.aws.session import Answered
from ocp_ingest.adapters.aws.signing import KmsSigner
from ocp_ingest.adapters.signing import FileSigner
from ocp_ingest.core.errors import Damaged, Invalid, Terminal
from ocp_ingest.core.statement import STATEMENT_BYTES_MAX
from ocp_ingest.evidence.keys import check, der, key_id, pem

MESSAGE = b"ocp-ingest seal of a day\n"


async def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "evidence.key"
    first = await FileSigner(path).public_key()
    assert path.stat().st_mode & 0o777 == 0o600
    assert await FileSigner(path).public_key() == first


async def test_openssl_verifies_what_it_signs(tmp_path: Path) -> None:
    signer = FileSigner(tmp_path / "evidence.key")
    (tmp_path / "m").write_bytes(MESSAGE)
    (tmp_path / "s").write_bytes(await signer.sign(MESSAGE))
    (tmp_path / "k").write_bytes(pem(await signer.public_key()))
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "k", "-rawin",
         "-in", tmp_path / "m", "-sigfile", tmp_path / "s"],
        check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0


async def test_a_key_that_openssl_made_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "own.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True)
    path.chmod(0o600)
    signer = FileSigner(path, make=False)
    public = pem(await signer.public_key())
    check(MESSAGE, await signer.sign(MESSAGE), public, await key_id(signer))


async def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    FileSigner(tmp_path / "k")
    (tmp_path / "k").chmod(0o640)
    with pytest.raises(Terminal, match="chmod 600"):
        FileSigner(tmp_path / "k")


@pytest.mark.parametrize("text", [b"", b"no key", "ec"])
def test_what_is_no_ed25519_key_is_refused(tmp_path: Path, text: bytes | str) -> None:
    if text == "ec":
        key = generate_private_key(SECP256R1())
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert isinstance(text, bytes)
    path = tmp_path / "k"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(Invalid, match="holds no Ed25519 key"):
        FileSigner(path)


def test_a_configured_key_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="can't be read"):
        FileSigner(tmp_path / "elsewhere.key", make=False)
    assert not (tmp_path / "elsewhere.key").exists()


async def test_a_signature_is_of_its_message_and_its_key_alone(tmp_path: Path) -> None:
    signer, other = FileSigner(tmp_path / "a"), FileSigner(tmp_path / "b")
    signature, public = await signer.sign(MESSAGE), pem(await signer.public_key())
    named = await key_id(signer)
    check(MESSAGE, signature, public, named)
    for message, signed, key, name in (
        (MESSAGE + b" ", signature, public, named),
        (MESSAGE, await other.sign(MESSAGE), public, named),
        (MESSAGE, signature[:-1], public, named),
        (MESSAGE, signature, pem(await other.public_key()), named),
        (MESSAGE, signature, public, await key_id(other)),
        (MESSAGE, signature, public + b"\n", named),
        (MESSAGE, signature, b"\xff", named),
    ):
        with pytest.raises(Damaged):
            check(message, signed, key, name)


async def test_a_public_key_is_read_as_it_was_written(tmp_path: Path) -> None:
    public = await FileSigner(tmp_path / "k").public_key()
    assert der(pem(public)) == public


# -- KMS -------------------------------------------------------------------------------------------


class Kms:
    """KMS's two answers, with a key of our own behind them."""

    def __init__(self, spec: str = "ECC_NIST_EDWARDS25519") -> None:
        self.key = Ed25519PrivateKey.generate()
        self.spec = spec
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def call(self, service: str, operation: str, *, again: bool, **params: Any) -> Any:
        assert service == "kms"
        self.asked.append((operation, params))
        if self.spec == "none":
            raise Answered("NotFoundException", 400, "no such key", {})
        if operation == "get_public_key":
            public = self.key.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
            return {"KeyId": "arn:of-the-key", "KeySpec": self.spec, "PublicKey": public}
        return {"Signature": self.key.sign(params["Message"])}


async def test_kms_signs_the_raw_message_with_ed25519() -> None:
    kms = Kms()
    signer = KmsSigner(kms, "alias/evidence")  # type: ignore[arg-type]  # stands for Aws
    public = pem(await signer.public_key())
    check(MESSAGE, await signer.sign(MESSAGE), public, await key_id(signer))
    asked, params = kms.asked[-1]
    assert asked == "sign"
    assert (params["SigningAlgorithm"], params["MessageType"]) == ("ED25519_SHA_512", "RAW")
    assert params["KeyId"] == "arn:of-the-key", "an alias may move between two requests"
    assert [operation for operation, _ in kms.asked].count("get_public_key") == 1


async def test_a_key_of_another_kind_is_refused() -> None:
    signer = KmsSigner(Kms("ECC_NIST_P256"), "alias/evidence")  # type: ignore[arg-type]
    with pytest.raises(Terminal, match="ECC_NIST_EDWARDS25519"):
        await signer.sign(MESSAGE)


async def test_a_key_that_is_not_there_is_for_a_person() -> None:
    signer = KmsSigner(Kms("none"), "alias/evidence")  # type: ignore[arg-type]
    with pytest.raises(Terminal, match="NotFoundException"):
        await signer.public_key()


async def test_nothing_longer_than_kms_takes_is_ever_signed() -> None:
    signer = KmsSigner(Kms(), "alias/evidence")  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        await signer.sign(b"x" * (STATEMENT_BYTES_MAX + 1))


def test_kms_knows_these_words() -> None:
    """As botocore's model of the API has them."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("kms")
    assert "ECC_NIST_EDWARDS25519" in model.shape_for("KeySpec").enum
    assert "ED25519_SHA_512" in model.shape_for("SigningAlgorithmSpec").enum
    assert "0-4096 bytes" in model.shape_for("SignRequest").members["Message"].documentation
