"""Finds one version of a recording in the stores, and who may have it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Final
from urllib.parse import unquote

import msgspec

from ocp_ingest.core.call import Call, Version
from ocp_ingest.core.errors import NotFound
from ocp_ingest.core.places import Whereabouts, whereabouts
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.page import Visit, call_url
from ocp_ingest.ports import RecordingStore

_IDENT_CHARS: Final = 12  # 48 bits: never the same by chance on one page


class Held(msgspec.Struct, frozen=True):
    """Where bytes really are now, and how many."""

    place: Whereabouts
    bytes: int


class Asked(msgspec.Struct, frozen=True):
    """One version of a recording that a visitor asked for and may know of."""

    call: Call
    dialog_id: str
    sha256: str
    version: Version

    @property
    def ident(self) -> str:
        """For elements of a page: the same bytes may be the recording of two dialogs."""
        return sha256(f"{self.dialog_id}\0{self.sha256}".encode()).hexdigest()[:_IDENT_CHARS]

    def url(self, *more: str, **query: str) -> str:
        """An address below this version."""
        ids = ("recordings", self.dialog_id, self.sha256)
        return call_url(self.call.call_id, *ids, *more, **query)


async def asked_for(
    console: Console, visit: Visit, call_id: str, dialog_id: str, digest: str
) -> Asked:
    """The version; ids as they stand in the path. Raises NotFound for unknown and others' alike."""
    call = await console.load(visit, unquote(call_id))
    dialog, sha = unquote(dialog_id), unquote(digest)
    recording = call.recordings.get(dialog)
    version = recording.versions.get(sha) if recording is not None else None
    if version is None:
        raise NotFound("There is no such recording.", say="call.audio.none")
    return Asked(call, dialog, sha, version)


async def find(
    store: RecordingStore, call: Call, dialog_id: str, digest: str
) -> AsyncIterator[Held]:
    """Where the bytes are, the likeliest place first; nothing when they are nowhere any more."""
    for place in whereabouts(call, dialog_id, digest):
        there = await store.head(place.bucket, place.key)
        if there is not None:
            yield Held(place, there.bytes)


async def found(console: Console, asked: Asked) -> Held:
    """The first that `find` gives. Raises NotFound when the bytes are nowhere any more."""
    store = console.desk.world.recordings
    async for held in find(store, asked.call, asked.dialog_id, asked.sha256):
        return held
    raise NotFound("The bytes are not here any more.", say="call.audio.gone")
