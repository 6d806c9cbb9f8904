"""Whoever reads Spanish understands every explanation without a word of English in it."""

from __future__ import annotations

import re
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core import events as ev
from ocp_ingest.core import words, words_es
from ocp_ingest.core.audio.problems import TABLE
from ocp_ingest.core.audio.sniff import NAMES
from ocp_ingest.core.call import fold
from ocp_ingest.core.events import SOURCES, Event
from ocp_ingest.core.explain import WORDS, explain, history
from ocp_ingest.core.lifecycle import DENIED, OUTCOMES, CallPolicy
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.core.words import WHY, Words
from tests.core.strategies import CALL, COSTLY_LAW, T0, journals, received, sha_of
from tests.core.test_explain import CASES, CDRS, NOW, POLICY
from tests.core.test_rules import BROKEN as BROKEN_RULES
from tests.core.walk import GOOD, Ocp, Walk

TABLES = ("why", "next", "acts", "needs", "flags", "outcomes", "sources", "problems", "says")


def table(say: Words, name: str) -> dict[str, str]:
    found: dict[str, str] = getattr(say, name)
    return found


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("name", TABLES)
def test_both_languages_say_the_same_things_with_the_same_values_filled_in(name: str) -> None:
    english, spanish = table(words.WORDS, name), table(words_es.WORDS, name)
    assert english.keys() == spanish.keys()
    for key, text in english.items():
        assert fields(text) == fields(spanish[key]), key
        assert text.endswith(".") == spanish[key].endswith("."), key


# Names of OCP's own that stay as they are, and words that are the same.
SAME = {"CDR Start", "CDR End"}


@pytest.mark.parametrize("name", TABLES)
def test_nothing_was_left_in_english(name: str) -> None:
    spanish = table(words_es.WORDS, name)
    for key, text in table(words.WORDS, name).items():
        bare = re.sub(r"{\w+}|\W", "", text)
        assert not bare or text in SAME or spanish[key] != text, key
        assert not re.search(r"\b(the|is|was|of|and|its|recording|call)\b", spanish[key]), key


def test_every_code_of_a_problem_is_told_in_both_languages() -> None:
    codes = {*TABLE, *(code for code, *_ in BROKEN_RULES), "duration.paused"}
    assert codes == set(words.PROBLEMS)
    for say in WORDS.values():
        for name, (family, _) in NAMES.items():
            told = say.problem(f"{family}.{name}")
            assert told is not None
            assert name in told
        assert say.problem("of.another.version") is None


def test_every_outcome_and_source_has_words() -> None:
    for say in WORDS.values():
        assert say.outcomes.keys() == OUTCOMES.keys()
        assert say.sources.keys() == set(SOURCES)


def plain(texts: list[str]) -> set[str]:
    """Pieces of sentences without their values, long enough to be told apart."""
    pieces = {piece for text in texts for piece in re.split(r"{\w+}", text)}
    return {piece.strip() for piece in pieces if len(piece.split()) >= 3}


ENGLISH = plain([text for name in TABLES for text in table(words.WORDS, name).values()])


@COSTLY_LAW
@given(journals(), st.integers(0, 90))
def test_no_english_sentence_of_ours_is_in_a_spanish_explanation(
    journal: list[Event], days: int
) -> None:
    said = explain(fold(CALL, journal), POLICY, T0 + days * DAY_MS, "es")
    for text in (said.verdict, said.next, *said.missing, *said.tried, *said.also):
        assert not [piece for piece in ENGLISH if piece in text]


@COSTLY_LAW
@given(journals())
def test_both_languages_tell_the_same_state(journal: list[Event]) -> None:
    call = fold(CALL, journal)
    english, spanish = (explain(call, POLICY, NOW, lang) for lang in ("en", "es"))
    assert (english.stage, english.outcome, english.next_at_ms) == (
        spanish.stage, spanish.outcome, spanish.next_at_ms,
    )  # fmt: skip
    for one, other in ((english.missing, spanish.missing), (english.also, spanish.also),
                       (english.tried, spanish.tried)):  # fmt: skip
        assert len(one) == len(other)
    assert [told.at_ms for told in history(call, "en")] == [
        told.at_ms for told in history(call, "es")
    ]


