"""What stage 2 may ask of OCP's Export API, in the words of `core.export_job`.

What OCP answers, even with an error, is an observation and comes back as a value:

OCP's side                                 observation
409 to a creation                          Busy
404, 410 on an export or its files         Gone
429                                        RateLimited, with Retry-After in seconds where told
any other 4xx, 3xx, 501                    Refused, with OCP's words
5xx, time-out, connection lost, garbage    Unavailable; `sent` False: it surely never left

Only `fetch` and the streams that it yields raise, since half a file is no value; see there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Literal, Protocol

import msgspec

from ocp_ingest.core.errors import NotFound, Transient
from ocp_ingest.core.export_job import (
    Busy,
    Cancelled,
    Created,
    Gone,
    Listed,
    RateLimited,
    Refused,
    Status,
    Unavailable,
)

Failure = Refused | RateLimited | Unavailable
Kind = Literal["recording", "cdr", "other"]


class ExportFile(msgspec.Struct, frozen=True):
    """One file of an export's list, as OCP tells it; size in bytes, sha256 in lower-case hex."""

    name: str
    type: str = ""
    size: int | None = None
    sha256: str | None = None


class FileList(msgspec.Struct, frozen=True):
    """The whole file list of an export; the driver keeps it and makes `Files` of it."""

    files: tuple[ExportFile, ...]


class FetchedFile(msgspec.Struct, frozen=True, eq=False):
    """One recording or one NDJSON file of CDRs, ready to be read once.

    `name` is OCP's, unchecked: data, never a path. `size` in bytes, where known; `sha256` only
    where OCP told it of this very content, so never for a member of a ZIP. `blocks` must be read
    before the next FetchedFile is asked for.
    """

    name: str
    kind: Kind
    size: int | None
    sha256: str | None
    blocks: AsyncIterator[bytes]


class Mismatch(Transient):
    """The bytes are not those that OCP announced, or changed under the download: start anew."""

    code = "mismatch"


class Expired(NotFound):
    """410: OCP has deleted the export's data; a new export is needed."""

    code = "expired"


def no_progress(_taken: int) -> None:
    """For callers that need no heartbeat."""


class ExportApi(Protocol):
    """The Export API of one OCP account; ocp-facts 10.3."""

    async def create(
        self, group: str, from_ms: int, to_ms: int, types: Sequence[str]
    ) -> Created | Busy | Failure:
        """Asks for an export, once: a lost answer is Unavailable(sent=True), never tried again."""

    async def listing(self, group: str) -> Listed | Failure:
        """The group's exports, newest or not; entries that can't be read are left out."""

    async def status(self, group: str, export_id: str, n: int) -> Status | Gone | Failure:
        """One export, as poll `n`, which every answer carries."""

    async def files(self, group: str, export_id: str) -> FileList | Gone | Failure:
        """The whole file list, all pages, read until it holds still."""

    async def cancel(self, group: str, export_id: str) -> Cancelled | Gone | Failure:
        """Stops an export."""

    def fetch(
        self,
        group: str,
        export_id: str,
        file: ExportFile,
        progress: Callable[[int], None] = no_progress,
    ) -> AsyncGenerator[FetchedFile, None]:
        """The file, or each member of it when it is a ZIP, as streams; use with `aclosing`.

        Cut connections are resumed inside. `progress` hears the bytes taken so far, also while a
        ZIP is still coming in. The generator, and each stream, may raise:

        Transient   OCP is unreachable or limits us: later; nothing of this file counts
        Mismatch    … because the bytes are not those announced
        Expired     410
        NotFound    404: this file is not in the export
        Denied      401, 403
        Invalid     a ZIP, or the member whose stream raises it, can't be accepted; TooLarge too
        Terminal    a person must look: the text says at what (settings, a forbidden host)
        """
