"""One seed, from the first call to the end of time, and what came of it."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import time
from random import Random
from typing import Final

import msgspec
import structlog

from ocp_ingest.adapters.memory.export_book import ExportBookState
from ocp_ingest.adapters.memory.faults import Crashed
from ocp_ingest.adapters.memory.recording_store import MemoryRecordingStore
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.core.access import Person
from ocp_ingest.core.errors import OcpIngestError, Transient
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.settings import LANDING
from ocp_ingest.desk import bulk
from ocp_ingest.ingest import operate
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import CallQuery
from ocp_proof import ending, readings
from ocp_proof.bounds import Bounds
from ocp_proof.chance import Chance, Name, Struck, is_troubled, stream
from ocp_proof.clock import Alarms, SimClock
from ocp_proof.invariants import Laws, Object
from ocp_proof.law import BrokenLawError, law
from ocp_proof.loop import DeadlockError, HotLoopError, SimLoop
from ocp_proof.process import Process, Site
from ocp_proof.push import Pusher
from ocp_proof.story import (
    CALM_MS,
    END_MS,
    ORIGIN_MS,
    RETENTION_MS,
    SKEW_MS,
    STRICT_LOB,
    STRICT_MS_MIN,
    Act,
    Story,
    rules_of,
    settings_of,
    story_of,
    world_of,
)
from ocp_proof.truth import Truth
from ocp_proof.vendor import Vendor
from ocp_proof.watched import Buckets, OpenJobs, Watched
from ocp_sim import platform as sim
from ocp_sim.config import Push
from ocp_sim.script import deliveries

# A hundred calls over nine days take far less; a loop that spins reaches it in seconds.
STEPS_MAX: Final = 20_000_000
_RESTART_MS: Final = (1_000, 10 * 60_000)
# So often a person asks for the same thing; a bad quarter of an hour is over by then.
_ASKED_MAX: Final = 8
# When an object vanishes: before it is told of, before it is looked at, before it is stored, or
# while it waits for CDRs.
_VANISH_STEPS: Final = (1, 2, 4, 8, 16)
_VANISH_LATE: Final = 0.1
_LOOK_MS: Final = 6 * HOUR_MS
# Faults have stopped for so long: an open call that is overdue since then is stuck.
_OVERDUE_MS: Final = 36 * HOUR_MS


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
    trace: str  # a hash of every effect that was passed, in order
    broken: str = ""


def run(
    seed: int, *, calls: int = 100, off: frozenset[Name] = frozenset(),
    story: Story | None = None, recordings: type[MemoryRecordingStore] = MemoryRecordingStore,
) -> Ran:  # fmt: skip
    """Runs one seed to its end; the same arguments give the same `trace`, in any process.

    The garbage collector rests meanwhile: it would close forgotten generators whenever it liked.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    gc.disable()
    try:
        return _played(_Stage(story or story_of(seed, calls), off, recordings))
    finally:
        gc.enable()
        readings.forget()
        gc.collect()


def _played(stage: _Stage) -> Ran:
    began = time.perf_counter()
    broken = ""
    try:
        stage.loop.run(stage.play())
        lost = stage.loop.unretrieved(but=(Crashed, asyncio.CancelledError))
        broken = lost[0] if lost else ""
    except (BrokenLawError, HotLoopError, DeadlockError) as found:
        broken = f"{type(found).__name__}: {found}"
    except Exception as bug:
        broken = f"{type(bug).__name__}: {bug}"
    return Ran(
        seed=stage.story.seed,
        calls=stage.story.calls,
        days=stage.loop.now_ms / DAY_MS,
        steps=stage.loop.steps,
        checks=stage.laws.checked + stage.bounds.checked,
        seconds=time.perf_counter() - began,
        struck=tuple(stage.chance.struck),
        points=dict(stage.chance.passes),
        outcomes=ending.outcomes(stage.state, stage.settings.policy, stage.unheard),
        digest=stage.digest(),
        trace=stage.chance.trace,
        broken=broken,
    )


