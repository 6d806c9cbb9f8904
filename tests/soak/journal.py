"""What a process did to its disk, one record per call, in a file that outlives the process.

The process writes a record before each change and after each sync (tests/soak/disk.py); whoever
ends it reads them and knows what a power cut may take (tests/soak/power.py). The records go on over
the lives of a process: what one life left unsynced, the next one may not count on.

record   of                       says
write    a file                   `new` is being written at `at`, over `old`; `size` before it
append   a file, by its inode     `length` bytes are being added at `at`
note     a file, by its inode     an attribute is being set
sync     a file                   everything before is on the platters
doom     a file                   its sync failed: what was before it never gets there
name     a folder, `text`         a name is being made
unname   a folder, `text`         a name is being removed; `grave` keeps the file
settle   a folder                 its names are on the platters
remove   a file                   it is gone, or its inode is another's now
failed   nothing                  a sync was made to fail: of "files", "folders", "database"
refused  nothing                  the disk had no room: of "files", "database"
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

Kind = Literal[
    "write", "append", "note", "sync", "doom", "name", "unname", "settle", "remove", "failed",
    "refused",
]  # fmt: skip
_HEAD: Final = struct.Struct(">I")


class Record(msgspec.Struct, frozen=True, array_like=True):
    """See the table; `of` is a path below the root, or an inode as text."""

    kind: Kind
    of: str
    text: str = ""
    at: int = 0
    length: int = 0
    size: int = 0
    old: bytes = b""
    new: bytes | None = None
    grave: str = ""


_DECODE: Final = msgspec.msgpack.Decoder(Record)


class Writer:
    """Appends records; whole ones, whichever thread they come from."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._lock = threading.Lock()

    def put(self, record: Record) -> None:
        """Survives SIGKILL once it returns."""
        body = msgspec.msgpack.encode(record)
        left = memoryview(_HEAD.pack(len(body)) + body)
        with self._lock:
            while left:
                left = left[os.write(self._descriptor, left) :]


class Reader:
    """Gives every record once; what the process died in the middle of never happened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def more(self) -> Iterator[Record]:
        """The records since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                (length,) = _HEAD.unpack(head)
                body = file.read(length)
                if len(body) < length:
                    return
                self._at = file.tell()
                yield _DECODE.decode(body)

    def trim(self) -> None:
        """Cuts off what the process died in the middle of; it must be dead, and all be read."""
        if self._path.exists():
            os.truncate(self._path, self._at)

    def clear(self) -> None:
        """Forgets all of it; the process must be dead."""
        self._path.unlink(missing_ok=True)
        self._at = 0
