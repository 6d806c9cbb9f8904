"""Fetches a recording from a URL that a sender names; the sender decides nothing but the path.

Rules
1. Only allow-listed hosts, only https (http where configured), no credentials in the URL.
2. The host's name is resolved once; every address must be public (unless private ones are allowed),
   and exactly these addresses are connected to, so a name can't change between check and use.
3. A redirect is a new URL: rules 1 and 2 again, and a bounded number of them.
4. 4xx of the source is the sender's mistake; 408, 425, 429, 5xx and broken transfers are retried.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ocp_ingest.config_model import Fetch
from ocp_ingest.core.errors import Invalid, TooLarge, Transient
from ocp_ingest.core.limits import BLOCK_BYTES, MIB, Limits
from ocp_ingest.telemetry import log

URL_CHARS_MAX: Final = 8 * 1024  # signed URLs have 1-3 KiB
_CONNECT_S_MAX: Final = 10.0
_RETRIED: Final = frozenset({408, 425, 429})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Forbidden(Invalid):
    """The URL is not one that we fetch."""

    code = "invalid"


class Source:
    """An open answer: its length where announced, and its bytes."""

    def __init__(self, answer: aiohttp.ClientResponse, host: str) -> None:
        self._answer = answer
        self._host = host
        self.length = answer.content_length

    async def blocks(self) -> AsyncIterator[bytes]:
        """The bytes. Raises Transient when the transfer breaks."""
        try:
            async for block in self._answer.content.iter_chunked(BLOCK_BYTES):
                yield block
        except (aiohttp.ClientError, OSError, TimeoutError) as bad:
            raise _broken(self._host, bad) from None


@asynccontextmanager
async def fetched(text: str, fetch: Fetch, limits: Limits) -> AsyncIterator[Source]:
    """The source behind a URL, opened. Raises Forbidden, Invalid, TooLarge, Transient."""
    url = _parsed(text)
    for _ in range(limits.fetch_redirects_max + 1):
        addresses = await _addresses(url, fetch)
        async with _session(addresses, limits) as session:
            try:
                answer = await session.get(url, allow_redirects=False)
            except (aiohttp.ClientError, OSError, TimeoutError) as bad:
                raise _broken(url.host or "", bad) from None
            async with answer:
                if answer.status not in _REDIRECTS:
                    _check(answer, limits)
                    yield Source(answer, url.host or "")
                    return
                url = _next(url, answer)
    raise Invalid(f"The URL redirects more than {limits.fetch_redirects_max} times.")


def _parsed(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        raise Invalid("Field `url` is no URL.") from None
    if len(text) > URL_CHARS_MAX or not url.host or not url.is_absolute():
        raise Invalid("Field `url` must be a whole URL: https://host/path.")
    return url


def _next(url: URL, answer: aiohttp.ClientResponse) -> URL:
    where = answer.headers.get("Location", "")
    try:
        return _parsed(str(url.join(URL(where))))
    except ValueError:
        raise Invalid("The URL redirects to nowhere.") from None


def _check(answer: aiohttp.ClientResponse, limits: Limits) -> None:
    status, length = answer.status, answer.content_length
    if status in _RETRIED or status >= 500:
        raise Transient(f"The recording's host answers {status}.", retry_after_s=5.0)
    if status != 200:
        raise Invalid(f"The recording's host answers {status}: is the URL right, has it expired?")
    if length is not None and length > limits.recording_bytes_max:
        raise TooLarge(f"A recording may have {limits.recording_bytes_max // MIB} MiB.")


def _broken(host: str, bad: Exception) -> Transient:
    log().info("fetch.failed", host=host, reason=type(bad).__name__)
    return Transient("The recording's host can't be reached, or broke off.", retry_after_s=5.0)


# -- rules 1 and 2 -------------------------------------------------------------------------------


def allowed_host(host: str, patterns: tuple[str, ...]) -> bool:
    """Whether a host is on the list: by name, or below a "*." entry."""
    plain = host.lower().rstrip(".")
    return any(
        fnmatchcase(plain, p.lower()) if p.startswith("*.") else plain == p.lower()
        for p in patterns
    )


def public(address: str) -> bool:
    """Whether an address is one of the Internet's."""
    found = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif any(found in tunnel for tunnel in _TUNNELS):
            return False
    return found.is_global and not found.is_multicast


# IPv6 addresses that stand for an IPv4 one somewhere else: NAT64, 6to4, Teredo.
_TUNNELS: Final = tuple(
    ipaddress.IPv6Network(n) for n in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


async def _addresses(url: URL, fetch: Fetch) -> list[ResolveResult]:
    host = url.host or ""
    if url.scheme != "https" and not (url.scheme == "http" and fetch.allow_http):
        raise Forbidden("Field `url` must begin with https://.")
    if url.user or url.password:
        raise Forbidden("Field `url` must hold no credentials.")
    if not allowed_host(host, fetch.allowed_hosts):
        raise Forbidden("The URL's host is not on this platform's list (`fetch.allowed_hosts`).")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
    except OSError as bad:
        raise _broken(host, bad) from None
    if not fetch.allow_private and not all(public(str(entry[4][0])) for entry in found):
        raise Forbidden("The URL's host is at a private address.")
    return [
        ResolveResult(
            hostname=host, host=str(entry[4][0]), port=int(entry[4][1]), family=int(entry[0]),
            proto=int(entry[2]), flags=int(socket.AI_NUMERICHOST),
        )
        for entry in found
    ]  # fmt: skip


class _Pinned(AbstractResolver):
    """Gives the addresses that were checked, and asks nobody."""

    def __init__(self, addresses: list[ResolveResult]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return self._addresses

    async def close(self) -> None:
        return None


def _session(addresses: list[ResolveResult], limits: Limits) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=_Pinned(addresses), use_dns_cache=False),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_S_MAX, sock_read=limits.upload_idle_s_max
        ),
        auto_decompress=False,
        trust_env=False,
    )
