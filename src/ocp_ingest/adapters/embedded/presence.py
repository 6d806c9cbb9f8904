"""Who else has a data directory open, and what the dead left behind in it.

Every process that opens the embedded runtime holds a shared lock on one file of the directory
until it ends; the kernel takes it away from a process that was killed. Who can lock that file
exclusively is alone: nothing that is marked as somebody's can be anybody's any more.

What is freed then          else it would stay
temporary files             for ever: the bytes of broken uploads
held messages of the queue  until their lease ends: ten minutes per recording that was in work
leases of OCP groups        until they end: five minutes without reconciliation

A process that is only paused still holds its lock, so nothing is taken from it. Where the file
system or the system has no such locks, nobody is ever alone, and leases end by themselves.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import apsw

from ocp_ingest.adapters.embedded.database import Database, change, value

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE: Final = "presence.lock"

_HELD: Final = """
SELECT EXISTS (SELECT 1 FROM message WHERE state='held' AND at_ms > 0)
    OR EXISTS (SELECT 1 FROM export_group WHERE owner != '')
"""


class Presence:
    """This process's lock; `alone` says whether it was the only one when it came."""

    def __init__(self, data_dir: Path) -> None:
        """Waits, if need be, for the process that is just clearing up."""
        self._descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        self.alone = self._lock_alone()
        if not self.alone:
            self.share()

    def share(self) -> None:
        """Lets others in; never raises."""
        if fcntl is None:  # pragma: no cover - Windows
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        except OSError:
            # No lock: others may take us for dead. Fences and receipts refuse what is late then.
            return

    def close(self) -> None:
        """Leaves."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _lock_alone(self) -> bool:
        if fcntl is None:  # pragma: no cover - Windows
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def free_what_the_dead_held(database: Database) -> None:
    """Ends the leases of messages and of groups; only for a process that is alone. Blocks.

    Fences and tries stay as they are: a late write of the dead, if there could be one, is refused.
    """
    if not database.read_now(lambda connection: value(connection, _HELD)):
        return

    def operation(connection: apsw.Connection) -> None:
        change(connection, "UPDATE message SET at_ms=0 WHERE state='held'")
        change(connection, "UPDATE export_group SET owner='', until_ms=0 WHERE owner != ''")

    database.write_now(operation)
