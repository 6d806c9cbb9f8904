"""Why a call is not finished: what is missing, what was tried, what happens next and when.

In two languages. Codes are told in the reader's; what a person wrote stays as it was written, and
so does a journalled reason whose code nobody knows any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ocp_ingest.core import words, words_es
from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.call import Act, Call, Closing, Export, Version, flags
from ocp_ingest.core.eligibility import days_left
from ocp_ingest.core.lifecycle import (
    CallPolicy,
    Outcome,
    Work,
    closing,
    missing_cdrs,
    outcome,
    stage,
    start_ms,
    usable,
    works,
)
from ocp_ingest.core.words import Lang, Words

When = Callable[[int], str]  # how a time, epoch ms, is written


def utc(at_ms: int) -> str:
    """RFC 3339, UTC: for machines, and where nobody knows the reader's time zone."""
    return str(rfc3339(at_ms))


WORDS: Final[dict[Lang, Words]] = {"en": words.WORDS, "es": words_es.WORDS}


class Explanation(msgspec.Struct, frozen=True):
    """Sentences for an operator; `next_at_ms` is None when nothing more is to be done."""

    stage: str
    outcome: str | None
    verdict: str
    missing: tuple[str, ...]
    tried: tuple[str, ...]
    next: str
    next_at_ms: int | None
    also: tuple[str, ...] = ()


class Told(msgspec.Struct, frozen=True, order=True):
    """Something that was tried or done, and when."""

    at_ms: int
    text: str


def explain(
    call: Call, policy: CallPolicy, now_ms: int, lang: Lang = "en", when: When = utc
) -> Explanation:
    """The whole state of a call in words."""
    say = WORDS[lang]
    open_work = sorted(works(call, policy), key=lambda w: (w.at_ms, w.action))
    done = outcome(call, policy)
    first = open_work[0] if open_work else None
    return Explanation(
        stage=stage(call),
        outcome=done.outcome if done else None,
        verdict=_verdict(call, done, first, policy, now_ms, say),
        missing=_missing(call, open_work, say),
        tried=tuple(f"{when(told.at_ms)} {told.text}" for told in history(call, lang, when)),
        next=_next(first, now_ms, say, when),
        next_at_ms=first.at_ms if first else None,
        also=tuple(_next(w, now_ms, say, when) for w in open_work[1:]),
    )


def _verdict(
    call: Call, done: Outcome | None, first: Work | None, policy: CallPolicy, now_ms: int,
    say: Words,
) -> str:  # fmt: skip
    if done is not None:
        return _ended(call, done, say)
    if first is None:
        return say.says["unknown_only"]
    code = words.UNTIL_THEN.get(first.code, first.code) if first.at_ms > now_ms else first.code
    if call.root.stored is not None:
        return say.why[code]
    left = days_left(start_ms(call), now_ms, policy.stage2)
    clock = say.says["days_left"].format(days=say.number(left)) if left > 0 else say.says["deleted"]
    return f"{say.why[code]} {clock}"


def _ended(call: Call, done: Outcome, say: Words) -> str:
    place = call.root.stored
    if done.outcome == "stored" and place is not None:
        return say.says["stored"].format(bucket=place.bucket, key=place.key)
    held = closing(call)
    return done.reason if held is None else closing_reason(held, say)


def closing_reason(held: Closing, say: Words) -> str:
    """Why a call was closed: as it was journalled, in other languages by its code if it has one."""
    if say is not words.WORDS and held.code in say.why:
        return say.why[held.code]
    if held.by:
        said = words.SAYS["person_said"].format(by=held.by, reason="")
        text = held.reason.removeprefix(said)
        return say.says["person_said"].format(by=held.by, reason=text)
    return held.reason


def _missing(call: Call, open_work: list[Work], say: Words) -> tuple[str, ...]:
    held = flags(call)
    found = [say.says["flag"].format(flag=say.flags[f]) for f, at in held.items() if at is None]
    # A recording that is here but unusable is missing too: the work that asks for it says so.
    needs = dict.fromkeys([*missing_cdrs(call), *(n for w in open_work for n in w.needs)])
    return tuple(found + [say.needs[need] for need in needs])


def history(call: Call, lang: Lang = "en", when: When = utc) -> tuple[Told, ...]:
    """What was tried and done for a call, in order of time."""
    say = WORDS[lang]
    found: list[Told] = []
    for dialog_id, recording in call.recordings.items():
        for version in recording.versions.values():
            judged = usable(call, version, dialog_id)
            found.append(Told(version.received_at_ms, _version(version, judged, say)))
    found += [_export(export, say, when) for export in call.exports.values()]
    found += [Told(act.at_ms, _act(act, say)) for act in call.acts.values()]
    found += [Told(held.at_ms, _closing(held, say)) for held in call.closings.values()]
    return tuple(sorted(found))


def _version(version: Version, judged: bool | None, say: Words) -> str:
    state = {True: "valid", False: "unusable", None: "unjudged"}[judged]
    problems = [*(version.report or {}).get("problems", ())]
    for _, verdict in sorted(version.verdicts.items()):
        problems += verdict.problems
    head = say.says["version"].format(
        bytes=version.bytes, source=say.sources.get(version.source, version.source),
        state=say.says[state],
    )  # fmt: skip
    # English readers get the journalled text, which has the numbers.
    texts = [p["text"] if say is words.WORDS else say.problem(p["code"]) or p["text"]
             for p in problems]  # fmt: skip
    return " ".join([head, *dict.fromkeys(texts)])


def _export(export: Export, say: Words, when: When) -> Told:
    window = say.says["window"].format(start=when(export.from_ms), end=when(export.to_ms))
    if not export.answered_at_ms:
        return Told(export.asked_at_ms, say.says["export_asked"].format(window=window))
    held = ", ".join(say.needs.get(need, need) for need, there in export.found.items() if there)
    said = say.says["held"].format(what=held) if held else say.says["held_nothing"]
    text = say.says["export_read"].format(job=export.job_id, window=window, held=said)
    return Told(export.answered_at_ms, text)


def _act(act: Act, say: Words) -> str:
    # Giving up is the system's own act: its reason is one of the codes' sentences.
    codes = {text: code for code, text in words.WHY.items()}
    reason = say.why[codes[act.reason]] if act.reason in codes else act.reason
    return f"{say.acts[act.kind].format(by=act.by)}: {reason}"


def _closing(held: Closing, say: Words) -> str:
    text = say.says["closed_by" if held.by else "closed"]
    return text.format(outcome=say.outcomes[held.outcome], by=held.by,
                       reason=closing_reason(held, say))  # fmt: skip


def _next(work: Work | None, now_ms: int, say: Words, when: When) -> str:
    if work is None:
        return say.says["nothing"]
    what = say.next[work.action]
    if work.needs:
        needs = ", ".join(say.needs[need] for need in work.needs)
        what += f" {say.says['missing'].format(what=needs)}"
    due = say.says["due_now"]
    if work.at_ms > now_ms:
        due = say.says["due_at"].format(time=when(work.at_ms))
    return f"{what} ({due})"
