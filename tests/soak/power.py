"""Power cuts: the disk as it may be found after one, made from a disk and the journal of its calls.

Model (what POSIX allows, at its worst; as tests/contracts/forgetful_disk.py, on real files)
- Of a file's writes since its last sync, each is kept, dropped (zeros or older bytes where it
  should be) or torn. What was before a sync that failed is dropped.
- Attributes likewise.
- Of a folder's names since its last sync each is as it was, or as it is.
- SQLite's shared memory is gone. The names of SQLite's own files are taken as durable: it syncs
  their folder itself.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.soak.journal import Reader, Record

SHM_SUFFIX: Final = "-shm"
DATABASE_MARK: Final = ".sqlite3"  # in the name of SQLite's files: they are written in place


@dataclass
class _Write:
    """One change of a file's bytes; `new` None: bytes that are only added, or a shorter file."""

    record: Record
    fate: str = "open"  # then "synced" or "doomed"


@dataclass
class _File:
    writes: list[_Write] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def sync(self) -> None:
        self.notes.clear()
        for write in self.writes:
            if write.fate == "open":
                write.fate = "synced"
        if not any(write.fate == "doomed" for write in self.writes):
            self.writes.clear()

    def doom(self) -> None:
        for write in self.writes:
            if write.fate == "open":
                write.fate = "doomed"


class Power:
    """What the journal says could be lost, and how often each kind of weather was felt."""

    def __init__(self, journal: Path, graves: Path) -> None:
        self._reader = Reader(journal)
        self._graves = graves
        self._files: dict[str, _File] = {}
        # Folder -> name -> its grave, or "" for a name that was not there at the last sync.
        self._names: dict[str, dict[str, str]] = {}
        self.felt: Counter[str] = Counter()

    def look(self) -> Counter[str]:
        """Reads on; what was felt so far."""
        for record in self._reader.more():
            self._take(record)
        return self.felt

    def died(self) -> None:
        """The process is dead: the next one's records follow its last whole one."""
        self.look()
        self._reader.trim()

    def forget(self) -> None:
        """After a cut everything that is there is durable."""
        self._reader.clear()
        self._files.clear()
        self._names.clear()
        for grave in self._graves.iterdir():
            grave.unlink()

    def _take(self, record: Record) -> None:
        match record.kind:
            case "write" | "append":
                self._of(record.of).writes.append(_Write(record))
            case "note":
                self._of(record.of).notes.append(record.text)
            case "sync":
                self._of(record.of).sync()
            case "doom":
                self._of(record.of).doom()
            case "remove":
                self._files.pop(record.of, None)
            case "name":
                self._names.setdefault(record.of, {}).setdefault(record.text, "")
            case "unname":
                self._unname(self._names.setdefault(record.of, {}), record)
            case "settle":
                self._names.pop(record.of, None)
            case _:
                self.felt[f"{record.kind} {record.of}"] += 1

    def _of(self, name: str) -> _File:
        return self._files.setdefault(name, _File())

    @staticmethod
    def _unname(names: dict[str, str], record: Record) -> None:
        if names.get(record.text) == "":
            del names[record.text]  # made and removed since: no disk shows it
        else:
            names.setdefault(record.text, record.grave)

    # -- the disk after it ------------------------------------------------------------------------

    def image(self, source: Path, target: Path, chance: Random) -> Counter[str]:
        """Makes `target` what may be left of `source`; how much of it was lost."""
        self.look()
        return _Image(source, target, self._graves, self._files, self._names, chance).make()


@dataclass
class _Image:
    source: Path
    target: Path
    graves: Path
    files: dict[str, _File]
    names: dict[str, dict[str, str]]
    chance: Random
    lost: Counter[str] = field(default_factory=Counter)
    made: dict[int, Path] = field(default_factory=dict)

    def make(self) -> Counter[str]:
        self._folder(self.source, self.target)
        return self.lost

    def _folder(self, source: Path, target: Path) -> None:
        target.mkdir(mode=0o700)
        changed = self.names.get(os.path.relpath(source, self.source), {})
        for entry in sorted(source.iterdir()):
            if changed.get(entry.name) == "" and self.chance.random() < 0.5:
                self.lost["names"] += 1
            elif entry.is_dir():
                self._folder(entry, target / entry.name)
            elif not entry.name.endswith(SHM_SUFFIX):
                self._file(entry, target / entry.name)
        for name, grave in changed.items():
            if grave and not (target / name).exists() and self.chance.random() < 0.5:
                self.lost["removals"] += 1
                self._file(self.graves / grave, target / name)

    def _file(self, source: Path, target: Path) -> None:
        inode = source.stat().st_ino
        if inode in self.made:
            os.link(self.made[inode], target)
            return
        own = DATABASE_MARK in source.name
        known = self.files.get(os.path.relpath(source, self.source) if own else str(inode))
        if own or known is not None:
            body = source.read_bytes()
            target.touch(mode=0o600)
            target.write_bytes(self._left(body, known or _File()))
            self._attributes(source, target, known or _File())
        else:
            os.link(source, target)
        self.made[inode] = target

    def _left(self, body: bytes, known: _File) -> bytes:
        found = bytearray(body)
        for write in reversed(known.writes):
            _undo(found, write.record)
        for write in known.writes:
            if write.fate == "synced":
                _redo(found, write.record, body, None)
            elif write.fate == "doomed":
                self.lost["doomed writes"] += 1
            else:
                self._perhaps(found, write.record, body)
        return bytes(found)

    def _perhaps(self, found: bytearray, record: Record, body: bytes) -> None:
        where = "database" if record.kind == "write" else "files"
        if record.kind == "write" and record.new is None:  # a file made shorter can't be torn
            length, keep = 1, self.chance.choice((0, 1))
        else:
            length = record.length or len(record.new or b"")
            keep = self.chance.choice((0, length, self.chance.randint(0, length)))
        if keep == length:
            _redo(found, record, body, None)
            return
        self.lost[f"{'torn' if keep else 'dropped'} writes of {where}"] += 1
        if keep:
            _redo(found, record, body, keep)

    def _attributes(self, source: Path, target: Path, known: _File) -> None:
        for name in os.listxattr(source):
            if name in known.notes and self.chance.random() < 0.5:
                self.lost["attributes"] += 1
            else:
                os.setxattr(target, name, os.getxattr(source, name))


def _undo(found: bytearray, record: Record) -> None:
    if record.kind == "append":
        del found[record.at :]
        return
    _put(found, record.at, record.old)
    del found[record.size :]


def _redo(found: bytearray, record: Record, body: bytes, keep: int | None) -> None:
    """Does a change again, or only the first bytes of it."""
    if record.kind == "append":
        end = len(body) if keep is None else record.at + keep
        _put(found, record.at, body[record.at : min(end, record.at + record.length)])
    elif record.new is None:
        del found[record.at :]
    else:
        _put(found, record.at, record.new[:keep])


def _put(found: bytearray, at: int, block: bytes) -> None:
    if not block:
        return
    found.extend(bytes(max(0, at + len(block) - len(found))))
    found[at : at + len(block)] = block
