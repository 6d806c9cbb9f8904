"""The one door of facts and of audio; streamed and exported recordings enter alike.

Order of effects: audio durable in landing → journal → record → queue → answer. A crash between
any two leaves nothing acknowledged undone: the sender repeats what it has no answer for, and what
was journalled is in the pending index, from which detection takes it up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import msgspec

from ocp_ingest import tracing
from ocp_ingest.core import events as ev
from ocp_ingest.core.audio import AudioParser
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Conflict, Invalid, TooLarge
from ocp_ingest.core.events import Source
from ocp_ingest.core.lifecycle import usable, works
from ocp_ingest.core.limits import MIB, RECORDING_VERSIONS_MAX
from ocp_ingest.core.recording import Name, correlate
from ocp_ingest.core.settings import LANDING
from ocp_ingest.core.vendor import Context, Parsed, parse, said_group
from ocp_ingest.ingest import tell
from ocp_ingest.ingest.pipeline import STEPS
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import Appended, Landed, Upload


class TakenEvent(msgspec.Struct, frozen=True):
    """What became of one vendor message."""

    call_id: str | None
    event_id: str | None
    message_type: str
    new: bool


class TakenRecording(msgspec.Struct, frozen=True):
    """What became of one recording."""

    call_id: str
    dialog_id: str
    sha256: str
    bytes: int
    new: bool
    result: Literal["received", "already_received", "superseding", "conflict"]


class Refusal(msgspec.Struct, frozen=True):
    """A message that can't be taken, why, and as it came."""

    index: int
    error: Invalid
    raw: bytes


async def events(
    world: World, messages: Sequence[tuple[object, bytes]], context: Context,
    refused: Sequence[Refusal] = (),
) -> list[TakenEvent]:  # fmt: skip
    """Takes decoded vendor messages with their raw bytes; they are durable when it returns.

    `refused` are messages of the same request that could not even be decoded. Raises Invalid for
    the first bad message, naming index and field, AFTER the good ones were taken (`ids["new"]`,
    `ids["accepted"]`): a sender never repeats what got a 4xx, so one bad message must not cost its
    neighbours. Every bad one is kept as evidence. Unknown types are no error: kept and counted.
    """
    parsed: list[tuple[bytes, Parsed]] = []
    bad = list(refused)
    undecoded = {refusal.index for refusal in refused}
    places = (i for i in range(len(messages) + len(refused)) if i not in undecoded)
    for index, (body, raw) in zip(places, messages, strict=True):
        try:
            parsed.append((raw, parse(body, raw, world.settings.vendor, context)))
        except Invalid as error:
            bad.append(Refusal(index, error, raw))
    for refusal in bad:
        await world.evidence.keep("event", refusal.error.text, refusal.raw, context.received_at_ms)
    taken = await _append(world, parsed, context)
    if bad:
        raise _refusal(bad, taken)
    return taken


def _refusal(bad: list[Refusal], taken: Sequence[TakenEvent]) -> Invalid:
    first = min(bad, key=lambda refusal: refusal.index)
    total = len(bad) + len(taken)
    text = first.error.text
    if total > 1:
        text = f"Event {first.index}: {text} {len(bad)} of {total} events were refused."
    return type(first.error)(
        text, index=first.index, accepted=len(taken), new=sum(t.new for t in taken),
        refused=len(bad),
    )  # fmt: skip


async def _append(
    world: World, parsed: Sequence[tuple[bytes, Parsed]], context: Context
) -> list[TakenEvent]:
    began_ns = tracing.clock_ns()
    unknown: dict[str, int] = {}
    for raw, found in parsed:
        if not found.known:
            name = f"unknown_type:{found.message_type[:64]}"
            unknown[name] = unknown.get(name, 0) + 1
            if found.event is None:
                await world.evidence.keep(
                    "unknown_type", "It names no call.", raw, context.received_at_ms
                )
    if unknown:
        await world.evidence.count(unknown)
    wanted = [found.event for _, found in parsed if found.event is not None]
    appended = iter(await world.calls.append(wanted) if wanted else [])
    taken = []
    for _, found in parsed:
        if found.event is None:
            taken.append(TakenEvent(None, None, found.message_type, True))
            continue
        done = next(appended)
        await _wake(world, done)
        taken.append(
            TakenEvent(done.event.call_id, done.event.event_id, found.message_type, done.new)
        )
    tracing.spans("event.intake", began_ns, ((t.call_id, _traced(t)) for t in taken if t.call_id))
    return taken


