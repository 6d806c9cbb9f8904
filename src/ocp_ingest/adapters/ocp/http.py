"""One HTTP request and its answer, or why there is none. Knows nothing of OCP.

What happened                             Unavailable.kind    sent
no address, no connection, no TLS         "connection"        False
connection lost, reset, half an answer    "connection lost"   True
no answer in time                         "time-out"          True
an answer that is no HTTP, or too long    "unreadable …"      True

No cookies, no proxies out of the environment, no redirects, nothing decompressed: offsets are the
server's. aiohttp may send an idempotent request again on a stale connection, never a POST.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, NamedTuple, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDictProxy
from yarl import URL

from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.core.export_job import Refused, Unavailable
from ocp_ingest.core.limits import BLOCK_BYTES, MIB

# An answer in JSON: 100 files of a page are 50 KiB, a listing of a year of exports 2 MiB.
ANSWER_BYTES_MAX: Final = 16 * MIB
CONNECTIONS_MAX: Final = 64
_PLAIN: Final = {"Accept-Encoding": "identity", "User-Agent": "ocp-ingest"}


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class PrivateAddressError(OSError):
    """A name that leads into a private network, where only public addresses are allowed."""


class Http:
    """A connection pool with time limits; opens nothing before it is entered."""

    def __init__(
        self,
        connect_s: float,
        answer_s: float,
        idle_s: float,
        resolver: Callable[[], AbstractResolver] | None = None,
    ) -> None:
        self._answer = aiohttp.ClientTimeout(
            total=answer_s, sock_connect=connect_s, sock_read=answer_s
        )
        self._stream = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=idle_s)
        self._new_resolver = resolver
        self._resolver: AbstractResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._resolver = self._new_resolver() if self._new_resolver is not None else None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, resolver=self._resolver),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_PLAIN,
            auto_decompress=False,
            trust_env=False,
            read_bufsize=BLOCK_BYTES,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
        if self._resolver is not None:
            await self._resolver.close()

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        *,
        json: bytes | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """The whole answer, whatever its status. Raises Failed(Unavailable or Refused)."""
        assert self._session is not None, "used before it was entered"
        if json is not None:
            headers = {**headers, "Content-Type": "application/json"}
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                data=json if json is not None else form,
                allow_redirects=False,
                timeout=self._answer,
            ) as response:
                return Answer(response.status, response.headers, await _whole(response))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as wrong:
            raise Failed(why(wrong)) from wrong

    async def open(self, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The head of a GET's answer; the caller reads and closes it. Raises Failed."""
        assert self._session is not None, "used before it was entered"
        try:
            return await self._session.get(
                url, headers=headers, allow_redirects=False, timeout=self._stream
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as wrong:
            raise Failed(why(wrong)) from wrong


def why(wrong: Exception) -> Unavailable | Refused:
    """What an exception of the HTTP library means; its text, which may hold URLs, is not kept."""
    if isinstance(getattr(wrong, "os_error", wrong), PrivateAddressError):
        return Refused(0, "The host's name leads to a private address.")
    if isinstance(wrong, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return Unavailable(f"connection ({type(wrong).__name__})", sent=False)
    if isinstance(wrong, aiohttp.InvalidURL):
        return Refused(0, "The URL is not valid.")
    if isinstance(wrong, TimeoutError):
        return Unavailable("time-out")
    if isinstance(wrong, (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError)):
        return Unavailable(f"connection lost ({type(wrong).__name__})")
    return Unavailable(f"unreadable answer ({type(wrong).__name__})")


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    taken = bytearray()
    async for block in response.content.iter_chunked(BLOCK_BYTES):
        taken += block
        if len(taken) > ANSWER_BYTES_MAX:
            response.close()
            raise ValueError("the answer is over ANSWER_BYTES_MAX")
    return bytes(taken)
