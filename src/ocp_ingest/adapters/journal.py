"""What every CallStore does alike, as pure functions: identity, derived columns, cursors.

Rules
1. An event whose id is new is taken. Under an id that is held, the held event stands; a vendor
   message with another body is kept beside it as a variant, up to EVENT_VARIANTS_MAX of them.
2. The columns of the index are derived from the record, the policy and the routing rules, never
   set by hand; where one of the latter changes, they are derived anew (`Deriving.mark`).
3. A look-up id belongs to the call whose message about it is the earliest, then to the smaller
   call id: the same in any order of arrival.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from ocp_ingest.core import counting
from ocp_ingest.core.call import Call, Closing, Recording
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.events import KINDS, VENDOR_KINDS, Event, canonical_hash, variant_of
from ocp_ingest.core.lifecycle import (
    DENIED,
    CallPolicy,
    closing,
    current,
    ended,
    next_work,
    stage,
    start_ms,
)
from ocp_ingest.core.limits import EVENT_VARIANTS_MAX
from ocp_ingest.core.routing import UNASSIGNED, Rule, fact, facts_of, route
from ocp_ingest.core.settings import Settings
from ocp_ingest.core.view import problems, shown

# Kinds after which a call counts as started: all but what only people or we say about it.
EVIDENCE_KINDS: Final = frozenset(KINDS) - {
    "other", "closed", "given_up", "retried", "reopened", "released", "accessed",
}  # fmt: skip

# The durable counter of variants that were over the bound and not kept.
VARIANTS_REFUSED: Final = "journal.variants_refused"

_CURSOR_TAG_BYTES: Final = 6  # tells a cursor of ours from any other text


# Codes by which one call can be found; a recording has a handful, and a bad day two dozen.
PROBLEMS_MAX: Final = 16

# Decisions of the routing rules that are remembered: of a hundred entry points, a thousand.
_KNOWN_MAX: Final = 4_096

# Of what `derive`, `problem_codes` and core.counting.standing say of a record: to be raised with
# every change of them, so that columns and counters of older programs are derived anew.
_DERIVATION: Final = 4


@dataclass(frozen=True, slots=True)
class Deriving:
    """What the index columns of a record depend on besides the record."""

    policy: CallPolicy = field(default_factory=CallPolicy)
    routing: tuple[Rule, ...] = ()
    _facts: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _known: dict[tuple[str | None, ...], str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_facts", facts_of(self.routing))
        object.__setattr__(self, "_known", {})

    @classmethod
    def of(cls, settings: Settings) -> Deriving:
        """As a site is configured."""
        return cls(settings.policy, settings.routing)

    @property
    def mark(self) -> str:
        """A text that differs where columns may differ."""
        said = [msgspec.to_builtins(self.policy), msgspec.to_builtins(self.routing)]
        return canonical_hash([_DERIVATION, *said])

    def lob_of(self, call: Call) -> str:
        """The line of business: pinned, else by the routing rules as they are now, else ""."""
        place = call.root.routed or call.root.stored
        if place is not None:
            return place.lob
        # A call is derived at each of its events, and rules ask for few facts of few values.
        facts = tuple([fact(call, name) for name in self._facts])
        found = self._known.get(facts)
        if found is None:
            lob = route(call, self.routing).lob
            found = "" if lob == UNASSIGNED else lob
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[facts] = found
        return found


class Row(msgspec.Struct, frozen=True):
    """The index columns of a record.

    `lob` is the pinned line of business, else what the routing rules give now, "" when they give
    none; `outcome` is "none" while work is open and "" while nothing is known of the call;
    `pend_at` is None when no work is open; `problems` are those of `problem_codes`.
    """

    ocp_group: str
    lob: str
    stage: str
    outcome: str
    started_at: int
    pend_at: int | None
    problems: tuple[str, ...] = ()


def derive(call: Call, deriving: Deriving) -> Row:
    """The index columns that a record has under a policy and routing rules."""
    policy = deriving.policy
    work = next_work(call, policy)
    done = None if work else ended(call)  # open work means that there is no outcome
    return Row(
        ocp_group=call.get("ocp_group") or "",
        lob=deriving.lob_of(call),
        stage=stage(call),
        outcome=done.outcome if done else ("none" if work else ""),
        started_at=start_ms(call),
        pend_at=work.at_ms if work else None,
        problems=problem_codes(call),
    )


def standing_of(call: Call, row: Row) -> counting.Standing | None:
    """What a record with these columns counts for."""
    return counting.standing(call, row.lob, row.started_at, row.pend_at is not None, row.outcome)


def problem_codes(call: Call) -> tuple[str, ...]:
    """What is wrong with a call, as codes, sorted: of its recordings as people are shown them
    (core.view), and why it was closed; at most PROBLEMS_MAX, errors before warnings.
    """
    if not call.recordings and not call.closings:
        return ()
    found = [
        problem for dialog_id, recording in call.recordings.items() if _has_problems(recording)
        for problem in problems(shown(call, dialog_id, recording)[1])
    ]  # fmt: skip
    found.sort(key=lambda problem: (problem["severity"] != "error", str(problem["code"])))
    held = _standing_closing(call)
    codes = dict.fromkeys([held.code] if held is not None and held.code else [])
    codes.update(dict.fromkeys(str(problem["code"]) for problem in found))
    return tuple(sorted(list(codes)[:PROBLEMS_MAX]))


def _has_problems(recording: Recording) -> bool:
    """Whether any version has one; most have none, and which one is shown takes long to say."""
    versions = recording.versions.values()
    return any(
        (v.report is not None and v.report.get("problems"))
        or any(verdict.problems for verdict in v.verdicts.values())
        for v in versions
    )


def _standing_closing(call: Call) -> Closing | None:
    """The closing that ended the call; void once its recording is, or may be, had after all."""
    held = closing(call)
    if held is None or call.root.stored is not None:
        return None
    hopeful = held.code != DENIED and current(call, call.root_dialog_id) is not None
    return None if hopeful else held


class Standing(msgspec.Struct, frozen=True):
    """Under which id an event stands: `new` when it is to be written, `refused` when it can't."""

    event: Event
    new: bool
    refused: bool = False


