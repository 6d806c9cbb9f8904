"""From figures to people: incidents open and close; alerts arrive at least once, not for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ocp_ingest.adapters.memory.faults import Crashed, Kind
from ocp_ingest.core.alerts import Duty, Objectives, StateAges
from ocp_ingest.core.counting import DAYS_MAX
from ocp_ingest.core.errors import NotFound, Terminal, Transient
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from ocp_ingest.core.overview import PARTS
from ocp_ingest.desk import alerts
from ocp_ingest.desk.alerts import BACKOFF_MS_MAX, CLAIM_MS, STORM, TRIES_MAX, backoff_ms, evaluate
from ocp_ingest.desk.notify import Wants
from ocp_ingest.telemetry import METRICS, Metrics, measure_into
from tests.desk.fakes import NIGHT, FakeChannel, channels, incident
from tests.desk.office import Office, call_id

FEW = Objectives(completeness_calls_min=4, streamed_calls_min=4, completeness_after_s=3_600.0)


# -- figures to incidents -------------------------------------------------------------------------


async def test_a_healthy_desk_has_no_incident() -> None:
    office = Office()
    await office.store(*range(8))
    await evaluate(office.desk, FEW)
    assert await office.open_keys() == []


async def test_lost_recordings_open_completeness_of_their_line_of_business() -> None:
    office = Office()
    await office.store(*range(8))
    await office.lose(8)
    await evaluate(office.desk, FEW)
    assert await office.open_keys() == ["completeness_low:banking"]


async def test_calls_in_flight_count_once_they_are_not_fresh_any_more() -> None:
    office = Office()
    await office.store(*range(8))
    await office.announce(8)
    await evaluate(office.desk, FEW)
    assert await office.open_keys() == []
    office.sleep(2 * HOUR_MS)
    await evaluate(office.desk, FEW)
    assert await office.open_keys() == ["completeness_low:banking"]


async def test_an_incident_closes_when_the_recording_came_after_all() -> None:
    office = Office()
    await office.store(*range(8))
    await office.announce(8)
    office.sleep(2 * HOUR_MS)
    await evaluate(office.desk, FEW)
    await office.store(8)
    await evaluate(office.desk, FEW)
    assert await office.open_keys() == []


async def test_recordings_that_only_exports_bring_open_the_stream_s_share() -> None:
    office = Office()
    await office.store(*range(2))
    await office.store(*range(2, 8), source="export")
    await evaluate(office.desk, FEW)
    assert await office.open_keys() == ["stream_share_low:banking"]


async def test_days_before_the_period_count_no_more() -> None:
    office = Office()
    await office.store(*range(8), source="export")
    office.sleep(DAY_MS)
    await evaluate(office.desk, FEW)
    assert await office.open_keys() == ["stream_share_low:banking"]
    office.sleep(DAY_MS)
    await evaluate(office.desk, FEW)
    assert await office.open_keys() == []


async def test_recordings_that_no_worker_takes_up_are_stuck_and_named() -> None:
    office = Office()
    await office.receive(1, 2)
    office.sleep(50 * MINUTE_MS)
    await evaluate(office.desk, Objectives())
    assert await office.open_keys() == []
    office.sleep(11 * MINUTE_MS)
    await evaluate(office.desk, Objectives())
    [opened] = await office.desk.world.incidents.incidents()
    assert opened.key == "calls_stuck:file_received"
    assert sorted(opened.sample) == [call_id(1), call_id(2)]
    await office.stage.drain()
    await evaluate(office.desk, Objectives())
    assert await office.open_keys() == []


async def test_one_that_is_near_its_bound_keeps_its_incident_open() -> None:
    office = Office()
    await office.receive(1)
    office.sleep(61 * MINUTE_MS)
    await evaluate(office.desk, Objectives())
    longer = Objectives(state_age_s_max=StateAges(file_received=3_900.0))
    await evaluate(office.desk, longer)  # within the bound now, not by a quarter
    assert await office.open_keys() == ["calls_stuck:file_received"]


async def test_a_call_that_waits_for_its_cdr_is_not_stuck() -> None:
    office = Office()
    ident = call_id(1)
    await office.stage.upload(b"RIFF", f"{ident}~4001~1790000000000~{ident}.wav")
    await office.stage.drain()
    office.sleep(90 * MINUTE_MS)
    await evaluate(office.desk, Objectives())
    assert await office.open_keys() == []


async def test_work_that_nobody_does_for_a_day_is_stuck_unless_something_known_holds_it() -> None:
    office = Office()
    await office.announce(1)
    office.sleep(2 * DAY_MS)
    known = incident("group_blocked:emea-retail", at_ms=office.now_ms)
    await office.open_incident(known)
    await evaluate(office.desk, Objectives())
    assert await office.open_keys() == ["group_blocked:emea-retail"]
    await office.close_incident(known.key)
    await evaluate(office.desk, Objectives())
    assert await office.open_keys() == ["calls_stuck:due"]


async def test_what_holds_up_another_group_explains_nothing() -> None:
    office = Office()
    await office.announce(1)
    office.sleep(2 * DAY_MS)
    await office.open_incident(incident("group_blocked:apac", at_ms=office.now_ms))
    await evaluate(office.desk, Objectives())
    assert await office.open_keys() == ["calls_stuck:due", "group_blocked:apac"]


async def parked(office: Office) -> None:
    """A message whose every worker dies."""
    queue, limits = office.stage.world.queue, office.stage.settings.limits
    for _ in range(limits.step_tries_max + 1):
        await queue.take(limit=1, lease_ms=limits.step_lease_ms, wait_s=0)
        office.sleep(limits.step_lease_ms + 1)


async def test_a_parked_message_is_an_incident_while_its_call_waits_for_the_step() -> None:
    office = Office()
    await office.receive(1)
    await parked(office)
    await evaluate(office.desk, Objectives())
    assert await office.open_keys() == ["step_parked:queue"]
    await office.desk.world.queue.put("again", {"call_id": call_id(1)})
    await office.stage.drain()
    assert await office.desk.world.queue.parked()  # it stays there as a record
    await evaluate(office.desk, Objectives())
    assert await office.open_keys() == []


async def test_where_the_queue_is_not_to_be_looked_into_it_is_not() -> None:
    office = Office()
    await office.receive(1)
    await parked(office)
    await evaluate(_dear(office), Objectives())
    assert await office.open_keys() == ["calls_stuck:file_received"]


def _dear(office: Office) -> Any:
    from dataclasses import replace as other

    return other(office.desk, listing=False)


async def test_an_open_incident_is_written_again_only_when_worse_or_after_an_hour() -> None:
    office = Office()
    await office.receive(1)
    office.sleep(61 * MINUTE_MS)

    async def seen() -> tuple[str, int]:
        await evaluate(office.desk, Objectives())
        [held] = await office.desk.world.incidents.incidents()
        return held.severity, held.last_at_ms

    severity, first = await seen()
    assert severity == "warning"
    office.sleep(30 * MINUTE_MS)
    assert await seen() == ("warning", first)
    office.sleep(31 * MINUTE_MS)
    severity, second = await seen()
    assert second == office.now_ms
    office.sleep(117 * MINUTE_MS)
    assert await seen() == ("warning", office.now_ms)
    office.sleep(2 * MINUTE_MS)  # four times the bound: worse is said at once
    assert await seen() == ("critical", office.now_ms)


# -- alerts ---------------------------------------------------------------------------------------


async def test_an_incident_is_told_and_its_end_too() -> None:
    office, ops = Office(), FakeChannel()
    await office.open_incident(incident())
    assert await office.tell(channels(ops)) == 1
    assert await office.tell(channels(ops)) == 0
    await office.close_incident("vendor_down:emea")
    assert await office.tell(channels(ops)) == 1
    assert ops.told == [("opened", "vendor_down:emea"), ("closed", "vendor_down:emea")]
    [ended] = ops.letters[-1].alerts
    assert ended.incident.text == "it does not answer"
    assert all(alert.sent_at_ms for alert in await office.desk.alerts.alerts())


async def test_where_nothing_is_new_nothing_is_written() -> None:
    office, ops = Office(), FakeChannel()
    await office.open_incident(incident())
    await office.tell(channels(ops))
    before = len(office.stage.faults.passed)
    await office.tell(channels(ops))
    assert office.stage.faults.passed[before:] == [
        "Incidents.incidents", "DeskNotes.get", "AlertBook.due",
    ]  # fmt: skip


async def test_two_processes_tell_once() -> None:
    office, ops = Office(), FakeChannel()
    await office.open_incident(incident())
    await asyncio.gather(*(office.tell(channels(ops)) for _ in range(4)))
    assert ops.told == [("opened", "vendor_down:emea")]


async def test_what_was_told_being_forgotten_tells_nothing_twice() -> None:
    office, ops = Office(), FakeChannel()
    await office.open_incident(incident())
    await office.tell(channels(ops))
    await office.desk.notes.put(alerts.TOLD_NOTE, {"strange": 1})
    await office.tell(channels(ops))
    assert len(ops.told) == 1


async def test_a_channel_that_fails_is_tried_later_and_later() -> None:
    office, ops = Office(), FakeChannel()
    ops.failing = Transient("down")
    await office.open_incident(incident())
    waits = []
    for _ in range(6):
        tried, before_ms = ops.tried, office.now_ms
        while ops.tried == tried:
            await office.tell(channels(ops))
            office.sleep(SECOND_MS)
        waits.append((office.now_ms - before_ms) // SECOND_MS - 1)
    assert waits == [0, 29, 59, 119, 239, 479]
    ops.failing = None
    office.sleep(HOUR_MS)
    assert await office.tell(channels(ops)) == 1


def test_the_back_off_doubles_up_to_an_hour() -> None:
    waits = [backoff_ms(tries) for tries in range(1, 40)]
    assert waits[:3] == [30_000, 60_000, 120_000]
    assert max(waits) == BACKOFF_MS_MAX == waits[-1]


@pytest.mark.parametrize(
    ("error", "tries"), [(Transient("down"), TRIES_MAX), (Terminal("gone"), 1)]
)
async def test_what_no_channel_takes_is_given_up_and_is_an_incident(
    error: Exception, tries: int
) -> None:
    office, ops, other = Office(), FakeChannel(), FakeChannel("other")
    ops.failing = error
    await office.open_incident(incident())
    while "alerts_undelivered:ops" not in await office.open_keys():
        await office.tell(channels(ops, other))
        office.sleep(BACKOFF_MS_MAX)
        assert ops.tried <= tries
    assert ops.tried == tries
    [given_up] = [a for a in await office.desk.alerts.alerts() if a.given_up]
    assert given_up.error
    # The other channel hears of both; and this one of it, once it takes something again.
    ops.failing = None
    await office.tell(channels(ops, other))
    assert ("opened", "alerts_undelivered:ops") in other.told
    assert await office.open_keys() == ["vendor_down:emea"]


async def test_a_bug_in_a_channel_is_tried_again_and_told_without_its_text() -> None:
    office, ops = Office(), FakeChannel()
    ops.failing = ValueError("600123456")
    await office.open_incident(incident())
    await office.tell(channels(ops))
    [waiting] = await office.desk.alerts.alerts()
    assert not waiting.given_up
    assert "600123456" not in waiting.error
    assert "ValueError" in waiting.error


async def test_a_failing_channel_does_not_fill_the_book_with_its_own_failure() -> None:
    office, ops = Office(), FakeChannel()
    ops.failing = Terminal("gone")
    await office.open_incident(incident())
    for _ in range(50):
        await office.tell(channels(ops))
        office.sleep(HOUR_MS)
    assert len(await office.desk.alerts.alerts(limit=1_000)) == 2


async def test_a_channel_that_hangs_does_not_hold_up_the_others() -> None:
    office, ops, other = Office(), FakeChannel(), FakeChannel("other")
    heard = asyncio.Event()

    class Slow(FakeChannel):
        async def send(self, letter: Any) -> None:
            await asyncio.wait_for(heard.wait(), 2)
            await super().send(letter)

    class Quick(FakeChannel):
        async def send(self, letter: Any) -> None:
            await super().send(letter)
            heard.set()

    ops, other = Slow("ops"), Quick("other")
    await office.open_incident(incident())
    assert await office.tell(channels(ops, other)) == 2


async def test_alerts_of_a_channel_that_is_configured_no_more_are_given_up() -> None:
    office, ops = Office(), FakeChannel()
    ops.failing = Transient("down")
    await office.open_incident(incident())
    await office.tell(channels(ops))
    office.sleep(HOUR_MS)
    await office.tell(channels(FakeChannel("new")))
    [gone] = [a for a in await office.desk.alerts.alerts() if a.channel == "ops"]
    assert gone.given_up


# -- crashes and lost answers ---------------------------------------------------------------------


async def passed_points() -> list[tuple[str, int]]:
    """Every effect of telling one incident over two channels, and its how-manieth it is."""
    office = Office()
    await office.open_incident(incident())
    before = len(office.stage.faults.passed)
    await office.tell(channels(FakeChannel(), FakeChannel("other")))
    counted: Counter[str] = Counter()
    found = []
    for point in office.stage.faults.passed[before:]:
        counted[point] += 1
        found.append((point, counted[point]))
    return found


@pytest.mark.parametrize("kind", [Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.LOST, Kind.UNANSWERED])
async def test_whatever_breaks_wherever_everybody_is_told_at_least_once(kind: Kind) -> None:
    """At every effect; the next process, or the next turn, tells what is left."""
    points, broken = await passed_points(), 0
    assert len(points) >= 8
    for point, number in points:
        office, ops, other = Office(), FakeChannel(), FakeChannel("other")
        await office.open_incident(incident())
        office.stage.faults.plan(point, kind, nth=number)
        try:
            await office.tell(channels(ops, other))
        except (Crashed, Transient):
            broken += 1
        if kind in (Kind.CRASH_BEFORE, Kind.CRASH_AFTER):
            office.stage.restart()
        for _ in range(2):
            office.sleep(CLAIM_MS)
            await office.tell(channels(ops, other))
        for channel in (ops, other):
            assert set(channel.told) == {("opened", "vendor_down:emea")}, (point, number)
            assert len(channel.told) <= 2
            assert len({letter.letter_id for letter in channel.letters}) == 1
        assert all(alert.sent_at_ms for alert in await office.desk.alerts.alerts())
    assert broken == len(points)


# -- quiet hours, digests, storms -----------------------------------------------------------------


def at_night(office: Office) -> None:
    office.sleep(9 * HOUR_MS)  # 23:13 UTC


async def test_what_quiet_hours_hold_back_comes_as_one_digest_in_the_morning() -> None:
    office, ops = Office(), FakeChannel("ops", Wants(quiet=NIGHT))
    at_night(office)
    for kind in ("unassigned", "slot_busy", "step_parked"):
        await office.open_incident(incident(kind, severity="warning", at_ms=office.now_ms))
    await office.tell(channels(ops))
    office.sleep(MINUTE_MS)
    await office.close_incident("slot_busy")
    assert await office.tell(channels(ops)) == 0
    office.sleep(8 * HOUR_MS)
    assert await office.tell(channels(ops)) == 4
    [digest] = ops.letters
    assert len(digest.alerts) == 4
    assert [a.what for a in digest.alerts] == ["opened", "opened", "opened", "closed"]


async def test_a_critical_one_rings_at_night_and_its_end_too() -> None:
    office, ops = Office(), FakeChannel("ops", Wants(quiet=NIGHT))
    at_night(office)
    await office.open_incident(incident(at_ms=office.now_ms))
    await office.tell(channels(ops))
    await office.close_incident("vendor_down:emea")
    await office.tell(channels(ops))
    assert [what for what, _ in ops.told] == ["opened", "closed"]


async def test_a_channel_that_wants_no_ring_at_all_gets_none() -> None:
    quiet = replace(NIGHT, critical_passes=False)
    office, ops = Office(), FakeChannel("ops", Wants(quiet=quiet))
    at_night(office)
    await office.open_incident(incident(at_ms=office.now_ms))
    assert await office.tell(channels(ops)) == 0


async def test_what_was_made_before_the_quiet_hours_and_failed_waits_for_their_end() -> None:
    office, ops = Office(), FakeChannel("ops", Wants(quiet=NIGHT))
    ops.failing = Transient("down")
    office.sleep(7 * HOUR_MS + 46 * MINUTE_MS)  # 21:59
    await office.open_incident(incident("unassigned", severity="warning", at_ms=office.now_ms))
    await office.tell(channels(ops))
    ops.failing = None
    office.sleep(2 * MINUTE_MS)
    assert await office.tell(channels(ops)) == 0
    office.sleep(9 * HOUR_MS)
    assert await office.tell(channels(ops)) == 1


async def test_a_channel_that_was_down_is_told_all_at_once() -> None:
    office, ops = Office(), FakeChannel()
    ops.failing = Transient("down")
    for kind in ("unassigned", "slot_busy"):
        await office.open_incident(incident(kind, at_ms=office.now_ms))
    await office.tell(channels(ops))
    ops.failing = None
    office.sleep(HOUR_MS)
    assert await office.tell(channels(ops)) == 2
    assert len(ops.letters) == 1


@pytest.mark.parametrize(("number", "letters"), [(STORM, STORM), (STORM + 1, 1)])
async def test_a_storm_is_one_letter(number: int, letters: int) -> None:
    office, ops = Office(), FakeChannel()
    for n in range(number):
        await office.open_incident(incident(f"slot_busy:g{n}", at_ms=office.now_ms))
    assert await office.tell(channels(ops)) == number
    assert len(ops.letters) == letters


async def test_a_critical_incident_is_told_again_until_it_is_over() -> None:
    office, ops = Office(), FakeChannel()
    await office.open_incident(incident())
    for _ in range(10):
        await office.tell(channels(ops, remind_ms=4 * HOUR_MS))
        office.sleep(HOUR_MS)
    assert [what for what, _ in ops.told] == ["opened", "reminder", "reminder"]


# -- the test button ------------------------------------------------------------------------------


async def test_a_test_says_whether_the_channel_took_it_and_is_never_repeated() -> None:
    office, ops = Office(), FakeChannel("ops", Wants(quiet=NIGHT, severity_min="critical"))
    at_night(office)
    sent = await alerts.test(office.desk, channels(ops), "ops", "ana")
    assert sent.sent_at_ms == office.now_ms
    assert not sent.error
    assert [what for what, _ in ops.told] == ["test"]
    ops.failing = Transient("down")
    office.sleep(1)
    failed = await alerts.test(office.desk, channels(ops), "ops", "ana")
    assert failed.sent_at_ms is None
    assert failed.error == "down"
    office.sleep(DAY_MS)
    ops.failing = None
    assert await office.tell(channels(ops)) == 0
    assert [a.what for a in await office.desk.alerts.alerts()] == ["test", "test"]


async def test_a_test_of_no_channel_is_not_found() -> None:
    office = Office()
    with pytest.raises(NotFound):
        await alerts.test(office.desk, channels(), "ops", "ana")


# -- the loop -------------------------------------------------------------------------------------


async def run_until(office: Office, duty: Duty, done: Callable[[], bool], **more: Any) -> None:
    stop = asyncio.Event()
    loop = asyncio.create_task(alerts.run(office.desk, duty, more.pop("to"), stop, **more))
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.01)
    stop.set()
    await loop


async def test_the_loop_finds_tells_and_goes_on_after_trouble() -> None:
    office, ops = Office(), FakeChannel()
    office.stage.faults.plan("Figures.days", Kind.LOST)
    await office.receive(1)
    office.sleep(2 * HOUR_MS)
    await run_until(office, Duty(every_s=0.01), lambda: bool(ops.told), to=channels(ops))
    assert ops.told == [("opened", "calls_stuck:file_received")]


async def test_where_no_reconciliation_runs_the_loop_watches_retention_itself() -> None:
    office, ops = Office(), FakeChannel()
    await office.announce(1)
    office.sleep(55 * DAY_MS)
    await run_until(
        office, Duty(every_s=0.01), lambda: bool(ops.told), to=channels(ops), alone=True
    )  # fmt: skip
    assert ("opened", "retention_near:emea-retail") in ops.told
    assert "calls_stuck:due" not in await office.open_keys()


async def test_the_loop_sets_the_gauges() -> None:
    office, metrics = Office(), Metrics()
    measure_into(metrics)
    await office.store(*range(3))
    await office.announce(3)
    await office.open_incident(incident())
    await office.desk.notes.put("law", {"holds": True, "at_ms": 5_000})
    office.sleep(2 * HOUR_MS)

    def ready() -> bool:
        return metrics.value("ocp_ingest_law_checked_timestamp_seconds") == 5.0

    await run_until(office, Duty(every_s=0.01), ready, to=channels(FakeChannel()))
    terms = {term: metrics.value("ocp_ingest_calls", term) for term in ("started", *PARTS)}
    assert terms == dict.fromkeys(PARTS, 0) | {"started": 4, "stored": 3, "in_flight": 1}
    assert f"last {DAYS_MAX} days" in METRICS["ocp_ingest_calls"][1]
    assert metrics.value("ocp_ingest_open_calls", "h6") == 1
    assert metrics.value("ocp_ingest_open_calls", "h1") == 0
    assert metrics.value("ocp_ingest_oldest_open_seconds") == 7_210
    assert metrics.value("ocp_ingest_retention_left_seconds") == 60 * 86_400 - 7_210
    assert metrics.value("ocp_ingest_incidents_open", "critical") == 1
    assert metrics.value("ocp_ingest_incidents_open", "warning") == 0
    assert metrics.value("ocp_ingest_law_holds") == 1
    assert metrics.value("ocp_ingest_streamed_ratio", "banking") == 1.0
    assert metrics.value("ocp_ingest_alerts_total", "ops", "sent") == 1
    assert metrics.value("ocp_ingest_stored_bytes_total", "banking") > 0
