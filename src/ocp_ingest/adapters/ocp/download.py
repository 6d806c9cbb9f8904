"""One file as one consistent stream of bytes, whatever happens to the connections that bring it.

Every byte goes to the reader once, in order. After a cut the next request continues at the offset
already delivered, by Range and If-Range with a strong ETag. What the answer may be then:

206 from our offset, same ETag and length    goes on
206 otherwise                                not believed: the next request has no Range
200 (changed, or Range not honoured)         read from zero; what was delivered is skipped and
                                             compared by SHA-256, then it goes on; other bytes
                                             raise Mismatch: the reader must start anew
416 and the length is what we have           that was all
416 otherwise                                as 206 otherwise

The end is the announced length: by the file list (unless `verify_size` is off), else by
Content-Length, Content-Range, or the end of a chunked body. A body that ends without any of these
is read again until it ends twice at the same place. Less is a cut, more is a Mismatch. At the end
the SHA-256 of the list, where there is one, must fit (unless `verify_sha256` is off).

Bounds: `resumes_max` in all, STALLS_MAX in a row without a new byte, `s_max` seconds, `bytes_max`.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import closing
from typing import Final, NamedTuple, Protocol

import aiohttp

from ocp_ingest.adapters.ocp.api import jittered_s
from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.adapters.ocp.http import why
from ocp_ingest.core.errors import Denied, NotFound, OcpIngestError, Terminal, TooLarge, Transient
from ocp_ingest.core.export_job import RateLimited, Unavailable
from ocp_ingest.core.limits import BLOCK_BYTES, MIB
from ocp_ingest.reconcile.ports import Expired, ExportFile, Mismatch
from ocp_ingest.telemetry import log

# Tries in a row that brought nothing new: the next round of downloads may do better.
STALLS_MAX: Final = 4
# OCP may ask us to wait so long inside a download; longer waits belong to the job.
WAIT_S_MAX: Final = 30.0
_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)")

# 409: the export is not completed yet, or no longer.
_ERRORS: Final[dict[int, type[OcpIngestError]]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Transient,
    410: Expired,
}


class Reader(Protocol):
    """A body that is coming in."""

    async def read(self, n: int = -1) -> bytes:
        """Up to n bytes; b"" at the end of a complete body."""


class Response(Protocol):
    """What a download reads; aiohttp's responses are such."""

    @property
    def status(self) -> int:
        """200, 206 or 416."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Compared without case."""

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, where told."""

    @property
    def content(self) -> Reader:
        """The body."""

    def close(self) -> None:
        """Lets go of the connection."""


Open = Callable[[int, str | None], Awaitable[Response]]


class Bounds(NamedTuple):
    """How much of what a download may take."""

    bytes_max: int
    resumes_max: int
    s_max: float
    verify_size: bool = True
    verify_sha256: bool = True


class Tools(NamedTuple):
    """Time and chance."""

    steady_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    chance: Callable[[], float]


class _Cut(Exception):
    """This connection brought all that it will; another may bring more."""


class Download:
    """The bytes of `file`; `open_at` opens them at an offset. To be read once."""

    def __init__(self, file: ExportFile, open_at: Open, bounds: Bounds, tools: Tools) -> None:
        self._open_at = open_at
        self._bounds = bounds
        self._tools = tools
        self._listed = file.size if bounds.verify_size else None
        self._sha256 = file.sha256 if bounds.verify_sha256 else None
        self._told: int | None = None  # the length that the last whole answer told
        self._digest = hashlib.sha256()
        self._skip = 0  # bytes of this answer that were delivered before
        self._skipped = hashlib.sha256()
        self._etag: str | None = None
        self._ended_at: int | None = None  # where a body ended that did not say its length
        self._stalls = 0
        self.taken = 0

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """The file in blocks of at most BLOCK_BYTES; raises what the port says of a stream."""
        if self._listed is not None and self._listed > self._bounds.bytes_max:
            raise self._too_large()
        until_s = self._tools.steady_s() + self._bounds.s_max
        for resumed in itertools.count():
            before = self.taken
            failed: Failed | None = None
            try:
                with closing(await self._open_at(self.taken, self._etag)) as response:
                    if self._begin(response):
                        while block := await self._receive(response, until_s):
                            if new := self._sift(block):
                                yield new
                        self._judge_end(response)
                self._check_hash()
                return
            except _Cut:
                pass
            except Failed as caught:
                failed = caught
            self._stalls = 0 if self.taken > before else self._stalls + 1
            await self._rest(resumed, failed, until_s)
            reason = "Cut" if failed is None else type(failed.seen).__name__
            log().info("ocp.download.resumed", at_bytes=self.taken, reason=reason)

    async def _rest(self, resumed: int, failed: Failed | None, until_s: float) -> None:
        """Waits before the next try. Raises when there must be none."""
        if failed is not None and not isinstance(failed.seen, Unavailable | RateLimited):
            raise error_of(failed)
        told = getattr(failed.seen, "retry_after_s", None) if failed is not None else None
        wait_s = told if told is not None else jittered_s(self._stalls, self._tools.chance)
        spent = resumed >= self._bounds.resumes_max or self._stalls > STALLS_MAX
        if spent or wait_s > WAIT_S_MAX or self._tools.steady_s() + wait_s >= until_s:
            raise self._unfinished() if failed is None else error_of(failed)
        await self._tools.sleep(wait_s)

    def _begin(self, response: Response) -> bool:
        """Whether there is a body to read. Raises _Cut if this answer can't be used."""
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Terminal(
                "OCP compresses downloads although we ask it not to, so that they can't be "
                "resumed: ask Omilia to serve files as they are."
            )
        if response.status == 200:
            self._etag = _strong(response.headers.get("ETag"))
            self._told = response.content_length
            self._skip, self._skipped = self.taken, hashlib.sha256()
            return True
        first, size = _content_range(response)
        if response.status == 416 and size == self.taken:
            self._told = size
            if self._listed is not None and self.taken < self._listed:
                raise Mismatch(f"The file has {self.taken} bytes, announced were {self._listed}.")
            return False
        etag = _strong(response.headers.get("ETag"))
        same = etag in (None, self._etag) and (size is None or self._fits(size))
        if response.status == 416 or first != self.taken or not same:
            self._etag = None
            raise _Cut
        self._skip = 0
        self._told = size if size is not None else self._told
        return True

    def _fits(self, size: int) -> bool:
        # An answer that told less than the list, and a range of more, may both be of this file.
        return self._listed is not None or self._told in (None, size)

    async def _receive(self, response: Response, until_s: float) -> bytes:
        """The next bytes; b"" at the end."""
        if self._tools.steady_s() >= until_s:
            raise self._unfinished()
        try:
            return await response.content.read(BLOCK_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as wrong:
            raise Failed(why(wrong)) from wrong

    def _sift(self, block: bytes) -> bytes:
        """What of a block is new. Raises Mismatch, TooLarge."""
        if self._skip:
            known, block = block[: self._skip], block[self._skip :]
            self._skipped.update(known)
            self._skip -= len(known)
            if not self._skip and self._skipped.digest() != self._digest.digest():
                raise Mismatch("The file changed while it was downloaded.")
        self.taken += len(block)
        self._digest.update(block)
        if self._listed is not None and self.taken > self._listed:
            raise Mismatch(f"The file has more bytes than the announced {self._listed}.")
        if self.taken > self._bounds.bytes_max:
            raise self._too_large()
        return block

    def _judge_end(self, response: Response) -> None:
        """Raises _Cut when the file is not, or may not be, complete."""
        if self._skip:
            raise _Cut
        size = self._listed if self._listed is not None else self._told
        if size is not None:
            if self.taken < size:
                raise _Cut
            return
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        if not chunked and self._ended_at != self.taken:
            self._ended_at = self.taken
            raise _Cut

    def _check_hash(self) -> None:
        if self._sha256 is not None and self._digest.hexdigest() != self._sha256:
            raise Mismatch("The file's SHA-256 is not the one in OCP's list.")

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The file is over {self._bounds.bytes_max // MIB} MiB, the bound for it.")

    def _unfinished(self) -> Transient:
        return Transient(f"The download did not get beyond {self.taken} bytes in its bounds.")


def error_of(failed: Failed) -> OcpIngestError:
    """The error, as the port's streams raise it, for what OCP answered."""
    seen = failed.seen
    if isinstance(seen, RateLimited):
        wait_s = 1.0 if seen.retry_after_s is None else seen.retry_after_s
        return Transient("OCP limits our requests.", retry_after_s=wait_s)
    if isinstance(seen, Unavailable):
        return Transient(f"OCP is not available: {seen.kind}.")
    if seen.status < 400:  # our own judgement of a redirect or a name
        return Terminal(seen.message)
    kind = _ERRORS.get(seen.status, Terminal)
    return kind(f"OCP refuses the download with {seen.status}: {seen.message}")


def _strong(etag: str | None) -> str | None:
    """An ETag that promises the same bytes; weak ones don't (RFC 9110, 8.8.3)."""
    return etag if etag is not None and etag.startswith('"') else None


def _content_range(response: Response) -> tuple[int | None, int | None]:
    """First byte and whole length, each None where it is not told."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if found is None:
        return None, None
    first, size = found.groups()
    return (int(first) if first else None), (int(size) if size != "*" else None)
