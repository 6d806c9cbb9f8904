"""OCP for measurements: the simulator without delays, faults or bad luck, in a process of its own.

    python -m bench.vendor CALLS HOURS CLOCK_FILE     prints its URL when it listens

Rules
1. Both processes read one clock: real time, plus what was skipped, which the file says. Where all
   that is left to do is to wait for a time of the domain, the platform's clock skips to it. So its
   time is what the clock of a site would show, and waiting costs nothing.
2. It never skips while something is asked of OCP, nor while the process computes or waits for its
   disk: work takes as long as it takes.
3. Recordings are two or three seconds of noise, each its own: audio is not what is measured.
"""

import asyncio
import contextlib
import mmap
import random
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ocp_sim import config
from ocp_sim.model import Sound
from ocp_sim.world import World, build_world

GROUPS: Final = 10
WEEK_HOURS: Final = 7 * 24
SEED: Final = 1
# The first call; a Monday.
T0: Final = 1_790_553_600_000
_RATE_HZ: Final = 8_000

# Two numbers: real ms at which the clock was T0's, and ms skipped since.
_FORM: Final = struct.Struct("<qq")
# Looks at whether there is anything to do but wait: so many in a row, so far apart. Together longer
# than a commit to disk takes.
_LOOKS: Final = 5
_LOOK_S: Final = 0.004
# Of a look's time; the looks themselves take a fiftieth.
_IDLE_SHARE_MAX: Final = 0.25


def settings(calls: int, hours: int) -> config.Settings:
    """Calls whose recordings got lost on the way; an Export API without delays."""
    nothing = dict.fromkeys(config.Shapes.__struct_fields__, 0.0)
    return config.Settings(
        calls=calls,
        seed=SEED,
        port=0,
        world=config.World(
            hours=hours, groups=tuple(_group(n) for n in range(GROUPS)), duration_s=(2, 3),
            shortest_recorded_s=0.5, shapes=config.Shapes(**nothing), faults=config.CALM,
        ),
        auth=config.Auth(
            users=(config.User(username="bench", password="bench", groups=groups()),)
        ),
        export=config.Export(
            watermark_s=0, pending_s=0, job_fixed_s=0, job_per_hour_s=0, redirect_share=0,
            rate_per_s=1e6, rate_burst=1_000_000,
        ),
        export_faults=config.CALM_EXPORTS,
    )  # fmt: skip


def groups() -> tuple[str, ...]:
    """The OCP groups."""
    return tuple(_group(n).name for n in range(GROUPS))


def _group(number: int) -> config.Group:
    return config.Group(
        name=f"group-{number}", account_id=f"{4000 + number}", region="aws-eu-central-1",
        numbers=("900-100-200",), apps=("banking-voice",), locales=("en-GB",),
    )  # fmt: skip


def world(calls: int, hours: int) -> World:
    """The calls, as the simulator has them."""
    return build_world(SEED, calls, settings(calls, hours).world, start_ms=T0, renderer=Noise)


class Noise:
    """A renderer that costs next to nothing."""

    corruptions: tuple[str, ...] = ()

    def render(self, sound: Sound, seed: int) -> bytes:
        """16 bits at 8 kHz, one channel, whatever was asked for."""
        size = sound.duration_ms * _RATE_HZ // 1000 * 2
        head = struct.pack(
            "<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, _RATE_HZ,
            2 * _RATE_HZ, 2, 16, b"data", size,
        )  # fmt: skip
        return head + random.Random(seed).randbytes(size)

    def corrupt(self, data: bytes, how: str, seed: int) -> bytes:
        """Never asked for."""
        raise NotImplementedError

    def trim(self, sound: Sound, share: float) -> Sound:
        """Never asked for."""
        raise NotImplementedError


# -- the clock -------------------------------------------------------------------------------------


class SharedTime:
    """Rule 1: a file that both processes have mapped."""

    def __init__(self, path: Path) -> None:
        """A new file's clock begins at `begin`."""
        if not path.exists():
            path.write_bytes(_FORM.pack(0, 0))
        with path.open("r+b") as file:
            self._held = mmap.mmap(file.fileno(), _FORM.size)

    def begin(self, at_ms: int) -> None:
        """It is that time of the domain now."""
        self._held[:] = _FORM.pack(_real_ms() - (at_ms - T0), 0)

    def skip(self, duration_ms: int) -> None:
        """Moves the clock on."""
        real_ms, skipped_ms = _FORM.unpack(self._held[:])
        self._held[:] = _FORM.pack(real_ms, skipped_ms + duration_ms)

    def now_ms(self) -> int:
        """Domain time, epoch ms."""
        real_ms, skipped_ms = _FORM.unpack(self._held[:])
        return T0 + _real_ms() - int(real_ms) + int(skipped_ms)


def _real_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class SimulatorClock:
    """The same clock in the simulator's words."""

    origin_ms = T0

    def __init__(self, shared: SharedTime) -> None:
        self.now_ms = shared.now_ms

    def wait_s(self, until_ms: int) -> float:
        """Real seconds until that time, if nobody skips."""
        return max(0.0, self.real_s(until_ms - self.now_ms()))

    def real_s(self, span_ms: float) -> float:
        """Real seconds of a span."""
        return span_ms / 1000


class SkippingClock:
    """The platform's clock; `busy` counts what is asked of OCP at the moment."""

    def __init__(self, shared: SharedTime) -> None:
        self._shared = shared
        self._sleepers: dict[asyncio.Future[None], int] = {}
        self.busy = 0
        self.skips = 0
        self.idle_s = 0.0

    def now_ms(self) -> int:
        """Domain time, epoch ms."""
        return self._shared.now_ms()

    async def sleep_ms(self, duration_ms: int) -> None:
        """Waits so long in domain time, or less in real time."""
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers[sleeper] = self.now_ms() + max(0, duration_ms)
        try:
            await sleeper
        finally:
            del self._sleepers[sleeper]

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Something is asked of OCP."""
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    async def run(self, *, is_over: Callable[[], bool]) -> None:
        """Wakes sleepers, and skips (rule 2), until it is over."""
        idle, used_s, looked_s = 0, time.process_time(), time.perf_counter()
        while not is_over():
            await asyncio.sleep(_LOOK_S)
            self._wake()
            now_used_s, now_s = time.process_time(), time.perf_counter()
            working = now_used_s - used_s > _IDLE_SHARE_MAX * (now_s - looked_s)
            idle = 0 if self.busy or working else idle + 1
            self.idle_s += 0.0 if self.busy or working else now_s - looked_s
            used_s, looked_s = now_used_s, now_s
            if idle >= _LOOKS and self._sleepers:
                self._shared.skip(max(0, min(self._sleepers.values()) - self.now_ms()))
                self.skips, idle = self.skips + 1, 0
                self._wake()

    def _wake(self) -> None:
        now_ms = self.now_ms()
        for sleeper, until_ms in self._sleepers.items():
            if until_ms <= now_ms and not sleeper.done():
                sleeper.set_result(None)


# -- the process -----------------------------------------------------------------------------------


async def serve(calls: int, hours: int, shared: SharedTime) -> None:
    """Serves until it is told to stop."""
    from ocp_sim.server import start
    from ocp_sim.simulator import Simulator

    simulator = Simulator(settings(calls, hours), SimulatorClock(shared), renderer=Noise)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    runner = await start(simulator)
    # A listing tells sizes and hashes: all recordings are made before anybody asks.
    for recording in simulator.world.recordings.values():
        simulator.world.sounds.facts(recording, "ocp")
    print(simulator.public_url, flush=True)
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), SharedTime(Path(sys.argv[3]))))
