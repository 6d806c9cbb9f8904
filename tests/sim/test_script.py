"""What the stream sends of a call: everything once, in time, unless a fault says otherwise."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_sim import config
from ocp_sim.model import Call, Delivery
from ocp_sim.script import deliveries, of_call, stray_call_id
from ocp_sim.world import World
from tests.sim.kit import HOUR, small_world

PUSH = config.Push()
CALLS = 60


def with_fault(fault: str) -> list[tuple[Call, list[Delivery]]]:
    shares: dict[str, Any] = {fault: 0.3}
    world = small_world(calls=CALLS, **shares)
    found = [(c, of_call(c, PUSH, world.seed)) for c in world.calls if fault in c.faults]
    assert found
    return found


def events(sent: list[Delivery]) -> list[dict[str, Any]]:
    return [dict(body) for one in sorted(sent, key=lambda d: d.at_ms) for body in one.events]


def at(sent: list[Delivery], call: Call, message_type: str) -> int:
    """When the root's message of that type is sent."""
    return next(
        one.at_ms
        for one in sent
        for body in one.events
        if body["message_type"] == message_type and body["id"] == call.call_id
    )


def recordings(sent: list[Delivery]) -> list[Delivery]:
    return [one for one in sent if one.kind == "recording"]


@pytest.fixture(scope="module")
def calm() -> World:
    return small_world(calls=CALLS)


def test_a_calm_day_sends_each_cdr_and_each_recording_once(calm: World) -> None:
    sent = list(deliveries(calm, PUSH))
    expected = Counter(str(cdr.body) for call in calm.calls for cdr in call.cdrs)
    assert Counter(str(dict(body)) for one in sent for body in one.events) == expected
    assert Counter(one.name for one in recordings(sent)) == Counter(list(calm.recordings))


def test_nothing_is_sent_before_it_happened_nor_long_after(calm: World) -> None:
    for call in calm.calls:
        happened = {str(dict(cdr.body)): cdr.happened_ms for cdr in call.cdrs}
        for one in of_call(call, PUSH, calm.seed):
            facts = [happened[str(dict(body))] for body in one.events] or [call.end_ms]
            assert max(facts) < one.at_ms <= max(facts) + 5 * 60_000


def test_a_push_carries_one_type_only_as_subscriptions_are_per_type(calm: World) -> None:
    for one in deliveries(calm, PUSH):
        assert len({body["message_type"] for body in one.events}) <= 1
        assert bool(one.events) != bool(one.recording)


def test_every_form_is_used(calm: World) -> None:
    world = small_world(calls=300)
    used = Counter(one.form for one in deliveries(world, PUSH))
    assert used.keys() == {*PUSH.event_forms, *PUSH.audio_forms}


def test_a_single_form_can_be_asked_for(calm: World) -> None:
    push = config.Push(event_forms={"ndjson": 1.0}, audio_forms={"multipart": 1.0})
    assert {one.form for one in deliveries(calm, push)} == {"ndjson", "multipart"}


def test_pushes_are_in_order_of_time_and_the_same_again(calm: World) -> None:
    sent = deliveries(calm, PUSH)
    assert [one.at_ms for one in sent] == sorted(one.at_ms for one in sent)
    assert deliveries(calm, PUSH) == sent


def test_of_a_call_with_nothing_not_one_message_is_sent() -> None:
    assert all(sent == [] for _, sent in with_fault("nothing"))


@pytest.mark.parametrize("fault", ["lost", "expired", "test_call", "too_short"])
def test_these_calls_send_their_cdrs_and_no_recording(fault: str) -> None:
    for call, sent in with_fault(fault):
        assert len(events(sent)) == len(call.cdrs)
        assert recordings(sent) == []


@pytest.mark.parametrize(("fault", "message_type"), [
    ("missing_start", "dialog_start"), ("missing_end", "dialog_end"),
])  # fmt: skip
def test_a_missing_cdr_of_the_root_is_all_that_is_missing(fault: str, message_type: str) -> None:
    for call, sent in with_fault(fault):
        missing = {"message_type": message_type, "id": call.call_id}
        gone = [dict(c.body) for c in call.cdrs if dict(c.body) not in events(sent)]
        assert [{key: body[key] for key in missing} for body in gone] == [missing]
        assert len(recordings(sent)) == 1


def test_an_endless_call_has_no_end_anywhere() -> None:
    for call, sent in with_fault("endless"):
        for body in [*events(sent), *[c.body for c in call.cdrs]]:
            assert (body["message_type"], body["id"]) != ("dialog_end", call.call_id)


def test_a_late_recording_comes_hours_after_the_call() -> None:
    for call, sent in with_fault("late"):
        assert 2.5 * HOUR <= recordings(sent)[0].at_ms - call.end_ms <= 5 * HOUR


def test_an_early_recording_comes_before_the_start_of_its_call() -> None:
    for call, sent in with_fault("early_recording"):
        assert recordings(sent)[0].at_ms < at(sent, call, "dialog_start")
        assert at(sent, call, "dialog_end") < at(sent, call, "dialog_start")


def test_a_reordered_call_ends_first_and_starts_last() -> None:
    for call, sent in with_fault("reordered"):
        order = [one.at_ms for one in sent if one.events]
        assert at(sent, call, "dialog_start") == max(order)
        assert at(sent, call, "dialog_end") == min(order)
        assert recordings(sent)[0].at_ms < max(order)
        assert len(events(sent)) == len(call.cdrs)


def test_a_duplicated_call_sends_everything_two_or_three_times() -> None:
    for call, sent in with_fault("duplicated"):
        counts = Counter(str(body) for body in events(sent))
        counts["recording"] = len(recordings(sent))
        assert len(counts) == len(call.cdrs) + 1
        assert set(counts.values()) <= {2, 3}


def test_a_wrong_call_id_is_that_of_no_call_and_well_formed() -> None:
    world = small_world(calls=CALLS, wrong_call_id=0.3)
    known = {call.call_id for call in world.calls}
    for call in world.calls:
        if "wrong_call_id" in call.faults:
            one = recordings(of_call(call, PUSH, world.seed))[0]
            stray = stray_call_id(call)
            assert one.name is not None
            assert stray not in known
            assert one.name.startswith(f"{stray}~")
            assert call.call_id not in one.name
            assert call.recording is not None
            assert one.recording == call.recording.name


def test_extra_faults_mark_one_push_of_the_call() -> None:
    for _, sent in with_fault("bad_token"):
        assert sum(one.spoil_token for one in sent) == 1
    for _, sent in with_fault("cut_upload"):
        assert [one.kind for one in sent if one.cut_first] == ["recording"]


@given(st.integers(0, 10**6))
def test_faults_never_invent_a_message(seed: int) -> None:
    world = small_world(calls=20, seed=seed, duplicated=0.3, reordered=0.3, missing_end=0.2)
    for call in world.calls:
        known = [dict(cdr.body) for cdr in call.cdrs]
        assert all(body in known for body in events(of_call(call, PUSH, seed)))
