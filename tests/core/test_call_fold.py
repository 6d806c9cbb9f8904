"""Laws of the record: whatever the order, the duplicates, the copies, it is one and the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core import call as calls
from ocp_ingest.core import events as ev
from ocp_ingest.core.call import FLAGS, Call, flags, fold, merge
from ocp_ingest.core.events import Event
from ocp_ingest.core.explain import explain
from ocp_ingest.core.lifecycle import CallPolicy, closing, current, outcome, stage, start_ms, works
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from tests.core.strategies import (
    CALL,
    CHILDREN,
    CLAIMANT,
    COSTLY_LAW,
    T0,
    as_journal,
    bodies,
    journals,
    received,
    report,
    sha_of,
    taken,
)

POLICY = CallPolicy()
OUR_FLAGS = {"file_received", "post_processed", "stored"}


def behaviour(call: Call) -> list[Any]:
    """Everything that is derived from a record."""
    return [
        flags(call), stage(call), start_ms(call), works(call, POLICY), outcome(call, POLICY),
        closing(call), call.root_dialog_id, [current(call, d) for d in sorted(call.recordings)],
        explain(call, POLICY, T0 + 3 * DAY_MS),
    ]  # fmt: skip


@COSTLY_LAW
@given(journals(), st.data())
def test_the_record_does_not_depend_on_order_or_duplicates(
    journal: list[Event], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(journal), max_size=4)) if journal else []
    shuffled = data.draw(st.permutations([*journal, *again]))
    assert fold(CALL, shuffled) == fold(CALL, journal)
    assert behaviour(fold(CALL, shuffled)) == behaviour(fold(CALL, journal))


@COSTLY_LAW
@given(journals())
def test_merging_a_fact_again_changes_nothing(journal: list[Event]) -> None:
    call = fold(CALL, journal)
    for event in journal:
        assert merge(call, event) == call


@COSTLY_LAW
@given(journals(), st.data())
def test_a_flag_once_set_is_never_unset(journal: list[Event], data: st.DataObject) -> None:
    """Nor does one of our own facts get a later time; vendors' times follow the better source."""
    call, held = calls.new(CALL), dict[str, int]()
    for event in data.draw(st.permutations(journal)):
        call = merge(call, event)
        now = {flag: at_ms for flag, at_ms in flags(call).items() if at_ms is not None}
        assert held.keys() <= now.keys(), event.event_id
        assert all(now[flag] <= held[flag] for flag in OUR_FLAGS & held.keys())
        held = now


@COSTLY_LAW
@given(journals(), journals())
def test_a_stored_record_goes_on_like_the_one_in_memory(
    journal: list[Event], more: list[Event]
) -> None:
    call = fold(CALL, journal)
    for back in (
        msgspec.json.decode(msgspec.json.encode(call), type=Call),
        msgspec.msgpack.decode(msgspec.msgpack.encode(call), type=Call),
    ):
        assert back == call
        assert behaviour(back) == behaviour(call)
        full, resumed = call, back
        for event in more:
            full, resumed = merge(full, event), merge(resumed, event)
        assert resumed == full


@COSTLY_LAW
@given(journals())
def test_a_journal_read_back_gives_the_record_of_the_live_events(journal: list[Event]) -> None:
    kept = [msgspec.json.decode(msgspec.json.encode(e), type=Event) for e in journal]
    assert kept == journal
    assert fold(CALL, kept) == fold(CALL, journal)


@COSTLY_LAW
@given(st.lists(bodies(dialogs=(CALL, CHILDREN[0])), min_size=2, max_size=6), st.data())
def test_which_variant_wins_does_not_depend_on_which_came_first(
    messages: list[dict[str, Any]], data: st.DataObject
) -> None:
    one = [taken(body) for body in messages]
    other = data.draw(st.permutations(one))
    assert fold(CALL, as_journal(one)) == fold(CALL, as_journal(other))


def test_a_variant_is_a_second_event_and_the_earlier_vendor_time_wins() -> None:
    first, second = (
        taken({"message_type": "dialog_end", "id": CALL, "group": CALL, "time": T0 + shift,
               "duration": 1_000, "end_type": end_type})
        for shift, end_type in ((5, "FAR_HUP"), (0, "TRANSFER"))
    )  # fmt: skip
    assert first.event_id == second.event_id
    for arrival in ([first, second], [second, first]):
        journal = as_journal(arrival)
        assert len({e.event_id for e in journal}) == 2
        assert fold(CALL, journal).get("exit_status") == "transferred"


@COSTLY_LAW
@given(st.lists(bodies(dialogs=CHILDREN), max_size=8))
def test_children_never_start_or_end_the_call(messages: list[dict[str, Any]]) -> None:
    # The canonical `ivr_end` is about the call, whichever dialog it names.
    spoken = [m for m in messages if m["message_type"] != "ivr_end"]
    held = flags(fold(CALL, [taken(m) for m in spoken]))
    assert held == dict.fromkeys(FLAGS)


def test_priority_goes_before_time_and_time_before_the_hash() -> None:
    start = {"message_type": "dialog_start", "id": CALL, "group": CALL, "time": T0 + 50}
    end = {"message_type": "dialog_end", "id": CALL, "group": CALL, "time": T0, "duration": 9}
    call = fold(CALL, [taken({**end, "channel": "late"}), taken({**start, "channel": "early"})])
    assert call.get("channel") == "early", "CDR Start is the richer message"
    assert call.get("call_started") == T0 + 50
    assert call.get("call_ended") == T0 + 9
    assert call.get("seen") == T0


