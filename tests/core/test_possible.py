"""What a page offers is never refused, and what is useful is offered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given

from ocp_ingest.core import events as ev
from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.errors import Conflict
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import CallPolicy, outcome, works
from ocp_ingest.core.possible import POSSIBLE, Possible, possible_actions
from ocp_ingest.ingest import operate
from tests.core.strategies import CALL, CHILDREN, COSTLY_LAW, journals, received, sha_of, taken
from tests.core.test_explain import CASES, CDRS, HERE, NOW, POLICY
from tests.core.walk import BAD_AT_OCP, GOOD, Ocp, Walk
from tests.flow.stage import Stage

KINDS: dict[str, Any] = {"retry": "retried", "reopen": "reopened", "release": "released"}


async def do(world: Any, action: str, dialog_id: str = "") -> Call:
    if action == "mark_absent":
        return await operate.mark_absent(world, CALL, who="ana", reason="because")
    return await operate.act(
        world, KINDS[action], CALL, who="ana", reason="because", dialog_id=dialog_id or None
    )


async def refused(journal: list[Event], action: str, dialog_id: str = "") -> bool:
    stage = Stage()
    await stage.world.calls.append(journal)
    try:
        await do(stage.world, action, dialog_id)
    except Conflict:
        return True
    return False


@COSTLY_LAW
@given(journals())
def test_what_is_offered_is_never_refused(journal: list[Event]) -> None:
    if not journal:
        return
    policy = Stage().settings.policy
    call = fold(CALL, journal)
    offers = possible_actions(call, policy)
    assert len(set(offers)) == len(offers)
    assert [o.action for o in offers] == sorted((o.action for o in offers), key=POSSIBLE.index)
    for offer in offers:
        assert not asyncio.run(refused(journal, offer.action, offer.dialog_id)), offer


@COSTLY_LAW
@given(journals())
def test_a_closed_call_can_be_reopened_and_an_open_one_tried(journal: list[Event]) -> None:
    call = fold(CALL, journal)
    done = outcome(call, POLICY)
    actions = {offer.action for offer in possible_actions(call, POLICY)}
    assert ("reopen" in actions) is (done is not None and done.outcome != "stored")
    assert ("retry" in actions) is bool(works(call, POLICY))
    if done is not None:
        assert "mark_absent" not in actions


@COSTLY_LAW
@given(journals())
def test_what_is_marked_absent_or_released_moves_on(journal: list[Event]) -> None:
    """An offer that changes nothing would be a button that does nothing."""
    call = fold(CALL, journal)
    for offer in possible_actions(call, POLICY):
        if offer.action == "release":
            act = ev.operator("released", CALL, at_ms=10**13, who="ana", reason="because",
                              dialog_id=offer.dialog_id)  # fmt: skip
            after = fold(CALL, [*journal, act])
            steps = {work.action for work in works(after, POLICY)
                     if work.dialog_id == offer.dialog_id}  # fmt: skip
            assert steps & {"inspect", "validate", "route", "store"}, offer
        if offer.action == "mark_absent":
            closed = ev.closed(CALL, "absent", epoch=call.epoch, at_ms=10**13, reason="r", by="ana")
            left = works(fold(CALL, [*journal, closed]), POLICY)
            assert not [w for w in left if w.action.startswith("close_") or "audio" in w.needs]


def names(journal: list[Event], policy: CallPolicy = POLICY) -> list[str]:
    return [offer.action for offer in possible_actions(fold(CALL, journal), policy)]


def test_a_call_without_its_recording_can_be_tried_or_marked() -> None:
    assert names(CDRS) == ["retry", "mark_absent"]


def test_a_recording_on_its_way_is_left_alone() -> None:
    assert names([*CDRS, HERE]) == ["retry"]


def test_a_quarantined_call_can_be_asked_for_again_or_accepted() -> None:
    walk = Walk([*CDRS, received(version=BAD_AT_OCP)], Ocp(audio=BAD_AT_OCP))
    ended = walk.run()
    assert ended is not None
    assert ended.outcome == "quarantined"
    assert possible_actions(walk.call, POLICY) == (Possible("reopen"), Possible("release", CALL))


def test_a_call_that_ocp_denies_can_be_released_though_nobody_judged_it() -> None:
    journal, policy = CASES["unknown_to_ocp"]
    denied = ev.closed(
        CALL, "quarantined", epoch=0, at_ms=NOW, reason="Denied.", code="unknown_to_ocp"
    )
    assert names([*journal, denied], policy) == ["reopen", "release"]


def test_a_stored_call_offers_nothing_but_the_release_of_a_childs_recording() -> None:
    walk = Walk([*CDRS, received()], Ocp())
    walk.run()
    assert possible_actions(walk.call, POLICY) == ()
    child = received(CHILDREN[0], at_ms=NOW)
    report = {"problems": [{"code": "truncated", "severity": "error", "text": "Cut."}]}
    bad = ev.inspected(CALL, CHILDREN[0], sha_of(CHILDREN[0], GOOD), at_ms=NOW, report=report)
    call = fold(CALL, [*walk.journal, child, bad])
    assert possible_actions(call, POLICY) == (Possible("release", CHILDREN[0]),)


def test_a_call_of_which_nothing_is_known_offers_nothing() -> None:
    assert names([taken({"message_type": "audit", "group": CALL})]) == []


def test_where_something_is_stored_nothing_else_is_released() -> None:
    """A record without the stored version's own event: other bytes must not go to its place."""
    place = {"lob": "claims", "bucket": "b", "key": "k"}
    stored = ev.stored(CALL, CALL, "0" * 64, at_ms=NOW, size_bytes=9, **place)
    report = {"problems": [{"code": "truncated", "severity": "error", "text": "Cut."}]}
    bad = ev.inspected(CALL, CALL, sha_of(CALL, GOOD), at_ms=NOW, report=report)
    assert "release" not in names([*CDRS, HERE, bad, stored])


def test_bytes_that_are_gone_can_not_be_released() -> None:
    walk = Walk([*CDRS, received(version=BAD_AT_OCP)], Ocp(audio=BAD_AT_OCP))
    walk.run()
    version = next(iter(walk.call.root.versions.values()))
    gone = ev.landing_lost(
        CALL,
        CALL,
        sha_of(CALL, BAD_AT_OCP),
        at_ms=NOW,
        landing_key=version.landing_key,
        how="Gone.",
    )
    assert "release" not in names([*walk.journal, gone])


@pytest.mark.parametrize("kind", ["reopened", "released"])
async def test_what_is_not_offered_to_an_open_call_is_refused(kind: str) -> None:
    stage = Stage()
    await stage.world.calls.append(CDRS)
    with pytest.raises(Conflict):
        await operate.act(stage.world, kind, CALL, who="ana", reason="because")  # type: ignore[arg-type]
