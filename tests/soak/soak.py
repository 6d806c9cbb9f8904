"""Rounds of kill -9 under load, over broken connections, full disks and disks that can't sync.

`ocp-ingest serve` and `ocp-sim serve` are processes; between them, in both directions, is a proxy
that cuts. The simulator pushes its day and gives what got lost by export; beside it a load sends
calls that no export knows (tests/soak/load.py). Domain time runs an hour a second.

One round: fault chosen, calls sent, a kill at a moment chosen by the seed, every input acknowledged
in the round looked up in the store before the next life can heal anything, then the next life.
At the end, without faults: every call stored; every byte compared with both ledgers.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote

from ocp_ingest.demo.compare import compare
from ocp_ingest.evidence.conservation import conservation
from tests.soak.load import Load, lost
from tests.soak.proxy import FaultProxy
from tests.story.kit import Platform, Sender, Sim, free_port, sender, sha256, until
from tests.story.test_kill_exports import EXPORTS, HOUR_MS, SIM, SPEED

CALLS_A_ROUND: Final = 6  # of the load; of the simulator one
ROUND_HOURS: Final = 3  # of domain time: a round takes about three seconds
BREAKS: Final = 0.35  # share of connections that the proxies break
LIFE_S: Final = (0.1, 1.2)  # from the first input of a round to the kill
# With it no file can grow: what is written fails as on a full disk, but for `errno` (EFBIG).
FULL_BYTES: Final = 8_192
FSYNC_FAILS: Final = 0.3
PUSH_S_MAX: Final = 100_000
SETTLE_S_MAX: Final = 240.0
# What a life of the platform suffers beside the kill and the cut connections.
WEATHER: Final = ("calm", "calm", "full disk", "fsync fails")


@dataclass
class Figures:
    """What is printed."""

    seed: int
    rounds: int = 0
    kills: int = 0
    weather: Counter[str] = field(default_factory=Counter)
    connections: Counter[str] = field(default_factory=Counter)
    cut_connections: int = 0
    under_way: int = 0  # inputs being sent at the moment of a kill, over all rounds
    acknowledged: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    simulated_calls: int = 0
    recovered_by_export: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    wrong_bytes: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled or changed."""
        return not (self.lost or self.doubled or self.wrong_bytes or self.problems)


class SoakPlatform(Platform):
    """The platform, whose next life may be on a disk that is full or can't sync."""

    weather = "calm"
    seed = 0

    @property
    def _mark(self) -> Path:
        return self.folder / "fsync-fails"

    async def live(self, weather: str, seed: int) -> None:
        """Starts it and waits until it is ready."""
        self.weather, self.seed = weather, seed
        self._mark.unlink(missing_ok=True)
        await self.start()

    def spawn(self, *arguments: str | Path, capture: bool = False, **env: str) -> None:
        """Starts the command itself, or the same command with a failing fsync."""
        if self.weather == "fsync fails":
            arguments = (sys.executable, "-m", "tests.soak.serve", *arguments[1:])
            root = Path(__file__).parents[2]
            env |= {
                "SOAK_FSYNC_FAILS": str(FSYNC_FAILS), "SOAK_SEED": str(self.seed),
                "SOAK_FSYNC_MARK": str(self._mark), "PYTHONPATH": f"{root / 'src'}:{root}",
            }  # fmt: skip
        super().spawn(*arguments, capture=capture, **env)

    def worsen(self) -> None:
        """The weather of this life breaks out: it is up, and under load."""
        self._mark.touch()
        if self.weather == "full disk" and self.running.poll() is None:
            limits = (FULL_BYTES, resource.RLIM_INFINITY)
            resource.prlimit(self.running.pid, resource.RLIMIT_FSIZE, limits)


