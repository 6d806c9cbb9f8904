"""Laws of what a call needs next, and walks through its life from the first message to the end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ocp_ingest.core import events as ev
from ocp_ingest.core.call import FLAGS, Call, flags, fold, merge
from ocp_ingest.core.diagram import state_diagram
from ocp_ingest.core.eligibility import deadline_at
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import (
    ACTIONS,
    OUTCOMES,
    STAGES,
    TOWARDS,
    CallPolicy,
    current,
    due,
    misses,
    next_work,
    outcome,
    stage,
    start_ms,
    usable,
    works,
)
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.core.words import NEEDS, NEXT, WHY
from tests.core.strategies import (
    CALL,
    CHILDREN,
    CLAIMANT,
    COSTLY_LAW,
    T0,
    bodies,
    journals,
    received,
    report,
    sha_of,
    taken,
)
from tests.core.walk import (
    BAD,
    BAD_AT_OCP,
    DURATION_MS,
    END,
    END_MS,
    GOOD,
    START,
    WRONG,
    Ocp,
    Walk,
    cdr,
)

POLICY = CallPolicy()
NO_EXPORT = CallPolicy(export_enabled=False)
DEADLINE = deadline_at(T0, POLICY.stage2)
CDRS = [cdr(START, T0 + 1_000), cdr(END, END_MS + 1_000)]
STORED = ["inspect", "validate", "route", "store"]


def audio(version: int = GOOD, at_ms: int = END_MS + 5_000, dialog_id: str = CALL) -> Event:
    return received(dialog_id, version, at_ms=at_ms)


def done(walk: Walk) -> str | None:
    found = walk.run()
    return found.outcome if found else None


def act(kind: Any, at_ms: int, dialog_id: str | None = None) -> Event:
    return ev.operator(kind, CALL, at_ms=at_ms, who="ana", reason="why", dialog_id=dialog_id)


# --- laws over any journal ------------------------------------------------------------------------


@COSTLY_LAW
@given(journals(), st.booleans())
def test_an_evidenced_call_has_an_outcome_or_work_with_a_time_never_both_never_neither(
    journal: list[Event], exports: bool
) -> None:
    policy = CallPolicy(export_enabled=exports)
    call = fold(CALL, journal)
    work, ended = next_work(call, policy), outcome(call, policy)
    if call.evidenced:
        assert (work is None) is (ended is not None)
    else:
        assert work is None
        assert ended is None
    if work is not None:
        assert isinstance(work.at_ms, int)
        assert T0 <= work.at_ms <= T0 + 200 * DAY_MS
        assert due(call, policy, work.at_ms), "what is next is due at its time"
        assert not due(call, policy, work.at_ms - 1)


@COSTLY_LAW
@given(journals())
def test_all_work_is_of_the_table_and_has_words(journal: list[Event]) -> None:
    call = fold(CALL, journal)
    for work in works(call, POLICY):
        assert work.action in ACTIONS
        assert WHY[work.code]
        assert NEXT[work.action]
        assert all(NEEDS[need] for need in work.needs)
        assert bool(work.needs) is (work.action == "ask_export")
    assert stage(call) in STAGES


@COSTLY_LAW
@given(journals())
def test_due_work_comes_in_the_order_of_the_table_closings_before_asking(
    journal: list[Event],
) -> None:
    order = list(ACTIONS)
    ready = due(fold(CALL, journal), POLICY, T0 + 500 * DAY_MS)
    assert ready == sorted(ready, key=lambda w: (order.index(w.action), w.dialog_id))
    assert len(ready) == len(works(fold(CALL, journal), POLICY))


@COSTLY_LAW
@given(journals())
def test_no_export_is_asked_for_when_exports_are_off(journal: list[Event]) -> None:
    assert not any(w.needs for w in works(fold(CALL, journal), NO_EXPORT))


@COSTLY_LAW
@given(journals(), st.booleans())
def test_from_any_journal_the_call_comes_to_an_end(journal: list[Event], exports: bool) -> None:
    """Each step changes the record (the walk checks it), and there are few of them."""
    walk = Walk([], Ocp(audio=None), CallPolicy(export_enabled=exports))
    for event in journal:
        walk.take(event)
    ended = done(walk)
    assert (ended is not None) is walk.call.evidenced
    assert works(walk.call, walk.policy) == []


# --- any world ------------------------------------------------------------------------------------

_offsets = st.integers(0, 5 * HOUR_MS)
_versions = st.sampled_from([GOOD, BAD, None])


@st.composite
def worlds(draw: st.DrawFn, *, without_root_audio: bool = False) -> Walk:
    """A stream that loses and shuffles, and an OCP that holds anything or nothing."""
    stream = [cdr(body, END_MS + draw(_offsets)) for body in (START, END) if draw(st.booleans())]
    version = None if without_root_audio else draw(_versions)
    if version is not None:
        stream.append(audio(version, END_MS + draw(_offsets)))
    for dialog_id in CHILDREN if without_root_audio else (*CHILDREN, CLAIMANT):
        if draw(st.integers(0, 3)) == 0:
            stream.append(audio(draw(st.sampled_from([GOOD, BAD])), END_MS, dialog_id))
        if draw(st.integers(0, 3)) == 0:
            body = draw(bodies(dialogs=(dialog_id,)))
            stream.append(cdr(body, body["time"] + MINUTE_MS))
    assume(stream)
    ocp = Ocp(
        start=draw(st.booleans()), end=draw(st.booleans()),
        audio=None if without_root_audio else draw(st.sampled_from([GOOD, BAD, BAD_AT_OCP, None])),
        failures=draw(st.integers(0, 3)),
    )  # fmt: skip
    return Walk(stream, ocp, CallPolicy(export_enabled=draw(st.integers(0, 3)) > 0))


@COSTLY_LAW
@given(worlds())
def test_every_life_ends_with_an_outcome_and_with_the_right_one(walk: Walk) -> None:
    policy, came = walk.policy, {e.data.get("sha256") for e in walk.stream if e.kind == "received"}
    ended = done(walk)
    assert ended is not None
    assert works(walk.call, policy) == []
    roots = {CALL, *walk.call.roots}
    good = {sha_of(dialog, GOOD) for dialog in roots}
    known = walk.call.get("seen") is not None
    here = {sha for d in roots & walk.call.recordings.keys()
            for sha in walk.call.recordings[d].versions}  # fmt: skip
    if ended == "stored":
        assert good & here
        assert flags(walk.call)["post_processed"]
    elif ended == "lost":
        assert not here
        assert (
            max(c.at_ms for c in walk.call.closings.values())
            >= start_ms(walk.call) + policy.stage2.retention_ms
        )
    elif ended == "absent":
        assert not here & good
        length = walk.call.duration_ms
        assert walk.call.get("test_flag") or (length or 0) < policy.recording_min_ms
    else:
        assert not (good & here and known), "a good recording of a known call is never quarantined"
        assert came or here
    exports = walk.trace.count("ask_export")
    assert exports <= 24, "tries back off: sixty days hold few of them"
    assert (exports == 0) or policy.export_enabled


@COSTLY_LAW
@given(worlds(), st.lists(bodies(dialogs=(CALL, *CHILDREN)), max_size=5))
def test_a_finished_call_is_not_reopened_by_late_messages(
    walk: Walk, late: list[dict[str, Any]]
) -> None:
    """But for one closed because OCP denied it: a message of it refutes that."""
    ended = done(walk)
    assume(not (ended == "quarantined" and walk.call.get("seen") is None))
    call = walk.call
    for event in [*walk.journal, *(taken(body) for body in late)]:
        call = merge(call, event)
    assert works(call, walk.policy) == []
    again = outcome(call, walk.policy)
    assert again is not None
    assert again.outcome == ended


@COSTLY_LAW
@given(worlds(without_root_audio=True), st.integers(0, 70))
def test_a_recording_that_comes_for_a_call_closed_without_one_is_worked_on(
    walk: Walk, days: int
) -> None:
    assume(done(walk) in ("absent", "lost"))
    walk.take(audio(7, T0 + days * DAY_MS))
    assert outcome(walk.call, walk.policy) is None
    assert any(w.action == "inspect" for w in works(walk.call, walk.policy))
    assert done(walk) == "stored"


@COSTLY_LAW
@given(worlds(), st.sampled_from(["reopened", "retried"]), st.data())
def test_no_act_of_an_operator_at_any_time_makes_a_life_endless(
    walk: Walk, kind: str, data: st.DataObject
) -> None:
    walk.stream.append(act(kind, T0 + data.draw(st.integers(0, 90)) * DAY_MS))
    walk.stream.sort(key=lambda e: e.received_at_ms or e.at_ms)
    assert done(walk) is not None


@COSTLY_LAW
@given(worlds())
def test_flags_of_a_life_are_never_unset_and_a_stored_object_is_the_only_one(walk: Walk) -> None:
    held: set[str] = set()
    while walk.step():
        now = {flag for flag, at_ms in flags(walk.call).items() if at_ms is not None}
        assert held <= now
        held = now
    for dialog_id in walk.call.recordings:
        assert sum(e.kind == "stored" and e.data["dialog_id"] == dialog_id
                   for e in walk.journal) <= 1  # fmt: skip


# --- walks that have a name -----------------------------------------------------------------------


def test_the_usual_way_received_inspect_validate_route_store() -> None:
    walk = Walk([*CDRS, audio()], Ocp())
    stages = []
    while walk.step():
        stages.append(stage(walk.call))
    assert walk.trace == STORED
    assert list(dict.fromkeys(stages)) == [
        "call_started", "call_ended", "file_received", "post_processed", "stored",
    ]  # fmt: skip
    ended = outcome(walk.call, POLICY)
    assert ended is not None
    assert ended.outcome == "stored"
    assert "lob-claims" in ended.reason
    assert all(flags(walk.call)[flag] for flag in FLAGS)


def test_our_own_work_is_due_again_when_whoever_had_it_died() -> None:
    call = fold(CALL, [*CDRS, audio()])
    [work] = works(call, POLICY)
    assert (work.action, work.at_ms) == ("inspect", END_MS + 5_000 + POLICY.resume_after_ms)
    assert (work.dialog_id, work.sha256) == (CALL, sha_of(CALL, GOOD))


def test_steps_that_follow_one_another_do_not_move_the_time_in_the_index() -> None:
    walk = Walk([*CDRS, audio()], Ocp())
    times: dict[str, int] = {}
    while walk.step():
        times |= {work.action: work.at_ms for work in works(walk.call, POLICY)
                  if work.action in STORED}  # fmt: skip
    received_ms = END_MS + 5_000
    assert times == dict.fromkeys(STORED, received_ms + POLICY.resume_after_ms)


def test_a_lost_recording_is_asked_for_after_the_watermark() -> None:
    walk = Walk(list(CDRS), Ocp())
    assert done(walk) == "stored"
    assert walk.trace == ["ask_export", *STORED]
    [export] = walk.call.exports.values()
    assert export.asked_at_ms >= END_MS + POLICY.stage2.watermark_ms


@pytest.mark.parametrize("lost", ["dialog_start", "dialog_end"])
def test_a_recording_waits_for_its_cdrs_then_goes_on(lost: str) -> None:
    stream = [event for event in CDRS if event.kind != lost]
    walk = Walk([*stream, audio()], Ocp())
    while "inspect" not in walk.trace:
        walk.step()
    assert {w.action for w in works(walk.call, POLICY)} == {"ask_export", "give_up"}
    assert all(w.needs in ((), (lost,)) for w in works(walk.call, POLICY))
    assert done(walk) == "stored"
    assert walk.trace == ["inspect", "ask_export", "validate", "route", "store"]


@pytest.mark.parametrize("lost", ["dialog_start", "dialog_end"])
def test_cdrs_that_ocp_never_had_are_given_up_after_some_misses(lost: str) -> None:
    stream = [event for event in CDRS if event.kind != lost]
    walk = Walk([*stream, audio()], Ocp(start=False, end=False))
    assert done(walk) == "stored"
    assert walk.trace.count("ask_export") == POLICY.cdr_misses_max
    assert walk.trace[-3:] == ["validate", "route", "store"]


def test_exports_of_some_hours_of_a_call_prove_no_absence() -> None:
    """Where OCP can't export the hour of its start, the others are asked for and hold nothing."""
    first, all_of_it = T0 + HOUR_MS, T0 + DAY_MS

    def missed(*windows: tuple[int, int]) -> int:
        answers = [
            ev.export_answered(
                CALL, f"j{n}", at_ms=T0 + n * DAY_MS, job_id="x", task_id="t", window=window,
                found={"dialog_end": False}, files=[], metadata={},
            )
            for n, window in enumerate(windows, 1)
        ]  # fmt: skip
        return misses(fold(CALL, [CDRS[0], audio(), *answers]), "dialog_end", POLICY)

    assert missed((first, all_of_it), (first, all_of_it), (first, all_of_it)) == 0
    assert missed((T0, first), (first, all_of_it)) == 1, "together they are all of it"
    assert missed((T0, first), (T0, first), (T0, first), (first, all_of_it)) == 1
    assert missed((T0, all_of_it), (T0, all_of_it), (first, all_of_it)) == 2
    assert missed() == 0


