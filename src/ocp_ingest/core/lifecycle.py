"""What a record needs next. The one place that decides it; nothing is stored but facts.

`works(call, policy)` lists every piece of open work with the time from which it may be done; the
table `ACTIONS` says what each is. From it follow: the pending index (earliest time), the outcome
(none while work is open), what `explain` says, and what detection resumes.

Rules
1. Work that our own pipeline does at once is due again `resume_after_ms` after the recording
   could be worked on: if it is still open then, whoever had it died. Steps that follow one another
   do not move that time, nor with each of them an index.
2. A recording is judged when the call's CDRs are there, or can't be had any more.
3. Missing or unusable audio, and missing CDRs, are asked of OCP by export: at the time that
   core.eligibility allows, with a back-off that doubles per miss.
4. Without audio a call is closed `absent` only on positive evidence, `lost` only when OCP's
   retention is over, `quarantined` when OCP's own copy is bad too, or OCP denies the call.
5. A closing ends asking and closing, never the work on bytes that are here: a recording that
   comes after it is processed like any other, with the CDRs that are there.
6. A closing because OCP denies the call is void once a CDR of the call comes.
7. What an operator released is judged without waiting for anything.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ocp_ingest.core.call import (
    FLAGS,
    PROGRESS_VALID,
    Call,
    Closing,
    Export,
    Version,
    flags,
)
from ocp_ingest.core.eligibility import Policy, deadline_at, eligible_at, floor_h, span_of

Action = Literal[
    "inspect", "validate", "route", "store", "close_absent", "close_quarantined", "close_lost",
    "give_up", "ask_export",
]  # fmt: skip

# action -> what it means; the order is the order in which due work is done.
ACTIONS: Final[dict[Action, str]] = {
    "inspect": "measure the recording and check its integrity",
    "validate": "hold the recording against its call and the rules of its line of business",
    "route": "pin the line of business, bucket and key",
    "store": "copy to the bucket of the line of business and prove the copy",
    "close_absent": "close the call: it has no recording, on positive evidence",
    "close_quarantined": "close the call: its recording is unusable and OCP has no better one",
    "close_lost": "close the call: OCP's retention is over and no recording was had",
    "give_up": "stop asking for CDRs: OCP's retention is over",
    "ask_export": "ask OCP for what is missing, by an export job",
}

# stage -> what it says; a call is in the stage of the last of its flags.
STAGES: Final[dict[str, str]] = {
    "unannounced": "something of the call came, its CDR Start did not",
    "call_started": "CDR Start came",
    "ivr_ended": "the automated part ended",
    "call_ended": "CDR End came",
    "file_received": "the recording is durable in the landing store",
    "post_processed": "the recording passed every check",
    "stored": "the recording is proved to be in the bucket of its line of business",
}

# outcome -> what it says; a call that has one needs no more work.
OUTCOMES: Final[dict[str, str]] = {
    "stored": "the recording is in its bucket and nothing else is missing",
    "absent": "the call has no recording, on positive evidence",
    "quarantined": "the recording is unusable and OCP has no better one, or OCP denies the call",
    "lost": "OCP's retention ended before a recording could be had",
}

# action -> the flag or outcome that it works towards.
TOWARDS: Final[dict[Action, str]] = {
    "inspect": "post_processed",
    "validate": "post_processed",
    "route": "stored",
    "store": "stored",
    "close_absent": "absent",
    "close_quarantined": "quarantined",
    "close_lost": "lost",
    "give_up": "post_processed",
    "ask_export": "file_received",
}

# The code of a closing that is void as soon as anything announces the call.
DENIED: Final = "unknown_to_ocp"


class CallPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the derivation needs from the configuration."""

    stage2: Policy = Policy()
    export_enabled: bool = True
    # Our own step not done so long after it could be: its worker died. Steps take seconds.
    resume_after_ms: int = 60_000
    # Exports that lacked a CDR before the call goes on without it.
    cdr_misses_max: int = 3
    # Exports that delivered bytes for a bad recording before OCP's own copy is held to be bad.
    bad_exports_max: int = 2
    # Calls shorter than this have no recording at OCP.
    recording_min_ms: int = 2_000
    # OCP groups without whole call recording (it is off by default and billed).
    recording_off_groups: tuple[str, ...] = ()


