"""Rounds of kills and power cuts under load, over broken connections and disks that fail.

`ocp-ingest serve` and `ocp-sim serve` are processes; between them, in both directions, is a proxy
that cuts. The simulator pushes its day and gives what got lost by export; beside it a load sends
calls that no export knows (tests/soak/load.py). Domain time runs an hour a second.

One round: calls are sent, the weather breaks out, the platform is killed at a moment chosen by the
seed; every input acknowledged in the round is looked up in what a power cut at that moment would
have left, before a next life can heal anything. In half of the rounds the power is really cut: the
next life begins on what is left. At the end, without faults: every call stored; every byte compared
with both ledgers. A run in which a kind of weather was not felt has not tested it, and fails.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote

from ocp_ingest.demo.compare import compare
from ocp_ingest.evidence.conservation import conservation
from tests.soak.load import Input, Load, lost
from tests.soak.platform import KINDS, SoakPlatform
from tests.soak.proxy import FATES, FaultProxy
from tests.story.kit import Sender, Sim, free_port, sender, sha256, until
from tests.story.test_kill_exports import EXPORTS, HOUR_MS, SIM, SPEED

CALLS_A_ROUND: Final = 6  # of the load; of the simulator one
ROUND_HOURS: Final = 3  # of domain time: a round takes about three seconds
BREAKS: Final = 0.35  # share of connections that the proxies break
LIFE_S: Final = (0.1, 1.2)  # from the first input of a round to the kill
FELT_S_MAX: Final = 5.0  # a life goes on so long until its weather was felt
PUSH_S_MAX: Final = 100_000
SETTLE_S_MAX: Final = 240.0
ENDS: Final = ("kill", "power cut")
ROUNDS_MIN: Final = len(KINDS) * len(ENDS)  # each weather with each end


@dataclass
class Figures:
    """What is printed."""

    seed: int
    rounds: int = 0
    kills: int = 0  # SIGKILL; after some of them the power was cut too
    power_cuts: int = 0
    weather: Counter[str] = field(default_factory=Counter)
    full_by: str = ""
    disk: Counter[str] = field(default_factory=Counter)  # syncs that failed, writes without room
    power_lost: Counter[str] = field(default_factory=Counter)
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
        """Whether nothing was lost, doubled or changed, and everything was tried."""
        bad = self.lost or self.doubled or self.wrong_bytes or self.problems
        return not bad and not self.untested

    @property
    def untested(self) -> list[str]:
        """What the run has not met, and so says nothing about."""
        felt: dict[str, int] = {
            "kill -9": self.kills - self.power_cuts, "power cut": self.power_cuts,
            "inputs under way at a kill": self.under_way,
            "503 to a sender": self.answers["503"],
            **{f"weather: {name}": self.weather[name] for name in KINDS},
            **{f"disk: {kind}": self.disk[kind] for kinds in KINDS.values() for kind in kinds},
            **{f"connection: {fate}": self.connections[fate] for fate in FATES},
            "what was not synced dropped": sum(
                n for name, n in self.power_lost.items() if "writes" in name
            ),
            "names dropped": self.power_lost["names"],
        }  # fmt: skip
        return [name for name, times in felt.items() if not times]


class Soak:
    """One run."""

    def __init__(self, folder: Path, rounds: int, seed: int, *, keep: bool = False) -> None:
        assert rounds >= ROUNDS_MIN, f"fewer than {ROUNDS_MIN} rounds can't meet every weather"
        self.keep = keep
        self.rng = Random(seed)
        self.rounds = rounds
        self.figures = Figures(seed)
        self._dealt = self._deal()
        calls = f"calls = {rounds}\n"
        day = SIM.replace("calls = 24\n", calls).replace(
            "hours = 3\n", f"hours = {_hours(rounds)}\n"
        )
        assert calls in day
        # It never gives up: nothing is pushed twice by anybody else, and the census is off.
        day = day.replace("[push]\n", f"[push]\nretry_window_real_s_min = {PUSH_S_MAX}\n")
        self.sim = Sim(folder, day)
        self.platform = SoakPlatform(folder, seed + 4, rounds)
        self.load = Load(Random(seed + 1))
        self.inbound = FaultProxy(Random(seed + 2), BREAKS)
        self.outbound = FaultProxy(Random(seed + 3), BREAKS)
        self.real_s = time.time() + 1
        self.origin_ms = int(self.real_s * 1000) - 72 * HOUR_MS

    def _deal(self) -> Iterator[tuple[str, str]]:
        """Weather and end of each round: chance decides the order, every pair comes up."""
        pairs = list(product(KINDS, ENDS))
        while True:
            self.rng.shuffle(pairs)
            yield from pairs

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
                if self.keep:
                    self.platform.keep()
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
        await self.platform.live()

    def _now_ms(self) -> int:
        return self.origin_ms + int((time.time() - self.real_s) * 1000 * SPEED)

    async def _round(self, to: Sender, number: int) -> None:
        weather, end = next(self._dealt)
        loop = asyncio.get_running_loop()
        worse = loop.call_later(self.rng.uniform(0, 0.3), self.platform.worsen, weather)
        self.load.add(CALLS_A_ROUND, self._now_ms())
        sending = asyncio.create_task(self._send(to, weather))
        await asyncio.sleep(self.rng.uniform(*LIFE_S))
        await self._felt(weather)
        worse.cancel()
        self.figures.under_way += self.load.under_way
        self.platform.kill()
        now = await sending
        async with self.platform.after_a_cut() as runtime:
            wrong = await lost(runtime, now)
        self.figures.problems += [f"round {number}, {weather}, {end}: {text}" for text in wrong]
        self.figures.lost += len(wrong)
        if end == "power cut":
            self.platform.cut()
            self.figures.power_cuts += 1
        self.figures.weather[weather] += 1
        self.figures.kills += 1
        self.figures.rounds += 1
        await self.platform.live()

    async def _send(self, to: Sender, weather: str) -> list[Input]:
        """Sends, and sends what was refused again while the weather was not felt."""
        until_s = time.monotonic() + FELT_S_MAX
        now = await self.load.send(to, LIFE_S[1])
        while self.platform.is_up and not self.platform.felt(weather):
            if time.monotonic() > until_s:
                break
            now += await self.load.send(to, 0.1)
            await asyncio.sleep(0.05)
        return now

    async def _felt(self, weather: str) -> None:
        """Waits until the weather has reached the platform, if it does."""
        until_s = time.monotonic() + FELT_S_MAX
        while weather != "calm" and not self.platform.felt(weather):
            if time.monotonic() > until_s:
                return
            await asyncio.sleep(0.02)

    async def _settle(self, to: Sender, direct: Sender) -> None:
        """Faults stop; everything is sent and has its end."""
        self.platform.kill()
        self.figures.kills += 1
        await self.platform.live()
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
        figures.full_by = self.platform.full_by
        figures.disk, figures.power_lost = self.platform.power.look(), self.platform.lost

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
