"""A bundle of files under one signature: what packs and certificates are.

Files are given one after the other, so a bundle of any size is written without holding it. The list
of their hashes comes after them, then the signed statement, which has the list's hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Final

import msgspec

from ocp_ingest.core.proof import sha256
from ocp_ingest.core.statement import render
from ocp_ingest.evidence.keys import keep_key, pem
from ocp_ingest.evidence.world import Evidence

SUMS: Final = "SHA256SUMS"
# Names of the files that the list can't have: itself, the statement and its signature.
UNLISTED: Final = 3


class File(msgspec.Struct, frozen=True, eq=False):
    """One file; `body` must be read to its end before the next file is asked for."""

    name: str
    body: AsyncIterator[bytes]


class Bundle:
    """Remembers the hash of each file that passes."""

    def __init__(self) -> None:
        self._sums: dict[str, str] = {}

    def file(self, name: str, body: bytes) -> File:
        """A small file."""
        return self.stream(name, _once(body))

    def stream(
        self, name: str, body: AsyncIterable[bytes], also: hashlib._Hash | None = None
    ) -> File:
        """A file of any size; `also` is fed with its bytes."""
        assert name not in self._sums, f"{name} is there twice"
        self._sums[name] = ""
        return File(name, self._hashed(name, body, also))

    async def _hashed(
        self, name: str, body: AsyncIterable[bytes], also: hashlib._Hash | None
    ) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        async for block in body:
            digest.update(block)
            if also is not None:
                also.update(block)
            yield block
        self._sums[name] = digest.hexdigest()

    def sum_of(self, name: str) -> str:
        """SHA-256 of a file that has passed."""
        return self._sums[name]

    async def signed(
        self, evidence: Evidence, name: str, title: str, fields: Mapping[str, str]
    ) -> AsyncIterator[File]:
        """The public key, the list, the statement and its signature: the last files."""
        key = await keep_key(evidence)
        public = pem(await evidence.signer.public_key())
        self._sums["key.pem"] = sha256(public)
        assert all(self._sums.values()), "a file was not read to its end"
        listed = "".join(f"{digest}  {file}\n" for file, digest in sorted(self._sums.items()))
        sums = listed.encode("ascii")
        statement = render(title, {**fields, "files": sha256(sums), "key": key})
        yield File("key.pem", _once(public))
        yield File(SUMS, _once(sums))
        yield File(name, _once(statement))
        yield File(f"{name}.sig", _once(await evidence.signer.sign(statement)))


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
