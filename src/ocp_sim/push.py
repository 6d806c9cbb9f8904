"""The streaming export: an HTTP client that pushes events and recordings to the receiver.

A heap holds what is to be sent by domain time; bounded workers send what is due; what fails goes
back into the heap. Nothing is sent before its time, and nothing waits outside the heap.
"""

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from random import Random
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import structlog
from msgspec import Struct, field

from ocp_sim import bodies, config
from ocp_sim.clock import Clock
from ocp_sim.model import Delivery
from ocp_sim.retry import TOKEN_STATUSES, Answer, Fate, next_step
from ocp_sim.script import deliveries
from ocp_sim.world import World

PROBLEMS_MAX: Final = 100  # kept to be looked at
DETAIL_CHARS: Final = 300  # of a refusal's body
DOZE_S_MAX: Final = 0.5  # how long the heap is left alone at most
NO_ANSWER: Final = "no_answer"

log = structlog.get_logger()


class Parcel(Struct, kw_only=True):
    """A delivery and its tries so far."""

    delivery: Delivery
    tries: int = 0
    first_ms: int = 0


class Progress(Struct, kw_only=True):
    """What became of the pushes so far."""

    total: int = 0
    delivered: int = 0
    refused: int = 0
    given_up: int = 0
    dropped: int = 0  # of muted groups: never tried
    retrying: int = 0
    tries: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    lateness_ms_max: int = 0  # domain; how long after its time a push was first tried
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def settled(self) -> int:
        """Pushes that need no more tries."""
        return self.delivered + self.refused + self.given_up + self.dropped


class TokenSource:
    """A token of the receiver by client credentials, renewed in time."""

    def __init__(self, session: aiohttp.ClientSession, settings: config.Push) -> None:
        self._session = session
        self._settings = settings
        self._token = ""
        self._until_s = 0.0
        self._lock = asyncio.Lock()

    async def get(self) -> str:
        """A token good for some time; raises `aiohttp.ClientError`, `TimeoutError`."""
        async with self._lock:
            if not self._token or monotonic() >= self._until_s:
                await self._renew()
            return self._token

    def throw_away(self, token: str) -> None:
        """That token was refused."""
        if token == self._token:
            self._token = ""

    async def _renew(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": self._settings.client_secret,
            "scope": self._settings.scope,
        }
        async with self._session.post(self._settings.token_url, data=form) as response:
            response.raise_for_status()
            answer = await response.json()
        life_s = float(answer.get("expires_in", 300))
        self._token = str(answer["access_token"])
        self._until_s = monotonic() + max(life_s - self._settings.token_margin_s, life_s / 2)


