"""Objects on a local disk: whole or absent, durable before anybody is told; blocking calls.

Layout    `<root>/<bucket>/<key>`; `<root>/.tmp/` holds what is not finished.

Rules
1. Bytes go to a temporary file. It is synced, with its SHA-256 noted on it, before it gets its
   name; the name is made by link(2), which refuses a name that is taken: two writers never
   overwrite, and no reader ever sees a part.
2. The folder is synced after the link, and so is the parent of every folder not known to be
   durable, whether we made it or found it: who made it may have died before syncing.
3. That an object stands already is said only after the same syncs, for the same reason.
4. The SHA-256 is an extended attribute (`user.ocp.sha256`): it becomes durable with the bytes,
   visible with the name, and can't get apart from them. Where a file system has none (macOS,
   NFS before 4.2) it is a file under `<root>/.sha256/`, named by what identifies the content
   (inode, time of change, size), written before the link.
5. A full or failing disk is Transient: the sender tries again, nothing was acknowledged.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ocp_ingest.adapters.embedded.file_system import FileSystem
from ocp_ingest.core.errors import Conflict, NotFound, Terminal, Transient
from ocp_ingest.core.limits import BLOCK_BYTES
from ocp_ingest.ports import ObjectInfo

SHA256_ATTRIBUTE: Final = "ocp.sha256"
TEMPORARY: Final = ".tmp"
HASHES: Final = ".sha256"

# Reading back: larger blocks than for writing, nobody else's bytes wait in between.
READ_BYTES: Final = 4 * BLOCK_BYTES
# Folders known to be durable; forgetting them costs syncs, no safety.
FOLDERS_KNOWN_MAX: Final = 10_000

# No room: on the disk, in the user's share of it, or under a limit of the process (RLIMIT_FSIZE).
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PASSING: Final = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


@contextlib.contextmanager
def fate() -> Iterator[None]:
    """What an error of the system means to a caller."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFound("There is no such object.") from error
    except NotADirectoryError as error:
        raise Conflict("An object stands where this key needs a folder.") from error
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "unknown")
        if error.errno in _FULL:
            raise Transient("The recordings' disk is full: free space on it.") from error
        if error.errno in _PASSING:
            raise Transient(
                f"The recordings' disk failed ({name}): look at the machine."
            ) from error
        raise Terminal(f"The recordings' folder can't be used ({name}): check it.") from error


class Disk:
    """The objects under one root folder."""

    def __init__(
        self,
        root: Path,
        files: FileSystem,
        new_id: Callable[[], str],
        rest: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`rest` is told what each block read back has cost, in seconds of this thread."""
        self.root = root
        self._rest = rest
        self.files = files
        self._new_id = new_id
        self._durable: set[Path] = set()
        with fate():
            self._make_folders(root, root.parent)
            self._make_folders(root / TEMPORARY, root)

    def sweep(self) -> int:
        """Removes what earlier processes left unfinished; only while no other one writes here."""
        with fate():
            left = [name for name, _ in self.files.list(self.root / TEMPORARY)]
            for name in left:
                self.files.unlink(self.root / TEMPORARY / name)
        return len(left)

    def begin(self) -> tuple[Path, int]:
        """A temporary file and its descriptor."""
        path = self.root / TEMPORARY / self._new_id()
        with fate():
            return path, self.files.create(path)

    def discard(self, path: Path, descriptor: int) -> None:
        """Closes a temporary file and removes it; what can't be removed is swept later."""
        with contextlib.suppress(OSError):
            self.files.close(descriptor)
        with contextlib.suppress(OSError):
            self.files.unlink(path)

    def publish(self, path: Path, descriptor: int, bucket: str, key: str, sha256: str) -> bool:
        """Gives a temporary file its name; durable on return. False: that name is taken."""
        with fate():
            if not self.files.set_attribute(descriptor, SHA256_ATTRIBUTE, sha256):
                self._note_beside(descriptor, sha256)
            self.files.fsync(descriptor)
            target = self.path(bucket, key)
            self._make_folders(target.parent, self.root)
            try:
                self.files.link(path, target)
                created = True
            except FileExistsError:
                created = False
            self.files.fsync_folder(target.parent)
        return created

    def settle(self, bucket: str, key: str) -> None:
        """Makes the name of an object that was found durable (rule 3)."""
        folder = self.path(bucket, key).parent
        with fate():
            self._make_folders(folder, self.root)
            self.files.fsync_folder(folder)

    def path(self, bucket: str, key: str) -> Path:
        """Where an object is; bucket and key were checked."""
        return self.root / bucket / key

    @contextlib.contextmanager
    def opened(self, bucket: str, key: str) -> Iterator[int]:
        """A descriptor for reading. Raises NotFound."""
        descriptor = self.open(bucket, key)
        try:
            with fate():
                yield descriptor
        finally:
            self.files.close(descriptor)

    def open(self, bucket: str, key: str) -> int:
        """A descriptor for reading, to be closed by the caller. Raises NotFound."""
        try:
            with fate():
                return self.files.open(self.path(bucket, key))
        except Conflict as error:
            raise NotFound("There is no such object.") from error

    def blocks(self, descriptor: int) -> Iterator[bytes]:
        """All bytes of an open file; who asks for the next block has used the one before."""
        offset = 0
        began_s = time.thread_time()
        while block := self.files.read(descriptor, offset, READ_BYTES):
            yield block
            offset += len(block)
            self._rest(time.thread_time() - began_s)
            began_s = time.thread_time()

    def hash(self, descriptor: int) -> str:
        """SHA-256 of all bytes of an open file."""
        digest = hashlib.sha256()
        for block in self.blocks(descriptor):
            digest.update(block)
        return digest.hexdigest()

    def info(self, descriptor: int, key: str) -> ObjectInfo:
        """Size and noted hash of an open file."""
        sha256 = self.files.attribute(descriptor, SHA256_ATTRIBUTE) or self._beside(descriptor)
        return ObjectInfo(key, self.files.size(descriptor), sha256)

    # -----------------------------------------------------------------------------------------

    def _make_folders(self, folder: Path, base: Path) -> None:
        steps = [folder, *folder.parents]
        for step in reversed(steps[: steps.index(base)]):
            if step in self._durable:
                continue
            with contextlib.suppress(FileExistsError):
                self.files.make_folder(step)
            self.files.fsync_folder(step.parent)
            if len(self._durable) >= FOLDERS_KNOWN_MAX:
                self._durable.clear()
            self._durable.add(step)

    def _note_beside(self, descriptor: int, sha256: str) -> None:
        """Rule 4, where there are no attributes."""
        self._make_folders(self.root / HASHES, self.root)
        path, note = self.begin()
        try:
            self.files.write(note, sha256.encode())
            self.files.fsync(note)
            with contextlib.suppress(FileExistsError):
                self.files.link(path, self._note_path(descriptor))
            self.files.fsync_folder(self.root / HASHES)
        finally:
            self.discard(path, note)

    def _beside(self, descriptor: int) -> str:
        try:
            note = self.files.open(self._note_path(descriptor))
        except FileNotFoundError:
            return ""
        try:
            return self.files.read(note, 0, READ_BYTES).decode()
        finally:
            self.files.close(note)

    def _note_path(self, descriptor: int) -> Path:
        return self.root / HASHES / self.files.identity(descriptor)
