"""Which incidents should be open, judged from a snapshot of figures; section `[alerts]`.

Figure                                    incident                 gets worse (critical)
recordings stored of those due, per       completeness_low:<lob>   missing 10 times what the
  line of business                                                 objective allows
recordings that the stream delivered, of  stream_share_low:<lob>   no: exports bring the rest
  those that came, per line of business
our own step not done for too long        calls_stuck:<state>      4 times the bound
work that has been due for too long       calls_stuck:due          4 times the bound
a message tried too often, whose call     step_parked:queue        always
  still waits for that step

What other parts watch (retention, groups, subscriptions, the law) is theirs; see reconcile.watch
and desk.check. Here is only what follows from figures.

Rules
1. Hysteresis: a finding opens when its figure passes the bound, and closes when the figure has come
   back by a quarter of what the bound leaves (`_BACK`); in between, what is open stays open and
   what is not is not opened.
2. A share needs a number of calls to mean anything; below half of it an open one closes.
3. One root cause, one incident: a finding that an open incident explains (`EXPLAINED_BY`) for its
   lines of business is not opened; one that is open already ends only by rule 1.
4. While something is known to hold exports up, calls in flight are not held against completeness:
   those have their incident. What ended without a recording always is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.core.quiet import unknown_zone

Severity = Literal["warning", "critical"]

# Share of the room that a bound leaves, by which a figure must be back before its incident closes.
_BACK: Final = 0.25
# What sums of floats may be off; far less than one call of the largest period.
_ROUNDING: Final = 1e-12
# Missing this many times what the objective allows is no dip any more.
_FAR_BELOW: Final = 10.0
# Beyond this many times its bound, nobody has looked.
_FAR_BEYOND: Final = 4.0
# What a line of business that nothing tells is called in keys and texts.
UNKNOWN_LOB: Final = "unknown"

# state -> what it says of a call, in words; keys of `[alerts.state_age_s_max]`.
STATES: Final[dict[str, str]] = {
    "file_received": "received, but not checked",
    "post_processed": "checked, but not stored",
    "due": "due for its next step",
}

_EXPORTS: Final = frozenset({
    "vendor_down", "group_blocked", "group_half_open", "slot_busy", "hours_quarantined",
    "windows_shrunk", "retention_near",
})  # fmt: skip
# kind of a finding -> kinds of incidents of which it would only be another symptom.
EXPLAINED_BY: Final[dict[str, frozenset[str]]] = {
    "completeness_low": frozenset(),  # rule 4 instead: only calls in flight can be explained
    "stream_share_low": frozenset({"subscription_silent"}),
    "calls_stuck:file_received": frozenset({"step_parked"}),
    "calls_stuck:post_processed": frozenset({"step_parked"}),
    "calls_stuck:due": _EXPORTS | {"step_parked", "calls_stuck"},
    "step_parked:queue": frozenset({"step_parked"}),
}
# What keeps calls in flight (rule 4).
HOLDS_UP: Final = _EXPORTS | {"step_parked", "calls_stuck"}


class StateAges(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[alerts.state_age_s_max]`: seconds (of domain time) after which somebody should look."""

    # A step of ours takes seconds; detection, every half hour, resumes one whose worker died.
    file_received: float = 3_600.0
    post_processed: float = 3_600.0
    # Whatever a call waits for next, beyond the time when it was due. Not the age of open calls:
    # one that OCP does not find waits for weeks between its tries, and is in no trouble.
    due: float = 86_400.0


