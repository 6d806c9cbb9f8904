"""Which threads of a server the processor worked for, by the names that /proc has of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Who a thread is, by how its name begins in /proc/PID/task/TID/comm; the first that fits.
ROLES: Final = (
    ("recordings-late", "checks of those before"),
    ("recordings", "hash, write, sync"),
    ("sqlite-writer", "journal and record"),
    ("", "HTTP server"),
)
LOOP: Final = "event loop"

# Thread id -> its role, and milliseconds of the processor so far.
Times = Mapping[int, tuple[str, float]]


def times(pid: int) -> dict[int, tuple[str, float]]:
    """All threads of a process and of those below it (/proc/PID/task/TID/schedstat: the first
    number, in nanoseconds)."""
    found: dict[int, tuple[str, float]] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            ms = int((task / "schedstat").read_text().split()[0]) / 1e6
            comm = (task / "comm").read_text().strip()
            below = [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended between two looks
        role = next(role for name, role in ROLES if comm.startswith(name))
        found[int(task.name)] = (LOOP if int(task.name) == pid else role, ms)
        for child in below:
            found |= times(child)
    return found


def spent(before: Times, after: Times) -> dict[str, float]:
    """Milliseconds of the processor between two looks, by role."""
    by_role: dict[str, float] = {}
    for thread, (role, ms) in after.items():
        by_role[role] = by_role.get(role, 0.0) + ms - before.get(thread, (role, 0.0))[1]
    return by_role