class Work(msgspec.Struct, frozen=True):
    """One piece of open work; `at_ms` is when it may be done, `code` why it is open."""

    action: Action
    at_ms: int
    code: str
    dialog_id: str = ""
    sha256: str = ""
    needs: tuple[str, ...] = ()
    misses: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """Why a call needs no more work."""

    outcome: Literal["stored", "absent", "quarantined", "lost"]
    reason: str
    at_ms: int


def stage(call: Call) -> str:
    """The last flag that is set, in the order of FLAGS; a key of STAGES."""
    held = flags(call)
    for flag in _LAST_FLAG_FIRST:
        if held[flag] is not None:
            return flag
    return "unannounced"


_LAST_FLAG_FIRST: Final = FLAGS[::-1]


def start_ms(call: Call) -> int:
    """The call's start, or the best hint of it: earliest CDR, name of a recording, its arrival."""
    known = call.get("call_started") or call.get("seen")
    if known is not None:
        return int(known)
    versions = [v for r in call.recordings.values() for v in r.versions.values()]
    hints = [v.name_parts["time_ms"] for v in versions if "time_ms" in v.name_parts]
    # No call starts after its recording came, whatever the file's name says.
    arrivals = [v.received_at_ms for v in versions if v.received_at_ms]
    asked = [e.from_ms for e in call.exports.values()]
    return int(min(hints + arrivals or asked, default=0))


def usable(call: Call, version: Version, dialog_id: str) -> bool | None:
    """True: judged valid; False: judged invalid; None: not judged yet (in this epoch)."""
    if version.received_at_ms and not version.at_hand and not _is_stored(call, dialog_id):
        return False
    if call.released(dialog_id):
        if not integral(version) and _was_whole(call, dialog_id):
            return False
        verdict = version.verdicts.get(call.epoch)
        return None if verdict is None else verdict.valid
    if any(v.valid for v in version.verdicts.values()):
        return True
    if version.report is not None and not integral(version):
        return False
    return False if call.epoch in version.verdicts else None


def _was_whole(call: Call, dialog_id: str) -> bool:
    """Whether whole bytes of a recording came: who released it meant these, lost or not."""
    recording = call.recordings.get(dialog_id)
    if recording is None or recording.stored is not None:
        return False
    return any(v.report is not None and integral(v) for v in recording.versions.values())


def _is_stored(call: Call, dialog_id: str) -> bool:
    recording = call.recordings.get(dialog_id)
    return recording is not None and recording.stored is not None


def integral(version: Version) -> bool:
    """Whether inspection found no error in the bytes."""
    problems = (version.report or {}).get("problems", ())
    return all(p["severity"] != "error" for p in problems)


def current(call: Call, dialog_id: str) -> tuple[str, Version] | None:
    """The version of a recording that counts: pinned, else the first that is not invalid."""
    recording = call.recordings.get(dialog_id)
    if recording is None:
        return None
    pinned = recording.stored or recording.routed
    if pinned is not None:
        version = recording.versions.get(pinned.sha256)
        # Pinned bytes that were lost before they were stored give way to another version.
        if version is None or version.at_hand or recording.stored is not None:
            return None if version is None else (pinned.sha256, version)
    # A version with broken bytes can only count when it was released, and whole ones go before it.
    here = [
        (not integral(v), v.received_at_ms, sha)
        for sha, v in recording.versions.items() if v.received_at_ms
    ]  # fmt: skip
    for _, _, sha in sorted(here):
        if usable(call, recording.versions[sha], dialog_id) is not False:
            return sha, recording.versions[sha]
    return None


