"""EventBridge Scheduler's other half: invokes the targets of stored schedules when they are due.

    python -m tests.aws.servers.scheduler_clock PORT '{"localstack": URL, "functions": URL,
        "origin_ms": …, "scale": …, "real_origin_s": …, "duplicates": 0.1, "seed": 7}'

One-off schedules, at(…), and recurring ones, rate(…) and daily cron(…), of every group; time is
the platform's domain time. As Scheduler does it:
    at least once    with the given probability a delivery is made twice
    asynchronously   a Lambda target is invoked as an event; Lambda repeats what fails
    ActionAfterCompletion DELETE   a schedule that was delivered is deleted afterwards
    RetryPolicy      what can't be delivered is tried again, then sent to the dead-letter queue
`real` names functions that work in real time: their schedules recur by it.
Unlike it: not to the minute but at the time itself; and where a schedule's description says its
exact time ({"at_ms"}, our timetable's), that is taken, since at() is never set in the past and
domain time may lie there.
GET /__stats   deliveries, duplicates, dead letters.   POST /__pause, /__resume: as when it is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
import traceback
from collections import Counter
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import aiohttp
from aiohttp import web

from tests.aws.clients import client

# Real time between two looks at what is stored.
LOOK_S: Final = 0.25
_RATE: Final = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_DAILY: Final = re.compile(r"cron\((\d+) (\d+) \* \* \? \*\)")
_UNIT_MS: Final = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_AT: Final = re.compile(r"at\((.+)\)")


def due_ms(schedule: dict[str, Any]) -> int | None:
    """When a one-off schedule is due, in domain time; None: it recurs."""
    found = _AT.fullmatch(schedule["ScheduleExpression"])
    if found is None:
        return None
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return int(json.loads(schedule.get("Description") or "")["at_ms"])
    return int(datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp() * 1000)


def next_ms(schedule: dict[str, Any], after_ms: int) -> int:
    """When a recurring schedule is due next. Raises ValueError for what is not understood here."""
    text = schedule["ScheduleExpression"]
    if found := _RATE.fullmatch(text):
        return after_ms + int(found[1]) * _UNIT_MS[found[2]]
    if found := _DAILY.fullmatch(text):
        day_ms = after_ms - after_ms % _UNIT_MS["day"]
        at_ms = day_ms + int(found[2]) * _UNIT_MS["hour"] + int(found[1]) * _UNIT_MS["minute"]
        return at_ms if at_ms > after_ms else at_ms + _UNIT_MS["day"]
    raise ValueError(f"neither rate(…) nor a daily cron(…): {text}")


class Clock:
    """Looks, and delivers."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._scheduler = client("scheduler", settings["localstack"])
        self._sqs = client("sqs", settings["localstack"])
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        self._next: dict[tuple[str, str], int] = {}
        self._random = Random(settings.get("seed", 0))
        self._sending: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.paused = False
        self.stats: Counter[str] = Counter()

    def now_ms(self) -> int:
        """Domain time, as the platform's clock has it."""
        held = self._settings
        passed_s = time.time() - held["real_origin_s"]
        return int(held["origin_ms"] + passed_s * 1000 * held["scale"])

    async def run(self) -> None:
        """Looks for ever."""
        async with aiohttp.ClientSession() as self._session:
            while True:
                try:
                    if not self.paused:
                        await self._look()
                except Exception:  # the next look may succeed; a test looks at the count
                    self.stats["failed_looks"] += 1
                    traceback.print_exc()
                await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        listed = await asyncio.to_thread(self._list)
        for key in list(self._known):
            if key not in listed:
                del self._known[key]
                self._next.pop(key, None)
        for key in listed:
            if key not in self._known:
                held = await asyncio.to_thread(self._read, key)
                if held is None:
                    continue
                self._known[key] = held
                at_ms = due_ms(held)
                self._next[key] = self._next_ms(held) if at_ms is None else at_ms
            if self._next.get(key, sys.maxsize) <= self.now_ms():
                self._ring(key, self._known[key])

    def _next_ms(self, schedule: dict[str, Any]) -> int:
        now_ms = self.now_ms()
        at_ms = next_ms(schedule, now_ms)
        if schedule["Target"]["Arn"].rpartition(":")[2] in self._settings.get("real", ()):
            return int(now_ms + (at_ms - now_ms) * self._settings["scale"])
        return at_ms

    def _list(self) -> set[tuple[str, str]]:
        pages = self._scheduler.get_paginator("list_schedules").paginate()
        return {(s["GroupName"], s["Name"]) for page in pages for s in page["Schedules"]}

    def _read(self, key: tuple[str, str]) -> dict[str, Any] | None:
        try:
            held: dict[str, Any] = self._scheduler.get_schedule(GroupName=key[0], Name=key[1])
        except self._scheduler.exceptions.ResourceNotFoundException:
            return None
        return held if held.get("State", "ENABLED") == "ENABLED" else None

    def _ring(self, key: tuple[str, str], schedule: dict[str, Any]) -> None:
        once = due_ms(schedule) is not None
        self._next[key] = sys.maxsize if once else self._next_ms(schedule)
        task = asyncio.create_task(self._deliver(key, schedule, once=once))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(self, key: tuple[str, str], schedule: dict[str, Any], *, once: bool) -> None:
        target = schedule["Target"]
        tries = 1 + target.get("RetryPolicy", {}).get("MaximumRetryAttempts", 185)
        delivered = False
        for number in range(tries):
            delivered = await self._invoke(target)
            if delivered:
                break
            await asyncio.sleep(min(5.0, 0.2 * 2**number))
        if not delivered:
            await asyncio.to_thread(self._dead_letter, target)
        elif self._random.random() < self._settings.get("duplicates", 0.0):
            self.stats["duplicates"] += 1
            await self._invoke(target)
        if once and schedule.get("ActionAfterCompletion") == "DELETE":
            await asyncio.to_thread(self._delete, key)

    async def _invoke(self, target: dict[str, Any]) -> bool:
        """Whether Lambda has taken the event."""
        assert self._session is not None
        name = target["Arn"].rpartition(":")[2]
        try:
            async with self._session.post(
                f"{self._settings['functions']}/{name}", data=target.get("Input", "{}").encode(),
                headers={"x-invocation-type": "Event"},
            ) as answer:  # fmt: skip
                taken = answer.status == 202
        except (aiohttp.ClientError, TimeoutError):
            taken = False
        self.stats["delivered" if taken else "refused"] += 1
        self.stats[f"delivered.{name}"] += taken
        return taken

    def _dead_letter(self, target: dict[str, Any]) -> None:
        self.stats["dead_letters"] += 1
        if queue := target.get("DeadLetterConfig", {}).get("Arn"):
            url = self._sqs.get_queue_url(QueueName=queue.rpartition(":")[2])["QueueUrl"]
            self._sqs.send_message(QueueUrl=url, MessageBody=target.get("Input", "{}"))

    def _delete(self, key: tuple[str, str]) -> None:
        with contextlib.suppress(self._scheduler.exceptions.ResourceNotFoundException):
            self._scheduler.delete_schedule(GroupName=key[0], Name=key[1])


def application(clock: Clock) -> web.Application:
    """The HTTP side."""

    async def stats(_request: web.Request) -> web.Response:
        return web.json_response(clock.stats)

    async def pause(request: web.Request) -> web.Response:
        clock.paused = request.path == "/__pause"
        return web.json_response({})

    async def start(app: web.Application) -> None:
        app["running"] = asyncio.create_task(clock.run())

    async def stop(app: web.Application) -> None:
        app["running"].cancel()
        await asyncio.gather(app["running"], return_exceptions=True)

    app = web.Application()
    app.router.add_get("/__stats", stats)
    app.router.add_post("/__pause", pause)
    app.router.add_post("/__resume", pause)
    app.on_startup.append(start)
    app.on_cleanup.append(stop)
    return app


def main(port: str, settings: str) -> None:
    """Serves until it is told to stop."""
    app = application(Clock(json.loads(settings)))
    web.run_app(app, host="127.0.0.1", port=int(port), print=None, access_log=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
