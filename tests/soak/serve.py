"""`ocp-ingest serve` on a disk whose fsync fails: SOAK_FSYNC_FAILS is the share of them.

They fail while the file SOAK_FSYNC_MARK is there (a platform whose disk can't sync does not
start); SOAK_SEED chooses which.

Files and folders of the recording store are synced through `os.fsync`; what fails there must not be
acknowledged. SQLite syncs below Python: tests/contracts/test_crash_durability.py fails those.
"""

from __future__ import annotations

import errno
import os
from random import Random

from ocp_ingest.entrypoints.cli import main


def fail_fsync(share: float, rng: Random, mark: str) -> None:
    """While `mark` is there, `share` of the fsyncs fail, as those of a dying disk do."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.exists(mark) and rng.random() < share:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    os.fsync = fsync  # type: ignore[assignment]  # narrower: descriptors only, as we call it


if __name__ == "__main__":
    fail_fsync(
        float(os.environ["SOAK_FSYNC_FAILS"]),
        Random(os.environ["SOAK_SEED"]),
        os.environ["SOAK_FSYNC_MARK"],
    )
    main()