def _traced(taken: TakenEvent) -> dict[str, tracing.Attribute]:
    return {"message_type": taken.message_type[:64], "new": taken.new}


async def recording(
    world: World,
    name: Name,
    chunks: AsyncIterator[bytes | memoryview],
    *,
    source: Source,
    expected_bytes: int | None = None,
    expected_sha256: str | None = None,
    context: Context | None = None,
) -> TakenRecording:
    """Takes one recording as a stream, once; the bytes are durable when it returns.

    `context` says the OCP group of a recording whose call nothing else speaks of yet.
    Raises Invalid (no usable name, length or checksum other than announced), TooLarge, and
    Conflict when another recording of that dialog is already here and not known to be bad: both
    are kept, and the conflict is an incident.
    """
    # Before the first byte: a recording without a usable name is not worth its transfer.
    await whose(world, name)
    arrival = await Arrival.begin(world, expected_bytes, expected_sha256)
    try:
        async for chunk in chunks:
            await arrival.feed(chunk)
        return await arrival.finish(name, source, context)
    except BaseException:
        await arrival.abort()
        raise


async def whose(world: World, name: Name) -> tuple[str, str]:
    """The call id and dialog id of a recording. Raises Invalid when it has no usable name."""
    hint = name.dialog_id
    call_of = await world.calls.call_of("dialog", hint) if hint else None
    return correlate(name, call_of, world.settings.name_group_is)


