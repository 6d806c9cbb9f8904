"""One seed, from the first call to the end of time, and what came of it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from random import Random
from typing import Final

import msgspec
import structlog

from ocp_ingest.adapters.memory.export_book import ExportBookState
from ocp_ingest.adapters.memory.faults import Crashed
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.ingest import operate
from ocp_ingest.ingest.world import World
from ocp_proof import ending
from ocp_proof.chance import Chance, Name, Struck
from ocp_proof.clock import SimClock
from ocp_proof.invariants import BrokenLawError, Laws
from ocp_proof.loop import DeadlockError, HotLoopError, SimLoop
from ocp_proof.process import Process, Site
from ocp_proof.push import Pusher
from ocp_proof.story import (
    CALM_MS,
    END_MS,
    ORIGIN_MS,
    Story,
    rules_of,
    settings_of,
    story_of,
    world_of,
)
from ocp_proof.vendor import SimOcp
from ocp_proof.watched import Buckets, Watched
from ocp_sim import platform as sim
from ocp_sim.config import Push
from ocp_sim.script import deliveries

# A hundred calls over nine days take far less; a loop that spins reaches it in seconds.
STEPS_MAX: Final = 20_000_000
_RESTART_MS: Final = (1_000, 10 * 60_000)
_LOOK_MS: Final = 6 * HOUR_MS
_CALL: Final = msgspec.msgpack.Decoder(Call)


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a seed gave; `broken` names the law that did not hold."""

    seed: int
    calls: int
    days: float
    steps: int
    checks: int
    seconds: float
    struck: tuple[Struck, ...]
    points: dict[str, int]
    outcomes: dict[str, int]
    digest: str
    broken: str = ""