class _Stage:
    """Everything of one run."""

    def __init__(
        self, story: Story, off: frozenset[Name], recordings: type[MemoryRecordingStore]
    ) -> None:
        self.story = story
        self.settings = settings_of(story)
        self.loop = SimLoop(  # type: ignore[abstract] # sockets and signals do not exist in it
            Random(f"{story.seed}:order"),  # noqa: S311 - reproducible, no secret
            steps_max=STEPS_MAX,
        )
        self.chance = Chance(
            story.seed, rate=story.rate, kinds=story.kinds, off=off,
            calm_us=CALM_MS * 1_000, now_us=lambda: self.loop.now_us,
            outages_ms=story.own_outages_ms,
        )  # fmt: skip
        self.clock = SimClock(self.loop, ORIGIN_MS)
        self.ocp = world_of(story)
        rules = sim.Platform(self.ocp, rules_of(story), Random(story.seed))  # noqa: S311
        self.vendor = Vendor(self.ocp, rules, self.clock, self.chance)
        self.vendor.troubled = is_troubled(story.seed)
        self.truth = Truth(self.ocp, RETENTION_MS, STRICT_LOB, STRICT_MS_MIN)
        self._watch()
        self.site = Site(
            self.state, self.book, self.settings, self.vendor, self.chance, story, self.bounds,
            recordings,
        )  # fmt: skip
        self.vanishes = stream(story.seed, "vanishes")
        self.processes: list[Process] = []
        self.unheard = 0  # calls of which a dying process journalled the only message there was

    def _watch(self) -> None:
        laws = self.laws = Laws(self.settings, self.truth, self.clock.now_ms)
        state = self.state = MemoryState()
        book = self.book = ExportBookState()
        bounds = self.bounds = Bounds(
            self.settings, state, book, self.clock.now_ms, lambda g: self.vendor.platform.jobs[g]
        )
        state.rows = Watched(laws.row)
        state.messages = Watched(bounds.message)
        state.alarms = Alarms(bounds.alarm_set)
        book.leases = Watched(bounds.lease)
        state.records = Watched(laws.record)
        state.buckets = Buckets(self._object)  # type: ignore[assignment] # its values are dicts too
        state.journal = _Journals(laws)
        book.jobs = Watched(bounds.job)
        book.open = OpenJobs(bounds.opened)
        laws.records, laws.journal, laws.buckets = state.records, state.journal, state.buckets
        laws.rejected = state.rejected
        bounds.changed_ms = laws.changed_ms

    async def play(self) -> None:
        """The story, and what must hold at its end."""
        story = self.story
        lives = [asyncio.create_task(self._live(n)) for n in range(story.processes)]
        pusher = Pusher(story, self.ocp, self.chance, self.laws, self._door)
        todo = [
            asyncio.create_task(pusher.push(n, one, one.at_ms - ORIGIN_MS))
            for n, one in enumerate(deliveries(self.ocp, Push()))
        ]
        todo += [asyncio.create_task(self._outage(*times)) for times in story.outages_ms]
        todo += [asyncio.create_task(self._kill(at_ms)) for at_ms in story.kills_ms]
        todo += [asyncio.create_task(self._freeze(*times)) for times in story.freezes_ms]
        acts = [asyncio.create_task(self._act(*one)) for one in story.acts]
        everything = asyncio.gather(*todo, *acts, *lives)
        watched = asyncio.ensure_future(everything)
        # Who asks for something in the last hours waits for it as long as anybody.
        end_ms = max([END_MS, *(at_ms + _OVERDUE_MS for at_ms, _, _ in story.acts)])
        while self.loop.now_ms < end_ms and not (self._is_calm() and self._is_quiet()):
            await asyncio.wait({watched}, timeout=_LOOK_MS / 1000)
            if watched.done():
                watched.result()  # raises what a task died of
            self._nothing_overdue()
        for process in self.processes:
            process.stop.set()
        for task in (*todo, *acts):
            task.cancel()
        await asyncio.gather(*lives)
        await ending.check(self)

    def _is_calm(self) -> bool:
        return self.loop.now_ms >= CALM_MS and all(
            at_ms < self.loop.now_ms for at_ms, _, _ in self.story.acts
        )

    def _nothing_overdue(self) -> None:
        calm_ms = self.loop.now_ms - (self.story.outages_ms[-1][1] if self.story.dark else CALM_MS)
        if calm_ms < _OVERDUE_MS:
            return
        since_ms = self.clock.now_ms() - _OVERDUE_MS
        for call_id, row in self.state.rows.items():
            law(
                row.pend_at is None
                or max(row.pend_at, self.laws.changed_ms.get(call_id, 0)) > since_ms,
                f"{call_id}: overdue for more than {_OVERDUE_MS // HOUR_MS} hours",
            )

    def _is_quiet(self) -> bool:
        waits = any(row.pend_at is not None for row in self.state.rows.values())
        return not (waits or ending.asked_for(self.book))

    async def _live(self, number: int) -> None:
        """One place for a process: after a death the next one starts, some time later."""
        rng = Random(f"{self.story.seed}:{number}:lives")  # noqa: S311 - reproducible
        while True:
            # The clock may go back between two lives.
            clock = SimClock(self.loop, ORIGIN_MS, rng.randrange(-SKEW_MS, SKEW_MS))
            process = Process(self.site, clock)
            self.processes.append(process)
            await process.run()
            self.processes.remove(process)
            if process.stop.is_set():
                return
            await asyncio.sleep(rng.randrange(*_RESTART_MS) / 1000)

    def _listening(self, rng: Random) -> Process | None:
        listening = [process for process in self.processes if process.alive]
        return rng.choice(listening) if listening else None

    def _door(self, rng: Random) -> World | None:
        process = self._listening(rng)
        return process.world if process is not None else None

    async def _outage(self, from_ms: int, to_ms: int) -> None:
        await asyncio.sleep(from_ms / 1000)
        self.vendor.down = True
        await asyncio.sleep((to_ms - from_ms) / 1000)
        self.vendor.down = False

    async def _kill(self, at_ms: int) -> None:
        await asyncio.sleep(at_ms / 1000)
        for process in self.processes[:1]:
            process.kill()

    def _object(self, bucket: str, key: str, before: Object | None, after: Object | None) -> None:
        self.laws.object(bucket, key, before, after)
        if bucket == LANDING and after is not None:
            self._landed(key)

    def _landed(self, key: str) -> None:
        """A landing store that loses things loses this one some steps, or an hour, from now."""
        if self.loop.now_ms >= CALM_MS or self.vanishes.random() >= self.story.vanishing:
            return
        if self.vanishes.random() < _VANISH_LATE:
            self.loop.call_later(HOUR_MS / 1000, self._vanish, key, 0)
        else:
            self._vanish(key, self.vanishes.choice(_VANISH_STEPS))

    def _vanish(self, key: str, steps: int) -> None:
        if steps:
            self.loop.call_soon(self._vanish, key, steps - 1)
        elif (held := self.state.buckets[LANDING].pop(key, None)) is not None:
            self.laws.taken(held[1], may_come_again=self._ocp_has)

    def _ocp_has(self, call_id: str, sha256: str) -> bool:
        """Whether OCP can give these bytes again, as soon as it is asked."""
        has = self.truth.can_give(call_id, self.clock.now_ms() + END_MS - RETENTION_MS)
        return has and not self.story.dark and self.truth.kept(call_id) == sha256

    async def _freeze(self, at_ms: int, for_ms: int) -> None:
        await asyncio.sleep(at_ms / 1000)
        for process in self.processes[:1]:
            process.freeze(for_ms)

    async def _act(self, at_ms: int, what: Act, index: int) -> None:
        """A person's: who is told to try again later does, at whichever process listens."""
        await asyncio.sleep(at_ms / 1000)
        rng = Random(at_ms)  # noqa: S311 - reproducible
        call_id = self.ocp.calls[index].call_id
        for _ in range(_ASKED_MAX):
            process = self._listening(rng)
            try:
                if process is not None:
                    await self._acted(process, at_ms, what, call_id)
                    return
            except (Transient, Crashed):
                pass
            except OcpIngestError:
                return
            await asyncio.sleep(rng.randrange(*_RESTART_MS) / 1000)

    async def _acted(self, process: Process, at_ms: int, what: Act, call_id: str) -> None:
        if what in ("mark_absent", "released"):
            self.laws.touched.add(call_id)
        if what == "bulk":
            await self._bulk(process, at_ms)
        else:
            await _do(process.world, what, call_id)

    async def _bulk(self, process: Process, at_ms: int) -> None:
        """Everything that is open is retried, or everything that was closed is opened again."""
        action = ("retry", "reopen")[at_ms % 2]
        who = Person("ana", "operator", None)
        bulk_id = f"bulk-{at_ms}"
        await bulk.draft(
            process.desk, who, bulk_id, action, "a test", CallQuery(), lambda _call: True, {}
        )
        await bulk.start(process.desk, who, bulk_id)
        self.site.bulk.set()

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


async def _do(world: World, what: Act, call_id: str) -> None:
    who, reason = "ana", "a test"
    if what == "mark_absent":
        await operate.mark_absent(world, call_id, who=who, reason=reason)
    elif what == "replay":
        for one in await world.calls.call_ids():
            await world.calls.rebuild(one)
    elif what == "close_incident":
        for incident in (await world.incidents.incidents())[:1]:
            await operate.close_incident(world, incident.key, who=who, reason=reason)
    elif what != "bulk":
        await operate.act(world, what, call_id, who=who, reason=reason)


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
