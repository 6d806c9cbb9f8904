"""Laws of a Timetable that only EventBridge Scheduler can break: names, seconds, tokens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ocp_ingest.adapters.aws.session import AGAIN_TRIES, Aws
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.aws.timetable import INPUT_BYTES_MAX, AwsTimetable
from ocp_ingest.core.errors import Invalid, TooLarge, Transient
from tests.aws.clients import client
from tests.aws_adapters import stand_in
from tests.aws_adapters.s3_kit import Faults, FaultyAws

# Far enough for no server to ring it: 2096-10-02T07:06:40Z.
T0: Final = 4_000_000_000_000
NOW_S: Final = T0 / 1000 - 3_600


@pytest.fixture
def where() -> AwsSettings:
    return stand_in.schedules()


@pytest.fixture
async def aws(where: AwsSettings) -> AsyncIterator[FaultyAws]:
    async with FaultyAws(where) as made:
        yield made


def a_timetable(aws: Aws) -> AwsTimetable:
    return AwsTimetable(aws, stand_in.TARGET_ARN, now_s=lambda: NOW_S)


@pytest.fixture
def timetable(aws: FaultyAws) -> AwsTimetable:
    return a_timetable(aws)


def schedules(where: AwsSettings) -> list[dict[str, Any]]:
    """What Scheduler has, as it has it."""
    scheduler = client("scheduler", where.endpoints["scheduler"])
    group = where.schedule_group
    found = scheduler.list_schedules(GroupName=group)["Schedules"]
    return [scheduler.get_schedule(GroupName=group, Name=one["Name"]) for one in found]


class TestSchedule:
    async def test_an_alarm_is_a_one_off_schedule_of_the_target_with_the_body_as_it_is(
        self, timetable: AwsTimetable, where: AwsSettings
    ) -> None:
        body = {"job_key": "g-1", "task_token": 'a"b', "n": [1, None, "ñ"]}
        await timetable.set("x-1", T0, body)
        [found] = schedules(where)
        assert (found["Name"], found["GroupName"]) == ("x-1", where.schedule_group)
        assert found["ScheduleExpression"] == "at(2096-10-02T07:06:40)"
        assert found["ScheduleExpressionTimezone"] == "UTC"
        assert found["FlexibleTimeWindow"] == {"Mode": "OFF"}
        assert found["ActionAfterCompletion"] == "DELETE"
        target = found["Target"]
        assert (target["Arn"], target["RoleArn"]) == (stand_in.TARGET_ARN, stand_in.ROLE_ARN)
        assert target["DeadLetterConfig"] == {"Arn": stand_in.DEAD_ARN}
        assert json.loads(target["Input"]) == body
        policy = target["RetryPolicy"]
        # Left out, they are 185 tries in a day.
        assert 0 < policy["MaximumRetryAttempts"] <= 185
        assert 60 <= policy["MaximumEventAgeInSeconds"] <= 3_600

    async def test_without_a_dead_letter_queue_there_is_none(self, where: AwsSettings) -> None:
        async with FaultyAws(replace(where, schedule_dlq_arn="")) as aws:
            await a_timetable(aws).set("a", T0, {})
        assert "DeadLetterConfig" not in schedules(where)[0]["Target"]

    @pytest.mark.parametrize(("at_ms", "second"), [(0, 40), (1, 41), (999, 41), (1_000, 41)])
    async def test_it_never_rings_before_its_time(
        self, timetable: AwsTimetable, where: AwsSettings, at_ms: int, second: int
    ) -> None:
        await timetable.set("a", T0 + at_ms, {})
        [found] = schedules(where)
        assert found["ScheduleExpression"] == f"at(2096-10-02T07:06:{second})"
        [alarm] = await timetable.due(T0 + at_ms)
        assert alarm.at_ms == T0 + at_ms
        assert await timetable.due(T0 + at_ms - 1) == []

    async def test_an_alarm_whose_time_has_come_is_set_for_soon(
        self, timetable: AwsTimetable, where: AwsSettings
    ) -> None:
        """Scheduler takes no time in the past."""
        await timetable.set("a", 0, {})
        [found] = schedules(where)
        at = datetime.strptime(found["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)")
        assert 0 < at.replace(tzinfo=UTC).timestamp() - NOW_S < 60
        [alarm] = await timetable.due(0)
        assert alarm.at_ms == 0


class TestNames:
    @pytest.mark.parametrize("name", ["slot:g", "ñ", "a/b", "", "x" * 65, "\x00", "with space"])
    async def test_any_name_is_kept_as_it_is(
        self, timetable: AwsTimetable, where: AwsSettings, name: str
    ) -> None:
        assert await timetable.set(name, T0, {})
        assert not await timetable.set(name, T0, {})
        assert await timetable.set(f"{name}!", T0, {})
        assert {alarm.name for alarm in await timetable.due(T0)} == {name, f"{name}!"}
        for schedule in schedules(where):
            assert len(schedule["Name"]) <= 64
        await timetable.cancel(name)
        assert [alarm.name for alarm in await timetable.due(T0)] == [f"{name}!"]

    async def test_a_name_that_no_schedule_can_hold_is_refused(
        self, timetable: AwsTimetable, where: AwsSettings
    ) -> None:
        with pytest.raises(Invalid):
            await timetable.set("x" * 600, T0, {})
        with pytest.raises(TooLarge):
            await timetable.set("a", T0, {"x": "x" * INPUT_BYTES_MAX})
        assert schedules(where) == []

    async def test_schedules_of_others_in_the_group_are_no_alarms(
        self, timetable: AwsTimetable, where: AwsSettings
    ) -> None:
        """The state machine sets its own."""
        target = {"Arn": stand_in.TARGET_ARN, "RoleArn": stand_in.ROLE_ARN, "Input": "{}"}
        client("scheduler", where.endpoints["scheduler"]).create_schedule(
            Name="poll-1", GroupName=where.schedule_group, Target=target,
            ScheduleExpression="at(2096-01-01T00:00:00)", FlexibleTimeWindow={"Mode": "OFF"},
        )  # fmt: skip
        await timetable.set("a", T0, {})
        assert [alarm.name for alarm in await timetable.due(T0)] == ["a"]
        assert await timetable.next_at() == T0


class TestLostAnswers:
    async def test_an_alarm_whose_answer_was_lost_is_ours(
        self, timetable: AwsTimetable, aws: FaultyAws, where: AwsSettings
    ) -> None:
        aws.faults.after = {0, 1}
        assert await timetable.set("a", T0, {"n": 1})
        assert len(schedules(where)) == 1
        assert len({params["ClientToken"] for params in asked(aws)}) == 1

    async def test_one_that_stood_before_is_not(
        self, timetable: AwsTimetable, aws: FaultyAws
    ) -> None:
        await timetable.set("a", T0, {"n": 1})
        for at_ms, body in ((T0, {"n": 2}), (T0 + 1, {"n": 1})):
            aws.faults.before = {len(aws.faults.asked)}
            assert not await timetable.set("a", at_ms, body)
        [alarm] = await timetable.due(T0 + 1)
        assert (alarm.at_ms, alarm.body) == (T0, {"n": 1})

    async def test_a_service_that_does_not_answer_is_transient_and_asking_again_is_safe(
        self, timetable: AwsTimetable, aws: FaultyAws, where: AwsSettings
    ) -> None:
        aws.faults.after = set(range(AGAIN_TRIES))
        aws.faults.before = {1, 2, 3}
        with pytest.raises(Transient):
            await timetable.set("a", T0, {"n": 1})
        assert not await timetable.set("a", T0, {"n": 1})
        assert len(schedules(where)) == 1

    async def test_set_again_as_it_was_it_is_another_alarm(
        self, timetable: AwsTimetable, aws: FaultyAws
    ) -> None:
        """A token made of the content would have Scheduler take it for the first one."""
        await timetable.set("a", T0, {"n": 1})
        await timetable.cancel("a")
        assert await timetable.set("a", T0, {"n": 1})
        assert len({params["ClientToken"] for params in asked(aws)}) == 2

    async def test_an_answer_lost_while_cancelling_is_asked_for_again(
        self, timetable: AwsTimetable, aws: FaultyAws, where: AwsSettings
    ) -> None:
        await timetable.set("a", T0, {})
        aws.faults.after = {len(aws.faults.asked)}
        await timetable.cancel("a")
        assert schedules(where) == []


def asked(aws: FaultyAws) -> list[dict[str, Any]]:
    """Parameters of the requests that create."""
    faults = aws.faults
    both = zip(faults.asked, faults.params, strict=True)
    return [params for operation, params in both if operation == "create_schedule"]


def in_pages(faults: Faults, size: int) -> None:
    """Lists of schedules come so many at a time."""
    position = 0

    def edit(operation: str, answer: dict[str, Any]) -> None:
        nonlocal position
        if operation == "list_schedules":
            whole = answer["Schedules"]
            answer["Schedules"] = whole[position : position + size]
            position += size
            if position < len(whole):
                answer["NextToken"] = "more"

    faults.edit = edit


async def test_a_list_that_comes_in_pages_is_whole(timetable: AwsTimetable, aws: FaultyAws) -> None:
    for n in range(20):
        await timetable.set(f"a-{n}", T0 + n, {"n": n})
    in_pages(aws.faults, 3)
    assert [alarm.body["n"] for alarm in await timetable.due(T0 + 99)] == list(range(20))
    assert aws.faults.times("list_schedules") == 7
