"""Every call that is not finished says what is missing, what was tried, and what comes next."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core import events as ev
from ocp_ingest.core.call import Call, flags, fold
from ocp_ingest.core.events import KINDS, Event
from ocp_ingest.core.explain import Explanation, explain
from ocp_ingest.core.lifecycle import ACTIONS, CallPolicy, next_work, outcome, works
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.words import ACTS, FLAG_WORDS, NEEDS, NEXT, UNTIL_THEN, WHY
from tests.core.strategies import (
    CALL,
    CHILDREN,
    COSTLY_LAW,
    NUMBER,
    T0,
    journals,
    received,
    report,
    sha_of,
    taken,
)
from tests.core.walk import BAD, END, END_MS, GOOD, START, WRONG, Ocp, Walk, cdr

POLICY = CallPolicy()
NOW = T0 + 10 * HOUR_MS
CDRS = [cdr(START, T0), cdr(END, END_MS)]


def say(call: Call, now_ms: int = NOW, policy: CallPolicy = POLICY) -> Explanation:
    return explain(call, policy, now_ms)


@COSTLY_LAW
@given(journals(), st.integers(0, 90))
def test_open_work_has_a_next_step_with_a_time_and_finished_calls_have_a_reason(
    journal: list[Event], days: int
) -> None:
    call = fold(CALL, journal)
    said = say(call, T0 + days * DAY_MS)
    done, work = outcome(call, POLICY), next_work(call, POLICY)
    assert said.outcome == (done.outcome if done else None)
    assert said.verdict
    if work is None:
        assert said.next == "Nothing."
        assert said.next_at_ms is None
        assert said.also == ()
    else:
        assert said.next_at_ms == work.at_ms
        assert said.next.startswith(NEXT[work.action])
        assert said.verdict.startswith(tuple(WHY.values()))
        assert len(said.also) == len(works(call, POLICY)) - 1
    for sentence in (said.next, *said.also):
        assert sentence == "Nothing." or re.search(r"\((due now|at 20\d\d-\S+Z)\)$", sentence)


@COSTLY_LAW
@given(journals())
def test_what_is_missing_is_every_flag_that_is_not_set(journal: list[Event]) -> None:
    call = fold(CALL, journal)
    missing = " ".join(say(call).missing)
    for flag, at_ms in flags(call).items():
        assert (f"“{FLAG_WORDS[flag]}”" in missing) is (at_ms is None)


@COSTLY_LAW
@given(journals())
def test_what_was_tried_is_in_order_and_dated(journal: list[Event]) -> None:
    tried = say(fold(CALL, journal)).tried
    assert list(tried) == sorted(tried)
    assert all(re.match(r"20\d\d-\d\d-\d\dT", line) for line in tried)


@COSTLY_LAW
@given(journals())
def test_no_number_is_in_an_explanation(journal: list[Event]) -> None:
    said = say(fold(CALL, journal))
    assert NUMBER not in repr(said)


def _inspected(version: int = GOOD, *, whole: bool = True) -> Event:
    return ev.inspected(CALL, CALL, sha_of(CALL, version), at_ms=END_MS, report=report(whole))


def _validated(version: int = GOOD, *, valid: bool = True) -> Event:
    problems = [] if valid else [{"code": "c", "severity": "error", "text": "It is too long."}]
    return ev.validated(
        CALL, CALL, sha_of(CALL, version), epoch=0, at_ms=END_MS, valid=valid, problems=problems,
        rules="claims:1",
    )  # fmt: skip


def _routed() -> Event:
    place = {"lob": "claims", "bucket": "b", "key": "k", "rule": "r"}
    return ev.routed(CALL, CALL, sha_of(CALL, GOOD), at_ms=END_MS, **place)


def _answer(job: str, at_ms: int, found: dict[str, bool], version: int | None = None) -> Event:
    files = (
        []
        if version is None
        else [
            {
                "name": "f.wav",
                "dialog_id": CALL,
                "sha256": sha_of(CALL, version),
                "result": "received",
            }
        ]
    )
    return ev.export_answered(
        CALL, job, at_ms=at_ms, job_id=f"ocp-{job}", task_id=job, window=(T0, T0 + DAY_MS),
        found=found, files=files, metadata={},
    )  # fmt: skip


def _misses(*types: str) -> list[Event]:
    return [_answer(f"j{n}", T0 + n * HOUR_MS, dict.fromkeys(types, False)) for n in (1, 2, 3)]


HERE = received(at_ms=END_MS)
TEST = [cdr({**START, "test_flag": True}, T0), CDRS[1]]
SHORT = [CDRS[0], cdr({**END, "duration": 900}, END_MS)]
OFF = CallPolicy(recording_off_groups=("acme-claims",))

# code of the next work → a journal that has it, and its policy
CASES: dict[str, tuple[list[Event], CallPolicy]] = {
    "received": ([*CDRS, HERE], POLICY),
    "inspected": ([*CDRS, HERE, _inspected()], POLICY),
    "valid": ([*CDRS, HERE, _inspected(), _validated()], POLICY),
    "routed": ([*CDRS, HERE, _inspected(), _validated(), _routed()], POLICY),
    "awaits_cdr": ([CDRS[0], HERE, _inspected()], CallPolicy(export_enabled=False)),
    "no_recording": (CDRS, POLICY),
    "bad_recording": ([*CDRS, HERE, _inspected(whole=False)], POLICY),
    "no_cdr": ([CDRS[0], HERE, _inspected()], POLICY),
    "test_call": (TEST, POLICY),
    "recording_off": (CDRS, OFF),
    "too_short": (SHORT, POLICY),
    "bad_at_ocp": (
        [*CDRS, HERE, _inspected(whole=False), _answer("j", T0 + HOUR_MS, {"audio": True}, GOOD)],
        POLICY,
    ),
    "bad_and_retention_over": (
        [*CDRS, HERE, _inspected(whole=False)], CallPolicy(export_enabled=False),
    ),
    "unknown_to_ocp": ([HERE, _inspected(), *_misses("dialog_start", "dialog_end")], POLICY),
    "retention_over": (CDRS, CallPolicy(export_enabled=False)),
    "cdr_retention_over": ([CDRS[0], HERE, _inspected()], POLICY),
}  # fmt: skip


def test_every_reason_for_open_work_is_explained_below() -> None:
    assert CASES.keys() == WHY.keys()


@pytest.mark.parametrize("code", CASES)
def test_each_kind_of_open_work_is_explained(code: str) -> None:
    journal, policy = CASES[code]
    call = fold(CALL, journal)
    open_work = works(call, policy)
    [work] = [w for w in open_work if w.code == code]
    said = say(call, NOW, policy)
    assert said.outcome is None
    assert any(NEXT[work.action] in sentence for sentence in (said.next, *said.also))
    if min(open_work, key=lambda w: w.at_ms) == work:
        assert said.verdict.startswith(WHY[UNTIL_THEN.get(code, code)]), "not over before its time"
        assert "OCP deletes its data in 59.6 days." in said.verdict
    for need in work.needs:
        assert NEEDS[need] in " ".join((said.next, *said.also))
        assert NEEDS[need] in said.missing


@pytest.mark.parametrize("code", UNTIL_THEN)
def test_what_is_over_is_said_to_be_once_it_is(code: str) -> None:
    journal, policy = CASES[code]
    call = fold(CALL, journal)
    [work] = [w for w in works(call, policy) if w.code == code]
    only = [w for w in works(call, policy) if w.at_ms <= work.at_ms] == [work]
    if only:  # else something else comes first
        assert say(call, work.at_ms - 1, policy).verdict.startswith(WHY[UNTIL_THEN[code]])
        assert say(call, work.at_ms, policy).verdict.startswith(WHY[code])
    assert UNTIL_THEN[code] in WHY


def test_what_is_due_is_due_now_and_what_is_not_has_its_time() -> None:
    call = fold(CALL, CDRS)
    work = next_work(call, POLICY)
    assert work is not None
    assert say(call, work.at_ms).next.endswith("(due now)")
    assert say(call, work.at_ms - 1).next.endswith("Z)")


def test_the_clock_of_ocps_deletion_runs_out_and_stops_for_a_stored_recording() -> None:
    call = fold(CALL, CDRS)
    assert "deletes its data in 1.0 days" in say(call, T0 + 59 * DAY_MS).verdict
    assert "has deleted its data" in say(call, T0 + 61 * DAY_MS).verdict
    walk = Walk([cdr(START, T0), HERE], Ocp(end=False))
    while walk.call.root.stored is None:
        walk.step()
    assert "delete" not in say(walk.call, walk.now_ms).verdict


def test_the_tries_tell_recordings_exports_operators_and_closings() -> None:
    walk = Walk([*CDRS, received(version=WRONG, at_ms=END_MS)], Ocp(audio=WRONG), epoch_rules=9)
    assert walk.run() is not None
    walk.take(ev.operator("reopened", CALL, at_ms=walk.now_ms, who="ana", reason="new rules"))
    asked = ev.export_asked(CALL, "open", at_ms=walk.now_ms, window=(T0, T0 + HOUR_MS), attempt=1)
    walk.take(asked)
    text = " | ".join(say(walk.call).tried)
    assert "A recording of 1000 bytes came by stream; it is not judged yet." in text
    assert "Half of it is missing." in text, "the words of the last verdict"
    assert (
        "Export x-walk-1 of 2025-11-22T10:00:00.000Z to 2025-11-22T11:00:00.000Z was read" in text
    )
    assert "it held the recording" in text
    assert "It was closed as quarantined: Because." in text
    assert "ana reopened it: new rules" in text
    assert "was asked for." in text


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, "it held nothing of this call"),
        ({"audio": False, "dialog_end": False}, "it held nothing of this call"),
        ({"audio": True, "dialog_end": True}, "it held the recording, CDR End"),
    ],
)
def test_an_export_says_what_it_held(found: dict[str, bool], words: str) -> None:
    [tried] = say(fold(CALL, [_answer("j", T0, found)])).tried
    assert words in tried


@pytest.mark.parametrize(
    ("version", "state"), [(GOOD, "it is valid"), (BAD, "it is unusable"), (None, "not judged yet")]
)
def test_a_recording_says_how_it_was_judged(version: int | None, state: str) -> None:
    steps: dict[int | None, list[Event]] = {
        GOOD: [_inspected(), _validated()], BAD: [_inspected(whole=False)], None: [],
    }  # fmt: skip
    [tried] = say(fold(CALL, [HERE, *steps[version]])).tried
    assert state in tried


def test_a_finished_call_says_why_and_that_nothing_follows() -> None:
    walk = Walk([*CDRS, HERE], Ocp())
    walk.run()
    said = say(walk.call)
    assert said.outcome == "stored"
    assert said.verdict == "The recording is in lob-claims at k/call-1.wav."
    assert (said.next, said.missing) == ("Nothing.", ())


def test_a_call_of_unknown_messages_says_that_nothing_is_to_be_done() -> None:
    said = say(fold(CALL, [taken({"message_type": "audit", "group": CALL})]))
    assert said.stage == "unannounced"
    assert "unknown types" in said.verdict


def test_a_second_recordings_work_is_told_besides() -> None:
    call = fold(CALL, [*CDRS, HERE, received(CHILDREN[0], at_ms=END_MS + 1)])
    said = say(call)
    assert len(said.also) == 1
    assert said.also[0].startswith(NEXT["inspect"])


def test_the_tables_of_words_are_whole() -> None:
    assert NEXT.keys() == ACTIONS.keys()
    assert FLAG_WORDS.keys() == flags(fold(CALL, [])).keys()
    assert ACTS.keys() == {"given_up", "retried", "reopened", "released"}
    assert ACTS.keys() <= KINDS.keys()
    assert all(text.endswith(".") for table in (WHY, NEXT) for text in table.values())
