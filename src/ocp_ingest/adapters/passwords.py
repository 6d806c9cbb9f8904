"""Passwords: Argon2id, kept as PHC strings; hashing costs memory on purpose, so it is bounded.

Rules
1. Cost as RFC 9106 section 4 recommends where memory is not plentiful, 64 MiB and 3 passes, but in
   one lane: with several, OpenSSL's own threads wait for each other when two hashes run at once
   (seen with cryptography 50: neither ever ended).
2. An unknown name costs the same time as a wrong password: a dummy hash is checked.
3. Hashing runs in threads, AT_ONCE_MAX at a time; beyond WAITING_MAX a log-in is told to come
   back, so that a flood of log-ins takes neither the machine's memory nor its event loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Final

import msgspec
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ocp_ingest.core.errors import Invalid, Transient

AT_ONCE_MAX: Final = 2  # 128 MiB
WAITING_MAX: Final = 16  # three seconds' worth of log-ins
# NIST SP 800-63B-4 section 3.1.1.2 asks for 15 where a password stands alone.
CHARS_MIN: Final = 15
BYTES_MAX: Final = 1_024  # a sentence; hashing more would be the sender's choice of our work
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32


class Cost(msgspec.Struct, frozen=True):
    """What one hash costs: passes over so much memory, in so many lanes (rule 1)."""

    passes: int = 3
    memory_kib: int = 64 * 1024
    lanes: int = 1


class Passwords:
    """Makes and checks hashes."""

    def __init__(self, cost: Cost | None = None) -> None:
        self._cost = cost or Cost()
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0
        self._nobodys = ""
        self._lock = threading.Lock()

    async def verify(self, password: str, phc: str | None) -> bool:
        """Whether the password is that of the hash; None: nobody's, checked all the same.

        Raises Transient when too many wait.
        """
        if self._waiting >= WAITING_MAX:
            raise Transient("Too many people log in just now: try again.", retry_after_s=2.0)
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(self._verify, password, phc)
        finally:
            self._waiting -= 1

    def _verify(self, password: str, phc: str | None) -> bool:
        raw = password.encode("utf-8", "surrogatepass")[: BYTES_MAX + 1]
        too_long = len(raw) > BYTES_MAX
        try:
            Argon2id.verify_phc_encoded(raw, phc or self._dummy())
        except (InvalidKey, ValueError):
            return False
        return phc is not None and not too_long

    def _dummy(self) -> str:
        with self._lock:
            if not self._nobodys:
                self._nobodys = self._hash(os.urandom(_SALT_BYTES))
            return self._nobodys

    async def hash(self, password: str) -> str:
        """The PHC string of a new password. Raises Invalid for one that is too short or long."""
        check(password)
        async with self._slots:
            return await asyncio.to_thread(self._hash, password.encode())

    def _hash(self, raw: bytes) -> str:
        cost = self._cost
        return Argon2id(
            salt=os.urandom(_SALT_BYTES), length=_HASH_BYTES, iterations=cost.passes,
            lanes=cost.lanes, memory_cost=cost.memory_kib,
        ).derive_phc_encoded(raw)  # fmt: skip


def check(password: str) -> None:
    """Raises Invalid for a password that is too short to be safe, or too long to be one."""
    if len(password) < CHARS_MIN:
        raise Invalid(f"A password has at least {CHARS_MIN} characters: take a sentence.")
    if len(password.encode("utf-8", "surrogatepass")) > BYTES_MAX:
        raise Invalid(f"A password has at most {BYTES_MAX} bytes.")