def test_cdrs_are_given_up_when_exports_fail_until_retention_is_over() -> None:
    walk = Walk([CDRS[0], audio()], Ocp(failures=99))
    assert done(walk) == "stored"
    assert walk.trace[-4:] == ["give_up", "validate", "route", "store"]
    [given_up] = walk.call.acts.values()
    assert given_up.at_ms >= DEADLINE


def test_a_corrupt_recording_is_asked_for_once_more_superseded_and_stored() -> None:
    walk = Walk([*CDRS, audio(BAD)], Ocp())
    assert done(walk) == "stored"
    assert walk.trace == ["inspect", "ask_export", *STORED]
    assert walk.call.root.stored is not None
    assert walk.call.root.stored.sha256 == sha_of(CALL, GOOD)
    assert len(walk.call.root.versions) == 2, "the bad bytes stay as evidence"


def test_a_recording_refused_by_the_rules_is_asked_for_too() -> None:
    walk = Walk([*CDRS, audio(WRONG)], Ocp(), epoch_rules=9)
    assert done(walk) == "stored"
    assert walk.trace == ["inspect", "validate", "ask_export", *STORED]


def test_the_same_bad_bytes_by_stream_and_export_are_ocps_own() -> None:
    walk = Walk([*CDRS, audio(BAD)], Ocp(audio=BAD))
    assert done(walk) == "quarantined"
    assert walk.trace == ["inspect", "ask_export", "close_quarantined"]


