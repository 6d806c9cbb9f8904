"""The evidence pack of a call: what a third party checks offline, with openssl and sha256sum.

`pack` gives its files one after the other; `zipped` makes one ZIP of them. Whoever calls them
journals the access first: a pack holds a customer's voice and the vendor's messages as they came.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from ocp_ingest.core.calendar import rfc3339, to_datetime
from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.errors import NotFound
from ocp_ingest.core.events import Event, canonical_bytes
from ocp_ingest.core.places import whereabouts
from ocp_ingest.core.proof import ZERO, Link, encoded, entry_of, link_line
from ocp_ingest.core.statement import PACK
from ocp_ingest.core.vcon import Audio, vcon
from ocp_ingest.evidence.bundle import Bundle, File
from ocp_ingest.evidence.inclusion import Inclusion, include
from ocp_ingest.evidence.recipe import recipe
from ocp_ingest.evidence.verify_objects import Stored, stored_by
from ocp_ingest.evidence.world import Evidence

UrlOf = Callable[[str, str], str]  # bucket, key → where the object can be had
_PRETTY_INDENT: Final = 2


class Options(msgspec.Struct, frozen=True):
    """What goes into a pack: the audio itself, the vendor's raw messages."""

    audio: bool = True
    raw: bool = True


WHOLE: Final = Options()


def urn(bucket: str, key: str) -> str:
    """A name for an object that has no address."""
    return f"urn:ocp-ingest:{encoded(bucket)}:{encoded(key)}"


async def pack(
    evidence: Evidence, call_id: str, options: Options = WHOLE, url_of: UrlOf = urn
) -> AsyncIterator[File]:
    """The files of a call's pack. Each body is to be read before the next file is asked for.

    Events that are not sealed yet are linked in the pack as they will be. Raises NotFound for an
    unknown call, Damaged when the shelf does not say what the chain says, and Terminal when the
    journal can't be read; Transient.
    """
    events = {event.event_id: event for event in await evidence.world.calls.journal(call_id)}
    if not events:
        raise NotFound(f"There is no call {call_id} here.", call_id=call_id)
    links = await evidence.seals.chain(call_id)
    proof = await include(evidence.seals, evidence.shelf, links)
    ordered, lines = _chained(list(events.values()), links)
    bundle = Bundle()
    for name, body in _journal_files(ordered, options):
        yield bundle.file(name, body)
    listed, audio = list[str](), dict[str, Audio]()
    call = fold(call_id, ordered)
    async for file in _audio(evidence, call, ordered, bundle, options, url_of, listed, audio):
        yield file
    texts = {"chain.txt": b"".join(lines), **_seal_texts(proof)}
    for name, body in texts.items():
        yield bundle.file(name, body)
    if proof is not None:
        yield bundle.file("seal/statement.txt.sig", proof.day.signature)
        yield bundle.file("seal/key.pem", proof.day.public_key)
    yield bundle.file("audio.txt", "".join(listed).encode("ascii"))
    yield bundle.file("record.json", _json(call))
    now_ms = evidence.world.clock.now_ms()
    document = vcon(
        call, ordered, audio, texts, issuer=evidence.issuer, created_at_ms=now_ms,
        names=[f"{event_name(n)}.json" for n in range(1, len(ordered) + 1)],
    )  # fmt: skip
    yield bundle.file("vcon.json", _json(document))
    for name, body in recipe("pack").items():
        yield bundle.file(name, body)
    fields = {
        "issuer": evidence.issuer,
        "call": encoded(call_id),
        "made_at": str(rfc3339(evidence.real.now_ms())),
        "links": str(len(lines)),
        "last_link": hashlib.sha256(lines[-1]).hexdigest(),
        "sealed": str(len(links)),
        "proved": str(proof.tip.n if proof else 0),
    }
    async for file in bundle.signed(evidence, "pack.txt", PACK, fields):
        yield file


def event_name(number: int) -> str:
    """The file of an event without its ending."""
    return f"events/{number:05}"


def _chained(events: list[Event], links: list[Link]) -> tuple[list[Event], list[bytes]]:
    """Events in the order of their links, unsealed ones after them, and the lines of all links.

    An event that a link speaks of and that is gone leaves its line: the recipe will miss its file.
    """
    held = {event.event_id: event for event in events}
    sealed = {link.entry.event_id for link in links}
    ordered = [held[e] for link in links if (e := link.entry.event_id) in held]
    ordered += [event for event in events if event.event_id not in sealed]
    entries = [link.entry for link in links]
    entries += [entry_of(event) for event in events if event.event_id not in sealed]
    previous, lines = ZERO, []
    for n, entry in enumerate(entries, 1):
        lines.append(link_line(n, previous, entry))
        previous = links[n - 1].link if n <= len(links) else hashlib.sha256(lines[-1]).hexdigest()
    return ordered, lines


