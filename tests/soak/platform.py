"""A platform whose disk may be full, unable to sync, or without power; see tests/soak/disk.py.

The disk is a small file system of its own (tmpfs) where the machine lets us mount one: what fills
it is a file, and what fails is a real ENOSPC. Elsewhere it is a folder, and a limit on the size of
the process's files (RLIMIT_FSIZE, EFBIG) stands for the full disk; `full_by` says which it is.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final, Self

from ocp_ingest import bootstrap
from ocp_ingest import config as config_reader
from tests.soak.power import Power
from tests.story.kit import Platform

ROOT: Final = Path(__file__).parents[2]
DISK_BYTES: Final = 256 << 20  # of the small file system, and so much a round of the soak
ROUND_BYTES: Final = 8 << 20
LEFT_BYTES: Final = 65_536  # of a full disk: small things still fit, as in life
LIMIT_BYTES: Final = 8_192  # of a file, where a limit stands for the full disk
FSYNC_FAILS: Final = 0.3
# Weather -> the records of the disk's journal that tell of it.
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "calm": (),
    "full disk": ("refused files", "refused database"),
    "fsync fails": ("failed files", "failed folders", "failed database"),
}


class SoakPlatform(Platform):
    """Started, worsened, and ended by a kill or a power cut, again and again."""

    def __init__(self, folder: Path, seed: int, rounds: int = 0, *, forgets: str = "") -> None:
        """`forgets`: a layer of its disk whose syncs do nothing, as a check of the checks."""
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.full_by = "a small tmpfs" if _mount(self.disk, rounds) else "a limit on file sizes"
        super().__init__(folder)
        text = self.config.read_text().replace(str(self.data_dir), str(self.disk / "data"))
        self.config.write_text(text)
        self.data_dir = self.disk / "data"
        (self.disk / "graves").mkdir()
        self.rng = Random(seed)
        self.power = Power(folder / "disk-journal", self.disk / "graves")
        self.lost: Counter[str] = Counter()
        self._felt_before: Counter[str] = Counter()
        self._forgets = forgets
        self._mark = folder / "fsync-fails"
        self._ballast = self.disk / "ballast"

    def spawn(self, *arguments: str | Path, capture: bool = False, **env: str) -> None:
        """Starts the command above the layers."""
        env |= {
            "SOAK_ROOT": str(self.data_dir), "SOAK_JOURNAL": str(self.folder / "disk-journal"),
            "SOAK_GRAVES": str(self.disk / "graves"), "SOAK_MARK": str(self._mark),
            "SOAK_FSYNC_FAILS": str(FSYNC_FAILS), "SOAK_SEED": str(self.rng.randrange(1 << 30)),
            "SOAK_FORGETS": self._forgets, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        }  # fmt: skip
        serve = (sys.executable, "-m", "tests.soak.serve", *arguments[1:])
        super().spawn(*serve, capture=capture, **env)

    def worsen(self, weather: str) -> None:
        """The weather breaks out over a running platform."""
        if weather == "fsync fails":
            self._mark.touch()
        elif weather == "full disk":
            if self.full_by == "a small tmpfs":
                self._fill()
            elif self.is_up:
                limits = (LIMIT_BYTES, resource.RLIM_INFINITY)
                resource.prlimit(self.running.pid, resource.RLIMIT_FSIZE, limits)

    def felt(self, weather: str) -> bool:
        """Whether this life has met the weather, and the run each of its kinds (KINDS)."""
        kinds, now = KINDS[weather], self.power.look()
        return all(now[kind] for kind in kinds) and (
            not kinds or any(now[kind] > self._felt_before[kind] for kind in kinds)
        )

    @property
    def is_up(self) -> bool:
        """Whether its process lives."""
        return self._running is not None and self._running.poll() is None

    async def live(self) -> None:
        """Starts it in calm weather and waits until it is ready."""
        self._mark.unlink(missing_ok=True)
        self._ballast.unlink(missing_ok=True)
        self._felt_before = Counter(self.power.look())
        await self.start()

    def kill(self) -> None:
        """SIGKILL; the disk is well again."""
        super().kill()
        self.power.died()
        self._mark.unlink(missing_ok=True)
        self._ballast.unlink(missing_ok=True)

    def cut(self) -> None:
        """The power fails and comes back, after a kill."""
        after = self.disk / "after"
        self.lost += self.power.image(self.data_dir, after, self.rng)
        shutil.rmtree(self.data_dir)
        after.rename(self.data_dir)
        self.power.forget()

    @asynccontextmanager
    async def after_a_cut(self) -> AsyncIterator[bootstrap.Embedded]:
        """The store as it would be found if the power failed now; what is really there stays."""
        looked, config = self.disk / "looked", self.folder / "looked.toml"
        self.power.image(self.data_dir, looked, self.rng)
        config.write_text(self.config.read_text().replace(str(self.data_dir), str(looked)))
        try:
            runtime = bootstrap.embedded(config_reader.load(config, environ={}))
            try:
                yield runtime
            finally:
                runtime.close()
        finally:
            shutil.rmtree(looked)

    def keep(self) -> None:
        """Copies the data out of a file system that is about to go."""
        shutil.copytree(self.disk, self.folder / "kept", symlinks=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        super().__exit__(kind, error, trace)
        if self.full_by == "a small tmpfs":
            subprocess.run(["umount", "-l", self.disk], check=False)

    def _fill(self) -> None:
        """Takes all room but LEFT_BYTES; others take some meanwhile."""
        with self._ballast.open("ab") as file, contextlib.suppress(OSError):
            while (free := _free(self.disk) - LEFT_BYTES) > 0:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)
                file.seek(0, os.SEEK_END)


def _free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_bsize


def _mount(path: Path, rounds: int) -> bool:
    """Mounts a small file system where we may, and where it can do what a disk does."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("mount"):
        return False
    size = DISK_BYTES + rounds * ROUND_BYTES
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "ocp-soak", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return False
    try:
        (path / "probe").touch()
        os.setxattr(path / "probe", "user.probe", b"1")
        (path / "probe").unlink()
    except OSError:
        subprocess.run(["umount", "-l", path], check=False)
        return False
    return True