@pytest.mark.parametrize("code", CASES)
def test_each_kind_of_open_work_is_told_in_spanish(code: str) -> None:
    journal, policy = CASES[code]
    call = fold(CALL, journal)
    said = explain(call, policy, NOW, "es")
    assert said.verdict.startswith(tuple(words_es.WHY.values()))
    assert "OCP borrará sus datos dentro de 59,6 días." in said.verdict


@pytest.mark.parametrize("code", sorted(WHY.keys() - {DENIED}))  # that one CDRs make void
def test_a_closing_of_the_system_is_told_by_its_code(code: str) -> None:
    journal = [*CDRS, ev.closed(CALL, "lost", epoch=0, at_ms=NOW, reason="As of old.", code=code)]
    call = fold(CALL, journal)
    assert explain(call, POLICY, NOW).verdict == "As of old.", "as it was journalled"
    assert explain(call, POLICY, NOW, "es").verdict == words_es.WHY[code]


def test_a_persons_word_stays_as_it_was_written() -> None:
    closed = ev.closed(
        CALL, "absent", epoch=0, at_ms=NOW, reason="ana said so: el cliente colgó", by="ana"
    )
    call = fold(CALL, [*CDRS, closed])
    assert explain(call, POLICY, NOW).verdict == "ana said so: el cliente colgó"
    said = explain(call, POLICY, NOW, "es")
    assert said.verdict == "Lo indicó ana: el cliente colgó"
    assert "ana la cerró como «sin grabación»: Lo indicó ana: el cliente colgó" in said.tried[0]


def test_a_reason_without_a_code_that_we_know_stays_as_it_was_journalled() -> None:
    closed = ev.closed(CALL, "lost", epoch=0, at_ms=NOW, reason="An older reason.", code="older")
    call = fold(CALL, [*CDRS, closed])
    assert explain(call, POLICY, NOW, "es").verdict == "An older reason."


def test_giving_up_is_told_in_spanish_though_its_reason_was_journalled_in_english() -> None:
    up = ev.given_up(CALL, epoch=0, at_ms=NOW, reason=WHY["cdr_retention_over"])
    [told] = history(fold(CALL, [CDRS[0], up]), "es")
    assert told.text == f"Se renunció a los CDR que faltaban: {words_es.WHY['cdr_retention_over']}"


def test_a_stored_call_says_where_its_recording_is() -> None:
    walk = Walk([*CDRS, received()], Ocp())
    walk.run()
    said = explain(walk.call, POLICY, walk.now_ms, "es")
    assert said.verdict == "La grabación está en lob-claims, en k/call-1.wav."
    assert said.next == "Nada."


@pytest.mark.parametrize("code", ["truncated", "not_audio.html", "duration.longer"])
def test_a_problem_is_told_in_the_readers_language_and_with_its_numbers_in_english(
    code: str,
) -> None:
    english, spanish = _told_of(code)
    assert english.startswith("A recording of 1000 bytes came by stream;")
    assert spanish.startswith("Llegó por el envío en directo una grabación de 1000 bytes;")
    assert english.endswith("it is unusable. 9 of 10 bytes.")
    assert spanish.endswith(f"no sirve. {words_es.WORDS.problem(code)}")


def test_a_problem_of_a_code_that_is_none_of_ours_is_told_as_it_was_journalled() -> None:
    english, spanish = _told_of("of_another_version")
    assert english.endswith("it is unusable. 9 of 10 bytes.")
    assert spanish.endswith("no sirve. 9 of 10 bytes.")


def _told_of(code: str) -> tuple[str, str]:
    """The history of a recording with one problem, in English and Spanish."""
    report = {"problems": [{"code": code, "severity": "error", "text": "9 of 10 bytes."}]}
    bad = ev.inspected(CALL, CALL, sha_of(CALL, GOOD), at_ms=NOW, report=report)
    call = fold(CALL, [*CDRS, received(), bad])
    [english], [spanish] = history(call, "en"), history(call, "es")
    return english.text, spanish.text


def test_times_are_written_as_the_reader_wants_them() -> None:
    call = fold(CALL, CDRS)
    said = explain(call, CallPolicy(), T0, "es", lambda at_ms: f"<{at_ms}>")
    assert said.next.endswith(f"(<{said.next_at_ms}>)")
    later = explain(call, CallPolicy(), T0 + 50 * DAY_MS, "es", lambda at_ms: f"<{at_ms}>")
    assert later.next.endswith("(toca ahora)")
