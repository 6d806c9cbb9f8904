"""AlertBook: what is to be told is told by one, and what was told is not told again."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ocp_ingest.core.incidents import Incident
from ocp_ingest.desk.ports import Alert
from tests.contracts.runtimes import DeskRuntime


def alert(name: str, **more: Any) -> Alert:
    """An alert about one incident."""
    incident = Incident(key="k", kind="vendor_down", text="No answer.", opened_at_ms=1)
    fields: dict[str, Any] = {"channel": "mail", "what": "opened", "made_at_ms": 10, **more}
    return Alert(alert_id=name, incident=incident, **fields)


async def due(desk: DeskRuntime, now_ms: int, limit: int = 100) -> list[str]:
    """Ids of what is due."""
    return [each.alert_id for each in await desk.alerts.due(now_ms, limit=limit)]


async def test_an_alert_is_added_once_and_the_first_stands(desk: DeskRuntime) -> None:
    assert await desk.alerts.add(alert("a")) is True
    assert await desk.alerts.add(alert("a", channel="other", next_at_ms=99)) is False
    assert await desk.alerts.due(10) == [alert("a")]


async def test_of_many_who_add_it_at_once_one_did(desk: DeskRuntime) -> None:
    answers = await asyncio.gather(*(desk.alerts.add(alert("a")) for _ in range(4)))
    assert sorted(answers) == [False, False, False, True]


async def test_an_alert_comes_back_as_it_was_also_after_a_restart(desk: DeskRuntime) -> None:
    given = alert("a", what="reminder", tries=2, next_at_ms=7, error="timed out")
    await desk.alerts.add(given)
    desk.restart()
    assert await desk.alerts.due(7) == [given]
    assert await desk.alerts.alerts() == [given]


async def test_the_earliest_due_comes_first_and_nothing_before_its_time(desk: DeskRuntime) -> None:
    for name, at_ms in (("c", 30), ("a", 30), ("b", 10), ("d", 31)):
        await desk.alerts.add(alert(name, next_at_ms=at_ms))
    assert await due(desk, 9) == []
    assert await due(desk, 30) == ["b", "a", "c"]
    assert await due(desk, 30, limit=2) == ["b", "a"]


async def test_what_was_sent_or_given_up_is_never_due_again(desk: DeskRuntime) -> None:
    for name in ("sent", "dropped", "open"):
        await desk.alerts.add(alert(name))
    await desk.alerts.keep(alert("sent", tries=1, sent_at_ms=20), tries_before=0)
    await desk.alerts.keep(alert("dropped", tries=1, given_up=True), tries_before=0)
    assert await due(desk, 1 << 40) == ["open"]
    assert len(await desk.alerts.alerts()) == 3


async def test_a_try_moves_it_to_its_next_time(desk: DeskRuntime) -> None:
    await desk.alerts.add(alert("a"))
    later = alert("a", tries=1, next_at_ms=500, error="no answer")
    assert await desk.alerts.keep(later, tries_before=0) is True
    assert await due(desk, 499) == []
    assert await desk.alerts.due(500) == [later]


async def test_of_two_who_try_at_once_one_has_it(desk: DeskRuntime) -> None:
    await desk.alerts.add(alert("a"))
    mine = [alert("a", tries=1, error=f"{n}") for n in range(4)]
    answers = await asyncio.gather(*(desk.alerts.keep(one, tries_before=0) for one in mine))
    assert sorted(answers) == [False, False, False, True]
    [held] = await desk.alerts.alerts()
    assert held == mine[answers.index(True)]


async def test_an_older_view_of_an_alert_replaces_nothing(desk: DeskRuntime) -> None:
    await desk.alerts.add(alert("a", tries=3))
    assert await desk.alerts.keep(alert("a", tries=1), tries_before=0) is False
    assert await desk.alerts.keep(alert("b"), tries_before=0) is False
    assert await desk.alerts.alerts() == [alert("a", tries=3)]


async def test_the_newest_come_first(desk: DeskRuntime) -> None:
    for name, at_ms in (("a", 1), ("c", 3), ("b", 3), ("d", 2)):
        await desk.alerts.add(alert(name, made_at_ms=at_ms))
    assert [each.alert_id for each in await desk.alerts.alerts()] == ["c", "b", "d", "a"]
    assert [each.alert_id for each in await desk.alerts.alerts(limit=2)] == ["c", "b"]


async def test_an_incident_is_kept_as_it_was_then(desk: DeskRuntime) -> None:
    given = alert("a")
    more = msgspec.structs.replace(given.incident, sample=("c1",), severity="critical")
    given = msgspec.structs.replace(given, incident=more)
    await desk.alerts.add(given)
    assert (await desk.alerts.alerts())[0].incident == more