class Soak:
    """One run."""

    def __init__(self, folder: Path, rounds: int, seed: int) -> None:
        self.rng = Random(seed)
        self.rounds = rounds
        self.figures = Figures(seed)
        calls = f"calls = {rounds}\n"
        day = SIM.replace("calls = 24\n", calls).replace(
            "hours = 3\n", f"hours = {_hours(rounds)}\n"
        )
        assert calls in day
        # It never gives up: nothing is pushed twice by anybody else, and the census is off.
        day = day.replace("[push]\n", f"[push]\nretry_window_real_s_min = {PUSH_S_MAX}\n")
        self.sim = Sim(folder, day)
        self.platform = SoakPlatform(folder)
        self.load = Load(Random(seed + 1))
        self.inbound = FaultProxy(Random(seed + 2), BREAKS)
        self.outbound = FaultProxy(Random(seed + 3), BREAKS)
        self.real_s = time.time() + 1
        self.origin_ms = int(self.real_s * 1000) - 72 * HOUR_MS

    async def run(self) -> Figures:
        """All rounds, and the reckoning."""
        began = time.monotonic()
        async with AsyncExitStack() as held:
            for proxy in (self.inbound, self.outbound):
                await proxy.start()
                held.push_async_callback(proxy.stop)
            held.enter_context(self.sim)
            held.enter_context(self.platform)
            await self._begin()
            async with sender(self.platform) as direct:
                to = Sender(direct.session, self.inbound.url, _token(direct))
                async with direct.session.post(f"{self.sim.url}/_sim/start", json={}) as answer:
                    assert answer.status == 202, await answer.text()
                for number in range(self.rounds):
                    await self._round(to, number)
                await self._settle(to, direct)
                await self._reckon(direct)
        self.figures.seconds = round(time.monotonic() - began, 1)
        return self.figures

    async def _begin(self) -> None:
        port = free_port()
        self.sim.start(
            "--port", str(port), "--target", self.inbound.url,
            "--token-url", f"{self.platform.url}/oauth2/token",
            "--public-url", self.outbound.url, "--clock-origin-ms", str(self.origin_ms),
            "--clock-scale", str(SPEED), "--clock-real-origin", repr(self.real_s),
        )  # fmt: skip
        # It tells the address at which the platform reaches it; that is the proxy's.
        self.sim.url = f"http://127.0.0.1:{port}"
        self.inbound.target = ("127.0.0.1", self.platform.port)
        self.outbound.target = ("127.0.0.1", port)
        text = self.platform.config.read_text().replace('level = "info"', 'level = "error"')
        self.platform.config.write_text(text + EXPORTS.format(
            origin_ms=self.origin_ms, speed=SPEED, real_s=self.real_s, sim=self.outbound.url
        ))  # fmt: skip
        await self.platform.live("calm", 0)

    def _now_ms(self) -> int:
        return self.origin_ms + int((time.time() - self.real_s) * 1000 * SPEED)

    async def _round(self, to: Sender, number: int) -> None:
        loop = asyncio.get_running_loop()
        worse = loop.call_later(self.rng.uniform(0, 0.3), self.platform.worsen)
        self.load.add(CALLS_A_ROUND, self._now_ms())
        sending = asyncio.create_task(self.load.send(to, LIFE_S[1]))
        await asyncio.sleep(self.rng.uniform(*LIFE_S))
        worse.cancel()
        self.figures.under_way += self.load.under_way
        self.platform.kill()
        now = await sending
        async with self.platform.store() as runtime:
            wrong = await lost(runtime, now)
        self.figures.problems += [f"round {number}: {text}" for text in wrong]
        self.figures.lost += len(wrong)
        weather = self.rng.choice(WEATHER)
        self.figures.weather[weather] += 1
        self.figures.kills += 1
        self.figures.rounds += 1
        await self.platform.live(weather, self.rng.randrange(1 << 30))

    async def _settle(self, to: Sender, direct: Sender) -> None:
        """Faults stop; everything is sent and has its end."""
        self.platform.kill()
        self.figures.kills += 1
        await self.platform.live("calm", 0)
        self.inbound.share = self.outbound.share = 0.0

        async def sent() -> bool:
            await self.load.send(to, 0)
            return all(one.acknowledged for one in self.load.inputs)

        await until(sent, SETTLE_S_MAX, "the load is sent")

        async def over() -> bool:
            async with direct.session.get(f"{self.sim.url}/_sim/status") as answer:
                pushed = (await answer.json())["push"]["done"]
            terms = await direct.get("/v1/conservation")
            return bool(pushed and not terms["in_flight"])

        await until(over, SETTLE_S_MAX, "every call has an outcome")

    async def _reckon(self, direct: Sender) -> None:
        figures, load = self.figures, self.load
        async with direct.session.get(f"{self.sim.url}/_sim/ledger?format=ndjson") as answer:
            ledger = [json.loads(line) for line in (await answer.text()).splitlines()]
        calls = await _all_calls(direct)
        await asyncio.to_thread(self.platform.end)
        async with self.platform.store() as runtime:
            wrong = await lost(runtime, load.inputs)
            said = await conservation(runtime.world)
            for call_id in calls:
                journal = await runtime.world.calls.journal(call_id)
                most = max(Counter(event.event_id for event in journal).values())
                figures.doubled += most - 1
        figures.lost += len(wrong)
        figures.problems += [*wrong, *said.differences]
        found = await asyncio.to_thread(compare, ledger, calls, self.platform.data_dir, "expected")
        figures.problems += found.problems
        figures.wrong_bytes += found.mismatches
        figures.lost += found.unknown + found.in_flight + found.lost
        figures.simulated_calls, figures.recovered_by_export = found.calls, found.recovered
        self._objects(found.calls)
        figures.acknowledged = load.acknowledged
        figures.answers = load.answers
        figures.connections = self.inbound.seen + self.outbound.seen
        figures.cut_connections = self.inbound.broken + self.outbound.broken

    def _objects(self, simulated: int) -> None:
        """The buckets themselves: each recording of the load once, and one object a call."""
        audio = [
            body for name, body in self.platform.stored().items() if not name.endswith(".json")
        ]
        held = Counter(map(sha256, audio))
        for one in self.load.recordings:
            times = held[sha256(one.body)]
            self.figures.wrong_bytes += times == 0
            self.figures.doubled += max(0, times - 1)
        self.figures.stored = len(audio)
        if len(audio) != len(self.load.recordings) + simulated:
            self.figures.problems.append(f"{len(audio)} objects are stored")


def _hours(rounds: int) -> int:
    return max(3, rounds * ROUND_HOURS)


def _token(direct: Sender) -> str:
    return direct._headers["Authorization"].removeprefix("Bearer ")


async def _all_calls(direct: Sender) -> dict[str, Any]:
    found: dict[str, Any] = {}
    cursor = ""
    while True:
        page = await direct.get(f"/v1/calls?limit=500{cursor}")
        found |= {call["call_id"]: call for call in page["calls"]}
        if page["cursor"] is None:
            return found
        cursor = "&cursor=" + quote(page["cursor"], safe="")