class Objectives(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of `[alerts]` that say what is good enough."""

    # Of the recordings due, the share that must be stored.
    completeness_min: float = 0.999
    # … over so many days (UTC), today included: a week has every kind of day once.
    completeness_days: int = 7
    # … of calls older than this: an export of the day before may still be on its way.
    completeness_after_s: float = 86_400.0
    # … if there are so many: fewer can't tell 99.9 % from chance.
    completeness_calls_min: int = 200
    # Of the recordings that came, the share that the stream must have delivered. 90 % are expected;
    # below this the subscription itself is ill.
    streamed_share_min: float = 0.8
    # … over so many days, today included: two, so that the first hours of a day are not alone.
    streamed_days: int = 2
    # … if so many came: of 50 at 90 %, fewer than 80 % are chance once in 50 weeks.
    streamed_calls_min: int = 50
    state_age_s_max: StateAges = StateAges()


class Duty(Objectives, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[alerts]`: the objectives, and when what is looked at and told."""

    # Figures are held against the objectives so often, in real seconds.
    every_s: float = 300.0
    # A critical incident that stays open is told again after so many hours; 0: never.
    remind_hours: float = 4.0
    # Time zone of times in letters, of quiet hours, and of the hour below.
    time_zone: str = "UTC"
    # The conservation law is checked from its own sources once a day, when few calls come.
    law_hour: int = 3
    # … and counters of so many days before are held against their records.
    law_days: int = 4
    # Where the runbooks are, for links in letters; "" = below `console.public_url`.
    runbooks_url: str = ""


class Share(msgspec.Struct, frozen=True):
    """Counters of one line of business over a period."""

    good: int
    of: int


class Completeness(msgspec.Struct, frozen=True):
    """Recordings due of one line of business: stored, ended without one, and still in flight."""

    stored: int
    ended: int  # quarantined or lost
    waiting: int  # in flight, and no longer fresh


class Aged(msgspec.Struct, frozen=True):
    """The oldest call in a state; `count` calls are beyond the bound, as far as was looked.

    `age_ms` is 0 when no call is older than `looked_from_ms`.
    """

    age_ms: int
    lobs: frozenset[str] = frozenset()
    calls: tuple[str, ...] = ()
    count: int = 0


class Cause(msgspec.Struct, frozen=True):
    """An open incident; `lobs` are the lines of business that it touches, None: perhaps all."""

    kind: str
    key: str
    lobs: frozenset[str] | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of one look; a line of business that nothing tells is ""."""

    completeness: Mapping[str, Completeness] = {}
    streamed: Mapping[str, Share] = {}
    aged: Mapping[str, Aged] = {}
    parked: tuple[str, ...] = ()  # calls


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one figure says; between `bad` and `healed` it is neither."""

    key: str
    kind: str
    text: str
    bad: bool
    healed: bool
    severity: Severity = "warning"
    lobs: frozenset[str] | None = None
    calls: tuple[str, ...] = ()


class Judgement(msgspec.Struct, frozen=True):
    """Findings to open, or to add to, and keys to close with the reason."""

    open: tuple[Finding, ...]
    close: tuple[tuple[str, str], ...]


def judge(
    snapshot: Snapshot,
    objectives: Objectives,
    held: Sequence[Incident],
    causes: Sequence[Cause],
) -> Judgement:
    """What should be opened and closed now.

    `held` are the open incidents, `causes` the same with the lines of business that they touch.
    """
    open_keys = {incident.key for incident in held}
    known, found, opened = list(causes), [], []
    # What may explain another finding comes first; findings of this look explain as well.
    for listed in (_inside, _shares):
        for finding in listed(snapshot, objectives, tuple(known)):
            found.append(finding)
            if finding.bad and (finding.key in open_keys or not _explained(finding, known)):
                opened.append(finding)
                known.append(Cause(finding.kind, finding.key, finding.lobs))
    by_key = {finding.key: finding for finding in found}
    close = []
    for key in sorted(filter(is_ours, open_keys)):
        if key not in by_key:
            close.append((key, "there is nothing to judge any more"))
        elif by_key[key].healed:
            close.append((key, "healed"))
    return Judgement(tuple(opened), tuple(close))


def is_bad(snapshot: Snapshot, objectives: Objectives) -> bool:
    """Whether any figure is beyond its bound, whatever explains it."""
    return any(
        finding.bad for listed in (_inside, _shares) for finding in listed(snapshot, objectives, ())
    )


def is_ours(key: str) -> bool:
    """Whether the incident of this key is opened and closed here, and nowhere else."""
    kind = key.partition(":")[0]
    return kind in _OUR_KINDS or key == PARKED_KEY


PARKED_KEY: Final = "step_parked:queue"
_OUR_KINDS: Final = frozenset({"completeness_low", "stream_share_low", "calls_stuck"})


def _inside(snapshot: Snapshot, objectives: Objectives, _: Sequence[Cause]) -> Iterable[Finding]:
    yield _parked(snapshot.parked)
    yield from _aged(snapshot.aged, objectives.state_age_s_max)


def _shares(
    snapshot: Snapshot, objectives: Objectives, causes: Sequence[Cause]
) -> Iterable[Finding]:
    yield from _completeness(snapshot.completeness, objectives, causes)
    yield from _streamed(snapshot.streamed, objectives)


# -- shares ---------------------------------------------------------------------------------------


def _completeness(
    figures: Mapping[str, Completeness], objectives: Objectives, causes: Sequence[Cause]
) -> Iterable[Finding]:
    least = objectives.completeness_min
    for lob, held in sorted(figures.items()):
        known = any(c.kind in HOLDS_UP and _touches(c, {lob}) for c in causes)
        missing = held.ended + (0 if known else held.waiting)
        due = held.stored + missing
        enough = objectives.completeness_calls_min
        if due < enough // 2:
            continue
        share = held.stored / due if due else 1.0
        text = (
            f"{lob or UNKNOWN_LOB}: {_percent(share)} of {due} recordings due in the last "
            f"{objectives.completeness_days} days are stored, {missing} are not; the objective is "
            f"{_percent(least)}"
        )
        far = 1 - share > _FAR_BELOW * (1 - least)
        yield Finding(
            key=f"completeness_low:{lob or UNKNOWN_LOB}",
            kind="completeness_low",
            text=text,
            bad=due >= enough and share < least,
            healed=share >= least + _BACK * (1 - least) - _ROUNDING,
            severity="critical" if far else "warning",
            lobs=frozenset({lob}),
        )


def _streamed(figures: Mapping[str, Share], objectives: Objectives) -> Iterable[Finding]:
    least, enough = objectives.streamed_share_min, objectives.streamed_calls_min
    for lob, held in sorted(figures.items()):
        if held.of < enough // 2:
            continue
        share = held.good / held.of if held.of else 1.0
        text = (
            f"{lob or UNKNOWN_LOB}: the stream delivered {_percent(share)} of the {held.of} "
            f"recordings of the last {objectives.streamed_days} days; at least "
            f"{_percent(least)} is normal"
        )
        yield Finding(
            key=f"stream_share_low:{lob or UNKNOWN_LOB}",
            kind="stream_share_low",
            text=text,
            bad=held.of >= enough and share < least,
            healed=share >= least + _BACK * (1 - least) - _ROUNDING,
            lobs=frozenset({lob}),
        )


# -- ages -----------------------------------------------------------------------------------------


def _aged(figures: Mapping[str, Aged], bounds: StateAges) -> Iterable[Finding]:
    for state, words in STATES.items():
        held = figures.get(state)
        bound_ms = bound_of(bounds, state)
        if held is None or bound_ms <= 0:
            continue
        text = (
            f"The oldest call that is {words} has been so for {_span(held.age_ms)}; "
            f"the bound is {_span(bound_ms)}"
        )
        if held.count > 1:
            text = f"{text}. {held.count} calls are beyond it"
        yield Finding(
            key=f"calls_stuck:{state}",
            kind="calls_stuck",
            text=text,
            bad=held.age_ms > bound_ms,
            healed=held.age_ms <= (1 - _BACK) * bound_ms,
            severity="critical" if held.age_ms > _FAR_BEYOND * bound_ms else "warning",
            lobs=held.lobs or None,
            calls=held.calls,
        )


def bound_of(bounds: StateAges, state: str) -> int:
    """The bound of a state in ms; 0: it is not watched."""
    return int(getattr(bounds, state) * 1000)


def looked_from_ms(bounds: StateAges, state: str) -> int:
    """The age from which calls must be looked at: below it a finding is healed."""
    return int((1 - _BACK) * bound_of(bounds, state))


def _parked(calls: tuple[str, ...]) -> Finding:
    text = f"{len(calls)} calls were tried too often, each time by a worker that died"
    return Finding(
        key=PARKED_KEY, kind="step_parked", text=text, severity="critical",
        bad=bool(calls), healed=not calls, calls=calls,
    )  # fmt: skip


# -- what explains what ---------------------------------------------------------------------------


def _explained(finding: Finding, causes: Sequence[Cause]) -> bool:
    kinds = EXPLAINED_BY.get(finding.key) or EXPLAINED_BY.get(finding.kind) or frozenset()
    return any(cause.kind in kinds and _touches(cause, finding.lobs) for cause in causes)


def _touches(cause: Cause, lobs: Collection[str] | None) -> bool:
    return cause.lobs is None or lobs is None or not cause.lobs.isdisjoint(lobs)


# -- words ----------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    """Never rounded up to a bound that it misses: cut, not rounded."""
    return f"{int(share * 10_000 + 1e-6) / 100:g} %"


def _span(duration_ms: int) -> str:
    if duration_ms >= 2 * DAY_MS:
        return f"{duration_ms / DAY_MS:.1f} days"
    if duration_ms >= 2 * HOUR_MS:
        return f"{duration_ms / HOUR_MS:.1f} h"
    return f"{duration_ms // MINUTE_MS} min"


# -- the section ----------------------------------------------------------------------------------


def lacking(objectives: Duty) -> list[str]:
    """What is out of range, in sentences that name the key."""
    found = [f"`alerts.{key}` {must}" for key, must in _must(objectives)]
    if bad := unknown_zone(objectives.time_zone):
        found.append(f"`alerts.time_zone`: {bad}")
    for key in ("completeness_min", "streamed_share_min"):
        if not 0 <= getattr(objectives, key) <= 1:
            found.append(f"`alerts.{key}` is a share: 0 to 1.")
    for key in ("completeness_days", "streamed_days"):
        if not 1 <= getattr(objectives, key) <= PERIOD_DAYS_MAX:
            found.append(f"`alerts.{key}` must be 1 to {PERIOD_DAYS_MAX}.")
    for key in ("completeness_calls_min", "streamed_calls_min"):
        if getattr(objectives, key) < 1:
            found.append(f"`alerts.{key}` must be at least 1.")
    if objectives.completeness_after_s < 0:
        found.append("`alerts.completeness_after_s` must not be negative.")
    for state in STATES:
        if getattr(objectives.state_age_s_max, state) < 0:
            found.append(f"`alerts.state_age_s_max.{state}` must not be negative; 0 is never.")
    return found


def _must(duty: Duty) -> Iterable[tuple[str, str]]:
    if duty.every_s < EVERY_S_MIN:
        yield "every_s", f"must be at least {EVERY_S_MIN:g}."
    if duty.remind_hours < 0:
        yield "remind_hours", "must not be negative; 0 is never."
    if not 0 <= duty.law_hour <= 23:
        yield "law_hour", "is an hour of the day: 0 to 23."
    if not 0 <= duty.law_days <= PERIOD_DAYS_MAX:
        yield "law_days", f"must be 0 to {PERIOD_DAYS_MAX}."
    if duty.runbooks_url and not duty.runbooks_url.startswith(("https://", "http://")):
        yield "runbooks_url", "must begin with https:// (or http://)."


# A look reads a few hundred small items; more often than this it would be load, not care.
EVERY_S_MIN: Final = 1.0
# A month: counters are read once per line of business and day, at every look.
PERIOD_DAYS_MAX: Final = 31