def test_a_message_of_unknown_type_is_no_evidence_of_a_call() -> None:
    other = taken({"message_type": "vb_enrolment", "dialog_id": CALL})
    call = fold(CALL, [other])
    assert call == calls.new(CALL)
    assert works(call, POLICY) == []
    assert outcome(call, POLICY) is None


def test_an_event_of_another_call_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="another call"):
        merge(calls.new("call-2"), received())


def test_the_window_of_an_export_is_the_answered_one_in_any_order() -> None:
    asked = ev.export_asked(CALL, "j", at_ms=T0, window=(1, 2), attempt=1)
    answered = ev.export_answered(
        CALL, "j", at_ms=T0 + 1, job_id="x", task_id="t", window=(0, 3), found={}, files=[],
        metadata={},
    )  # fmt: skip
    one, other = fold(CALL, [asked, answered]), fold(CALL, [answered, asked])
    assert one == other
    assert (one.exports["j"].from_ms, one.exports["j"].to_ms) == (0, 3)
    assert one.exports["j"].asked_at_ms == T0


def test_a_late_claim_to_be_the_root_does_not_unset_what_was_stored() -> None:
    """CDRs without a `flow` object claim the root; two may, and their recordings both count."""
    place = {"lob": "l", "bucket": "b", "key": "k"}
    sha = sha_of(CLAIMANT, 0)
    claim = {"message_type": "dialog_start", "id": CLAIMANT, "group": CALL, "time": T0 + 9}
    done = [
        taken(claim), received(CLAIMANT),
        ev.inspected(CALL, CLAIMANT, sha, at_ms=T0, report=report(True)),
        ev.validated(CALL, CLAIMANT, sha, epoch=0, at_ms=T0, valid=True, problems=[], rules=""),
        ev.routed(CALL, CLAIMANT, sha, at_ms=T0, rule="", **place),
        ev.stored(CALL, CLAIMANT, sha, at_ms=T0 + 77, size_bytes=1, **place),
    ]  # fmt: skip
    earlier = {**claim, "id": "claimant-0", "time": T0}
    for late in ([], [taken(earlier)], [taken({**claim, "id": CALL})]):
        call = fold(CALL, [*done, *late])
        assert flags(call)["stored"] == T0 + 77
        assert call.root_dialog_id == CLAIMANT


def test_a_flag_is_the_earliest_of_all_that_claim_to_be_the_root() -> None:
    claim = taken({"message_type": "dialog_start", "id": CLAIMANT, "group": CALL, "time": T0})
    both = [claim, received(CLAIMANT, at_ms=T0 + 5), received(CALL, at_ms=T0 + 9)]
    named = taken({"message_type": "dialog_start", "id": CALL, "group": CALL, "time": T0})
    for journal in (both, [*both, named]):
        assert flags(fold(CALL, journal))["file_received"] == T0 + 5


def test_the_dialog_that_the_group_is_named_after_is_the_root_of_several_claimants() -> None:
    start = {"message_type": "dialog_start", "group": CALL, "time": T0}
    claimant = taken({**start, "id": CLAIMANT, "time": T0 - HOUR_MS})
    assert fold(CALL, [claimant]).root_dialog_id == CLAIMANT
    assert fold(CALL, [claimant, taken({**start, "id": CALL})]).root_dialog_id == CALL
    # … and a recording filed under the call's own id is the whole call's, CDR or not.
    assert fold(CALL, [claimant, received(CALL)]).root_dialog_id == CALL


def test_the_earliest_of_several_versions_and_verdicts_gives_the_flags() -> None:
    sha = sha_of(CALL, 1)
    journal = [
        received(CALL, 0, at_ms=T0 + 500), received(CALL, 1, at_ms=T0 + 200),
        *(ev.validated(CALL, CALL, sha, epoch=e, at_ms=T0 + 900 - e, valid=True, problems=[],
                       rules="") for e in (0, 1)),
    ]  # fmt: skip
    held = flags(fold(CALL, journal))
    assert held["file_received"] == T0 + 200
    assert held["post_processed"] == T0 + 899
    assert held["stored"] is None


def test_verdicts_of_two_epochs_are_told_alike_in_either_order() -> None:
    sha = sha_of(CALL, 0)
    seen = [received(), ev.inspected(CALL, CALL, sha, at_ms=T0, report=report(True))]
    verdicts = [
        ev.validated(
            CALL, CALL, sha, epoch=epoch, at_ms=T0 + epoch, valid=True, rules="",
            problems=[{"code": "c", "severity": "warning", "text": f"Epoch {epoch}."}],
        )
        for epoch in (0, 1)
    ]  # fmt: skip
    one, other = fold(CALL, [*seen, *verdicts]), fold(CALL, [*seen, *reversed(verdicts)])
    assert behaviour(one) == behaviour(other)


def test_texts_of_vendors_do_not_grow_the_record_without_bound() -> None:
    long = "x" * 10_000
    body = {
        "message_type": "dialog_start", "id": CALL, "group": CALL, "time": T0, "channel": long,
        "flow": {"ocp_group_name": long, "name": long, "account_id": long},
        "incoming_attached_data": {"customer_id": long, **{f"k{i}": long for i in range(99)}},
        "kvps": [{"key": f"{i}Result", "value": long} for i in range(999)],
    }  # fmt: skip
    start, end = taken(body), taken({**body, "message_type": "dialog_end"})
    assert len(msgspec.json.encode(fold(CALL, [start, end]))) < 24 * 1024