def test_other_bad_bytes_from_ocp_are_asked_for_twice_with_a_pause() -> None:
    walk = Walk([*CDRS, audio(BAD)], Ocp(audio=BAD_AT_OCP))
    # What OCP hands out the second time differs again, and is as bad.
    while walk.trace.count("ask_export") < 1:
        walk.step()
    walk.ocp.audio = BAD
    assert done(walk) == "quarantined"
    assert walk.trace.count("ask_export") == POLICY.bad_exports_max
    first, second = sorted(e.asked_at_ms for e in walk.call.exports.values())
    assert second - first >= POLICY.stage2.watermark_ms


def test_an_export_whose_download_failed_is_no_proof_that_ocps_copy_is_bad() -> None:
    """It held the recording, yet no bytes came: that is a try, and tries back off."""
    answers = [
        ev.export_answered(
            CALL, f"j{n}", at_ms=T0 + n * DAY_MS, job_id="x", task_id="t", window=(T0, T0),
            found={"audio": True}, metadata={},
            files=[{"name": "f", "dialog_id": "", "sha256": "", "result": "failed"}],
        )
        for n in (1, 2, 3)
    ]  # fmt: skip
    sha = sha_of(CALL, BAD)
    inspected = ev.inspected(CALL, CALL, sha, at_ms=END_MS, report=report(False))
    for journal in ([*CDRS, *answers], [*CDRS, audio(BAD), inspected, *answers]):
        asked = {w.action: w for w in works(fold(CALL, journal), POLICY)}
        assert "ask_export" in asked
        assert asked["ask_export"].misses == 3
        assert asked["ask_export"].at_ms >= T0 + 3 * DAY_MS + POLICY.stage2.watermark_ms
        assert all(w.at_ms >= DEADLINE for a, w in asked.items() if a != "ask_export")


