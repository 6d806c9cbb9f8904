"""From one file of an export to recordings: as it is, or each member of a ZIP.

What it is is told by its first bytes, not by its name, unless that names a recording. A plain
file streams straight through. A ZIP can only be read from its end, so it is first kept whole in a
nameless temporary file, within bounds; its members are then streamed from there. Disk work is
done in threads.

Kind        by
recording   extension wav or mp3; else the list's type "audio"
cdr         extension json, ndjson or jsonl; else a dialog type
other       the rest
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import BinaryIO, Final, NamedTuple

from ocp_ingest.adapters.ocp.download import Download
from ocp_ingest.adapters.ocp.zip_reader import MAGICS, Archive, Member, ZipBounds
from ocp_ingest.core.errors import TooLarge, Transient
from ocp_ingest.core.limits import MIB
from ocp_ingest.core.recording import EXTENSIONS
from ocp_ingest.reconcile.ports import ExportFile, FetchedFile, Kind, Mismatch

CDR_EXTENSIONS: Final = frozenset({"json", "ndjson", "jsonl"})
_MAGIC_BYTES: Final = 4


class FetchBounds(NamedTuple):
    """How much one plain file, one ZIP and its content may be; where a ZIP is kept meanwhile."""

    plain_bytes_max: int
    zip_bytes_max: int
    zip: ZipBounds
    spool_dir: str


async def fetched(
    file: ExportFile, download: Download, bounds: FetchBounds, progress: Callable[[int], None]
) -> AsyncGenerator[FetchedFile, None]:
    """What is in the file; raises what the port's `fetch` says."""
    async with contextlib.aclosing(_heard(download, progress)) as blocks:
        head = b""
        while len(head) < _MAGIC_BYTES and (block := await anext(blocks, b"")):
            head += block
        # A ZIP under a recording's name is a bad recording, not an archive: its verdict is to come.
        if not head.startswith(MAGICS) or extension_of(file.name) in ("wav", "mp3"):
            if extension_of(file.name) == "zip":
                raise Mismatch("The file is named as a ZIP, but it is none.")
            stream = _plain(head, blocks, bounds.plain_bytes_max)
            async with contextlib.aclosing(stream):
                kind = kind_of(file.name, file.type)
                yield FetchedFile(file.name, kind, file.size, file.sha256, stream)
            return
        with contextlib.ExitStack() as open_files:
            spool = open_files.enter_context(await asyncio.to_thread(_spool, bounds.spool_dir))
            await _keep(head, blocks, spool, bounds.zip_bytes_max)
            archive = await asyncio.to_thread(Archive, spool, bounds.zip)
            for member in archive.members:
                async with contextlib.aclosing(_unpacked(archive, member)) as stream:
                    kind = kind_of(member.name, file.type)
                    yield FetchedFile(member.name, kind, member.size, None, stream)


def extension_of(name: str) -> str:
    """The extension in lower case, or ""."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def kind_of(name: str, listed_type: str) -> Kind:
    """What a file is for us."""
    extension = extension_of(name)
    if extension in EXTENSIONS:
        return "recording"
    if extension in CDR_EXTENSIONS:
        return "cdr"
    if listed_type == "audio":
        return "recording"
    return "cdr" if listed_type.startswith(("dialog_", "ivr_")) else "other"


async def _heard(
    download: Download, progress: Callable[[int], None]
) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(download.blocks()) as blocks:
        async for block in blocks:
            progress(download.taken)
            yield block


async def _plain(
    head: bytes, rest: AsyncIterator[bytes], bytes_max: int
) -> AsyncGenerator[bytes, None]:
    taken = len(head)
    if head:
        yield head
    async for block in rest:
        taken += len(block)
        if taken > bytes_max:
            raise TooLarge(f"The file is over {bytes_max // MIB} MiB, the bound for one recording.")
        yield block


def _spool(folder: str) -> BinaryIO:
    try:
        return tempfile.TemporaryFile(prefix="ocp-zip-", dir=folder or None)
    except OSError as wrong:
        raise _no_room(wrong) from wrong


async def _keep(head: bytes, rest: AsyncIterator[bytes], spool: BinaryIO, bytes_max: int) -> None:
    taken = len(head)
    try:
        await asyncio.to_thread(spool.write, head)
        async for block in rest:
            taken += len(block)
            if taken > bytes_max:
                raise TooLarge(
                    f"The ZIP is over {bytes_max // MIB} MiB: raise `ocp.zip_bytes_max` and give "
                    "the spool folder room, or export shorter windows."
                )
            await asyncio.to_thread(spool.write, block)
        await asyncio.to_thread(spool.flush)
    except OSError as wrong:
        raise _no_room(wrong) from wrong


async def _unpacked(archive: Archive, member: Member) -> AsyncGenerator[bytes, None]:
    blocks = archive.read(member)
    while block := await asyncio.to_thread(next, blocks, b""):
        yield block


def _no_room(wrong: OSError) -> Transient:
    return Transient(
        f"A ZIP can't be kept in `ocp.spool_dir`: {wrong.strerror}. Give it room or rights.",
        retry_after_s=60.0,
    )
