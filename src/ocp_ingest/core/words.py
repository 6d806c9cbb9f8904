"""What codes mean, in sentences for operators."""

from __future__ import annotations

from typing import Final

# Work.code -> why the work is open.
WHY: Final[dict[str, str]] = {
    "received": "The recording arrived and has not been measured yet.",
    "inspected": "The recording was measured and has not been validated yet.",
    "valid": "The recording is valid and its place has not been pinned yet.",
    "routed": "The recording's place is pinned and the copy has not been proved yet.",
    "awaits_cdr": "The recording is here; its call's CDRs are awaited.",
    "no_recording": "No recording arrived.",
    "bad_recording": "The recording that arrived is unusable; OCP may hold a better copy.",
    "no_cdr": "The recording can't be validated or the call closed without the missing CDRs.",
    "test_call": "OCP marked this as a test call; test calls have no recording.",
    "recording_off": "Whole call recording is off for this OCP group.",
    "too_short": "The call was shorter than the shortest that OCP records.",
    "bad_at_ocp": "OCP's own copy of the recording is unusable too.",
    "bad_and_retention_over": "OCP's retention is over and the recording at hand is unusable.",
    "unknown_to_ocp": "A recording arrived for a call that OCP's exports of its hours do not know.",
    "retention_over": "OCP's retention is over and no recording was had.",
    "cdr_retention_over": "OCP's retention is over and CDRs are still missing.",
}

# Work.action -> what happens next.
NEXT: Final[dict[str, str]] = {
    "inspect": "Measure the recording and check its integrity.",
    "validate": "Hold the recording against its call and the rules of its line of business.",
    "route": "Pin line of business, bucket and key.",
    "store": "Copy the recording to its bucket and prove the copy.",
    "close_absent": "Close the call as absent.",
    "close_quarantined": "Close the call as quarantined; the bytes are kept.",
    "close_lost": "Close the call as lost.",
    "give_up": "Go on without the missing CDRs.",
    "ask_export": "Ask OCP for what is missing, by an export job.",
}

# Act.kind -> what was done, and by whom.
ACTS: Final[dict[str, str]] = {
    "given_up": "The missing CDRs were given up",
    "retried": "{by} asked for the next try now",
    "reopened": "{by} reopened it",
    "released": "{by} released it from quarantine",
}

# What ask_export asks for.
NEEDS: Final[dict[str, str]] = {
    "audio": "the recording",
    "dialog_start": "CDR Start",
    "dialog_end": "CDR End",
}

FLAG_WORDS: Final[dict[str, str]] = {
    "call_started": "call started",
    "ivr_ended": "IVR ended",
    "call_ended": "call ended",
    "file_received": "file received",
    "post_processed": "post-processing completed",
    "stored": "copied to the bucket of its line of business",
}