def test_a_call_that_ocp_denies_is_quarantined_and_heals_when_its_cdr_comes() -> None:
    walk = Walk([audio()], Ocp(start=False, end=False, audio=None))
    assert done(walk) == "quarantined"
    assert walk.trace[-1] == "close_quarantined"
    assert walk.trace.count("ask_export") == POLICY.cdr_misses_max
    assert "validate" not in walk.trace, "nothing is judged against a call that is none"
    for event in CDRS:
        walk.take(event)
    assert outcome(walk.call, POLICY) is None
    assert done(walk) == "stored"


def test_a_denied_call_whose_recording_was_a_childs_is_asked_for_once_it_is_announced() -> None:
    walk = Walk([audio(dialog_id=CHILDREN[0])], Ocp(start=False, end=False, audio=None))
    assert done(walk) == "quarantined"
    walk.ocp.audio = GOOD
    for event in CDRS:
        walk.take(event)
    assert done(walk) == "stored"


def test_a_denied_call_that_is_announced_and_then_found_bad_is_closed_for_that() -> None:
    walk = Walk([audio(WRONG)], Ocp(start=False, end=False, audio=None), epoch_rules=9)
    assert done(walk) == "quarantined"
    for event in CDRS:
        walk.take(event)
    walk.ocp.audio = WRONG
    assert done(walk) == "quarantined"
    assert {c.code for c in walk.call.closings.values()} == {"unknown_to_ocp", "bad_at_ocp"}


ABSENT = {
    "test_call": {**START, "test_flag": True},
    "recording_off": START,
    "too_short": {**END, "duration": 1_999},
}


