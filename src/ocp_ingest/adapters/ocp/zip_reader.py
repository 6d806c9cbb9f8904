"""A ZIP on disk, read within bounds; blocking, for a thread. What is inside is data, and untrusted.

Before anything is unpacked, of the whole archive (refused whole):
entries, size of the directory        bounded; read from the end record before the directory is
total unpacked size                   at most `unpacked_bytes_max`, and at most RATIO_MAX times the
                                      archive once it is over RATIO_FROM_BYTES (a muted call is
                                      almost all zeros and packs 1:1000, so small ones may)
entries that share bytes              refused: that is how small archives unpack to petabytes

Of one member (it alone is refused, by the stream that would read it; the others are calls too):
encrypted, methods but stored and deflate, a ZIP inside, over `member_bytes_max`

While reading, the size is held to the one declared and the CRC is checked at the end. Folders are
skipped. ZIP64 and data descriptors are fine: sizes come from the directory. Names are handed on
as they are; nothing is ever written under them.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from ocp_ingest.core.errors import Invalid, TooLarge
from ocp_ingest.core.limits import BLOCK_BYTES, MIB
from ocp_ingest.reconcile.ports import Mismatch

MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")
RATIO_MAX: Final = 100
RATIO_FROM_BYTES: Final = 256 * MIB  # 4 h of silence in 16-bit PCM at 8 kHz are 220 MiB
# Of one entry in the directory: 46 bytes, a name of four identifiers, extra fields.
ENTRY_BYTES_MAX: Final = 2_048
LOCAL_HEADER_BYTES: Final = 30
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x1
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_COMMENT_BYTES_MAX: Final = 0xFFFF
# ValueError: names that are not the UTF-8 they claim to be; RuntimeError: zipfile's own protests.
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    OverflowError,
)


class ZipBounds(NamedTuple):
    """How much an archive may hold."""

    entries_max: int
    unpacked_bytes_max: int
    member_bytes_max: int


class Member(NamedTuple):
    """One file in the archive; `refused` says why it can't be read, "" when it can."""

    name: str
    size: int
    refused: str
    info: zipfile.ZipInfo


class Archive:
    """An open ZIP. Raises Invalid or TooLarge for what it won't read, Mismatch if it is broken."""

    def __init__(self, file: BinaryIO, bounds: ZipBounds) -> None:
        self._bounds = bounds
        size = file.seek(0, 2)
        try:
            _check_directory(file, size, bounds.entries_max)
            self._zip = zipfile.ZipFile(file)
            infos = self._zip.infolist()
            _check_totals(infos, size, bounds)
        except _BROKEN as wrong:
            raise Mismatch("The ZIP is broken: it can't be opened.") from wrong
        # Not `is_dir`: before Python 3.12 it fails on an entry without a name.
        self.members = [self._member(info) for info in infos if not info.filename.endswith("/")]

    def read(self, member: Member) -> Iterator[bytes]:
        """The member's bytes in blocks. Raises Invalid if it is refused, Mismatch if broken."""
        if member.refused:
            raise Invalid(f"A file in the ZIP can't be taken: {member.refused}.")
        taken = 0
        try:
            with self._zip.open(member.info) as packed:
                while block := packed.read(BLOCK_BYTES):
                    if not taken and block.startswith(MAGICS):
                        raise Invalid("A file in the ZIP can't be taken: it is a ZIP itself.")
                    taken += len(block)
                    yield block
        except _BROKEN as wrong:
            raise Mismatch("The ZIP is broken: one of its files can't be read.") from wrong
        if taken != member.size:
            raise Mismatch("The ZIP is broken: one of its files is shorter than declared.")

    def _member(self, info: zipfile.ZipInfo) -> Member:
        refused = ""
        if info.flag_bits & _ENCRYPTED:
            refused = "it is encrypted"
        elif info.compress_type not in _METHODS:
            refused = f"it is packed by method {info.compress_type}, not stored or deflate"
        elif info.file_size > self._bounds.member_bytes_max:
            refused = f"it is over {self._bounds.member_bytes_max // MIB} MiB"
        return Member(info.orig_filename, info.file_size, refused, info)


def _check_directory(file: BinaryIO, size: int, entries_max: int) -> None:
    """Bounds entries and directory by the end record, before zipfile reads it all."""
    tail = min(size, _END.size + _COMMENT_BYTES_MAX)
    file.seek(size - tail)
    end = file.read(tail)
    at = end.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(end):
        raise zipfile.BadZipFile("no end record")
    _, _, _, _, entries, directory, _, _ = _END.unpack_from(end, at)
    if entries == 0xFFFF or directory == 0xFFFFFFFF:
        entries, directory = _end64(file, size - tail + at) or (entries, directory)
    if entries > entries_max or directory > entries_max * ENTRY_BYTES_MAX:
        raise TooLarge(f"The ZIP has {entries} entries; at most {entries_max} are taken.")


def _end64(file: BinaryIO, end_at: int) -> tuple[int, int] | None:
    """Entries and directory size of the ZIP64 end record, if there is one."""
    if end_at < _LOCATOR.size:
        return None
    file.seek(end_at - _LOCATOR.size)
    mark, _, at, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if mark != b"PK\x06\x07":
        return None
    file.seek(min(at, end_at))
    record = file.read(_END64.size)
    if len(record) < _END64.size or not record.startswith(b"PK\x06\x06"):
        raise zipfile.BadZipFile("no ZIP64 end record")
    fields = _END64.unpack(record)
    return fields[7], fields[8]


def _check_totals(infos: list[zipfile.ZipInfo], size: int, bounds: ZipBounds) -> None:
    if len(infos) > bounds.entries_max:
        raise TooLarge(f"The ZIP has {len(infos)} entries; at most {bounds.entries_max} are taken.")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > bounds.unpacked_bytes_max:
        most = bounds.unpacked_bytes_max // MIB
        raise TooLarge(f"The ZIP unpacks to {unpacked // MIB} MiB; at most {most} are taken.")
    if unpacked > max(RATIO_FROM_BYTES, RATIO_MAX * size):
        raise TooLarge(f"The ZIP unpacks to over {RATIO_MAX} times its size: it may be a bomb.")
    free_from = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        if info.header_offset < free_from:
            raise Invalid("The ZIP has entries that share bytes: it may be a bomb.")
        free_from = info.header_offset + LOCAL_HEADER_BYTES + info.compress_size
    if free_from > size:
        raise zipfile.BadZipFile("an entry ends behind the archive")
