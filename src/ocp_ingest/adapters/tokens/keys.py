"""Where the public keys of an issuer come from: fixed, a file, a URL.

Only RSA signature keys of at least 2048 bits are taken from a key set; others are left out. Keys
are read anew for an unknown key id, which is how an issuer rotates them, but never more often than
`refresh_s_min`: a sender of made-up key ids must not make us hammer the issuer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from ocp_ingest.core.errors import Transient

RSA_BITS_MIN: Final = 2048  # RFC 7518 3.3
JWKS_BYTES_MAX: Final = 256 * 1024  # a set of a hundred keys is a tenth of it
_FETCH_S_MAX: Final = 5.0  # a sender waits for it


class KeySource(Protocol):
    """The keys of one issuer."""

    async def find(self, kid: str | None) -> RSAKey | None:
        """The key of that id; without an id, the only key there is. Raises Transient."""


def parse_keys(jwks: Mapping[str, Any]) -> dict[str, RSAKey]:
    """The usable keys of a JWKS by key id; keys without an id get their thumbprint as id."""
    found: dict[str, RSAKey] = {}
    entries = jwks.get("keys")
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("kty") != "RSA":
            continue
        if entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
            continue
        public = {k: v for k, v in entry.items() if k in ("kty", "n", "e", "kid") and v}
        try:
            key = RSAKey.import_key(public)
            bits = key.public_key.key_size
        except (JoseError, ValueError, TypeError):
            continue
        if bits >= RSA_BITS_MIN:
            found[str(entry.get("kid") or key.thumbprint())] = key
    return found


class FixedKeys:
    """Keys that never change while the process runs."""

    def __init__(self, keys: Mapping[str, RSAKey]) -> None:
        self._keys = dict(keys)

    async def find(self, kid: str | None) -> RSAKey | None:
        """The key of that id, or the only one."""
        return pick(self._keys, kid)


def pick(keys: Mapping[str, RSAKey], kid: str | None) -> RSAKey | None:
    """A key by id; without an id only when there is no choice."""
    if kid is None:
        return next(iter(keys.values())) if len(keys) == 1 else None
    return keys.get(kid)


class _Refreshed:
    """Keys read from somewhere, again when an id is not among them."""

    def __init__(self, refresh_s_min: float, now_s: Callable[[], float]) -> None:
        self._refresh_s_min = refresh_s_min
        self._now_s = now_s
        self._keys: dict[str, RSAKey] = {}
        self._read_at_s: float | None = None
        self._failure: str | None = None
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None) -> RSAKey | None:
        """The key of that id; reads the set again, at a bounded rate, when it is not there."""
        found = pick(self._keys, kid)
        if found is not None:
            return found
        async with self._lock:
            found = pick(self._keys, kid)
            if found is None and self._may_read():
                await self._refresh()
                found = pick(self._keys, kid)
        if found is None and self._failure is not None:
            # Not the sender's fault: the key may well be the issuer's newest.
            raise Transient(self._failure, retry_after_s=max(1.0, self._refresh_s_min))
        return found

    def _may_read(self) -> bool:
        return self._read_at_s is None or self._now_s() - self._read_at_s >= self._refresh_s_min

    async def _refresh(self) -> None:
        self._read_at_s = self._now_s()
        try:
            body = await self._read()
            keys = parse_keys(msgspec.json.decode(body, type=dict[str, Any]))
        except (OSError, msgspec.MsgspecError, TimeoutError) as bad:
            self._failure = f"The issuer's keys can't be read ({type(bad).__name__}); try again."
            return
        self._failure = None if keys else "The issuer's key set holds no RS256 key; try again."
        # An empty set is a fault of the issuer; the keys that were good stay.
        self._keys = keys or self._keys

    async def _read(self) -> bytes:
        raise NotImplementedError


class FileKeys(_Refreshed):
    """Keys in a JWKS file."""

    def __init__(self, path: Path, *, refresh_s_min: float, now_s: Callable[[], float]) -> None:
        super().__init__(refresh_s_min, now_s)
        self._path = path

    async def _read(self) -> bytes:
        return await asyncio.to_thread(self._path.read_bytes)


class UrlKeys(_Refreshed):
    """Keys at the issuer's JWKS URL, which the configuration names; no redirect is followed."""

    def __init__(self, url: str, *, refresh_s_min: float, now_s: Callable[[], float]) -> None:
        super().__init__(refresh_s_min, now_s)
        self._url = url

    async def _read(self) -> bytes:
        import aiohttp  # a tenth of a start, and no part of it where we issue tokens ourselves

        timeout = aiohttp.ClientTimeout(total=_FETCH_S_MAX)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
                session.get(self._url, allow_redirects=False) as answer,
            ):
                body = bytearray()
                async for block in answer.content.iter_any():
                    body += block
                    if len(body) > JWKS_BYTES_MAX:
                        raise OSError("the key set is too large")
                return bytes(body)
        except aiohttp.ClientError as bad:
            raise ConnectionError("the issuer does not give its key set") from bad