@pytest.mark.parametrize("code", ABSENT)
def test_a_call_is_absent_on_positive_evidence_once_the_stream_is_quiet(code: str) -> None:
    off = ("acme-claims",) if code == "recording_off" else ()
    policy = CallPolicy(recording_off_groups=off)
    walk = Walk([*CDRS, cdr(ABSENT[code], END_MS + 9_000)], Ocp(), policy)
    if code == "too_short":
        walk.stream = [CDRS[0], cdr(ABSENT[code], END_MS)]
    assert done(walk) == "absent"
    assert walk.trace == ["close_absent"]
    [closed] = walk.call.closings.values()
    assert closed.code == code
    assert closed.at_ms >= walk.call.get("call_ended") + POLICY.stage2.grace_ms


def test_an_export_without_the_file_is_no_evidence_of_absence() -> None:
    walk = Walk(list(CDRS), Ocp(audio=None))
    assert done(walk) == "lost"
    assert walk.trace[-1] == "close_lost"
    assert 6 <= walk.trace.count("ask_export") <= 20
    [closed] = walk.call.closings.values()
    assert closed.at_ms >= DEADLINE


def test_a_call_is_lost_only_after_retention_whatever_was_tried() -> None:
    walk = Walk(list(CDRS), Ocp(audio=None))
    while walk.step():
        assert (outcome(walk.call, POLICY) is None) is (walk.now_ms < DEADLINE)
    assert walk.now_ms >= DEADLINE


@pytest.mark.parametrize("late_days", [1, 59, 61])
@pytest.mark.parametrize("cause", ["absent", "lost"])
def test_a_recording_for_an_absent_or_lost_call_reopens_it_and_ends_stored(
    cause: str, late_days: int
) -> None:
    stream = list(CDRS) if cause == "lost" else [cdr({**START, "test_flag": True}, T0), CDRS[1]]
    walk = Walk(stream, Ocp(audio=None))
    assert done(walk) == cause
    walk.take(audio(at_ms=T0 + late_days * DAY_MS))
    assert outcome(walk.call, POLICY) is None
    assert done(walk) == "stored"
    assert walk.trace[-4:] == STORED


def test_while_its_recording_may_be_good_a_closed_call_is_asked_for_its_cdrs_again() -> None:
    closed = ev.closed(CALL, "absent", epoch=0, at_ms=END_MS, reason="Said so.", by="ana")
    walk = Walk([CDRS[0], closed], Ocp())
    assert done(walk) == "absent"
    walk.take(audio(at_ms=END_MS + HOUR_MS))
    assert done(walk) == "stored"
    assert walk.trace == ["inspect", "ask_export", "validate", "route", "store"]


def test_a_bad_recording_for_a_closed_call_leaves_it_closed() -> None:
    walk = Walk([cdr({**START, "test_flag": True}, T0), CDRS[1]], Ocp(audio=None))
    assert done(walk) == "absent"
    walk.take(audio(BAD, at_ms=T0 + DAY_MS))
    assert outcome(walk.call, POLICY) is None
    assert done(walk) == "absent"
    assert "ask_export" not in walk.trace


# --- children, second recordings ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dialog_start", "dialog_end", "dialog_step"])
def test_a_call_known_only_by_a_childs_message_is_asked_for_and_found(kind: str) -> None:
    child = {**START, "id": CHILDREN[0], "message_type": kind, "duration": 5,
             "flow": {"parent_step": 2, "type": "YesNo"}}  # fmt: skip
    walk = Walk([cdr(child, T0)], Ocp())
    while not walk.call.evidenced:
        walk.step()
    assert stage(walk.call) == "unannounced"
    assert done(walk) == "stored"
    assert walk.trace == ["ask_export", *STORED]


def test_a_second_recording_is_work_of_its_own() -> None:
    walk = Walk([*CDRS, audio(), audio(dialog_id=CHILDREN[0], at_ms=END_MS + HOUR_MS)], Ocp())
    assert done(walk) == "stored"
    assert walk.trace == STORED * 2
    assert walk.call.recordings[CHILDREN[0]].stored is not None


def test_a_childs_recording_is_not_the_calls() -> None:
    walk = Walk([*CDRS, audio(dialog_id=CHILDREN[0])], Ocp(audio=None))
    assert done(walk) == "lost"
    assert walk.call.recordings[CHILDREN[0]].stored is not None
    assert flags(walk.call)["stored"] is None


def test_a_childs_unusable_recording_does_not_hold_the_call_open() -> None:
    walk = Walk([*CDRS, audio(), audio(BAD, dialog_id=CHILDREN[0])], Ocp())
    assert done(walk) == "stored"
    assert walk.call.recordings[CHILDREN[0]].stored is None


