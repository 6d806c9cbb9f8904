"""`ocp-ingest serve` on the disk of the soak (tests/soak/disk.py): a launcher, for tests only.

Where the layers come in: FileSystem, which the recording stores make for themselves, and SQLite's
default VFS. The platform's own code knows nothing of it. Settings come as SOAK_… variables.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from ocp_ingest.adapters.embedded import recording_store
from ocp_ingest.entrypoints.cli import main
from tests.soak.disk import SoakFiles, SoakVFS, Weather
from tests.soak.journal import Writer


def weather() -> Weather:
    """What the environment says."""
    said = {name: os.environ[f"SOAK_{name}"] for name in ("ROOT", "JOURNAL", "GRAVES", "MARK")}
    return Weather(
        root=Path(said["ROOT"]), journal=Writer(Path(said["JOURNAL"])), mark=Path(said["MARK"]),
        graves=Path(said["GRAVES"]), share=float(os.environ["SOAK_FSYNC_FAILS"]),
        rng=Random(os.environ["SOAK_SEED"]), forgets=os.environ.get("SOAK_FORGETS", ""),
    )  # fmt: skip


if __name__ == "__main__":
    over = weather()
    vfs = SoakVFS(over)  # as long as it is referenced
    vars(recording_store)["FileSystem"] = lambda: SoakFiles(over)
    main()
