"""Laws of the chain of short invocations: what comes twice, late or never changes nothing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from msgspec.structs import replace

from ocp_ingest.adapters.memory.executions import ARN
from ocp_ingest.adapters.memory.faults import Crashed, Fault, Kind
from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.errors import Invalid, NotFound
from ocp_ingest.core.export_job import State, Unavailable, wait_ms
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from ocp_ingest.reconcile.answer import checked_poll, real_seconds, task_id
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.hold import INVOCATION_LEASE_MS, GroupBusy
from tests.flow.fake_export_api import OcpCall
from tests.flow.machine_stage import Abandoned, Cloud
from tests.flow.reconcile_stage import GROUP, HOUR_0
from tests.flow.stage import settings


async def a_lost_call(cloud: Cloud, call_id: str = "c") -> None:
    await cloud.announced(call_id)
    await cloud.run_for(4 * HOUR_MS)


async def planned(cloud: Cloud) -> str:
    """A job that is planned and whose execution was not begun; its key."""
    await a_lost_call(cloud)
    await cloud.detect()
    cloud.runs[cloud.jobs()[0].job_key] = asyncio.ensure_future(asyncio.sleep(0))
    return cloud.jobs()[0].job_key


async def until_exported(cloud: Cloud) -> None:
    cloud.spawn(cloud.detect())
    await cloud.run_until(lambda: len(cloud.ocp.ours) == 1, within_ms=HOUR_MS)
    await cloud.run_for(5 * SECOND_MS)


def replace_group(call: OcpCall, group: str) -> OcpCall:
    """The same call, as another group's export has it."""
    return OcpCall(call.call_id, group, call.start_ms, call.audio, call.cdrs)


def held_by_another(cloud: Cloud, for_ms: int) -> None:
    cloud.book_state.leases[GROUP] = Lease(
        ocp_group=GROUP, owner="another", fence=99, until_ms=cloud.clock.now_ms() + for_ms
    )


class TestTwice:
    @pytest.mark.parametrize("times", [2, 3])
    async def test_timers_and_invocations_that_come_several_times_change_nothing(
        self, times: int
    ) -> None:
        once, often = Cloud(), Cloud()
        often.deliveries = times
        for cloud in (once, often):
            await cloud.announced("c1")
            half = cloud.at_ocp("c2", HOUR_0 + MINUTE_MS)
            await cloud.stage.send(half.cdrs["dialog_start"])
            cloud.ocp.takes_ms = 20 * MINUTE_MS
            await cloud.run_for(9 * HOUR_MS)
            await cloud.sweep()
        assert await often.outcomes() == {"c1": "stored", "c2": "stored"}
        assert len(often.ocp.ours) == 1
        assert often.ocp.asked["status"] == once.ocp.asked["status"], "no poll is made twice"
        assert often.ocp.asked["create"] == once.ocp.asked["create"]
        assert often.ocp.fetched == once.ocp.fetched
        [job], [plain] = often.jobs(), once.jobs()
        assert (job.polls, job.round, job.end) == (plain.polls, plain.round, plain.end)
        often.check_settled()

    async def test_an_old_timer_that_comes_again_asks_ocp_nothing_and_sets_nothing(self) -> None:
        cloud = Cloud()
        await a_lost_call(cloud)
        cloud.ocp.takes_ms = 40 * MINUTE_MS
        await until_exported(cloud)
        [(_, body)] = cloud.stage.state.alarms.values()
        first = msgspec.json.decode(body)
        await cloud.run_for(12 * MINUTE_MS)
        assert cloud.jobs()[0].polls == 3
        asked, alarms = cloud.ocp.asked["status"], dict(cloud.stage.state.alarms)
        assert len(alarms) == 1
        for iteration in (1, 2):
            said = await cloud.pull(first | {"iteration": iteration})
            assert said["stale"]
        assert (await cloud.pull(first | {"iteration": 7}))["stale"]
        assert (cloud.ocp.asked["status"], cloud.stage.state.alarms) == (asked, alarms)

    async def test_the_last_timer_repeated_sets_the_next_one_that_its_first_run_did_not(
        self,
    ) -> None:
        cloud = Cloud()
        await a_lost_call(cloud)
        cloud.ocp.takes_ms = 10 * MINUTE_MS
        await until_exported(cloud)
        struck = False

        def die(point: str) -> Fault | None:
            nonlocal struck
            hit = point == "Timetable.set" and not struck
            struck = struck or hit
            return Fault(Kind.CRASH_BEFORE) if hit else None

        cloud.decide = die
        await cloud.run_for(4 * MINUTE_MS)
        assert struck
        assert len(cloud.stage.state.alarms) == 1, "the chain goes on"
        await cloud.run_until(lambda: cloud.ends() == ["done"], within_ms=HOUR_MS)
        assert cloud.invoked.count("create") == 1, "no silence had to be noticed"

    async def test_a_step_repeated_after_its_answer_was_lost_says_the_same(self) -> None:
        cloud = Cloud()
        cloud.options["census"] = False
        key = await planned(cloud)

        async def said(work: object) -> dict[str, object]:
            i = cloud.invocation()
            answer = await work(i)  # type: ignore[operator]
            held: dict[str, object] = answer.data()
            held.pop("first_poll", None)  # has a name of its own each time
            return held

        for step in (
            lambda i: i.flow.acquire(key, GROUP, ARN + key),
            lambda i: i.flow.create(key, GROUP),
        ):
            assert await said(step) == await said(step)
        assert len(cloud.ocp.ours) == 1


