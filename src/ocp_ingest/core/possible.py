"""What a person may usefully do to a call now. What is offered here is never refused.

action        offered when
retry         work is open: the next step is tried at once, without waiting for its time
reopen        the call is closed without a stored recording: OCP is asked and all is judged anew
mark_absent   nothing is decided and no recording is here that may still be good
release       a recording is here, not stored, and was judged unusable (or its call is denied by
              OCP): it is accepted as it is; one offer for each such dialog
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ocp_ingest.core.call import Call
from ocp_ingest.core.lifecycle import CallPolicy, current, outcome, works

Action = Literal["retry", "reopen", "mark_absent", "release"]
POSSIBLE: Final[tuple[Action, ...]] = ("retry", "reopen", "mark_absent", "release")


class Possible(msgspec.Struct, frozen=True):
    """One offer; `dialog_id` is whose recording would be released."""

    action: Action
    dialog_id: str = ""


def possible_actions(call: Call, policy: CallPolicy) -> tuple[Possible, ...]:
    """The offers for a call, in the order of POSSIBLE."""
    done = outcome(call, policy)
    found: list[Possible] = []
    if works(call, policy):
        found.append(Possible("retry"))
    if done is not None and done.outcome != "stored":
        found.append(Possible("reopen"))
    if done is None and call.evidenced and current(call, call.root_dialog_id) is None:
        found.append(Possible("mark_absent"))
    closed = done is not None and done.outcome == "quarantined"
    return (*found, *(Possible("release", d) for d in _releasable(call, closed)))


def _releasable(call: Call, closed: bool) -> list[str]:
    """Dialogs whose recording is here, was judged unusable, and goes nowhere by itself."""
    found = []
    for dialog_id, recording in sorted(call.recordings.items()):
        here = any(v.received_at_ms and v.at_hand for v in recording.versions.values())
        refused = current(call, dialog_id) is None
        # A call that OCP denies is closed with its recording never judged.
        denied = closed and dialog_id == call.root_dialog_id
        if here and recording.stored is None and (refused or denied):
            found.append(dialog_id)
    return found
