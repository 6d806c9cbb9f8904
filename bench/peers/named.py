"""`ocp-ingest` whose threads tell the system their names, so that /proc can say who was busy."""

import ctypes
import threading
from typing import Final

from ocp_ingest.entrypoints.cli import main

_PR_SET_NAME: Final = 15  # prctl(2); the name is cut after 15 characters


class Named(threading.Thread):
    """A thread of Python that has its name in /proc/PID/task/TID/comm, too."""

    def run(self) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, self.name.encode())
        super().run()


def name_threads() -> None:
    """To be called before anything starts a thread."""
    threading.Thread = Named  # type: ignore[misc]


if __name__ == "__main__":
    name_threads()
    main()
