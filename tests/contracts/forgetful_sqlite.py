"""A VFS for SQLite whose files forget, at a power cut, what was not synced.

Files are real and shared memory works as ever; beside each file its synced content is kept, and
the writes since. `cut_at` makes the power fail at the n-th write or sync: from then on every
write fails. `restore` then builds the files as a disk may show them after the cut: the synced
content and, of each later write, all, nothing, or its first part. While `syncs_fail` is set, a sync
fails and what it should have kept never gets to the platters, whatever is synced later: that is
what Linux does with pages that could not be written.

Not modelled: the names of files (SQLite syncs the folder of its journals itself, and Database
syncs the folder of its file before it takes the first write).
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from random import Random
from typing import Any

import apsw

SHM_SUFFIX = "-shm"  # never synced by design: SQLite builds it anew


class _Content:
    """One file: what is on the platters, and the writes since."""

    def __init__(self) -> None:
        self.synced = bytearray()
        self.writes: list[tuple[int, bytes | None]] = []  # None: truncated to the offset

    def sync(self) -> None:
        for offset, data in self.writes:
            _apply(self.synced, offset, data)
        self.writes.clear()

    def after_cut(self, chance: Random) -> bytes:
        found = bytearray(self.synced)
        for offset, data in self.writes:
            fate = chance.randrange(3)
            if fate == 0:
                continue
            if data is None or fate == 2:
                _apply(found, offset, data)
            else:
                _apply(found, offset, data[: chance.randrange(len(data) + 1)])
        return bytes(found)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


class ForgetfulVFS(apsw.VFS):
    """Registered under `name` while it is referenced."""

    def __init__(self, name: str, cut_at: int | None = None) -> None:
        self.name = name
        self.lock = threading.RLock()
        self.contents: dict[str, _Content] = {}
        self.operations = 0
        self.cut_at = cut_at
        self.syncs_fail = False
        super().__init__(name, "unix")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        assert name is not None, "the databases under test make no temporary files"
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        with self.lock:
            content = self.contents.setdefault(path, _Content())
        return _File(self, content, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        with self.lock:
            self.operate()
            super().xDelete(filename, syncdir)
            self.contents.pop(filename, None)

    def operate(self) -> None:
        """Counts a write or sync; fails when the power is off."""
        if self.cut_at is not None and self.operations >= self.cut_at:
            raise apsw.IOError("the power is off")
        self.operations += 1

    def move(self, old: Path, new: Path) -> None:
        """Files found in `old` by a process that has died are found in `new` by the next one."""
        new.mkdir()
        for path in list(self.contents):
            if Path(path).parent == old and not path.endswith(SHM_SUFFIX):
                shutil.copy(path, new)
                self.contents[str(new / Path(path).name)] = self.contents.pop(path)

    def restore(self, folder: Path, chance: Random) -> None:
        """The files as they may be found after the cut."""
        for path, content in self.contents.items():
            (folder / Path(path).name).write_bytes(content.after_cut(chance))


class _File(apsw.VFSFile):
    def __init__(
        self, vfs: ForgetfulVFS, content: _Content, name: str | apsw.URIFilename, flags: list[int]
    ) -> None:
        self._vfs = vfs
        self._content = content
        super().__init__("unix", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        with self._vfs.lock:
            self._vfs.operate()
            self._content.writes.append((offset, bytes(data)))
            super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        with self._vfs.lock:
            self._vfs.operate()
            self._content.writes.append((newsize, None))
            super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        with self._vfs.lock:
            self._vfs.operate()
            if self._vfs.syncs_fail:
                self._content.writes.clear()
                raise apsw.IOError("the disk can't sync")
            super().xSync(flags)
            self._content.sync()
