"""Who may see and do what; and that looking is journalled without changing anything."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.journal import EVIDENCE_KINDS
from ocp_ingest.core import events as ev
from ocp_ingest.core.access import EVERYTHING, ROLES, Person, Right, scope_of
from ocp_ingest.core.call import fold
from ocp_ingest.core.errors import Denied
from ocp_ingest.core.events import Event
from tests.core.strategies import CALL, T0, journals

RIGHTS: tuple[Right, ...] = get_args(Right)
_lobs = st.lists(st.sampled_from(["banking", "cards", EVERYTHING]), max_size=3).map(tuple)


def test_who_may_what_is_this_table() -> None:
    table = {role: {right for right in RIGHTS if Person("a", role, None).may(right)}
             for role in ROLES}  # fmt: skip
    assert table == {
        "viewer": {"see"},
        "operator": {"see", "act", "hear", "unmask"},
        "auditor": {"see", "hear", "unmask"},
    }


@given(st.text(max_size=8).filter(lambda role: role not in ROLES), st.sampled_from(RIGHTS))
def test_an_unknown_role_may_nothing(role: str, right: Right) -> None:
    assert not Person("a", role, None).may(right)


@given(_lobs, st.sampled_from(["", "banking", "cards", "other"]))
def test_a_call_is_seen_by_those_of_its_business_and_by_those_who_see_all(
    lobs: tuple[str, ...], lob: str
) -> None:
    person = Person("a", "viewer", scope_of(lobs))
    assert person.sees(lob) == (EVERYTHING in lobs or (lob != "" and lob in lobs))


@given(st.sampled_from(ROLES), _lobs, st.sampled_from(RIGHTS), st.sampled_from(["", "cards"]))
def test_what_is_required_is_the_right_and_the_business_both(
    role: str, lobs: tuple[str, ...], right: Right, lob: str
) -> None:
    person = Person("a", role, scope_of(lobs))
    if person.may(right) and person.sees(lob):
        person.require(right, lob)
        return
    with pytest.raises(Denied) as denied:
        person.require(right, lob)
    assert denied.value.authenticated
    if person.may(right):
        person.require(right)


# -- looking is journalled ------------------------------------------------------------------------


def access(at_ms: int = T0, who: str = "ana", reason: str = "a complaint", **more: str) -> Event:
    """Somebody hears a recording."""
    return ev.accessed(CALL, at_ms=at_ms, who=who, what="audio", reason=reason, **more)


@given(journals(), st.integers(T0, T0 + 10**9))
def test_an_access_changes_no_record_and_is_no_evidence(journal: list[Event], at_ms: int) -> None:
    assert fold(CALL, [*journal, access(at_ms)]) == fold(CALL, journal)
    assert "accessed" not in EVIDENCE_KINDS


@given(st.integers(0, ev.ACCESS_SLOT_MS - 1), st.integers(0, ev.ACCESS_SLOT_MS - 1))
def test_one_sitting_is_one_access(first: int, second: int) -> None:
    slot = T0 // ev.ACCESS_SLOT_MS * ev.ACCESS_SLOT_MS
    assert access(slot + first).event_id == access(slot + second).event_id
    assert access(slot + first).event_id != access(slot + ev.ACCESS_SLOT_MS + second).event_id


def test_another_person_reason_recording_or_kind_is_another_access() -> None:
    ids = {
        access().event_id, access(who="luis").event_id, access(reason="an audit").event_id,
        access(dialog_id="d").event_id,
        ev.accessed(CALL, at_ms=T0, who="ana", what="raw", reason="a complaint").event_id,
    }  # fmt: skip
    assert len(ids) == 5
    said = access(dialog_id="d")
    assert said.data == {"by": "ana", "what": "audio", "reason": "a complaint", "dialog_id": "d"}
    assert said.source == "operator"
