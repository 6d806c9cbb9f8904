"""A disk that forgets: at a power cut, whatever was not synced may be lost, torn or kept.

Model (what POSIX allows, at its worst)
- A file's bytes since its last fsync: each write is kept, dropped (zeros where it should be) or
  torn; attributes likewise.
- A folder's names since its last fsync_folder: each name is as it was, or as it is now.
- A process that dies without a power cut (`kill`) loses its descriptors and nothing else.

`cut_at` makes the power fail at the n-th system call; that call does not happen, nor any later.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from ocp_ingest.adapters.embedded.file_system import FileSystem


class PowerCut(BaseException):
    """The machine is off."""


@dataclass(eq=False)
class File:
    """An inode of a file: what is there, and what of it is on the platters."""

    data: bytearray = field(default_factory=bytearray)
    attributes: dict[str, str] = field(default_factory=dict)
    durable: bytes = b""
    durable_attributes: dict[str, str] = field(default_factory=dict)
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)

    def after_cut(self, chance: Random) -> File:
        found = bytearray(self.durable)
        for offset, block in self.unsynced:
            keep = chance.choice((0, len(block), chance.randint(0, len(block))))
            if keep:
                found.extend(bytes(max(0, offset + keep - len(found))))
                found[offset : offset + keep] = block[:keep]
        attributes = chance.choice((self.attributes, self.durable_attributes))
        return File(bytearray(found), dict(attributes), bytes(found), dict(attributes))


@dataclass(eq=False)
class Folder:
    """An inode of a folder: names now, and names on the platters."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)

    def after_cut(self, chance: Random, made: dict[int, File | Folder]) -> Folder:
        new = Folder()
        for name in sorted({*self.names, *self.durable}):
            inode = chance.choice((self.names, self.durable)).get(name)
            if inode is None:
                continue
            if id(inode) not in made:
                made[id(inode)] = (
                    inode.after_cut(chance, made)
                    if isinstance(inode, Folder)
                    else inode.after_cut(chance)
                )
            new.names[name] = made[id(inode)]
        new.durable = dict(new.names)
        return new


class ForgetfulDisk(FileSystem):
    """In memory, with the calls of FileSystem. The root folder is durable from the start."""

    def __init__(self, cut_at: int | None = None) -> None:
        self.root = Folder()
        self.calls = 0
        self.cut_at = cut_at
        self.folder_syncs = True
        self._open: dict[int, tuple[File, list[int]]] = {}
        self._next = 3
        self._lock = threading.RLock()

    # -- what a test does ---------------------------------------------------------------------

    def kill(self) -> None:
        """The process died; the machine did not."""
        self._open.clear()

    def cut(self, chance: Random) -> None:
        """The power failed and is back: this is what is left."""
        self.root = self.root.after_cut(chance, {})
        self._open.clear()
        self.cut_at = None

    # -- the system calls ---------------------------------------------------------------------

    def create(self, path: Path) -> int:
        with self._call():
            folder = self._folder(path.parent)
            if path.name in folder.names:
                raise FileExistsError(errno.EEXIST, "exists", str(path))
            folder.names[path.name] = file = File()
            return self._descriptor(file)

    def open(self, path: Path) -> int:
        with self._call():
            inode = self._folder(path.parent).names.get(path.name)
            if inode is None:
                raise FileNotFoundError(errno.ENOENT, "none", str(path))
            if isinstance(inode, Folder):
                raise IsADirectoryError(errno.EISDIR, "folder", str(path))
            return self._descriptor(inode)

    def write(self, descriptor: int, block: bytes | bytearray | memoryview) -> None:
        with self._call():
            file, position = self._open[descriptor]
            data = bytes(block)
            file.data[position[0] : position[0] + len(data)] = data
            file.unsynced.append((position[0], data))
            position[0] += len(data)

    def read(self, descriptor: int, offset: int, length: int) -> bytes:
        with self._call():
            return bytes(self._open[descriptor][0].data[offset : offset + length])

    def copy(self, source: int, target: int) -> None:
        self.write(target, self.read(source, 0, 1 << 40))

    def begin_writing(self, descriptor: int, offset: int) -> None:
        """A hint, not taken: nothing is durable by it."""

    def fsync(self, descriptor: int) -> None:
        with self._call():
            file = self._open[descriptor][0]
            file.durable, file.durable_attributes = bytes(file.data), dict(file.attributes)
            file.unsynced.clear()

    def fsync_folder(self, path: Path) -> None:
        with self._call():
            folder = self._folder(path)
            if self.folder_syncs:
                folder.durable = dict(folder.names)

    def close(self, descriptor: int) -> None:
        with self._call():
            del self._open[descriptor]

    def size(self, descriptor: int) -> int:
        with self._call():
            return len(self._open[descriptor][0].data)

    def set_attribute(self, descriptor: int, name: str, value: str) -> bool:
        with self._call():
            self._open[descriptor][0].attributes[name] = value
            return True

    def attribute(self, descriptor: int, name: str) -> str:
        with self._call():
            return self._open[descriptor][0].attributes.get(name, "")

    def identity(self, descriptor: int) -> str:
        with self._call():
            return f"{id(self._open[descriptor][0]):x}"

    def link(self, path: Path, new: Path) -> None:
        with self._call():
            inode = self._folder(path.parent).names[path.name]
            folder = self._folder(new.parent)
            if new.name in folder.names:
                raise FileExistsError(errno.EEXIST, "exists", str(new))
            folder.names[new.name] = inode

    def unlink(self, path: Path) -> None:
        with self._call():
            if self._folder(path.parent).names.pop(path.name, None) is None:
                raise FileNotFoundError(errno.ENOENT, "none", str(path))

    def make_folder(self, path: Path) -> None:
        with self._call():
            parent = self._folder(path.parent)
            if path.name in parent.names:
                raise FileExistsError(errno.EEXIST, "exists", str(path))
            parent.names[path.name] = Folder()

    def list(self, path: Path) -> Iterator[tuple[str, bool]]:
        with self._call():
            try:
                names = list(self._folder(path).names.items())
            except (FileNotFoundError, NotADirectoryError):
                return iter(())
            return iter([(name, isinstance(inode, Folder)) for name, inode in names])

    # -----------------------------------------------------------------------------------------

    def _call(self) -> threading.RLock:
        with self._lock:
            if self.cut_at is not None and self.calls >= self.cut_at:
                raise PowerCut
            self.calls += 1
        return self._lock

    def _folder(self, path: Path) -> Folder:
        folder = self.root
        for part in path.parts[1:]:
            inode = folder.names.get(part)
            if inode is None:
                raise FileNotFoundError(errno.ENOENT, "none", str(path))
            if isinstance(inode, File):
                raise NotADirectoryError(errno.ENOTDIR, "file", str(path))
            folder = inode
        return folder

    def _descriptor(self, file: File) -> int:
        self._next += 1
        self._open[self._next] = (file, [0])
        return self._next


class NoFileSync(ForgetfulDisk):
    """A broken layer: content is never synced."""

    def fsync(self, descriptor: int) -> None:
        pass


class NoFolderSync(ForgetfulDisk):
    """A broken layer: names are never synced."""

    def fsync_folder(self, path: Path) -> None:
        pass


class NoAttributes(ForgetfulDisk):
    """A file system without extended attributes, such as NFS before 4.2."""

    def set_attribute(self, descriptor: int, name: str, value: str) -> bool:
        return False