def test_a_childs_recording_is_judged_even_when_its_call_was_closed_meanwhile() -> None:
    """Closing ends the asking for CDRs, so nothing may go on waiting for them."""
    journal = [
        CDRS[1], audio(dialog_id=CHILDREN[0]),
        ev.closed(CALL, "absent", epoch=0, at_ms=END_MS + HOUR_MS, reason="Said so.", by="ana"),
    ]  # fmt: skip
    walk = Walk(journal, Ocp(start=False, audio=None))
    assert done(walk) == "absent"
    assert walk.trace == STORED
    assert walk.call.recordings[CHILDREN[0]].stored is not None


def test_of_two_recordings_of_one_dialog_the_first_good_one_counts() -> None:
    sha = sha_of(CALL, WRONG)
    both = fold(CALL, [*CDRS, audio(GOOD, END_MS + 9_000), audio(WRONG, END_MS + 5_000)])
    held = current(both, CALL)
    assert held is not None
    assert held[0] == sha
    inspected = ev.inspected(CALL, CALL, sha, at_ms=END_MS, report=report(True))
    refused = ev.validated(
        CALL, CALL, sha, epoch=0, at_ms=END_MS, valid=False, problems=[], rules=""
    )
    later = current(merge(merge(both, inspected), refused), CALL)
    assert later is not None
    assert later[0] == sha_of(CALL, GOOD)


def test_a_pinned_recording_stays_pinned_whatever_comes_after() -> None:
    walk = Walk([*CDRS, audio()], Ocp())
    while "route" not in walk.trace:
        walk.step()
    walk.take(audio(WRONG, END_MS))
    assert done(walk) == "stored"
    assert walk.call.root.stored is not None
    assert walk.call.root.stored.sha256 == sha_of(CALL, GOOD)


def test_what_a_dialog_of_doubt_says_of_length_closes_no_call_and_condemns_no_recording() -> None:
    """A child's CDR End without a `flow` object counts as the root's, so its word is weak."""
    child = {**END, "id": CHILDREN[0], "duration": 900}
    child.pop("flow")
    walk = Walk([CDRS[0], cdr(child, T0 + 5_000), cdr(END, END_MS + DAY_MS)], Ocp())
    assert done(walk) == "stored"
    assert walk.call.duration_ms == DURATION_MS
    assert walk.call.root_dialog_id == CALL


# --- operators ------------------------------------------------------------------------------------


def test_a_retry_makes_the_next_try_due_now() -> None:
    walk = Walk(list(CDRS), Ocp(audio=None))
    while walk.trace.count("ask_export") < 3:
        walk.step()
    waiting = next_work(walk.call, POLICY)
    assert waiting is not None
    assert waiting.at_ms > walk.now_ms + HOUR_MS
    walk.take(act("retried", walk.now_ms))
    now = next_work(walk.call, POLICY)
    assert now is not None
    assert now.at_ms == walk.now_ms
    walk.step()
    after = next_work(walk.call, POLICY)
    assert after is not None
    assert after.at_ms > walk.now_ms + HOUR_MS, "one act is one try"


def test_a_reopened_call_is_judged_again_by_the_rules_of_today() -> None:
    walk = Walk([*CDRS, audio(WRONG)], Ocp(audio=WRONG), epoch_rules=1)
    assert done(walk) == "quarantined"
    walk.take(act("reopened", walk.now_ms))
    assert outcome(walk.call, POLICY) is None
    assert done(walk) == "stored"
    assert walk.trace[-3:] == ["validate", "route", "store"]


def test_a_reopened_call_asks_ocp_again_and_may_be_closed_again() -> None:
    walk = Walk([*CDRS, audio(BAD)], Ocp(audio=BAD))
    assert done(walk) == "quarantined"
    tried = walk.trace.count("ask_export")
    walk.take(act("reopened", walk.now_ms))
    assert done(walk) == "quarantined"
    assert walk.trace.count("ask_export") > tried
    assert {c.epoch for c in walk.call.closings.values()} == {0, 1}
    walk.ocp.audio = GOOD
    walk.take(act("reopened", walk.now_ms))
    assert done(walk) == "stored"


def test_a_reopened_call_asks_for_cdrs_that_were_given_up() -> None:
    given_up = ev.given_up(CALL, epoch=0, at_ms=DEADLINE, reason="Over.")
    before = fold(CALL, [CDRS[0], given_up])
    assert not any("dialog_end" in w.needs for w in works(before, POLICY))
    after = merge(before, act("reopened", DEADLINE + 1))
    assert any("dialog_end" in w.needs for w in works(after, POLICY))


