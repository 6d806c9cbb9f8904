"""The disk under a platform of the soak: it writes down what it does, and fails when told.

Two layers, one below each of the platform's ways to its disk: `SoakFiles` below the recording
stores, `SoakVFS` below SQLite. Both pass everything on to the machine and keep the journal of
tests/soak/journal.py. While `Weather.mark` is there, a share of all syncs fails, and what such a
sync should have made durable never is, as with a Linux page cache.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw

from ocp_ingest.adapters.embedded.file_system import FileSystem
from tests.soak.journal import Kind, Record, Writer

SYNC_S_MAX: Final = 0.008  # a disk's; without it a kill would hardly ever fall between two syncs
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass
class Weather:
    """What the layers do beside their work; `forgets` names a layer whose syncs do nothing."""

    root: Path
    journal: Writer
    graves: Path
    mark: Path
    share: float
    rng: Random
    forgets: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def relative(self, path: Path | str) -> str:
        """A path as the journal has it."""
        return os.path.relpath(path, self.root)

    def put(self, kind: Kind, of: str, **more: Any) -> None:
        """Writes a record."""
        self.journal.put(Record(kind, of, **more))

    def fails(self, what: str) -> bool:
        """Takes a sync's time; whether this one has to fail."""
        with self.lock:
            wait_s, luck = self.rng.uniform(0, SYNC_S_MAX), self.rng.random()
        time.sleep(wait_s)
        if luck >= self.share or not self.mark.exists():
            return False
        self.put("failed", what)
        return True


class SoakFiles(FileSystem):
    """The machine's own, journalled."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather

    def create(self, path: Path) -> int:
        self._named(path)
        descriptor: int = self._room(super().create, path)
        self._weather.put("remove", _inode(descriptor))  # what an older file of this inode was
        return descriptor

    def write(self, descriptor: int, block: bytes | bytearray | memoryview) -> None:
        self._grows(descriptor, len(block))
        self._room(super().write, descriptor, block)

    def copy(self, source: int, target: int) -> None:
        self._grows(target, self.size(source))
        self._room(super().copy, source, target)

    def set_attribute(self, descriptor: int, name: str, value: str) -> bool:
        self._weather.put("note", _inode(descriptor), text=f"user.{name}")
        return super().set_attribute(descriptor, name, value)

    def fsync(self, descriptor: int) -> None:
        if self._weather.fails("files"):
            self._weather.put("doom", _inode(descriptor))
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().fsync(descriptor)
        if self._weather.forgets != "files":
            self._weather.put("sync", _inode(descriptor))

    def fsync_folder(self, path: Path) -> None:
        if self._weather.fails("folders"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().fsync_folder(path)
        if self._weather.forgets != "folders":
            self._weather.put("settle", self._weather.relative(path))

    def link(self, path: Path, new: Path) -> None:
        if not new.exists():
            self._named(new)
        self._room(super().link, path, new)

    def make_folder(self, path: Path) -> None:
        if not path.exists():
            self._named(path)
        self._room(super().make_folder, path)

    def unlink(self, path: Path) -> None:
        grave = self._weather.graves / str(time.monotonic_ns())
        os.link(path, grave, follow_symlinks=False)
        folder, name = self._weather.relative(path.parent), path.name
        self._weather.put("unname", folder, text=name, grave=grave.name)
        super().unlink(path)

    def _named(self, path: Path) -> None:
        self._weather.put("name", self._weather.relative(path.parent), text=path.name)

    def _grows(self, descriptor: int, length: int) -> None:
        at = self.size(descriptor)
        self._weather.put("append", _inode(descriptor), at=at, length=length)

    def _room(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except OSError as error:
            if error.errno in _FULL:
                self._weather.put("refused", "files", text=errno.errorcode[error.errno])
            raise


def _inode(descriptor: int) -> str:
    return str(os.fstat(descriptor).st_ino)


class SoakVFS(apsw.VFS):
    """The default of this process while it is referenced."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        super().__init__("soak", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if name is None:
            raise apsw.CantOpenError("temporary files are kept in memory")
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _File(self._weather, self._weather.relative(path), name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._weather.put("remove", self._weather.relative(filename))


class _File(apsw.VFSFile):
    def __init__(
        self, weather: Weather, path: str, name: str | apsw.URIFilename, flags: list[int]
    ) -> None:
        self._weather = weather
        self._path = path
        super().__init__("unix", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        size, new = self.xFileSize(), bytes(data)
        old = self.xRead(min(len(new), size - offset), offset) if offset < size else b""
        self._weather.put("write", self._path, at=offset, size=size, old=old, new=new)
        try:
            super().xWrite(data, offset)
        except (apsw.FullError, apsw.IOError) as error:
            self._weather.put("refused", "database", text=type(error).__name__)
            raise

    def xTruncate(self, newsize: int) -> None:
        size = self.xFileSize()
        old = self.xRead(size - newsize, newsize) if newsize < size else b""
        self._weather.put("write", self._path, at=newsize, size=size, old=old)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        if self._weather.fails("database"):
            self._weather.put("doom", self._path)
            raise apsw.IOError("the disk can't sync")
        super().xSync(flags)
        if self._weather.forgets != "database":
            self._weather.put("sync", self._path)