class TestMutex:
    async def test_who_finds_the_group_taken_waits_a_moment_and_then_says_so(self) -> None:
        cloud = Cloud()
        key = await planned(cloud)
        held_by_another(cloud, HOUR_MS)
        began = cloud.clock.now_ms()
        asked = cloud.spawn(cloud.invocation().flow.create(key, GROUP))
        await cloud.run_until(asked.done, within_ms=MINUTE_MS)
        assert isinstance(asked.exception(), GroupBusy)
        assert type(asked.exception()).__name__ == "GroupBusy", "state machines know it by name"
        assert 4 * SECOND_MS <= cloud.clock.now_ms() - began <= 11 * SECOND_MS
        assert cloud.ocp.ours == []

    async def test_a_lease_that_is_free_within_the_moment_is_taken(self) -> None:
        cloud = Cloud()
        key = await planned(cloud)
        held_by_another(cloud, 3 * SECOND_MS)
        asked = cloud.spawn(cloud.invocation().flow.create(key, GROUP))
        await cloud.run_until(asked.done, within_ms=MINUTE_MS)
        assert asked.result().next == "poll"
        assert cloud.jobs()[0].fence == 100

    async def test_a_killed_invocation_blocks_its_group_for_a_minute_not_longer(self) -> None:
        cloud = Cloud()
        key = await planned(cloud)
        dead = cloud.invocation()
        cloud.decide = lambda point: Fault(Kind.CRASH_AFTER) if point == "ExportBook.keep" else None
        with pytest.raises(Crashed):
            await dead.flow.create(key, GROUP)
        cloud.decide = lambda _point: None
        assert cloud.book_state.leases[GROUP].owner
        await cloud.run_for(INVOCATION_LEASE_MS)
        answer = await cloud.invocation().flow.create(key, GROUP)
        assert answer.next == "wait", "it died between the intent and the POST: the listing decides"
        assert cloud.jobs()[0].state is State.DOUBTFUL

    @pytest.mark.parametrize("operation", ["create", "status", "files"])
    async def test_the_late_writes_of_a_frozen_invocation_are_refused(self, operation: str) -> None:
        cloud = Cloud()
        await a_lost_call(cloud)
        ocp, frozen, thaw = cloud.ocp, asyncio.Event(), asyncio.Event()
        real = getattr(ocp, operation)

        async def late(*args: object) -> object:
            setattr(ocp, operation, real)
            said = await real(*args)
            frozen.set()
            await thaw.wait()
            return said

        setattr(ocp, operation, late)
        cloud.spawn(cloud._lambda(cloud.detect))
        await cloud.run_until(frozen.is_set, within_ms=HOUR_MS)
        # A frozen process renews nothing; whoever waits for it has given up.
        held = cloud.book_state.leases[GROUP]
        cloud.book_state.leases[GROUP] = replace(held, until_ms=0)
        [run] = cloud.running()
        cloud.vanish(run)
        await cloud.live(3 * HOUR_MS)
        assert await cloud.outcomes() == {"c": "stored"}
        book, journal = dict(cloud.book_state.jobs), dict(cloud.stage.state.journal)
        thaw.set()
        await cloud.run_for(10 * MINUTE_MS)
        assert cloud.book_state.jobs == book
        assert cloud.stage.state.journal == journal
        assert len(ocp.ours) == 1

    async def test_a_step_that_takes_minutes_keeps_its_lease(self) -> None:
        cloud = Cloud()
        key = await planned(cloud)
        answers = asyncio.Event()
        real = cloud.ocp.create

        async def slow(*args: object) -> object:
            await answers.wait()
            return await real(*args)  # type: ignore[arg-type]

        cloud.ocp.create = slow  # type: ignore[method-assign, assignment]
        step = cloud.spawn(cloud.invocation().flow.create(key, GROUP))
        await cloud.run_for(5 * INVOCATION_LEASE_MS)
        assert cloud.book_state.leases[GROUP].until_ms > cloud.clock.now_ms()
        answers.set()
        await cloud.run_until(step.done, within_ms=MINUTE_MS)
        assert step.result().next == "poll"

    async def test_who_learns_that_its_lease_is_lost_stops_at_once(self) -> None:
        cloud = Cloud()
        key = await planned(cloud)
        answers = asyncio.Event()

        async def hang(*_args: object) -> object:
            await answers.wait()
            raise AssertionError("nobody waits for this answer")

        cloud.ocp.create = hang  # type: ignore[assignment, method-assign]
        step = cloud.spawn(cloud.invocation().flow.create(key, GROUP))
        await cloud.run_for(SECOND_MS)
        held_by_another(cloud, HOUR_MS)
        await cloud.run_until(step.done, within_ms=INVOCATION_LEASE_MS)
        assert isinstance(step.exception(), GroupBusy)
        assert cloud.book_state.leases[GROUP].owner == "another", "it is not ours to give up"

    async def test_two_executions_of_a_group_never_export_at_once(self) -> None:
        cloud = Cloud()
        for n in range(4):
            await cloud.announced(f"c{n}", HOUR_0 + n * 60 * HOUR_MS)
        await cloud.run_for(12 * DAY_MS)
        cloud.spawn(cloud._lambda(cloud.detect))
        for _ in range(8):  # looks that nobody needs, at any time
            cloud.spawn(cloud._lambda(cloud.detect))
            cloud.spawn(cloud._lambda(lambda: cloud.detect(GROUP)))
            await cloud.run_for(2 * MINUTE_MS)
        await cloud.live(DAY_MS)
        assert set((await cloud.outcomes()).values()) == {"stored"}
        assert cloud.ocp.most_at_once == {GROUP: 1}
        assert len(cloud.ocp.ours) == 4

    async def test_a_job_waits_for_the_one_that_holds_the_slot_before_it(self) -> None:
        cloud = Cloud()
        key = await planned(cloud)
        await cloud.invocation().flow.create(key, GROUP)
        [first] = cloud.jobs()
        second = replace(
            first, job_key="second", state=State.PLANNED, planned_at=first.planned_at + 1,
            export_id=None,
        )  # fmt: skip
        i = cloud.invocation()
        lease = await i.stage2.book.lease(GROUP, "x", now_ms=cloud.clock.now_ms(), ttl_ms=1_000)
        assert lease is not None
        await i.stage2.book.keep(lease, job=second)
        await i.stage2.book.give_up(lease)
        assert (await cloud.invocation().flow.acquire("second", GROUP, "x:1")).next == "wait"
        assert (await cloud.invocation().flow.acquire(key, GROUP, "x:2")).next == "go"

    async def test_the_slot_is_free_for_the_next_window_while_one_downloads(self) -> None:
        cloud = Cloud()
        await cloud.announced("c1")
        await cloud.announced("c2", HOUR_0 + 60 * HOUR_MS)
        await cloud.run_for(5 * DAY_MS)
        cloud.hold_downloads()
        await cloud.live(20 * MINUTE_MS)
        assert len(cloud.ocp.ours) == 2
        assert [job.state for job in cloud.jobs()] == [State.DOWNLOADING] * 2
        assert len(cloud.running()) == 2


