"""Why a call is not finished: what is missing, what was tried, what happens next and when."""

from __future__ import annotations

import msgspec

from ocp_ingest.core import words
from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.call import Call, flags
from ocp_ingest.core.eligibility import days_left
from ocp_ingest.core.lifecycle import (
    CallPolicy,
    Work,
    missing_cdrs,
    outcome,
    stage,
    start_ms,
    usable,
    works,
)


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


def explain(call: Call, policy: CallPolicy, now_ms: int) -> Explanation:
    """The whole state of a call in words."""
    open_work = sorted(works(call, policy), key=lambda w: (w.at_ms, w.action))
    done = outcome(call, policy)
    first = open_work[0] if open_work else None
    return Explanation(
        stage=stage(call),
        outcome=done.outcome if done else None,
        verdict=_verdict(call, done.reason if done else None, first, policy, now_ms),
        missing=_missing(call, open_work),
        tried=_tried(call),
        next=_next(first, now_ms),
        next_at_ms=first.at_ms if first else None,
        also=tuple(_next(w, now_ms) for w in open_work[1:]),
    )


def _verdict(
    call: Call, reason: str | None, first: Work | None, policy: CallPolicy, now_ms: int
) -> str:
    if reason is not None:
        return reason
    if first is None:
        return "Only messages of unknown types speak of this call; there is nothing to do."
    if call.root.stored is not None:
        return words.WHY[first.code]
    left = days_left(start_ms(call), now_ms, policy.stage2)
    clock = f"OCP deletes its data in {left:.1f} days." if left > 0 else "OCP has deleted its data."
    return f"{words.WHY[first.code]} {clock}"


def _missing(call: Call, open_work: list[Work]) -> tuple[str, ...]:
    held = flags(call)
    found = [f"the flag “{words.FLAG_WORDS[f]}”" for f, at in held.items() if at is None]
    # A recording that is here but unusable is missing too: the work that asks for it says so.
    needs = dict.fromkeys([*missing_cdrs(call), *(n for w in open_work for n in w.needs)])
    return tuple(found + [words.NEEDS[need] for need in needs])


def _tried(call: Call) -> tuple[str, ...]:
    found: list[tuple[int, str]] = []
    for dialog_id, recording in call.recordings.items():
        for version in recording.versions.values():
            text = f"A recording of {version.bytes} bytes came by {version.source}"
            judged = usable(call, version, dialog_id)
            state = {True: "it is valid", False: "it is unusable", None: "it is not judged yet"}
            problems = [p["text"] for p in (version.report or {}).get("problems", ())]
            for _, verdict in sorted(version.verdicts.items()):
                problems += [p["text"] for p in verdict.problems]
            found.append((version.received_at_ms, f"{text}; {state[judged]}. {' '.join(problems)}"))
    for export in call.exports.values():
        window = f"{rfc3339(export.from_ms)} to {rfc3339(export.to_ms)}"
        if export.answered_at_ms:
            held = [words.NEEDS.get(k, k) for k, there in export.found.items() if there]
            said = f"it held {', '.join(held)}" if held else "it held nothing of this call"
            found.append(
                (export.answered_at_ms, f"Export {export.job_id} of {window} was read: {said}.")
            )
        else:
            found.append((export.asked_at_ms, f"An export of {window} was asked for."))
    for act in call.acts.values():
        found.append((act.at_ms, f"{words.ACTS[act.kind].format(by=act.by)}: {act.reason}"))
    for closing in call.closings.values():
        by = f" by {closing.by}" if closing.by else ""
        found.append((closing.at_ms, f"It was closed as {closing.outcome}{by}: {closing.reason}"))
    return tuple(f"{rfc3339(at)} {text.strip()}" for at, text in sorted(found))


def _next(work: Work | None, now_ms: int) -> str:
    if work is None:
        return "Nothing."
    what = words.NEXT[work.action]
    if work.needs:
        what += f" Missing: {', '.join(words.NEEDS[n] for n in work.needs)}."
    when = "due now" if work.at_ms <= now_ms else f"at {rfc3339(work.at_ms)}"
    return f"{what} ({when})"
