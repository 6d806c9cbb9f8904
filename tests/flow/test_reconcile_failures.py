"""Each way in which an export can fail ends healed, or in an incident; none in silence."""

from __future__ import annotations

import pytest

from ocp_ingest.core.export_job import RateLimited, Refused, Unavailable
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from tests.flow.reconcile_stage import GROUP, HOUR_0, Theatre

AUDIO = ("audio",)


async def a_lost_call(theatre: Theatre) -> None:
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)


async def stored(theatre: Theatre) -> bool:
    return await theatre.outcomes() == {"c": "stored"}


class TestAnswersLost:
    @pytest.mark.parametrize("effect", [True, False])
    async def test_an_export_whose_answer_was_lost_is_adopted_never_made_twice(
        self, effect: bool
    ) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.answer("create", Unavailable("connection lost"), effect=effect)
        await theatre.sweep()
        assert await stored(theatre)
        assert len(theatre.ocp.ours) == 1
        assert theatre.ends() == ["done"]

    async def test_too_many_lost_answers_are_an_incident_and_cost_no_try(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.answer("create", *[Unavailable("cut")] * 20)
        theatre.ocp.answer("listing", *[Unavailable("cut")] * 20)
        await theatre.process.sweeper.sweep()
        await theatre.run_for(20 * MINUTE_MS)
        assert f"vendor_down:{GROUP}" in theatre.incidents()
        await theatre.live(DAY_MS)
        assert await stored(theatre)
        assert theatre.incidents() == {}


class TestBusy:
    async def test_a_foreign_export_that_covers_the_window_is_adopted_and_serves_others(
        self,
    ) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.at_ocp("foreign-only", HOUR_0 + 2 * HOUR_MS)
        theatre.ocp.start_foreign(
            GROUP, HOUR_0 - HOUR_MS, HOUR_0 + 3 * HOUR_MS, takes_ms=10 * MINUTE_MS,
            types=("audio", "dialog_start", "dialog_end"),
        )  # fmt: skip
        await theatre.sweep()
        assert theatre.ocp.ours == []
        # The call that we knew nothing of came along, with its CDRs.
        assert await theatre.outcomes() == {"c": "stored", "foreign-only": "stored"}
        [export] = (await theatre.stage.call("c")).exports.values()
        assert export.job_id == "x1"

    async def test_a_foreign_export_of_other_hours_is_waited_for_and_costs_no_try(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.start_foreign(
            GROUP, HOUR_0 - 9 * HOUR_MS, HOUR_0 - HOUR_MS, takes_ms=5 * HOUR_MS, types=AUDIO
        )
        await theatre.process.sweeper.sweep()
        await theatre.run_for(3 * HOUR_MS)
        assert f"slot_busy:{GROUP}" in theatre.incidents()
        assert theatre.ocp.ours == []
        await theatre.run_until(lambda: theatre.process.idle, within_ms=5 * HOUR_MS)
        assert await stored(theatre)
        assert len((await theatre.stage.call("c")).exports) == 1
        await theatre.sweep()
        assert theatre.incidents() == {}

    async def test_a_slot_held_for_a_day_is_an_incident_until_an_export_completes(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.life_ms = 10 * DAY_MS
        theatre.ocp.start_foreign(
            GROUP, HOUR_0 - 9 * HOUR_MS, HOUR_0 - HOUR_MS, takes_ms=3 * DAY_MS, types=AUDIO
        )
        await theatre.live(26 * HOUR_MS)
        assert theatre.ends()[0] == "slot_held"
        assert f"slot_busy:{GROUP}:slot_held" in theatre.incidents()
        await theatre.live(3 * DAY_MS)
        assert await stored(theatre)
        assert theatre.incidents() == {}

    async def test_where_the_exports_cannot_be_listed_the_409_alone_is_relied_on(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.lists = False
        theatre.ocp.start_foreign(
            GROUP, HOUR_0 - 9 * HOUR_MS, HOUR_0 - HOUR_MS, takes_ms=20 * MINUTE_MS, types=AUDIO
        )
        await theatre.sweep()
        assert await stored(theatre)
        assert len(theatre.ocp.ours) == 1


class TestExpired:
    async def test_what_was_fetched_before_the_data_was_gone_stays_and_the_rest_is_asked_again(
        self,
    ) -> None:
        theatre = Theatre()
        for n in range(6):
            await theatre.announced(f"c{n}")
        await theatre.run_for(4 * HOUR_MS)
        theatre.ocp.gone_after = 3
        await theatre.sweep()
        assert theatre.ends()[0] == "expired"
        assert sorted((await theatre.outcomes()).values()) == ["open"] * 3 + ["stored"] * 3
        theatre.ocp.gone_after = None
        await theatre.live(DAY_MS)
        assert set((await theatre.outcomes()).values()) == {"stored"}
        assert all(times == 1 for times in theatre.ocp.fetched.values())

    async def test_an_export_that_always_expires_backs_off_and_shrinks_the_windows(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.gone_after = 0
        await theatre.live(3 * DAY_MS)
        ends = theatre.ends()
        assert set(ends) == {"expired"}
        assert 3 <= len(ends) <= 6, "doubling waits, not a loop"
        assert f"windows_shrunk:{GROUP}" in theatre.incidents()
        theatre.ocp.gone_after = None
        await theatre.live(8 * DAY_MS)
        assert await stored(theatre)


class TestStuck:
    async def test_a_stuck_export_is_cancelled_and_the_group_tried_an_hour_at_a_time(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.stuck = {GROUP}
        await theatre.process.sweeper.sweep()
        await theatre.run_until(lambda: theatre.ends()[0] == "stuck", within_ms=7 * HOUR_MS)
        await theatre.run_for(MINUTE_MS)
        assert f"group_half_open:{GROUP}" in theatre.incidents()
        theatre.ocp.stuck = set()
        await theatre.live(12 * HOUR_MS)
        assert await stored(theatre)
        assert theatre.incidents() == {}

    async def test_one_that_cannot_be_cancelled_blocks_its_group_for_a_day_and_no_other(
        self,
    ) -> None:
        theatre = Theatre(groups=(GROUP, "other"))
        await theatre.announced("c")
        await theatre.announced("c-other", group="other")
        await theatre.run_for(4 * HOUR_MS)
        theatre.ocp.stuck, theatre.ocp.cancel_works = {GROUP}, False
        await theatre.live(12 * HOUR_MS)
        assert await theatre.outcomes() == {"c": "open", "c-other": "stored"}
        assert f"group_blocked:{GROUP}" in theatre.incidents()
        assert len([e for e in theatre.ocp.ours if e.group == GROUP]) == 1
        theatre.ocp.stuck = set()
        await theatre.live(2 * DAY_MS)
        assert (await theatre.outcomes())["c"] == "stored"
        assert theatre.incidents() == {}

    async def test_one_that_completes_after_all_is_adopted(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.cancel_works = False
        theatre.ocp.takes_ms = 9 * HOUR_MS
        await theatre.live(12 * HOUR_MS)
        assert await stored(theatre)
        assert len(theatre.ocp.ours) == 1
        assert theatre.incidents() == {}

    async def test_an_ocp_that_is_always_slow_is_waited_for_longer_each_time(self) -> None:
        """Else every export of a slow tenant would be cancelled until retention is over."""
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.takes_ms = 2 * HOUR_MS
        await theatre.live(4 * DAY_MS)
        assert await stored(theatre)
        assert theatre.ends()[0] == "stuck"
        assert len(theatre.ocp.ours) <= 5

    async def test_with_a_vendor_that_never_completes_every_number_stays_bounded(self) -> None:
        theatre = Theatre(groups=(GROUP, "other"))
        await theatre.announced("c")
        await theatre.run_for(4 * HOUR_MS)
        theatre.ocp.stuck = {GROUP}
        await theatre.live(10 * DAY_MS)
        assert await theatre.outcomes() == {"c": "open"}
        assert all(job.polls <= 40 for job in theatre.jobs())
        for export in (await theatre.stage.call("c")).exports.values():
            assert export.found == {}, "what was never read proves no absence"
        assert len(theatre.ocp.ours) <= 8, "doubling waits between the tries"
        await theatre.announced("c-other", theatre.clock.now_ms(), group="other")
        await theatre.live(5 * HOUR_MS)
        assert (await theatre.outcomes())["c-other"] == "stored"
        await theatre.live(51 * DAY_MS, every_ms=4 * HOUR_MS)
        assert (await theatre.outcomes())["c"] == "lost"
        closings = (await theatre.stage.call("c")).closings.values()
        assert [closing.code for closing in closings] == ["retention_over"]
        assert f"recording_lost:{GROUP}" in theatre.incidents()
        assert f"retention_near:{GROUP}" in theatre.incidents(open_only=False)
        assert f"retention_near:{GROUP}" not in theatre.incidents()


class TestFailed:
    async def test_a_failed_export_is_asked_once_more(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.poison_hours = {HOUR_0}
        await theatre.process.sweeper.sweep()
        await theatre.run_until(lambda: "failed" in theatre.ends(), within_ms=HOUR_MS)
        theatre.ocp.poison_hours = set()
        await theatre.run_until(lambda: theatre.process.idle, within_ms=HOUR_MS)
        assert await stored(theatre)
        assert theatre.ends() == ["failed", "done"]
        assert [job.attempt for job in theatre.jobs()] == [1, 2]
        exports = list((await theatre.stage.call("c")).exports.values())
        assert [e.job_id for e in exports] == ["x1", "x2"]
        assert [e.metadata["tries"] for e in exports] == [[], ["audio"]]

    async def test_a_window_planned_again_after_a_retry_gets_a_name_of_its_own(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.poison_hours = {HOUR_0}
        theatre.ocp.lacks["c"] = 2
        await theatre.process.sweeper.sweep()
        await theatre.run_until(lambda: "failed" in theatre.ends(), within_ms=HOUR_MS)
        theatre.ocp.poison_hours = set()
        await theatre.live(DAY_MS)
        assert await stored(theatre)
        assert [job.attempt for job in theatre.jobs()] == [1, 2, 3]
        exports = (await theatre.stage.call("c")).exports.values()
        assert [e.job_id for e in exports] == ["x1", "x2", "x3"]

    async def test_the_poison_hour_is_isolated_and_all_other_hours_come(self) -> None:
        theatre = Theatre()
        for n in range(8):
            await theatre.announced(f"c{n}", HOUR_0 + n * HOUR_MS)
        await theatre.run_for(14 * HOUR_MS)
        theatre.ocp.poison_hours = {HOUR_0 + 5 * HOUR_MS}
        await theatre.sweep()
        held = await theatre.outcomes()
        assert {call for call, ended in held.items() if ended == "open"} == {"c5"}
        assert f"hours_quarantined:{GROUP}" in theatre.incidents()
        exports = len(theatre.ocp.ours)
        await theatre.live(20 * HOUR_MS)
        assert len(theatre.ocp.ours) == exports, "the hour is left alone for a day"
        theatre.ocp.poison_hours = set()
        await theatre.live(DAY_MS)
        assert set((await theatre.outcomes()).values()) == {"stored"}
        assert theatre.incidents() == {}

    async def test_an_export_that_somebody_cancels_twice_is_an_incident(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        cancelled = 0

        def cancel(operation: str) -> None:
            nonlocal cancelled
            if operation == "status" and cancelled < 2:
                cancelled += 1
                theatre.ocp.ours[-1].cancelled = True

        theatre.ocp.on_ask = cancel
        await theatre.sweep()
        assert theatre.ends() == ["cancelled", "cancelled"]
        assert f"slot_busy:{GROUP}:cancelled" in theatre.incidents()
        await theatre.live(HOUR_MS)
        assert await stored(theatre)
        assert theatre.incidents() == {}

    async def test_without_rights_the_group_is_blocked_and_a_person_is_told(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.answer("create", *[Refused(403, "group not whitelisted")] * 3)
        await theatre.live(2 * HOUR_MS + MINUTE_MS)
        assert theatre.ends() == ["refused"] * 3
        assert "403" in theatre.incidents()[f"group_blocked:{GROUP}"].text
        await theatre.live(2 * HOUR_MS)
        assert await stored(theatre)
        assert theatre.incidents() == {}


class TestLimitsAndOutages:
    @pytest.mark.parametrize("operation", ["create", "status", "files"])
    async def test_429_is_waited_out_as_told(self, operation: str) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        before = theatre.clock.now_ms()
        theatre.ocp.answer(operation, RateLimited(1_800.0))
        await theatre.sweep()
        if not await stored(theatre):  # the group cooled down and rings later
            await theatre.live(HOUR_MS)
        assert await stored(theatre)
        [job] = theatre.jobs()
        assert job.finished_at is not None
        assert job.finished_at - before >= 30 * MINUTE_MS

    @pytest.mark.parametrize("operation", ["create", "status", "files", "listing"])
    async def test_errors_in_between_heal_by_themselves(self, operation: str) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.answer("create", Unavailable("502"))
        theatre.ocp.answer(operation, Unavailable("502"), Unavailable("503", sent=False))
        await theatre.sweep()
        await theatre.live(4 * HOUR_MS)
        assert await stored(theatre)
        assert len(theatre.ocp.ours) == 1

    async def test_an_outage_is_one_incident_costs_no_try_and_ends_with_the_outage(self) -> None:
        theatre = Theatre()
        await a_lost_call(theatre)
        theatre.ocp.down = True
        await theatre.live(6 * HOUR_MS)
        assert f"vendor_down:{GROUP}" in theatre.incidents()
        assert theatre.ocp.asked["create"] < 200, "errors back off"
        theatre.ocp.down = False
        await theatre.live(HOUR_MS)
        assert await stored(theatre)
        assert theatre.incidents() == {}