class TestSilence:
    async def test_a_lost_timer_is_noticed_and_the_same_export_polled_under_a_new_token(
        self,
    ) -> None:
        cloud = Cloud()
        await a_lost_call(cloud)
        await until_exported(cloud)
        old = cloud.jobs()[0]
        cloud.stage.state.alarms.clear()
        await cloud.run_until(lambda: cloud.ends() == ["done"], within_ms=HOUR_MS)
        assert len(cloud.ocp.ours) == 1
        assert cloud.invoked.count("create") == 2
        assert await cloud.outcomes() == {"c": "stored"}
        assert old.export_id == cloud.jobs()[0].export_id

    async def test_the_timers_of_a_dead_token_are_superseded_and_do_not_stand_for_the_new_ones(
        self,
    ) -> None:
        patient = Policy(wait_ms_min=3 * HOUR_MS)
        cloud = Cloud(settings(policy=CallPolicy(stage2=patient)))
        await a_lost_call(cloud)
        cloud.ocp.takes_ms = 50 * MINUTE_MS
        await until_exported(cloud)
        [(name, (_, body))] = cloud.stage.state.alarms.items()
        late_ms = cloud.clock.now_ms() + 31 * MINUTE_MS + 10 * SECOND_MS
        cloud.stage.state.alarms[name] = (late_ms, body)  # Scheduler is half an hour late
        await cloud.run_for(31 * MINUTE_MS)
        assert len(cloud.stage.state.alarms) == 2, "the old one, and the new token's own"
        polls = cloud.ocp.asked["status"]
        await cloud.run_for(40 * SECOND_MS)
        assert name not in cloud.stage.state.alarms
        assert cloud.ocp.asked["status"] == polls, "a dead token asks OCP nothing"
        await cloud.run_until(lambda: cloud.ends() == ["done"], within_ms=2 * HOUR_MS)
        assert len(cloud.ocp.ours) == 1
        dead = [t for t in cloud.machine.tokens.values() if t.output is None and not t.error]
        assert len(dead) == 1

    async def test_a_timer_whose_name_is_taken_is_replaced_by_another(self) -> None:
        cloud = Cloud()
        key = await planned(cloud)
        first = await cloud.invocation().flow.create(key, GROUP)
        second = await cloud.invocation().flow.create(key, GROUP)
        assert first.first_poll is not None
        assert second.first_poll is not None
        assert first.first_poll.name != second.first_poll.name
        assert len(first.first_poll.name) <= 64
        assert len(cloud.ocp.ours) == 1

    async def test_a_wait_longer_than_a_token_may_be_silent_is_spent_without_one(self) -> None:
        cloud = Cloud()
        key = await planned(cloud)
        i = cloud.invocation()
        answer = await i.flow.create(key, GROUP)
        assert answer.next == "poll"
        job = cloud.jobs()[0]
        lease = await i.stage2.book.lease(GROUP, "x", now_ms=cloud.clock.now_ms(), ttl_ms=1_000)
        assert lease is not None
        far = cloud.clock.now_ms() + 40 * MINUTE_MS
        await i.stage2.book.keep(lease, job=replace(job, next_poll_at=far))
        await i.stage2.book.give_up(lease)
        answer = await cloud.invocation().flow.create(key, GROUP)
        assert (answer.next, answer.wait_s) == ("wait", 40 * 60)

    async def test_a_poll_is_made_early_once_never_again_and_again_before_its_time(self) -> None:
        """Short of the end of the wait each next poll is due at that end."""
        cloud = Cloud()
        cloud.ocp.takes_ms = DAY_MS
        key = await planned(cloud)
        i = cloud.invocation()
        await i.flow.create(key, GROUP)
        job, now_ms = cloud.jobs()[0], cloud.clock.now_ms()
        lease = await i.stage2.book.lease(GROUP, "x", now_ms=now_ms, ttl_ms=1_000)
        assert lease is not None
        ends_at = now_ms + 20 * SECOND_MS
        waited_ms = wait_ms(job, cloud.stage.settings.policy.stage2)
        near = replace(job, next_poll_at=now_ms + 10 * SECOND_MS, watched_from=ends_at - waited_ms)
        await i.stage2.book.keep(lease, job=near)
        await i.stage2.book.give_up(lease)
        answer = await cloud.invocation().flow.create(key, GROUP)
        assert answer.next == "poll"
        assert cloud.ocp.asked["status"] == 1

    async def test_a_blocked_group_is_watched_by_waits_without_a_token(self) -> None:
        cloud = Cloud()
        await a_lost_call(cloud)
        cloud.ocp.stuck, cloud.ocp.cancel_works = {GROUP}, False
        await cloud.live(10 * HOUR_MS)
        assert cloud.jobs()[0].state is State.BLOCKED
        assert not [t for t in cloud.machine.tokens.values() if t.open]
        assert f"group_blocked:{GROUP}" in cloud.incidents()


