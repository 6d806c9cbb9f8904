"""What one action would do to one call, before and when it is done to many.

What is done is what core.possible offers for the call; this says why it is not done to others:

retry         unknown, finished
reopen        unknown, open, stored
release       unknown, stored, nothing_held, sound
mark_absent   unknown, has_outcome, has_recording

The runner adds `gone` (there is no such call) and `other_lob` (it belongs to a line of business
that whoever ordered it does not see, at the moment when it would be done).
"""

from __future__ import annotations

from typing import Final

from ocp_ingest.core.call import Call
from ocp_ingest.core.lifecycle import CallPolicy, outcome
from ocp_ingest.core.possible import POSSIBLE, Action, possible_actions

BulkAction = Action
BULK_ACTIONS: Final = POSSIBLE

# code -> why an action is not done to a call, for those who read the results outside the console.
WHY_NOT: Final[dict[str, str]] = {
    "unknown": "only messages of unknown types speak of this call",
    "finished": "the call needs no more work: there is nothing to retry",
    "open": "the call is open already",
    "stored": "the recording is stored already",
    "nothing_held": "no bytes of a recording are here that could be released",
    "sound": "no recording of the call was refused: there is nothing to release",
    "has_outcome": "the call has an outcome already; reopen it first",
    "has_recording": "a recording of the call is here and is being processed",
    "gone": "there is no such call here",
    "other_lob": "the call belongs to another line of business now",
}

# What became of an item.
BULK_RESULTS: Final = ("done", "skipped", "failed")


def why_not(call: Call, action: BulkAction, policy: CallPolicy) -> str:
    """A code of WHY_NOT when the action would not be done to the call, else ""."""
    if any(offer.action == action for offer in possible_actions(call, policy)):
        return ""
    if not call.evidenced:
        return "unknown"
    done = outcome(call, policy)
    match action:
        case "retry":
            return "finished"
        case "reopen":
            return "open" if done is None else "stored"
        case "release":
            return _why_not_released(call)
        case "mark_absent":
            return "has_recording" if done is None else "has_outcome"


def _why_not_released(call: Call) -> str:
    if call.root.stored is not None:
        return "stored"
    held = any(v.at_hand for r in call.recordings.values() for v in r.versions.values())
    return "sound" if held else "nothing_held"
