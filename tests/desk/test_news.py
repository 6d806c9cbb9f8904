"""What is news: each opening told once to each channel that wants it, and its end to whom it was
told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.desk.news import TOLD_MAX, News, Told, news
from ocp_ingest.desk.notify import Wants
from tests.desk.fakes import NIGHT, START_MS, FakeChannel, incident

OPS = FakeChannel("ops")
PAGER = FakeChannel("pager", Wants(severity_min="critical"))


def look(
    held: Sequence[Incident], told: dict[str, Told] | None = None, *,
    closed: Sequence[Incident] = (), now_ms: int = START_MS, channels: Any = (OPS, PAGER),
    remind_ms: int = 0,
) -> News:  # fmt: skip
    return news(held, closed, told or {}, channels, now_ms=now_ms, remind_ms=remind_ms)


def said(found: News) -> list[tuple[str, str]]:
    return [(alert.channel, alert.what) for alert in found.alerts]


def test_an_incident_is_told_once_to_who_wants_its_severity() -> None:
    first = look([incident(severity="warning")])
    assert said(first) == [("ops", "opened")]
    assert said(look([incident(severity="warning")], first.told)) == []
    assert said(look([incident()])) == [("ops", "opened"), ("pager", "opened")]


def test_one_that_gets_worse_is_told_as_worse_or_as_new_to_who_hears_of_it_first() -> None:
    before = look([incident(severity="warning")])
    after = look([incident()], before.told)
    assert said(after) == [("ops", "worse"), ("pager", "opened")]
    assert said(look([incident()], after.told)) == []


def test_its_end_is_told_to_those_who_heard_of_it() -> None:
    before = look([incident(severity="warning")])
    gone = replace(incident(severity="warning"), closed_at_ms=START_MS + 5, closed_how="healed")
    after = look([], before.told, closed=[gone])
    assert said(after) == [("ops", "closed")]
    assert after.alerts[0].incident.closed_at_ms == START_MS + 5
    assert after.told == {}


def test_the_end_of_one_that_can_t_be_found_any_more_is_told_all_the_same() -> None:
    before = look([incident()])
    [first, _] = look([], before.told, now_ms=START_MS + 9).alerts
    assert (first.what, first.incident.key) == ("closed", "vendor_down:emea")
    assert first.incident.closed_at_ms == START_MS + 9


def test_an_incident_that_opens_again_is_another_one() -> None:
    before = look([incident()])
    gone = replace(incident(), closed_at_ms=START_MS + 5)
    again = incident(at_ms=START_MS + 10)
    after = look([again], before.told, closed=[gone], now_ms=START_MS + 10)
    assert sorted(said(after)) == [
        ("ops", "closed"), ("ops", "opened"), ("pager", "closed"), ("pager", "opened"),
    ]  # fmt: skip
    ids = {alert.alert_id for found in (before, after) for alert in found.alerts}
    assert len(ids) == 6


def test_only_critical_ones_are_told_again_once_per_interval() -> None:
    held = [incident(), incident("unassigned", severity="warning")]
    told = look(held, remind_ms=HOUR_MS).told
    reminded = []
    for minutes in range(0, 200, 10):
        found = look(held, told, now_ms=START_MS + minutes * 60_000, remind_ms=HOUR_MS)
        told = found.told
        reminded += [(minutes, *one) for one in said(found)]
    assert reminded == [
        (minutes, name, "reminder") for minutes in (60, 120, 180) for name in ("ops", "pager")
    ]


def test_after_a_pause_one_reminder_stands_for_all_that_were_missed() -> None:
    told = look([incident()], remind_ms=HOUR_MS).told
    after = look([incident()], told, now_ms=START_MS + 9 * HOUR_MS, remind_ms=HOUR_MS)
    assert said(after) == [("ops", "reminder"), ("pager", "reminder")]


def test_a_channel_that_comes_later_hears_of_what_is_open() -> None:
    before = look([incident()], channels=(OPS,))
    assert said(look([incident()], before.told)) == [("pager", "opened")]


def test_what_was_told_and_forgotten_is_made_again_under_the_same_ids() -> None:
    held = [incident(), incident("unassigned", severity="warning")]
    later = look(held, {}, now_ms=START_MS + HOUR_MS)
    assert {a.alert_id for a in look(held).alerts} == {a.alert_id for a in later.alerts}


def test_quiet_hours_hold_back_what_is_not_critical() -> None:
    quiet = FakeChannel("quiet", Wants(quiet=NIGHT))
    night_ms = START_MS + 9 * HOUR_MS  # 23:13 UTC
    held = [incident(), incident("unassigned", severity="warning")]
    found = look(held, channels=(quiet,), now_ms=night_ms)
    due = {alert.incident.key: alert.next_at_ms for alert in found.alerts}
    assert due["vendor_down:emea"] == night_ms
    assert due["unassigned"] == START_MS + 16 * HOUR_MS + 46 * 60_000 + 40_000  # 07:00 UTC
    strict = FakeChannel("strict", Wants(quiet=replace(NIGHT, critical_passes=False)))
    found = look(held, channels=(strict,), now_ms=night_ms)
    assert all(alert.next_at_ms > night_ms for alert in found.alerts)


def test_more_incidents_than_can_be_remembered_are_counted_and_the_worst_are_told() -> None:
    mild = [incident(f"unassigned:{n}", severity="warning") for n in range(TOLD_MAX)]
    found = look([*mild, incident()], channels=(OPS,))
    assert found.left_out == 1
    assert found.alerts[0].incident.key == "vendor_down:emea"
    assert len(found.told) == TOLD_MAX
    # What falls out of memory is no end of it.
    before = look(mild, channels=(OPS,))
    assert said(look([*mild, incident()], before.told, channels=(OPS,))) == [("ops", "opened")]


steps = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["open", "worse", "close"])),
    max_size=30,
)


@given(steps)
def test_every_opening_is_told_and_ended_once_whatever_happens(
    moves: list[tuple[str, str]],
) -> None:
    held: dict[str, Incident] = {}
    closed: list[Incident] = []
    told: dict[str, Told] = {}
    heard: list[tuple[str, str, int]] = []
    openings = 0
    for number, (key, move) in enumerate([*moves, *((k, "close") for k in "abc")]):
        now_ms = START_MS + number
        if move == "open" and key not in held:
            held[key] = incident(key, severity="warning", at_ms=now_ms)
            openings += 1
        elif move == "worse" and key in held:
            held[key] = replace(held[key], severity="critical")
        elif move == "close" and key in held:
            closed.append(replace(held.pop(key), closed_at_ms=now_ms))
        found = news(list(held.values()), closed, told, (OPS,), now_ms=now_ms, remind_ms=0)
        told = found.told
        heard += [(a.what, a.incident.key, a.incident.opened_at_ms) for a in found.alerts]
    assert len(set(heard)) == len(heard)
    assert sum(what == "opened" for what, *_ in heard) == openings
    assert sum(what == "closed" for what, *_ in heard) == openings
