"""Where the bytes of a recording may be now, the likeliest first; pure, so nothing is looked at.

A version is in the bucket of its line of business once stored (a copy that nobody proved yet does
not count), in the landing store until then, and in quarantine as well once it was found unusable.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ocp_ingest.core.call import Call, Version
from ocp_ingest.core.routing import quarantine_key
from ocp_ingest.core.settings import LANDING, QUARANTINE

Where = Literal["stored", "landing", "quarantine"]


class Whereabouts(msgspec.Struct, frozen=True):
    """One place where a version may be."""

    where: Where
    bucket: str
    key: str


def whereabouts(call: Call, dialog_id: str, sha256: str) -> tuple[Whereabouts, ...]:
    """The places of one version; () for one that never came."""
    recording = call.recordings.get(dialog_id)
    version = recording.versions.get(sha256) if recording is not None else None
    if recording is None or version is None:
        return ()
    found: list[Whereabouts] = []
    place = recording.stored
    if place is not None and place.sha256 == sha256:
        found.append(Whereabouts("stored", place.bucket, place.key))
    elif version.at_hand:
        found.append(Whereabouts("landing", LANDING, version.at_hand))
    if is_refused(version) and version.received_at_ms:
        key = quarantine_key(call.call_id, dialog_id, sha256, version.received_at_ms)
        found.append(Whereabouts("quarantine", QUARANTINE, key))
    return tuple(found)


def is_refused(version: Version) -> bool:
    """Whether inspection or any verdict found it unusable: then a copy went to quarantine."""
    problems = (version.report or {}).get("problems", ())
    broken = any(problem.get("severity") == "error" for problem in problems)
    return broken or any(not verdict.valid for verdict in version.verdicts.values())