def settle(
    event: Event, find: Callable[[str], Event | None], variants: Callable[[str], int]
) -> Standing:
    """Rule 1. `find` gives the held event of an id, `variants` how many an id has."""
    held = find(event.event_id)
    if held is None:
        return Standing(event, True)
    if event.kind not in VENDOR_KINDS or held.body_hash == event.body_hash:
        return Standing(held, False)
    variant = variant_of(event)
    held_variant = find(variant.event_id)
    if held_variant is not None:
        return Standing(held_variant, False)
    if variants(event.event_id) >= EVENT_VARIANTS_MAX:
        return Standing(held, False, refused=True)
    return Standing(variant, True)


def variant_range(event_id: str) -> tuple[str, str]:
    """The ids of an event's variants lie from the first text to before the second."""
    return f"{event_id}~", f"{event_id}\x7f"


def journal_order(event: Event) -> tuple[int, str]:
    """By time of what they say; the id makes it total."""
    return event.at_ms, event.event_id


def cursor_of(started_at: int, call_id: str) -> str:
    """Where a page ended, as an opaque text."""
    payload = msgspec.json.encode([started_at, call_id])
    return base64.urlsafe_b64encode(_tag(payload) + payload).decode().rstrip("=")


def parse_cursor(cursor: str) -> tuple[int, str]:
    """The end of the page that gave a cursor. Raises Invalid for any other text."""
    try:
        whole = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        payload = whole[_CURSOR_TAG_BYTES:]
        if whole[:_CURSOR_TAG_BYTES] != _tag(payload):
            raise ValueError("not a cursor of ours")
        return msgspec.json.decode(payload, type=tuple[int, str])
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise Invalid("`cursor` is not one that this service gave: start without it.") from error


def _tag(payload: bytes) -> bytes:
    return hashlib.sha256(b"calls-page:" + payload).digest()[:_CURSOR_TAG_BYTES]