def missing_cdrs(call: Call) -> tuple[str, ...]:
    """The root dialog's CDRs that never came: "dialog_start", "dialog_end"."""
    started = call.regs.get("call_started")
    lacks_start = started is None or started[0] != 0
    lacks_end = call.get("call_ended") is None
    if not lacks_start and not lacks_end:
        return ()
    return ("dialog_start",) * lacks_start + ("dialog_end",) * lacks_end


def misses(call: Call, data_type: str, policy: CallPolicy) -> int:
    """How often, in this epoch, exports were asked for a data type and did not hold it.

    Of the hours that the call may lie in, that which the fewest of them covered counts: an export
    of some of these hours, as there are where OCP can't export the others, proves no absence.
    """
    lacking = [e for e in _answered(call) if e.found.get(data_type) is False]
    if not lacking:
        return 0
    start, end = span_of(start_ms(call), call.get("call_ended"), policy.stage2)
    first_ms, last_ms = floor_h(start), floor_h(end)
    # Fewer may cover an hour than the one before it only where an export ends.
    ends = {e.to_ms for e in lacking if first_ms < e.to_ms <= last_ms}
    return min(sum(e.from_ms <= at < e.to_ms for e in lacking) for at in {first_ms, *ends})


def _answered(call: Call) -> list[Export]:
    """The exports that were answered in this epoch."""
    if not call.exports:
        return []
    since_ms = call.epoch_at_ms
    return [e for e in call.exports.values() if e.answered_at_ms > since_ms]


def closing(call: Call) -> Closing | None:
    """The closing that stands in this epoch: the earliest one."""
    if not call.closings:
        return None
    announced = call.get("seen") is not None
    held = [
        c for c in call.closings.values()
        if c.epoch == call.epoch and not (announced and c.code == DENIED)
    ]  # fmt: skip
    return min(held, key=lambda c: (c.at_ms, c.outcome), default=None)


class _Standing(msgspec.Struct, frozen=True):
    """What holds for the whole call while its works are listed."""

    denied: bool
    closed: bool
    given_up: bool


def works(call: Call, policy: CallPolicy) -> list[Work]:
    """All open work of a call, in an order of its own; empty when it needs none."""
    if not call.evidenced:
        return []
    denied = _denied(call, policy)
    # Rule 5: while there are bytes that may still be good, a closing is void.
    hopeful = current(call, call.root_dialog_id) is not None and not denied
    standing = _Standing(
        denied=denied,
        closed=not hopeful and closing(call) is not None,
        given_up=bool(call.acts) and _given_up(call),
    )
    found: list[Work] = []
    for dialog_id in sorted(call.recordings):
        found += _recording_works(call, dialog_id, policy, standing)
    if not standing.closed:
        found += _audio_works(call, policy, denied)
        if not standing.given_up and not denied:
            found += _cdr_works(call, policy)
    return found


def _given_up(call: Call) -> bool:
    epoch = call.epoch
    return any(a.kind == "given_up" and a.epoch == epoch for a in call.acts.values())


def _recording_works(
    call: Call, dialog_id: str, policy: CallPolicy, standing: _Standing
) -> list[Work]:
    recording, held = call.recordings[dialog_id], current(call, dialog_id)
    if held is None or recording.stored is not None:
        return []
    sha, version = held
    is_valid = any(v.valid for v in version.verdicts.values())
    step: tuple[Action, str]
    if recording.routed is not None and recording.routed.sha256 == sha:
        step = ("store", "routed")
    elif version.report is None:
        step = ("inspect", "received")
    elif usable(call, version, dialog_id) and is_valid:
        step = ("store", "routed") if recording.routed else ("route", "valid")
    else:
        return _validate_works(call, dialog_id, sha, policy, standing)
    action, code = step
    at_ms = max(version.received_at_ms, call.epoch_at_ms) + policy.resume_after_ms
    return [Work(action, at_ms, code, dialog_id, sha)]