class Pusher:
    """Pushes a world to its receiver."""

    def __init__(
        self, world: World, settings: config.Push, clock: Clock, public_url: Callable[[], str]
    ) -> None:
        self.settings = settings
        self.progress = Progress()
        self.muted_groups: frozenset[str] = frozenset()
        self._world = world
        self._clock = clock
        self._public_url = public_url
        self._rng = Random(world.seed)  # noqa: S311 - jitter
        self._heap: list[tuple[int, int, Parcel]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._paused = False
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """idle, running, paused, done or failed."""
        if self._task is None:
            return "idle"
        if self._task.done():
            bad = self._task.cancelled() or self._task.exception() is not None
            return "failed" if bad else "done"
        return "paused" if self._paused else "running"

    def start(self, settings: config.Push | None = None) -> None:
        """Begin, once; raises `ValueError` without a target, `RuntimeError` when begun."""
        if self._task is not None:
            raise RuntimeError("the push has already begun")
        self.settings = settings or self.settings
        if not (self.settings.target and self.settings.token_url):
            raise ValueError("push.target and push.token_url must both be set")
        for one in deliveries(self._world, self.settings):
            self._put(one.at_ms, Parcel(delivery=one))
        self.progress.total = len(self._heap)
        self._task = asyncio.create_task(self._run())

    def pause(self, paused: bool) -> None:
        """Stop or go on sending."""
        self._paused = paused
        self._changed.set()

    async def stop(self) -> None:
        """End at once, whatever is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self) -> None:
        """Until all is settled."""
        if self._task is not None:
            await self._task

    def shown(self) -> dict[str, Any]:
        """Progress for people and tests."""
        progress = self.progress
        return {
            "state": self.state,
            "done": self.state == "done",
            "total": progress.total,
            "delivered": progress.delivered,
            "retrying": progress.retrying,
            "refused": progress.refused,
            "given_up": progress.given_up,
            "dropped": progress.dropped,
            "waiting": progress.total - progress.settled - progress.retrying,
            "tries": progress.tries,
            "statuses": dict(sorted(progress.statuses.items())),
            "lateness_ms_max": progress.lateness_ms_max,
            "problems": progress.problems,
        }

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=self.settings.request_timeout_s)
        connector = aiohttp.TCPConnector(limit=self.settings.concurrency)
        slots = asyncio.Semaphore(self.settings.concurrency)
        log.info("push.started", deliveries=self.progress.total, target=self.settings.target)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as workers,
        ):
            tokens = TokenSource(session, self.settings)
            while self.progress.settled < self.progress.total:
                await slots.acquire()
                parcel = await self._next_due()
                if parcel is None:
                    slots.release()
                    continue
                worker = workers.create_task(self._try(session, tokens, parcel))
                worker.add_done_callback(lambda _: slots.release())
        log.info("push.done", **{k: v for k, v in self.shown().items() if k != "problems"})

    async def _next_due(self) -> Parcel | None:
        """The next parcel if it is due; else doze until something may have changed."""
        if self._heap and not self._paused:
            wait_s = self._clock.wait_s(self._heap[0][0])
            if wait_s == 0:
                return heapq.heappop(self._heap)[2]
        else:
            wait_s = DOZE_S_MAX
        self._changed.clear()
        try:
            async with asyncio.timeout(min(wait_s, DOZE_S_MAX)):
                await self._changed.wait()
        except TimeoutError:
            pass
        return None

    async def _try(
        self, session: aiohttp.ClientSession, tokens: TokenSource, parcel: Parcel
    ) -> None:
        if parcel.tries:
            self.progress.retrying -= 1
        if parcel.delivery.ocp_group in self.muted_groups:
            self.progress.dropped += 1
            self._changed.set()
            return
        if not parcel.tries:
            parcel.first_ms = self._clock.now_ms()
            late_ms = parcel.first_ms - parcel.delivery.at_ms
            self.progress.lateness_ms_max = max(self.progress.lateness_ms_max, late_ms)
        parcel.tries += 1
        answer, detail = await self._send(session, tokens, parcel)
        self.progress.tries += 1
        self.progress.statuses[str(answer.status or NO_ANSWER)] += 1
        self._settle(parcel, answer, detail)

    def _settle(self, parcel: Parcel, answer: Answer, detail: str) -> None:
        now_ms = self._clock.now_ms()
        step = next_step(
            answer,
            parcel.tries,
            now_ms - parcel.first_ms,
            self.settings,
            ms_per_real_s=1 / self._clock.real_s(1),
            jitter=self._rng.random(),
        )
        if step.fate is Fate.AGAIN:
            self.progress.retrying += 1
            self._put(now_ms + int(step.pause_ms), parcel)
        else:
            setattr(self.progress, step.fate, getattr(self.progress, step.fate) + 1)
            if step.fate is not Fate.DELIVERED:
                self._note(parcel, answer, step.fate, detail)
        self._changed.set()

    def _note(self, parcel: Parcel, answer: Answer, fate: Fate, detail: str) -> None:
        one = parcel.delivery
        problem = {
            "call_id": one.call_id,
            "kind": one.kind,
            "form": one.form,
            "fate": str(fate),
            "status": answer.status,
            "tries": parcel.tries,
        }
        log.warning(f"push.{fate}", **problem)
        if len(self.progress.problems) < PROBLEMS_MAX:
            self.progress.problems.append(problem | {"detail": detail})

    def _put(self, due_ms: int, parcel: Parcel) -> None:
        heapq.heappush(self._heap, (due_ms, next(self._order), parcel))

    async def _send(
        self, session: aiohttp.ClientSession, tokens: TokenSource, parcel: Parcel
    ) -> tuple[Answer, str]:
        try:
            token = await tokens.get()
            request = await asyncio.to_thread(self._request, parcel.delivery)
            return await self._post(session, tokens, parcel, request, token)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as problem:
            return Answer(None), type(problem).__name__

    async def _post(
        self,
        session: aiohttp.ClientSession,
        tokens: TokenSource,
        parcel: Parcel,
        request: bodies.Request,
        token: str,
    ) -> tuple[Answer, str]:
        first, headers = parcel.tries == 1, dict(request.headers)
        spoilt = first and parcel.delivery.spoil_token
        headers["Authorization"] = f"Bearer {_spoil(token) if spoilt else token}"
        headers["Content-Length"] = str(len(request.body))
        cut = first and parcel.delivery.cut_first and len(request.body) > 1
        async with session.request(
            request.method,
            self.settings.target.rstrip("/") + request.path,
            params=request.params,
            headers=headers,
            data=_half(request.body) if cut else request.body,
            allow_redirects=False,
        ) as response:
            detail = (await response.content.read(DETAIL_CHARS)).decode(errors="replace")
            if response.status in TOKEN_STATUSES and not spoilt:
                tokens.throw_away(token)
            return Answer(response.status, _seconds(response.headers.get("Retry-After"))), detail

    def _request(self, one: Delivery) -> bodies.Request:
        if one.recording is None:
            return bodies.events_request(one, self.settings)
        recording = self._world.recordings[one.recording]
        data = self._world.audio(recording.name, "stream")
        url = f"{self._public_url()}/media/stream/{quote(recording.name)}"
        media = (url, self._world.sounds.facts(recording, "stream"))
        return bodies.recording_request(one, self.settings, recording, data, media)


def _spoil(token: str) -> str:
    return token[:-4] + token[-4:][::-1] + "x"


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.strip().isdigit() else None


async def _half(body: bytes) -> AsyncIterator[bytes]:
    """Half a body, then the connection dies."""
    yield body[: len(body) // 2]
    raise ConnectionResetError("cut on purpose")
