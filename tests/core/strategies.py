"""Hypothesis strategies for vendor messages and journals of ONE call, and a store's identity rule.

Everything that they make is plausible: vendor messages in any subset, shape and order; our own
steps only after what makes them possible (no verdict without an inspection, no object without a
pinned place). Numbers are invented (`155501xx`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ocp_ingest.core import events as ev
from ocp_ingest.core.events import VENDOR_KINDS, Event, Source, variant_of
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.vendor import Context, VendorMapping, parse

Body = dict[str, Any]

# No deadline: a busy machine is no broken law. Whole journals and lives are costly, so fewer.
LAW: Final = settings(deadline=None)
COSTLY_LAW: Final = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)

GOLDEN: Final = Path(__file__).parents[2] / "events"
CALL: Final = "call-1"
CHILDREN: Final = ("child-1", "child-2")
CLAIMANT: Final = "claimant-1"  # its CDRs have no `flow` object, so it counts as a root
DIALOGS: Final = (CALL, *CHILDREN, CLAIMANT)
T0: Final = 1_763_805_600_000  # 2025-11-22T10:00:00Z
NUMBER: Final = "15550100"
KEY: Final = b"a test's key"
JOBS: Final = ("job-1", "job-2", "job-3", "job-4")


def golden(name: str) -> Body:
    """A golden vendor payload by its file name."""
    body: Body = json.loads((GOLDEN / f"{name}.json").read_text())
    return body


def taken(body: Body, source: Source = "stream", mapping: VendorMapping | None = None) -> Event:
    """The journal event of a vendor message that names a call."""
    context = Context(source=source, number_key=KEY)
    event = parse(body, json.dumps(body).encode(), mapping or VendorMapping(), context).event
    assert event is not None
    return event


def sha_of(dialog_id: str, version: int) -> str:
    """The SHA-256 of a made-up recording, in the form that real ones have."""
    return ev.canonical_hash([dialog_id, version])


def as_journal(events: Iterable[Event]) -> list[Event]:
    """What a store keeps of events in their order of arrival: one per id, other bodies beside."""
    held: dict[str, Event] = {}
    for event in events:
        standing = held.get(event.event_id)
        if standing is None:
            held[event.event_id] = event
        elif event.kind in VENDOR_KINDS and event.body_hash != standing.body_hash:
            variant = variant_of(event)
            held.setdefault(variant.event_id, variant)
    return list(held.values())


def _flow(dialog_id: str, group: str | None) -> Body:
    root = dialog_id == CALL
    flow: Body = {
        "account_id": "acme01",
        "name": "Main" if root else "Digits",
        "type": "Flow" if root else "Alphanumeric",
        "parent_step": 0 if root else 2,
    }
    return flow if group is None else {**flow, "ocp_group_name": group}


_missing: Final = st.sampled_from(["undefined", ""])
_times: Final = st.integers(T0, T0 + 4 * HOUR_MS)


def _maybe(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(value, _missing, st.none())


@st.composite
def bodies(
    draw: st.DrawFn, dialogs: tuple[str, ...] = DIALOGS, kinds: tuple[str, ...] | None = None
) -> Body:
    """A vendor message about one dialog of the call; fields come, go and are "undefined"."""
    known = ("dialog_start", "dialog_end", "dialog_step", "ivr_end", "Dialog End")
    kind = draw(st.sampled_from(kinds or known))
    dialog_id = draw(st.sampled_from(dialogs))
    optional: Body = {
        "session_id": draw(_maybe(st.sampled_from(["s-1", "s-2"]))),
        "channel": draw(_maybe(st.just("omIVR"))),
        "origin_uri": draw(_maybe(st.just(NUMBER))),
        "test_flag": draw(st.sampled_from([None, False, False, True])),
        "duration": draw(st.one_of(st.none(), st.integers(0, HOUR_MS))),
        "end_type": draw(_maybe(st.sampled_from(["FAR_HUP", "NEAR_HUP", "TRANSFER", "NEW"]))),
        "sensitive": draw(st.sampled_from([None, True])),
    }
    if dialog_id != CLAIMANT:
        group = draw(st.sampled_from([None, "acme-claims", "acme-sales"]))
        optional["flow"] = _flow(dialog_id, group)
    return {
        "message_type": kind,
        "id": dialog_id,
        "group": CALL,
        "time": draw(_times),
        **{field: value for field, value in optional.items() if value is not None},
    }


_when: Final = st.integers(T0 + HOUR_MS, T0 + 70 * DAY_MS)


def problem(severity: str = "error") -> dict[str, Any]:
    """A problem as reports and verdicts hold it."""
    return {"code": "truncated", "severity": severity, "text": "Half of it is missing."}


def report(whole: bool) -> dict[str, Any]:
    """A report as inspection journals it, with the tuples that a struct's builtins hold."""
    return {
        "container": "wav",
        "codec": "pcm_alaw",
        "duration_ms": 20_000,
        "channel_silence_share": (0.1, 0.2),
        "problems": () if whole else (problem(),),
    }


def received(
    dialog_id: str = CALL, version: int = 0, *, at_ms: int = T0 + HOUR_MS,
    source: Source = "stream", call_id: str = CALL, parts: dict[str, Any] | None = None,
) -> Event:  # fmt: skip
    """A recording has come."""
    return ev.received(
        call_id, dialog_id, sha_of(dialog_id, version), at_ms=at_ms, source=source,
        size_bytes=1_000, landing_key=f"l/{dialog_id}/{version}", name="n.wav",
        name_parts=parts, container="wav",
    )  # fmt: skip


