"""The chain of short invocations ends every story as the embedded runner does, call by call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from ocp_ingest.core.export_job import RateLimited, Refused, Unavailable
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.reconcile.census import state
from tests.flow.machine_stage import Cloud
from tests.flow.reconcile_stage import GROUP, HOUR_0, Theatre
from tests.flow.stage import tone

Story = Callable[[Theatre], Awaitable[None]]
DAYS = 3


async def two_lost(theatre: Theatre) -> None:
    await theatre.announced("c1")
    half = theatre.at_ocp("c2", HOUR_0 + MINUTE_MS)
    await theatre.stage.send(half.cdrs["dialog_start"])


async def windows_of_a_week(theatre: Theatre) -> None:
    for n in range(6):
        await theatre.announced(f"c{n}", HOUR_0 + n * 60 * HOUR_MS)
    await theatre.run_for(14 * DAY_MS)


async def the_first_export_fails(theatre: Theatre) -> None:
    await theatre.announced("c")
    theatre.ocp.fails_first = True


async def a_poison_hour_for_a_day(theatre: Theatre) -> None:
    for n in range(5):
        await theatre.announced(f"c{n}", HOUR_0 + n * HOUR_MS)
    theatre.ocp.poison_hours = {HOUR_0 + 2 * HOUR_MS}
    await theatre.live(20 * HOUR_MS)
    theatre.ocp.poison_hours = set()


async def a_stuck_export(theatre: Theatre) -> None:
    await theatre.announced("c")
    theatre.ocp.stuck = {GROUP}
    await theatre.live(6 * HOUR_MS)
    theatre.ocp.stuck = set()


async def a_stuck_export_that_completes_after_all(theatre: Theatre) -> None:
    await theatre.announced("c")
    theatre.ocp.cancel_works = False
    theatre.ocp.takes_ms = 9 * HOUR_MS


async def a_slow_ocp(theatre: Theatre) -> None:
    await theatre.announced("c")
    theatre.ocp.takes_ms = 70 * MINUTE_MS


async def somebody_elses_export_holds_the_slot(theatre: Theatre) -> None:
    await theatre.announced("c")
    theatre.ocp.start_foreign(
        GROUP, HOUR_0 - 9 * HOUR_MS, HOUR_0 - HOUR_MS, takes_ms=9 * HOUR_MS, types=("audio",)
    )


async def somebody_elses_export_covers_the_window(theatre: Theatre) -> None:
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    theatre.ocp.start_foreign(
        GROUP, HOUR_0 - HOUR_MS, HOUR_0 + 3 * HOUR_MS, takes_ms=10 * MINUTE_MS, types=("audio",)
    )


async def the_creations_answer_is_lost(theatre: Theatre) -> None:
    await theatre.announced("c")
    theatre.ocp.answer("create", Unavailable("connection lost"), effect=True)


async def ocp_limits_and_fails_in_between(theatre: Theatre) -> None:
    await theatre.announced("c")
    theatre.ocp.answer("create", RateLimited(120.0), Unavailable("502"))
    theatre.ocp.answer("status", RateLimited(3_600.0), Unavailable("503"))
    theatre.ocp.answer("files", Unavailable("503"), RateLimited(5.0))


async def an_outage(theatre: Theatre) -> None:
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    theatre.ocp.down = True
    await theatre.live(6 * HOUR_MS)
    assert f"vendor_down:{GROUP}" in theatre.incidents()
    theatre.ocp.down = False


async def no_rights(theatre: Theatre) -> None:
    await theatre.announced("c")
    theatre.ocp.answer("create", *[Refused(403, "not whitelisted")] * 2)


async def a_recording_that_comes_with_the_third_export(theatre: Theatre) -> None:
    await theatre.announced("c")
    theatre.ocp.lacks["c"] = 2


async def files_that_fail_in_every_round(theatre: Theatre) -> None:
    call = await theatre.announced("c")
    await theatre.announced("good")
    theatre.ocp.cuts[call.file_name] = 4


async def archives(theatre: Theatre) -> None:
    theatre.ocp.delivery = "zip"
    for n in range(3):
        await theatre.announced(f"c{n}")


async def data_that_expires_early(theatre: Theatre) -> None:
    for n in range(6):
        await theatre.announced(f"c{n}")
    theatre.ocp.gone_after = 3
    await theatre.live(6 * HOUR_MS)
    theatre.ocp.gone_after = None


async def bad_audio_healed_and_bad_for_good(theatre: Theatre) -> None:
    healed = await theatre.announced("healed")
    theatre.ocp.instead["healed"].append(b"<html>busy</html>")
    assert healed.audio is not None
    await theatre.announced("bad", audio=b"no audio at all" * 100)
    await theatre.announced("empty", audio=b"")


async def a_call_of_an_unknown_group(theatre: Theatre) -> None:
    theatre.groups = ("a", "b", "c")
    call = theatre.at_ocp("c", group="c")
    await theatre.streamed(call.audio or b"", call.file_name)


async def nothing_was_ever_said_of_these(theatre: Theatre) -> None:
    theatre.options["census"] = True
    theatre.at_ocp("c1")
    theatre.at_ocp("c2", HOUR_0 + 5 * HOUR_MS, audio=tone(level=3_000))


STORIES: tuple[Story, ...] = (
    two_lost, windows_of_a_week, the_first_export_fails, a_poison_hour_for_a_day, a_stuck_export,
    a_stuck_export_that_completes_after_all, a_slow_ocp, somebody_elses_export_holds_the_slot,
    somebody_elses_export_covers_the_window, the_creations_answer_is_lost,
    ocp_limits_and_fails_in_between, an_outage, no_rights,
    a_recording_that_comes_with_the_third_export, files_that_fail_in_every_round, archives,
    data_that_expires_early, bad_audio_healed_and_bad_for_good, a_call_of_an_unknown_group,
    nothing_was_ever_said_of_these,
)  # fmt: skip


async def told(theatre: Theatre, story: Story) -> Theatre:
    await story(theatre)
    theatre.restart()  # with the options and groups that the story has set
    await theatre.live(DAYS * DAY_MS)
    return theatre


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_it_ends_every_story_as_the_embedded_runner_does(story: Story) -> None:
    cloud, embedded = Cloud(), Theatre()
    for theatre in (cloud, embedded):
        await told(theatre, story)
    outcomes = await cloud.outcomes()
    assert outcomes
    assert "open" not in outcomes.values()
    assert outcomes == await embedded.outcomes()
    for call_id, call in cloud.ocp.calls.items():
        if outcomes[call_id] == "stored":
            assert cloud.stored_bytes(call_id) == call.audio
    assert set(cloud.incidents()) == set(embedded.incidents())
    assert all(times == 1 for times in cloud.ocp.most_at_once.values())
    assert len(cloud.ocp.ours) <= len(embedded.ocp.ours) + 1, "no export without need"
    cloud.check_settled()
    assert cloud.running() == []


async def test_the_census_counts_what_the_embedded_one_counts() -> None:
    cloud, embedded = Cloud(census=True), Theatre(census=True)
    held = []
    for theatre in (cloud, embedded):
        for n in range(4):
            theatre.at_ocp(f"c{n}", HOUR_0 + n * HOUR_MS)
        await theatre.live(3 * DAY_MS)
        counted = await state(theatre.process.stage2, GROUP)
        held.append((counted.until_ms, counted.calls, counted.news, counted.uncounted_hours))
    assert held[0] == held[1]
    assert held[0][1:3] == (4, 4)