def _validate_works(
    call: Call, dialog_id: str, sha: str, policy: CallPolicy, standing: _Standing
) -> list[Work]:
    released = call.released(dialog_id)
    if standing.denied and not released:
        return []
    # Nobody asks for CDRs any more, or nobody needs them: an operator has already judged.
    settled = standing.given_up or standing.closed or released
    if settled or not _unsettled(call, policy):
        received_at_ms = call.recordings[dialog_id].versions[sha].received_at_ms
        # In the order of things the recording comes last, and the time stays that of its receipt.
        since_ms = max(received_at_ms, call.get("call_ended") or 0, call.epoch_at_ms)
        return [Work("validate", since_ms + policy.resume_after_ms, "inspected", dialog_id, sha)]
    if not policy.export_enabled:
        at_ms = start_ms(call) + policy.stage2.max_call_ms
        return [Work("validate", at_ms, "awaits_cdr", dialog_id, sha)]
    return []  # the CDRs are asked for; see _cdr_works


def _unsettled(call: Call, policy: CallPolicy) -> tuple[str, ...]:
    """Missing CDRs that an export may still bring."""
    return tuple(t for t in missing_cdrs(call) if misses(call, t, policy) < policy.cdr_misses_max)


def _denied(call: Call, policy: CallPolicy) -> bool:
    """A recording came for a call that no CDR and no export of its hours knows of."""
    if not call.exports and policy.cdr_misses_max > 0:
        return False  # most calls: OCP was never asked for them
    unannounced = call.get("seen") is None
    # What was judged valid or released goes its way to the end, whatever OCP says by then.
    undecided = call.root.progress < PROGRESS_VALID and not call.released(call.root_dialog_id)
    if not unannounced or not undecided:
        return False
    return misses(call, "dialog_start", policy) >= policy.cdr_misses_max


def _audio_works(call: Call, policy: CallPolicy, denied: bool) -> list[Work]:
    root_id = call.root_dialog_id
    root = call.recordings.get(root_id)
    if root is not None and root.stored is not None:
        return []
    if denied:
        return [Work("close_quarantined", _last_answer(call), DENIED, root_id)]
    if root is not None:
        if current(call, root_id) is not None:
            return []
        if any(v.received_at_ms for v in root.versions.values()):
            return _bad_works(call, policy)
    absent = absence(call, policy)
    if absent is not None:
        return [Work("close_absent", _quiet_at(call, policy), absent, root_id)]
    deadline = deadline_at(start_ms(call), policy.stage2)
    found = [Work("close_lost", deadline, "retention_over", root_id)]
    return found + _ask(call, policy, ("audio",), "no_recording")


def _bad_works(call: Call, policy: CallPolicy) -> list[Work]:
    root_id = call.root_dialog_id
    if _ocp_copy_is_bad(call, policy):
        return [Work("close_quarantined", _last_answer(call), "bad_at_ocp", root_id)]
    deadline = deadline_at(start_ms(call), policy.stage2)
    found = [Work("close_quarantined", deadline, "bad_and_retention_over", root_id)]
    return found + _ask(call, policy, ("audio",), "bad_recording")


def absence(call: Call, policy: CallPolicy) -> str | None:
    """The positive evidence that a call has no recording, as a code, or None."""
    if call.get("test_flag") is True:
        return "test_call"
    if call.get("ocp_group") in policy.recording_off_groups:
        return "recording_off"
    if call.duration_ms is not None and call.duration_ms < policy.recording_min_ms:
        return "too_short"
    return None


def _quiet_at(call: Call, policy: CallPolicy) -> int:
    """From when a recording that is still on its way would have come."""
    ended = call.get("call_ended")
    if ended is None:
        ended = start_ms(call) + policy.stage2.max_call_ms
    return int(ended) + policy.stage2.grace_ms


