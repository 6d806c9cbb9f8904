"""What is fuzzed: every reader of others' bytes, each with its laws.

Laws of all of them
1. Only the documented errors leave a reader; anything else, an assertion too, is a finding.
2. How the bytes were cut into blocks changes nothing; of multipart, nothing that is well-formed.
3. Work is bounded by the size of the input: blocks asked for, and time (the caller's alarm).

A target takes bytes and says in a word or two what became of them: a fuzzer keeps inputs whose word
is new. Where it needs chance (places to cut at) the bytes decide, so that one file repeats one
finding.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import zlib
from collections.abc import Callable
from functools import cache
from random import Random

from ocp_ingest.adapters.ocp.answers import Answers, Asked
from ocp_ingest.adapters.ocp.failed import Unreadable
from ocp_ingest.adapters.ocp.settings import OcpSettings
from ocp_ingest.adapters.ocp.zip_reader import Archive, ZipBounds
from ocp_ingest.core.audio import AudioParser
from ocp_ingest.core.errors import Invalid, OcpIngestError
from ocp_ingest.core.limits import ID_CHARS_MAX, Limits
from ocp_ingest.core.recording import parse_name
from ocp_ingest.entrypoints.api.batch import split
from ocp_ingest.entrypoints.api.names import file_name
from ocp_ingest.entrypoints.api.unzip import Unzip
from tests.fuzz.doors import NAME, Sites, told

WORD_CHARS_MAX = 80  # the kind of an error is told in its first words
_VARIES = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|\([^)]*\)|\d+")
CUTS_MAX = 12  # places at which a body is cut; more find nothing new and cost time
BOUNDARY = b"b"
ZIP_BOUNDS = ZipBounds(entries_max=50, unpacked_bytes_max=1 << 22, member_bytes_max=1 << 20)
EVENTS = Limits(batch_events_max=50, event_bytes_max=4_096, batch_bytes_max=32_768)
_ASKED = Asked(from_ms=0, to_ms=1, types=("audio",), now_ms=2)


def cut(data: bytes) -> list[bytes]:
    """The bytes in blocks at places that the bytes themselves choose."""
    rng = Random(zlib.crc32(data))
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(CUTS_MAX)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def audio(data: bytes) -> str:
    """A recording: the report is the same whole and in blocks, and counts every byte."""
    word = ""
    for content in (True, False):
        whole, pieces = AudioParser(content=content), AudioParser(content=content)
        whole.feed(data)
        for block in cut(data):
            pieces.feed(memoryview(block))
        report = whole.finish()
        assert report == pieces.finish()
        assert report.bytes == len(data)
        assert 0 <= report.frames <= len(data) * 8 * 1152
        assert all(0 <= share <= 1 for share in report.channel_silence_share)
        word += " ".join([report.container, report.codec, *(p.code for p in report.problems), "|"])
    return word


def archive(data: bytes) -> str:
    """A ZIP: members within bounds, or an error in words."""
    try:
        opened = Archive(io.BytesIO(data), ZIP_BOUNDS)
    except OcpIngestError as bad:
        return plain(bad.text)
    unpacked, words = 0, {"opened"}
    assert len(opened.members) <= ZIP_BOUNDS.entries_max
    for member in opened.members:
        try:
            for block in opened.read(member):
                unpacked += len(block)
                assert unpacked <= ZIP_BOUNDS.unpacked_bytes_max
        except OcpIngestError as bad:
            words.add(plain(bad.text))
    return " ".join(sorted(words))


def plain(text: str) -> str:
    """A text without its numbers and quotations: the kind of an error."""
    return _VARIES.sub("", text)[:WORD_CHARS_MAX]


def sentence(text: str) -> str:
    """The kind of an error, which must be told in a sentence."""
    assert text.endswith(".")
    return plain(text)


@cache
def _sites() -> tuple[Sites, asyncio.Runner]:
    return Sites(), asyncio.Runner()


def _recording(data: bytes, content_type: bytes) -> str:
    sites, runner = _sites()
    headers = {
        b"content-type": content_type,
        b"content-disposition": b'attachment; filename="%s"' % NAME.encode(),
        b"content-length": str(len(data)).encode(),
    }
    outcomes = []
    for blocks in ([data], cut(data)):
        site = sites.site()
        answer = runner.run(sites.deliver(site, blocks, headers))
        said = told(answer)
        assert answer.status < 500, said
        assert site.open_uploads() == 0, "an upload was left open"
        assert site.read <= len(blocks) + 1
        landed = site.landed()
        assert (answer.status in (200, 201)) == bool(landed)
        outcomes.append((answer.status, said, sorted(landed.values())))
    (status, said, first), (other, _, second) = outcomes
    # Of a body that breaks its format, the blocks may decide which fault is seen, and whether:
    # the multipart parser lets a line feed alone pass where no block ends behind it. A body that
    # is taken both times is the same recording, and no fault of ours depends on blocks.
    if status in (200, 201) and other in (200, 201):
        assert first == second, "the blocks changed the recording"
    else:
        assert {status, other} <= {200, 201, 400, 413} or status == other
    assert status == other or content_type.startswith(b"multipart/")
    return f"{status} {plain(said.get('detail', ''))}"


def multipart(data: bytes) -> str:
    """A form, its boundary known."""
    return _recording(data, b"multipart/form-data; boundary=" + BOUNDARY)


def json_form(data: bytes) -> str:
    """A recording in JSON."""
    return _recording(data, b"application/json")


def events(data: bytes) -> str:
    """Events at the door: plain, and as if they were gzip (whole and cut alike)."""
    words = []
    for ndjson in (False, True):
        try:
            batch = split(data, EVENTS, ndjson=ndjson)
        except Invalid as bad:
            words.append(sentence(bad.text))
            continue
        words.append(" ".join(sorted({plain(refusal.error.text) for refusal in batch.refused})))
        assert len(batch.messages) + len(batch.refused) <= EVENTS.batch_events_max
    assert _unzipped([data]) == _unzipped(cut(data))
    packed = gzip.compress(data[: EVENTS.batch_bytes_max], 1)
    assert _unzipped(cut(packed)) == data[: EVENTS.batch_bytes_max]
    return "; ".join(words)


def _unzipped(blocks: list[bytes]) -> bytes | None:
    unzip = Unzip(EVENTS.batch_bytes_max)
    try:
        for block in blocks:
            unzip.feed(block)
        return unzip.finish()
    except Invalid:
        return None


def answers(data: bytes) -> str:
    """OCP's answers: a value, or Unreadable."""
    words = []
    reader = _answers()
    reads: tuple[Callable[[bytes], object], ...] = (
        reader.export, reader.listed, reader.page, lambda body: reader.created(body, _ASKED),
    )  # fmt: skip
    for read in reads:
        try:
            read(data)
            words.append("read")
        except Unreadable as bad:
            words.append(sentence(bad.text))
    return "; ".join(words)


@cache
def _answers() -> Answers:
    return Answers(OcpSettings())


def names(data: bytes) -> str:
    """A Content-Disposition and the recording's name in it."""
    known = ""
    text = file_name(data.decode("latin-1"))
    for name in (text, data.decode("utf-8", "replace")):
        parts = parse_name(name)
        for part in (parts.group_id, parts.dialog_id, parts.account_id):
            assert part is None or (0 < len(part) <= ID_CHARS_MAX and part.isprintable())
        known += "".join(
            "-" if part is None else "x"
            for part in (parts.group_id, parts.dialog_id, parts.account_id, parts.time_ms)
        )
    return known + ("=" if text else "")


TARGETS: dict[str, Callable[[bytes], str]] = {
    "audio": audio, "zip": archive, "multipart": multipart, "json_form": json_form,
    "events": events, "answers": answers, "names": names,
}  # fmt: skip