@st.composite
def _recording(draw: st.DrawFn, dialog_id: str, epochs: int) -> list[Event]:
    found: list[Event] = []
    good: list[str] = []
    for version in range(draw(st.integers(1, 2))):
        sha, at_ms = sha_of(dialog_id, version), draw(_when)
        source: Source = draw(st.sampled_from(["stream", "export"]))
        found.append(received(dialog_id, version, at_ms=at_ms, source=source))
        if not draw(st.booleans()):
            continue
        whole = draw(st.booleans())
        found.append(ev.inspected(CALL, dialog_id, sha, at_ms=at_ms + 1_000, report=report(whole)))
        for epoch in draw(st.sets(st.integers(0, epochs), max_size=2)):
            valid = draw(st.booleans())
            found.append(
                ev.validated(
                    CALL, dialog_id, sha, epoch=epoch, at_ms=draw(_when), valid=valid,
                    problems=[problem("warning" if valid else "error")], rules="claims:1",
                )
            )  # fmt: skip
            good += [sha] * valid
    pinned: bool = draw(st.booleans())
    if good and pinned:
        place = {"lob": "claims", "bucket": "lob-claims", "key": f"k/{dialog_id}.wav"}
        sha = draw(st.sampled_from(good))
        found.append(ev.routed(CALL, dialog_id, sha, at_ms=draw(_when), rule="r", **place))
        if draw(st.booleans()):
            found.append(ev.stored(CALL, dialog_id, sha, at_ms=draw(_when), size_bytes=9, **place))
    return found


@st.composite
def _export(draw: st.DrawFn, job_key: str) -> list[Event]:
    asked_at_ms = draw(_when)
    window = (T0, T0 + HOUR_MS)
    asked = ev.export_asked(CALL, job_key, at_ms=asked_at_ms, window=window, attempt=1)
    if not draw(st.booleans()):
        return [asked]
    found = draw(
        st.dictionaries(st.sampled_from(["audio", "dialog_start", "dialog_end"]), st.booleans())
    )
    shas = draw(st.lists(st.sampled_from([sha_of(CALL, 0), sha_of(CALL, 1), ""]), max_size=2))
    answered = ev.export_answered(
        CALL, job_key, at_ms=asked_at_ms + 60_000, job_id="x-1", task_id="t-1",
        # A job that was taken over may cover more than was asked.
        window=(T0 - draw(st.sampled_from([0, HOUR_MS])), T0 + HOUR_MS), found=found,
        files=[{"name": "f.wav", "dialog_id": CALL, "sha256": s, "result": "x"} for s in shas],
        metadata={"status": "COMPLETED"},
    )  # fmt: skip
    return [asked, answered] if draw(st.booleans()) else [answered]


@st.composite
def _acts(draw: st.DrawFn) -> list[Event]:
    return [
        ev.operator(
            draw(st.sampled_from(["retried", "reopened", "released"])), CALL, at_ms=draw(_when),
            who="ana", reason=f"reason {number}",
            dialog_id=draw(st.sampled_from([None, CALL, CHILDREN[0]])),
        )
        for number in range(draw(st.integers(0, 2)))
    ]  # fmt: skip


@st.composite
def _accesses(draw: st.DrawFn) -> list[Event]:
    return [
        ev.accessed(
            CALL, at_ms=draw(_when), who=draw(st.sampled_from(["ana", "luis"])),
            what=draw(st.sampled_from(["audio", "raw"])), reason="a complaint", dialog_id=CALL,
        )
        for _ in range(draw(st.integers(0, 2)))
    ]  # fmt: skip


@st.composite
def _closings(draw: st.DrawFn, epochs: int) -> list[Event]:
    outcomes: set[ev.Closing] = draw(
        st.sets(st.sampled_from(["absent", "quarantined", "lost"]), max_size=2)
    )
    found = [
        ev.closed(
            CALL, outcome, epoch=draw(st.integers(0, epochs)), at_ms=draw(_when), reason="Because.",
            code=draw(st.sampled_from(["", "unknown_to_ocp"])) if outcome == "quarantined" else "",
        )
        for outcome in sorted(outcomes)
    ]  # fmt: skip
    if draw(st.booleans()):
        epoch = draw(st.integers(0, epochs))
        found.append(ev.given_up(CALL, epoch=epoch, at_ms=draw(_when), reason="It is over."))
    return found


@st.composite
def journals(draw: st.DrawFn) -> list[Event]:
    """A journal of one call: any subset of what may happen to it, in a possible order."""
    found = [taken(body) for body in draw(st.lists(bodies(), max_size=6))]
    acts = draw(_acts()) if draw(st.booleans()) else []
    epochs = sum(act.kind in ("reopened", "released") for act in acts)
    recorded: set[str] = draw(st.sets(st.sampled_from(DIALOGS), max_size=2))
    for dialog_id in sorted(recorded):
        found += draw(_recording(dialog_id, epochs))
    for job_key in JOBS[: draw(st.integers(0, len(JOBS)))]:
        found += draw(_export(job_key))
    if draw(st.booleans()):
        found += draw(_closings(epochs))
    if draw(st.booleans()):
        found += draw(_accesses())
    return as_journal([*found, *acts])