def _ocp_copy_is_bad(call: Call, policy: CallPolicy) -> bool:
    """Every version here is unusable: whether that is OCP's word and not only the stream's."""
    # Only bytes that came and were judged are evidence: an export whose download failed says
    # nothing of them, nor do bytes that were lost before anybody looked at them.
    versions = {sha: v for sha, v in call.root.versions.items() if _was_judged_bad(v)}
    files = [{str(f.get("sha256")) for f in export.files} for export in _answered(call)]
    delivered = [shas & versions.keys() for shas in files if not shas.isdisjoint(versions)]
    if len(delivered) >= policy.bad_exports_max:
        return True
    # The same bad bytes by two ways: OCP holds nothing better.
    return any(versions[sha].source == "stream" for shas in delivered for sha in shas)


def _was_judged_bad(version: Version) -> bool:
    whole = version.report is None or integral(version)
    return not whole or any(not verdict.valid for verdict in version.verdicts.values())


def _last_answer(call: Call) -> int:
    return max((e.answered_at_ms for e in _answered(call)), default=0)


def _cdr_works(call: Call, policy: CallPolicy) -> list[Work]:
    lacking = _unsettled(call, policy)
    if not lacking or not policy.export_enabled:
        return []
    deadline = deadline_at(start_ms(call), policy.stage2)
    return [Work("give_up", deadline, "cdr_retention_over"), *_ask(call, policy, lacking, "no_cdr")]


def _ask(call: Call, policy: CallPolicy, needs: tuple[str, ...], code: str) -> list[Work]:
    if not policy.export_enabled:
        return []
    tried, last_try = 0, 0
    if call.exports:
        tries = [_tries(call, need) for need in needs]
        tried = min(map(len, tries))
        last_try = max((e.answered_at_ms for held in tries for e in held), default=0)
    at_ms = eligible_at(
        start_ms(call), call.get("call_ended"), tried, policy.stage2, last_try_ms=last_try or None
    )
    retried = call.acts and [a.at_ms for a in call.acts.values() if a.kind == "retried"]
    if retried and max(retried) > last_try:
        at_ms = min(at_ms, max(retried))
    return [Work("ask_export", at_ms, code, needs=needs, misses=tried)]


def _tries(call: Call, need: str) -> list[Export]:
    """Exports of this epoch that were asked for it and leave it missing, failed ones included.

    An export that held it counts too: what it held never got in, or is no good. One that OCP never
    made, or that says in its `tries` that it was no try for this, does not.
    """
    return [
        e for e in _answered(call)
        if (e.asked_at_ms > 0 or need in e.found) and need in e.metadata.get("tries", (need,))
    ]  # fmt: skip


def due(call: Call, policy: CallPolicy, now_ms: int) -> list[Work]:
    """The work that may be done now, in the order of ACTIONS; a closing goes before asking."""
    order = list(ACTIONS)
    ready = [w for w in works(call, policy) if w.at_ms <= now_ms]
    return sorted(ready, key=lambda w: (order.index(w.action), w.dialog_id))


def next_work(call: Call, policy: CallPolicy) -> Work | None:
    """The earliest open work, or None."""
    found = works(call, policy)
    if len(found) < 2:
        return found[0] if found else None
    return min(found, key=_by_time)


def _by_time(work: Work) -> tuple[int, str, str, tuple[str, ...]]:
    return work.at_ms, work.action, work.dialog_id, work.needs


def outcome(call: Call, policy: CallPolicy) -> Outcome | None:
    """Why the call needs no more work; None while it does, or while nothing is known of it."""
    if not call.evidenced or works(call, policy):
        return None
    return ended(call)


def ended(call: Call) -> Outcome | None:
    """The outcome of a call that is known to have no open work; see `outcome`."""
    if not call.evidenced:
        return None
    place = call.root.stored
    if place is not None:
        reason = f"The recording is in {place.bucket} at {place.key}."
        return Outcome("stored", reason, place.at_ms)
    closed = closing(call)
    if closed is None:
        return None
    return Outcome(closed.outcome, closed.reason, closed.at_ms)  # type: ignore[arg-type]