def _journal_files(events: list[Event], options: Options) -> list[tuple[str, bytes]]:
    found = []
    for number, event in enumerate(events, 1):
        found.append((f"{event_name(number)}.json", canonical_bytes(event)))
        if event.raw and options.raw:
            found.append((f"{event_name(number)}.raw", event.raw))
    return found


def _seal_texts(proof: Inclusion | None) -> dict[str, bytes]:
    if proof is None:
        return {}
    steps = "".join(f"{step.side} {step.other}\n" for step in proof.steps)
    return {
        "seal/leaf.txt": proof.leaf,
        "seal/proof.txt": steps.encode("ascii"),
        "seal/statement.txt": proof.day.statement,
    }


async def _audio(
    evidence: Evidence, call: Call, events: list[Event], bundle: Bundle, options: Options,
    url_of: UrlOf, listed: list[str], audio: dict[str, Audio],
) -> AsyncIterator[File]:  # fmt: skip
    """The call's objects; fills `listed` with audio.txt's lines, `audio` with what they are."""
    for number, event in enumerate(events, 1):
        for one in [*stored_by([event]), *_elsewhere(call, event)]:
            is_metadata = one.key.endswith(".json")
            name = f"{number:05}.{_ending(one)}"
            digest = hashlib.sha512()
            if options.audio or is_metadata:
                try:
                    blocks = evidence.world.recordings.read(one.bucket, one.key)
                    async for file in _object(bundle, f"audio/{name}", blocks, digest):
                        yield file
                except NotFound:
                    pass  # the recipe says that it is not there
            if one.sha256:
                field = "metadata_sha256" if is_metadata else "sha256"
                listed.append(f"{one.sha256} {name} {number:05} {field}\n")
            if not is_metadata:
                audio[one.sha256] = await _described(
                    evidence, one, url_of, name, digest if options.audio else None
                )


def _elsewhere(call: Call, event: Event) -> list[Stored]:
    """Where the bytes of a received recording are that are not stored: of a call still open, or
    in quarantine.
    """
    if event.kind != "received":
        return []
    places = whereabouts(call, event.data["dialog_id"], event.data["sha256"])
    return [
        Stored(place.bucket, place.key, event.data["sha256"])
        for place in places[-1:]
        if all(place.where != "stored" for place in places)
    ]


def _ending(one: Stored) -> str:
    """The ending of a file in the pack; objects of landing have none."""
    ending = one.key.rpartition("/")[2].rpartition(".")
    return ending[2] if ending[1] else "bin"


async def _object(
    bundle: Bundle, name: str, blocks: AsyncIterator[bytes], also: hashlib._Hash
) -> AsyncIterator[File]:
    """The file, once its first block is there. Raises NotFound before anything is given."""
    first = await anext(blocks, b"")

    async def all_blocks() -> AsyncIterator[bytes]:
        yield first
        async for block in blocks:
            yield block

    yield bundle.stream(name, all_blocks(), also)


async def _described(
    evidence: Evidence, one: Stored, url_of: UrlOf, name: str, digest: hashlib._Hash | None
) -> Audio:
    """What the vCon says of a recording; its SHA-512 is taken here where the audio is left out."""
    if digest is None:
        digest = hashlib.sha512()
        try:
            await evidence.world.recordings.scan(one.bucket, one.key, digest.update)
        except NotFound:
            return Audio(url_of(one.bucket, one.key), name)
    return Audio(url_of(one.bucket, one.key), name, digest.hexdigest())


def _json(value: dict[str, object] | Call) -> bytes:
    plain = msgspec.to_builtins(value, str_keys=True)  # epochs are numbers
    body = msgspec.json.encode(plain, order="sorted")
    return msgspec.json.format(body, indent=_PRETTY_INDENT) + b"\n"


# -- one ZIP ---------------------------------------------------------------------------------------


class _Sink:
    """Takes what zipfile writes; it can't seek, so sizes follow the data."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, block: bytes) -> int:
        self._held += block
        return len(block)

    def flush(self) -> None:
        """Nothing waits here."""

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = bytes(self._held)
        self._held.clear()
        return taken


async def zipped(files: AsyncIterator[File], at_ms: int) -> AsyncIterator[bytes]:
    """One ZIP of files, in blocks, never whole in memory; audio is not compressed again."""
    sink = _Sink()
    when = to_datetime(at_ms).timetuple()[:6]
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]  # a sink is enough
        async for file in files:
            info = zipfile.ZipInfo(file.name, when)
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as entry:
                async for block in file.body:
                    entry.write(block)
                    if taken := sink.take():
                        yield taken
    yield sink.take()