class Arrival:
    """A recording on its way in, fed block by block; for doors that learn its name last.

    Either `finish` or `abort` ends it; before `finish` nothing of it can be seen, and after an
    error in `finish` `abort` is still right.
    """

    def __init__(
        self, world: World, upload: Upload, expected_bytes: int | None, expected_sha256: str | None
    ) -> None:
        self._world = world
        self._upload = upload
        self._expected_bytes = expected_bytes
        self._expected_sha256 = expected_sha256
        self._door = AudioParser(hash=False, content=False)
        self._bytes_max = world.settings.limits.recording_bytes_max
        self._committed = False
        self._began_ns = tracing.clock_ns()
        self.bytes = 0

    @classmethod
    async def begin(
        cls, world: World, expected_bytes: int | None = None, expected_sha256: str | None = None
    ) -> Arrival:
        """Opens an upload. Raises TooLarge when more is announced than may come."""
        limit = world.settings.limits.recording_bytes_max
        if expected_bytes is not None and expected_bytes > limit:
            raise _too_large(limit)
        upload = await world.recordings.begin()
        return cls(world, upload, expected_bytes, expected_sha256)

    async def feed(self, chunk: bytes | memoryview) -> None:
        """Takes the next bytes. Raises TooLarge over the bound."""
        self.bytes += len(chunk)
        if self.bytes > self._bytes_max:
            raise _too_large(self._bytes_max)
        self._door.feed(chunk)
        await self._upload.write(chunk)

    async def finish(
        self, name: Name, source: Source, context: Context | None = None
    ) -> TakenRecording:
        """Makes it durable and files it under its call. Raises as `recording` does."""
        # A sender can send it again; an export's empty file is what OCP has, and gets a verdict.
        if self.bytes == 0 and source == "stream":
            raise Invalid("The body is empty: send the recording's bytes.")
        if self._expected_bytes is not None and self.bytes != self._expected_bytes:
            raise Invalid(
                f"The body has {self.bytes} bytes, announced were {self._expected_bytes}: "
                "send it again whole."
            )
        call_id, dialog_id = await whose(self._world, name)
        landed = await self._upload.commit()
        self._committed = True
        expected = self._expected_sha256
        if expected is not None and landed.sha256 != expected.lower():
            await self._world.recordings.delete(LANDING, landed.key)
            raise Invalid("The body's SHA-256 differs from the announced one: send it again.")
        container = self._door.finish().container
        return await _record(
            self._world, name, (call_id, dialog_id), landed,
            container=container, source=source, context=context, began_ns=self._began_ns,
        )  # fmt: skip

    async def abort(self) -> None:
        """Forgets what came; never raises. After the bytes became durable it does nothing."""
        if not self._committed:
            await self._upload.abort()


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The recording is larger than {limit // MIB} MiB, the configured bound.")


async def _record(
    world: World, name: Name, ids: tuple[str, str], landed: Landed, *, container: str,
    source: Source, context: Context | None, began_ns: int,
) -> TakenRecording:  # fmt: skip
    call_id, dialog_id = ids
    await _check_versions(world, call_id, dialog_id, landed)
    event = ev.received(
        call_id, dialog_id, landed.sha256,
        at_ms=world.clock.now_ms(), source=source, size_bytes=landed.bytes,
        landing_key=landed.key, name=name.text, name_parts=name.parts(), container=container,
        ocp_group=said_group(None, context) if context is not None else None,
    )  # fmt: skip
    [done] = await world.calls.append([event])
    if not done.new and done.event.data["landing_key"] != landed.key:
        done = await _again(world, done, dialog_id, landed, source)
    result = _result(done, dialog_id, landed.sha256)
    if result == "conflict":
        await _open_conflict(world, call_id)
    await _wake(world, done)
    taken = TakenRecording(call_id, dialog_id, landed.sha256, landed.bytes, done.new, result)
    span = "recording.intake" if source == "stream" else "export.downloaded"
    tracing.spans(span, began_ns, [(call_id, {"bytes": landed.bytes, "result": result})])
    if result == "conflict":
        raise Conflict(
            "Another recording of this dialog was received before. Both are kept; do not send "
            "this one again.",
            call_id=call_id,
            sha256=landed.sha256,
        )
    return taken


async def _check_versions(world: World, call_id: str, dialog_id: str, landed: Landed) -> None:
    """Raises Conflict for one more recording of a dialog that has too many different ones."""
    call = await world.calls.load(call_id)
    recording = call.recordings.get(dialog_id) if call is not None else None
    if recording is None or landed.sha256 in recording.versions:
        return
    if len(recording.versions) < RECORDING_VERSIONS_MAX:
        return
    reason = f"The dialog has {RECORDING_VERSIONS_MAX} different recordings already."
    said = f"{call_id} {dialog_id} {landed.sha256} {landed.bytes}".encode()
    await world.evidence.keep("recording", reason, said, world.clock.now_ms())
    await _open_conflict(world, call_id)
    await world.recordings.delete(LANDING, landed.key)
    raise Conflict(f"{reason} This one was not kept; do not send it again.", call_id=call_id)


async def _again(
    world: World, done: Appended, dialog_id: str, landed: Landed, source: Source
) -> Appended:
    """The same bytes were received before: they replace a copy that was lost, or are not needed."""
    recording = done.call.recordings[dialog_id]
    at_hand = recording.versions[landed.sha256].at_hand
    # Seen, not believed: bytes whose receiver died before it told the record were swept since.
    needless = recording.stored is not None or (
        at_hand and await world.recordings.head(LANDING, at_hand) is not None
    )
    if needless:
        await world.recordings.delete(LANDING, landed.key)
        return done
    event = ev.relanded(
        done.call.call_id, dialog_id, landed.sha256,
        at_ms=world.clock.now_ms(), landing_key=landed.key, source=source,
    )  # fmt: skip
    return (await world.calls.append([event]))[0]


def _result(
    done: Appended, dialog_id: str, sha256: str
) -> Literal["received", "already_received", "superseding", "conflict"]:
    versions = done.call.recordings[dialog_id].versions
    mine = versions[sha256]
    order = (mine.received_at_ms, sha256)
    # A new one meets all that are here, even of the same millisecond: of two senders at once, the
    # later append is told of the conflict. A repeat meets those that count before it.
    before = [
        version for sha, version in versions.items()
        if sha != sha256 and version.received_at_ms
        and (done.new or (version.received_at_ms, sha) < order)
    ]  # fmt: skip
    if any(usable(done.call, version, dialog_id) is not False for version in before):
        return "conflict"
    if not done.new:
        return "already_received"
    return "superseding" if before else "received"


async def _open_conflict(world: World, call_id: str) -> None:
    text = "Different recordings arrived for one dialog; both are kept, the first counts."
    await tell.people(world, "recording_conflict", text, calls=[call_id])


async def _wake(world: World, done: Appended) -> None:
    """Puts the call into the queue when our own pipeline has something to do for it now."""
    # A repeat wakes it too: the one who journalled it first may have died before waking anybody.
    if needs_step(world, done.call):
        await tell.workers(world, done.call.call_id)


def needs_step(world: World, call: Call) -> bool:
    """Whether a step of the pipeline, not of reconciliation, could be done for the call."""
    if not call.recordings:
        return False  # most events: all of our own steps are about a recording
    policy = world.settings.policy
    return any(w.action in STEPS and w.code != "awaits_cdr" for w in works(call, policy))


def describe(taken: Sequence[TakenEvent]) -> dict[str, Any]:
    """The answer to a sender of events."""
    return {
        "accepted": len(taken),
        "new": sum(t.new for t in taken),
        "duplicates": sum(not t.new for t in taken),
    }
