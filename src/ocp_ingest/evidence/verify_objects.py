"""verify, the objects: what a journal speaks of must be there, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Final
from urllib.parse import unquote

import msgspec

from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import NotFound
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import outcome
from ocp_ingest.core.places import whereabouts
from ocp_ingest.core.settings import LANDING, QUARANTINE
from ocp_ingest.evidence.findings import UNREADABLE, Class, Finding, twice
from ocp_ingest.evidence.world import Evidence

_PAGE: Final = 500


class Stored(msgspec.Struct, frozen=True):
    """An object that a journal speaks of."""

    bucket: str
    key: str
    sha256: str  # "" where the journal does not say it: of metadata of older programs
    bytes: int = 0  # 0 where it does not say it


def stored_by(events: Iterable[Event]) -> list[Stored]:
    """The objects that a journal says are stored, metadata included."""
    found = []
    for event in events:
        if event.kind == "stored":
            data = event.data
            place = data["bucket"], data["key"]
            found.append(Stored(*place, data["sha256"], data["bytes"]))
            beside = data.get("metadata_sha256", "")
            found.append(Stored(place[0], f"{place[1]}.json", beside))
    return found


async def objects_of(
    evidence: Evidence, call: Call, events: list[Event], fast: bool
) -> list[Finding]:
    """What is wrong with the objects of a call."""
    wanted = stored_by(events)
    if outcome(call, evidence.world.settings.policy) is None:
        # Until the call has its outcome, the bytes that are still to be judged must be there.
        wanted += [
            Stored(LANDING, version.at_hand, sha, version.bytes)
            for recording in call.recordings.values()
            if recording.stored is None
            for sha, version in recording.versions.items()
            if version.at_hand and version.received_at_ms
        ]
    wanted += _quarantined(call)
    found = [await _object(evidence, one, fast) for one in wanted]
    found += [await _reasons(evidence, call, *refused) for refused in _refused(call)]
    return [finding for finding in found if finding is not None]


def _refused(call: Call) -> list[tuple[str, str, str]]:
    """(dialog, hash, key) of each version that was validated and found unusable."""
    return [
        (dialog_id, sha, place.key)
        for dialog_id, recording in call.recordings.items()
        for sha, version in recording.versions.items()
        if any(not verdict.valid for verdict in version.verdicts.values())
        for place in whereabouts(call, dialog_id, sha)
        if place.where == "quarantine"
    ]


def _quarantined(call: Call) -> list[Stored]:
    """What is in quarantine; bytes that were lost before they could be copied there are not."""
    return [
        Stored(QUARANTINE, key, sha)
        for dialog_id, sha, key in _refused(call)
        if not call.recordings[dialog_id].versions[sha].lost
    ]


async def _reasons(
    evidence: Evidence, call: Call, dialog_id: str, sha: str, key: str
) -> Finding | None:
    """The reasons beside a quarantined recording are those of one of its verdicts."""
    version, subject = call.recordings[dialog_id].versions[sha], f"{QUARANTINE}/{key}.json"
    try:
        said = await _metadata(evidence, QUARANTINE, f"{key}.json")
    except NotFound:
        return Finding("missing", "object", subject, "The object is gone.")
    head = {"call_id": call.call_id, "dialog_id": dialog_id, "sha256": sha, "name": version.name}
    verdicts = [list(verdict.problems) for verdict in version.verdicts.values()]
    if said is not None and said in [{**head, "problems": problems} for problems in verdicts]:
        return None
    return Finding("differs", "object", subject, "The reasons are none of the journal's verdicts.")


async def _metadata(evidence: Evidence, bucket: str, key: str) -> dict[str, object] | None:
    """A small JSON object; None when it is none. Raises NotFound."""
    body = bytearray()
    async for block in evidence.world.recordings.read(bucket, key, 0, _METADATA_BYTES_MAX):
        body += block
    try:
        return msgspec.json.decode(bytes(body), type=dict[str, object])
    except UNREADABLE:
        return None


async def _object(evidence: Evidence, one: Stored, fast: bool) -> Finding | None:
    def bad(kind: Class, text: str) -> Finding:
        return Finding(kind, "object", f"{one.bucket}/{one.key}", text)

    store = evidence.world.recordings
    if one.sha256 and not fast:
        # The right hash is proof of everything; only what is wrong is looked at more closely.
        with contextlib.suppress(NotFound):
            if await store.hash(one.bucket, one.key) == one.sha256:
                return None
    held = await store.head(one.bucket, one.key)
    if held is None:
        return bad("missing", "The object is gone.")
    if one.bytes and held.bytes != one.bytes:
        return bad("differs", f"The object has {held.bytes} bytes, and had {one.bytes}.")
    if not one.sha256:
        return None
    if not fast:
        return bad("differs", "The object's bytes are others.")
    same = held.sha256 in ("", one.sha256)
    return None if same else bad("differs", "The hash noted on the object is another.")


async def one_object(evidence: Evidence, bucket: str, key: str) -> list[Finding]:
    """What is wrong with an object that was just listed, read back and hashed."""
    return await twice(lambda: _listed(evidence, bucket, key))


async def _listed(evidence: Evidence, bucket: str, key: str) -> list[Finding]:
    subject = f"{bucket}/{key}"
    call_id = await _call_of(evidence, bucket, key)
    events = [] if call_id is None else await evidence.world.calls.journal(call_id)
    for one in stored_by(events):
        if (one.bucket, one.key) == (bucket, key):
            finding = await _object(evidence, one, fast=False)
            return [] if finding is None else [finding]
    if key in await _places(evidence, bucket, key):
        return []  # on its way: pinned, and not proved yet
    return [Finding("extra", "object", subject, "No journal speaks of this object.")]


async def objects(evidence: Evidence) -> AsyncIterator[Finding]:
    """Every object of every bucket but landing: a journal must explain it."""
    buckets = [*evidence.world.settings.buckets().values(), QUARANTINE]
    for bucket in dict.fromkeys(buckets):
        after, last, places = "", "", frozenset[str]()
        while page := await evidence.world.recordings.list(bucket, after=after, limit=_PAGE):
            for held in page:
                folder = held.key.rpartition("/")[0]
                if folder != last:
                    last, places = folder, await _places(evidence, bucket, held.key)
                if held.key in places:
                    yield Finding("ok", "object", f"{bucket}/{held.key}")
                elif held.key not in await _places(evidence, bucket, held.key):
                    text = "No journal speaks of this object."
                    yield Finding("extra", "object", f"{bucket}/{held.key}", text)
            after = page[-1].key


async def _places(evidence: Evidence, bucket: str, key: str) -> frozenset[str]:
    """The keys that the call of an object has in a bucket; those that are only pinned too: its
    copy may be there before the journal says so.
    """
    call_id = await _call_of(evidence, bucket, key)
    call = None if call_id is None else await evidence.world.calls.load(call_id)
    if call is None:
        return frozenset()
    keys = {
        place.key
        for recording in call.recordings.values()
        for place in (recording.routed, recording.stored)
        if place is not None and place.bucket == bucket
    }
    if bucket == QUARANTINE:
        keys = {
            place.key
            for dialog_id, recording in call.recordings.items()
            for sha in recording.versions
            for place in whereabouts(call, dialog_id, sha)
            if place.where == "quarantine"
        }
    return frozenset(keys | {f"{key}.json" for key in keys})


async def _call_of(evidence: Evidence, bucket: str, key: str) -> str | None:
    """The call of an object, by its key; a long id is shortened there and whole in the metadata."""
    parts = key.split("/")
    if len(parts) != _KEY_PARTS:
        return None
    if "!" not in parts[3]:
        return unquote(parts[3])
    beside = key if key.endswith(".json") else f"{key}.json"
    try:
        said = await _metadata(evidence, bucket, beside)
    except NotFound:
        return None
    return None if said is None else str(said.get("call_id"))


_KEY_PARTS: Final = 5  # yyyy/mm/dd/<call>/<file>
_METADATA_BYTES_MAX: Final = 1_000_000  # a record's facts are a few KB
