"""The system calls of the recording store, one method each, so that tests can stand in for them.

Errors are OSError as the system raises them. File modes keep recordings from other users.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
# One call of copy_file_range: large enough to be cheap, small enough to be interruptible.
COPY_BYTES: Final = 64 * 1024 * 1024

_NO_ATTRIBUTES: Final = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODATA, errno.ENOSPC})
_NO_COPY_RANGE: Final = frozenset(
    {errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF}
)


class FileSystem:
    """The machine's own."""

    def create(self, path: Path) -> int:
        """A descriptor of a new empty file. Raises FileExistsError."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, FILE_MODE)

    def open(self, path: Path) -> int:
        """A descriptor for reading. Raises FileNotFoundError, IsADirectoryError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return descriptor

    def write(self, descriptor: int, block: bytes | bytearray | memoryview) -> None:
        """Appends the whole block."""
        view = memoryview(block)
        while view:
            view = view[os.write(descriptor, view) :]

    def read(self, descriptor: int, offset: int, length: int) -> bytes:
        """Up to so many bytes; empty only at the end."""
        return os.pread(descriptor, length, offset)

    def copy(self, source: int, target: int) -> None:
        """Appends the whole source to the target, inside the kernel where it can."""
        offset = 0
        with suppress(AttributeError):
            while True:
                try:
                    done = os.copy_file_range(source, target, COPY_BYTES, offset)
                except OSError as error:
                    if offset or error.errno not in _NO_COPY_RANGE:
                        raise
                    break
                if not done:
                    # Some special file systems answer 0 for a file that is not empty.
                    break
                offset += done
        while block := self.read(source, offset, 4 * 1024 * 1024):
            self.write(target, block)
            offset += len(block)

    def begin_writing(self, descriptor: int, offset: int) -> None:
        """A hint: what was appended from `offset` on may go to the disk now; durable it is not.

        Linux starts to write dirty pages that it is told are not needed, and keeps them until
        they are written (fadvise64, POSIX_FADV_DONTNEED).
        """
        with suppress(AttributeError, OSError):
            os.posix_fadvise(descriptor, offset, 0, os.POSIX_FADV_DONTNEED)

    def fsync(self, descriptor: int) -> None:
        """Content and attributes of a file are durable after it."""
        os.fsync(descriptor)

    def fsync_folder(self, path: Path) -> None:
        """The names in a folder are durable after it."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self, descriptor: int) -> None:
        """Gives a descriptor back."""
        os.close(descriptor)

    def size(self, descriptor: int) -> int:
        """Bytes of an open file."""
        return os.fstat(descriptor).st_size

    def set_attribute(self, descriptor: int, name: str, value: str) -> bool:
        """Notes a text on a file; False where the file system can't."""
        try:
            os.setxattr(descriptor, f"user.{name}", value.encode())
        except AttributeError:
            return False
        except OSError as error:
            if error.errno in _NO_ATTRIBUTES:
                return False
            raise
        return True

    def attribute(self, descriptor: int, name: str) -> str:
        """The text noted on a file, or ""."""
        try:
            return os.getxattr(descriptor, f"user.{name}").decode()
        except AttributeError:
            return ""
        except OSError as error:
            if error.errno in _NO_ATTRIBUTES:
                return ""
            raise

    def identity(self, descriptor: int) -> str:
        """What tells this content from any other on this disk: inode, time of change, size."""
        found = os.fstat(descriptor)
        return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"

    def link(self, path: Path, new: Path) -> None:
        """A second name for a file. Raises FileExistsError: two writers never overwrite."""
        os.link(path, new, follow_symlinks=False)

    def unlink(self, path: Path) -> None:
        """Removes a name. Raises FileNotFoundError."""
        path.unlink()

    def make_folder(self, path: Path) -> None:
        """Raises FileExistsError, FileNotFoundError (no parent)."""
        path.mkdir(mode=FOLDER_MODE)

    def list(self, path: Path) -> Iterator[tuple[str, bool]]:
        """Names in a folder, and whether each is a folder; none when the folder is absent."""
        try:
            entries = os.scandir(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                yield entry.name, entry.is_dir(follow_symlinks=False)
