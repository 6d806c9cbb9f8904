"""Timetable on EventBridge Scheduler: a one-off schedule per alarm, which invokes the target.

On AWS nobody polls an alarm: the service invokes the target with the body as its input, at least
once, within the minute of its time, and then deletes the schedule. `due` and `next_at` read what
is set, for tests, `doctor` and people; an alarm that has rung is not there any more.

Part of a schedule        holds
name                      the alarm's name, or a hash of one that Scheduler doesn't take
expression at(…)          its time, up to the next whole second, UTC; never in the past
description               {"name", "at_ms"}: both exactly
target's input            the body, as JSON

Rules
1. One of two alarms with one name stands: creating fails when the name is taken.
2. The client token is new for every `set`, and the same when its request is repeated. One made of
   the content would swallow an alarm that is set, cancelled and set again as it was.
3. Where an answer was lost and the name is taken then, the schedule is read: if it says what
   we asked for, it is taken for ours.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec

from ocp_ingest.adapters.aws.session import AGAIN_TRIES, Answered, Aws
from ocp_ingest.core.errors import Invalid, TooLarge, Transient
from ocp_ingest.core.limits import KIB
from ocp_ingest.ports import Alarm

# Quotas of Scheduler (API reference, CreateSchedule; user guide, "scheduler-quotas").
_NAME: Final = re.compile(r"[0-9a-zA-Z_.-]{1,64}")
_DESCRIPTION_CHARS_MAX: Final = 512
INPUT_BYTES_MAX: Final = 256 * KIB
_PAGE_MAX: Final = 100
# Later tries of an invocation that Scheduler could not make: a poll that is ten minutes late is
# replaced by the state machine's heartbeat anyway, and what can't be delivered is on its queue.
RETRIES_MAX: Final = 10
RETRY_AGE_S_MAX: Final = 900
# Schedules that `due` and `next_at` look at: one per waiting job, and a region has few of those.
LISTED_MAX: Final = 1_000
# Pages may come less than full.
_PAGES_MAX: Final = 100
# Schedules read at once, well below the service's 250 a second.
_READS_AT_ONCE: Final = 16
_PAUSE_S: Final = 0.2
# An alarm whose time has come is set for so soon: users report that Scheduler refuses the past,
# and its clock is not ours.
_SOON_S: Final = 10


class _Exact(msgspec.Struct, frozen=True):
    """What the description of a schedule says."""

    name: str
    at_ms: int


class AwsTimetable:
    """See ocp_ingest.ports.Timetable. `target_arn`: what is invoked with an alarm's body."""

    def __init__(
        self, aws: Aws, target_arn: str,
        *, now_s: Callable[[], float] = time.time,
        token: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:  # fmt: skip
        self._aws = aws
        self._target_arn = target_arn
        self._group = aws.settings.schedule_group
        self._now_s = now_s
        self._token = token

    async def set(self, name: str, at_ms: int, body: dict[str, Any]) -> bool:
        """Sets an alarm. True: it is set as asked, by this call; False: one was there and stands.

        After a lost answer an equal one counts as this call's. Whoever calls again after a
        Transient gets False for its own alarm: it stands. Raises Invalid for a name or body that
        Scheduler can't hold.
        """
        schedule = self._schedule(name, at_ms, body)
        lost = False
        for number in range(1, AGAIN_TRIES + 1):
            try:
                await self._aws.call("scheduler", "create_schedule", **schedule)
            except Transient:
                if number == AGAIN_TRIES:
                    raise
                lost = True
                await asyncio.sleep(_PAUSE_S * number)
                continue
            except Answered as no:
                if no.code != "ConflictException":
                    raise
                return lost and await self._is(schedule)
            return True
        raise AssertionError("unreachable")

    async def cancel(self, name: str) -> None:
        """Forgets an alarm; none there is fine."""
        try:
            await self._aws.call(
                "scheduler", "delete_schedule", again=True, Name=_scheduler_name(name),
                GroupName=self._group,
            )  # fmt: skip
        except Answered as no:
            if no.code != "ResourceNotFoundException":
                raise

    async def due(self, now_ms: int, *, limit: int = 100) -> list[Alarm]:
        """Alarms whose time has come and that have not rung, earliest first."""
        alarms = sorted(await self._alarms(), key=lambda alarm: (alarm.at_ms, alarm.name))
        return [alarm for alarm in alarms if alarm.at_ms <= now_ms][:limit]

    async def next_at(self) -> int | None:
        """When the next alarm rings."""
        return min((alarm.at_ms for alarm in await self._alarms()), default=None)

    # -----------------------------------------------------------------------------------------

    def _schedule(self, name: str, at_ms: int, body: dict[str, Any]) -> dict[str, Any]:
        settings = self._aws.settings
        text = msgspec.json.encode(body).decode()
        if len(text.encode()) > INPUT_BYTES_MAX:
            raise TooLarge(f"An alarm's body must be at most {INPUT_BYTES_MAX} bytes.")
        description = msgspec.json.encode(_Exact(name, at_ms)).decode()
        if len(description) > _DESCRIPTION_CHARS_MAX:
            raise Invalid("An alarm's name is too long for a schedule.")
        soon_ms = int((self._now_s() + _SOON_S) * 1000)
        target: dict[str, Any] = {
            "Arn": self._target_arn,
            "RoleArn": settings.schedule_role_arn,
            "Input": text,
            "RetryPolicy": {
                "MaximumRetryAttempts": RETRIES_MAX,
                "MaximumEventAgeInSeconds": RETRY_AGE_S_MAX,
            },
        }
        if settings.schedule_dlq_arn:
            target["DeadLetterConfig"] = {"Arn": settings.schedule_dlq_arn}
        key = {"KmsKeyArn": settings.schedule_key_arn} if settings.schedule_key_arn else {}
        return {
            **key,
            "Name": _scheduler_name(name),
            "GroupName": self._group,
            "Description": description,
            "ScheduleExpression": f"at({_second(max(at_ms, soon_ms))})",
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": target,
            "ClientToken": self._token(),
        }

    async def _is(self, schedule: dict[str, Any]) -> bool:
        found = await self._read(schedule["Name"])
        return found is not None and (
            (found["Description"], found["Target"]["Input"])
            == (schedule["Description"], schedule["Target"]["Input"])
        )

    async def _read(self, scheduler_name: str) -> dict[str, Any] | None:
        try:
            return await self._aws.call(
                "scheduler", "get_schedule", again=True, Name=scheduler_name,
                GroupName=self._group,
            )  # fmt: skip
        except Answered as no:
            if no.code != "ResourceNotFoundException":
                raise
            return None  # rung or cancelled meanwhile

    async def _alarms(self) -> list[Alarm]:
        names = await self._names()
        found: list[Alarm] = []
        for first in range(0, len(names), _READS_AT_ONCE):
            some = names[first : first + _READS_AT_ONCE]
            schedules = await asyncio.gather(*(self._read(name) for name in some))
            found += [alarm for alarm in map(_alarm, schedules) if alarm is not None]
        return found

    async def _names(self) -> list[str]:
        names: list[str] = []
        more: dict[str, str] = {}
        for _ in range(_PAGES_MAX):
            page = await self._aws.call(
                "scheduler", "list_schedules", again=True, GroupName=self._group,
                MaxResults=_PAGE_MAX, **more,
            )  # fmt: skip
            names += [schedule["Name"] for schedule in page["Schedules"]]
            if not page.get("NextToken") or len(names) >= LISTED_MAX:
                break
            more = {"NextToken": page["NextToken"]}
        return names[:LISTED_MAX]


def _alarm(schedule: dict[str, Any] | None) -> Alarm | None:
    """The alarm of a schedule; None for one that somebody else has put into the group."""
    if schedule is None:
        return None
    try:
        exact = msgspec.json.decode(schedule.get("Description", ""), type=_Exact)
        body = msgspec.json.decode(schedule["Target"].get("Input", ""), type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    return Alarm(exact.name, exact.at_ms, body)


def _scheduler_name(name: str) -> str:
    if _NAME.fullmatch(name):
        return name
    return f"h-{blake2b(name.encode(), digest_size=20).hexdigest()}"


def _second(at_ms: int) -> str:
    """The first whole second that is not before, UTC, as `at()` wants it."""
    return datetime.fromtimestamp(-(-at_ms // 1000), UTC).strftime("%Y-%m-%dT%H:%M:%S")