class TestExecutions:
    @pytest.mark.parametrize(
        "when", [State.RUNNING, State.DOWNLOADING], ids=lambda state: state.value
    )
    async def test_an_execution_that_vanished_is_followed_by_another_without_a_new_export(
        self, when: State
    ) -> None:
        cloud = Cloud()
        await a_lost_call(cloud)
        if when is State.DOWNLOADING:
            cloud.hold_downloads()
        cloud.spawn(cloud.detect())
        await cloud.run_until(
            lambda: bool(cloud.jobs()) and cloud.jobs()[0].state is when, within_ms=HOUR_MS
        )
        [name] = cloud.running()
        if when is State.DOWNLOADING:
            await cloud.run_for(MINUTE_MS)
        cloud.vanish(name)
        await cloud.run_for(10 * MINUTE_MS)
        cloud.ocp.held = None
        await cloud.live(2 * HOUR_MS)
        assert await cloud.outcomes() == {"c": "stored"}
        assert len(cloud.ocp.ours) == 1
        assert list(cloud.machine.executions) == [name, f"{name}-r1"]
        assert cloud.jobs()[0].execution_ref == f"{ARN}{name}-r1"
        cloud.check_settled()

    async def test_the_number_of_an_execution_survives_whoever_counts(self) -> None:
        cloud = Cloud()
        await a_lost_call(cloud)
        cloud.ocp.takes_ms = 5 * HOUR_MS
        await until_exported(cloud)
        [key] = cloud.running()
        cloud.vanish(key)
        cloud.decide = lambda point: (
            Fault(Kind.CRASH_BEFORE)
            if point == "Executions.start" and cloud.jobs()[0].execution_ref == f"{key}-r1"
            else None
        )
        with pytest.raises(Crashed):
            await cloud.detect()
        cloud.decide = lambda _point: None
        await cloud.run_for(INVOCATION_LEASE_MS)
        assert (await cloud.detect()).started == [f"{key}-r1"]
        assert (await cloud.detect()).started == [], "it runs"

    async def test_a_job_kept_without_its_execution_is_started_by_the_next_look(self) -> None:
        cloud = Cloud()
        await a_lost_call(cloud)
        cloud.decide = lambda point: (
            Fault(Kind.CRASH_BEFORE) if point == "Executions.start" else None
        )
        with pytest.raises(Crashed):
            await cloud.detect()
        cloud.decide = lambda _point: None
        assert cloud.running() == []
        await cloud.live(HOUR_MS)
        assert await cloud.outcomes() == {"c": "stored"}
        assert cloud.ends() == ["done"]

    async def test_an_execution_that_fails_is_an_incident_until_a_job_comes_to_its_end(
        self,
    ) -> None:
        cloud = Cloud()
        await a_lost_call(cloud)
        cloud.ocp.answer("create", *[ZeroDivisionError("a bug")])
        real = cloud.invoke

        async def abandoning(name: str, work: object) -> object:
            try:
                return await real(name, work)  # type: ignore[arg-type]
            except ZeroDivisionError:
                raise Abandoned(f"{name}: ZeroDivisionError") from None

        cloud.invoke = abandoning  # type: ignore[method-assign]
        cloud.spawn(cloud.detect())
        await cloud.run_for(20 * MINUTE_MS)
        held = cloud.incidents()[f"step_parked:execution:{GROUP}"]
        assert "ZeroDivisionError" in held.text
        assert cloud.running() == []
        await cloud.live(HOUR_MS)
        assert await cloud.outcomes() == {"c": "stored"}
        assert len(cloud.ocp.ours) == 1
        assert cloud.incidents() == {}

    async def test_tokens_executions_and_ids_are_on_the_job_and_its_calls(self) -> None:
        cloud = Cloud()
        await a_lost_call(cloud)
        await cloud.sweep()
        [job] = cloud.jobs()
        assert job.execution_ref == ARN + job.job_key
        token = job.task_token
        assert token in cloud.machine.tokens
        assert token is not None
        assert job.task_id == task_id(token)
        [export] = (await cloud.stage.call("c")).exports.values()
        assert export.job_id == job.export_id
        assert export.task_id == job.task_id

    async def test_a_job_that_nobody_planned_or_of_another_group_is_refused(self) -> None:
        cloud = Cloud()
        key = await planned(cloud)
        with pytest.raises(NotFound):
            await cloud.invocation().flow.create("nobody", GROUP)
        with pytest.raises(Invalid):
            await cloud.invocation().flow.create(key, "another")
        assert cloud.ocp.ours == []


