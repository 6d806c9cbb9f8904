"""What every CallStore does alike, as pure functions: identity, derived columns, cursors.

Rules
1. An event whose id is new is taken. Under an id that is held, the held event stands; a vendor
   message with another body is kept beside it as a variant, up to EVENT_VARIANTS_MAX of them.
2. The columns of the index are derived from the record by core.lifecycle, never set by hand.
3. A look-up id belongs to the call whose message about it is the earliest, then to the smaller
   call id: the same in any order of arrival.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.events import KINDS, VENDOR_KINDS, Event, variant_of
from ocp_ingest.core.lifecycle import CallPolicy, next_work, outcome, stage, start_ms
from ocp_ingest.core.limits import EVENT_VARIANTS_MAX

# Kinds after which a call counts as started: all but what only people or we say about it.
EVIDENCE_KINDS: Final = frozenset(KINDS) - {
    "other", "closed", "given_up", "retried", "reopened", "released",
}  # fmt: skip

# The durable counter of variants that were over the bound and not kept.
VARIANTS_REFUSED: Final = "journal.variants_refused"

_CURSOR_TAG_BYTES: Final = 6  # tells a cursor of ours from any other text


class Row(msgspec.Struct, frozen=True):
    """The index columns of a record.

    `outcome` is "none" while work is open and "" while nothing is known of the call; `pend_at` is
    None when no work is open.
    """

    ocp_group: str
    lob: str
    stage: str
    outcome: str
    started_at: int
    pend_at: int | None


def derive(call: Call, policy: CallPolicy) -> Row:
    """The index columns that a record has under a policy."""
    work = next_work(call, policy)
    ended = None if work else outcome(call, policy)  # open work means that there is no outcome
    place = call.root.routed or call.root.stored
    return Row(
        ocp_group=call.get("ocp_group") or "",
        lob=place.lob if place else "",
        stage=stage(call),
        outcome=ended.outcome if ended else ("none" if work else ""),
        started_at=start_ms(call),
        pend_at=work.at_ms if work else None,
    )


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