@pytest.mark.parametrize("cause", ["absent", "lost"])
def test_a_reopened_call_without_a_recording_is_in_flight_again(cause: str) -> None:
    stream = list(CDRS) if cause == "lost" else [cdr({**START, "test_flag": True}, T0), CDRS[1]]
    walk = Walk(stream, Ocp(audio=None))
    assert done(walk) == cause
    walk.take(act("reopened", walk.now_ms))
    assert outcome(walk.call, POLICY) is None
    assert next_work(walk.call, POLICY) is not None
    assert done(walk) == cause


def test_a_reopened_stored_call_stays_stored() -> None:
    walk = Walk([*CDRS, audio()], Ocp())
    assert done(walk) == "stored"
    walk.take(act("reopened", walk.now_ms))
    assert done(walk) == "stored"
    assert walk.trace == STORED


@pytest.mark.parametrize("version", [BAD, WRONG])
def test_a_released_recording_is_stored_although_it_is_unusable(version: int) -> None:
    walk = Walk([*CDRS, audio(version)], Ocp(audio=version), epoch_rules=9)
    assert done(walk) == "quarantined"
    walk.take(act("released", walk.now_ms, CALL))
    assert outcome(walk.call, POLICY) is None
    assert usable(walk.call, walk.call.root.versions[sha_of(CALL, version)], CALL) is None
    assert done(walk) == "stored"
    assert walk.trace[-3:] == ["validate", "route", "store"]


def test_a_released_recording_of_a_denied_call_is_stored_without_waiting_for_ocp() -> None:
    walk = Walk([audio()], Ocp(start=False, end=False, audio=None))
    assert done(walk) == "quarantined"
    tried = len(walk.trace)
    walk.take(act("released", walk.now_ms))
    walk.now_ms += MINUTE_MS
    assert "validate" in {w.action for w in due(walk.call, POLICY, walk.now_ms)}
    assert done(walk) == "stored"
    assert [a for a in walk.trace[tried:] if a != "ask_export"] == ["validate", "route", "store"]
    assert sum(c.epoch == 1 for c in walk.call.closings.values()) == 0


def test_what_was_released_and_judged_goes_to_its_bucket_although_ocp_denies_the_call() -> None:
    sha, missed = sha_of(CALL, GOOD), {"dialog_start": False, "dialog_end": False}
    journal = [
        audio(), ev.inspected(CALL, CALL, sha, at_ms=END_MS, report=report(True)),
        act("released", END_MS + 1, CALL),
        ev.validated(CALL, CALL, sha, epoch=1, at_ms=END_MS + 2, valid=True, problems=[], rules=""),
        *(ev.export_answered(CALL, f"j{n}", at_ms=END_MS + n, job_id="", task_id="",
                             window=(T0, T0 + DAY_MS), found=missed, files=[], metadata={})
          for n in (3, 4, 5)),
    ]  # fmt: skip
    assert [w.action for w in works(fold(CALL, journal), POLICY)] == ["route"]


def test_of_several_released_versions_whole_bytes_go_before_broken_ones() -> None:
    walk = Walk([*CDRS, audio(BAD, END_MS + 1), audio(WRONG, END_MS + 2)], Ocp(audio=WRONG),
                epoch_rules=9)  # fmt: skip
    assert done(walk) == "quarantined"
    walk.take(act("released", walk.now_ms, CALL))
    assert done(walk) == "stored"
    assert walk.call.root.stored is not None
    assert walk.call.root.stored.sha256 == sha_of(CALL, WRONG)


@pytest.mark.parametrize("pinned", [False, True])
def test_when_released_bytes_are_lost_no_broken_ones_are_stored_in_their_place(
    pinned: bool,
) -> None:
    """Who heard a recording and released it did not mean the error page that came before it."""
    walk = Walk([*CDRS, audio(BAD, END_MS + 1), audio(WRONG, END_MS + 2)], Ocp(audio=WRONG),
                epoch_rules=9)  # fmt: skip
    assert done(walk) == "quarantined"
    walk.take(act("released", walk.now_ms, CALL))
    while pinned and walk.trace[-1] != "route":
        walk.step()
    sha = sha_of(CALL, WRONG)
    gone = ev.landing_lost(
        CALL, CALL, sha, at_ms=walk.now_ms, landing_key=f"l/{CALL}/{WRONG}", how="Gone."
    )
    walk.take(gone)
    assert current(walk.call, CALL) is None
    assert {w.action for w in works(walk.call, POLICY)} <= {"ask_export", "close_quarantined"}
    walk.take(ev.relanded(CALL, CALL, sha, at_ms=walk.now_ms, landing_key="l/2", source="export"))
    assert done(walk) == "stored"
    assert walk.call.root.stored is not None
    assert walk.call.root.stored.sha256 == sha


