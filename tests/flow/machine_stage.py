"""A stage for stage 2 by short invocations: state machine, Scheduler, Lambda and worker in memory.

The state machine follows the contract of infra/asl/recover_window.asl.json: only words, waits and
tokens. Each invocation is a process of its own over the state of all: it may die at any effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime as _Time
from functools import partial
from typing import Any, Final

import msgspec

from ocp_ingest.adapters.memory.executions import (
    ARN,
    Execution,
    MachineState,
    MemoryDetection,
    MemoryExecutions,
    MemoryTasks,
    Waiting,
)
from ocp_ingest.adapters.memory.export_book import MemoryExportBook
from ocp_ingest.adapters.memory.faults import Crashed, Fault, Faults
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.adapters.memory.work_queue import MemoryWorkQueue
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.limits import HOUR_MS, MINUTE_MS, SECOND_MS
from ocp_ingest.entrypoints.worker import DOWNLOAD_TRIES_MAX
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.answer import checked_poll, real_seconds
from ocp_ingest.reconcile.branches import (
    MESSAGE_LEASE_MS,
    AudioWorker,
    Errand,
    metadata,
    parked,
)
from ocp_ingest.reconcile.dispatch import Dispatched, Dispatcher
from ocp_ingest.reconcile.flow import Flow
from ocp_ingest.reconcile.pull import pull
from ocp_ingest.reconcile.world import Stage2
from tests.flow.reconcile_stage import Theatre

Data = dict[str, Any]

# state -> word of its answer -> next state; `wait` waits first.
NEXT: Final[dict[str, dict[str, str]]] = {
    "acquire": {"go": "create", "wait": "acquire", "fetch": "release", "ended": "replan"},
    "create": {"poll": "export", "wait": "create", "fetch": "release", "ended": "replan"},
    "export": {"fetch": "release", "wait": "create", "ended": "replan", "silence": "create"},
    "release": {"fetch": "fetch", "ended": "replan"},
    "fetch": {"fetched": "finish"},
    "finish": {"done": "replan", "wait": "release"},
}
EXPORT_SILENCE_MS: Final = 30 * MINUTE_MS
EXPORT_MS_MAX: Final = 6 * HOUR_MS + 30 * MINUTE_MS
DOWNLOAD_SILENCE_MS: Final = 15 * MINUTE_MS
DOWNLOAD_MS_MAX: Final = 21 * HOUR_MS
FUNCTION_MS_MAX: Final = 14 * MINUTE_MS
_RETRIES: Final = 8
_LAMBDA_RETRIES_MS: Final = (MINUTE_MS, 2 * MINUTE_MS)


class Abandoned(Exception):
    """A task failed for good, or answered a word that the state machine does not know."""


@dataclass
class Invocation:
    """What one invocation is given."""

    world: World
    stage2: Stage2
    flow: Flow
    tasks: MemoryTasks
    executions: MemoryExecutions
    queue: MemoryWorkQueue
    owner: str


class Cloud(Theatre):
    """OCP, our durable state, and everything that AWS does by itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.machine = MachineState()
        self.downloads = MemoryState()
        self.late_ms = 20 * SECOND_MS  # how late timers ring
        self.deliveries = 1  # of each timer, and of each call of a function
        self.decide: Callable[[str], Fault | None] = lambda _point: None
        self.passed: list[str] = []  # points of all invocations
        self.invoked: list[str] = []
        self.on_invoke: Callable[[str], None] = lambda _name: None
        self.stop = asyncio.Event()  # of the worker
        self.runs: dict[str, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[Any]] = set()
        self._working = False
        self._tokens = 0

    # -- invocations --------------------------------------------------------------------------

    async def invoke(self, name: str, work: Callable[[Invocation], Awaitable[Any]]) -> Any:
        """One invocation of a function, or the worker at one message."""
        self.invoked.append(name)
        self.on_invoke(name)
        return msgspec.json.decode(msgspec.json.encode(await work(self.invocation())))

    def invocation(self) -> Invocation:
        """A process of its own."""
        faults = Faults(self.clock, self._decide)
        world = self.stage.world_with(faults)
        owner = f"invocation-{len(self.invoked)}"
        stage2 = Stage2(
            api=self.ocp, book=MemoryExportBook(self.book_state, faults), groups=self.groups,
            owner=owner, real=self.clock, **self.options,
        )  # fmt: skip
        detection = MemoryDetection(self.machine, faults)
        flow = Flow(world, stage2, detection, owner=owner, real_s=real_seconds(1.0))
        queue = MemoryWorkQueue(self.downloads, faults, self.clock, tries_max=DOWNLOAD_TRIES_MAX)
        tasks = MemoryTasks(self.machine, faults)
        executions = MemoryExecutions(self.machine, faults)
        return Invocation(world, stage2, flow, tasks, executions, queue, owner)

    def _decide(self, point: str) -> Fault | None:
        self.passed.append(point)
        return self.decide(point)

    async def detect(self, group: str | None = None, *, census: bool = False) -> Dispatched:
        """One invocation of detect."""
        return msgspec.convert(
            await self.invoke("detect", lambda i: _detect(i, group, census)), Dispatched
        )

    async def pull(self, event: Data) -> Data:
        """One invocation of the puller."""
        asked = checked_poll(event)
        held: Data = await self.invoke("puller", lambda i: pull(i.world, i.flow, i.tasks, asked))
        return held

    async def _lambda(self, call: Callable[[], Awaitable[Any]]) -> None:
        """An asynchronous invocation: failed, it is repeated twice."""
        for pause_ms in (*_LAMBDA_RETRIES_MS, None):
            with suppress(Transient, Crashed):
                await call()
                return
            if pause_ms is not None:
                await self.clock.sleep_ms(pause_ms)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs beside everything else."""
        task = asyncio.ensure_future(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)
        return task

    # -- what AWS does by itself --------------------------------------------------------------

    async def _turn(self) -> None:
        while True:
            await super()._turn()
            if not (self._ring() | self._look() | self._execute() | self._carry()):
                return

    def _ring(self) -> bool:
        """Scheduler: a timer whose time has come invokes the puller and is gone."""
        alarms, now_ms = self.stage.state.alarms, self.clock.now_ms()
        due = [name for name, (at_ms, _) in alarms.items() if at_ms + self.late_ms <= now_ms]
        for name in due:
            event = msgspec.json.decode(alarms.pop(name)[1])
            for _ in range(self.deliveries):
                self.spawn(self._lambda(partial(self.pull, event)))
        return bool(due)

    def _look(self) -> bool:
        asked, self.machine.asked = self.machine.asked, []
        for group in asked:
            self.spawn(self._lambda(partial(self.detect, group)))
        return bool(asked)

    def _execute(self) -> bool:
        new = [e for e in self.machine.executions.values() if e.name not in self.runs]
        for execution in new:
            self.runs[execution.name] = self.spawn(Run(self, execution).run())
        return bool(new)

    def _carry(self) -> bool:
        """The worker takes a message when it has none; dead letters are answered."""
        now_ms, held = self.clock.now_ms(), list(self.downloads.messages.values())
        begun = False
        for message in held:
            if message.state == "parked":
                del self.downloads.messages[message.ident]
                body = msgspec.json.decode(message.body)
                self.spawn(self._lambda(partial(self._dead_letter, body)))
                begun = True
        due = any(m.at_ms <= now_ms for m in held if m.state != "parked")
        if due and not self._working and not self.stop.is_set():
            self._working = begun = True
            self.spawn(self._work())
        return begun

    async def _work(self) -> None:
        async def one(i: Invocation) -> None:
            worker = AudioWorker(i.world, i.stage2, i.queue, i.tasks)
            for message in await i.queue.take(limit=1, lease_ms=MESSAGE_LEASE_MS, wait_s=0):
                await worker.handle(message, self.stop)

        try:
            with suppress(Crashed, Transient):
                await self.invoke("worker", one)
        finally:
            self._working = False

    async def _dead_letter(self, body: Data) -> None:
        await self.invoke("dead_letters", lambda i: parked(i.world, i.tasks, body))

    def next_at(self) -> int | None:
        """When something happens by itself next."""
        times = [at_ms + self.late_ms for at_ms, _ in self.stage.state.alarms.values()]
        if not self._working and not self.stop.is_set():
            times += [m.at_ms for m in self.downloads.messages.values() if m.state != "parked"]
        sleeper = self.clock.next_at()
        times += [] if sleeper is None else [sleeper]
        return max(self.clock.now_ms(), min(times)) if times else None

    # -- stories ------------------------------------------------------------------------------

    async def live(self, duration_ms: int, *, every_ms: int = 30 * MINUTE_MS) -> None:
        """Lets so much time pass with a detection every half hour."""
        end_ms = self.clock.now_ms() + duration_ms
        while self.clock.now_ms() < end_ms:
            self.spawn(self._lambda(self.detect))
            await self.run_for(min(every_ms, end_ms - self.clock.now_ms()))

    async def sweep(self, *, within_ms: int = 48 * HOUR_MS) -> None:
        """One detection, and all that follows from it at once."""
        self.spawn(self._lambda(self.detect))
        await self.run_until(lambda: not self._others, within_ms=within_ms)

    def running(self) -> list[str]:
        """Executions that run."""
        return [e.name for e in self.machine.executions.values() if e.running]

    def vanish(self, name: str) -> None:
        """An execution is stopped by somebody: its tokens are dead."""
        self.runs[name].cancel()
        self.machine.executions[name].running = False
        for token, waiting in self.machine.tokens.items():
            if token.startswith(f"{name}#"):
                waiting.open = False

    def token(self, execution: str) -> tuple[str, Waiting]:
        """A token of a state that begins to wait."""
        self._tokens += 1
        token, waiting = f"{execution}#{self._tokens}", Waiting()
        self.machine.tokens[token] = waiting
        return token, waiting


async def _detect(i: Invocation, group: str | None, census: bool) -> Dispatched:
    look = Dispatcher(i.world, i.stage2, i.executions, owner=i.owner)
    return await look.look(group, count_at_once=census)


class Run:
    """One execution of the state machine."""

    def __init__(self, cloud: Cloud, execution: Execution) -> None:
        self._cloud = cloud
        self._execution = execution
        self._key, self._group = execution.job_key, execution.ocp_group

    async def run(self) -> None:
        try:
            state, said = "acquire", dict[str, Any]()
            while state != "replan":
                said = await getattr(self, f"_{state}")(said)
                word = said["next"]
                if word not in NEXT[state] or (word == "wait" and said["wait_s"] < 1):
                    raise Abandoned(f"{state} says {word}")
                if word == "wait":
                    await self._cloud.clock.sleep_ms(said["wait_s"] * SECOND_MS)
                state = NEXT[state][word]
            self._cloud.machine.asked.append(self._group)
        except Abandoned as why:
            text = str(why)
            with suppress(Abandoned):
                await self._task("abandon", lambda i: i.flow.abandon(self._key, self._group, text))
        finally:
            self._execution.running = False

    async def _acquire(self, _said: Data) -> Data:
        arn = ARN + self._execution.name
        return await self._task("acquire", lambda i: i.flow.acquire(self._key, self._group, arn))

    async def _create(self, _said: Data) -> Data:
        return await self._task("create", lambda i: i.flow.create(self._key, self._group))

    async def _release(self, _said: Data) -> Data:
        return await self._task("release", lambda i: i.flow.release(self._key, self._group))

    async def _finish(self, said: Data) -> Data:
        number, branches = said["round"], said["branches"]
        return await self._task(
            "finish", lambda i: i.flow.finish(self._key, self._group, number, branches)
        )

    async def _export(self, said: Data) -> Data:
        """createSchedule.waitForTaskToken: a name that is taken, or silence, is polled after."""
        first, alarms = said["first_poll"], self._cloud.stage.state.alarms
        token, waiting = self._cloud.token(self._execution.name)
        if first["name"] in alarms:
            return {"next": "silence"}
        at_ms = msgspec.convert(first["at"] + "Z", type=_Time).timestamp() * 1000
        body = first["input"] | {"task_token": token}
        alarms[first["name"]] = (int(at_ms), msgspec.json.encode(body))
        try:
            return await self._wait(waiting, EXPORT_SILENCE_MS, EXPORT_MS_MAX)
        except TimeoutError:
            return {"next": "silence"}

    async def _fetch(self, said: Data) -> Data:
        branches = await asyncio.gather(self._metadata(said), self._audio(said))
        return {"next": "fetched", "round": said["round"], "branches": branches}

    async def _metadata(self, said: Data) -> Data:
        if not said["metadata"]:
            return {"branch": "metadata", "failed": False, "skipped": True}
        errand = msgspec.convert(self._errand(said, ""), Errand)
        try:
            answer = await self._task(
                "metadata", lambda i: metadata(i.world, i.stage2, errand, left_ms=FUNCTION_MS_MAX)
            )
        except Abandoned as failed:
            return {"branch": "metadata", "failed": True, "error": str(failed)}
        return {"branch": "metadata", "failed": False, "answer": answer}

    async def _audio(self, said: Data) -> Data:
        if not said["audio"]:
            return {"branch": "audio", "failed": False, "skipped": True}
        token, waiting = self._cloud.token(self._execution.name)
        queue = MemoryWorkQueue(self._cloud.downloads, Faults(), self._cloud.clock)
        await queue.put("", self._errand(said, token))
        try:
            answer = await self._wait(waiting, DOWNLOAD_SILENCE_MS, DOWNLOAD_MS_MAX)
        except (TimeoutError, Abandoned) as failed:
            return {"branch": "audio", "failed": True, "error": str(failed) or "States.Timeout"}
        return {"branch": "audio", "failed": False, "answer": answer}

    def _errand(self, said: Data, token: str) -> Data:
        return {
            "job_key": self._key, "ocp_group": self._group, "round": said["round"],
            "until_ms": said["until_ms"], "task_token": token,
            "dialog_group_ids": said["dialog_group_ids"],
        }  # fmt: skip

    async def _task(self, name: str, work: Callable[[Invocation], Awaitable[Any]]) -> Data:
        """A Lambda task with its Retry; `deliveries` of each invocation, one answer counts."""
        for number in range(_RETRIES + 1):
            try:
                for _ in range(self._cloud.deliveries - 1):
                    with suppress(Transient):
                        await self._invoke(name, work)
                return await self._invoke(name, work)
            except (Transient, Crashed) as failed:
                error = type(failed).__name__
            await self._cloud.clock.sleep_ms(min(60, 2 << number) * SECOND_MS)
        raise Abandoned(f"{name}: {error}")

    async def _invoke(self, name: str, work: Callable[[Invocation], Awaitable[Any]]) -> Data:
        async def data(i: Invocation) -> Data:
            held: Data = (await work(i)).data()
            return held

        held: Data = await self._cloud.invoke(name, data)
        return held

    async def _wait(self, waiting: Waiting, silence_ms: int, max_ms: int) -> Data:
        """Waits for a token; raises TimeoutError after silence, Abandoned after a failure."""
        clock = self._cloud.clock
        end_ms = clock.now_ms() + max_ms
        while waiting.open:
            waiting.heard.clear()
            until_ms = min(silence_ms, end_ms - clock.now_ms())
            pause = asyncio.ensure_future(clock.sleep_ms(max(1, until_ms)))
            heard = asyncio.ensure_future(waiting.heard.wait())
            try:
                await asyncio.wait({pause, heard}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                pause.cancel()
                heard.cancel()
            if not waiting.heard.is_set() or clock.now_ms() >= end_ms:
                waiting.open = False
                raise TimeoutError
        if waiting.output is None:
            raise Abandoned(waiting.error)
        said: Data = msgspec.json.decode(waiting.output)
        return said