class TestOthers:
    async def test_the_next_groups_turn_to_be_asked_comes_at_once(self) -> None:
        cloud = Cloud(groups=("a", "b", "c", "d"))
        call = cloud.at_ocp("c", group="d")
        await cloud.streamed(call.audio or b"", call.file_name)
        await cloud.run_for(9 * HOUR_MS)
        await cloud.sweep()
        assert await cloud.outcomes() == {"c": "stored"}
        assert [export.group for export in cloud.ocp.ours] == ["a", "b", "c", "d"]

    async def test_what_the_census_finds_of_another_group_is_looked_at_at_once(self) -> None:
        cloud = Cloud(census=True, groups=("a", "b"))
        found = cloud.at_ocp("c", group="a")
        found.cdrs["dialog_start"]["flow"] |= {"ocp_group_name": "b"}
        cloud.ocp.calls["again"] = replace_group(found, "b")
        await cloud.run_for(40 * HOUR_MS)
        await cloud.sweep()
        groups = [export.group for export in cloud.ocp.ours if "audio" in export.types]
        assert "b" in groups


class TestCensus:
    async def test_asked_at_once_it_goes_on_until_every_complete_hour_is_counted(self) -> None:
        cloud = Cloud(census=True)
        await cloud.announced("c0")
        cloud.at_ocp("c1", HOUR_0 + 50 * HOUR_MS)
        await cloud.run_for(60 * HOUR_MS)
        cloud.spawn(cloud._lambda(lambda: cloud.detect(census=True)))
        await cloud.run_until(lambda: not cloud._others, within_ms=DAY_MS)
        spans = [(e.from_ms, e.to_ms) for e in cloud.ocp.ours if e.types == ("dialog_start",)]
        hours = [((a - HOUR_0) // HOUR_MS, (b - HOUR_0) // HOUR_MS) for a, b in spans]
        assert hours == [(0, 48), (48, 58)], "the rest, too, although it is no whole day"
        assert cloud.book_state.notes[f"census-at-once:{GROUP}"] == b""

    async def test_a_census_that_fails_is_not_repeated_at_once(self) -> None:
        cloud = Cloud(census=True)
        cloud.at_ocp("c")
        await cloud.run_for(5 * HOUR_MS)
        cloud.ocp.answer("create", *[Unavailable("down", sent=False)] * 30)
        cloud.spawn(cloud._lambda(lambda: cloud.detect(census=True)))
        await cloud.run_until(lambda: not cloud._others, within_ms=DAY_MS)
        assert cloud.ends() == ["vendor_down"]
        assert cloud.book_state.notes[f"census-at-once:{GROUP}"] == b""


class TestWords:
    def test_waits_are_whole_real_seconds_and_at_least_one(self) -> None:
        assert [real_seconds(1.0)(ms) for ms in (1, 1_000, 1_001)] == [1, 1, 2]
        assert real_seconds(600.0)(HOUR_MS) == 6
        assert real_seconds(600.0)(1) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"iteration": 0}, {"iteration": "1"}, {"task_token": ""}, {"job_key": ""},
            {"task_token": "x" * 2_049}, {"job_key": "x" * 257}, {"dialog_group_ids": "c"},
        ],
        ids=str,
    )  # fmt: skip
    def test_a_timers_input_that_is_none_of_ours_is_refused(
        self, change: dict[str, object]
    ) -> None:
        good = {
            "export_job_id": "x1", "task_token": "t", "dialog_group_ids": {"ref": "job:k"},
            "ocp_group": GROUP, "iteration": 1, "job_key": "k",
        }  # fmt: skip
        assert checked_poll(good).iteration == 1
        with pytest.raises(msgspec.ValidationError):
            checked_poll(good | change)

    async def test_the_first_poll_is_in_the_words_of_the_contract(self) -> None:
        cloud = Cloud()
        key = await planned(cloud)
        answer = await cloud.invocation().flow.create(key, GROUP)
        said = msgspec.json.decode(msgspec.json.encode(answer.data()))
        first = said["first_poll"]
        assert (said["next"], said["export_job_id"], said["round"]) == ("poll", "x1", 0)
        assert set(first) >= {"name", "at", "input"}
        assert len(first["at"]) == len("2026-09-21T15:00:00")
        assert first["input"] == {
            "export_job_id": "x1", "dialog_group_ids": ["c"], "ocp_group": GROUP, "iteration": 1,
            "job_key": key,
        }  # fmt: skip


async def test_an_intent_without_an_answer_is_never_posted_twice() -> None:
    """The invocation died after the POST: the next one looks whether it reached OCP."""
    cloud = Cloud()
    key = await planned(cloud)

    def die(operation: str) -> None:
        if operation == "create":
            cloud.decide = lambda _point: Fault(Kind.CRASH_BEFORE)

    cloud.ocp.on_ask = die
    with pytest.raises(Crashed):
        await cloud.invocation().flow.create(key, GROUP)
    cloud.decide, cloud.ocp.on_ask = lambda _point: None, lambda _operation: None
    assert len(cloud.ocp.ours) == 1
    assert cloud.jobs()[0].state is State.CREATING
    await cloud.run_for(INVOCATION_LEASE_MS)
    said = await cloud.invocation().flow.create(key, GROUP)
    # Adopted, it is polled at once; it takes longer than that.
    assert said.next == "poll"
    assert said.export_job_id == "x1"
    assert len(cloud.ocp.ours) == 1