def run(
    seed: int, *, calls: int = 100, off: frozenset[Name] = frozenset(), story: Story | None = None
) -> Ran:
    """Runs one seed to its end. The same arguments give the same `digest`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    story = story or story_of(seed, calls)
    began = time.perf_counter()
    stage = _Stage(story, off)
    broken = ""
    try:
        stage.loop.run(stage.play())
        lost = stage.loop.unretrieved(but=Crashed)
        broken = lost[0] if lost else ""
    except (BrokenLawError, HotLoopError, DeadlockError) as found:
        broken = f"{type(found).__name__}: {found}"
    except Exception as bug:
        broken = f"{type(bug).__name__}: {bug}"
    return Ran(
        seed=seed,
        calls=story.calls,
        days=stage.loop.now_ms / DAY_MS,
        steps=stage.loop.steps,
        checks=stage.laws.checked,
        seconds=time.perf_counter() - began,
        struck=tuple(stage.chance.struck),
        points=dict(stage.points),
        outcomes=ending.outcomes(stage.state, stage.settings.policy),
        digest=stage.digest(),
        broken=broken,
    )


class _Stage:
    """Everything of one run."""

    def __init__(self, story: Story, off: frozenset[Name]) -> None:
        self.story = story
        self.settings = settings_of(story)
        self.loop = SimLoop(  # type: ignore[abstract] # sockets and signals do not exist in it
            Random(f"{story.seed}:order"),  # noqa: S311 - reproducible, no secret
            steps_max=STEPS_MAX,
        )
        self.chance = Chance(
            story.seed, rate=story.rate, off=off, calm=lambda: self.loop.now_ms >= CALM_MS
        )
        self.points: Counter[str] = Counter()
        self.ocp = world_of(story)
        rules = sim.Platform(self.ocp, rules_of(story), Random(story.seed))  # noqa: S311
        self.api = SimOcp(self.ocp, rules, SimClock(self.loop, ORIGIN_MS), self.chance)
        self._watch()
        groups = tuple(rules.jobs)
        self.site = Site(self.state, self.book, self.settings, self.api, self.chance, groups)
        self.processes: list[Process] = []
        self.touched: set[str] = set()  # calls that a person had a say in

    def _watch(self) -> None:
        laws = self.laws = Laws(self.settings)
        state = self.state = MemoryState()
        book = self.book = ExportBookState()
        state.records = Watched(laws.record)
        state.buckets = Buckets(laws.object)  # type: ignore[assignment] # its values are dicts too
        state.journal = _Journals(laws)
        book.jobs = Watched(laws.job)
        laws.records, laws.journal, laws.buckets = state.records, state.journal, state.buckets
        laws.jobs, laws.open_jobs = book.jobs, book.open

    async def play(self) -> None:
        """The story, and what must hold at its end."""
        story = self.story
        lives = [asyncio.create_task(self._live(n)) for n in range(story.processes)]
        pusher = Pusher(story.seed, self.ocp, self.chance, self._door)
        todo = [
            asyncio.create_task(pusher.push(n, one, one.at_ms - ORIGIN_MS))
            for n, one in enumerate(deliveries(self.ocp, Push()))
        ]
        todo += [asyncio.create_task(self._outage(*times)) for times in story.outages_ms]
        todo += [asyncio.create_task(self._kill(at_ms)) for at_ms in story.kills_ms]
        acts = [asyncio.create_task(self._act(*one)) for one in story.acts]
        everything = asyncio.gather(*todo, *acts, *lives)
        watched = asyncio.ensure_future(everything)
        while self.loop.now_ms < END_MS and not (self._is_calm() and self._is_quiet()):
            await asyncio.wait({watched}, timeout=_LOOK_MS / 1000)
            if watched.done():
                watched.result()  # raises what a task died of
        for process in self.processes:
            process.stop.set()
        for task in (*todo, *acts):
            task.cancel()
        await asyncio.gather(*lives)
        await ending.check(self, pusher)

    def _is_calm(self) -> bool:
        return self.loop.now_ms >= CALM_MS and all(
            at_ms < self.loop.now_ms for at_ms, _, _ in self.story.acts
        )

    def _is_quiet(self) -> bool:
        waits = any(row.pend_at is not None for row in self.state.rows.values())
        return not (waits or ending.asked_for(self.book))

    async def _live(self, number: int) -> None:
        """One place for a process: after a death the next one starts, some time later."""
        rng = Random(f"{self.story.seed}:{number}:lives")  # noqa: S311 - reproducible
        clock = SimClock(self.loop, ORIGIN_MS, self.story.skews_ms[number])
        while True:
            process = Process(
                self.site, clock, workers=self.story.workers, per_call=self.story.per_call
            )
            self.processes.append(process)
            await process.run()
            self.points.update(process.faults.passed)
            self.processes.remove(process)
            if process.stop.is_set():
                return
            await asyncio.sleep(rng.randrange(*_RESTART_MS) / 1000)

    def _door(self, rng: Random) -> World | None:
        listening = [process for process in self.processes if process.alive]
        return rng.choice(listening).world if listening else None

    async def _outage(self, from_ms: int, to_ms: int) -> None:
        await asyncio.sleep(from_ms / 1000)
        self.api.down = True
        await asyncio.sleep((to_ms - from_ms) / 1000)
        self.api.down = False

    async def _kill(self, at_ms: int) -> None:
        await asyncio.sleep(at_ms / 1000)
        for process in self.processes[:1]:
            process.kill()

    async def _act(self, at_ms: int, what: str, index: int) -> None:
        await asyncio.sleep(at_ms / 1000)
        world = self._door(Random(at_ms))  # noqa: S311 - reproducible
        call_id = self.ocp.calls[index].call_id
        if world is None:
            return
        if what in ("mark_absent", "released"):
            self.touched.add(call_id)
        try:
            if what == "mark_absent":
                await operate.mark_absent(world, call_id, who="ana", reason="a test")
            else:
                await operate.act(world, what, call_id, who="ana", reason="a test")  # type: ignore[arg-type]
        except (OcpIngestError, Crashed):
            return

    def digest(self) -> str:
        """What the run left behind, as one hash: the same for the same seed."""
        whole = hashlib.sha256()
        for call_id in sorted(self.state.records):
            whole.update(call_id.encode() + self.state.records[call_id])
        for bucket in sorted(self.state.buckets):
            for key in sorted(self.state.buckets[bucket]):
                whole.update(
                    f"{bucket}/{key}".encode() + self.state.buckets[bucket][key][1].encode()
                )
        return whole.hexdigest()[:16]


class _Journals(Watched[str, dict[str, bytes]]):
    """Journals that watch themselves."""

    def __init__(self, laws: Laws) -> None:
        super().__init__(lambda _call, _before, _after: None)
        self._laws = laws

    def setdefault(self, key: str, default: dict[str, bytes] | None = None) -> dict[str, bytes]:
        """A call's journal, made when first used."""
        if key not in self:
            laws = self._laws
            self[key] = Watched(lambda e, before, after: laws.event(key, e, before, after))
        return self[key]
