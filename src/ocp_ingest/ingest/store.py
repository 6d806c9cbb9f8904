"""route → store: pin the place, copy, prove, say so.

The place is journalled before the copy, so a changed configuration never makes two objects; the
copy creates only, so nothing is ever overwritten; resuming is by evidence: an object already
there with the right hash is success.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from ocp_ingest.core import events as ev
from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.call import Call, Place, Version
from ocp_ingest.core.errors import Conflict, Damaged, NotFound, Terminal
from ocp_ingest.core.lifecycle import Work, start_ms
from ocp_ingest.core.routing import UNASSIGNED, object_key, route
from ocp_ingest.core.settings import LANDING
from ocp_ingest.ingest import tell
from ocp_ingest.ingest.postprocess import landing_lost
from ocp_ingest.ingest.world import World

_EXTENSIONS: Final = {"mp3": "mp3"}  # everything else that rules let pass is of the WAV family


async def pin(world: World, call: Call, work: Work) -> Call:
    """Journals line of business, bucket and key; the first decision stands for good."""
    version = call.recordings[work.dialog_id].versions[work.sha256]
    chosen = route(call, world.settings.routing)
    container = str((version.report or {}).get("container", ""))
    key = object_key(
        call.call_id, work.dialog_id, start_ms(call), _EXTENSIONS.get(container, "wav")
    )
    event = ev.routed(
        call.call_id, work.dialog_id, work.sha256,
        at_ms=world.clock.now_ms(), lob=chosen.lob, bucket=world.settings.bucket(chosen.lob),
        key=key, rule=chosen.rule,
    )  # fmt: skip
    if chosen.lob == UNASSIGNED:
        text = "Calls match no routing rule; add one."
        await tell.people(world, "unassigned", text, calls=[call.call_id])
    return (await world.calls.append([event]))[0].call


async def store(world: World, call: Call, work: Work) -> Call:
    """Copies the recording and its metadata to the pinned place, proves both, journals it.

    Raises Terminal when other bytes stand at the key; they are not touched.
    """
    recording = call.recordings[work.dialog_id]
    place = recording.routed
    assert place is not None, "store is only due for a routed recording"
    version = recording.versions[work.sha256]
    try:
        await world.recordings.copy_once(
            LANDING, version.at_hand, place.bucket, place.key, work.sha256
        )
    except (NotFound, Damaged) as gone:
        # What is gone may have been copied by an earlier try that died before it said so.
        if not await _stands(world, place, work.sha256):
            return await landing_lost(world, call, work, gone.text)
    except Conflict as conflict:
        text = "Another object stands at a recording's key."
        await tell.people(world, "object_conflict", text, calls=[call.call_id])
        raise Terminal(
            "Another object stands at the key of this recording; nothing was overwritten.",
            call_id=call.call_id,
            bucket=place.bucket,
        ) from conflict
    metadata = msgspec.json.encode(_metadata(call, work, version, place), order="sorted")
    beside = f"{place.key}.json"
    if await world.recordings.put_once(place.bucket, beside, metadata):
        metadata_sha256 = hashlib.sha256(metadata).hexdigest()
    else:  # one of an earlier try, when less was known of the call: it stands
        metadata_sha256 = await world.recordings.hash(place.bucket, beside)
    event = ev.stored(
        call.call_id, work.dialog_id, work.sha256,
        at_ms=world.clock.now_ms(), lob=place.lob, bucket=place.bucket, key=place.key,
        size_bytes=version.bytes, metadata_sha256=metadata_sha256,
    )  # fmt: skip
    done = (await world.calls.append([event]))[0].call
    # Only now are the bytes in two places; a crash before this leaves an orphan for the sweeper.
    await world.recordings.delete(LANDING, version.at_hand)
    return done


async def _stands(world: World, place: Place, sha256: str) -> bool:
    """Whether these very bytes, read back, are at the pinned place."""
    try:
        return await world.recordings.hash(place.bucket, place.key) == sha256
    except NotFound:
        return False


def _metadata(call: Call, work: Work, version: Version, place: Place) -> dict[str, Any]:
    report = {k: v for k, v in (version.report or {}).items() if k != "silent_runs"}
    return {
        "call_id": call.call_id,
        "dialog_id": work.dialog_id,
        "line_of_business": place.lob,
        "rule": place.rule,
        "sha256": work.sha256,
        "bytes": version.bytes,
        "name": version.name,
        "source": version.source,
        "received_at": rfc3339(version.received_at_ms),
        "call": {
            "started_at": rfc3339(call.get("call_started")),
            "ended_at": rfc3339(call.get("call_ended")),
            **{field: call.get(field) for field in _CALL_FIELDS},
        },
        "recording": report,
    }


_CALL_FIELDS: Final = (
    "duration_ms", "exit_status", "channel", "entry_app", "direction", "customer_id", "session_id",
    "connection_id", "account_id", "ocp_group", "result_codes",
)  # fmt: skip
