"""Identity and immutability of journal events."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core import events as ev
from ocp_ingest.core.call import fold
from ocp_ingest.core.events import KINDS, VENDOR_KINDS, Event, canonical_hash, content_hash
from tests.core.strategies import CALL, LAW, T0, golden, journals, received, report, sha_of, taken

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@LAW
@given(st.dictionaries(st.text(max_size=4), json_values, min_size=2, max_size=5))
def test_the_canonical_hash_knows_values_not_their_order(value: dict[str, Any]) -> None:
    assert canonical_hash(dict(reversed(value.items()))) == canonical_hash(value)
    lost = dict(list(value.items())[1:])
    assert canonical_hash(lost) != canonical_hash(value)


@pytest.mark.parametrize(
    ("kind", "same_time", "same_body", "same_event"),
    [
        ("dialog_start", False, False, True),
        ("dialog_end", False, False, True),
        ("dialog_step", True, True, True),
        ("dialog_step", False, True, False),
        ("dialog_step", True, False, False),
        ("ivr_end", True, False, False),
    ],
)
def test_starts_and_ends_are_known_by_their_id_others_by_time_and_body_too(
    kind: str, same_time: bool, same_body: bool, same_event: bool
) -> None:
    one = ev.vendor_event_id(kind, kind, "d", T0, "a" * 64)
    time, body = T0 if same_time else T0 + 1, ("a" if same_body else "b") * 64
    assert (ev.vendor_event_id(kind, kind, "d", time, body) == one) is same_event
    assert ev.vendor_event_id(kind, kind, "e", time, body) != one


def test_the_same_fact_heard_twice_is_the_same_event() -> None:
    first, again = received(at_ms=T0), received(at_ms=T0 + 99, source="export")
    assert first.event_id == again.event_id
    assert received(version=1).event_id != first.event_id
    assert received("child-1").event_id != first.event_id


def test_steps_of_ours_have_ids_that_make_a_repeated_step_one_event() -> None:
    sha = sha_of(CALL, 0)
    place = {"lob": "l", "bucket": "b", "key": "k"}

    def verdict(epoch: int, at_ms: int) -> Event:
        return ev.validated(CALL, CALL, sha, epoch=epoch, at_ms=at_ms, valid=True, problems=[],
                            rules="")  # fmt: skip

    assert verdict(0, T0).event_id == verdict(0, T0 + 5).event_id
    assert verdict(0, T0).event_id != verdict(1, T0).event_id, "each epoch has its own verdict"
    routed = [ev.routed(CALL, CALL, s, at_ms=T0, rule="", **place) for s in (sha, sha_of(CALL, 1))]
    assert routed[0].event_id == routed[1].event_id, "a recording is pinned once"
    inspected = [ev.inspected(CALL, CALL, sha, at_ms=t, report={}) for t in (T0, T0 + 5)]
    assert inspected[0].event_id == inspected[1].event_id


def test_a_closing_is_one_event_per_outcome_epoch_and_code() -> None:
    def closed(epoch: int, code: str, outcome: ev.Closing = "quarantined") -> str:
        return ev.closed(CALL, outcome, epoch=epoch, at_ms=T0, reason="R.", code=code).event_id

    ids = {closed(0, ""), closed(1, ""), closed(0, "bad_at_ocp"), closed(0, "", "lost")}
    assert len(ids) == 4
    assert closed(0, "bad_at_ocp") in ids


def test_two_acts_of_operators_are_two_events() -> None:
    def act(who: str = "ana", reason: str = "r", at_ms: int = T0, dialog: str | None = None) -> str:
        return ev.operator("reopened", CALL, at_ms=at_ms, who=who, reason=reason,
                           dialog_id=dialog).event_id  # fmt: skip

    assert len({act(), act(who="eva"), act(reason="s"), act(at_ms=T0 + 1), act(dialog="d")}) == 5
    assert act() == act()


def test_no_key_of_the_journal_holds_a_time_of_receipt() -> None:
    """A duplicate heard later must have the same key, so ours have none and vendors' is theirs."""
    step = golden("dialog_step")
    assert taken(step).key_at_ms == step["time"]
    assert received(at_ms=T0 + 5).key_at_ms == 0


def test_events_hold_json_values_only_so_that_they_read_back_equal() -> None:
    whole = {**report(True), "silent_runs": ((0, 5),)}
    event = ev.inspected(CALL, CALL, sha_of(CALL, 0), at_ms=T0, report=whole)
    assert event.data["report"]["silent_runs"] == [[0, 5]]
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event


def test_an_event_can_not_be_changed() -> None:
    with pytest.raises(AttributeError):
        received().kind = "stored"  # type: ignore[misc]


def test_the_content_hash_covers_what_is_said_not_when_it_was_heard() -> None:
    event = taken(golden("dialog_end_transfer"))
    change = msgspec.structs.replace
    assert content_hash(change(event, received_at_ms=9, source="export")) == content_hash(event)
    for other in (
        change(event, call_id="x"), change(event, event_id="x"), change(event, kind="x"),
        change(event, at_ms=1), change(event, key_at_ms=1), change(event, data={}),
        change(event, raw=b"x"),
    ):  # fmt: skip
        assert content_hash(other) != content_hash(event)


def test_a_variant_is_deterministic_and_lies_beside_the_event() -> None:
    event = taken(golden("dialog_end_transfer"))
    variant = ev.variant_of(event)
    assert variant.event_id.startswith(f"{event.event_id}~")
    assert ev.variant_of(event) == variant
    assert variant.data == event.data


@LAW
@given(journals())
def test_every_kind_that_is_journalled_is_known_and_folds(journal: list[Event]) -> None:
    assert {event.kind for event in journal} <= KINDS.keys()
    assert len({event.event_id for event in journal}) == len(journal)
    fold(CALL, journal)


def test_every_kind_is_a_vendors_or_one_of_our_constructors() -> None:
    ours = KINDS.keys() - VENDOR_KINDS
    operators = {"retried", "reopened", "released"}
    assert all(callable(getattr(ev, kind)) for kind in ours - operators)