def test_a_release_is_of_one_dialog_or_of_all() -> None:
    call = fold(CALL, [*CDRS, act("released", T0, CHILDREN[0])])
    assert call.released(CHILDREN[0])
    assert not call.released(CALL)
    assert fold(CALL, [act("released", T0)]).released(CALL)


# --- without exports ------------------------------------------------------------------------------


def test_without_exports_a_recording_is_judged_when_the_longest_call_would_have_ended() -> None:
    walk = Walk([CDRS[0], audio()], Ocp(), NO_EXPORT)
    assert done(walk) == "stored"
    [verdict] = walk.call.root.versions[sha_of(CALL, GOOD)].verdicts.values()
    assert verdict.at_ms >= T0 + NO_EXPORT.stage2.max_call_ms
    prompt = Walk([*CDRS, audio()], Ocp(), NO_EXPORT)
    assert done(prompt) == "stored"
    assert prompt.now_ms < T0 + HOUR_MS


@pytest.mark.parametrize(("version", "end"), [(None, "lost"), (BAD, "quarantined")])
def test_without_exports_what_is_missing_stays_in_flight_until_retention_is_over(
    version: int | None, end: str
) -> None:
    came = [] if version is None else [audio(version)]
    walk = Walk([*CDRS, *came], Ocp(), NO_EXPORT)
    assert done(walk) == end
    assert walk.now_ms >= DEADLINE


# --- the start, as far as it is known -------------------------------------------------------------


def hinted(time_ms: int, at_ms: int = END_MS) -> Call:
    return fold(CALL, [received(at_ms=at_ms, parts={"time_ms": time_ms})])


def test_the_start_is_the_cdrs_else_the_earliest_hint() -> None:
    assert start_ms(fold(CALL, [*CDRS, audio()])) == T0
    assert start_ms(fold(CALL, [cdr({**START, "message_type": "ivr_end"}, T0)])) == T0
    assert start_ms(hinted(T0)) == T0
    assert start_ms(fold(CALL, [audio()])) == END_MS + 5_000


def test_no_call_starts_after_its_recording_came_whatever_the_name_says() -> None:
    assert start_ms(hinted(T0 + 365 * DAY_MS)) == END_MS


# --- the tables and the diagram -------------------------------------------------------------------


def test_the_tables_are_whole() -> None:
    assert TOWARDS.keys() == ACTIONS.keys() == NEXT.keys()
    assert set(TOWARDS.values()) <= {*FLAGS, *OUTCOMES}
    assert list(STAGES) == ["unannounced", *FLAGS]
    codes = {"unknown_to_ocp", "retention_over", "cdr_retention_over", *ABSENT}
    assert codes <= WHY.keys()


def test_an_action_leads_towards_what_the_table_says() -> None:
    """The diagram is drawn from that table, so the table is held against real lives."""
    lives = [
        Walk([*CDRS, audio()], Ocp()), Walk(list(CDRS), Ocp(audio=None)),
        Walk([*CDRS, audio(BAD)], Ocp(audio=BAD)), Walk([CDRS[0], audio()], Ocp(failures=99)),
        Walk([cdr({**START, "test_flag": True}, T0), CDRS[1]], Ocp()), Walk(list(CDRS), Ocp()),
    ]  # fmt: skip
    seen: set[str] = set()
    for walk in lives:
        ended = done(walk)
        for action, goal in TOWARDS.items():
            if action not in walk.trace:
                continue
            reached = {ended, *(f for f, at_ms in flags(walk.call).items() if at_ms is not None)}
            seen |= {action} if goal in reached else set()
    assert seen == ACTIONS.keys()


def test_the_diagram_shows_every_stage_action_and_outcome() -> None:
    text = state_diagram()
    lines = text.splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert text.count("{") == text.count("}")
    edges = [line.strip() for line in lines if "-->" in line]
    assert len(edges) == len(set(edges))
    labels = [edge.partition(": ")[2] for edge in edges]
    for action in ACTIONS:
        assert sum(action in label.split(", ") for label in labels) == 1
    for state in [f"stage_{s}" for s in STAGES] + list(OUTCOMES):
        assert any(line.strip().startswith(f"{state}: ") for line in lines)
        assert any(state in edge.partition(": ")[0].split() for edge in edges)
    for name, words in (*STAGES.items(), *OUTCOMES.items()):
        assert f"{name}<br/>{words}" in text
    for name, words in ACTIONS.items():
        assert f"%% {name}: {words}" in lines[-len(ACTIONS) :][list(ACTIONS).index(name)]
    assert state_diagram() == text


def test_policies_refuse_fields_that_do_not_exist() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"resume_after": 1}, CallPolicy)
